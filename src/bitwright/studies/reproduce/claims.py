"""A published claim, what is measured here, and why they differ."""

import abc
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, TypedDict

from bitwright.shown import Headline, Table, Tabled
from bitwright.units import number

if TYPE_CHECKING:
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


class ClaimFigures(TypedDict):
    """A published claim beside what is measured here."""

    claim: Annotated[str, "what is said, in words"]
    source: Annotated[str, "who says it, and how sure that is"]
    published: Annotated[float | None, "the source's figure, in `unit`; null where it gives none"]
    measured: Annotated[float | None, "the same quantity here, in `unit`; null where `reason` says why"]
    unit: Annotated[str, "x is a ratio, points are percentage points"]
    reason: Annotated[str, "why the figures differ, from the numbers behind them"]


class ClaimLine(ClaimFigures):
    """A published claim beside what is measured here."""

    system: Annotated[str, "whose claim it is"]
    conditions: Annotated[str, "what was measured: network, input, machines, choices"]
    headline: Annotated[bool, "whether the source makes it a point"]


def claim_figures(claim: Claim) -> ClaimFigures:
    """What is said of it, published and measured."""
    return {
        "claim": claim.claim,
        "published": claim.published,
        "measured": claim.measured,
        "unit": claim.unit,
        "source": claim.source,
        "reason": claim.reason,
    }


class Claimed(Tabled):
    """What consists of claims: as a headline, a table and a picture.

    The frame `claims` has one line each: published and measured, in its unit, and why they differ.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {"claims": Table(ClaimLine, lambda found: found._claim_lines())}

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

    def _claim_lines(self) -> Iterator[ClaimLine]:
        for system, claims in self.by_system().items():
            for each in claims:
                yield {
                    "system": system,
                    **claim_figures(each),
                    "conditions": ", ".join(f"{key}: {value}" for key, value in each.conditions.items()),
                    "headline": each.headline,
                }

    def plot(self) -> "go.Figure":
        """Ratios that were published and measured, one against the other, as a plotly figure."""
        from bitwright.studies.drawing import draw_claims

        return draw_claims(self.by_system())
