"""The axis of a cost: logarithmic, in one unit with its prefix, with so few plain numbers that they stand apart."""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

from bitwright.studies.objectives import Objective
from bitwright.units import PREFIXES, exponent

MOST_TICKS = 6
APART = 0.13  # of the axis, between two ticks: a phone's is 300 pixels long
MARGIN = 0.08  # of the axis, on either side of the points
LEAST_SPAN = math.log10(1.5)  # of an axis, however close its points are
MANTISSAS = ((1, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,))  # of the ticks of a decade


@dataclasses.dataclass(frozen=True, kw_only=True)
class CostAxis:
    """How costs are drawn.

    Attributes
    ----------
    title : str
        What it shows, and the unit: `energy [mJ]`.
    unit : str
        With its prefix.
    power : int
        A cost in the objective's unit is multiplied by 10 to this.
    low, high : float
        The ends, in `unit`.
    """

    title: str
    unit: str
    power: int
    low: float
    high: float

    def of(self, cost: float) -> float:
        """A cost in the objective's unit, in the axis'."""
        return cost * 10.0**self.power

    def right(self, cost: float) -> bool:
        """Whether a cost lies in the right half."""
        return self.of(cost) ** 2 > self.low * self.high

    def layout(self) -> dict[str, Any]:
        """For plotly."""
        shown = ticks(self.low, self.high)
        return {
            "title": {"text": self.title},
            "type": "log",
            "range": [math.log10(self.low), math.log10(self.high)],
            "tickvals": shown,
            "ticktext": [f"{each:,.10g}" for each in shown],
        }


def cost_axis(objective: Objective, costs: Iterable[float | None], what: str = "") -> CostAxis:
    """The axis for costs as the objective has them; those that are 0 or missing are not drawn.

    Examples
    --------
    >>> from bitwright.studies.objectives import OBJECTIVES
    >>> axis = cost_axis(OBJECTIVES[0], [2.7e9, 2.9e9])  # pJ
    >>> axis.title, axis.layout()["ticktext"]
    ('energy [mJ]', ['2.5', '3', '3.5'])
    """
    known = [cost for cost in costs if cost]
    prefix = exponent(known, objective.power)
    unit = f"{PREFIXES[prefix]}{objective.unit}".replace("mm2", "mm²")
    power = objective.power - prefix
    ends = [math.log10(cost) + power for cost in (min(known, default=1.0), max(known, default=1.0))]
    span = max(ends[1] - ends[0], LEAST_SPAN) * (1 + 2 * MARGIN)
    middle = sum(ends) / 2
    return CostAxis(
        title=f"{objective.title}{what} [{unit}]",
        unit=unit,
        power=power,
        low=10 ** (middle - span / 2),
        high=10 ** (middle + span / 2),
    )


def ticks(low: float, high: float) -> list[float]:
    """Round numbers between two ends of a logarithmic axis, as many as stand apart.

    Examples
    --------
    >>> ticks(0.9, 120), ticks(2.4, 3.2), ticks(95, 96)
    ([1.0, 3.0, 10.0, 30.0, 100.0], [2.4, 2.6, 2.8, 3.0, 3.2], [95.0, 95.2, 95.4, 95.6, 95.8, 96.0])
    """
    return max((each for each in _offers(low, high) if _apart(each, low, high)), key=len, default=[])


def _offers(low: float, high: float) -> list[list[float]]:
    """By decades, every few decades, and in equal steps."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    offers = [[mantissa * 10.0**decade for decade in range(first, last + 1) for mantissa in some] for some in MANTISSAS]
    offers += [[10.0**decade for decade in range(first, last + 1) if decade % every == 0] for every in (2, 3, 5, 10)]
    for power in range(math.floor(math.log10((high - low) / MOST_TICKS)), last + 1):
        for step in (scale * 10.0**power for scale in (1, 2, 5)):
            offers.append([i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)])
            if len(offers[-1]) < 2:
                break
    slack = 1e-9
    return [
        [float(f"{each:.10g}") for each in offer if low * (1 - slack) <= each <= high * (1 + slack)] for offer in offers
    ]


def _apart(shown: Sequence[float], low: float, high: float) -> bool:
    if not 0 < len(shown) <= MOST_TICKS:
        return False
    gaps = [math.log10(b / a) for a, b in itertools.pairwise(shown)]
    return min(gaps, default=1.0) >= APART * math.log10(high / low)
