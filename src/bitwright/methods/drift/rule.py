"""The precision rule of `drift`: by its distribution, each sub-tensor of both operands stays wide or becomes narrow."""

import dataclasses
import math
from typing import ClassVar, Literal

from bitwright.methods.drift.conversion import Conversion, Narrowing
from bitwright.methods.rules import SubTensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drift(SubTensors):
    """One site's rule.

    Attributes
    ----------
    x_delta, w_delta : float or None
        Least mean absolute deviation of a narrow sub-tensor, in steps of its code; None: infinite, so that only what
        loses nothing is narrow.
    conversion : Conversion
        What narrow codes count from.
    """

    name: ClassVar[str] = "drift"

    x_delta: float | None = None
    w_delta: float | None = None
    conversion: Conversion = Conversion.ZERO

    def narrowing(self, operand: Literal["x", "w"]) -> Narrowing:
        """How an operand becomes narrow."""
        delta = self.x_delta if operand == "x" else self.w_delta
        return Narrowing(
            delta=math.inf if delta is None else delta,
            block=self.block,
            region=self.region,
            conversion=self.conversion,
        )


def finite(delta: float) -> float | None:
    """A delta as rules keep it: None where it is infinite, which JSON does not have."""
    return delta if math.isfinite(delta) else None
