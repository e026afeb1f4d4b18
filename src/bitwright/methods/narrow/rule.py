"""The accumulation rule of `narrow`: a running sum of few significant bits, rounded at every addition."""

import dataclasses
from typing import ClassVar


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
