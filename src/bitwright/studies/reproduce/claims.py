"""A published claim, what is measured here, and why they differ."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bitwright.shown import Headline
from bitwright.units import number

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

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


class Claimed(abc.ABC):
    """What consists of claims: as a headline, a table and a picture."""

    @abc.abstractmethod
    def by_system(self) -> Mapping[str, Sequence[Claim]]:
        """System -> its claims, with what was measured."""

    @property
    @abc.abstractmethod
    def failed(self) -> bool:
        """Whether anything is missing that should be there."""

    def headline(self) -> Headline:
        """Every claim, published and measured."""
        found = self.by_system()
        figures = [
            (
                each.claim,
                f"published {number(each.published)} {each.unit}, measured {number(each.measured)} {each.unit}",
            )
            for claims in found.values()
            for each in claims
        ]
        return Headline(f"published beside measured, of {', '.join(found)}", figures)

    def frame(self) -> "pd.DataFrame":
        """One line per claim: published and measured, in its unit, and why they differ."""
        import pandas as pd

        lines = [
            {
                "system": system,
                "claim": each.claim,
                "published": each.published,
                "measured": each.measured,
                "unit": each.unit,
                "source": each.source,
                "conditions": ", ".join(f"{key}: {value}" for key, value in each.conditions.items()),
                "reason": each.reason,
                "headline": each.headline,
            }
            for system, claims in self.by_system().items()
            for each in claims
        ]
        return pd.DataFrame(lines).convert_dtypes()

    def plot(self) -> "go.Figure":
        """Ratios that were published and measured, one against the other, as a plotly figure."""
        from bitwright.studies.drawing import draw_claims

        return draw_claims(self.by_system())
