"""What a plan must be before anything is executed by it: types, shapes and ranges that need no network to be judged.

A checksum says that a file is as it was written, not by whom. So whatever is read is held to what calibration gives:
scales are positive float32 numbers, as many as their granularity asks for, and codes of zero are codes. What only the
network can tell, whether scales fit its tensors, is looked at where they meet them (`bitwright.methods.fit`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bitwright.errors import InputError
from bitwright.formats import (
    ElementFormat,
    Format,
    Granularity,
    Integer,
    Minifloat,
    PerGroup,
    PerPosition,
    PerTensor,
    PerToken,
    PerTokenRange,
)
from bitwright.later import later, torch
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.methods.rules import Rule
from bitwright.networks.rotated_sites import Rotation, Where

if TYPE_CHECKING:
    from bitwright.networks import hadamard
else:
    hadamard = later("bitwright.networks.hadamard")

LARGEST_AXES = 8
LARGEST_NUMBER = 2**31 - 1


def check_plan(plan: Plan) -> None:
    """Raise ValueError, which names the part and what is wrong in a clause, for a plan that no calibration gives."""
    for name, site in plan.sites.items():
        _check_site(name, site)
    for name, factors in plan.smoothing.items():
        check_positive(f"smoothing/{name}", factors)
        if factors.dim() != 1:
            raise ValueError(f"smoothing/{name} is one factor per channel, not {_sizes(factors)}")
    for name, values in plan.weights.items():
        check_numbers(f"weights/{name}", values)
    for name, rotation in plan.rotations.items():
        _check_rotation(name, rotation)
    if plan.promise is not None and not (math.isfinite(plan.promise) and plan.promise >= 0):
        raise ValueError(f"promise is {plan.promise:g}; it is a loss of 0 or more")


def refuse_zero_points_of_rows(method: str, plan: Plan) -> None:
    """Raise `InputError` for a plan of operands to which a method adds what takes codes of different rows for alike."""
    own = [at for at, site in plan.sites.items() if site.x and isinstance(site.x.granularity, PerTokenRange)]
    if own:
        raise InputError(
            f"{method} narrows codes or sums of them, and rows of x at {own[0]} have zero points of their own; use "
            "x_granularity=token, or the method of operands alone"
        )


def check_numbers(name: str, tensor: torch.Tensor) -> None:
    """Raise ValueError unless a tensor holds finite real numbers."""
    if not tensor.is_floating_point():
        raise ValueError(f"{name} is {_type(tensor)}; real numbers are expected")
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} holds NaN or infinity")


def check_positive(name: str, tensor: torch.Tensor) -> None:
    """Raise ValueError unless a tensor holds one or more finite float32 numbers above 0."""
    if tensor.dtype != torch.float32:
        raise ValueError(f"{name} is {_type(tensor)}; float32 is expected")
    if not tensor.numel() or tensor.dim() > LARGEST_AXES:
        raise ValueError(f"{name} has sizes {_sizes(tensor)}; one or more numbers in at most {LARGEST_AXES} axes do")
    check_numbers(name, tensor)
    if not bool((tensor > 0).all()):
        raise ValueError(f"{name} holds {float(tensor.min()):g}; all are above 0")


def _check_site(name: str, site: SitePlan) -> None:
    for part, operand in (("x", site.x), ("w", site.w), ("y", site.y)):
        if operand is not None:
            _check_operand(f"sites/{name}/{part}", operand, weight=part == "w")
    for part, rule in (("precision", site.precision), ("accumulation", site.accumulation)):
        _check_rule(f"sites/{name}/{part}", rule)
    if site.y is not None and (site.y.scale is None or not isinstance(site.y.granularity, PerTensor)):
        raise ValueError(f"sites/{name}/y has no scale of its own; outputs are rounded by one factor")


def _check_rule(name: str, rule: Rule) -> None:
    """Numbers of a rule are sizes, widths, thresholds and shares; its type says more of them."""
    values: Mapping[str, object] = vars(rule)
    for key, value in values.items():
        if isinstance(value, torch.Tensor) and value.is_floating_point():
            check_numbers(f"{name}/{key}", value)
        elif isinstance(value, int | float) and not 0 <= value <= LARGEST_NUMBER:
            raise ValueError(f"{key} of {name} is {value:g}; it is from 0 to {LARGEST_NUMBER:,}")


def _check_operand(name: str, operand: OperandPlan, *, weight: bool) -> None:
    _check_scale(name, operand.scale, operand.granularity, either_sign=weight)
    _check_minimum(name, operand, weight=weight)
    _check_blocks(name, operand)
    _check_zero(name, operand.format, operand.zero_point)
    if isinstance(operand.granularity, PerTokenRange):
        _check_range(name, operand, weight=weight)
    most = 2**operand.format.dropped_bits - 1 if isinstance(operand.format, Integer) else 0
    if not 0 <= operand.dropped_mean <= most:
        raise ValueError(f"the dropped mean of {name} is {operand.dropped_mean:g}; it is of 0 to {most}")


def _check_blocks(name: str, operand: OperandPlan) -> None:
    """Narrow scales are of blocks of elements that have words, and floats among them of a tensor that has a scale."""
    fmt, tensor_scale = operand.scale_format, operand.tensor_scale
    if fmt is None:
        if tensor_scale is not None:
            raise ValueError(f"{name} has a scale of the tensor beside scales that are no narrow floats")
        return
    if not isinstance(operand.granularity, PerGroup) or not isinstance(operand.format, ElementFormat):
        raise ValueError(
            f"{name} is {operand.format.name} scaled per {operand.granularity} by {fmt.name}; such scales are of "
            "blocks of minifloats or fixed-point numbers"
        )
    if operand.scale is not None and not torch.equal(fmt.decode(fmt.encode(operand.scale)), operand.scale):
        raise ValueError(f"{name} has scales that are no {fmt.name}")
    if tensor_scale is not None:
        check_positive(f"{name}/tensor_scale", tensor_scale)
        if tensor_scale.numel() != 1 or not isinstance(fmt, Minifloat):
            raise ValueError(f"{name}/tensor_scale has sizes {_sizes(tensor_scale)}; narrow floats have one number")
    elif operand.scale is not None and isinstance(fmt, Minifloat):
        raise ValueError(f"{name} has scales of {fmt.name} and none of the tensor, which such are multiples of")


def _check_range(name: str, operand: OperandPlan, *, weight: bool) -> None:
    """Rows of x have unsigned codes whose zero points are their own."""
    if weight or not isinstance(operand.format, Integer) or operand.format.signed or operand.zero_point:
        raise ValueError(
            f"{name} is {operand.format.name} scaled per {operand.granularity} with a zero point of "
            f"{operand.zero_point}; such are unsigned integers of x, which need none beside their rows'"
        )


def _check_minimum(name: str, operand: OperandPlan, *, weight: bool) -> None:
    """Minima are of weights in groups, one beside each scale."""
    minimum, scale = operand.minimum, operand.scale
    if minimum is None:
        return
    if not weight or scale is None or not isinstance(operand.granularity, PerGroup):
        raise ValueError(f"{name} has minima, and only static weights in groups have some")
    if minimum.dtype != torch.float32 or minimum.shape != scale.shape:
        raise ValueError(
            f"the minima of {name} are {_type(minimum)} of sizes {_sizes(minimum)}; float32 of the scales' "
            f"{_sizes(scale)} are expected"
        )
    check_numbers(f"{name}/minimum", minimum)


def _check_scale(name: str, scale: torch.Tensor | None, granularity: Granularity, *, either_sign: bool) -> None:
    if scale is None:
        if isinstance(granularity, PerPosition):
            raise ValueError(f"{name} has no scales, and {granularity} are two static ones")
        return
    check_positive(name, scale.abs() if either_sign and isinstance(granularity, PerGroup) else scale)
    if isinstance(granularity, PerToken | PerTokenRange):
        raise ValueError(f"{name} has scales, and those of tokens are taken as the network runs")
    if isinstance(granularity, PerTensor) and scale.numel() != 1:
        raise ValueError(f"{name} has {scale.numel():,} scales; a tensor has one")
    if isinstance(granularity, PerPosition) and scale.shape != (2,):
        raise ValueError(f"{name} has scales of sizes {_sizes(scale)}; {granularity} are two")


def _check_zero(name: str, fmt: Format, zero_point: int) -> None:
    low, high = (fmt.low, fmt.high) if isinstance(fmt, Integer) else (0, 0)
    if not low <= zero_point <= high:
        raise ValueError(f"the zero point of {name} is {zero_point}; {fmt.name} has {low} to {high}")


def _check_rotation(name: str, rotation: Rotation) -> None:
    if bool(rotation.bits) != bool(rotation.step):
        raise ValueError(
            f"rotations/{name} has {rotation.bits} bits and a step of {rotation.step:g}; fixed point has both, "
            "floating point neither"
        )
    if rotation.bits == 1:
        raise ValueError(f"rotations/{name} is of 1 bit; fixed point has 2 or more")
    if rotation.where is Where.STREAM and (rotation.block or rotation.signs):
        raise ValueError(f"rotations/{name} has a block or signs; of the residual stream, one matrix is rotated by")
    if rotation.block == 1 or (rotation.block and not hadamard.is_order(rotation.block)):
        raise ValueError(
            f"rotations/{name} is in blocks of {rotation.block}, of which no Hadamard matrix is known here"
        )


def _type(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _sizes(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "none"
