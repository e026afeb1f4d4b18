"""The reproduction of Panacea: for each network its skip ladder, both machines, and the claims that follow."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bitwright.accelerators.bit_slice.machine import SliceArray
from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import InputError
from bitwright.methods.integer.options import IntegerOptions
from bitwright.methods.plan import Plan
from bitwright.methods.progress import reporting, within
from bitwright.methods.protocol import compose
from bitwright.networks.network import Network
from bitwright.shown import Table
from bitwright.studies.inputs import simulation_input
from bitwright.studies.judges import judges_of
from bitwright.studies.machines import COMMON, Footing, footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.claims import Claim, Claimed
from bitwright.studies.reproduce.options import known_options
from bitwright.studies.reproduce.panacea.claims import CLAIMS
from bitwright.studies.reproduce.panacea.findings import findings
from bitwright.studies.reproduce.panacea.ladder import (
    DBS,
    METHOD,
    RivalScore,
    Rung,
    change,
    distinct,
    plans_of,
    rungs,
    scored,
    stages_of,
)
from bitwright.studies.reproduce.panacea.rivalry import PANACEA, SIBIA, Rivalry, rivalry
from bitwright.studies.reproduce.panacea.tables import TABLES
from bitwright.studies.row import said
from bitwright.studies.simulate import notes_on
from bitwright.tasks import Task
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import Evaluation, Progress, evaluate_many, silent

if TYPE_CHECKING:
    from pathlib import Path

MACHINES = (PANACEA, SIBIA)
# The formats of activations that make the methods what they are: Sibia has its own.
OWN = frozenset({"x_bits", "x_symmetric", "x_granularity", "saturation"})
AS_PUBLISHED = {
    "rotation": "none",
    "first_tokens": 0,
    "bias_correction": False,
    "w_rounding": "nearest",
    "wide": "none",
}
"""What neither paper has, and both methods may stand on elsewhere (`compare`): left out here."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all networks share; other fields as in `evaluate`.

    Attributes
    ----------
    options : mapping
        Of the method `aqs`; those that are not about its activations or its steps are Sibia's too.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    task: str | None = None
    data: "Path | None" = None
    limit: int | None = None
    calibration_count: int | None = None
    batch_size: int | None = None
    seed: int = 0

    @property
    def sibia_options(self) -> dict[str, Any]:
        """Those of the options that the recipe `sibia` takes over."""
        return known_options(self.published, set(IntegerOptions.model_fields) - OWN)

    @property
    def published(self) -> dict[str, Any]:
        """The options, without what the papers do not have.

        Raises
        ------
        InputError
            Where an option asks for that.
        """
        for name in AS_PUBLISHED:
            if name in self.options:
                raise InputError(
                    f"reproduce panacea measures the methods as published, without {name}; leave it out, or use "
                    "compare, where they have it"
                )
        return {**self.options, **AS_PUBLISHED}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One network.

    Attributes
    ----------
    network : str
        Its name.
    ladder : tuple of Rung
        From zero skipping to all of Panacea.
    rivalry : Rivalry or None
        Both machines; None where `reason` says why.
    sibia_score : RivalScore
        Of Sibia's plan.
    claims : tuple of Claim
        The system's, with what was measured.
    input : str
        What the network ran on for skip rates and costs.
    notes : tuple of str
        What every report on it must say.
    reason : str
        What went wrong; empty otherwise.
    """

    network: str
    claims: tuple[Claim, ...]
    ladder: tuple[Rung, ...] = ()
    rivalry: Rivalry | None = None
    sibia_score: RivalScore = dataclasses.field(default_factory=RivalScore)
    input: str = ""
    notes: tuple[str, ...] = ()
    reason: str = ""

    @property
    def failed(self) -> bool:
        """Whether anything is missing that should be there."""
        return bool(self.reason or self.sibia_score.reason or any(rung.reason for rung in self.ladder))


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Reproduction(Claimed):
    """All networks and what they were measured with.

    Frames: `claims`, one line each; `steps` of the ladder; `sites`, what can be skipped at each, by step.

    Attributes
    ----------
    system : str
        `panacea`.
    networks : tuple of Measured
        In the order asked for.
    parameters : mapping
        Of both machines.
    substrate : Footing
        What they stand on.
    options : mapping
        Of the method `aqs`, as given.
    provenance : Provenance
        Command, seed, versions.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {**Claimed.TABLES, **TABLES}

    system: str
    networks: tuple[Measured, ...]
    parameters: Mapping[str, Mapping[str, Any]]
    substrate: Footing
    options: Mapping[str, Any]
    provenance: Provenance

    def by_system(self) -> Mapping[str, Sequence[Claim]]:
        """Of this one."""
        return {self.system: self.claims}

    @property
    def failed(self) -> bool:
        """Whether a network, or a part of one, is missing."""
        return any(network.failed for network in self.networks)

    @property
    def claims(self) -> tuple[Claim, ...]:
        """Of all networks."""
        return tuple(claim for network in self.networks for claim in network.claims)


def reproduce(
    networks: Sequence[Network],
    machines: Mapping[str, Accelerator],
    *,
    settings: Settings,
    provenance: Provenance,
    substrate: str = COMMON,
    progress: Progress = silent,
) -> Reproduction:
    """Measure Panacea's claims on every network; `machines` are `MACHINES` by name, built on `substrate`.

    Raises
    ------
    InputError
        An unknown option or task, or data that do not fit, before anything runs.
    """
    compose(METHOD, settings.published)
    compose(SIBIA, settings.sibia_options)
    judges = judges_of(networks, settings.task, settings.data, settings.limit, settings.seed)
    standing = footing(machines, substrate)
    return Reproduction(
        system=PANACEA,
        networks=tuple(
            _attempt(network, judge, machines, settings, standing, progress)
            for network, judge in zip(networks, judges, strict=True)
        ),
        parameters={name: machine.parameters() for name, machine in machines.items()},
        substrate=standing,
        options=settings.options,
        provenance=provenance,
    )


def _attempt(
    network: Network,
    task: Task | None,
    machines: Mapping[str, Accelerator],
    settings: Settings,
    standing: Footing,
    progress: Progress,
) -> Measured:
    """One network; what stops it is said in every claim, and the others go on."""

    def tell(stage: str, done: int, total: int) -> None:
        progress(f"{network.name}: {stage}", done, total)

    try:
        return _measured(network, task, machines, settings, standing, tell)
    except Exception as error:
        reason = said(error)
        conditions = {"network": network.name, "substrate": standing.name}
        claims = tuple(claim.found(None, conditions, reason) for claim in CLAIMS)
        return Measured(network=network.name, claims=claims, reason=reason, notes=network.notes)


def _measured(
    network: Network,
    task: Task | None,
    machines: Mapping[str, Accelerator],
    settings: Settings,
    standing: Footing,
    progress: Progress,
) -> Measured:
    panacea = machines[PANACEA]
    assert isinstance(panacea, SliceArray)
    plans = _plans(network, task, settings, progress)
    progress("skipping, step by step", 0, 0)
    batch, described = simulation_input(network, seed=settings.seed)
    steps = rungs(network, {name: plan for name, plan in plans.items() if name != SIBIA}, panacea, batch)
    progress("simulating", 0, 0)
    both = {PANACEA: plans[DBS], SIBIA: plans[SIBIA]}
    rivals = rivalry(network, both, machines, steps[-1].sites, batch, described)
    scores = _scores(network, plans, task, settings, progress)
    found = {name: each for name, each in scores.items() if isinstance(each, Evaluation)}
    reasons = {name: said(each) for name, each in scores.items() if isinstance(each, Exception)}
    score = RivalScore()
    if task is not None:
        steps = scored(steps, found, task, reasons, settings.seed)
        score = RivalScore(
            evaluation=found.get(SIBIA),
            lead=change(found.get(SIBIA), found.get(DBS), task, settings.seed),
            reason=reasons.get(SIBIA, ""),
        )
    return Measured(
        network=network.name,
        ladder=tuple(steps),
        rivalry=rivals,
        sibia_score=score,
        claims=findings(steps, rivals, score, plan=plans[DBS], standing=standing, options=settings.options),
        input=described,
        notes=tuple(dict.fromkeys(note for plan in both.values() for note in notes_on(network, plan))),
    )


def _plans(network: Network, task: Task | None, settings: Settings, progress: Progress) -> dict[str, Plan]:
    """The plans of the ladder, and Sibia's, calibrated on the same samples."""
    with reporting(within(progress, "calibrating aqs")):
        stages = stages_of(network, settings.published, task=task, count=settings.calibration_count, seed=settings.seed)
    with reporting(within(progress, "choosing zero points and splits")):
        plans = plans_of(stages)
    with reporting(within(progress, "calibrating sibia")):
        plans[SIBIA] = calibrate_method(
            network,
            SIBIA,
            options=settings.sibia_options,
            task=task,
            count=settings.calibration_count,
            seed=settings.seed,
        )
    return plans


def _scores(
    network: Network, plans: Mapping[str, Plan], task: Task | None, settings: Settings, progress: Progress
) -> dict[str, Evaluation | Exception]:
    """Each plan's score, or why there is none; equal plans are judged once."""
    if task is None:
        return {}
    first = distinct(plans)
    own = {name: plan for name, plan in plans.items() if first[name] == name}
    try:
        found = evaluate_many(network, own, task, batch_size=settings.batch_size, seed=settings.seed, progress=progress)
    except Exception as error:  # of the data or of the float network: nobody has a score
        found = dict.fromkeys(own, error)
    return {name: found[equal] for name, equal in first.items()}
