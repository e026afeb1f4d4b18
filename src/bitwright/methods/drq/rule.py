"""The precision rule of `drq`: a region of x whose mean magnitude is small is narrow, and so is the w that meets it."""

import dataclasses
from typing import ClassVar

from bitwright.methods.rules import SubTensors


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drq(SubTensors):
    """One site's rule.

    Attributes
    ----------
    threshold : float
        Least mean |code| of a sensitive region.
    """

    name: ClassVar[str] = "drq"

    threshold: float = 0.0
