"""The reproduction of Drift as tables and as a record: machines at stated shares, steps within the budget, claims."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from bitwright.reports.claims import ClaimRecord, claim_record, conditions_line, print_claims
from bitwright.reports.costs import synthesis_lines
from bitwright.reports.tables import PICO, Column, percents, print_fitting, quantity, say, table, text
from bitwright.studies.machines import Footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.drift.arrays import DATAFLOWS, DRIFT, SEQ, described, drq_name
from bitwright.studies.reproduce.drift.distortion import Bin
from bitwright.studies.reproduce.drift.ladder import INT8, Ladder, Rung
from bitwright.studies.reproduce.drift.measured import Measured
from bitwright.studies.reproduce.drift.options import StudyOptions
from bitwright.studies.reproduce.drift.runs import PRICES, Run, Stated
from bitwright.studies.reproduce.drift.study import Reproduction
from bitwright.studies.reproduce.drift.tables import RunFigures, run_figures
from bitwright.units import DASH, number

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = (SEQ, DRIFT, drq_name(4))
PLOT = 48  # characters of a picture of errors
LIMITS = (
    "Public of Drift are the two figures of its abstract; algorithm, array, scheduler and all else here are our "
    "reconstruction, and no energy or area table of the paper is public.",
    "Shares of shapes are stated, not measured; nothing here is fitted to the published figures.",
    "Accuracy is expected accuracy, told without labels on few samples.",
)


class RunRecord(RunFigures):
    """A network at stated shares on a machine."""

    energy_pj: Annotated[Mapping[str, float], "by price of a DRAM bit, in pJ"]
    parts_pj: Annotated[Mapping[str, Mapping[str, float]], "by price of a DRAM bit, then by component, in pJ"]
    saving_of_drift: Annotated[Mapping[str, float], "energy of this machine by that of drift, by price of a DRAM bit"]


class LadderRecord(TypedDict):
    """What the method drift reaches within a budget, step by step, and its rivals."""

    calibrated_on: Annotated[str, "which samples calibrated"]
    judged_on: Annotated[str, "which samples judged"]
    steps: Annotated[Sequence[Rung], "int8 first, then the steps of drift, then the rivals"]


class DriftNetwork(TypedDict):
    """What is measured of one network."""

    network: Annotated[str, "its name"]
    input: Annotated[str, "of the network as shapes"]
    reason: Annotated[str, "what went wrong; empty otherwise"]
    fluid_bound: Annotated[float | None, "speed-up over 8 by 8 bits of the multipliers alone"]
    runs: Annotated[list[RunRecord], "on all machines in both dataflows"]
    ladder: Annotated[LadderRecord | None, "of a network with weights"]
    costed_on: Annotated[str, "what machines ran in the ladder"]
    distortions: Annotated[Sequence[Bin], "of a network with weights"]
    notes: Annotated[Sequence[str], "what every report must say"]


class DriftRecord(TypedDict):
    """Drift: its claims, and every table behind them."""

    system: Annotated[str, "drift"]
    rows: Annotated[list[ClaimRecord], "claims, of all networks"]
    networks: Annotated[list[DriftNetwork], "in the order asked for"]
    parameters: Annotated[Mapping[str, Mapping[str, Any]], "of every machine"]
    options: Annotated[StudyOptions, "what is stated, and what is measured"]
    limits: Annotated[Sequence[str], "what all of this cannot say"]
    substrate: Annotated[Footing, "what the machines stand on"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def print_drift(found: Reproduction, console: "Console", *, sites: bool) -> None:
    """Every network on all machines and step by step, then the claims and what they stand on."""
    for network in found.networks:
        _print_network(network, console, every_dataflow=sites)
    print_claims(found.claims, console)
    if found.claims:
        say(console, f"Measured with {conditions_line(found.claims[0].conditions)}.")
    say(console, f"Arrays: {described(found.machines)}.", *synthesis_lines(found.substrate), *LIMITS)
    say(console, *(f"Note: {note}" for note in dict.fromkeys(note for each in found.networks for note in each.notes)))


def drift_record(found: Reproduction) -> DriftRecord:
    """The claims as rows, and every table behind them."""
    return {
        "system": found.system,
        "rows": [claim_record(claim) for claim in found.claims],
        "networks": [_network_record(network) for network in found.networks],
        "parameters": {name: machine.parameters() for name, machine in found.machines.items()},
        "substrate": found.substrate,
        "options": found.options,
        "limits": LIMITS,
        "provenance": found.provenance,
    }


def _print_network(network: Measured, console: "Console", *, every_dataflow: bool) -> None:
    if network.reason:
        say(console, f"{network.network}: failed: {network.reason}", "")
    if network.stated is not None:
        _print_stated(network, network.stated, console)
    if network.ladder is not None:
        _print_ladder(network, network.ladder, console, every_machine=every_dataflow)
    if network.distortions:
        say(
            console,
            f"Relative squared error of sub-tensors of {network.network} by their deviation in steps, delta: measured "
            "(█), by the formula (│).",
        )
        console.print(table(_distortion_columns(network.distortions)))


def _print_stated(network: Measured, found: Stated, console: "Console") -> None:
    runs = found.runs
    say(
        console,
        f"{network.network} on {network.input}, at stated shares: multipliers alone would be {found.fluid:.2f}x "
        "as fast as at 8 by 8 bits.",
    )
    names = [text("machine", [run.name for run in runs]), text("dataflow", [run.dataflow for run in runs])]
    columns = [
        quantity("cycles of the array", [run.compute_cycles for run in runs], ""),
        quantity("with DRAM", [run.cycles for run in runs], ""),
        *(
            quantity(f"energy, DRAM at {_price(price)}", [run.energy_pj[price] for run in runs], "J", PICO)
            for price in PRICES
        ),
        _ratios("drift's speed-up, array", [found.compute_speedup(run.name, run.dataflow) for run in runs]),
        _ratios("with DRAM", [found.speedup(run.name, run.dataflow) for run in runs]),
        *(
            _ratios(f"drift's saving, {_price(price)}", [found.saving(run.name, run.dataflow, price) for run in runs])
            for price in PRICES
        ),
    ]
    print_fitting(names, columns, console)


def _price(name: str) -> str:
    return "list" if name == "list" else f"{name} pJ/bit"


def _ratios(header: str, values: Sequence[float]) -> Column:
    return Column(header=header, cells=[number(value, 3) for value in values])


def _print_ladder(network: Measured, ladder: Ladder, console: "Console", *, every_machine: bool) -> None:
    say(
        console,
        f"{network.network} within the budget, calibrated on {ladder.calibrated_on}; unseen: {ladder.judged_on}; costs "
        f"on {network.costed_on}.",
    )
    rungs = [rung for rung in ladder.rungs if not rung.reason]
    names = [text("step", [rung.name for rung in rungs])]
    classes = list(rungs[0].shares)
    columns = [
        text("found", [_found(rung) for rung in rungs]),
        percents("loss", [rung.loss for rung in rungs]),
        percents("unseen", [rung.held_out for rung in rungs]),
        *(percents(name, [rung.shares[name] for rung in rungs]) for name in classes),
        percents("multiplier time", [rung.time for rung in rungs]),
        *_cost_columns(ladder, rungs, every_machine=every_machine),
    ]
    print_fitting(names, columns, console)
    say(console, *(f"{rung.name}: failed: {rung.reason}" for rung in ladder.rungs if rung.reason))


def _found(rung: Rung) -> str:
    """What calibration chose, equal deltas once."""
    values = set(rung.found.values())
    if not rung.found:
        return DASH
    if len(values) == 1 and len(rung.found) > 1:
        return f"delta {_value(values.pop())}"
    return ", ".join(f"{name} {_value(value)}" for name, value in rung.found.items())


def _value(value: float | None) -> str:
    return "∞" if value is None else number(value, 3)


def _cost_columns(ladder: Ladder, rungs: Sequence[Rung], *, every_machine: bool) -> list[Column]:
    """Cycles with DRAM and energy by those of int8 on the uncut array of the same dataflow."""
    base, columns = ladder.rung(INT8), []
    for machine in base.costs:
        name, _, dataflow = machine.rpartition(", ")
        if not every_machine and (dataflow != DATAFLOWS[0] or name not in SHOWN):
            continue
        reference = base.costs[f"seq, {dataflow}"]
        at = [rung.costs.get(machine) for rung in rungs]
        cycles = [None if each is None else each.cycles / reference.cycles for each in at]
        energy = [None if each is None else each.energy_pj / reference.energy_pj for each in at]
        columns += [percents(f"{name} cycles, {dataflow}", cycles), percents(f"{name} energy, {dataflow}", energy)]
    return columns


def _distortion_columns(bins: Sequence[Bin]) -> list[Column]:
    figures = [value for each in bins for value in (each.predicted, each.measured) if value > 0]
    ends = min(figures), max(figures)
    return [
        text("operand", [each.operand for each in bins]),
        text("delta", [f"{each.low:g} .. {'∞' if math.isinf(each.high) else f'{each.high:g}'}" for each in bins]),
        Column(header="sub-tensors", cells=[f"{each.count:,}" for each in bins]),
        percents("formula", [each.predicted for each in bins]),
        percents("Laplace draws", [each.drawn for each in bins]),
        percents("measured", [each.measured for each in bins]),
        text(f"{ends[0]:.2%} .. {ends[1]:.0%}, logarithmic", [_bar(each, ends) for each in bins]),
    ]


def _bar(each: Bin, ends: tuple[float, float]) -> str:
    """A bar up to what is measured, and a mark at what the formula says."""
    low, high = (math.log(end) for end in ends)
    places = [
        round((PLOT - 1) * (math.log(max(value, ends[0])) - low) / ((high - low) or 1))
        for value in (each.measured, each.predicted)
    ]
    line = ["█"] * (places[0] + 1) + [" "] * (PLOT - places[0] - 1)
    line[places[1]] = "│"
    return "".join(line)


def _network_record(network: Measured) -> DriftNetwork:
    found = network.stated
    return {
        "network": network.network,
        "input": network.input,
        "reason": network.reason,
        "fluid_bound": None if found is None else found.fluid,
        "runs": [] if found is None else [_run_record(found, run) for run in found.runs],
        "ladder": None if network.ladder is None else _ladder_record(network.ladder),
        "costed_on": network.costed_on,
        "distortions": network.distortions,
        "notes": network.notes,
    }


def _run_record(found: Stated, run: Run) -> RunRecord:
    return {
        **run_figures(found, run),
        "energy_pj": run.energy_pj,
        "parts_pj": run.parts_pj,
        "saving_of_drift": {price: found.saving(run.name, run.dataflow, price) for price in PRICES},
    }


def _ladder_record(ladder: Ladder) -> LadderRecord:
    return {
        "calibrated_on": ladder.calibrated_on,
        "judged_on": ladder.judged_on,
        "steps": ladder.rungs,
    }
