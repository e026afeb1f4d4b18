"""The reproduction of LPA as tables and as a record: densities, latencies and energies by arrays and mix, claims."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from bitwright.reports.claims import ClaimRecord, claim_record, print_claims
from bitwright.reports.costs import synthesis_lines
from bitwright.reports.tables import PICO, Column, percents, print_fitting, quantity, say, table, text
from bitwright.studies.machines import Footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.lp.arrays import SMALL, described
from bitwright.studies.reproduce.lp.claims import KINDS
from bitwright.studies.reproduce.lp.errors import WeightError, quartiles
from bitwright.studies.reproduce.lp.measured import Measured
from bitwright.studies.reproduce.lp.mixes import MIXES, MixOptions
from bitwright.studies.reproduce.lp.runs import Line, Run
from bitwright.studies.reproduce.lp.study import Reproduction
from bitwright.studies.reproduce.lp.tables import RunFigures, SiteFigures, run_figures, site_figures
from bitwright.units import number
from bitwright.words import counted

if TYPE_CHECKING:
    from rich.console import Console

MICRO = -6
PLOT = 60  # characters of a box plot
TINY = 1e-12  # stands for an error of 0 on a logarithmic axis


class RanSite(SiteFigures):
    """A site of a run."""

    name: Annotated[str, "the site's"]


class MachineRecord(RunFigures):
    """A network on a machine in a mix of widths; normalised figures are by those of AdaptivFloat."""

    energy_by_component_pj: Annotated[Mapping[str, float], "in pJ"]
    sites: Annotated[list[RanSite], "in the order of execution"]


class LpLine(TypedDict):
    """A network on a set of arrays in a mix of widths."""

    arrays: Annotated[str, "the set of them"]
    mix: Annotated[str, "of widths"]
    machines: Annotated[Mapping[str, MachineRecord], "by the machine's name"]


class LpNetwork(TypedDict):
    """What is measured of one network."""

    network: Annotated[str, "its name"]
    input: Annotated[str, "the sizes of its input"]
    attention_share: Annotated[float, "of its products, those without weights, 0 .. 1"]
    reason: Annotated[str, "what went wrong; empty otherwise"]
    lines: Annotated[list[LpLine], "by arrays and mix"]
    weight_errors: Annotated[Sequence[WeightError], "of its weights, where it has numbers"]
    notes: Annotated[Sequence[str], "what every report must say"]


class LpRecord(TypedDict):
    """LP: its claims, and every table behind them."""

    system: Annotated[str, "lp"]
    rows: Annotated[list[ClaimRecord], "claims, of all networks"]
    networks: Annotated[list[LpNetwork], "in the order asked for"]
    parameters: Annotated[Mapping[str, Mapping[str, Any]], "of every machine"]
    mixes: Annotated[Mapping[str, str], "of widths, and what each means"]
    options: Annotated[MixOptions, "of the mix that is mixed"]
    substrate: Annotated[Footing, "what the machines stand on"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def print_lp(found: Reproduction, console: "Console", *, sites: bool) -> None:
    """Every network on all arrays in all mixes, then the claims and what they stand on."""
    for network in found.networks:
        _print_network(network, console, sites=sites)
    print_claims(found.claims, console)
    say(console, *(f"Arrays {described(name, machines)}." for name, machines in found.arrays.items()))
    say(console, *synthesis_lines(found.substrate))
    say(console, *(f"Mix {name}: {meaning}." for name, meaning in MIXES.items()))
    say(console, f"Shares in the last mix, stated and not fitted: {found.options.in_words}.")
    say(console, *(f"Note: {note}" for note in dict.fromkeys(note for each in found.networks for note in each.notes)))


def lp_record(found: Reproduction) -> LpRecord:
    """The claims as rows, and every table behind them."""
    return {
        "system": found.system,
        "rows": [claim_record(claim) for claim in found.claims],
        "networks": [_network_record(network) for network in found.networks],
        "parameters": {name: machine.parameters() for name, machine in found.machines.items()},
        "mixes": MIXES,
        "substrate": found.substrate,
        "options": found.options,
        "provenance": found.provenance,
    }


def _print_network(network: Measured, console: "Console", *, sites: bool) -> None:
    if network.failed:
        say(console, f"{network.network}: failed: {network.reason}", "")
        return
    say(console, f"{network.network} on {network.input}: latency and energy by those of AdaptivFloat.")
    entries = [(line, name, run) for line in network.lines for name, run in line.runs.items()]
    names = [
        text("arrays", [line.arrays for line, _, _ in entries]),
        text("mix", [line.mix for line, _, _ in entries]),
        text("machine", [name for _, name, _ in entries]),
    ]
    print_fitting(names, _columns(entries), console)
    if network.errors:
        _print_errors(network, console)
    if sites:
        for line in network.lines:
            if line.arrays == SMALL:  # the mix is the same on all arrays
                say(console, f"Widths of {network.network}, {line.mix}:")
                console.print(table(_width_columns(line)))


def _print_errors(network: Measured, console: "Console") -> None:
    """Errors of weights by format and width, with a box plot on one logarithmic axis."""
    groups: dict[tuple[str, int], list[float]] = {}
    for error in network.errors:
        groups.setdefault((error.kind, error.bits), []).append(error.relative)
    rows = sorted(groups, key=lambda row: (row[1], list(KINDS).index(row[0])))
    spreads = {row: quartiles(groups[row]) for row in rows}
    medians = {row: quartiles([e.rmse for e in network.errors if (e.kind, e.bits) == row])[2] for row in rows}
    ends = min(s[0] for s in spreads.values()), max(s[4] for s in spreads.values())
    layers = len(next(iter(groups.values())))
    say(
        console,
        f"Weights of {network.network}, {counted(layers, 'layer')}: root mean square error by that of the weights.",
    )
    console.print(
        table(
            [
                text("bits", [str(bits) for _, bits in rows]),
                text("format", [kind for kind, _ in rows]),
                Column(header="median RMSE", cells=[number(medians[row], 3) for row in rows]),
                percents("least", [spreads[row][0] for row in rows]),
                percents("median", [spreads[row][2] for row in rows]),
                percents("largest", [spreads[row][4] for row in rows]),
                text(f"{ends[0]:.2%} .. {ends[1]:.0%}, logarithmic", [_box(spreads[row], ends) for row in rows]),
            ]
        )
    )


def _box(spread: Sequence[float], ends: tuple[float, float]) -> str:
    """A box plot in characters: whiskers to the extremes, a box from quartile to quartile, the median in it."""
    low, high = (math.log(max(end, TINY)) for end in ends)
    places = [round((PLOT - 1) * (math.log(max(value, TINY)) - low) / ((high - low) or 1)) for value in spread]
    line = [" "] * PLOT
    line[places[0] : places[4] + 1] = "─" * (places[4] + 1 - places[0])
    line[places[1] : places[3] + 1] = "█" * (places[3] + 1 - places[1])
    line[places[2]] = "│"
    return "".join(line)


def _columns(entries: Sequence[tuple[Line, str, Run]]) -> list[Column]:
    runs = [run for _, _, run in entries]
    return [
        Column(header="PEs", cells=[f"{run.pes:,}" for run in runs]),
        Column(header="weights [bits]", cells=[number(run.weight_bits, 3) for run in runs]),
        Column(header="products per PE cycle", cells=[number(run.rate, 3) for run in runs]),
        Column(header="GOPS", cells=[number(run.gops) for run in runs]),
        Column(header="TOPS/mm2", cells=[number(run.tops_per_mm2) for run in runs]),
        quantity("latency", [run.simulation.latency_us for run in runs], "s", MICRO),
        Column(header="latency by AdaptivFloat's", cells=[number(line.latency(name), 3) for line, name, _ in entries]),
        percents("of peak", [run.utilization for run in runs]),
        quantity("energy", [run.energy_pj for run in runs], "J", PICO),
        Column(header="energy by AdaptivFloat's", cells=[number(line.energy(name), 3) for line, name, _ in entries]),
        Column(
            header="with logic priced otherwise",
            cells=[number(line.energy_otherwise(name), 3) for line, name, _ in entries],
        ),
        percents("DRAM", [run.share("dram") for run in runs]),
        percents("SRAMs", [run.share("sram_input", "sram_weight", "sram_output") for run in runs]),
        percents("PEs and codecs", [run.share("mac", "decode", "encode") for run in runs]),
    ]


def _width_columns(line: Line) -> list[Column]:
    """Widths of x by w of every site on every machine."""
    first = next(iter(line.runs.values())).simulation.sites
    columns = [
        text("site", [each.site.name for each in first]),
        text(
            "groups x m x k x n",
            [f"{each.site.groups} x {each.site.m} x {each.site.k} x {each.site.n}" for each in first],
        ),
    ]
    for name, run in line.runs.items():
        columns.append(text(name, [f"{each.plan.x_bits} x {each.plan.w_bits}" for each in run.simulation.sites]))
    return columns


def _network_record(network: Measured) -> LpNetwork:
    return {
        "network": network.network,
        "input": network.input,
        "attention_share": network.attention,
        "reason": network.reason,
        "lines": [_line_record(line) for line in network.lines],
        "weight_errors": network.errors,
        "notes": network.notes,
    }


def _line_record(line: Line) -> LpLine:
    return {
        "arrays": line.arrays,
        "mix": line.mix,
        "machines": {name: _run_record(line, name, run) for name, run in line.runs.items()},
    }


def _run_record(line: Line, name: str, run: Run) -> MachineRecord:
    return {
        **run_figures(line, name, run),
        "energy_by_component_pj": run.simulation.cost.energy_pj,
        "sites": [{"name": each.site.name, **site_figures(each)} for each in run.simulation.sites],
    }
