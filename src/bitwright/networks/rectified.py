"""Which tensors of a forward pass come straight out of a ReLU: never negative, and 0 wherever it cut.

Told of every torch function as it runs (`SiteMode`'s watcher), so that it needs no numbers and works on the meta
device. Views, maxima, dropout and concatenation keep what a ReLU made; every other function ends it, averages too,
whose values are seldom 0. Our choice of functions; one that is missing only makes an operand less like the network's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.later import torch

CUTS = {"relu", "relu_", "relu6"}
LIMITS = {  # cut at a limit, a ReLU where that is 0
    "hardtanh": "min_val",
    "hardtanh_": "min_val",
    "clamp": "min",
    "clamp_": "min",
    "clamp_min": "min",
    "clamp_min_": "min",
}
KEEPS = {
    *("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "transpose", "permute", "movedim", "t"),
    *("expand", "contiguous", "clone", "detach", "to", "type", "float", "chunk", "split", "unbind", "__getitem__"),
    *("max_pool2d", "adaptive_max_pool2d", "dropout", "dropout2d", "cat", "concat", "stack", "pad"),
}


class Rectified:
    """The tensors that are rectified; they are kept alive, therefore their identities are unique."""

    def __init__(self) -> None:
        self._found: dict[int, torch.Tensor] = {}

    def __contains__(self, tensor: torch.Tensor) -> bool:
        return id(tensor) in self._found

    def watch(self, function: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> None:
        """Learn from one torch function after it ran."""
        name = getattr(function, "__name__", "")
        results, sources = _tensors((result,)), _tensors((*args, *kwargs.values()))
        if name == "__setitem__":
            self._found.pop(id(args[0]), None)
        elif _cuts(name, args, kwargs) or (name in KEEPS and sources and all(tensor in self for tensor in sources)):
            self._found.update((id(tensor), tensor) for tensor in results)
        else:
            for tensor in results:  # one that was changed in place
                self._found.pop(id(tensor), None)


def _cuts(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    if name not in LIMITS:
        return name in CUTS
    limit = args[1] if len(args) > 1 else kwargs.get(LIMITS[name])
    return isinstance(limit, int | float) and limit == 0


def _tensors(values: Sequence[Any]) -> list[torch.Tensor]:
    """The tensors among `values`, inside lists too."""
    parts = (part for value in values for part in (value if isinstance(value, tuple | list) else (value,)))
    return [part for part in parts if isinstance(part, torch.Tensor)]
