"""Comparison: networks x methods x accelerators, one row each.

A method's score is measured once and stands in each of its rows. A cell that cannot be had says why, and the others
stay. Nothing is ranked: a difference from float whose interval holds 0 is marked as not separated.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import InputError
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose
from bitwright.networks.network import Network
from bitwright.studies.inputs import simulation_input
from bitwright.studies.provenance import Provenance
from bitwright.studies.row import Row
from bitwright.studies.simulate import Simulation, simulate_each
from bitwright.tasks import Task, get_task
from bitwright.tasks.calibrate import Calibrated, calibrate_method
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
    provenance : Provenance
        Command, seed, versions.
    """

    rows: tuple[Row, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    provenance: Provenance

    def frame(self) -> "pd.DataFrame":
        """One line per row, units in the columns' names; what a row does not have is NaN."""
        import pandas as pd

        return pd.DataFrame([row.record() for row in self.rows])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all networks of a comparison share; fields as in `evaluate` and `simulate`."""

    exact: bool = True
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    calibration_count: int | None = None
    batch_size: int | None = None
    seed: int = 0


def compare(
    networks: Sequence[Network],
    methods: Sequence[str],
    accelerators: Mapping[str, Accelerator],
    *,
    task: str | None = None,
    data: "Path | None" = None,
    limit: int | None = None,
    settings: Settings | None = None,
    provenance: Provenance,
    progress: Progress = silent,
) -> Comparison:
    """Every network with every method on every accelerator.

    Raises
    ------
    InputError
        An unknown method, option or task, or data that do not fit, before anything runs.
    """
    settings = settings or Settings()
    for method in methods:
        compose(method, options_of(method, settings.options, methods))
    tasks = [None if network.shape_only else _task(network, task, data, limit, settings.seed) for network in networks]
    if data is not None and not any(tasks):
        raise InputError(f"{data} was given and no network has numbers to be tested on it; leave --data out")
    if data is not None and len({each.name for each in tasks if each is not None}) > 1:
        raise InputError(f"{data} can serve one task only; compare networks of one kind, or leave --data out")
    rows: list[Row] = []
    for network, judge in zip(networks, tasks, strict=True):
        rows += _rows(network, judge, methods, accelerators, settings, progress)
    parameters = {name: machine.parameters() for name, machine in accelerators.items()}
    return Comparison(rows=tuple(rows), parameters=parameters, provenance=provenance)


def options_of(method: str, options: Mapping[str, Any], methods: Sequence[str]) -> dict[str, Any]:
    """Those of `options` that `method` has; an option that none of `methods` has is left in, to be refused."""
    known = {each: _fields(each) for each in methods}
    return {key: value for key, value in options.items() if key in known[method] or not _anyone(key, known)}


def _anyone(key: str, known: Mapping[str, set[str]]) -> bool:
    return any(key in fields for fields in known.values())


def _fields(method: str) -> set[str]:
    return {field for _, part, _ in compose(method).methods for field in part.options.model_fields}


def _task(network: Network, name: str | None, data: "Path | None", limit: int | None, seed: int) -> Task:
    return get_task(name, network=network, data=data, limit=limit, seed=seed)


def _rows(
    network: Network,
    task: Task | None,
    methods: Sequence[str],
    accelerators: Mapping[str, Accelerator],
    settings: Settings,
    progress: Progress,
) -> Iterator[Row]:
    """All rows of one network."""
    made = {method: _calibrated(network, method, methods, task, settings, progress) for method in methods}
    plans = {name: found.plan for name, found in made.items() if isinstance(found, Calibrated)}
    scores: dict[str, Evaluation | Exception] = {}
    if task is not None:
        scores = evaluate_many(
            network,
            plans,
            task,
            exact=settings.exact,
            calibrated_on={name: found.calibrated_on for name, found in made.items() if isinstance(found, Calibrated)},
            batch_size=settings.batch_size,
            seed=settings.seed,
            progress=lambda stage, done, total: progress(f"{network.name}: {stage}", done, total),
        )
    for method in methods:
        found = made[method]
        if isinstance(found, Exception):
            costs: dict[str, Simulation | Exception] = dict.fromkeys(accelerators, found)
        else:
            progress(f"{network.name}: simulating {method}", 0, 0)
            costs = _simulated(network, found.plan, accelerators, settings)
        for name in accelerators:
            yield Row.of(network, method, name, scores.get(method, found), costs[name])


def _calibrated(
    network: Network, method: str, methods: Sequence[str], task: Task | None, settings: Settings, progress: Progress
) -> Calibrated | Exception:
    progress(f"{network.name}: calibrating {method}", 0, 0)
    try:
        return calibrate_method(
            network,
            method,
            options=options_of(method, settings.options, methods),
            task=task,
            count=settings.calibration_count,
            seed=settings.seed,
        )
    except Exception as error:
        return error


def _simulated(
    network: Network, plan: Plan, accelerators: Mapping[str, Accelerator], settings: Settings
) -> dict[str, Simulation | Exception]:
    try:
        batch, described = simulation_input(network, seed=settings.seed)
        return simulate_each(network, plan, accelerators, batch=batch, described=described)
    except Exception as error:
        return dict.fromkeys(accelerators, error)
