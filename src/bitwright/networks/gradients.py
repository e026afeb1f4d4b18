"""Gradients that a network takes of its own outputs (forces from energies): those of the float product at each site.

A handler's result is rounded, or computed without gradients at all; it passes gradients straight through, as in
quantization-aware training (Bengio et al., 2013).
"""

from typing import Any

import torch

from bitwright.networks.view import GemmView


def with_gradients(result: torch.Tensor, view: GemmView) -> torch.Tensor:
    """`result` itself, with the float product's gradients where some are wanted and it has none."""
    operands = (view.x, view.w, view.bias)
    wanted = torch.is_grad_enabled() and any(each is not None and each.requires_grad for each in operands)
    if not wanted or result.requires_grad or not result.is_floating_point():
        return result
    found: torch.Tensor = _StraightThrough.apply(result, view.float_result())
    return found


class _StraightThrough(torch.autograd.Function):
    """The first argument's value with the second's gradients."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, smooth: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[None, torch.Tensor]:  # noqa: ARG004
        return None, gradient
