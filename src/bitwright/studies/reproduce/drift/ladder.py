"""What the method `drift` reaches within a budget, step by step from whole rows to the recipe `drift`, and its rivals.

Calibrations are shared where they are equal: int8 with smoothing is calibrated once for all steps that stand on it, the
last step of drift starts from the delta that the step before found. Loss is judged without labels on the calibration
samples (`bitwright.methods.budget`), and again on as many test samples that no step has seen.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from bitwright.methods.drift.calibrate import Search
from bitwright.methods.drift.options import DriftOptions
from bitwright.methods.drq.rule import Drq
from bitwright.methods.executor import composition_of
from bitwright.methods.plan import Plan
from bitwright.methods.precision import narrowable
from bitwright.methods.protocol import compose
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import trace
from bitwright.studies.reproduce.drift.arrays import DRIFT, Machine
from bitwright.studies.reproduce.drift.judged import Costs, Judged, Judgement, Shares, costs_of
from bitwright.studies.reproduce.drift.options import StudyOptions
from bitwright.studies.row import said

INT8, DRQ, MIXED = "int8", "drq", "mixed"
RAW, ROWS, BLOCKS, AFFINE, CORRECTED, KINDS = (
    "drift-rows, no smoothing",
    "drift-rows",
    "+ blocks",
    "+ affine conversion",
    "+ bias correction",
    "+ delta per kind (drift)",
)
ONE = {"delta_by": "network"}
STEPS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    RAW: ("drift-rows", {"smoothing": "none"}),
    ROWS: ("drift-rows", {}),
    BLOCKS: (DRIFT, {**ONE, "conversion": "zero", "bias_correction": False}),
    AFFINE: (DRIFT, {**ONE, "bias_correction": False}),
    CORRECTED: (DRIFT, ONE),
    KINDS: (DRIFT, {}),
}
"""Steps of drift: the method and its options, beside the study's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rung:
    """One step, or a rival at the same budget.

    Attributes
    ----------
    name : str
        What is added, or which rival.
    found : mapping
        What calibration chose: deltas by operand and kind of layer (None: infinite), a threshold, narrow sites.
    trials : int
        Plans that the search judged; 0 where it does not say.
    loss, held_out : float
        Of expected accuracy, relative to int8's, on the calibration samples and on test samples.
    time : float
        Multiplier time by that of int8, on the calibration samples.
    shares : Shares
        Of multiply-accumulates by class, on the same.
    costs : Costs
        By machine, of the network's simulation input.
    reason : str
        Why there is nothing; empty otherwise.
    """

    name: str
    found: Mapping[str, float | None] = dataclasses.field(default_factory=dict)
    trials: int = 0
    loss: float = math.nan
    held_out: float = math.nan
    time: float = math.nan
    shares: Shares = dataclasses.field(default_factory=dict)
    costs: Costs = dataclasses.field(default_factory=dict)
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ladder:
    """All steps of a network.

    Attributes
    ----------
    rungs : tuple of Rung
        int8 first, then the steps of drift, then the rivals.
    calibrated_on, judged_on : str
        Samples.
    base : Plan
        int8 with smoothing.
    """

    rungs: tuple[Rung, ...]
    calibrated_on: str
    judged_on: str
    base: Plan

    def rung(self, name: str) -> Rung:
        """The one of that name."""
        return next(rung for rung in self.rungs if rung.name == name)


class Climb:
    """Makes the rungs of one network.

    Parameters
    ----------
    network : Network
        With weights.
    samples, unseen : sequence of batches
        Of calibration and of test, unlabelled.
    batch : Batch
        What machines are costed on.
    machines : mapping
        By key; `drift` and `seq` run steps of drift, DRQ's array runs its own.
    """

    def __init__(
        self,
        network: Network,
        samples: Sequence[Batch],
        unseen: Sequence[Batch],
        batch: Batch | None,
        machines: Mapping[str, Machine],
        options: StudyOptions,
    ) -> None:
        self.network, self.samples, self.options = network, samples, options
        self.batch, self.machines = batch, machines
        self.sites: dict[str, Site] = {site.name: site for site in trace(network).sites}
        self.judged, self.unseen = Judged(network, samples), Judged(network, unseen)
        self.base = compose(INT8, {}).calibrate(network, samples)
        self.start = self._judgements(self.base)

    def rungs(self, tell: Callable[[str], None]) -> Iterator[Rung]:
        """All of them; what stops one is said in it, and the others go on."""
        yield self._rung(INT8, self.base, {}, 0, self.start)
        search: Search | None = None
        for name, (method, options) in STEPS.items():
            tell(name)
            try:
                base, start = (self.base, self.start) if name != RAW else self._raw()
                same = (KINDS,) if self.base.smoothing else (ROWS, KINDS)  # searches that go on from the step before
                if name not in same or search is None:
                    search = self._search(base, method, options)
                yield self._step(name, search, method, options, start)
            except Exception as error:
                search = None
                yield Rung(name=name, reason=said(error))
        for name in (DRQ, MIXED):
            tell(name)
            try:
                yield self._rival(name)
            except Exception as error:
                yield Rung(name=name, reason=said(error))

    def _raw(self) -> tuple[Plan, tuple[Judgement, Judgement]]:
        """int8 without smoothing, and what it scores; int8 itself where that smooths nothing."""
        if not self.base.smoothing:
            return self.base, self.start
        base = compose(INT8, {"smoothing": "none"}).calibrate(self.network, self.samples)
        return base, self._judgements(base)

    def _on(self, base: Plan, method: str, options: Mapping[str, Any]) -> tuple[Plan, Any]:
        """The plan of `base` under the name of a composition, and the last method's options."""
        own: dict[str, Any] = {"budget": self.options.budget, "narrow_ends": self.options.narrow_ends}
        if method == DRIFT:
            own["block"] = self.options.block
        made = compose(method, {**own, **options})
        kept = {name: chosen.model_dump(mode="json") for name, _, chosen in made.methods}
        return dataclasses.replace(base, method=made.name, options=kept), made.methods[-1][2]

    def _search(self, base: Plan, method: str, options: Mapping[str, Any]) -> Search:
        plan, chosen = self._on(base, method, options)
        assert isinstance(chosen, DriftOptions)
        names = narrowable(self.sites, plan, ends=chosen.narrow_ends)
        return Search(self.network, self.samples, chosen, plan, self.sites, names)

    def _step(
        self,
        name: str,
        search: Search,
        method: str,
        options: Mapping[str, Any],
        start: tuple[Judgement, Judgement],
    ) -> Rung:
        deltas = search.by_network()
        if name == KINDS and len(deltas) > 1:
            deltas = search.by_kind(deltas)
        plan, chosen = self._on(search.plan, method, options)
        found = dataclasses.replace(search.planned(deltas), method=plan.method, options=plan.options)
        if chosen.bias_correction:
            found = composition_of(found).corrected(self.network, self.samples, found)
        finite = {
            f"{operand} of {kind}": delta if math.isfinite(delta) else None for (kind, operand), delta in deltas.items()
        }
        return self._rung(name, found, finite, len(search.seen), start)

    def _rival(self, name: str) -> Rung:
        if name == DRQ:
            plan, chosen = self._on(self.base, DRQ, {})
            method = compose(DRQ, {}).methods[-1][1]
            plan = method.calibrate(self.network, self.samples, chosen, plan)
            found = {"threshold": _threshold(plan)}
        else:
            plan = compose(MIXED, {"budget": self.options.budget}).calibrate(self.network, self.samples)
            narrow = [made for made in plan.sites.values() if made.quantized and made.x_bits <= 4]
            found = {"narrow sites": float(len(narrow))}
        return self._rung(name, plan, found, 0, self.start)

    def _judgements(self, plan: Plan) -> tuple[Judgement, Judgement]:
        return self.judged.judge(plan), self.unseen.judge(plan)

    def _rung(
        self,
        name: str,
        plan: Plan,
        found: Mapping[str, float | None],
        trials: int,
        start: tuple[Judgement, Judgement],
    ) -> Rung:
        own, held = self.start if plan is self.base else self._judgements(plan)
        return Rung(
            name=name,
            found=found,
            trials=trials,
            loss=1 - own.accuracy / start[0].accuracy,
            held_out=1 - held.accuracy / start[1].accuracy,
            time=own.time,
            shares=own.shares,
            costs=costs_of(self.network, plan, self.machines, self.batch),
        )


def _threshold(plan: Plan) -> float | None:
    """That of DRQ's sites; None where none is narrow."""
    found = {made.precision.threshold for made in plan.sites.values() if isinstance(made.precision, Drq)}
    return max(found, default=None)
