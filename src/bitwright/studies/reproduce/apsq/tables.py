"""What is measured of APSQ, as lines: every run, every site with wide and narrow partial sums, the RAE's area."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, TypedDict

from bitwright.shown import Table
from bitwright.studies.reproduce.apsq.areas import Engine
from bitwright.studies.reproduce.apsq.runs import Line, Run, SiteLine

if TYPE_CHECKING:
    from bitwright.studies.reproduce.apsq.study import Reproduction


class RunFigures(TypedDict):
    """A network on an array with one kind of partial sums."""

    energy_pj: Annotated[float, "of everything, in pJ"]
    psum_energy_share: Annotated[float, "moving partial sums, of all energy, 0 .. 1"]
    spilling_sites: Annotated[int, "whose partial sums go to DRAM"]
    sites: Annotated[int, "of the network"]
    live_psum_bytes: Annotated[float, "the most bytes of partial sums that the output SRAM is asked to keep at once"]
    dram_passes: Annotated[float, "bytes of operands and outputs that cross DRAM by those of them that are distinct"]
    dram_bytes: Annotated[float, "read and written, in bytes"]
    cycles: Annotated[int, "from the first DRAM read to the last DRAM write of every site"]
    normalised: Annotated[float, "energy by that with partial sums of 32 bits"]


class SiteFigures(TypedDict):
    """A site with partial sums of 32 bits (wide) and of 8 (narrow)."""

    wide_pj: Annotated[float, "energy with wide ones, in pJ"]
    narrow_pj: Annotated[float, "energy with narrow ones, in pJ"]
    wide_spills: Annotated[bool, "whether wide ones go to DRAM"]
    narrow_spills: Annotated[bool, "whether narrow ones go to DRAM"]


class EngineFigures(TypedDict):
    """The RAE of an array."""

    array: Annotated[str, "its name"]
    lanes: Annotated[int, "partial sums per cycle"]
    lane_um2: Annotated[float, "of a lane, in um2"]
    rae_um2: Annotated[float, "all of it, in um2"]
    added_um2: Annotated[float, "without the one adder of a lane that an array needs anyway, in um2"]
    without_um2: Annotated[float, "the rest of the array, those adders included, in um2"]
    increase_percent: Annotated[float, "what is added by what is there without it, in percent"]


class Lined(TypedDict):
    """A network on an array, with a dataflow and a variant of counting."""

    network: Annotated[str, "its name"]
    array: Annotated[str, "its name"]
    dataflow: Annotated[str, "is, ws or os"]
    variant: Annotated[str, "of counting: published or mapped"]


class RunLine(Lined, RunFigures):
    """A network on an array with one kind of partial sums."""

    partial_sums: Annotated[str, "how they are stored"]


class SiteSumsLine(Lined, SiteFigures):
    """A site with partial sums of 32 and of 8 bits."""

    site: Annotated[str, "its name"]


def run_figures(line: Line, sums: str, run: Run) -> RunFigures:
    """Of a run."""
    cost = run.simulation.cost
    return {
        "energy_pj": run.energy_pj,
        "psum_energy_share": run.psum_share,
        "spilling_sites": run.spilling,
        "sites": len(run.ran),
        "live_psum_bytes": run.live_bytes,
        "dram_passes": run.passes,
        "dram_bytes": cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"],
        "cycles": cost.cycles,
        "normalised": line.normalised(sums),
    }


def site_figures(each: SiteLine) -> SiteFigures:
    """Of a site."""
    return {
        "wide_pj": each.wide_pj,
        "narrow_pj": each.narrow_pj,
        "wide_spills": each.wide_spills,
        "narrow_spills": each.narrow_spills,
    }


def engine_figures(engine: Engine) -> EngineFigures:
    """Of an RAE."""
    return {
        "array": engine.array,
        "lanes": engine.lanes,
        "lane_um2": engine.lane_um2,
        "rae_um2": engine.engine_um2,
        "added_um2": engine.added_um2,
        "without_um2": engine.without_um2,
        "increase_percent": engine.increase,
    }


def _lines(found: "Reproduction") -> Iterator[tuple[Lined, Line]]:
    for network in found.networks:
        for line in network.lines:
            yield (
                {
                    "network": network.network,
                    "array": line.array,
                    "dataflow": line.dataflow,
                    "variant": line.variant,
                },
                line,
            )


def _runs(found: "Reproduction") -> Iterator[RunLine]:
    for names, line in _lines(found):
        for sums, run in line.runs.items():
            yield {**names, "partial_sums": sums, **run_figures(line, sums, run)}


def _sites(found: "Reproduction") -> Iterator[SiteSumsLine]:
    for names, line in _lines(found):
        for each in line.sites():
            yield {**names, "site": each.site.name, **site_figures(each)}


TABLES: Mapping[str, Table] = {
    "runs": Table(RunLine, _runs),
    "sites": Table(SiteSumsLine, _sites),
    "areas": Table(EngineFigures, lambda found: [engine_figures(engine) for engine in found.engines]),
}
"""Beside the claims."""
