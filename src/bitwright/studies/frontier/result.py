"""What a study at equal accuracy found: points, fronts, standings, as a table and as a figure."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict, cast

from bitwright.errors import unknown_name
from bitwright.shown import Headline, Table, Tabled
from bitwright.studies.compare import Comparison
from bitwright.studies.cost_tables import Named, cost_tables
from bitwright.studies.frontier.points import OperatingPoint, Standing
from bitwright.studies.frontier.standings import baseline, front
from bitwright.studies.objectives import OBJECTIVES, Objective, objective_named
from bitwright.studies.row import RowNames
from bitwright.studies.simulation import Simulation
from bitwright.tasks.budget import MISSED, UNDECIDED, WITHIN, Budget
from bitwright.tasks.relative_loss import Judged
from bitwright.units import scaled

if TYPE_CHECKING:
    import plotly.graph_objects as go


STATES = (WITHIN, UNDECIDED, MISSED)
"""In the order of a table."""


class BudgetFigures(TypedDict):
    """What is constrained."""

    budget: Annotated[float, "the limit, in `budget_unit`"]
    budget_unit: Annotated[str, "share of 1, or dB"]
    budget_constrains: Annotated[str, "in words, what is to be within which limit"]


class PointFigures(BudgetFigures):
    """An operating point: a system's method with options on a machine; losses are shares of 1.

    Losses, SQNR and what follows from them are of the samples that report; `choosing` is of those that choose, in the
    budget's unit; scores are of all.
    """

    system: Annotated[str, "whose choice it is"]
    options: Annotated[str, "of the method, as key=value"]
    relative_loss: Annotated[float | None, "from the float network, as a share of 1"]
    relative_loss_low: Annotated[float | None, "lower end of its 95 % interval"]
    relative_loss_high: Annotated[float | None, "upper end"]
    sqnr_db: Annotated[float | None, "signal to quantization noise of the outputs, in dB"]
    sqnr_db_low: Annotated[float | None, "lower end of its 95 % interval"]
    sqnr_db_high: Annotated[float | None, "upper end"]
    choosing: Annotated[float | None, "what the budget constrains, on the half that chooses, in `budget_unit`"]
    choosing_low: Annotated[float | None, "lower end of its 95 % interval"]
    choosing_high: Annotated[float | None, "upper end"]
    budget_of: Annotated[str | None, "what the budget is of, in a phrase"]
    within_budget: Annotated[bool | None, "whether the whole interval keeps it"]
    budget_state: Annotated[str | None, "within, undecided or missed; null where there is no score"]
    separated_from_budget: Annotated[bool | None, "whether the interval leaves the limit out"]
    comparable: Annotated[bool, "whether it costs as large a share of the products as any point of its network"]
    on_front_energy: Annotated[bool, "whether it is on the Pareto front of energy"]
    on_front_latency: Annotated[bool, "of latency"]
    on_front_energy_delay_area: Annotated[bool, "of energy x latency x area"]
    energy_delay_area_j_s_mm2: Annotated[float | None, "energy x latency x area, in J s mm2"]
    substrate: Annotated[str, "what the machines stand on"]


class PointLine(RowNames, PointFigures):
    """An operating point."""


class StandingLine(TypedDict):
    """Where a system stands under the budget by one objective."""

    network: Annotated[str, "its name"]
    objective: Annotated[str, "energy, latency or energy_delay_area"]
    system: Annotated[str, "its name"]
    rank: Annotated[int | None, "1 is the cheapest within the budget; null for what is not within"]
    method: Annotated[str | None, "of the point that was chosen for it"]
    accelerator: Annotated[str | None, "of that point"]
    relative_loss: Annotated[float | None, "of that point, from the float network, as a share of 1"]
    sqnr_db: Annotated[float | None, "of that point, in dB"]
    budget_constrains: Annotated[str, "in words, what is to be within which limit"]
    budget_state: Annotated[str | None, "within, undecided or missed"]
    separated_from_budget: Annotated[bool | None, "whether the interval leaves the limit out"]
    times_less_than_best_static: Annotated[float | None, "cost of the best static point by this one's"]
    reason: Annotated[str | None, "why there is no point"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Frontier(Tabled):
    """Systems at equal accuracy; `.frame()`, `.plot()`.

    Frames: `points`, one line each; `standings`, one per network, objective and system; and of all points those of
    `Simulation`: `sites`, `components`, `site_components`, `events`, `total`.

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

    TABLES: ClassVar[Mapping[str, Table]] = {
        "points": Table(PointLine, lambda found: found.records()),
        "standings": Table(StandingLine, lambda found: found.standing_lines()),
        **cost_tables(lambda found: found._costed()),
    }

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

    def records(self) -> list[dict[str, Any]]:
        """The lines of `points`."""
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
        names: RowNames = {**point.row.names, "status": point.row.status, "reason": point.row.reason}
        product = None if simulation is None else OBJECTIVES[2].of(simulation) * 10.0 ** OBJECTIVES[2].power
        loss_low, loss_high = _ends(loss)
        sqnr_low, sqnr_high = _ends(sqnr)
        chosen = found.chosen_by if found else None
        chosen_low, chosen_high = _ends(chosen)
        energy, latency, together = (each.name in point.fronts for each in OBJECTIVES)
        line: PointLine = {
            "system": point.system,
            **names,
            "options": ", ".join(f"{key}={value}" for key, value in point.options.items()),
            "relative_loss": loss.value if loss else None,
            "relative_loss_low": loss_low,
            "relative_loss_high": loss_high,
            "sqnr_db": sqnr.value if sqnr else None,
            "sqnr_db_low": sqnr_low,
            "sqnr_db_high": sqnr_high,
            "choosing": chosen.value if chosen else None,
            "choosing_low": chosen_low,
            "choosing_high": chosen_high,
            **budget_record(self.budget),
            "budget_of": self.constrained.get(point.row.network),
            "within_budget": None if found is None else found.state == WITHIN,
            "budget_state": point.state,
            "separated_from_budget": found.separated if found else None,
            "comparable": point.comparable,
            "on_front_energy": energy,
            "on_front_latency": latency,
            "on_front_energy_delay_area": together,
            "energy_delay_area_j_s_mm2": product,
            "substrate": self.comparison.substrate.name,
        }
        return {**line, **{key: value for key, value in row.items() if key not in names}}

    def _standing(self, standing: Standing) -> StandingLine:
        best = standing.best
        found = best.verdict if best else None
        return {
            "network": standing.network,
            "objective": standing.objective,
            "system": standing.system,
            "rank": standing.rank,
            "method": best.row.method if best else None,
            "accelerator": best.row.accelerator if best else None,
            "relative_loss": found.loss.value if found else None,
            "sqnr_db": found.sqnr.value if found and found.sqnr else None,
            "budget_constrains": self.budget.words,
            "budget_state": best.state if best else None,
            "separated_from_budget": found.separated if found else None,
            "times_less_than_best_static": standing.gain,
            "reason": standing.reason or None,
        }

    def standing_lines(self) -> list[StandingLine]:
        """The lines of `standings`."""
        return [self._standing(each) for each in self.standings]

    def _costed(self) -> Iterator[tuple[Named, Simulation]]:
        for point in self.points:
            if point.row.simulation is not None:
                yield cast(Named, {"system": point.system, **point.row.names}), point.row.simulation


def budget_record(budget: Budget) -> BudgetFigures:
    """What is constrained, to what, in which unit."""
    return {
        "budget": budget.limit,
        "budget_unit": budget.constraint.stored,
        "budget_constrains": budget.words,
    }


def _ends(judged: Judged | None) -> tuple[float | None, float | None]:
    return (None, None) if judged is None else (judged.interval.low, judged.interval.high)


def _place(standing: Standing, objective: Objective) -> tuple[int, float]:
    """Where it is listed."""
    if standing.best is None:
        return len(STATES), 0.0
    assert standing.best.state is not None
    return STATES.index(standing.best.state), standing.best.value(objective) or 0.0
