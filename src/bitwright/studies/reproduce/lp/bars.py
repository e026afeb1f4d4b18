"""Claims about latency and energy, AdaptivFloat being 1."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.lp import claims as published
from bitwright.studies.reproduce.lp.arrays import EQUAL_AREA, REFERENCE, Arrays
from bitwright.studies.reproduce.lp.claims import CHARTED, NAMES
from bitwright.studies.reproduce.lp.conditions import conditions, elsewhere, failures
from bitwright.studies.reproduce.lp.measured import Measured
from bitwright.studies.reproduce.lp.mixes import MIXED, MixOptions
from bitwright.studies.reproduce.lp.runs import Line, Run

LPA, ANT = "lpa", "ant"
RIVALS = (ANT, "bitfusion", REFERENCE)
PARTS: Mapping[str, tuple[str, ...]] = {
    "DRAM": ("dram",),
    "SRAMs": ("sram_input", "sram_weight", "sram_output"),
    "PEs and codecs": ("mac", "decode", "encode"),
    "leakage": ("leakage",),
}
"""Components of energy as reasons name them; requantization is the rest."""
MJ = 1e9  # pJ
SUMS = (
    "Partial sums are as wide on all machines; a PE of LPA is drawn with 36 bits for those of its four lanes, "
    "which --set lpa.psum_bits=9 makes."
)

Figure = Callable[[Line], float]


def bar_claims(network: Measured, arrays: Arrays, options: MixOptions) -> list[Claim]:
    """The bars of one network, and LPA's energy by ANT's."""
    name = network.network
    found = [
        _answered(
            published.LATENCIES[name, machine], network, arrays, options, _latency(machine), _why_latency(machine)
        )
        for machine in published.LATENCY[name]
    ]
    found += [
        _answered(published.ENERGIES[name, machine], network, arrays, options, _energy(machine), _why_energy(machine))
        for machine in published.ENERGY[name]
    ]
    return [
        *found,
        _answered(published.ENERGY_RATIOS[name], network, arrays, options, _lpa_by_ant, _why_lpa_by_ant),
    ]


def _answered(
    claim: Claim,
    network: Measured,
    arrays: Arrays,
    options: MixOptions,
    figure: Figure,
    why: Callable[[Measured, Line], str],
) -> Claim:
    told = conditions([network], arrays, options, EQUAL_AREA)
    if network.reason:
        return claim.found(None, told, network.reason)
    line = network.line(EQUAL_AREA, MIXED)
    others = {(each.arrays, each.mix): figure(each) for each in network.lines}
    return claim.found(figure(line), told, f"{why(network, line)} {elsewhere(EQUAL_AREA, others)}")


def _latency(machine: str) -> Figure:
    return lambda line: line.latency(machine)


def _energy(machine: str) -> Figure:
    return lambda line: line.energy(machine)


def _lpa_by_ant(line: Line) -> float:
    return line.energy(LPA) / line.energy(ANT)


def _why_latency(machine: str) -> Callable[[Measured, Line], str]:
    def why(network: Measured, line: Line) -> str:
        own, reference = line.runs[machine], line.runs[REFERENCE]
        attention = f" Attention, {100 * network.attention:.1f} % of the products, is counted." * bool(
            network.attention
        )
        return (
            f"{_rate(machine, own)}; {_rate(REFERENCE, reference)}: {reference.gops / own.gops:.3f} if all are busy. "
            f"{100 * own.utilization:.0f} and {100 * reference.utilization:.0f} % of that are reached, for fills, "
            f"edges and DRAM.{attention}"
        )

    return why


def _rate(machine: str, run: Run) -> str:
    return (
        f"{NAMES[machine]} has {run.pes:,} PEs of {run.rate:.2f} products per cycle "
        f"(weights of {run.weight_bits:.2f} bits in the mean)"
    )


def _why_energy(machine: str) -> Callable[[Measured, Line], str]:
    def why(_: Measured, line: Line) -> str:
        other = line.energy_otherwise(machine)
        way = "sums of parts" if line.runs[machine].machine.priced_by == "area" else "their area"
        priced = "" if other is None else f" With PEs and codecs priced by {way}: {other:.3f}."
        sums = f" {SUMS}" if machine == LPA else ""
        return f"{_shares(machine, line.runs[machine])}; {_shares(REFERENCE, line.runs[REFERENCE])}.{priced}{sums}"

    return why


def _shares(machine: str, run: Run) -> str:
    """Where the energy goes."""
    shares = ", ".join(f"{name} {100 * run.share(*components):.0f} %" for name, components in PARTS.items())
    return f"{NAMES[machine]} takes {run.energy_pj / MJ:.3g} mJ: {shares}"


def _why_lpa_by_ant(_: Measured, line: Line) -> str:
    lpa, ant = line.runs[LPA], line.runs[ANT]
    dram = [run.share("dram") * run.energy_pj / MJ for run in (lpa, ant)]
    rest = [run.energy_pj / MJ - part for run, part in zip((lpa, ant), dram, strict=True)]
    return (
        f"DRAM takes {dram[0]:.3g} mJ of LPA's energy against {dram[1]:.3g} of ANT's, everything else {rest[0]:.3g} "
        f"against {rest[1]:.3g}: LPA's activations are wider, and its lanes' 32-bit sums fill the output SRAM, so that "
        "operands are read again (--set lpa.psum_bits=9 shows how much that is). Logic is priced by published "
        "areas; --set priced_by=parts, sums of components, gives other ratios. A PE of LPA burns "
        f"{lpa.machine.pe_price.energy_pj:.3g} pJ per cycle for {lpa.rate:.2f} products, one of ANT "
        f"{ant.machine.pe_price.energy_pj:.3g} pJ for {ant.rate:.2f}. The charts have LPA above ANT in both networks, "
        f"at {CHARTED[LPA].area_mm2 / CHARTED[ANT].area_mm2:.1f} times its area for as many PEs."
    )


def mean_claims(networks: Sequence[Measured], arrays: Arrays, options: MixOptions) -> list[Claim]:
    """What is said of all rivals and networks at once."""
    told = conditions(networks, arrays, options, EQUAL_AREA)
    failed = failures(networks)
    if failed:
        return [claim.found(None, told, failed) for claim in (published.EFFICIENCY, published.REDUCTION)]
    lines = {network.network: network.line(EQUAL_AREA, MIXED) for network in networks}
    pairs = [(network, rival) for network in lines for rival in RIVALS]
    energies = {pair: lines[pair[0]].energy(pair[1]) / lines[pair[0]].energy(LPA) for pair in pairs}
    saved = {pair: 100 * (1 - lines[pair[0]].latency(LPA) / lines[pair[0]].latency(pair[1])) for pair in pairs}
    charted = {name: {**bars, REFERENCE: 1.0} for name, bars in published.ENERGY.items()}
    timed = {name: {**bars, REFERENCE: 1.0} for name, bars in published.LATENCY.items()}
    of_energy = [charted[name][rival] / charted[name][LPA] for name, rival in pairs]
    of_time = [100 * (1 - timed[name][LPA] / timed[name][rival]) for name, rival in pairs]
    return [
        published.EFFICIENCY.found(
            _mean(energies.values()),
            told,
            f"{_listed(energies)}. The poster's own bars give {_mean(of_energy):.2f} in the same mean and "
            f"{max(of_energy):.2f} at most, so 2.2 is of something else.",
        ),
        published.REDUCTION.found(
            _mean(saved.values()),
            told,
            f"{_listed(saved)}. The poster's own bars give {_mean(of_time):.0f} % in the same mean.",
        ),
    ]


def _listed(figures: Mapping[tuple[str, str], float]) -> str:
    return ", ".join(f"{NAMES[rival]} on {network} {figure:.3g}" for (network, rival), figure in figures.items())


def _mean(figures: Iterable[float]) -> float:
    kept = list(figures)
    return sum(kept) / len(kept)
