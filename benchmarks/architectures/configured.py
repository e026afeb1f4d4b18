"""Models of the transformers library from small configurations, with random weights: nothing is downloaded."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from benchmarks.architectures import Architecture
from torch import nn

Settings = Mapping[str, Any]
Tensors = dict[str, torch.Tensor]

NARROW = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
}
SMALL = {
    **NARROW,
    "vocab_size": 99,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
IMAGE = {"image_size": 32, "patch_size": 8, "num_channels": 3}
ENCODER_DECODER = {
    "vocab_size": 99,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}


def tokens(length: int = 16) -> Tensors:
    """Two sequences of token ids."""
    return {"input_ids": torch.randint(3, 99, (2, length))}


def padded_tokens() -> Tensors:
    """Two sequences of token ids, one padded at its end."""
    mask = torch.ones(2, 16, dtype=torch.long)
    mask[1, 12:] = 0
    return {**tokens(), "attention_mask": mask}


def translation() -> Tensors:
    """Sequences for an encoder and for a decoder."""
    return {**tokens(), "decoder_input_ids": torch.randint(3, 99, (2, 6))}


def image(size: int = 32, channels: int = 3) -> Tensors:
    """Two images."""
    return {"pixel_values": torch.randn(2, channels, size, size)}


def waveform(samples: int = 2000) -> Tensors:
    """Two recordings, as numbers."""
    return {"input_values": torch.randn(2, samples)}


def _made(model: str, settings: Settings, inputs: Callable[[], Tensors]) -> tuple[nn.Module, Tensors]:
    import transformers

    transformers.logging.set_verbosity_error()
    kind = getattr(transformers, model)
    return kind(kind.config_class(**settings)), inputs()


def configured(
    name: str, family: str, model: str, settings: Settings, inputs: Callable[[], Tensors] = tokens
) -> Architecture:
    """The class `model` of transformers with these settings in its configuration."""
    return Architecture(name=name, family=family, make=functools.partial(_made, model, settings, inputs))


def in_small(name: str, family: str, model: str, settings: Settings | None = None) -> Architecture:
    """A text model whose configuration takes `SMALL`, and `settings` besides."""
    return configured(name, family, model, {**SMALL, **(settings or {})})
