"""The reproduction of LPA: each network on all arrays and in all mixes of widths, and the claims."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import pydantic

from bitwright.accelerators.precision_scalable.machine import PackedArray
from bitwright.errors import InputError, unknown_name
from bitwright.networks.network import Network
from bitwright.shown import Table
from bitwright.studies.machines import COMMON, Footing, footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.claims import Claim, Claimed
from bitwright.studies.reproduce.lp.arrays import Arrays, grouped
from bitwright.studies.reproduce.lp.errors import weight_errors
from bitwright.studies.reproduce.lp.findings import findings
from bitwright.studies.reproduce.lp.measured import Measured
from bitwright.studies.reproduce.lp.mixes import MixOptions
from bitwright.studies.reproduce.lp.runs import lines_of
from bitwright.studies.reproduce.lp.tables import TABLES
from bitwright.studies.reproduce.shapes import as_shapes, input_sizes, left_out, refuse_synthetic
from bitwright.studies.row import said
from bitwright.tasks.evaluate import Progress, silent

SYSTEM = "lp"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all networks share.

    Attributes
    ----------
    options : mapping
        Of the mix `mixed`: fields of `MixOptions`.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Reproduction(Claimed):
    """All networks and what they were measured with.

    Frames: `claims`, one line each; `runs`, one per array, mix and machine; `sites`; `components`; `weight_errors`.

    Attributes
    ----------
    system : str
        `lp`.
    networks : tuple of Measured
        In the order asked for.
    claims : tuple of Claim
        With what was measured.
    arrays : mapping
        By name of the arrays, then of the machine.
    machines : mapping
        All of them by name.
    substrate : Footing
        What they stand on.
    options : MixOptions
        Of the mix `mixed`.
    provenance : Provenance
        Command, seed, versions.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {**Claimed.TABLES, **TABLES}

    system: str
    networks: tuple[Measured, ...]
    claims: tuple[Claim, ...]
    arrays: Arrays
    machines: Mapping[str, PackedArray]
    substrate: Footing
    options: MixOptions
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
    machines: Mapping[str, PackedArray],
    *,
    settings: Settings,
    provenance: Provenance,
    substrate: str = COMMON,
    progress: Progress = silent,
) -> Reproduction:
    """Measure LPA's claims; `machines` are those that `arrays.machines` makes on `substrate`.

    Raises
    ------
    InputError
        An unknown or impossible option, or synthetic operands, before anything runs.
    """
    options = _options(settings.options)
    refuse_synthetic(networks, "what is measured here depends on shapes and formats only")
    arrays = grouped(machines)
    measured = tuple(_attempt(network, arrays, options, progress) for network in networks)
    return Reproduction(
        system=SYSTEM,
        networks=measured,
        claims=tuple(findings(measured, arrays, options)),
        arrays=arrays,
        machines=machines,
        substrate=footing(machines, substrate),
        options=options,
        provenance=provenance,
    )


def _options(given: Mapping[str, Any]) -> MixOptions:
    kept = {key: value for key, value in given.items() if key != "sites"}
    if given.get("sites"):
        raise InputError("options of lp are of a whole network: leave the glob out")
    for key in kept:
        if key not in MixOptions.model_fields:
            raise unknown_name("option of lp", key, MixOptions.model_fields)
    try:
        return MixOptions(**kept)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or ", ".join(kept)
        message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise InputError(f"option {where} of lp: {first['input']!r} was given, but {message}") from None


def _attempt(network: Network, arrays: Arrays, options: MixOptions, progress: Progress) -> Measured:
    """One network; what stops it is said in every claim about it, and the others go on."""
    try:
        return _measured(network, arrays, options, progress)
    except Exception as error:
        return Measured(network=network.name, reason=said(error), notes=network.notes)


def _measured(network: Network, arrays: Arrays, options: MixOptions, progress: Progress) -> Measured:
    progress(f"{network.name}: shapes", 0, 0)
    shapes, traced = as_shapes(network)
    progress(f"{network.name}: rounding weights", 0, 0)
    errors = weight_errors(network)
    progress(f"{network.name}: simulating", 0, 0)
    macs = sum(site.macs for site in traced.sites)
    return Measured(
        network=network.name,
        input=input_sizes(network),
        attention=sum(site.macs for site in traced.sites if not site.static_weight) / macs,
        lines=tuple(lines_of(shapes, arrays, options)),
        errors=errors,
        notes=(*network.notes, *left_out(traced)),
    )
