"""Where the work of every node of a network is done, as a table and a record."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

from bitwright.networks.nodes import NodeLine, NodeReport, Place, PlaceFigures
from bitwright.reports.tables import Column, percents, print_fitting, say, table, text
from bitwright.studies.provenance import Provenance

if TYPE_CHECKING:
    from rich.console import Console

LONGEST = 60  # characters of a name


class NodesRecord(TypedDict):
    """Every node of a network and where its work is done."""

    network: Annotated[str, "its name"]
    macs: Annotated[int, "multiply-accumulates of one inference, wherever they are done"]
    places: Annotated[Mapping[str, PlaceFigures], "mapped, vector unit, free or refused -> what is done there"]
    nodes: Annotated[Sequence[NodeLine], "in the order of the file, or of the inference"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def print_nodes(found: NodeReport, console: "Console", *, wide: bool = False) -> None:
    """How many nodes are where, then each that is on the array or refused; all of them where all columns are asked for.

    Without that, nodes of the vector unit are summed by operator, and free ones are only counted.
    """
    say(console, f"{found.network}: {len(found.lines):,} nodes, {found.macs:,} multiply-accumulates.")
    places = [place for place in Place if found.count(place)]
    console.print(
        table(
            [
                text("where", [str(place) for place in places]),
                Column(header="nodes", cells=[f"{found.count(place):,}" for place in places]),
                percents("of nodes", [found.count(place) / len(found.lines) for place in places]),
                percents("of MACs", [found.share(place) for place in places]),
            ]
        )
    )
    lines = [line for line in found.lines if wide or line.place in (Place.MAPPED, Place.REFUSED)]
    if lines:
        print_fitting(
            [text("node", [_cut(line.name) for line in lines]), text("operator", [line.operator for line in lines])],
            [
                text("where", [str(line.place) for line in lines]),
                Column(header="MACs", cells=[f"{line.macs:,}" if line.macs else "-" for line in lines]),
                Column(header="elements", cells=[f"{line.elements:,}" if line.elements else "-" for line in lines]),
                text("sites, or why", [_cut(", ".join(line.sites) or line.why or "-") for line in lines]),
            ],
            console,
        )
    if not wide:
        _print_vector_unit(found, console)
    if len(lines) < len(found.lines):
        say(console, "--wide lists every node, --json everything.")


def _print_vector_unit(found: NodeReport, console: "Console") -> None:
    """A row for each operator of the vector unit, the one that makes most elements first."""
    nodes: Counter[str] = Counter()
    elements: Counter[str] = Counter()
    for line in found.lines:
        if line.place is Place.VECTOR:
            nodes[line.operator] += 1
            elements[line.operator] += line.elements
    if not nodes:
        return
    operators = sorted(nodes, key=lambda operator: -elements[operator])
    console.print(
        table(
            [
                text("on the vector unit", [_cut(operator) for operator in operators]),
                Column(header="nodes", cells=[f"{nodes[operator]:,}" for operator in operators]),
                Column(
                    header="elements",
                    cells=[f"{elements[operator]:,}" if elements[operator] else "-" for operator in operators],
                ),
            ]
        )
    )


def _cut(words: str) -> str:
    return words if len(words) <= LONGEST else f"{words[: LONGEST - 3]}..."


def nodes_record(found: NodeReport, made: Provenance) -> NodesRecord:
    """Everything, for programs."""
    return {
        "network": found.network,
        "macs": found.macs,
        "places": found.places,
        "nodes": found.lines,
        "provenance": made,
    }
