"""The reproduction of APSQ: each network in all dataflows, variants and widths of partial sums, and the claims."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from bitwright.accelerators.partial_sums import Apsq
from bitwright.errors import InputError
from bitwright.methods.protocol import compose
from bitwright.networks.network import Network
from bitwright.networks.trace import Trace
from bitwright.shown import Table
from bitwright.studies.machines import COMMON, Footing, footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.apsq.areas import Engine, engine_of
from bitwright.studies.reproduce.apsq.arrays import arrays_of
from bitwright.studies.reproduce.apsq.findings import findings
from bitwright.studies.reproduce.apsq.fit import layers_of, weighed
from bitwright.studies.reproduce.apsq.measured import Measured
from bitwright.studies.reproduce.apsq.runs import Line, lines_of, methods_of
from bitwright.studies.reproduce.apsq.tables import TABLES
from bitwright.studies.reproduce.claims import Claim, Claimed
from bitwright.studies.reproduce.shapes import as_shapes, input_sizes, left_out, refuse_synthetic
from bitwright.studies.row import said
from bitwright.tasks.evaluate import Progress, silent

SYSTEM = "apsq"
DECIDED = ("psum_rule", "psum_tile", "psum_bits", "group_size")
"""Options that what is compared decides, or the array."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """What all networks share.

    Attributes
    ----------
    options : mapping
        Of the methods, `int8` and `apsq`; those about partial sums do not reach exact ones.
    """

    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Reproduction(Claimed):
    """All networks and what they were measured with.

    Frames: `claims`, one line each; `runs`, one per array, dataflow, variant and partial sums; `sites`; `areas`.

    Attributes
    ----------
    system : str
        `apsq`.
    networks : tuple of Measured
        In the order asked for.
    claims : tuple of Claim
        With what was measured.
    engines : tuple of Engine
        The RAE of each array.
    machines : mapping
        The arrays by name.
    substrate : Footing
        What they stand on.
    options : mapping
        Of the methods, as given.
    provenance : Provenance
        Command, seed, versions.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {**Claimed.TABLES, **TABLES}

    system: str
    networks: tuple[Measured, ...]
    claims: tuple[Claim, ...]
    engines: tuple[Engine, ...]
    machines: Mapping[str, Apsq]
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


def reproduce(
    networks: Sequence[Network],
    machines: Mapping[str, Apsq],
    *,
    settings: Settings,
    provenance: Provenance,
    substrate: str = COMMON,
    progress: Progress = silent,
) -> Reproduction:
    """Measure APSQ's claims; `machines` are those that `arrays.machines` makes on `substrate`.

    Raises
    ------
    InputError
        An unknown option, one that what is compared decides, or synthetic operands, before anything runs.
    """
    _check(networks, machines, settings.options)
    measured = tuple(_attempt(network, arrays_of(network, machines), settings, progress) for network in networks)
    engines = tuple(engine_of(name, machine) for name, machine in machines.items())
    return Reproduction(
        system=SYSTEM,
        networks=measured,
        claims=tuple(findings(measured, machines, engines, settings.options)),
        engines=engines,
        machines=machines,
        substrate=footing(machines, substrate),
        options=settings.options,
        provenance=provenance,
    )


def _check(networks: Sequence[Network], machines: Mapping[str, Apsq], options: Mapping[str, Any]) -> None:
    given = {*options, *(key for over in options.get("sites", {}).values() for key in over)}
    decided = sorted(given.intersection(DECIDED))
    if decided:
        raise InputError(
            f"option {decided[0]} is decided here: partial sums of all widths and groups are measured, in tiles of the "
            "array's pci, which --set pci=... changes; leave it out"
        )
    for method, own in methods_of(next(iter(machines.values())), options).values():
        compose(method, own)
    refuse_synthetic(networks, "what is measured here depends on shapes and formats only")


def _attempt(network: Network, arrays: Mapping[str, Apsq], settings: Settings, progress: Progress) -> Measured:
    """One network; what stops it is said in every claim about it, and the others go on."""
    try:
        return _measured(network, arrays, settings, progress)
    except Exception as error:
        return Measured(network=network.name, arrays=tuple(arrays), reason=said(error), notes=network.notes)


def _measured(network: Network, arrays: Mapping[str, Apsq], settings: Settings, progress: Progress) -> Measured:
    shapes, traced = as_shapes(network)
    lines: list[Line] = []
    for name, machine in arrays.items():
        progress(f"{network.name}: array {name}", 0, 0)
        lines += lines_of(shapes, name, machine, settings.options)
    first = next(iter(arrays))
    return Measured(
        network=network.name,
        arrays=tuple(arrays),
        input=input_sizes(network),
        layers=layers_of(network.name, traced.sites),
        lines=tuple(lines),
        weighed=tuple(weighed(network.name, (line for line in lines if line.array == first))),
        notes=tuple(_notes(traced, lines[0])),
    )


def _notes(traced: Trace, line: Line) -> Iterator[str]:
    """What the plans must say, and every product that is in no figure."""
    yield from line.wide.simulation.notes
    for entry in line.wide.simulation.unsupported:
        yield f"{entry.name}, {100 * entry.share:.2g} % of the products, is in no figure: {entry.reason}"
    yield from left_out(traced)
