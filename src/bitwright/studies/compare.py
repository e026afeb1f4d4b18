"""Comparison: networks x methods x accelerators, one row each.

A method's score is measured once and stands in each of its rows. A cell that cannot be had says why, and the others
stay. Nothing is ranked: a difference from float whose interval holds 0 is marked as not separated.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import unknown_name
from bitwright.methods.plan import Plan
from bitwright.methods.plan_file import load_plan
from bitwright.methods.progress import reporting, within
from bitwright.methods.protocol import compose
from bitwright.networks.network import Network
from bitwright.studies.inputs import check_plans, simulation_input
from bitwright.studies.judges import judges_of
from bitwright.studies.machines import COMMON, Footing, footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.row import Row
from bitwright.studies.simulate import Simulation, simulate_each
from bitwright.tasks import Task
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import Evaluation, Progress, evaluate_many, silent

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

METHODS = ("float", "int8", "int8-sym")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """The rows of a comparison and what they were made with.

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
    """

    rows: tuple[Row, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    substrate: Footing
    provenance: Provenance

    def frame(self) -> "pd.DataFrame":
        """One line per row, units in the columns' names; what a row does not have is NA."""
        import pandas as pd

        records = [{**row.record(), "substrate": self.substrate.name} for row in self.rows]
        return pd.DataFrame(records).convert_dtypes()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all networks of a comparison share; other fields as in `evaluate`.

    Attributes
    ----------
    methods : tuple of str
        What is compared.
    plans : mapping
        Name of a row -> file of a plan that stands beside the methods.
    options : mapping
        Each goes to those of the methods that have it.
    samples, calibration_samples : iterable of batches or None
        The user's, as in `evaluate`; gone through once per network.
    """

    methods: tuple[str, ...] = METHODS
    plans: "Mapping[str, Path]" = dataclasses.field(default_factory=dict)
    exact: bool = True
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    calibration_count: int | None = None
    batch_size: int | None = None
    seed: int = 0
    samples: Iterable[Any] | None = dataclasses.field(default=None, repr=False)
    calibration_samples: Iterable[Any] | None = dataclasses.field(default=None, repr=False)


def compare(
    networks: Sequence[Network],
    accelerators: Mapping[str, Accelerator],
    *,
    settings: Settings,
    provenance: Provenance,
    substrate: str = COMMON,
    task: str | None = None,
    data: "Path | None" = None,
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
    check_plans(settings.plans, settings.methods, "method")
    for method in settings.methods:
        compose(method, options_of(method, settings))
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
    parameters = {name: machine.parameters() for name, machine in accelerators.items()}
    return Comparison(
        rows=tuple(rows), parameters=parameters, substrate=footing(accelerators, substrate), provenance=provenance
    )


def options_of(method: str, settings: Settings) -> dict[str, Any]:
    """The options that `method` has; one that none of the methods has is refused."""
    parts = {each: compose(each).methods for each in settings.methods}
    fields = {each: {field for _, part, _ in of for field in part.options.model_fields} for each, of in parts.items()}
    known: set[str] = set().union(*fields.values())
    for key in settings.options:
        if key not in known:
            raise unknown_name(f"option of {', '.join(settings.methods)}", key, known)
    return {key: value for key, value in settings.options.items() if key in fields[method]}


def _rows(
    network: Network,
    task: Task | None,
    accelerators: Mapping[str, Accelerator],
    settings: Settings,
    progress: Progress,
) -> Iterator[Row]:
    """All rows of one network."""

    def tell(stage: str, done: int, total: int) -> None:
        progress(f"{network.name}: {stage}", done, total)

    made = {method: _calibrated(network, method, task, settings, tell) for method in settings.methods}
    made |= {name: _loaded(network, file) for name, file in settings.plans.items()}
    ready = {name: found for name, found in made.items() if isinstance(found, Plan)}
    scores = {} if task is None else _scores(network, ready, task, settings, tell)
    for method, found in made.items():
        if isinstance(found, Exception):
            costs: dict[str, Simulation | Exception] = dict.fromkeys(accelerators, found)
        else:
            tell(f"simulating {method}", 0, 0)
            costs = _simulated(network, found, accelerators, settings)
        for name in accelerators:
            yield Row.of(network, method, name, scores.get(method, found), costs[name])


def _calibrated(
    network: Network, method: str, task: Task | None, settings: Settings, progress: Progress
) -> Plan | Exception:
    try:
        with reporting(within(progress, f"calibrating {method}")):
            return calibrate_method(
                network,
                method,
                options=options_of(method, settings),
                task=task,
                count=settings.calibration_count,
                seed=settings.seed,
            )
    except Exception as error:
        return error


def _loaded(network: Network, file: "Path") -> Plan | Exception:
    try:
        return load_plan(file, network)
    except Exception as error:
        return error


def _scores(
    network: Network, ready: Mapping[str, Plan], task: Task, settings: Settings, progress: Progress
) -> dict[str, Evaluation | Exception]:
    try:
        return evaluate_many(
            network,
            ready,
            task,
            exact=settings.exact,
            batch_size=settings.batch_size,
            seed=settings.seed,
            progress=progress,
        )
    except Exception as error:  # of the data or of the float network: nobody has a score
        return dict.fromkeys(ready, error)


def _simulated(
    network: Network, plan: Plan, accelerators: Mapping[str, Accelerator], settings: Settings
) -> dict[str, Simulation | Exception]:
    try:
        batch, described = simulation_input(network, seed=settings.seed)
        return simulate_each(network, plan, accelerators, batch=batch, described=described)
    except Exception as error:
        return dict.fromkeys(accelerators, error)
