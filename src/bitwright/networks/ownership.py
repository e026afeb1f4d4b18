"""What a network knows offline: parameters and buffers, parts of them, and what it computes from them alone.

A tensor that views a parameter's memory is a part of it, named by what is sliced: the expert `[3]`, the rows `[0:64]`.
A tensor that a torch function made of parameters and buffers alone (weight norm, a standardised or dequantized weight)
is a weight too, recomputed at every pass but the same.
"""

import math
import re
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from bitwright.networks.parsers import Known

RECOMPUTED = (r"parametrizations\.(\w+)\.original\d*$", r"(\w+)_(?:g|v|orig)$")
"""How torch names what a weight is computed from: (old) weight norm, spectral norm, parametrizations."""

_T = torch.Tensor
COPIES = {_T.reshape, torch.reshape, _T.flatten, torch.flatten, _T.repeat_interleave, torch.repeat_interleave}
"""Functions that write an expanded tensor's elements, or those of groups of heads, several times."""
GRADIENT = _T.grad.__get__  # type: ignore[union-attr]
"""What asks for a parameter's gradient, which depends on more than the parameter."""


class Ownership:
    """Of one pass through a network: which tensors are parameters or buffers, and which were made of these alone."""

    def __init__(self, module: torch.nn.Module) -> None:
        named = [*module.named_parameters(), *module.named_buffers()]
        self._names = {id(tensor): name for name, tensor in named}
        self._by_memory: dict[int, list[torch.Tensor]] = {}  # parameters may be parts of one buffer
        for _, tensor in named:
            self._by_memory.setdefault(memory(tensor), []).append(tensor)
        self._made: dict[int, _Made] = {}  # by identity, what was made of these alone
        self._made_in: dict[int, _Made] = {}  # by memory: torch does not tell of all that it views
        self._written: dict[int, weakref.ref[torch.Tensor]] = {}  # memory that the network wrote what it computes to
        self._copies: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}  # memory -> times it repeats each element

    def __call__(self, tensor: torch.Tensor) -> Known:
        """What `tensor` is known by offline; nothing where it depends on the network's input."""
        stored = self.stored(tensor)
        if stored is not None:
            return Known(stored, part_of(tensor, stored))
        made = self._source(tensor)
        return Known() if made is None else Known(tensor, made.part)

    def stored(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """The parameter or buffer that `tensor` is, or whose memory it views, if any."""
        found: torch.Tensor | None = None
        if id(tensor) in self._names:
            found = tensor
        elif tensor._base is not None and id(tensor._base) in self._names:
            found = tensor._base
        else:
            stored = self._by_memory.get(memory(tensor), ())
            found = next((each for each in stored if len(stored) == 1 or _begins_in(tensor, each)), None)
        return None if found is None or self._is_written(found) else found

    def constant(self, tensor: torch.Tensor) -> bool:
        """Whether `tensor` is known offline."""
        return self.stored(tensor) is not None or self._source(tensor) is not None

    def offline(self, x: torch.Tensor, w: torch.Tensor) -> bool:
        """Whether their product is the same at every inference: of two parameters, or a step to a recomputed weight.

        A buffer may hold a state, so that a weight by it is a product like any other.
        """
        if not (self.constant(x) and self.constant(w)):
            return False
        first = self._first(w)
        raw = "" if first is None else self._names.get(id(first), "")
        return isinstance(self._first(x), torch.nn.Parameter) or plain_name(raw) != raw

    def name(self, tensor: torch.Tensor) -> str:
        """Its parameter's name, or that of the first one which a recomputed weight was made of; empty: none."""
        first = self._first(tensor)
        return "" if first is None else plain_name(self._names.get(id(first), ""))

    def watch(self, func: Any, sources: Sequence[torch.Tensor], result: Any) -> None:
        """Learn what a torch function made of which tensors."""
        if func == GRADIENT:
            return
        if func in COPIES and sources and isinstance(result, torch.Tensor):
            self._learn_copy(sources[0], result)
        if not sources or not (func is _T.__setitem__ or isinstance(result, torch.Tensor | tuple | list)):
            return
        if not all(map(self.constant, sources)):
            if func is _T.__setitem__ or any(result is source for source in sources):  # changed in place, or `out=`
                self._forget(sources[0] if func is _T.__setitem__ else result)
            return
        known = [self(source) for source in sources]
        first = next((self._first(source) for source in sources), None)
        part = "".join(dict.fromkeys(each.part for each in known if each.part))
        for made in result if isinstance(result, tuple | list) else (result,):
            if isinstance(made, torch.Tensor) and first is not None and self.stored(made) is None:
                self._made[id(made)] = self._made_in[memory(made)] = _Made(weakref.ref(made), first, part)

    def _first(self, tensor: torch.Tensor) -> torch.Tensor | None:
        stored, made = self.stored(tensor), self._source(tensor)
        return stored if stored is not None else None if made is None else made.first

    def _forget(self, tensor: torch.Tensor) -> None:
        """What was written to by the network is no constant any more, nor is what shares its memory."""
        if self.constant(tensor):
            stored, made = self.stored(tensor), self._source(tensor)
            whole = stored if stored is not None else None if made is None else made.alive()
            self._written[memory(tensor)] = weakref.ref(tensor if whole is None else whole)

    def _is_written(self, tensor: torch.Tensor) -> bool:
        alive = self._written.get(memory(tensor)) if self._written else None
        return alive is not None and alive() is not None

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

    def _source(self, tensor: torch.Tensor) -> "_Made | None":
        """How a recomputed weight, or a view of one, was made."""
        if not self._made or self._is_written(tensor):
            return None
        for each in (tensor, tensor._base):
            made = None if each is None else self._made.get(id(each))
            if made is not None and made.alive() is each:
                return made
        made = self._made_in.get(memory(tensor))
        return None if made is None or made.alive() is None else made


def _begins_in(view: torch.Tensor, base: torch.Tensor) -> bool:
    """Whether the first element of a view is one of a base that shares its memory."""
    span = sum((size - 1) * step for size, step in zip(base.shape, base.stride(), strict=True))
    return 0 <= view.storage_offset() - base.storage_offset() <= span


class _Made(NamedTuple):
    """A tensor that was made of parameters and buffers alone."""

    alive: "weakref.ref[torch.Tensor]"
    first: torch.Tensor  # the first of these
    part: str  # which parts of them


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
    >>> part_of(w[2:].flatten(0, 1), w), part_of(w[0].expand(5, 4, 4), w), part_of(w[::2], w)
    ('[2:8]', '[0]', '[0 as 4x4x4]')
    """
    if view is base:
        return ""
    offset = int(view.storage_offset()) - int(base.storage_offset())
    extents = {step: size for size, step in zip(view.shape, view.stride(), strict=True) if size > 1 and step}
    kept = "x".join(map(str, extents.values()))  # without axes that repeat all the others
    if base.numel() in (view.numel(), math.prod(extents.values())):
        return ""
    axes = [axis for axis in range(base.dim()) if base.shape[axis] > 1 and base.stride(axis)]
    counts, outer = {}, 1
    for axis in sorted(axes, key=base.stride):
        count = extents.pop(base.stride(axis), 1) * outer
        merged = count > base.shape[axis] and count % base.shape[axis] == 0
        counts[axis], outer = (base.shape[axis], count // base.shape[axis]) if merged else (count, 1)
    index = [":"] * base.dim()
    for axis in sorted(axes, key=base.stride, reverse=True):
        start, offset = divmod(offset, base.stride(axis))
        if counts[axis] != base.shape[axis]:
            index[axis] = str(start) if counts[axis] == 1 else f"{start}:{start + counts[axis]}"
    while index and index[-1] == ":":
        index.pop()
    shape = f" as {kept}" if extents else ""  # every other row, or axes that were split
    return f"[{','.join(index)}{shape}]"
