"""What a study at equal accuracy found: points, fronts, standings, as a table and as a figure."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bitwright.errors import unknown_name
from bitwright.shown import Headline, Shown
from bitwright.studies.compare import Comparison
from bitwright.studies.frontier.points import OperatingPoint, Standing
from bitwright.studies.frontier.standings import baseline, front
from bitwright.studies.objectives import OBJECTIVES, Objective, objective_named
from bitwright.tasks.budget import MISSED, UNDECIDED, WITHIN, Budget
from bitwright.tasks.relative_loss import Judged
from bitwright.units import scaled

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go


STATES = (WITHIN, UNDECIDED, MISSED)
"""In the order of a table."""


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Frontier(Shown):
    """Systems at equal accuracy; `.frame()`, `.plot()`.

    Attributes
    ----------
    comparison : Comparison
        The same rows as those of `points`, with parameters, substrate and provenance.
    points : tuple of OperatingPoint
        By network, system, method, machine.
    standings : tuple of Standing
        By network, objective, system.
    budget : Budget
        What is constrained, and to what.
    constrained : mapping
        Network -> what that is of, in a phrase.
    split : mapping
        Network -> how its samples were halved to choose and to report, in a phrase; networks without a score have none.
    systems : mapping
        System -> what it is.
    """

    comparison: Comparison
    points: tuple[OperatingPoint, ...]
    standings: tuple[Standing, ...]
    budget: Budget
    constrained: Mapping[str, str]
    split: Mapping[str, str]
    systems: Mapping[str, str]

    def headline(self) -> Headline:
        """The cheapest point that keeps the budget, by network and objective."""
        figures = [
            (f"{network}, least {each.title}", self._winner(network, each))
            for network in self.networks
            for each in OBJECTIVES
        ]
        return Headline(f"{len(self.points)} operating points, {self.budget.words}", figures)

    def _winner(self, network: str, objective: Objective) -> str:
        ranked = self.standings_of(network, objective.name)
        best = ranked[0].best if ranked else None
        if best is None or not best.keeps:
            return "no point whose whole interval keeps the budget"
        cost = scaled(best.value(objective), objective.unit, objective.power).replace("mm2", "mm²")
        return f"{cost}: {ranked[0].system}, {best.row.method} on {best.row.accelerator}"

    @property
    def networks(self) -> list[str]:
        """Their names."""
        return list(dict.fromkeys(point.row.network for point in self.points))

    def points_of(self, network: str) -> list[OperatingPoint]:
        """One network's."""
        return [point for point in self.points if point.row.network == network]

    def front(self, network: str, objective: str) -> list[OperatingPoint]:
        """The Pareto front of what is constrained x objective, cheapest first."""
        return front(self.points_of(network), objective_named(objective))

    def baseline(self, network: str, objective: str) -> OperatingPoint | None:
        """The static point that others are measured by."""
        return baseline(self.points_of(network), objective_named(objective), self.budget)

    def standings_of(self, network: str, objective: str) -> list[Standing]:
        """Systems: within the budget, the cheapest first; undecided; missed; without a point."""
        found = [each for each in self.standings if (each.network, each.objective) == (network, objective)]
        return sorted(found, key=lambda each: _place(each, objective_named(objective)))

    def frame(self) -> "pd.DataFrame":
        """One line per point, units in the columns' names, losses as shares of 1; what is missing is NA.

        Losses, SQNR and what follows from them are of the samples that report; `choosing_` is of those that choose, in
        the budget's unit; scores are of all.
        """
        import pandas as pd

        return pd.DataFrame(self.records()).convert_dtypes()

    def records(self) -> list[dict[str, Any]]:
        """The lines of `frame`."""
        return [self._record(point) for point in self.points]

    def plot(self, network: str | None = None, objective: str = "energy") -> "go.Figure":
        """Loss against cost with the Pareto front, as a plotly figure.

        Parameters
        ----------
        network : str or None
            None is the first.
        objective : str
            energy, latency or energy_delay_area.

        Raises
        ------
        InputError
            For an unknown network or objective.
        """
        from bitwright.studies.frontier.drawing import draw

        if network is not None and network not in self.networks:
            raise unknown_name("network", network, self.networks)
        return draw(self, self.networks[0] if network is None else network, objective_named(objective))

    def _record(self, point: OperatingPoint) -> dict[str, Any]:
        row, found = point.row.record(), point.verdict
        loss, sqnr = (None, None) if found is None else (found.loss, found.sqnr)
        simulation = point.row.simulation
        kept = {key: row.pop(key) for key in ("network", "method", "accelerator", "status", "reason")}
        options = ", ".join(f"{key}={value}" for key, value in point.options.items())
        product = None if simulation is None else OBJECTIVES[2].of(simulation) * 10.0 ** OBJECTIVES[2].power
        return {
            "system": point.system,
            **kept,
            "options": options,
            **_figures("relative_loss", loss),
            **_figures("sqnr_db", sqnr),
            **_figures("choosing", found.chosen_by if found else None),
            **budget_record(self.budget),
            "budget_of": self.constrained.get(point.row.network),
            "within_budget": None if found is None else found.state == WITHIN,
            "budget_state": point.state,
            "separated_from_budget": found.separated if found else None,
            "comparable": point.comparable,
            **{f"on_front_{each.name}": each.name in point.fronts for each in OBJECTIVES},
            "energy_delay_area_j_s_mm2": product,
            **row,
            "substrate": self.comparison.substrate.name,
        }


def budget_record(budget: Budget) -> dict[str, Any]:
    """What is constrained, to what, in which unit."""
    return {
        "budget": budget.limit,
        "budget_unit": budget.constraint.stored,
        "budget_constrains": budget.words,
    }


def _figures(name: str, judged: Judged | None) -> dict[str, float | None]:
    """A value and the ends of its interval."""
    return {
        name: judged.value if judged else None,
        f"{name}_low": judged.interval.low if judged else None,
        f"{name}_high": judged.interval.high if judged else None,
    }


def _place(standing: Standing, objective: Objective) -> tuple[int, float]:
    """Where it is listed."""
    if standing.best is None:
        return len(STATES), 0.0
    assert standing.best.state is not None
    return STATES.index(standing.best.state), standing.best.value(objective) or 0.0
