"""APSQ's claims with what was measured: every reason is made of the numbers behind the figure."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.accelerators.events import BITS_PER_BYTE
from bitwright.accelerators.partial_sums import Apsq
from bitwright.accelerators.srams import srams_of
from bitwright.studies.reproduce.apsq.areas import Engine
from bitwright.studies.reproduce.apsq.arrays import described
from bitwright.studies.reproduce.apsq.claims import AREA, ENGINE_UM2, QUESTIONS, Question
from bitwright.studies.reproduce.apsq.fit import ALL, DRAM_BYTE, LISTED, MAC
from bitwright.studies.reproduce.apsq.measured import Measured
from bitwright.studies.reproduce.apsq.runs import NARROW, VARIANTS, WIDE, Line
from bitwright.studies.reproduce.claims import Claim
from bitwright.words import counted

KIB = 1024
PJ_PER_J = 1e12
REFERENCE = "mapped"
"""The machine's default variant."""
Answer = tuple[float, Measured, Line]
"""A figure, and the network and line that it is of."""


def findings(
    networks: Sequence[Measured], machines: Mapping[str, Apsq], engines: Sequence[Engine], options: Mapping[str, Any]
) -> list[Claim]:
    """The system's claims, but for those about networks that were not asked for.

    Parameters
    ----------
    networks, engines
        What was measured; the first engine is that of the array that claims are about.
    machines : mapping
        By name.
    options : mapping
        Of the methods, as given.
    """
    by_name = {network.network: network for network in networks}
    asked = [question for question in QUESTIONS if set(question.networks) <= set(by_name)]
    return [
        *(
            _answered(question, variant, [by_name[name] for name in question.networks], machines, options)
            for question in asked
            for variant in VARIANTS
        ),
        _of_area(engines, machines),
    ]


def _answered(
    question: Question,
    variant: str,
    networks: Sequence[Measured],
    machines: Mapping[str, Apsq],
    options: Mapping[str, Any],
) -> Claim:
    claim, conditions = question.counted(variant), _conditions(question, variant, networks, machines, options)
    missing = [f"{network.network}: {network.reason}" for network in networks if network.reason]
    if missing:
        return claim.found(None, conditions, "; ".join(missing))
    answers = _answers(question, variant, networks, 0)
    measured, network, line = _chosen(question, answers)
    reasons = [
        *([_of_all(question, answers)] if len(answers) > 1 else []),
        f"{_which(network, line)}: {_of_sums(line, machines[line.array])} {_of_mapping(network, line)}",
        _of_prices(question, variant, networks, machines[line.array]),
        _elsewhere(question, variant, networks),
    ]
    return claim.found(measured, conditions, " ".join(filter(None, reasons)))


def _answers(question: Question, variant: str, networks: Sequence[Measured], place: int) -> list[Answer]:
    """Of every network and dataflow asked about, on the array that is at `place` among the network's."""
    return [
        (question.figure(line.figures), network, line)
        for network in networks
        for line in network.lines
        if line.array == network.arrays[place] and line.variant == variant and line.dataflow in question.dataflows
    ]


def _chosen(question: Question, answers: Sequence[Answer]) -> Answer:
    chosen: Answer = question.choose(answers, key=lambda answer: answer[0])
    return chosen


def _conditions(
    question: Question,
    variant: str,
    networks: Sequence[Measured],
    machines: Mapping[str, Apsq],
    options: Mapping[str, Any],
) -> dict[str, str]:
    arrays = dict.fromkeys(network.arrays[0] for network in networks)
    nodes = dict.fromkeys(f"{machines[name].technology.node_nm:g} nm" for name in arrays)
    return {
        "networks": "; ".join(f"{network.network} ({network.input})" for network in networks),
        "layers": "; ".join(f"{network.network}: {network.layers}" for network in networks),
        "array": "; ".join(described(name, machines[name]) for name in arrays),
        "dataflow": ", ".join(question.dataflows),
        "variant": f"{variant}: {VARIANTS[variant]}",
        "partial_sums": f"{NARROW} against {WIDE}",
        "options": ", ".join(f"{key}={value}" for key, value in options.items()) or "defaults",
        "prices": f"ours, {', '.join(nodes)}",
    }


def _of_all(question: Question, answers: Sequence[Answer]) -> str:
    figures = (f"{_which(network, line)} {_figure(value, question)}" for value, network, line in answers)
    return f"{', '.join(figures)}."


def _of_sums(line: Line, machine: Apsq) -> str:
    """Share and spill of partial sums, and what follows for the saving."""
    wide, narrow = line.wide, line.narrow
    ended = wide.spilling - narrow.spilling
    quarters = 75 * wide.psum_share
    return (
        f"moving {WIDE} partial sums is {100 * wide.psum_share:.1f} % of all energy, {NARROW} ones "
        f"{100 * narrow.psum_share:.1f} %; those that live take up to {wide.live_bytes / KIB:,.0f} and "
        f"{narrow.live_bytes / KIB:,.0f} of {machine.output_sram_kib} KiB of SRAM and spill at {wide.spilling} and "
        f"{narrow.spilling} of {counted(len(wide.ran), 'site')}: "
        + (f"{ended} stop spilling." if ended else f"none stops spilling, and 3/4 of that share are {quarters:.1f} %.")
    )


def _of_mapping(network: Measured, line: Line) -> str:
    """What crosses DRAM more than once, and what the variant does to the energy that savings are relative to."""
    mapped = next(
        other.wide.energy_pj
        for other in network.own_lines
        if (other.dataflow, other.variant) == (line.dataflow, REFERENCE)
    )
    beside = f", {line.wide.energy_pj / mapped:.3f} of {REFERENCE}'s" if line.variant != REFERENCE else ""
    return (
        f"Operands and outputs cross DRAM {line.wide.passes:.2f} times each; {WIDE} takes "
        f"{line.wide.energy_pj / PJ_PER_J:.4g} J{beside}."
    )


def _of_prices(question: Question, variant: str, networks: Sequence[Measured], machine: Apsq) -> str:
    """Our prices beside the weights of the fit, and what its weights make of the same accesses."""
    dram_pj, sram_pj = byte_prices(machine)
    own, listed = (
        question.choose(
            question.figure(each.figures)
            for network in networks
            for each in network.weighed
            if (each.layers, each.variant) == (layers, variant) and each.dataflow in question.dataflows
        )
        for layers in (ALL, LISTED)
    )
    return (
        f"A byte of DRAM costs {dram_pj:.0f} pJ, {dram_pj / sram_pj:.0f} times one of partial sums in SRAM "
        f"({sram_pj:.2f} pJ, mean of read and write); {DRAM_BYTE} times, and {MAC} for a multiply-accumulate, is what "
        "others' reconstruction fitted to published figures, never ours to tune: with its weights the same accesses "
        f"give {_figure(own, question)}, on its lists of layers {_figure(listed, question)}."
    )


def byte_prices(machine: Apsq) -> tuple[float, float]:
    """Energy in pJ of a byte of DRAM, and of a byte of partial sums in SRAM, the mean of reading and writing."""
    return BITS_PER_BYTE * machine.dram_price[0], sum(srams_of(machine)["sram_output"].pj_per_byte) / 2


def _elsewhere(question: Question, variant: str, networks: Sequence[Measured]) -> str:
    """The same on the other arrays."""
    found = [
        (networks[0].arrays[place], _chosen(question, _answers(question, variant, networks, place)))
        for place in range(1, len(networks[0].arrays))
    ]
    return " ".join(
        f"On the {name} array: {_figure(value, question)} ({_which(network, line)})."
        for name, (value, network, line) in found
    )


def _of_area(engines: Sequence[Engine], machines: Mapping[str, Apsq]) -> Claim:
    first, *others = engines
    assert AREA.published is not None
    whole = ENGINE_UM2 / (AREA.published / 100)
    elsewhere = "; ".join(f"on the array {each.array} {each.increase:.2f} %" for each in others)
    reason = (
        f"{first.lanes} lanes of 5 shifters and 4 adders are {first.engine_um2:,.0f} um2, {first.lane_um2:,.0f} each, "
        f"of which an adder was there before; published are {ENGINE_UM2:,} um2 in all, which makes the whole without "
        f"it {whole / 1e6:.2f} mm2. Ours without it is {first.without_um2 / 1e6:.2f} mm2: multipliers, SRAMs and "
        f"requantizers alone, no control, no wiring. {elsewhere[0].upper()}{elsewhere[1:]}."
    )
    conditions = {"array": described(first.array, machines[first.array]), "prices": "ours, as for energy"}
    return AREA.found(first.increase, conditions, reason)


def _which(network: Measured, line: Line) -> str:
    return f"{network.network} {line.dataflow.upper()}"


def _figure(value: float, question: Question) -> str:
    return f"{value:.3g}{question.claim.unit}" if question.claim.unit == "x" else f"{value:.1f} {question.claim.unit}"
