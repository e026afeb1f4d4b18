"""What is measured of LPA and its rivals, as lines: every run, its sites and parts, and errors of weights."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, TypedDict

from bitwright.accelerators.precision_scalable import compute_area_um2
from bitwright.shown import Table
from bitwright.studies.reproduce.lp.runs import Line, Run
from bitwright.studies.simulation import SiteCost

if TYPE_CHECKING:
    from bitwright.studies.reproduce.lp.study import Reproduction


class RunFigures(TypedDict):
    """A network on a machine in a mix of widths; normalised figures are by those of AdaptivFloat."""

    pes: Annotated[int, "processing elements"]
    mean_weight_bits: Annotated[float, "mean width of weights, by products"]
    products_per_pe_cycle: Annotated[float, "of a PE with every PE busy, the mean over the network's products"]
    gops: Annotated[float, "additions and multiplications per nanosecond with every PE busy"]
    compute_area_um2: Annotated[float, "of PEs and decoders, in um2"]
    tops_per_mm2: Annotated[float, "the same in thousands per mm2 of these"]
    latency_us: Annotated[float, "of one inference, in microseconds"]
    normalised_latency: Annotated[float, "the same by AdaptivFloat's"]
    share_of_peak: Annotated[float, "of that rate, what is reached, 0 .. 1"]
    energy_pj: Annotated[float, "of one inference, in pJ"]
    normalised_energy: Annotated[float, "the same by AdaptivFloat's"]
    normalised_energy_logic_priced_otherwise: Annotated[
        float | None, "the same with logic priced in the other way; null where prices are missing"
    ]
    dram_bytes: Annotated[float, "read and written, in bytes"]


class SiteFigures(TypedDict):
    """A site of a run."""

    x_bits: Annotated[int, "of one element of x"]
    w_bits: Annotated[int, "of one element of w"]
    cycles: Annotated[int, "of all its runs"]
    energy_pj: Annotated[float, "of all its runs, in pJ"]


class Mixed(TypedDict):
    """A network on a machine of a set of arrays in a mix of widths."""

    network: Annotated[str, "its name"]
    arrays: Annotated[str, "the set of them"]
    mix: Annotated[str, "of widths"]
    machine: Annotated[str, "its name"]


class RunLine(Mixed, RunFigures):
    """A network on a machine in a mix of widths."""


class RunSiteLine(Mixed, SiteFigures):
    """A site of a run."""

    site: Annotated[str, "its name"]


class RunPartLine(Mixed):
    """A part of a machine in a run."""

    component: Annotated[str, "its name"]
    energy_pj: Annotated[float, "of one inference, in pJ"]


class WeightErrorLine(TypedDict):
    """A layer's weight in a format."""

    network: Annotated[str, "its name"]
    site: Annotated[str, "the layer"]
    kind: Annotated[str, "of format"]
    bits: Annotated[int, "of a word"]
    rmse: Annotated[float, "root mean square of the errors, in the weight's own unit"]
    relative: Annotated[float, "the same by the root mean square of the weights"]


def run_figures(line: Line, name: str, run: Run) -> RunFigures:
    """Of a run."""
    cost = run.simulation.cost
    return {
        "pes": run.pes,
        "mean_weight_bits": run.weight_bits,
        "products_per_pe_cycle": run.rate,
        "gops": run.gops,
        "compute_area_um2": compute_area_um2(run.machine),
        "tops_per_mm2": run.tops_per_mm2,
        "latency_us": run.simulation.latency_us,
        "normalised_latency": line.latency(name),
        "share_of_peak": run.utilization,
        "energy_pj": run.energy_pj,
        "normalised_energy": line.energy(name),
        "normalised_energy_logic_priced_otherwise": line.energy_otherwise(name),
        "dram_bytes": cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"],
    }


def site_figures(each: SiteCost) -> SiteFigures:
    """Of a site."""
    return {
        "x_bits": each.plan.x_bits,
        "w_bits": each.plan.w_bits,
        "cycles": each.cost.cycles,
        "energy_pj": each.cost.total_energy_pj,
    }


def _runs_of(found: "Reproduction") -> Iterator[tuple[Mixed, Line, str, Run]]:
    for network in found.networks:
        for line in network.lines:
            for name, run in line.runs.items():
                yield (
                    {"network": network.network, "arrays": line.arrays, "mix": line.mix, "machine": name},
                    line,
                    name,
                    run,
                )


def _runs(found: "Reproduction") -> Iterator[RunLine]:
    for names, line, name, run in _runs_of(found):
        yield {**names, **run_figures(line, name, run)}


def _sites(found: "Reproduction") -> Iterator[RunSiteLine]:
    for names, _, _, run in _runs_of(found):
        for each in run.simulation.sites:
            yield {**names, "site": each.site.name, **site_figures(each)}


def _components(found: "Reproduction") -> Iterator[RunPartLine]:
    for names, _, _, run in _runs_of(found):
        for component, energy in run.simulation.cost.energy_pj.items():
            yield {**names, "component": component, "energy_pj": energy}


def _weight_errors(found: "Reproduction") -> Iterator[WeightErrorLine]:
    for network in found.networks:
        for each in network.errors:
            yield {
                "network": network.network,
                "site": each.site,
                "kind": each.kind,
                "bits": each.bits,
                "rmse": each.rmse,
                "relative": each.relative,
            }


TABLES: Mapping[str, Table] = {
    "runs": Table(RunLine, _runs),
    "sites": Table(RunSiteLine, _sites),
    "components": Table(RunPartLine, _components),
    "weight_errors": Table(WeightErrorLine, _weight_errors),
}
"""Beside the claims."""
