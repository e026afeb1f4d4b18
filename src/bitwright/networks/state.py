"""One state to start from: what a module keeps between passes is put back after each, and its random numbers recur.

A network that remembers (a streaming filter, a running statistic, a table filled when first needed) or draws random
numbers gives another result each time it runs, and a quantized pass would be blamed for what a second float pass does
too. Put back are buffers, and what modules keep as attributes: tensors, and lists and dictionaries of them. Objects of
other classes that change inside are not seen. In training mode nothing is put back.
"""

import collections
import contextlib
import operator
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.modules.lazy import LazyModuleMixin

from bitwright.networks.unseen import unseen

SEED = 0  # of the random numbers that a pass draws; our choice
OWN = frozenset(vars(torch.nn.Module()))
"""What torch itself keeps in every module."""
STORES = ("_parameters", "_buffers")
CONTAINERS = (list, dict, set, collections.deque)

NONE = frozenset[str]()

_written: weakref.WeakKeyDictionary[torch.nn.Module, frozenset[str]] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def one_state(module: torch.nn.Module) -> Iterator[None]:
    """A pass within this leaves the module and the generators of random numbers as they were.

    Copies are made of the tensors that the module's first pass writes: of all, at every pass, they would be dear.
    """
    if module.training:
        yield
        return
    with unseen():
        generators = _generators(module)
        random = [generator.get_state() for generator in generators]
        kept = [_Kept(each) for each in module.modules() if not isinstance(each, LazyModuleMixin)]
        watched = _written.get(module)
        tensors = {} if watched == NONE else _tensors(module)
        tensors = {name: x for name, x in tensors.items() if watched is None or name in watched}
        before = {name: x.detach().clone() for name, x in tensors.items()}
        for generator in generators:
            generator.manual_seed(SEED)
    finished = False
    try:
        yield
        finished = True
    finally:
        with unseen(), torch.no_grad():
            for each in kept:
                each.put_back()
            changed = frozenset(name for name, x in tensors.items() if _put_back(x, before[name]))
            if finished and watched is None:
                _written[module] = changed
            for generator, state in zip(generators, random, strict=True):
                generator.set_state(state)


def _generators(module: torch.nn.Module) -> list[torch.Generator]:
    """Of the random numbers that a module may draw: the processor's and its device's."""
    device = next((each.device for each in module.parameters()), torch.device("cpu"))
    on_device = [torch.cuda.default_generators[device.index or 0]] if device.type == "cuda" else []
    return [torch.default_generator, *on_device]


class _Kept:
    """What one module holds, and in what, to be held again."""

    def __init__(self, module: torch.nn.Module) -> None:
        self.held = vars(module)
        self.attributes = {key: self.held[key] for key in self.held.keys() - OWN}
        containers: list[Any] = [self.held.get(store) for store in STORES] + list(self.attributes.values())
        self.contents = [(each, each.copy()) for each in containers if type(each) in CONTAINERS]

    def put_back(self) -> None:
        for key in self.held.keys() - OWN - self.attributes.keys():
            del self.held[key]
        for key, value in self.attributes.items():
            if self.held.get(key) is not value:
                self.held[key] = value
        for container, items in self.contents:
            if not _same(container, items):
                container.clear()
                (container.extend if isinstance(container, list | collections.deque) else container.update)(items)


def _same(container: Any, items: Any) -> bool:
    """Whether both hold the very same objects."""
    if len(container) != len(items):
        return False
    if isinstance(container, dict):
        return all(map(operator.is_, container.values(), items.values()))
    return isinstance(container, set) or all(map(operator.is_, container, items))


def _tensors(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Buffers, and tensors that are attributes or in containers that are, of memory that can be compared."""
    found = dict(module.named_buffers())
    for path, each in module.named_modules():
        for key, value in vars(each).items():
            if key in OWN:
                continue
            if isinstance(value, torch.Tensor):
                found[f"{path}/{key}"] = value
            elif type(value) in CONTAINERS:
                items = value.items() if isinstance(value, dict) else enumerate(value)
                found |= {f"{path}/{key}/{i}": item for i, item in items if isinstance(item, torch.Tensor)}
    return {name: x for name, x in found.items() if x.layout is torch.strided and not x.is_meta and not x.is_nested}


def _put_back(tensor: torch.Tensor, before: torch.Tensor) -> bool:
    """Whether the tensor had changed."""
    if tensor.shape != before.shape:
        tensor.data = before
        return True
    same = torch.equal(tensor, before) or bool(((tensor == before) | (tensor.isnan() & before.isnan())).all())
    if not same:
        tensor.copy_(before)
    return not same
