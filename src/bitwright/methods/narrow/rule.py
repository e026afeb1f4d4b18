"""The accumulation rule of `narrow`: a running sum of few significant bits, rounded at every addition."""

import dataclasses
from typing import ClassVar

MOST_BITS = 51
"""Float64, in which sums are kept, has two more, which a sum rounded to odd needs."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NarrowSums:
    """One site's rule.

    Attributes
    ----------
    bits : int
        Significant bits of a sum, the leading one included.
    """

    name: ClassVar[str] = "narrow"

    bits: int

    def __post_init__(self) -> None:
        if not 2 <= self.bits <= MOST_BITS:
            raise ValueError(f"sums of {self.bits} significant bits; from 2 to {MOST_BITS} do")
