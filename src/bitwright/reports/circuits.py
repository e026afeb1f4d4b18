"""Circuits as tables: what there is, what a synthesis says, what was written."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from bitwright.circuits.report import Synthesized
from bitwright.reports.tables import Column, percents, print_fitting, ranked, say, text
from bitwright.studies.catalogue import Entry
from bitwright.studies.provenance import Provenance
from bitwright.units import number

if TYPE_CHECKING:
    from rich.console import Console

    from bitwright.studies.rtl import Emitted
    from bitwright.studies.synthesis import Synthesis


class CircuitsRecord(TypedDict):
    """The circuits that have RTL."""

    circuits: Annotated[Sequence[Entry], "in the order of the systems"]


class CircuitRecord(TypedDict):
    """A circuit and its parameters."""

    circuit: Annotated[Entry, "the one that was named"]


class SynthesisRecord(TypedDict):
    """Circuits in the cells of a library."""

    circuits: Annotated[Sequence[Synthesized], "one each, in every configuration"]
    provenance: Annotated[Provenance, "what made it"]


class EmittedRecord(TypedDict):
    """What was written of a circuit."""

    circuit: Annotated[str, "its name"]
    parameters: Annotated[Mapping[str, Any], "all of them"]
    path: Annotated[str, "the folder"]
    files: Annotated[Sequence[str], "in it"]
    clocks: Annotated[int, "that the testbench checks"]
    operands: Annotated[str, "where they come from"]
    provenance: Annotated[Provenance, "what made it"]


def print_synthesis(found: "Synthesis", console: "Console") -> None:
    """A row for every circuit and configuration, then what the figures are of."""
    lines = found.lines
    if not lines:
        return
    distributions = list(lines[0].energy_pj)
    print_fitting(
        [
            text("circuit", [line.circuit for line in lines]),
            text("configuration", [line.configuration for line in lines]),
            Column(header="gates", cells=[f"{line.gates:,.0f}" for line in lines]),
        ],
        [
            Column(header="area [um2]", cells=[f"{line.area_um2:,.0f}" for line in lines]),
            *ranked(1, percents("flip-flops", [line.sequential for line in lines])),
            Column(header="path [ns]", cells=[number(line.path_ns) for line in lines]),
            *[
                Column(header=f"{name} [pJ]", cells=[number(line.energy_pj[name]) for line in lines], rank=2)
                for name in distributions
            ],
            *[
                Column(
                    header=f"{name}, glitches [pJ]", cells=[number(line.glitching_pj[name]) for line in lines], rank=3
                )
                for name in distributions
            ],
            Column(header="leakage [nW]", cells=[number(line.leakage_nw) for line in lines], rank=4),
        ],
        console,
    )
    first = lines[0]
    tools = ", ".join(f"{name} {version}" for name, version in first.versions.items())
    say(
        console,
        f"Gates are areas in NANDs of two inputs; energies are per clock, of gates that settle once; cells of "
        f"{first.library} at {first.voltage_v:g} V; {tools}. {found.reused} of {len(lines)} were in the cache.",
    )


def synthesis_record(found: "Synthesis", made: Provenance) -> SynthesisRecord:
    """All lines, and what made them."""
    return {"circuits": found.lines, "provenance": made}


def print_emitted(found: "Emitted", console: "Console") -> None:
    """What was written, and what to type next."""
    name = found.circuit.name.replace("-", "_")
    say(
        console,
        f"{found.circuit.name}: RTL and functional twin agree in {found.clocks:,} clocks of {found.operands}.",
        f"Next: cd {found.path} && iverilog -g2005-sv -o sim {name}.v {name}_tb.v && vvp sim",
    )


def emitted_record(found: "Emitted", made: Provenance) -> EmittedRecord:
    """What was written, and what made it."""
    return {
        "circuit": found.circuit.name,
        "parameters": found.circuit.model_dump(mode="json"),
        "path": str(found.path),
        "files": found.files,
        "clocks": found.clocks,
        "operands": found.operands,
        "provenance": made,
    }
