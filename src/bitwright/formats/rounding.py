"""How a real value becomes an integer code: rounding to integers and what happens outside the range.

Both are enums, so that software and hardware descriptions name the same rule (hls4ml's idea).
`round_to_integer` and `saturate` are the only places where the rules are applied to tensors.
"""

from __future__ import annotations

import enum

from bitwright.later import torch


class Rounding(enum.StrEnum):
    """Which integer stands for a real value between two integers."""

    HALF_EVEN = "half_even"  # nearest; ties to the even integer (IEEE 754, torch.round)
    HALF_UP = "half_up"  # nearest; ties towards +infinity: floor(x + 1/2), an adder and a shifter in hardware
    HALF_AWAY = "half_away"  # nearest; ties away from zero
    FLOOR = "floor"  # towards -infinity: dropping bits of a two's-complement word
    TOWARD_ZERO = "toward_zero"  # dropping bits of a sign-magnitude word


class Saturation(enum.StrEnum):
    """What becomes of an integer outside the format's range."""

    CLIP = "clip"  # the nearest end of the range
    WRAP = "wrap"  # two's-complement wrap-around, as a register without saturation logic


def round_to_integer(x: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """`x` rounded to integers by `rounding`; shape and dtype stay, infinities and NaN pass through."""
    match rounding:
        case Rounding.HALF_EVEN:
            return torch.round(x)
        case Rounding.HALF_UP:
            # floor(x + 1/2) would round up the largest float below 1/2; comparing the exact fraction does not.
            low = torch.floor(x)
            return low + (x - low >= 0.5).to(x.dtype)
        case Rounding.HALF_AWAY:
            magnitude = x.abs()
            low = torch.floor(magnitude)
            return torch.copysign(low + (magnitude - low >= 0.5).to(x.dtype), x)
        case Rounding.FLOOR:
            return torch.floor(x)
        case Rounding.TOWARD_ZERO:
            return torch.trunc(x)


def saturate(x: torch.Tensor, low: float, high: float, saturation: Saturation) -> torch.Tensor:
    """Integers `x` brought into [`low`, `high`]; `WRAP` counts modulo high - low + 1."""
    if saturation is Saturation.CLIP:
        return x.clamp(low, high)
    return torch.remainder(x - low, high - low + 1) + low
