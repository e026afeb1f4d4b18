"""Rules of a site's plan: how precision is chosen, and how products are added up.

A rule is a frozen dataclass whose type says what it is, registered under the entry point group `bitwright.rules` so
that plans with it can be saved; its fields are numbers, enumerations and tensors. `Static` precision and `Exact` sums
are what there is where no method says otherwise.
"""

import dataclasses
from typing import ClassVar, Protocol

from bitwright import registry
from bitwright.methods.plugin import rule_fault

GROUP = registry.group("bitwright.rules", rule_fault)


class Rule(Protocol):
    """A precision rule or an accumulation rule."""

    @property
    def name(self) -> str:
        """What reports call it."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Static:
    """Precision that is fixed beforehand, by the operands' formats."""

    name: ClassVar[str] = "static"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Exact:
    """Sums of integers that are wide enough never to overflow, or of a format's exact products."""

    name: ClassVar[str] = "exact"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubTensors:
    """What rules have in common that choose the precision of sub-tensors at run time.

    Attributes
    ----------
    block : int
        Most elements of the reduction in a sub-tensor; 0: all.
    region : int
        Pixels along each side of a sub-tensor of images.
    x_share, w_share : float or None
        What is stated to be narrow, 0 .. 1, where nothing can be measured (shapes only); w's of None: w goes with x.
    """

    name: ClassVar[str] = "sub-tensors"

    block: int = 0
    region: int = 1
    x_share: float | None = None
    w_share: float | None = None

    def __post_init__(self) -> None:
        if self.block < 0 or self.region < 1:
            raise ValueError(f"sub-tensors of {self.block} elements and {self.region} pixels; at least 0 and 1 do")


STATIC = Static()
EXACT = Exact()
