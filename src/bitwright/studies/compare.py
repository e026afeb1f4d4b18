"""Comparison: networks x methods x accelerators, one row each.

A method's score is measured once and stands in each of its rows. A cell that cannot be had says why, and the others
stay. Nothing is ranked: a difference from float whose interval holds 0 is marked as not separated.
"""

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import unknown_name
from bitwright.methods.protocol import compose
from bitwright.methods.sharing import sharing
from bitwright.networks.network import Network
from bitwright.shown import Headline, Table, Tabled
from bitwright.studies.cells import Cells, Wanted
from bitwright.studies.cost_tables import cost_tables
from bitwright.studies.gains import gain, yardstick
from bitwright.studies.inputs import check_plans
from bitwright.studies.judges import judges_of
from bitwright.studies.machines import COMMON, Footing, footing, kinds
from bitwright.studies.objectives import OBJECTIVES, Objective
from bitwright.studies.provenance import Provenance
from bitwright.studies.row import Row, RowNames, costed_rows
from bitwright.studies.systems import sensible_pairs
from bitwright.tasks import Labelled, Task
from bitwright.tasks.evaluate import Progress, silent

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

UNSUPPORTED = "unsupported"


class GainFigures(TypedDict):
    """How many times less a row costs than the best static machine; null where either cost is not known."""

    gain_energy: Annotated[float | None, "by energy"]
    gain_latency: Annotated[float | None, "by latency"]
    gain_energy_delay_area: Annotated[float | None, "by energy x latency x area"]
    substrate: Annotated[str, "what the machines stand on"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Comparison(Tabled):
    """The rows of a comparison and what they were made with; `.frame()`, `.plot()`.

    Frames: `rows`, one line each; and of all rows those of `Simulation`: `sites`, `components`, `site_components`,
    `events`, `total`.

    Attributes
    ----------
    rows : tuple of Row
        By network, method, accelerator, in the order asked for.
    parameters : mapping
        Of every accelerator.
    substrate : Footing
        What the accelerators stand on.
    provenance : Provenance
        Command, seed, versions.
    left_out : int
        Pairs of a method and an accelerator that do not fit, and that nobody asked for by name.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {
        "rows": Table(RowNames, lambda found: found.records()),
        **cost_tables(lambda found: costed_rows(found.rows)),
    }

    rows: tuple[Row, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    substrate: Footing
    provenance: Provenance
    left_out: int = 0

    def yardstick(self, network: str, objective: Objective) -> Row | None:
        """The static row that gains are measured by; None if there is none."""
        return yardstick(self.rows_of(network), objective, self.substrate.kinds)

    def headline(self) -> Headline:
        """Score and costs of every row."""
        title = f"{', '.join(self.networks)}: {len(self.rows)} rows on the {self.substrate.name} substrate"
        return Headline(title, [row.brief() for row in self.rows])

    @property
    def networks(self) -> list[str]:
        """Their names."""
        return list(dict.fromkeys(row.network for row in self.rows))

    def rows_of(self, network: str | None) -> list[Row]:
        """One network's rows, or all of them; raises `InputError` for a network that has none."""
        if network is not None and network not in self.networks:
            raise unknown_name("network", network, self.networks)
        return [row for row in self.rows if network in (None, row.network)]

    def frame(self, part: str | None = None, network: str | None = None) -> "pd.DataFrame":
        """A table in pandas, units in the columns' names; what a line does not have is NA.

        Parameters
        ----------
        part : str or None
            As above; None is `rows`.
        network : str or None
            Only this one's.

        Raises
        ------
        InputError
            Another table, or a network that has no rows.
        """
        of = self if network is None else dataclasses.replace(self, rows=tuple(self.rows_of(network)))
        return super(Comparison, of).frame(part)

    to_frame = frame

    def records(self) -> list[dict[str, Any]]:
        """The lines of `rows`."""
        best = {(name, each.name): self.yardstick(name, each) for name in self.networks for each in OBJECTIVES}
        return [{**row.record(), **self._gains(row, best)} for row in self.rows]

    def _gains(self, row: Row, best: Mapping[tuple[str, str], Row | None]) -> GainFigures:
        energy, latency, product = (gain(row, best[row.network, each.name], each) for each in OBJECTIVES)
        return {
            "gain_energy": energy,
            "gain_latency": latency,
            "gain_energy_delay_area": product,
            "substrate": self.substrate.name,
        }

    def plot(self, network: str | None = None, objective: str = "energy") -> "go.Figure":
        """Score against cost, or costs where there are no scores, as a plotly figure.

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
        from bitwright.studies.drawing import draw_scores
        from bitwright.studies.objectives import objective_named

        return draw_scores(self.rows_of(network or self.networks[0]), objective_named(objective))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all networks of a comparison share; other fields as in `evaluate`.

    Attributes
    ----------
    methods : tuple of str or None
        What is compared; None: of every system that has one of the accelerators the first.
    chosen : bool
        Whether the user named the accelerators. If not, methods stand with those that run them, and where no methods
        are named either, the systems with their own.
    plans : mapping
        Name of a row -> file of a plan that stands beside the methods.
    options : mapping
        Each goes to those of the methods that have it.
    samples, calibration_samples : iterable of batches or None
        The user's, as in `evaluate`; gone through once per network.
    """

    methods: tuple[str, ...] | None = None
    chosen: bool = True
    plans: "Mapping[str, Path]" = dataclasses.field(default_factory=dict)
    exact: bool = True
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    calibration_count: int | None = None
    batch_size: int | None = None
    seed: int = 0
    samples: Iterable[Any] | Path | None = dataclasses.field(default=None, repr=False)
    calibration_samples: Iterable[Any] | Path | None = dataclasses.field(default=None, repr=False)

    def pairs(self, network: Network, machines: Mapping[str, Accelerator]) -> dict[str, tuple[str, ...]]:
        """Method -> which of the machines; a network's own method stands first where none is named."""
        if self.methods is not None:
            return dict.fromkeys(self.methods, tuple(machines))
        own = {} if network.default_method is None else {network.default_method: tuple(machines)}
        return own | sensible_pairs(network.kind, list(machines) if self.chosen else None, kinds(machines))


def compare(
    networks: Sequence[Network],
    accelerators: Mapping[str, Accelerator],
    *,
    settings: Settings,
    provenance: Provenance,
    substrate: str = COMMON,
    task: str | None = None,
    data: "Path | Labelled | None" = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Comparison:
    """Every network with every method on every accelerator, which were built on `substrate`.

    Raises
    ------
    InputError
        An unknown method, option or task, a plan that is not there or has a method's name, or data that do not fit,
        before anything runs.
    """
    for network in networks:
        methods = settings.pairs(network, accelerators)
        check_plans(settings.plans, methods, "method")
        for method in methods:
            compose(method, options_of(method, methods, settings.options))
    tasks = judges_of(
        networks,
        task,
        data,
        limit,
        settings.seed,
        samples=settings.samples,
        calibration_samples=settings.calibration_samples,
    )
    rows: list[Row] = []
    for network, judge in zip(networks, tasks, strict=True):
        rows += _rows(network, judge, accelerators, settings, progress)
    fitting = rows if settings.chosen and settings.methods is not None else _fitting(rows)
    used = {row.accelerator for row in fitting}
    machines = {name: machine for name, machine in accelerators.items() if name in used}
    return Comparison(
        rows=tuple(fitting),
        left_out=len(rows) - len(fitting),
        parameters={name: machine.parameters() for name, machine in machines.items()},
        substrate=footing(machines, substrate),
        provenance=provenance,
    )


def options_of(method: str, methods: Collection[str], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that `method` has; one that none of the methods has is refused."""
    parts = {each: compose(each).methods for each in methods}
    fields = {each: {field for _, part, _ in of for field in part.options.model_fields} for each, of in parts.items()}
    known: set[str] = set().union(*fields.values())
    for key in options:
        if key not in known:
            raise unknown_name(f"option of {', '.join(methods)}", key, known)
    return {key: value for key, value in options.items() if key in fields[method]}


def _rows(
    network: Network,
    task: Task | None,
    accelerators: Mapping[str, Accelerator],
    settings: Settings,
    progress: Progress,
) -> Iterator[Row]:
    """All rows of one network."""
    methods, saved = (
        settings.pairs(network, accelerators),
        dict.fromkeys(settings.plans, tuple(accelerators)),
    )
    cells = Cells(
        network=network,
        judge=task,
        machines=accelerators,
        plans=settings.plans,
        exact=settings.exact,
        count=settings.calibration_count,
        batch_size=settings.batch_size,
        seed=settings.seed,
        progress=progress,
    )
    chosen = {name: options_of(name, methods, settings.options) for name in methods} | {name: {} for name in saved}
    wanted = [
        Wanted(name=name, choice=(name, chosen[name]), machines=machines)
        for name, machines in (methods | saved).items()
    ]
    with sharing():
        for cell in cells.of(wanted):
            for name, costed in cell.costs.items():
                yield Row.of(network, cell.name, name, cell.scored, costed)


def _fitting(rows: Sequence[Row]) -> list[Row]:
    """Rows without the pairs that do not fit, but for methods of which none does."""
    fits = {(row.network, row.method) for row in rows if row.status != UNSUPPORTED}
    return [row for row in rows if row.status != UNSUPPORTED or (row.network, row.method) not in fits]
