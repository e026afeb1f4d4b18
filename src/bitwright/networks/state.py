"""One state to start from: networks that remember are put back after every pass, and random numbers recur.

A network that remembers (a streaming filter, a running statistic, a cache of its own) or draws random numbers gives
another result each time it runs, and a quantized pass would be blamed for what a second float pass does too. Whether
one does is found out by running it: on its example, on other values, and on both again. What happens on some inputs
only is not found.
"""

import contextlib
import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from bitwright.errors import InputError
from bitwright.networks.unseen import unseen

SEED = 0  # of the random numbers that a pass draws; our choice
TOLERANCE = 1e-5  # of the largest output: a state that changes less does not matter
OWN = frozenset(vars(torch.nn.Module()))
"""What torch itself keeps in every module."""


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
    """Afterwards all that the module holds is as before, in memory of its own, and so are Python's random numbers."""
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
    """Whether passes depend on those before, or write to parameters or buffers.

    `run(other)` gives the output on the example, or on other values; None where that fails.

    Raises
    ------
    InputError
        If outputs depend on the passes before even where all that the module holds is put back.
    """
    kept = _Kept(module)
    try:
        alone = run(True)
        kept.restore()
        first, after, again = run(False), run(True), run(False)
        if first is None or (_alike(first, again) and _alike(alone, after) and not kept.written):
            return False
    finally:
        kept.restore()
    outputs = []
    for other in (True, False, True, False):
        with put_back(module):
            outputs.append(run(other))
    if not (_alike(outputs[0], outputs[2]) and _alike(outputs[1], outputs[3])):
        raise InputError(
            f"{name} gives other outputs when it runs again on the same inputs, because it keeps a state where it "
            "cannot be put back (TorchScript, other processes, variables outside of the module); let forward reset it"
        )
    return True


class _Kept:
    """What the modules of a tree hold: parameters, buffers, submodules, hooks, modes, and attributes of any kind."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.modules = list(module.modules())
        tensors = [*module.parameters(), *module.buffers()]
        self.tensors = [(each, each.requires_grad, each.grad) for each in tensors]
        self.memory = _memory(tensors)
        self.same: dict[int, Any] = {id(each): each for each in (*self.modules, *tensors)}
        self.own = [{key: _shallow(value) for key, value in vars(each).items() if key in OWN} for each in self.modules]
        memo = dict(self.same)
        self.attributes = [
            {key: _copy(value, memo) for key, value in vars(each).items() if key not in OWN} for each in self.modules
        ]

    @property
    def written(self) -> bool:
        """Whether the numbers of parameters or buffers have changed."""
        return any(_differs(sharing[0][0].untyped_storage(), contents) for sharing, contents in self.memory)

    def restore(self) -> None:
        """Put all of it back; what a pass returned keeps its memory."""
        memo = dict(self.same)
        for module, own, attributes in zip(self.modules, self.own, self.attributes, strict=True):
            held = vars(module)
            for key in held.keys() - OWN - attributes.keys():
                del held[key]
            held.update({key: _shallow(value) for key, value in own.items()})
            held.update({key: _copy(value, memo) for key, value in attributes.items()})
        for tensor, wanted, gradient in self.tensors:
            tensor.requires_grad_(wanted)
            tensor.grad = gradient
        for sharing, contents in self.memory:
            if _differs(sharing[0][0].untyped_storage(), contents):
                fresh = contents.clone()
                for tensor, place in sharing:
                    tensor.data = torch.empty(0, dtype=tensor.dtype, device=tensor.device).set_(fresh, *place)


Place = tuple[int, torch.Size, tuple[int, ...]]


def _memory(tensors: list[torch.Tensor]) -> list[tuple[list[tuple[torch.Tensor, Place]], torch.UntypedStorage]]:
    """Tensors with their offsets, sizes and strides by the memory that they share, and a copy of that."""
    groups: dict[int, list[tuple[torch.Tensor, Place]]] = {}
    for tensor in tensors:
        if tensor.layout is torch.strided and not tensor.is_meta and not torch.nn.parameter.is_lazy(tensor):
            place = (int(tensor.storage_offset()), tensor.shape, tensor.stride())
            groups.setdefault(tensor.untyped_storage()._cdata, []).append((tensor, place))
    return [(sharing, sharing[0][0].untyped_storage().clone()) for sharing in groups.values()]


def _differs(now: torch.UntypedStorage, before: torch.UntypedStorage) -> bool:
    if now.nbytes() != before.nbytes():
        return True
    one, other = (torch.empty(0, dtype=torch.uint8, device=each.device).set_(each) for each in (now, before))
    return not torch.equal(one, other)


def _shallow(value: Any) -> Any:
    return value.copy() if isinstance(value, dict | set) else value


def _copy(value: Any, memo: dict[int, Any]) -> Any:
    """A copy of whatever depth; what cannot be copied (locks, iterators) is itself."""
    if isinstance(value, torch.Tensor) and not value.is_leaf and id(value) not in memo:
        memo[id(value)] = value.detach().clone()
    try:
        return copy.deepcopy(value, memo)
    except Exception:
        return value


def _alike(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    if first is None or second is None or first.shape != second.shape:
        return first is second
    if torch.equal(first, second) or not first.numel() or not first.is_floating_point():
        return torch.equal(first, second)
    first, second = first.double(), second.double()
    largest = float(first.nan_to_num(0, 0, 0).abs().max())
    return torch.allclose(first, second, rtol=0, atol=TOLERANCE * largest, equal_nan=True)
