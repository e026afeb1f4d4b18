"""The reproduction of Drift: networks as shapes on all machines, networks with weights step by step, and the claims."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from bitwright.accelerators.dynamic_precision.machine import SplitArray
from bitwright.networks.network import Batch, Network
from bitwright.shown import Table
from bitwright.studies.inputs import simulation_input
from bitwright.studies.machines import COMMON, Footing, footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.claims import Claim, Claimed
from bitwright.studies.reproduce.drift.arrays import Machine
from bitwright.studies.reproduce.drift.distortion import distortions
from bitwright.studies.reproduce.drift.findings import findings
from bitwright.studies.reproduce.drift.ladder import Climb, Ladder
from bitwright.studies.reproduce.drift.measured import Measured
from bitwright.studies.reproduce.drift.options import StudyOptions, parse
from bitwright.studies.reproduce.drift.runs import stated
from bitwright.studies.reproduce.drift.tables import TABLES
from bitwright.studies.reproduce.shapes import as_shapes, input_sizes, left_out, refuse_synthetic
from bitwright.studies.row import said
from bitwright.tasks.evaluate import Progress, silent
from bitwright.tasks.samples import available_samples, default_batches, describe

SYSTEM = "drift"
COUNTS = {"image": 32, "sentence": 16, "language": 2, "tensor": 32}
"""Calibration samples by kind of network, and as many unseen ones: few, so that a run takes minutes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all networks share.

    Attributes
    ----------
    options : mapping
        Fields of `StudyOptions`.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    calibration_count: int | None = None
    seed: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Reproduction(Claimed):
    """All networks and what they were measured with.

    Frames: `claims`, one line each; `runs`, one per machine and dataflow; `components`; `steps`; `distortions`.

    Attributes
    ----------
    system : str
        `drift`.
    networks : tuple of Measured
        In the order asked for.
    claims : tuple of Claim
        With what was measured.
    machines : mapping
        By key.
    substrate : Footing
        What they stand on.
    options : StudyOptions
        What is stated.
    provenance : Provenance
        Command, seed, versions.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {**Claimed.TABLES, **TABLES}

    system: str
    networks: tuple[Measured, ...]
    claims: tuple[Claim, ...]
    machines: Mapping[str, Machine]
    substrate: Footing
    options: StudyOptions
    provenance: Provenance

    def by_system(self) -> Mapping[str, Sequence[Claim]]:
        """Of this one."""
        return {self.system: self.claims}

    @property
    def failed(self) -> bool:
        """Whether a network, or a part of one, is missing."""
        return any(network.failed for network in self.networks)


def reproduce(
    networks: Sequence[Network],
    machines: Mapping[str, Machine],
    *,
    settings: Settings,
    provenance: Provenance,
    substrate: str = COMMON,
    progress: Progress = silent,
) -> Reproduction:
    """Measure Drift's claims; `machines` are those that `arrays.machines` makes on `substrate`.

    Raises
    ------
    InputError
        An unknown or impossible option, or synthetic operands, before anything runs.
    """
    options = parse(settings.options)
    refuse_synthetic(networks, "shares are stated for shapes here or measured on real samples")
    measured = tuple(_attempt(network, machines, options, settings, progress) for network in networks)
    return Reproduction(
        system=SYSTEM,
        networks=measured,
        claims=tuple(findings(measured, machines, options)),
        machines=machines,
        substrate=footing(machines, substrate),
        options=options,
        provenance=provenance,
    )


def _attempt(
    network: Network, machines: Mapping[str, Machine], options: StudyOptions, settings: Settings, progress: Progress
) -> Measured:
    """One network; what stops it is said in every claim about it, and the others go on."""

    def tell(stage: str) -> None:
        progress(f"{network.name}: {stage}", 0, 0)

    try:
        return _measured(network, machines, options, settings, tell)
    except Exception as error:
        return Measured(
            network=network.name, has_weights=not network.shape_only, reason=said(error), notes=network.notes
        )


def _measured(
    network: Network,
    machines: Mapping[str, Machine],
    options: StudyOptions,
    settings: Settings,
    tell: Callable[[str], None],
) -> Measured:
    tell("shapes")
    shapes, traced = as_shapes(network)
    tell("stated shares on all machines")
    found = Measured(
        network=network.name,
        input=input_sizes(network),
        has_weights=not network.shape_only,
        stated=stated(shapes, machines, options),
        notes=(*network.notes, *left_out(traced)),
    )
    if network.shape_only or not options.ladder:
        return found
    batch, costed_on = simulation_input(network, seed=settings.seed)
    ladder = _ladder(network, batch, machines, options, settings, tell)
    tell("errors of narrow sub-tensors")
    return dataclasses.replace(
        found, ladder=ladder, costed_on=costed_on, distortions=distortions(network, ladder.base, batch, options.block)
    )


def _ladder(
    network: Network,
    batch: Batch | None,
    machines: Mapping[str, Machine],
    options: StudyOptions,
    settings: Settings,
    tell: Callable[[str], None],
) -> Ladder:
    tell("calibrating int8")
    wanted = settings.calibration_count or COUNTS.get(network.kind, 1)
    batches, phrases = [], []
    for test in (False, True):
        count = available_samples(network, count=wanted, test=test)
        batches.append(list(default_batches(network, count=count, seed=settings.seed, test=test)))
        phrases.append(describe(network, count=count, seed=settings.seed, test=test))
    arrays = {name: machine for name, machine in machines.items() if isinstance(machine, SplitArray)}
    climb = Climb(network, batches[0], batches[1], batch, arrays, options)
    return Ladder(rungs=tuple(climb.rungs(tell)), calibrated_on=phrases[0], judged_on=phrases[1], base=climb.base)
