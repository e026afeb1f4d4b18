"""Into how many 4-bit slices a site's operands are cut, and which of them can be skipped."""

import dataclasses

from bitwright.formats import Integer, low_slices
from bitwright.methods.plan import SitePlan
from bitwright.methods.rules import Exact, Static
from bitwright.methods.vectors import sliceable

SLICE_BITS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Slicing:
    """Slices of both operands.

    Attributes
    ----------
    x_low, w_low : int
        Slices that are always multiplied.
    x_high, w_high : int
        1 if there is a high-order slice whose vectors can be skipped, else 0.
    """

    x_low: int
    x_high: int
    w_low: int
    w_high: int

    @property
    def x_slices(self) -> int:
        """All slices of x."""
        return self.x_low + self.x_high

    @property
    def w_slices(self) -> int:
        """All slices of w."""
        return self.w_low + self.w_high

    @property
    def products(self) -> int:
        """Slice products of one multiply-accumulate."""
        return self.x_slices * self.w_slices


def slicing_of(plan: SitePlan, *, single_is_high: bool) -> Slicing:
    """The slicing of a supported plan; `single_is_high`: whether the only slice of 4-bit weights can be skipped."""
    assert plan.x is not None
    assert plan.w is not None
    x_low = low_slices(plan.x.integer.bits) if plan.x.integer.signed else 1
    w_low = low_slices(plan.w.format.bits)
    w_high = int(w_low > 0 or single_is_high)
    return Slicing(x_low=x_low, x_high=1, w_low=w_low if w_high else 1, w_high=w_high)


def refusal(plan: SitePlan, *, unsigned_x: bool, method: str) -> str | None:
    """None if a machine with unsigned, or signed, activation slices runs the plan, else why not and what would help."""
    if not isinstance(plan.precision, Static):
        return (
            f"its precision is chosen at run time ({plan.precision.name}) and slices are cut beforehand; use {method}"
        )
    if not isinstance(plan.accumulation, Exact):
        return (
            f"its partial sums are quantized ({plan.accumulation.name}) and they are added exactly here; use {method}"
        )
    if plan.x is None or plan.w is None:
        return f"its operands are float32 and the array multiplies 4-bit slices of integers; use {method}"
    wanted = "unsigned 8-bit with a zero point" if unsigned_x else "signed of 4, 7, 10 or 13 bits"
    if not isinstance(plan.x.format, Integer) or not isinstance(plan.w.format, Integer):
        return f"x is {plan.x_type} and w is {plan.w_type}, and only integers have slices; use {method}"
    if plan.x.format.signed == unsigned_x or not sliceable(plan.x.format):
        return f"x is {plan.x_type} and its slices are made of codes that are {wanted}; use {method}"
    if not _signed_slices(plan.w.format):
        return f"w is {plan.w_type} and signed slices make 4, 7, 10 or 13 bits; use {method} or --option w_bits=7"
    if plan.w.zero_point or (plan.x.zero_point and not unsigned_x):
        return f"a signed operand has a zero point, which its slices cannot have; use {method}"
    return None


def _signed_slices(fmt: Integer) -> bool:
    return fmt.signed and sliceable(fmt)
