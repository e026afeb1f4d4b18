"""Whether a plan's static scales fit the tensors that they meet: their sizes, and their order of magnitude.

A plan that was calibrated on this network always fits. One that was altered, or written by hand, may have scales of
other sizes, or such that every code is zero or every code is clipped: it would run, and score nothing but noise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from bitwright.errors import InputError
from bitwright.formats import Format, Integer, PerGroup, PerPosition
from bitwright.later import torch
from bitwright.methods.plan import OperandPlan
from bitwright.networks.view import GemmView

TOO_COARSE = 4.0
"""Times the largest weight of those that share it, a scale by which the smallest code is rounded to from nothing."""
TOO_FINE = 2.0**-20
"""Of the largest weight, what the largest code stands for at least: nobody clips a million to one."""
ACTIVATIONS = 2.0**40
"""How far activations may be from those that were calibrated on: a site may be silent, not by twelve powers of ten."""
SMALLEST = 1e-30
"""Weights below are as good as zero, and so are their scales."""


def check_x(site: str, x: torch.Tensor, operand: OperandPlan) -> None:
    """Refuse static scales that do not fit x [*groups, *rows, *size, channels].

    Raises
    ------
    InputError
        Scales of other sizes than x asks for, or of another order of magnitude than x has here.
    """
    if operand.scale is None:
        return
    if not isinstance(operand.granularity, PerPosition):
        _check_sizes(f"x of {site}", x.shape, operand)
    largest = float(x.detach().abs().amax())
    low, high = float(operand.scale.amin()), float(operand.scale.amax())
    smallest_code, largest_code = reach(operand.format)
    silent, clipped = low * smallest_code > ACTIVATIONS * largest, high * largest_code * ACTIVATIONS < largest
    if largest > SMALLEST and (silent or clipped):
        scales = f"{low:g}" if low == high else f"{low:g} to {high:g}"
        raise _unfit(f"x of {site}", f"a scale of {scales}", largest)


def check_w(site: str, view: GemmView, operand: OperandPlan) -> None:
    """Refuse static scales that do not fit w [*groups, columns, *kernel, channels].

    Raises
    ------
    InputError
        Scales of other sizes than w asks for; or, of weights that are known beforehand, one by which all that share it
        become zero or are clipped to next to nothing.
    """
    if operand.scale is None:
        return
    name = f"w of {site}"
    blocks = operand.scale_format is not None  # which run over channels; whole groups run over all of k
    if isinstance(operand.granularity, PerGroup) and (view.lead or view.spatial) and not blocks:
        raise InputError(
            f"{name} is scaled in {operand.granularity}, which only matrices [N, K] are; calibrate it anew"
        )
    _check_sizes(name, view.w.shape, operand, fixed=view.column_axes)
    if view.weight is None:
        return
    assert operand.steps is not None
    scale = operand.steps.to(view.w.device).abs()  # those of a file's blocks may be below 0
    largest = _largest(_without_minimum(view.w.detach(), operand), scale, operand)
    smallest_code, largest_code = reach(operand.format)
    bad = (scale * smallest_code > TOO_COARSE * largest) | (scale * largest_code < TOO_FINE * largest)
    bad &= largest > SMALLEST
    if bool(bad.any()):
        index = int(bad.flatten().nonzero()[0])
        given, there = float(scale.expand_as(bad).flatten()[index]), float(largest.flatten()[index])
        raise _unfit(name, f"a scale of {given:g}", there)


def reach(fmt: Format) -> tuple[float, float]:
    """The smallest and the largest magnitude above 0 of a format's values, in units of the scale.

    Examples
    --------
    >>> reach(Integer(bits=8))
    (1.0, 127.0)
    """
    if isinstance(fmt, Integer):
        return float(1 << fmt.dropped_bits), float(fmt.high)
    values = fmt.table().double().abs()
    values = values[values.isfinite() & (values > 0)]
    return (float(values.min()), float(values.max())) if len(values) else (0.0, math.inf)


def _check_sizes(name: str, sizes: Sequence[int], operand: OperandPlan, fixed: Sequence[int] = ()) -> None:
    """Scales broadcast to a tensor of `sizes`, with one for all along the axes `fixed`; groups have one per block."""
    assert operand.scale is not None
    wanted = list(sizes)
    for axis in fixed:
        wanted[axis] = 1
    if isinstance(operand.granularity, PerGroup):
        wanted[-1] = -(-sizes[-1] // operand.granularity.size)
        fits = list(operand.scale.shape) == wanted
    else:
        given = operand.scale.shape
        fits = len(given) <= len(wanted) and all(
            one in (1, all_) for one, all_ in zip(reversed(given), reversed(wanted), strict=False)
        )
    if not fits:
        raise InputError(
            f"the plan's scales of {name} have sizes {list(operand.scale.shape)} and do not fit {list(sizes)} scaled "
            f"by {operand.granularity}; calibrate it anew"
        )


def _largest(w: torch.Tensor, scale: torch.Tensor, operand: OperandPlan) -> torch.Tensor:
    """max |w| of what shares each scale, of the scale's sizes (with w's leading axes, where it has fewer)."""
    if isinstance(operand.granularity, PerGroup):
        size = operand.granularity.size
        padded = torch.nn.functional.pad(w, (0, -w.shape[-1] % size))
        return padded.unflatten(-1, (-1, size)).abs().amax(-1)
    full = [*[1] * (w.dim() - scale.dim()), *scale.shape]
    axes = [axis for axis, size in enumerate(full) if size == 1]
    return w.abs().amax(axes, keepdim=True) if axes else w.abs()


def _without_minimum(w: torch.Tensor, operand: OperandPlan) -> torch.Tensor:
    """What codes and scales stand for of w: less the minima of its groups."""
    if operand.minimum is None or not isinstance(operand.granularity, PerGroup):
        return w
    spread = operand.minimum.to(w.device).repeat_interleave(operand.granularity.size, -1)
    return w - spread[..., : w.shape[-1]]


def _unfit(name: str, scale: str, largest: float) -> InputError:
    return InputError(
        f"the plan gives {name} {scale}, and the largest magnitude there is {largest:g}: it was not made for these "
        "numbers; calibrate it anew"
    )
