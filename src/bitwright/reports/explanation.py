"""One site on one machine: mapping, cycles by cause, every priced event with its source, and area."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitwright.accelerators.cost import Cost
from bitwright.reports.costs import substrate_lines
from bitwright.reports.parts import parts_picture
from bitwright.reports.records import site_fields
from bitwright.reports.tables import Column, area_column, percents, quantity, say, table, text
from bitwright.studies.explain import Explanation
from bitwright.studies.price_lists import PriceLine
from bitwright.units import number, scaled

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PICTURED = "timeline"
"""What a machine tells of the parts of its array, which is drawn."""
CAUSES = {
    "busy": "every multiplier busy",
    "array": "fill, drain and idle edges of the array",
    "memory": "waiting for DRAM: first read, stalls, last write",
}


def print_explanation(explanation: Explanation, console: "Console") -> None:
    """In the order of questions: what, how mapped, how long, how much energy, how large."""
    site, cost = site_fields(explanation.entry), explanation.entry.cost
    say(
        console,
        f"{site['name']} of {explanation.network} ({site['op']}: {site['groups']} x {site['m']} x {site['k']} x "
        f"{site['n']}, groups x m x k x n; x {site['x_type']}, w {site['w_type']}; {scaled(site['macs'], 'MACs')}) "
        f"by {explanation.method} on {explanation.accelerator}; input: {explanation.input}.",
    )
    if explanation.mapping:
        items = [(key, value) for key, value in explanation.mapping.items() if key != PICTURED]
        cells = [number(value) if isinstance(value, float) else str(value) for _, value in items]
        console.print(
            table([text("mapping", [key.replace("_", " ") for key, _ in items]), Column(header="", cells=cells)])
        )
    if PICTURED in explanation.mapping:
        say(console, *parts_picture(explanation.mapping[PICTURED]))
    causes = explanation.cycles
    cycles = [*causes.values(), cost.cycles]
    console.print(
        table(
            [
                text("where cycles go", [*(CAUSES.get(cause, cause) for cause in causes), "together"]),
                Column(header="cycles", cells=[f"{value:,.0f}" for value in cycles]),
                percents("share", [value / cost.cycles for value in cycles]),
            ]
        )
    )
    area = explanation.area
    sources = list(dict.fromkeys([*(event.source for event in cost.events), *area.sources.values()]))
    console.print(_events(cost, sources))
    cited = [area.sources.get(part) for part in area.components_um2]
    console.print(
        table(
            [
                text("area of the machine", [*area.components_um2, "together"]),
                area_column("area", [*area.components_um2.values(), area.total_um2]),
                Column(header="source", cells=[*("" if c is None else str(1 + sources.index(c)) for c in cited), ""]),
            ]
        )
    )
    if explanation.prices:
        console.print(_disagreements(explanation.prices))
    say(console, *(f"source {i}: {source}" for i, source in enumerate(sources, 1)))
    say(console, *substrate_lines(explanation.substrate))
    say(console, f"Parameters: {', '.join(f'{key}={value}' for key, value in explanation.parameters.items())}")
    say(console, *(f"Note: {note}" for note in explanation.notes))


def _disagreements(lines: Sequence[PriceLine]) -> "Table":
    """Prices of both lists where they are far apart."""
    figures = {
        "published": [line["published"] for line in lines],
        "synthesized": [line["synthesized"] for line in lines],
        "ratio": [line["ratio"] for line in lines],
    }
    return table(
        [
            text("prices that disagree", [line["what"] for line in lines]),
            text("unit", [line["unit"] for line in lines]),
            *(Column(header=header, cells=[number(each) for each in of]) for header, of in figures.items()),
        ]
    )


def _events(cost: Cost, sources: Sequence[str]) -> "Table":
    """Count x price = energy of every event, and what they add up to."""
    events = cost.events
    energy = [*(event.energy_pj for event in events), cost.total_energy_pj]
    return table(
        [
            text("energy of", [*(event.component for event in events), "together"]),
            text("event", [*(event.name for event in events), ""]),
            Column(header="count", cells=[*(f"{event.count:,.0f}" for event in events), ""]),
            text("unit", [*(event.unit for event in events), ""]),
            Column(header="price [pJ]", cells=[*(number(event.price_pj) for event in events), ""]),
            quantity("energy", energy, "J", -12),
            percents("share", [value / (cost.total_energy_pj or 1) for value in energy]),
            Column(header="source", cells=[*(str(1 + sources.index(event.source)) for event in events), ""]),
        ]
    )
