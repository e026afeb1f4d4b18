"""One state to start from: networks that remember are put back after every pass, and random numbers recur.

A network that remembers (a streaming filter, a running statistic, a cache of its own) or draws random numbers gives
another result each time it runs, and a quantized pass would be blamed for what a second float pass does too. Whether
one does is found out by running it: on its example, on other values, and on both again. What happens on some inputs
only is not found. Everything is put back in place, so that what refers to what, and shares memory, stays as it is.
"""

from __future__ import annotations

import collections
import contextlib
import operator
import random
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.networks.unseen import unseen

SEED = 0  # of the random numbers that a pass draws; our choice
TOLERANCE = 1e-5  # of the largest output: a state that changes less does not matter
ORDER = (True, False, False, True, True)  # on other values or on the example: after different passes
OPAQUE = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodType)
"""What is not looked into."""

_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def same_random_numbers(device: torch.device) -> Iterator[None]:
    """The generators of torch start from one seed, and go on afterwards as if nothing had been drawn."""
    on_device = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
    generators = [torch.default_generator, *on_device]
    with unseen():
        before = [generator.get_state() for generator in generators]
        for generator in generators:
            generator.manual_seed(SEED)
    try:
        yield
    finally:
        with unseen():
            for generator, state in zip(generators, before, strict=True):
                generator.set_state(state)


@contextlib.contextmanager
def put_back(module: torch.nn.Module) -> Iterator[None]:
    """Afterwards all that the module holds is as before, and so are Python's and NumPy's random numbers."""
    with _one_at_a_time:
        with unseen():
            kept, drawn, drawn_by_numpy = _Kept(module), random.getstate(), np.random.get_state()  # noqa: NPY002
            random.seed(SEED)
            np.random.seed(SEED)  # noqa: NPY002
        try:
            yield
        finally:
            with unseen(), torch.no_grad():
                kept.restore()
                random.setstate(drawn)
                np.random.set_state(drawn_by_numpy)  # noqa: NPY002


def remembers(module: torch.nn.Module, name: str, run: Callable[[bool], torch.Tensor | None]) -> bool:
    """Whether passes depend on those before, or write to parameters, buffers or gradients.

    `run(other)` gives the output on the example, or on other values; None where that fails.

    Raises
    ------
    InputError
        If outputs depend on the passes before even where all that the module holds is put back.
    """
    kept = _Kept(module)
    alone = run(True)
    written = kept.written
    kept.restore()
    first, after, again = run(False), run(True), run(False)
    if _alike(first, again) and _alike(alone, after) and not (written or kept.written):
        return False
    kept.restore()
    if first is None:
        return False
    outputs: dict[bool, list[torch.Tensor | None]] = {True: [], False: []}
    for other in ORDER:
        with put_back(module):
            outputs[other].append(run(other))
    if not all(_alike(found[0], each) for found in outputs.values() for each in found):
        raise InputError(
            f"{name} gives other outputs when it runs again on the same inputs, because it keeps a state where it "
            "cannot be put back (TorchScript, other processes, variables outside of the module); let forward reset it"
        )
    return True


class _Kept:
    """All that a module refers to, however deep, as it is now: contents of objects and containers, and numbers."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.contents: list[tuple[Any, Any]] = []
        self.arrays: list[tuple[Any, Any]] = []
        self.generators: list[tuple[torch.Generator, torch.Tensor]] = []
        self.tensors: list[tuple[torch.Tensor, bool, torch.Tensor | None]] = []
        self._look(module)
        self.memory = _memory([tensor for tensor, _, _ in self.tensors])

    def _look(self, root: Any) -> None:
        seen: dict[int, Any] = {}
        waiting = [root]
        while waiting:
            value = waiting.pop()
            if id(value) in seen or isinstance(value, OPAQUE):
                continue
            seen[id(value)] = value
            waiting += self._inside(value)

    def _inside(self, value: Any) -> Iterable[Any]:
        """Keep one thing; what else it refers to."""
        if isinstance(value, torch.Tensor):
            gradient = value.grad if value.is_leaf else None
            self.tensors.append((value, value.requires_grad, gradient))
            return () if gradient is None else (gradient,)
        if isinstance(value, torch.Generator):
            self.generators.append((value, value.get_state()))
        elif isinstance(value, np.ndarray) and value.dtype != object:
            self.arrays.append((value, value.copy()))
        elif isinstance(value, tuple):
            return value
        elif isinstance(value, dict):
            self.contents.append((value, dict(value)))
            return [*value.values(), *getattr(value, "__dict__", {}).values()]
        elif isinstance(value, list | set | collections.deque):
            self.contents.append((value, list(value)))
            return list(value)
        elif isinstance(getattr(value, "__dict__", None), dict):
            return (vars(value),)
        return ()

    @property
    def written(self) -> bool:
        """Whether the numbers of tensors, or their gradients, have changed."""
        moved = any(tensor.is_leaf and tensor.grad is not gradient for tensor, _, gradient in self.tensors)
        return moved or any(_differs(sharing, contents) for sharing, contents in self.memory)

    def restore(self) -> None:
        """Put all of it back."""
        for held, items in self.contents:
            if not _same(held, items):
                held.clear()
                (held.extend if isinstance(held, list | collections.deque) else held.update)(items)
        for array, values in self.arrays:
            if array.flags.writeable:
                array[...] = values
        for generator, state in self.generators:
            generator.set_state(state)
        for sharing, contents in self.memory:
            if _differs(sharing, contents):
                _write(sharing, contents)
        for tensor, wanted, gradient in self.tensors:
            if tensor.is_leaf:
                tensor.requires_grad_(wanted)
                tensor.grad = gradient


def _same(held: Any, items: Any) -> bool:
    """Whether a container holds the very same objects."""
    if len(held) != len(items):
        return False
    if isinstance(held, dict):
        return list(held) == list(items) and all(map(operator.is_, held.values(), items.values()))
    if isinstance(held, set):
        return all(item in held for item in items)
    return all(map(operator.is_, held, items))


Place = tuple[int, "torch.Size", tuple[int, ...]]
Sharing = tuple["torch.UntypedStorage", list[tuple["torch.Tensor", Place]]]
"""Memory, and the tensors in it with their offsets, sizes and strides."""


def _memory(tensors: list[torch.Tensor]) -> list[tuple[Sharing, torch.UntypedStorage]]:
    """The memory of tensors, and a copy of it."""
    groups: dict[int, Sharing] = {}
    for tensor in tensors:
        if tensor.layout is torch.strided and not tensor.is_meta and not torch.nn.parameter.is_lazy(tensor):
            place = (int(tensor.storage_offset()), tensor.shape, tensor.stride())
            storage = tensor.untyped_storage()
            groups.setdefault(storage._cdata, (storage, []))[1].append((tensor, place))
    return [(sharing, sharing[0].clone()) for sharing in groups.values()]


def _differs(sharing: Sharing, before: torch.UntypedStorage) -> bool:
    storage, tensors = sharing
    if storage.nbytes() != before.nbytes():
        return True
    if any(tensor.untyped_storage()._cdata != storage._cdata for tensor, _ in tensors):
        return True
    one, other = (torch.empty(0, dtype=torch.uint8, device=each.device).set_(each) for each in (storage, before))
    return not torch.equal(one, other)


def _write(sharing: Sharing, contents: torch.UntypedStorage) -> None:
    """Put numbers back where they were; tensors that were given other memory, back into this."""
    storage, tensors = sharing
    if storage.nbytes() != contents.nbytes():
        storage.resize_(contents.nbytes())
    storage.copy_(contents)
    for tensor, place in tensors:
        at = (int(tensor.storage_offset()), tensor.shape, tensor.stride())
        if tensor.untyped_storage()._cdata != storage._cdata or at != place:
            tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(storage, *place)


def _alike(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    if first is None or second is None or first.shape != second.shape:
        return first is second
    if torch.equal(first, second) or not first.numel() or not first.is_floating_point():
        return torch.equal(first, second)
    first, second = first.double(), second.double()
    largest = float(first.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(first, second, rtol=0, atol=TOLERANCE * largest, equal_nan=True)
