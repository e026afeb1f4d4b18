"""What a network knows offline: parameters and buffers, parts of them, and what it computes from them alone.

A tensor that views a parameter's memory is a part of it, named by what is sliced: the expert `[3]`, the rows `[0:64]`.
A tensor that a torch function made of parameters and buffers alone (weight norm, a standardised or dequantized weight)
is a weight too, recomputed at every pass but the same.
"""

import math
import re
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from bitwright.networks.parsers import Known

RECOMPUTED = (r"parametrizations\.(\w+)\.original\d*$", r"(\w+)_(?:g|v|orig)$")
"""How torch names what a weight is computed from: (old) weight norm, spectral norm, parametrizations."""

_T = torch.Tensor
COPIES = {_T.reshape, torch.reshape, _T.flatten, torch.flatten, _T.repeat_interleave, torch.repeat_interleave}
"""Functions that write an expanded tensor's elements, or those of groups of heads, several times."""


class Ownership:
    """Of one pass through a network: which tensors are parameters or buffers, and which were made of these alone."""

    def __init__(self, module: torch.nn.Module) -> None:
        named = [*module.named_parameters(), *module.named_buffers()]
        self._names = {id(tensor): name for name, tensor in named}
        self._by_memory = {memory(tensor): tensor for _, tensor in reversed(named)}
        self._made: dict[
            int, tuple[weakref.ref[torch.Tensor], torch.Tensor]
        ] = {}  # made of these alone, first of which
        self._copies: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}  # memory -> times it repeats each element

    def __call__(self, tensor: torch.Tensor) -> Known:
        """What `tensor` is known by offline; nothing where it depends on the network's input."""
        stored = self.stored(tensor)
        if stored is not None:
            return Known(stored, part_of(tensor, stored))
        return Known() if self._source(tensor) is None else Known(tensor)

    def stored(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The parameter or buffer that `tensor` is, or whose memory it views, if any."""
        if id(tensor) in self._names:
            return tensor
        base = tensor._base
        if base is not None and id(base) in self._names:
            return base
        return self._by_memory.get(memory(tensor))

    def constant(self, tensor: torch.Tensor) -> bool:
        """Whether `tensor` is known offline."""
        return self.stored(tensor) is not None or self._source(tensor) is not None

    def name(self, tensor: torch.Tensor) -> str:
        """Its parameter's name, or that of the first one which a recomputed weight was made of; empty: none."""
        stored = self.stored(tensor)
        stored = self._source(tensor) if stored is None else stored
        return "" if stored is None else plain_name(self._names.get(id(stored), ""))

    def watch(self, func: Any, sources: Sequence[torch.Tensor], result: Any) -> None:
        """Learn what a torch function made of which tensors."""
        if func in COPIES and sources and isinstance(result, torch.Tensor):
            self._learn_copy(sources[0], result)
        if not sources or not isinstance(result, torch.Tensor | tuple | list):
            return
        if not all(map(self.constant, sources)):
            if result is sources[0]:  # changed in place
                self._forget(sources[0])
            return
        first = self.stored(sources[0])
        first = self._source(sources[0]) if first is None else first
        for made in result if isinstance(result, tuple | list) else (result,):
            if isinstance(made, torch.Tensor) and first is not None and self.stored(made) is None:
                self._made[id(made)] = weakref.ref(made), first

    def _forget(self, tensor: torch.Tensor) -> None:
        """What was written to by the network is no constant any more."""
        self._made.pop(id(tensor), None)
        stored = self.stored(tensor)
        if stored is not None and not isinstance(stored, torch.nn.Parameter):
            self._names.pop(id(stored), None)
            self._by_memory.pop(memory(stored), None)

    def repeats(self, tensor: torch.Tensor) -> int:
        """How often each element of a run-time operand was written: heads that were copied for others to share."""
        alive, times = self._copies.get(memory(tensor), (None, 1))
        copy = None if alive is None else alive()
        return times if copy is not None and copy.numel() == tensor.numel() else 1

    def _learn_copy(self, source: torch.Tensor, result: torch.Tensor) -> None:
        steps = zip(source.shape, source.stride(), strict=True)
        times = math.prod(size for size, step in steps if not step and size) * (
            result.numel() // max(1, source.numel())
        )
        if times > 1 and memory(source) != memory(result):
            self._copies[memory(result)] = weakref.ref(result), times

    def _source(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The first parameter that a recomputed weight, or a view of one, was made of."""
        for each in (tensor, tensor._base):
            if each is not None and id(each) in self._made:
                alive, source = self._made[id(each)]
                if alive() is each:
                    return source
        return None


def memory(tensor: torch.Tensor) -> int:
    """What tensors that share memory have in common, on the meta device too; nothing else has it while they live.

    Wrappers that have no memory of their own (inside vmap, sparse) have a number below 0 of their own.
    """
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):
        return -id(tensor)


def plain_name(name: str) -> str:
    """A parameter's name, or that of the weight which torch computes from it.

    Examples
    --------
    >>> plain_name("conv.parametrizations.weight.original0"), plain_name("conv.weight_g"), plain_name("conv.weight")
    ('conv.weight', 'conv.weight', 'conv.weight')
    """
    for pattern in RECOMPUTED:
        name = re.sub(pattern, r"\1", name)
    return name


def part_of(view: torch.Tensor, base: torch.Tensor) -> str:
    """Which part of `base` a view of it is, as an index; empty: all of it, in whatever order of axes.

    Examples
    --------
    >>> w = torch.zeros(8, 4, 4)
    >>> part_of(w[3].t(), w), part_of(w[2:4], w), part_of(w[:, 1], w), part_of(w.flatten(1), w)
    ('[3]', '[2:4]', '[:,1]', '')
    """
    if view.numel() == base.numel():
        return ""
    offset = int(view.storage_offset()) - int(base.storage_offset())
    extents = {step: size for size, step in zip(view.shape, view.stride(), strict=True) if size > 1}
    index = [":"] * base.dim()
    for axis in sorted((a for a in range(base.dim()) if base.shape[a] > 1), key=base.stride, reverse=True):
        start, offset = divmod(offset, base.stride(axis))
        count = extents.pop(base.stride(axis), 1)
        if count != base.shape[axis]:
            index[axis] = str(start) if count == 1 else f"{start}:{start + count}"
    while index and index[-1] == ":":
        index.pop()
    shape = f" as {'x'.join(map(str, view.shape))}" if extents else ""  # every other row, axes merged or split
    return f"[{','.join(index)}{shape}]"
