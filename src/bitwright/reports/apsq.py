"""The reproduction of APSQ as tables and as a record: energies by dataflow and variant, the RAE's area, claims."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from bitwright.reports.claims import ClaimRecord, claim_record, print_claims
from bitwright.reports.costs import synthesis_lines
from bitwright.reports.tables import PICO, Column, area_column, percents, print_fitting, quantity, say, table, text
from bitwright.studies.machines import Footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.apsq.areas import Engine
from bitwright.studies.reproduce.apsq.arrays import described
from bitwright.studies.reproduce.apsq.claims import ENGINE_UM2
from bitwright.studies.reproduce.apsq.fit import DRAM_BYTE, MAC, Weighed
from bitwright.studies.reproduce.apsq.measured import Measured
from bitwright.studies.reproduce.apsq.runs import NARROW, SUMS, VARIANTS, WIDE, Line, Run, SiteLine
from bitwright.studies.reproduce.apsq.study import Reproduction
from bitwright.studies.reproduce.apsq.tables import (
    EngineFigures,
    RunFigures,
    SiteFigures,
    engine_figures,
    run_figures,
    site_figures,
)
from bitwright.units import number
from bitwright.words import counted

if TYPE_CHECKING:
    from rich.console import Console

MOST_LIVE = list(SUMS)[-1]  # the largest group, hence the most partial sums of those narrow ones
SPILLING = (WIDE, NARROW, MOST_LIVE)
FIT = (
    f"What a published-style fit gives, variant published: the same accesses with a byte of DRAM worth {DRAM_BYTE} of "
    f"SRAM and a multiply-accumulate {MAC} (others' reconstruction, not our prices)"
)


class ApsqLine(TypedDict):
    """A network on an array with one dataflow and one variant of counting."""

    array: Annotated[str, "its name"]
    dataflow: Annotated[str, "is, ws or os"]
    variant: Annotated[str, "of counting: published or mapped"]
    partial_sums: Annotated[Mapping[str, RunFigures], "by how they are stored"]


class FitRecord(TypedDict):
    """What a published-style fit makes of a line."""

    layers: Annotated[str, "all, or those that the reconstruction lists"]
    dataflow: Annotated[str, "is, ws or os"]
    variant: Annotated[str, "of counting: published or mapped"]
    psum_share_percent: Annotated[float, "moving wide partial sums, of all energy, in percent"]
    saving_percent: Annotated[float, "energy that narrow partial sums save, in percent"]
    ratio: Annotated[float, "energy with wide partial sums by that with narrow ones"]


class SummedSite(SiteFigures):
    """A site with partial sums of 32 bits (wide) and of 8 (narrow)."""

    name: Annotated[str, "the site's"]


class SitesRecord(TypedDict):
    """The sites of a line of the first array that stores partial sums."""

    dataflow: Annotated[str, "is or ws"]
    variant: Annotated[str, "of counting: published or mapped"]
    sites: Annotated[list[SummedSite], "in the order of execution"]


class ApsqNetwork(TypedDict):
    """What is measured of one network."""

    network: Annotated[str, "its name"]
    input: Annotated[str, "the sizes of its input"]
    layers: Annotated[str, "what is counted, and what of it the reconstruction leaves out"]
    reason: Annotated[str, "what went wrong; empty otherwise"]
    lines: Annotated[list[ApsqLine], "by array, dataflow and variant"]
    published_style_fit: Annotated[list[FitRecord], "the lines of the first array, weighed as others do"]
    sites: Annotated[list[SitesRecord], "those of the first array"]
    notes: Annotated[Sequence[str], "what every report must say"]


class ApsqRecord(TypedDict):
    """APSQ: its claims, and every table behind them."""

    system: Annotated[str, "apsq"]
    rows: Annotated[list[ClaimRecord], "claims, of all networks"]
    networks: Annotated[list[ApsqNetwork], "in the order asked for"]
    areas: Annotated[list[EngineFigures], "the RAE of each array"]
    parameters: Annotated[Mapping[str, Mapping[str, Any]], "of every array"]
    variants: Annotated[Mapping[str, str], "of counting, and what each means"]
    methods: Annotated[Mapping[str, str], "how partial sums are stored -> the method that does so"]
    options: Annotated[Mapping[str, Any], "of the methods, as given"]
    substrate: Annotated[Footing, "what the machines stand on"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def print_apsq(found: Reproduction, console: "Console", *, sites: bool) -> None:
    """Every network, what the fit makes of them, the RAE's area, then the claims and what they stand on."""
    for network in found.networks:
        _print_network(network, console, sites=sites)
    fitted = [
        (network, each)
        for network in found.networks
        for each in network.weighed
        if each.variant == "published" and each.dataflow != "os"
    ]
    if fitted:
        say(console, f"{FIT}.")
        console.print(table(_fit_columns(fitted)))
    console.print(table(_engine_columns(found.engines), title="Area of the RAE"))
    say(console, f"Published of the RAE: {ENGINE_UM2:,} um2 in all.")
    print_claims(found.claims, console)
    say(console, *(f"Array {described(name, machine)}." for name, machine in found.machines.items()))
    say(console, *synthesis_lines(found.substrate))
    say(console, *(f"Variant {name}: {meaning}." for name, meaning in VARIANTS.items()))
    say(console, *(f"Note: {note}" for note in dict.fromkeys(note for each in found.networks for note in each.notes)))


def apsq_record(found: Reproduction) -> ApsqRecord:
    """The claims as rows, and every table behind them."""
    return {
        "system": found.system,
        "rows": [claim_record(claim) for claim in found.claims],
        "networks": [_network_record(network) for network in found.networks],
        "areas": [engine_figures(engine) for engine in found.engines],
        "parameters": {name: machine.parameters() for name, machine in found.machines.items()},
        "variants": VARIANTS,
        "methods": SUMS,
        "substrate": found.substrate,
        "options": found.options,
        "provenance": found.provenance,
    }


def _print_network(network: Measured, console: "Console", *, sites: bool) -> None:
    if network.failed:
        say(console, f"{network.network}: failed: {network.reason}", "")
        return
    say(console, f"{network.network} on {network.input}, {network.layers}: energy by that of {WIDE}.")
    names = [
        text("array", [line.array for line in network.lines]),
        text("dataflow", [line.dataflow for line in network.lines]),
        text("variant", [line.variant for line in network.lines]),
    ]
    print_fitting(names, _line_columns(network.lines), console)
    if sites:
        for dataflow, lines in _stored(network).items():
            say(console, f"Sites of {network.network}, {dataflow}, on the {network.arrays[0]} array:")
            print_fitting(_site_names(lines[0]), [column for line in lines for column in _site_columns(line)], console)


def _stored(network: Measured) -> dict[str, list[Line]]:
    """The lines of the first array by dataflow, where that stores partial sums."""
    found: dict[str, list[Line]] = {}
    for line in network.own_lines:
        if line.dataflow != "os":
            found.setdefault(line.dataflow, []).append(line)
    return found


def _line_columns(lines: Sequence[Line]) -> list[Column]:
    return [
        quantity(WIDE, [line.wide.energy_pj for line in lines], "J", PICO),
        *(
            Column(header=sums, cells=[number(line.normalised(sums), 3) for line in lines])
            for sums in SUMS
            if sums != WIDE
        ),
        percents(f"partial sums of {WIDE}", [line.wide.psum_share for line in lines]),
        percents(f"of {NARROW}", [line.narrow.psum_share for line in lines]),
        *(Column(header=f"spill {sums}", cells=[_spill(line.runs[sums]) for line in lines]) for sums in SPILLING),
        quantity(f"cycles {WIDE}", [line.wide.simulation.cost.cycles for line in lines], ""),
        quantity(f"cycles {NARROW}", [line.narrow.simulation.cost.cycles for line in lines], ""),
    ]


def _spill(run: Run) -> str:
    return f"{run.spilling} of {counted(len(run.ran), 'site')}" if run.spilling else "no"


def _site_names(line: Line) -> list[Column]:
    found = [each.site for each in line.sites()]
    return [
        text("site", [site.name for site in found]),
        text("groups x m x k x n", [f"{site.groups} x {site.m} x {site.k} x {site.n}" for site in found]),
    ]


def _site_columns(line: Line) -> list[Column]:
    entries = list(line.sites())
    return [
        quantity(f"{line.variant} {WIDE}", [each.wide_pj for each in entries], "J", PICO),
        quantity(f"{line.variant} {NARROW}", [each.narrow_pj for each in entries], "J", PICO),
        text("spill", [_spilling(each) for each in entries]),
    ]


def _spilling(each: SiteLine) -> str:
    spilling = {WIDE: each.wide_spills, NARROW: each.narrow_spills}
    return ", ".join(sums for sums, spills in spilling.items() if spills) or "no"


def _fit_columns(fitted: Sequence[tuple[Measured, Weighed]]) -> list[Column]:
    return [
        text("network", [network.network for network, _ in fitted]),
        text("layers", [each.layers for _, each in fitted]),
        text("dataflow", [each.dataflow for _, each in fitted]),
        percents(f"partial sums of {WIDE}", [each.figures.share / 100 for _, each in fitted]),
        percents(f"saved by {NARROW}", [each.figures.saving / 100 for _, each in fitted]),
        Column(header=f"{WIDE} by {NARROW}", cells=[number(each.figures.ratio, 4) for _, each in fitted]),
    ]


def _engine_columns(engines: Sequence[Engine]) -> list[Column]:
    return [
        text("array", [engine.array for engine in engines]),
        Column(header="lanes", cells=[f"{engine.lanes}" for engine in engines]),
        Column(header="of a lane [um2]", cells=[number(engine.lane_um2) for engine in engines]),
        area_column("RAE", [engine.engine_um2 for engine in engines]),
        area_column("without it", [engine.without_um2 for engine in engines]),
        percents("added", [engine.increase / 100 for engine in engines]),
    ]


def _network_record(network: Measured) -> ApsqNetwork:
    return {
        "network": network.network,
        "input": network.input,
        "layers": network.layers,
        "reason": network.reason,
        "lines": [_line_record(line) for line in network.lines],
        "published_style_fit": [_fit_record(each) for each in network.weighed],
        "sites": [_site_record(line) for lines in _stored(network).values() for line in lines],
        "notes": network.notes,
    }


def _line_record(line: Line) -> ApsqLine:
    return {
        "array": line.array,
        "dataflow": line.dataflow,
        "variant": line.variant,
        "partial_sums": {sums: run_figures(line, sums, run) for sums, run in line.runs.items()},
    }


def _fit_record(each: Weighed) -> FitRecord:
    return {
        "layers": each.layers,
        "dataflow": each.dataflow,
        "variant": each.variant,
        "psum_share_percent": each.figures.share,
        "saving_percent": each.figures.saving,
        "ratio": each.figures.ratio,
    }


def _site_record(line: Line) -> SitesRecord:
    return {
        "dataflow": line.dataflow,
        "variant": line.variant,
        "sites": [{"name": each.site.name, **site_figures(each)} for each in line.sites()],
    }
