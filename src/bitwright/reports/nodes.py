"""Where the work of every node of a network is done, as a table and a record."""

import dataclasses
from typing import TYPE_CHECKING, Any

from bitwright.networks.nodes import NodeReport, Place
from bitwright.reports.tables import Column, percents, print_fitting, say, table, text
from bitwright.shown import printable

if TYPE_CHECKING:
    from rich.console import Console

LONGEST = 60  # characters of a name


def print_nodes(found: NodeReport, console: "Console", *, wide: bool = False) -> None:
    """How many nodes are where, then each of them; the free ones only where all columns are asked for."""
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
    lines = [line for line in found.lines if wide or line.place is not Place.FREE]
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
    if len(lines) < len(found.lines):
        say(console, "Nodes that are free are not listed; --wide lists all, --json everything.")


def _cut(words: str) -> str:
    shown = printable(words)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 3]}..."


def nodes_record(found: NodeReport, made: Any) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        "network": found.network,
        "macs": found.macs,
        "places": {str(place): {"nodes": found.count(place), "share_of_macs": found.share(place)} for place in Place},
        "nodes": [dataclasses.asdict(line) for line in found.lines],
        "provenance": made,
    }
