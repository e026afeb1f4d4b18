"""From images and text to the tensors a network takes, with the tools that came with the network.

Shapes: images [B, 3, H, W] in the network's floating type, tokens [B, T] int64. The names of the inputs are those
of the network's own example batch, so any module's argument names work.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.networks.own_inputs import OWN
from bitwright.networks.packages import told
from bitwright.tasks.statistics import Array
from bitwright.words import counted

if TYPE_CHECKING:
    from PIL.Image import Image

DEFAULT_WINDOW = 512  # tokens
TO_DO = {"tokenizer": "put its tokenizer's files (tokenizer.json, tokenizer_config.json) into its folder, or "}


def tool(network: Network, name: str) -> Any:
    """The network's tool of that name, or an `InputError` that says what is missing."""
    if name not in network.tools:
        raise InputError(
            f"{network.name} came without a {name}, which {network.kind} samples need; {TO_DO.get(name, '')}"
            f"give it as tools={{{name!r}: ...}} of the Network"
        )
    return network.tools[name]


def input_names(network: Network, usual: Sequence[str]) -> list[str]:
    """The names of the network's inputs; `usual` where it has no example batch to read them from."""
    if OWN in network.tools:
        return list(network.tools[OWN].given)
    if network.example is None:
        return list(usual)
    return list(network.example(InputShape(batch=1, sequence_length=8)))


def window_length(network: Network) -> int:
    """Tokens per window: the network's `sequence_length`, or 512."""
    return int(network.tools.get("sequence_length") or DEFAULT_WINDOW)


def token_ids(network: Network, text: str) -> Array:
    """The whole of `text` as token ids [n]; no special tokens are added."""
    encoded = tool(network, "tokenizer")(text, add_special_tokens=False, verbose=False)
    return np.asarray(encoded["input_ids"], dtype=np.int64)


def image_inputs(network: Network, images: Sequence[Image]) -> Batch:
    """A batch of images, each through the network's own preprocessing."""
    preprocess = tool(network, "preprocess")
    name = input_names(network, ["pixel_values"])[0]
    batch = torch.stack([preprocess(image) for image in images])
    return {name: batch.to(device=network.device, dtype=_parameter_type(network))}


def _parameter_type(network: Network) -> torch.dtype:
    """The floating type that the network computes in."""
    parameters = network.module.parameters() if network.module is not None else ()
    return next((p.dtype for p in parameters if p.is_floating_point()), torch.float32)


def window_inputs(network: Network, windows: Array) -> Batch:
    """A batch of token windows [B, T], none of them padded."""
    ids = torch.from_numpy(np.ascontiguousarray(windows)).to(network.device)
    known = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    names = [name for name in input_names(network, list(known)) if name in known]
    return {name: known[name] for name in names or ["input_ids"]}


def sentence_inputs(network: Network, sentences: Sequence[str]) -> Batch:
    """A batch of sentences, padded to the longest and cut at the network's `sequence_length`."""
    tokenizer = tool(network, "tokenizer")
    try:
        encoded = tokenizer(
            list(sentences), padding=True, truncation=True, max_length=window_length(network), return_tensors="pt"
        )
    except Exception as error:
        raise InputError(
            f"{network.name}: its tokenizer fails on {counted(len(sentences), 'sentence')} ({told(error)}); it is "
            "called as those "
            'of Hugging Face, with padding=True, truncation=True, max_length=n, return_tensors="pt"'
        ) from error
    names = [name for name in input_names(network, list(encoded)) if name in encoded]
    return {name: encoded[name].to(network.device) for name in names}
