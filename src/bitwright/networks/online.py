"""Rotation as a network runs: linear layers of a copy turn their input before they read it.

A layer's forward hook calls the operator `bitwright::rotate`, which whoever counts or times the network's operators
sees. Layers that read the same tensor share what it became.
"""

import threading
import weakref
from collections.abc import Sequence
from typing import Any

import torch

from bitwright.networks import hadamard

_last = threading.local()
"""The last tensor that was rotated without gradients, by whom, and what it became."""


class Rotate:
    """A hook that hands its layer the rotated input.

    Parameters
    ----------
    bits, step : int, float
        Fixed point of the sums: x is rounded to multiples of `step` in so many bits; 0 bits: float32.
    block : int
        Channels that are rotated together; 0: the largest power of two that divides them.
    signs : bool
        Whether signs of x are flipped first (`bitwright.networks.hadamard`).
    """

    def __init__(self, *, bits: int, step: float, block: int, signs: bool) -> None:
        self.bits, self.step, self.block, self.signs = bits, step, block, signs

    def __deepcopy__(self, memo: dict[int, Any]) -> "Rotate":
        """A hook of its own for the copy, the same for all layers that share this one."""
        return Rotate(bits=self.bits, step=self.step, block=self.block, signs=self.signs)

    def __call__(
        self,
        module: torch.nn.Module,  # noqa: ARG002
        inputs: tuple[Any, ...],
        named: dict[str, Any],
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The layer's arguments, those by position and those by name; a linear layer has one, `input`."""
        return tuple(map(self._rotated, inputs)), {name: self._rotated(x) for name, x in named.items()}

    def _rotated(self, x: torch.Tensor) -> torch.Tensor:
        if x.is_inference() or (torch.is_grad_enabled() and x.requires_grad):  # without a version; with a graph
            return self._turned(x)
        before = getattr(_last, "of", None)
        if before is not None and before[0] is self and before[1]() is x and before[2] == x._version:
            found: torch.Tensor = before[3]
            return found
        result = self._turned(x)
        _last.of = self, weakref.ref(x), x._version, result
        return result

    def _turned(self, x: torch.Tensor) -> torch.Tensor:
        if not self.bits:
            return hadamard.rotated(x, self.block, signs=self.signs)
        limit = 2 ** (self.bits - 1) - 1
        return hadamard.rotated_fixed(x, self.step, limit, self.block, signs=self.signs)


def rotate_at_run_time(
    modules: Sequence[torch.nn.Module], *, bits: int, step: float, block: int = 0, signs: bool = False
) -> None:
    """Have `modules`, which read one tensor, rotate it first."""
    hook = Rotate(bits=bits, step=step, block=block, signs=signs)
    for module in modules:
        module.register_forward_pre_hook(hook, with_kwargs=True)
