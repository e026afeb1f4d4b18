"""Samples in the user's own files: a folder of pictures for an image network, a text for one that reads text.

Of more than `MOST_FILES` says, evenly spaced ones are taken, and the description says of how many. Which a file is
follows from the network, not from its name.
"""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitwright.errors import InputError
from bitwright.files import read_text
from bitwright.networks.network import Batch, Network
from bitwright.tasks.inputs import image_inputs, sentence_inputs, token_ids, window_inputs, window_length
from bitwright.tasks.pictures import open_picture, picture_files, pixels_of
from bitwright.tasks.samples import BATCH_SIZES, drawn, require_kind
from bitwright.words import counted

MOST_FILES = {"image": 512, "sentence": 1024, "language": 64}  # pictures, lines, windows; our choice


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileSamples:
    """The batches that a path holds, and what they are."""

    batches: tuple[Batch, ...]
    described: str


def file_samples(network: Network, path: Path) -> FileSamples:
    """The batches in `path`, as `network` takes them.

    Parameters
    ----------
    network : Network
        Of kind image: `path` is a folder of .jpg or .png pictures. Of kind sentence: a UTF-8 text with a sentence on
        each line. Of kind language: a UTF-8 text, cut into windows of tokens.
    path : Path
        Of the user's.

    Raises
    ------
    InputError
        A path that is not there or is of the wrong kind, a folder or text that is empty or cannot be read, and a
        network that reads neither pictures nor text.
    """
    require_kind(network)
    if drawn(network):
        raise InputError(
            f"{network.name} reads neither pictures nor text, so {path} says nothing to it; give a loader of batches "
            "(--samples package.module:callable), or load it with a preprocess or a tokenizer"
        )
    if not path.exists():
        raise InputError(f"there is no {path}; give {_wanted(network)}, or package.module:callable")
    if path.is_dir() != (network.kind == "image"):
        is_what = "a folder" if path.is_dir() else "no folder"
        raise InputError(f"{path} is {is_what}, and {network.name} is calibrated on {_wanted(network)}")
    if network.kind == "image":
        files = picture_files(path)
        for file in files:
            open_picture(file).close()
        return _taken(network, files, path, "image", lambda some: image_inputs(network, [pixels_of(f) for f in some]))
    text = read_text(path, what="text")
    if network.kind == "sentence":
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return _taken(network, lines, path, "line", lambda some: sentence_inputs(network, some))
    ids, length = token_ids(network, text), window_length(network)
    cut = list(ids[: len(ids) // length * length].reshape(-1, length))
    if not cut:
        raise InputError(
            f"{path} has {counted(len(ids), 'token')} and one window has {length:,}; give a longer text, or use a "
            "shorter sequence length"
        )
    return _taken(network, cut, path, "window", lambda some: window_inputs(network, np.stack(some)))


def _taken(
    network: Network, items: Sequence[Any], path: Path, noun: str, made: Callable[[Sequence[Any]], Batch]
) -> FileSamples:
    if not items:
        raise InputError(f"{path} is empty; give {_wanted(network)}")
    most = min(len(items), MOST_FILES[network.kind])
    chosen = [items[at * len(items) // most] for at in range(most)]
    pairs = -(-most // (2 * BATCH_SIZES[network.kind]))  # an even number of batches, so that halves are halves
    bounds = [at * most // min(most, 2 * pairs) for at in range(min(most, 2 * pairs) + 1)]
    all_of = counted(most, noun) if most == len(items) else f"{most:,} of the {counted(len(items), noun)}"
    return FileSamples(
        batches=tuple(made(chosen[start:end]) for start, end in itertools.pairwise(bounds)),
        described=f"{all_of} in {path.name}",
    )


def _wanted(network: Network) -> str:
    return {"image": "a folder of .jpg or .png images", "sentence": "a UTF-8 text, a sentence on each line"}.get(
        network.kind, "a UTF-8 text"
    )
