"""The study: every system's points are calibrated, judged and costed; equal ones of several systems once."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import InputError, unknown_name
from bitwright.methods.protocol import compose, method_names
from bitwright.methods.sharing import sharing
from bitwright.networks.network import Network
from bitwright.studies.cells import Cell, Cells, Wanted, label
from bitwright.studies.compare import Comparison
from bitwright.studies.frontier.halves import Verdict, split_words, verdict
from bitwright.studies.frontier.points import OperatingPoint
from bitwright.studies.frontier.result import Frontier
from bitwright.studies.frontier.standings import compared, standings
from bitwright.studies.inputs import check_plans
from bitwright.studies.machines import COMMON, footing, kinds
from bitwright.studies.provenance import Provenance
from bitwright.studies.row import Row
from bitwright.studies.systems import STATIC, SYSTEMS, Choice, System, machines_of
from bitwright.tasks import Labelled, Task, get_task
from bitwright.tasks.budget import MISSED, UNDECIDED, Budget
from bitwright.tasks.evaluate import Evaluation, Progress, require_numbers, silent

LIMITS = {"image": 250, "sentence": 800, "language": 2048}
CALIBRATION = {"image": 16, "sentence": 32, "language": 8}
"""Samples to judge and to calibrate by, unless the user says: for minutes per network, not hours. Half of those that
judge choose; 2,048 tokens are 16 blocks, 8 in each half.
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontierSettings:
    """What all networks of a study share.

    Attributes
    ----------
    budget : Budget
        What is constrained, and to what.
    systems : tuple of str
        Of `SYSTEMS`, or names of methods, each a system of one point on every machine; empty: all systems. The
        static ones are always among them.
    plans : mapping
        Name -> file of a saved plan, each a system of one point on every machine.
    exact, calibration_count, batch_size, seed, samples, calibration_samples
        As in `evaluate`.
    """

    budget: Budget
    systems: tuple[str, ...] = ()
    plans: "Mapping[str, Path]" = dataclasses.field(default_factory=dict)
    exact: bool = True
    calibration_count: int | None = None
    batch_size: int | None = None
    seed: int = 0
    samples: Iterable[Any] | Path | None = dataclasses.field(default=None, repr=False)
    calibration_samples: Iterable[Any] | Path | None = dataclasses.field(default=None, repr=False)


def systems_of(
    names: Sequence[str], machines: Sequence[str], kinds: Mapping[str, str] | None = None
) -> dict[str, System]:
    """The systems asked for and the static ones, with those of their machines that are among `machines`.

    Parameters
    ----------
    kinds : mapping or None
        The registered accelerator that a machine of another name is.

    Raises
    ------
    InputError
        For a name that is neither a system nor a method, and systems none of whose machines was asked for.
    """
    chosen: dict[str, System] = {}
    for name in dict.fromkeys([*STATIC, *names]) if names else SYSTEMS:
        system = SYSTEMS.get(name) or _of_method(name, machines)
        kept = machines_of(system, machines, kinds or {})
        if kept:
            chosen[name] = dataclasses.replace(system, machines=kept)
    if not chosen:
        raise InputError(f"no system has its machine among {', '.join(machines)}; leave --accelerators out")
    return chosen


def _of_method(name: str, machines: Sequence[str]) -> System:
    known = {*SYSTEMS, *method_names()}
    if any(part not in known for part in name.split("+")):
        raise unknown_name("system, or method", name, known)
    compose(name)
    return System(about=f"method {name} on every machine", machines=tuple(machines), choices=((name, {}),))


def frontier(
    networks: Sequence[Network],
    accelerators: Mapping[str, Accelerator],
    *,
    settings: FrontierSettings,
    provenance: Provenance,
    substrate: str = COMMON,
    task: str | None = None,
    data: "Path | Labelled | None" = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Frontier:
    """Every system's points on every network; `accelerators` were built on `substrate`.

    Raises
    ------
    InputError
        An unknown system or task, a plan that is not there, a network without numbers, or data that do not fit, before
        anything runs. What goes wrong later stands at its point.
    """
    systems = systems_of(settings.systems, list(accelerators), kinds(accelerators))
    check_plans(settings.plans, {*systems, *method_names()}, "system or method")
    for name in settings.plans:
        systems[name] = System(about=f"the saved plan {name}", machines=tuple(accelerators), choices=((name, {}),))
    for network in networks:
        require_numbers(network)
    judges = [_judge(network, task, data, limit, settings) for network in networks]
    points: list[OperatingPoint] = []
    found = []
    for network, judge in zip(networks, judges, strict=True):
        with sharing():
            own = compared(list(_points(network, judge, systems, accelerators, settings, progress)))
        points += own
        found += standings(network.name, own, settings.budget)
    used = dict.fromkeys(machine for system in systems.values() for machine in system.machines)
    machines = {name: accelerators[name] for name in accelerators if name in used}
    return Frontier(
        comparison=Comparison(
            rows=tuple(point.row for point in points),
            parameters={name: machine.parameters() for name, machine in machines.items()},
            substrate=footing(machines, substrate),
            provenance=provenance,
        ),
        points=tuple(points),
        standings=tuple(found),
        budget=settings.budget,
        constrained={network.name: settings.budget.of(judge) for network, judge in zip(networks, judges, strict=True)},
        split=_splits(points),
        systems={name: system.about for name, system in systems.items()},
    )


def _splits(points: Sequence[OperatingPoint]) -> dict[str, str]:
    """Network -> how its samples were halved."""
    scores = {point.row.network: point.row.evaluation.score for point in points if point.row.evaluation is not None}
    return {name: split_words(score) for name, score in scores.items()}


def _judge(
    network: Network, task: str | None, data: "Path | Labelled | None", limit: int | None, settings: FrontierSettings
) -> Task:
    given = isinstance(data, Labelled) or (settings.samples is not None and data is None)  # batches come as they are
    if limit is None and not given:
        limit = LIMITS.get(network.kind)
    return get_task(
        task,
        network=network,
        data=data,
        limit=limit,
        seed=settings.seed,
        samples=settings.samples,
        calibration_samples=settings.calibration_samples,
    )


def _points(
    network: Network,
    judge: Task,
    systems: Mapping[str, System],
    accelerators: Mapping[str, Accelerator],
    settings: FrontierSettings,
    progress: Progress,
) -> Iterator[OperatingPoint]:
    """One network's points, by system, method and machine; equal choices of several systems are judged once."""
    share = settings.budget.search_share
    offered = {name: system.offered(share, network.kind) for name, system in systems.items()}
    choices = {label(choice): choice for each in offered.values() for choice in each}
    machines: dict[str, dict[str, None]] = {name: {} for name in choices}
    for name, system in systems.items():
        for choice in offered[name]:
            machines[label(choice)] |= dict.fromkeys(system.machines)
    cells = Cells(
        network=network,
        judge=judge,
        machines=accelerators,
        plans=settings.plans,
        exact=settings.exact,
        count=settings.calibration_count or CALIBRATION.get(network.kind),
        batch_size=settings.batch_size,
        seed=settings.seed,
        progress=progress,
    )
    wanted = [Wanted(name=name, choice=choice, machines=tuple(machines[name])) for name, choice in choices.items()]
    found = {cell.name: cell for cell in cells.of(wanted)}
    verdicts = {
        cell.name: verdict(judge, cell.scored, settings.budget, seed=settings.seed)
        for cell in found.values()
        if isinstance(cell.scored, Evaluation)
    }
    for name, system in systems.items():
        for choice in offered[name]:
            for machine in system.machines:
                cell = found[label(choice)]
                yield _point(network, name, choice, machine, cell, verdicts.get(cell.name))


def _point(
    network: Network,
    system: str,
    choice: Choice,
    machine: str,
    cell: Cell,
    judged: Verdict | None,
) -> OperatingPoint:
    row = Row.of(network, cell.name, machine, cell.scored, cell.costs[machine])
    if row.status == "failed" and isinstance(cell.scored, InputError):
        row = dataclasses.replace(row, status="refused")
    if row.status in {MISSED, UNDECIDED}:  # of its own budget; here the user's decides
        row = dataclasses.replace(row, status="ok", reason="")
    return OperatingPoint(system=system, row=row, options=choice[1], verdict=judged)
