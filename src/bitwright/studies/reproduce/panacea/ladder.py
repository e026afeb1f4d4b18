"""The skip ladder: what slicing, zero points (ZPM) and splits (DBS) add, step by step, to skipping and to the score.

One calibration, whose search for smoothing factors is the expensive part, leads to the plans of all steps. Zero
skipping and r skipping run the same plan: they differ in what a machine can skip of it.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.accelerators.bit_slice.machine import SliceArray
from bitwright.errors import InputError
from bitwright.methods.aqs.calibrate import Stages
from bitwright.methods.integer.calibrate import decided, observe_network
from bitwright.methods.plan import Plan, same_plan
from bitwright.methods.protocol import compose
from bitwright.networks.network import Batch, Network
from bitwright.networks.synthetic import describe
from bitwright.studies.reproduce.panacea.rates import Rates, SiteRates, weighted
from bitwright.studies.simulate import SHAPES_ONLY, run_listening
from bitwright.tasks.calibrate import CALIBRATION_COUNTS
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.samples import default_samples
from bitwright.tasks.statistics import Interval, paired_bootstrap
from bitwright.tasks.task import Task

METHOD = "aqs"
ZEROS, R, ZPM, DBS = "zero skipping", "r skipping", "+ ZPM", "+ DBS"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """A score's difference from an earlier step's on the same samples.

    Attributes
    ----------
    difference : float
        In the score's unit.
    interval : Interval
        Of the difference, from resampling the samples in pairs.
    relative : float or None
        By the earlier score; None where that is 0.
    """

    difference: float
    interval: Interval
    relative: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rung:
    """One step.

    Attributes
    ----------
    name : str
        What is skipped, or what was added.
    sites : tuple of SiteRates
        In the order of execution.
    evaluation : Evaluation or None
        The score; None without a task, or where `reason` says why.
    step, since_r : Change or None
        From the step before, and from r skipping; None where the plan is the same or a score is missing.
    reason : str
        Why there is no score; empty otherwise.
    """

    name: str
    sites: tuple[SiteRates, ...]
    evaluation: Evaluation | None = None
    step: Change | None = None
    since_r: Change | None = None
    reason: str = ""

    @property
    def x_rate(self) -> float:
        """Share of skipped activation vectors, weighted by dense multiply-accumulates."""
        return weighted(self.sites, lambda each: each.x)

    @property
    def w_rate(self) -> float:
        """Share of skipped weight vectors, weighted by dense multiply-accumulates."""
        return weighted(self.sites, lambda each: each.w)

    @property
    def products_left(self) -> float:
        """Share of slice products that skipping on both sides leaves, if the masks are independent."""
        return sum(each.two_sided for each in self.sites) / sum(each.dense for each in self.sites)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RivalScore:
    """Sibia's plan beside the last step's.

    Attributes
    ----------
    evaluation : Evaluation or None
        Of Sibia's plan; None without a task, or where `reason` says why.
    lead : Change or None
        How far the last step's score is from it.
    reason : str
        Why there is no score; empty otherwise.
    """

    evaluation: Evaluation | None = None
    lead: Change | None = None
    reason: str = ""


def stages_of(
    network: Network, options: Mapping[str, Any], *, task: Task | None, count: int | None, seed: int
) -> Stages:
    """One calibration of `aqs` as `calibrate_method` does it, before zero points and splits are decided.

    Raises
    ------
    InputError
        As calibration does; and for shapes without synthetic operands, of which nothing can be skipped.
    """
    if network.shape_only and not network.distribution:
        raise InputError(f"{network.name} cannot be measured: {SHAPES_ONLY}")
    composition = compose(METHOD, options)
    _, _, chosen = composition.methods[0]
    samples: Sequence[Batch] = ()
    if network.shape_only:
        described = describe(network)
    else:
        source = task.calibration if task is not None else default_samples
        found = source(network, count=count or CALIBRATION_COUNTS.get(network.kind, 1), seed=seed)
        samples, described = found.batches, found.description
    plan = Plan(method=METHOD, options={METHOD: chosen.model_dump(mode="json")}, calibrated_on=described)
    observed = observe_network(network, samples, chosen, histograms=True)
    return Stages(observed, decided(network, observed, plan), chosen)


def plans_of(stages: Stages) -> dict[str, Plan]:
    """The plan of each step but the first, which is the second's."""
    return {R: stages.sliced(), ZPM: stages.centred(), DBS: stages.final()}


def distinct(plans: Mapping[str, Plan]) -> dict[str, str]:
    """Each plan's name -> the name of the first plan that equals it."""
    first: dict[str, str] = {}
    for name, plan in plans.items():
        first[name] = next((each for each in first.values() if same_plan(plans[each], plan)), name)
    return first


def rungs(network: Network, plans: Mapping[str, Plan], machine: SliceArray, batch: Batch | None) -> list[Rung]:
    """What `machine` can skip of one run of each of `plans_of` on `batch`; no scores yet.

    Raises
    ------
    InputError
        If the machine runs no site.
    """
    zeros, found = Rates(machine, zeros=True), dict[str, tuple[SiteRates, ...]]()
    for name, equal in distinct(plans).items():
        if equal == name:
            rates = Rates(machine)
            run_listening(network, plans[name], [rates, zeros] if name == R else [rates], batch)
            found[name] = tuple(rates.sites)
        else:
            found[name] = found[equal]
    if not found[R]:
        raise InputError(f"{network.name} has no site whose slices Panacea skips; quantize one with --option")
    return [Rung(name=name, sites=sites) for name, sites in {ZEROS: tuple(zeros.sites), **found}.items()]


def scored(
    steps: Sequence[Rung], evaluations: Mapping[str, Evaluation], task: Task, reasons: Mapping[str, str], seed: int
) -> list[Rung]:
    """The steps with their scores, by the names of `plans_of`, and the differences between them."""
    done: list[Rung] = []
    first = evaluations.get(R)
    before: Evaluation | None = None
    for rung in steps:
        name = R if rung.name == ZEROS else rung.name
        own = evaluations.get(name)
        step = None if own is before else change(before, own, task, seed)
        since = None if own is first else change(first, own, task, seed)
        reason = reasons.get(name, "")
        done.append(dataclasses.replace(rung, evaluation=own, step=step, since_r=since, reason=reason))
        before = own
    return done


def change(before: Evaluation | None, after: Evaluation | None, task: Task, seed: int) -> Change | None:
    """The difference between two scores of `task` on the same samples."""
    if before is None or after is None:
        return None
    difference, interval = paired_bootstrap(
        after.statistics, before.statistics, task.score, units=after.units, seed=seed
    )
    value = before.score.value
    return Change(difference=difference, interval=interval, relative=difference / value if value else None)
