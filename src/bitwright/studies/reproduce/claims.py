"""A published claim, what is measured here, and why they differ."""

import dataclasses
from collections.abc import Mapping

NOT_MEASURED = "not measured"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Claim:
    """What a source says beside what is measured; as a system lists it, nothing is measured yet.

    Attributes
    ----------
    claim : str
        In words, what is said.
    source : str
        Who says it, and how sure that is.
    published : float or None
        The source's figure, in `unit`; None where it gives none.
    measured : float or None
        The same quantity here, in `unit`; None where `reason` says why there is none.
    unit : str
        `x` is a ratio, `points` are percentage points.
    conditions : mapping
        What was measured: network, input, machines, choices.
    reason : str
        Why the figures differ, from the numbers behind them.
    headline : bool
        Whether the source makes it a point, so that it is shown where all systems are; bars of charts are not.
    """

    claim: str
    source: str
    published: float | None
    unit: str
    measured: float | None = None
    conditions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    reason: str = NOT_MEASURED
    headline: bool = True

    def found(self, measured: float | None, conditions: Mapping[str, str], reason: str) -> "Claim":
        """The same claim with what was measured."""
        return dataclasses.replace(self, measured=measured, conditions=conditions, reason=reason)
