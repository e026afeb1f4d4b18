"""How each kind of network is fed: example inputs of a given shape, and the call that yields its output tensor.

Images: `pixel_values` [batch, 3, height, width]. Text: `input_ids` [batch, tokens], with `attention_mask` of the same
shape where numbers are computed. A decoding step has one token and `context`: for networks of known sizes the cached
keys and values of the tokens before it, [layers, 2, batch, key-value heads, tokens, head size], all 0; for any other
what the model itself keeps of tokens that it has read (`decoding`).
"""

from __future__ import annotations

import dataclasses
import inspect
from typing import TYPE_CHECKING, Any

from bitwright.errors import InputError
from bitwright.later import later, torch
from bitwright.networks.checks import check_shape
from bitwright.networks.network import Batch, InputShape

if TYPE_CHECKING:
    from bitwright.networks import decoding
else:
    decoding = later("bitwright.networks.decoding")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageExample:
    """InputShape -> a batch of zero images on the module's device.

    Attributes
    ----------
    name : str
        The network's, for messages.
    module : torch.nn.Module
        Its parameters say on which device and in which type.
    image_size : int
        Default height and width, in pixels.
    multiple_of : int
        What an image size must be a multiple of (a patch's size).
    """

    name: str
    module: torch.nn.Module
    image_size: int
    multiple_of: int = 1

    def __call__(self, shape: InputShape) -> dict[str, torch.Tensor]:
        """The batch; `InputError` for a size that does not fit, or for decoding."""
        check_shape(shape)
        refuse_decode(shape, self.name)
        size = shape.image_size or self.image_size
        if size % self.multiple_of:
            raise InputError(f"{self.name}: image_size is {size}, a multiple of {self.multiple_of} is expected.")
        parameter = next(self.module.parameters())
        return {"pixel_values": torch.zeros(shape.batch, 3, size, size, dtype=parameter.dtype, device=parameter.device)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TokenExample:
    """InputShape -> a batch of token ids (all 0) on the module's device.

    Attributes
    ----------
    name : str
        The network's, for messages.
    module : torch.nn.Module
        Its parameters say on which device.
    tokens : int
        Default sequence length. A decoding step is by default the last of these tokens.
    positions : int or None
        How many positions the network has learned an embedding for; None where positions have no limit.
    cache : tuple of int or None
        (layers, key-value heads, head size) of a cache of zeros; None where the network itself makes one, or none.
    decodes : bool
        Whether a network without `cache` is a causal language model, whose own cache of random tokens is taken.
    """

    name: str
    module: torch.nn.Module
    tokens: int
    positions: int | None = None
    cache: tuple[int, int, int] | None = None
    decodes: bool = False

    def __call__(self, shape: InputShape) -> dict[str, torch.Tensor]:
        """The batch; `InputError` for an image size, more tokens than positions, or decoding with an encoder."""
        check_shape(shape)
        refuse_size(shape, self.name, "image_size", "it reads text")
        if self.cache is None and not self.decodes:
            refuse_decode(shape, self.name)
        elif shape.phase == "decode":
            return self._step(shape)
        tokens = shape.sequence_length or self.tokens
        self._check_positions(tokens, f"sequence_length is {tokens}")
        parameter = next(self.module.parameters())
        ids = torch.zeros(shape.batch, tokens, dtype=torch.long, device=parameter.device)
        if parameter.is_meta:  # a mask would be looked into, and there is nothing to see
            return {"input_ids": ids}
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

    def _step(self, shape: InputShape) -> dict[str, torch.Tensor]:
        context = shape.sequence_length or max(1, self.tokens - 1)
        self._check_positions(context + 1, f"decoding after {context} tokens")
        parameter = next(self.module.parameters())
        ids = torch.zeros(shape.batch, 1, dtype=torch.long, device=parameter.device)
        if self.cache is None:
            before = random_ids(self.module, shape.batch, context)
            return decoding.decoding_step(self.module, ids, before, self.name)
        layers, heads, head_size = self.cache
        size = (layers, 2, shape.batch, heads, context, head_size)
        return {"input_ids": ids, "context": torch.zeros(size, dtype=parameter.dtype, device=parameter.device)}

    def _check_positions(self, needed: int, what: str) -> None:
        if self.positions is not None and needed > self.positions:
            raise InputError(
                f"{self.name}: {what}, but the network has {self.positions} positions; use at most that many tokens."
            )


def refuse_decode(shape: InputShape, name: str) -> None:
    """Raise `InputError` if the shape asks a network that produces no tokens to decode."""
    if shape.phase == "decode":
        raise InputError(f"{name}: phase is 'decode', but only language models decode; use prefill.")


def refuse_size(shape: InputShape, name: str, field: str, why: str) -> None:
    """Raise `InputError` if the shape gives the size `field` to a network without one."""
    if getattr(shape, field) is not None:
        raise InputError(f"{name}: {field} is {getattr(shape, field)}, which does not apply ({why}); leave it out.")


def random_ids(module: Any, batch: int, tokens: int) -> torch.Tensor:
    """Token ids [batch, tokens], drawn evenly from the module's vocabulary and always alike."""
    words = module.get_input_embeddings().num_embeddings
    ids = torch.randint(words, (batch, tokens), generator=torch.Generator().manual_seed(0))
    return ids.to(next(module.parameters()).device)


def cache_of(config: Any) -> tuple[int, int, int]:
    """(layers, key-value heads, head size) of a transformers configuration."""
    heads = config.num_attention_heads
    head_size = getattr(config, "head_dim", None) or config.hidden_size // heads
    return config.num_hidden_layers, getattr(config, "num_key_value_heads", None) or heads, head_size


def run_image(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The logits of images."""
    return output_tensor(module(batch["pixel_values"]))


def run_sentence(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Sentence embeddings [batch, width]: the mean over the tokens that are not padding, of length 1."""
    return averaged(module(**batch).last_hidden_state, batch.get("attention_mask"))


def averaged(hidden: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Embeddings [batch, width] of length 1: means of hidden states [batch, tokens, width] where the mask is 1."""
    if mask is None:
        mean = hidden.mean(1)
    else:
        mask = mask.unsqueeze(-1).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
    return torch.nn.functional.normalize(mean, dim=-1)


def run_language(module: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Next-token logits [batch, tokens, vocabulary]."""
    if isinstance(batch, decoding.Step):
        return module(input_ids=batch["input_ids"], use_cache=True, **batch.memory()).logits
    ids, context = batch["input_ids"], batch.get("context")
    if context is None and not ids.is_meta:
        return module(input_ids=ids, attention_mask=batch.get("attention_mask"), use_cache=False).logits
    from transformers import DynamicCache

    cache = DynamicCache()  # even an empty one keeps transformers from looking into the numbers of meta tensors
    for layer, (keys, values) in enumerate(() if context is None else context):
        cache.update(keys, values, layer)
    return run_cached(module, ids, cache)


def run_cached(module: torch.nn.Module, ids: torch.Tensor, cache: Any) -> torch.Tensor:
    """Next-token logits after the tokens in transformers' `cache`, which these join."""
    # transformers 5.24 renamed the argument and warns of the old name
    name = "cache" if "cache" in inspect.signature(module.forward).parameters else "past_key_values"
    return module(input_ids=ids, use_cache=True, **{name: cache}).logits


def output_tensor(output: Any) -> torch.Tensor:
    """The tensor that judges a network's output: itself, its logits, its last hidden state, or its first tensor."""
    found = _first_tensor(output)
    if found is None:
        raise InputError(
            f"the network returned {type(output).__name__}; let it return a tensor, or a collection with one"
        )
    return found


def _first_tensor(output: Any) -> torch.Tensor | None:
    if isinstance(output, torch.Tensor):
        return output
    for attribute in ("logits", "last_hidden_state"):
        if isinstance(getattr(output, attribute, None), torch.Tensor):
            return getattr(output, attribute)
    parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else ()
    return next((found for found in map(_first_tensor, parts) if found is not None), None)
