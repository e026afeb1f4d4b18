"""Tables of the page: headers and cells of text, each with the number by which it sorts."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bitwright.reports.scores import difference, value
from bitwright.reports.words import amount, gain_words, header, judged_words, state_words
from bitwright.studies.compare import Comparison
from bitwright.studies.frontier import Frontier, OperatingPoint
from bitwright.studies.frontier.axes import CostAxis, cost_axis
from bitwright.studies.gains import gain
from bitwright.studies.machines import Footing
from bitwright.studies.objectives import ENERGY, LATENCY, OBJECTIVES
from bitwright.studies.row import Row
from bitwright.studies.simulate import Simulation
from bitwright.studies.systems import system_of
from bitwright.tasks.budget import Budget
from bitwright.units import DASH, number

SHORT = 24  # characters that stay on one line


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """Text, the number it sorts by (None: by its text), and a word for its style."""

    text: str
    sort: float | None = None
    style: str = ""

    def classes(self, numeric: bool) -> str:
        """How it is laid out: to the right in a column of numbers, and short words on one line."""
        kind = "number" if numeric else "short" if len(self.text) <= SHORT else "words"
        return f"{kind} {self.style}".rstrip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """Headers, with units, and rows of cells."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def numeric(self, column: int) -> bool:
        """Whether the column holds numbers."""
        return any(row[column].sort is not None for row in self.rows)


def words(text: str, style: str = "") -> Cell:
    """A cell of text."""
    return Cell(text=text, style=style)


def figure(value: float | None, digits: int = 4) -> Cell:
    """A cell of a number."""
    return Cell(text=number(value, digits), sort=value)


def standings(frontier: Frontier, network: str) -> list[Table]:
    """A table per objective: systems by rank."""
    return [
        Table(
            title=f"Least {objective.title} at {frontier.budget.words}",
            headers=[
                *("#", "system", "point chosen for it", "cost", "less than best static"),
                *(f"{header(frontier.budget)}, 95 % interval", "budget"),
            ],
            rows=[
                [
                    Cell(text=str(each.rank or DASH), sort=each.rank or 1e9),
                    words(each.system),
                    words(f"{each.best.row.method} on {each.best.row.accelerator}" if each.best else each.reason),
                    Cell(
                        text=amount(each.best.value(objective), objective) if each.best else DASH,
                        sort=each.best.value(objective) if each.best else None,
                    ),
                    Cell(text=gain_words(each), sort=each.gain),
                    _judged(each.best, frontier.budget),
                    words(*_state(each.best)),
                ]
                for each in frontier.standings_of(network, objective.name)
            ],
        )
        for objective in OBJECTIVES
    ]


def points(found: Sequence[OperatingPoint], budget: Budget) -> Table:
    """All operating points of a network."""
    costs = _Costs.of([point.row for point in found])
    return Table(
        title="All operating points",
        headers=[
            *("system", "method", "accelerator", "status", f"{header(budget)}, 95 % interval", f"budget {budget}"),
            *costs.headers(),
            "on the front of",
        ],
        rows=[
            [
                words(point.system),
                words(point.row.method),
                words(point.row.accelerator),
                _status(point.row),
                _judged(point, budget),
                words(*_state(point)),
                *costs.cells(point.row),
                words(", ".join(each.title for each in OBJECTIVES if each.name in point.fronts) or DASH),
            ]
            for point in found
        ],
    )


def rows(comparison: Comparison, network: str) -> Table:
    """One network's rows of a comparison, with how many times less each costs than the best static machine."""
    found, kinds = comparison.rows_of(network), comparison.substrate.kinds
    costs = _Costs.of(found)
    best = {objective: comparison.yardstick(network, objective) for objective in (ENERGY, LATENCY)}
    return Table(
        title="All rows",
        headers=[
            *("system", "method", "accelerator", "status", "score", "from float, 95 % interval"),
            *costs.headers()[: len(best)],
            *(f"{objective.title} gain" for objective in best),
            *costs.headers()[len(best) :],
        ],
        rows=[
            [
                words(system_of(row.method, row.accelerator, kinds) or DASH),
                words(row.method),
                words(row.accelerator),
                _status(row),
                *_score(row),
                *costs.cells(row)[: len(best)],
                *(figure(gain(row, measured, objective), 3) for objective, measured in best.items()),
                *costs.cells(row)[len(best) :],
            ]
            for row in found
        ],
    )


def _status(row: Row) -> Cell:
    return words(row.status, "" if row.status == "ok" else "missing")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Costs:
    """Columns of costs, each objective in the unit that its axis has."""

    axes: Sequence[CostAxis]

    @classmethod
    def of(cls, found: Sequence[Row]) -> "_Costs":
        """For these rows."""
        costed = _simulations(found)
        return cls(axes=[cost_axis(each, [each.of(simulation) for simulation in costed]) for each in OBJECTIVES])

    def headers(self) -> list[str]:
        """With units."""
        rest = ("cycles", "area [mm²]", "busy [%]", "executed [%]", "TOPS/W", "costed [% of products]")
        return [*(axis.title for axis in self.axes), *rest]

    def cells(self, row: Row) -> list[Cell]:
        """A row's; dashes where it has no costs."""
        found = row.simulation
        if found is None:
            return [Cell(text=DASH)] * len(self.headers())
        return [
            *(figure(axis.of(each.of(found))) for axis, each in zip(self.axes, OBJECTIVES, strict=True)),
            Cell(text=f"{found.cost.cycles:,}", sort=found.cost.cycles),
            figure(found.area.total_um2 / 1e6),
            figure(_percent(found.utilization), 3),
            figure(_percent(found.executed_share), 3),
            figure(found.tops_per_watt),
            figure(_percent(found.supported_share)),
        ]


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _score(row: Row) -> list[Cell]:
    if row.evaluation is None:
        return [Cell(text=DASH), Cell(text=DASH)]
    score = row.evaluation.score
    return [
        Cell(text=value(score), sort=score.value),
        Cell(text=difference(score), sort=score.value if score.difference is None else score.difference),
    ]


def _judged(point: OperatingPoint | None, budget: Budget) -> Cell:
    if point is None or point.judged is None:
        return Cell(text=DASH)
    return Cell(text=judged_words(point, budget), sort=budget.constraint.scale * point.judged.value)


def _state(point: OperatingPoint | None) -> tuple[str, str]:
    """Whether the budget is kept, and the style of that."""
    if point is None or point.state is None:
        return DASH, ""
    return state_words(point), "yes" if point.keeps else "no"


def prices(found: Iterable[Row]) -> Table:
    """Every price of every machine, with its source."""
    known: dict[tuple[str, ...], tuple[float, dict[str, None]]] = {}
    for simulation in _simulations(found):
        for event in simulation.cost.events:
            key = (event.component, event.name, event.unit, event.source, repr(event.price_pj))
            known.setdefault(key, (event.price_pj, {}))[1][simulation.accelerator] = None
    return Table(
        title="Prices of events",
        headers=["component", "event", "price [pJ]", "of one", "machines", "source"],
        rows=[
            [words(part), words(name), figure(price), words(unit), words(", ".join(machines)), words(source)]
            for (part, name, unit, source, _), (price, machines) in known.items()
        ],
    )


def areas(found: Iterable[Row]) -> Table:
    """Area of every machine by part, with its source."""
    machines = {simulation.accelerator: simulation.area for simulation in _simulations(found)}
    return Table(
        title="Areas",
        headers=["machine", "part", "area [mm²]", "source"],
        rows=[
            [words(name), words(part), figure(size / 1e6), words(area.sources.get(part, DASH))]
            for name, area in machines.items()
            for part, size in area.components_um2.items()
        ],
    )


def _simulations(found: Iterable[Row]) -> list[Simulation]:
    return [row.simulation for row in found if row.simulation is not None]


def differences(substrate: Footing) -> Table:
    """What is not as on the common substrate."""
    return Table(
        title="Differences from the common substrate",
        headers=["machine", "parameter", "here", "common"],
        rows=[
            [words(name), words(key), words(str(each.value)), words(str(each.common))]
            for name, of in substrate.differences.items()
            for key, each in of.items()
        ],
    )


def parameters(machines: Mapping[str, Mapping[str, Any]]) -> Table:
    """Parameters side by side; a dash where a machine has no such parameter."""
    keys = list(dict.fromkeys(key for own in machines.values() for key in own))
    return Table(
        title="Parameters of the machines",
        headers=["parameter", *machines],
        rows=[[words(key), *(words(str(own.get(key, DASH))) for own in machines.values())] for key in keys],
    )
