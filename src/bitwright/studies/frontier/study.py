"""The study: every family's points are calibrated, judged and costed, a few plans at a time.

The float network runs once per batch for all of them; plans that begin alike share their calibration, equal ones are
judged once, and encoded weights live only as long as the few plans they belong to.
"""

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import InputError, unknown_name
from bitwright.methods.plan import Plan
from bitwright.methods.plan_file import load_plan
from bitwright.methods.progress import reporting
from bitwright.methods.protocol import compose, method_names
from bitwright.methods.sharing import sharing
from bitwright.networks.network import Batch, Network
from bitwright.studies.compare import Comparison
from bitwright.studies.frontier.families import BASELINE, FAMILIES, Choice, Family
from bitwright.studies.frontier.points import OperatingPoint
from bitwright.studies.frontier.result import Frontier
from bitwright.studies.frontier.standings import compared, standings
from bitwright.studies.inputs import check_plans, simulation_input
from bitwright.studies.machines import COMMON, footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.row import Row
from bitwright.studies.simulate import Simulation, simulate_each
from bitwright.tasks import Task, get_task
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import Evaluation, Progress, evaluate_many, require_numbers, silent
from bitwright.tasks.float_outputs import FloatOutputs
from bitwright.tasks.relative_loss import RelativeLoss, meaning, relative_loss

if TYPE_CHECKING:
    from pathlib import Path

PLANS_AT_ONCE = 3
"""Whose encoded weights are in memory together; our choice."""
FLOAT = "float"
LIMITS = {"image": 250, "sentence": 400, "language": 1024}
CALIBRATION = {"image": 16, "sentence": 32, "language": 8}
"""Samples to judge and to calibrate by, unless the user says: so that a network takes less than half an hour."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FrontierSettings:
    """What all networks of a study share.

    Attributes
    ----------
    budget : float
        The largest relative loss that is accepted, as a share of 1.
    families : tuple of str
        Of `FAMILIES`, or names of methods, each a system of one point on every machine; empty: all families. The
        baseline is always among them.
    plans : mapping
        Name -> file of a saved plan, each a system of one point on every machine.
    exact, calibration_count, batch_size, seed, samples, calibration_samples
        As in `evaluate`.
    """

    budget: float
    families: tuple[str, ...] = ()
    plans: "Mapping[str, Path]" = dataclasses.field(default_factory=dict)
    exact: bool = True
    calibration_count: int | None = None
    batch_size: int | None = None
    seed: int = 0
    samples: Iterable[Any] | None = dataclasses.field(default=None, repr=False)
    calibration_samples: Iterable[Any] | None = dataclasses.field(default=None, repr=False)


def families_of(names: Sequence[str], machines: Sequence[str]) -> dict[str, Family]:
    """The families asked for and the baseline, with those of their machines that are among `machines`.

    Raises
    ------
    InputError
        For a name that is neither a family nor a method, and families none of whose machines was asked for.
    """
    chosen: dict[str, Family] = {}
    for name in dict.fromkeys([BASELINE, *names]) if names else FAMILIES:
        family = FAMILIES.get(name) or _of_method(name, machines)
        kept = tuple(machine for machine in family.machines if machine in machines)
        if kept:
            chosen[name] = dataclasses.replace(family, machines=kept)
    if not chosen:
        raise InputError(f"no family has its machine among {', '.join(machines)}; leave --accelerators out")
    return chosen


def _of_method(name: str, machines: Sequence[str]) -> Family:
    known = {*FAMILIES, *method_names()}
    if any(part not in known for part in name.split("+")):
        raise unknown_name("family of operating points, or method", name, known)
    compose(name)
    return Family(about=f"method {name} on every machine", machines=tuple(machines), choices=((name, {}),))


def frontier(
    networks: Sequence[Network],
    accelerators: Mapping[str, Accelerator],
    *,
    settings: FrontierSettings,
    provenance: Provenance,
    substrate: str = COMMON,
    task: str | None = None,
    data: "Path | None" = None,
    limit: int | None = None,
    progress: Progress = silent,
) -> Frontier:
    """Every family's points on every network; `accelerators` were built on `substrate`.

    Raises
    ------
    InputError
        An unknown family or task, a plan that is not there, a network without numbers, or data that do not fit, before
        anything runs. What goes wrong later stands at its point.
    """
    families = families_of(settings.families, list(accelerators))
    check_plans(settings.plans, {*families, *method_names()}, "family or method")
    for name in settings.plans:
        families[name] = Family(about=f"the saved plan {name}", machines=tuple(accelerators), choices=((name, {}),))
    for network in networks:
        require_numbers(network)
    judges = [_judge(network, task, data, limit, settings) for network in networks]
    points: list[OperatingPoint] = []
    found = []
    for network, judge in zip(networks, judges, strict=True):
        with sharing():
            own = compared(list(_Study(network, judge, families, accelerators, settings, progress).points()))
        points += own
        found += standings(network.name, own)
    used = dict.fromkeys(machine for family in families.values() for machine in family.machines)
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
        losses={network.name: meaning(judge) for network, judge in zip(networks, judges, strict=True)},
        families={name: family.about for name, family in families.items()},
    )


def _judge(
    network: Network, task: str | None, data: "Path | None", limit: int | None, settings: FrontierSettings
) -> Task:
    if limit is None and (settings.samples is None or data is not None):
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


@dataclasses.dataclass(frozen=True)
class _Study:
    """One network's."""

    network: Network
    judge: Task
    families: Mapping[str, Family]
    machines: Mapping[str, Accelerator]
    settings: FrontierSettings
    progress: Progress

    def points(self) -> Iterator[OperatingPoint]:
        """All points, by family, method and machine; equal choices of several families are judged once."""
        offered = {
            system: family.offered(self.settings.budget, self.network.kind) for system, family in self.families.items()
        }
        wanted: dict[str, tuple[Choice, list[str]]] = {}
        for system, family in self.families.items():
            for choice in offered[system]:
                _, named = wanted.setdefault(label(choice), (choice, []))
                named += [machine for machine in family.machines if machine not in named]
        found = {judged.name: judged for judged in self._judged(list(wanted.values()))}
        for system, family in self.families.items():
            for choice in offered[system]:
                for machine in family.machines:
                    yield self._point(system, choice, machine, found[label(choice)])

    def _judged(self, wanted: Sequence[tuple[Choice, list[str]]]) -> Iterator["_Judged"]:
        """Every choice, some plans at a time."""
        outputs = FloatOutputs(self.network)
        batch, described = simulation_input(self.network, seed=self.settings.seed)
        floating = calibrate_method(self.network, FLOAT, task=self.judge, count=1, seed=self.settings.seed)
        for start in range(0, len(wanted), PLANS_AT_ONCE):
            some = wanted[start : start + PLANS_AT_ONCE]
            made = [self._plan(choice, start + i, len(wanted)) for i, (choice, _) in enumerate(some)]
            ready = {
                label(choice): plan for (choice, _), plan in zip(some, made, strict=True) if isinstance(plan, Plan)
            }
            self.progress(f"{self.network.name}: plans (judging {', '.join(ready)})", start, len(wanted))
            scores = self._scores({FLOAT: floating, **ready}, outputs) if ready else {}
            for (choice, named), plan in zip(some, made, strict=True):
                scored = scores[label(choice)] if isinstance(plan, Plan) else plan
                yield _Judged(
                    name=label(choice),
                    scored=scored,
                    loss=self._loss(scored, scores.get(FLOAT)),
                    costs=self._costs(plan, named, batch, described),
                )

    def _plan(self, choice: Choice, done: int, total: int) -> Plan | Exception:
        method, options = choice

        def tell(what: str, inner: int, of: int) -> None:
            share = f", {what} {inner} of {of}" if of else f", {what}" if what else ""
            self.progress(f"{self.network.name}: plans (calibrating {label(choice)}{share})", done, total)

        tell("", 0, 0)
        try:
            if method in self.settings.plans:
                return load_plan(self.settings.plans[method], self.network)
            count = self.settings.calibration_count or CALIBRATION.get(self.network.kind)
            with reporting(tell):
                return calibrate_method(
                    self.network,
                    method,
                    options=options,
                    task=self.judge,
                    count=count,
                    seed=self.settings.seed,
                )
        except Exception as error:
            return error

    def _scores(self, plans: Mapping[str, Plan], outputs: FloatOutputs) -> dict[str, Evaluation | Exception]:
        try:
            return evaluate_many(
                self.network,
                plans,
                self.judge,
                exact=self.settings.exact,
                batch_size=self.settings.batch_size,
                seed=self.settings.seed,
                outputs=outputs,
            )
        except Exception as error:  # of the data or of the float network: nobody has a score
            return dict.fromkeys(plans, error)

    def _costs(
        self, plan: Plan | Exception, named: Sequence[str], batch: Batch | None, described: str
    ) -> dict[str, Simulation | Exception]:
        if isinstance(plan, Exception):
            return dict.fromkeys(named, plan)
        machines = {name: self.machines[name] for name in named}
        try:
            return simulate_each(self.network, plan, machines, batch=batch, described=described)
        except Exception as error:
            return dict.fromkeys(machines, error)

    def _loss(self, scored: Evaluation | Exception, floating: Evaluation | Exception | None) -> RelativeLoss | None:
        if not isinstance(scored, Evaluation) or not isinstance(floating, Evaluation):
            return None
        return relative_loss(self.judge, scored.statistics, floating.statistics, seed=self.settings.seed)

    def _point(self, system: str, choice: Choice, machine: str, judged: "_Judged") -> OperatingPoint:
        row = Row.of(self.network, judged.name, machine, judged.scored, judged.costs[machine])
        if row.status == "failed" and isinstance(judged.scored, InputError):
            row = dataclasses.replace(row, status="refused")
        loss, budget = judged.loss, self.settings.budget
        return OperatingPoint(
            system=system,
            row=row,
            options=choice[1],
            loss=loss,
            within=loss.within(budget) if loss else None,
            separated=loss.separated(budget) if loss else None,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Judged:
    """A choice's score, loss and costs by machine, or what stopped them."""

    name: str
    scored: Evaluation | Exception
    loss: RelativeLoss | None
    costs: Mapping[str, Simulation | Exception]


def label(choice: Choice) -> str:
    """A method with its options: `aqs dbs=false`."""
    method, options = choice
    return " ".join([method, *(f"{key}={_plain(value)}" for key, value in options.items())])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
