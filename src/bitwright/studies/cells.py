"""Cells: a network with one choice of method, calibrated, judged, and costed on machines; the loop of all comparisons.

The float network runs once per batch for all of them; a few plans are judged at a time, so that encoded weights live
only as long as those they belong to. What is judged is kept in a journal until the study ends.
"""

import dataclasses
import hashlib
import inspect
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.accelerators.protocol import Accelerator
from bitwright.methods.plan import Plan
from bitwright.methods.plan_file import load_plan
from bitwright.methods.progress import reporting
from bitwright.methods.protocol import compose
from bitwright.networks.network import Batch, Network
from bitwright.studies.inputs import simulation_input
from bitwright.studies.journal import Journal, journal
from bitwright.studies.simulate import Simulation, simulate_each
from bitwright.studies.systems import Choice
from bitwright.tasks import Task
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import Evaluation, Progress, evaluate_many
from bitwright.tasks.float_outputs import FloatOutputs

PLANS_AT_ONCE = 3
"""Whose encoded weights are in memory together; our choice."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """A choice of method under its name in the study, and the machines that it is costed on."""

    name: str
    choice: Choice
    machines: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
    """What came of one choice.

    Attributes
    ----------
    name : str
        In the study.
    scored : Evaluation, Plan or Exception
        The score; the plan of a network without numbers; what stopped it.
    costs : mapping
        Machine -> costs, or what stopped them.
    """

    name: str
    scored: Evaluation | Plan | Exception
    costs: Mapping[str, Simulation | Exception]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cells:
    """Makes the cells of one network.

    Attributes
    ----------
    network : Network
        With or without numbers.
    judge : Task or None
        None for a network with shapes only.
    machines : mapping
        All accelerators, by name.
    plans : mapping
        Name -> file of a saved plan, which a choice may name instead of a method.
    exact, batch_size, seed
        As in `evaluate`.
    count : int or None
        Calibration samples.
    progress : Progress
        Told how far it is.
    """

    network: Network
    judge: Task | None
    machines: Mapping[str, Accelerator]
    plans: Mapping[str, Path]
    exact: bool
    count: int | None
    batch_size: int | None
    seed: int
    progress: Progress

    def of(self, wanted: Sequence[Wanted]) -> Iterator[Cell]:
        """Every choice, some plans at a time; what fails stands in its cell, and the journal is empty at the end."""
        kept = self._journal() if self.judge is not None and self.judge.repeatable else None
        outputs = FloatOutputs(self.network)
        batch, described = self._input()
        entries = {each.name: self._entry(each) for each in wanted} if kept is not None else {}
        for start in range(0, len(wanted), PLANS_AT_ONCE):
            some = wanted[start : start + PLANS_AT_ONCE]
            judged = self._judged(some, start, len(wanted), outputs, kept, entries)
            for each, scored in zip(some, judged, strict=True):
                plan = scored.plan if isinstance(scored, Evaluation) else scored
                self._say(f"costing {each.name}", start, len(wanted))
                yield Cell(name=each.name, scored=scored, costs=self._costs(plan, each.machines, batch, described))
        if kept is not None:
            for entry in entries.values():
                kept.forget(entry)

    def _journal(self) -> Journal | None:
        assert self.judge is not None
        try:
            return journal(
                self.network,
                self.judge,
                exact=self.exact,
                count=self.count,
                batch_size=self.batch_size,
                seed=self.seed,
            )
        except Exception:  # of the samples: whatever needs them meets it again, and says so in its cell
            return None

    def _entry(self, each: Wanted) -> dict[str, Any] | None:
        """What tells the choice from others in the journal; None for what no other process could tell."""
        try:
            return self._told_apart(each)
        except Exception:  # a method whose source is nowhere, as of a notebook; a file that is gone
            return None

    def _told_apart(self, each: Wanted) -> dict[str, Any]:
        method, options = each.choice
        file = self.plans.get(method)
        if file is not None:
            return {"plan": hashlib.sha256(file.read_bytes()).hexdigest()}
        modules = {type(part).__module__ for _, part, _ in compose(method, options).methods}
        sources = [inspect.getsource(sys.modules[name]) for name in sorted(modules)]
        return {"method": method, "options": options, "source": hashlib.sha256("".join(sources).encode()).hexdigest()}

    def _input(self) -> tuple[Batch | Exception | None, str]:
        try:
            return simulation_input(self.network, seed=self.seed)
        except Exception as error:  # the costs' alone: scores do not need it
            return error, ""

    def _judged(
        self,
        some: Sequence[Wanted],
        done: int,
        total: int,
        outputs: FloatOutputs,
        kept: Journal | None,
        entries: Mapping[str, Mapping[str, Any] | None],
    ) -> list[Evaluation | Plan | Exception]:
        """Scores of a few choices, those in the journal taken from it."""
        found: dict[str, Evaluation | Plan | Exception] = {}
        for each in some:
            before = None if kept is None else kept.read(entries[each.name])
            if before is not None:
                self._say(f"{each.name} is kept from an interrupted run", done, total)
            found[each.name] = before or self._plan(each, done, total)
        ready = {name: plan for name, plan in found.items() if isinstance(plan, Plan)}
        if self.judge is not None and ready:
            self._say(f"judging {', '.join(ready)}", done, total)
            found |= self._scores(self.judge, ready, outputs)
        for each in some:
            scored = found[each.name]
            if kept is not None and each.name in ready and isinstance(scored, Evaluation):
                kept.write(entries[each.name], scored)
        return [found[each.name] for each in some]

    def _plan(self, each: Wanted, done: int, total: int) -> Plan | Exception:
        method, options = each.choice

        def tell(what: str, inner: int, of: int) -> None:
            share = f", {what} {inner} of {of}" if of else f", {what}" if what else ""
            self._say(f"calibrating {each.name}{share}", done, total)

        tell("", 0, 0)
        try:
            if method in self.plans:
                return load_plan(self.plans[method], self.network)
            with reporting(tell):
                return calibrate_method(
                    self.network, method, options=options, task=self.judge, count=self.count, seed=self.seed
                )
        except Exception as error:
            return error

    def _scores(
        self, judge: Task, plans: Mapping[str, Plan], outputs: FloatOutputs
    ) -> Mapping[str, Evaluation | Exception]:
        try:
            return evaluate_many(
                self.network,
                plans,
                judge,
                exact=self.exact,
                batch_size=self.batch_size,
                seed=self.seed,
                outputs=outputs,
            )
        except Exception as error:  # of the data or of the float network: nobody has a score
            return dict.fromkeys(plans, error)

    def _costs(
        self, plan: Plan | Exception, named: Sequence[str], batch: Batch | Exception | None, described: str
    ) -> Mapping[str, Simulation | Exception]:
        stopped = next((each for each in (plan, batch) if isinstance(each, Exception)), None)
        if isinstance(plan, Exception) or isinstance(batch, Exception):
            assert stopped is not None
            return dict.fromkeys(named, stopped)
        machines = {name: self.machines[name] for name in named}
        try:
            return simulate_each(self.network, plan, machines, batch=batch, described=described)
        except Exception as error:
            return dict.fromkeys(machines, error)

    def _say(self, what: str, done: int, total: int) -> None:
        self.progress(f"{self.network.name}: plans ({what})", done, total)


def label(choice: Choice) -> str:
    """A method with its options: `aqs dbs=false`."""
    method, options = choice
    return " ".join([method, *(f"{key}={_plain(value)}" for key, value in options.items())])


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
