"""Claims about compute area and throughput, which depend on PEs and widths alone."""

import dataclasses
from collections.abc import Mapping

from bitwright.accelerators.circuits import priced
from bitwright.accelerators.precision_scalable import compute_area_um2
from bitwright.accelerators.precision_scalable.machine import PackedArray
from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.lp import claims as published
from bitwright.studies.reproduce.lp.arrays import SMALL, Arrays
from bitwright.studies.reproduce.lp.claims import CHARTED, CHARTED_PES, NAMES
from bitwright.studies.reproduce.lp.conditions import conditions, on_arrays
from bitwright.studies.reproduce.lp.measured import Measured
from bitwright.studies.reproduce.lp.mixes import EIGHT, FOUR, MIXED, MixOptions
from bitwright.studies.reproduce.lp.runs import Run

MM2 = 1e6  # um2
ORIGINS = {
    "lpa": "the chart is where the area of a PE comes from, so they agree by construction",
    "ant": "the PE is SPARK's, the decoders are sums of parts, which the chart has no room for",
    "bitfusion": "the PE is SPARK's, found independently of the chart",
    "adaptivfloat": "the PE is SPARK's, found independently of the chart",
}


def area_claims(arrays: Arrays) -> list[Claim]:
    """Compute areas: PEs and decoders of the 8 x 8 arrays."""
    machines, told = arrays[SMALL], on_arrays(arrays, SMALL)
    return [
        claim.found(compute_area_um2(machines[name]) / MM2, told, _of_area(name, machines[name]))
        for name, claim in published.AREAS.items()
    ]


def _of_area(name: str, machine: PackedArray) -> str:
    pes, pe = machine.rows * machine.cols, machine.pe_price
    summed = priced(machine.pe, dataclasses.replace(machine.technology, synthesized=None), "parts")
    origin = ORIGINS[name] if machine.priced_by == "area" else "all are sums of parts, as was asked for"
    if pe.synthesized:
        origin = "the area is that of our RTL, and the chart is only compared with"
    return (
        f"{pes} PEs of {pe.area_um2:.4g} um2{_decoders(machine)}: {origin}. As a sum of parts, in our reading of its "
        f"datapath, a PE is {summed.area_um2:.0f} um2. No encoder, requantizer or SRAM is in the figure."
    )


def _decoders(machine: PackedArray) -> str:
    if machine.decoder is None:
        return ""
    if machine.decoders_in_array:
        return ", their decoders included"
    return f" and {compute_area_um2(machine) - machine.area().components_um2['pe_array']:,.0f} um2 of decoders"


def throughput_claims(network: Measured, arrays: Arrays, options: MixOptions) -> list[Claim]:
    """Throughput with every PE busy, and what follows from it and the areas."""
    told = conditions([network], arrays, options, SMALL)
    runs = {mix: network.line(SMALL, mix).runs for mix in (EIGHT, FOUR, MIXED)}
    mixed = runs[MIXED]
    throughputs = [
        claim.found(mixed[name].gops, told, f"{_of_rates(name, {mix: found[name] for mix, found in runs.items()})}")
        for name, claim in published.THROUGHPUTS.items()
    ]
    densities = [
        claim.found(
            mixed[name].tops_per_mm2, told, _of_density(name, {mix: found[name] for mix, found in runs.items()})
        )
        for name, claim in published.DENSITIES.items()
    ]
    return [*throughputs, *densities, *_against_ant(runs, told)]


def _of_rates(name: str, runs: Mapping[str, Run]) -> str:
    charted, mixed = CHARTED[name], runs[MIXED]
    others = ", ".join(f"{mix} {run.gops:.3g}" for mix, run in runs.items() if mix != MIXED)
    return (
        f"{mixed.pes} PEs of {mixed.rate:.3f} products per cycle; charted is {charted.rate:.3f}, for {CHARTED_PES} PEs"
        f"{_implied(name)}. With {others} GOPS."
    )


def _implied(name: str) -> str:
    """What a charted rate says of the mix behind it, if the rate is the mean over products."""
    rate = CHARTED[name].rate
    if name == "lpa":
        narrow = 2 - 4 / rate  # 1 / rate = narrow / 4 + (1 - narrow) / 2
        return (
            f", which takes weights of 2 bits in at least {100 * narrow:.0f} % of the products, the others having 4: "
            f"a mean of {2 * narrow + 4 * (1 - narrow):.1f} bits"
        )
    if name in ("ant", "bitfusion"):
        return f", as if {100 * (1 / rate - 1) / 3:.0f} % of the products were 8 by 8 bits, the others 4 by 4"
    return ""


def _of_density(name: str, runs: Mapping[str, Run]) -> str:
    mixed, charted = runs[MIXED], CHARTED[name]
    others = ", ".join(f"{mix} {run.tops_per_mm2:.3g}" for mix, run in runs.items() if mix != MIXED)
    area_mm2 = compute_area_um2(mixed.machine) / MM2
    return (
        f"{mixed.gops:.4g} GOPS by {area_mm2:.5f} mm2; charted are {charted.gops:.4g} by {charted.area_mm2:.5f}: "
        f"throughput, which the widths make, is {mixed.gops / charted.gops:.2f} of what is charted, area "
        f"{area_mm2 / charted.area_mm2:.2f}. With {others} TOPS/mm2."
    )


def _against_ant(runs: Mapping[str, Mapping[str, Run]], told: Mapping[str, str]) -> list[Claim]:
    """LPA by ANT: density, throughput, area."""
    lpa, ant = runs[MIXED]["lpa"], runs[MIXED]["ant"]
    charted_lpa, charted_ant = CHARTED["lpa"], CHARTED["ant"]
    areas = compute_area_um2(lpa.machine) / compute_area_um2(ant.machine)
    others = "; ".join(
        f"{mix}: {found['lpa'].tops_per_mm2 / found['ant'].tops_per_mm2:.2f}"
        for mix, found in runs.items()
        if mix != MIXED
    )
    rates = "; ".join(
        f"{mix}: {found['lpa'].gops / found['ant'].gops:.2f}" for mix, found in runs.items() if mix != MIXED
    )
    return [
        published.DENSITY_RATIO.found(
            lpa.tops_per_mm2 / ant.tops_per_mm2,
            told,
            f"{lpa.gops / ant.gops:.2f} times the throughput on {areas:.2f} times the area; the charts say "
            f"{charted_lpa.gops / charted_ant.gops:.2f} and {charted_lpa.area_mm2 / charted_ant.area_mm2:.2f}, hence "
            f"{charted_lpa.tops_per_mm2 / charted_ant.tops_per_mm2:.2f}. With {others}.",
        ),
        published.THROUGHPUT_RATIO.found(
            lpa.gops / ant.gops,
            told,
            f"{lpa.rate:.2f} products of a PE per cycle against {ant.rate:.2f}; the charts say {charted_lpa.rate:.2f} "
            f"against {charted_ant.rate:.2f}, {charted_lpa.gops / charted_ant.gops:.1f}x, and "
            f"{charted_lpa.area_mm2 / charted_ant.area_mm2:.1f}x the area, which is not modest. With {rates}.",
        ),
        published.AREA_RATIO.found(
            areas,
            told,
            f"{NAMES['ant']}'s decoders are sums of parts here; the PEs alone say {_pe_ratio(lpa, ant):.2f}.",
        ),
    ]


def _pe_ratio(lpa: Run, ant: Run) -> float:
    return lpa.machine.pe_price.area_um2 / ant.machine.pe_price.area_um2


def type_claims(arrays: Arrays) -> list[Claim]:
    """PE types: LPA with weights of one width alone."""
    machine, told = arrays[SMALL]["lpa"], on_arrays(arrays, SMALL)
    found = []
    for name, claim in published.TYPE_DENSITIES.items():
        bits = {published.WIDE_ONLY: 8, published.NARROW_ONLY: 2}.get(name)
        if bits is None:
            found.append(claim.found(None, told, "plain posit PEs are not modelled, so there is none to ask"))
            continue
        gops = 2 * machine.mode(8, bits).macs_per_cycle * machine.clock_mhz / 1000
        area = compute_area_um2(machine)
        found.append(claim.found(1000 * gops / area, told, _of_type(bits, gops, area, claim)))
    return found


def _of_type(bits: int, gops: float, area_um2: float, claim: Claim) -> str:
    assert claim.published is not None
    return (
        f"{gops:.0f} GOPS of the array that packs all widths, {area_um2 / MM2:.5f} mm2, with weights of {bits} bits "
        f"alone. The chart is of a PE that does nothing else, not modelled here, whose array would be "
        f"{gops / claim.published / 1000:.5f} mm2 at the same throughput."
    )
