"""One site on one machine: mapping, cycles by cause, every priced event with its source, and area."""

from typing import TYPE_CHECKING

from bitwright.reports.records import site_fields
from bitwright.reports.tables import Column, area_column, quantity, say, table, text
from bitwright.reports.units import number, scaled
from bitwright.studies.explain import Explanation

if TYPE_CHECKING:
    from rich.console import Console

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
        f"by {explanation.method} on {explanation.accelerator}.",
    )
    if explanation.mapping:
        items = explanation.mapping.items()
        cells = [number(value) if isinstance(value, float) else str(value) for _, value in items]
        console.print(table([text("mapping", [key.replace("_", " ") for key, _ in items]), Column(header="", cells=cells)]))
    causes = explanation.cycles
    console.print(
        table(
            [
                text("where cycles go", [*(CAUSES.get(cause, cause) for cause in causes), "together"]),
                Column(header="cycles", cells=[f"{value:,.0f}" for value in (*causes.values(), cost.cycles)]),
                Column(
                    header="[%]", cells=[number(100 * value / cost.cycles, 3) for value in (*causes.values(), cost.cycles)]
                ),
            ]
        )
    )
    _print_events(explanation, console)
    area = explanation.area
    console.print(
        table(
            [
                text("area of the machine", [*area.components_um2, "together"]),
                area_column("area", [*area.components_um2.values(), area.total_um2]),
                text("source", [*(area.sources.get(part, "") for part in area.components_um2), ""]),
            ]
        )
    )
    say(console, f"Parameters: {', '.join(f'{key}={value}' for key, value in explanation.parameters.items())}")


def _print_events(explanation: Explanation, console: "Console") -> None:
    cost = explanation.entry.cost
    events = cost.events
    energy = quantity("energy", [*(event.energy_pj for event in events), cost.total_energy_pj], "J", -12)
    sources = list(dict.fromkeys(event.source for event in events))
    console.print(
        table(
            [
                text("energy of", [*(event.component for event in events), "together"]),
                text("event", [*(event.name for event in events), ""]),
                Column(header="count", cells=[*(f"{event.count:,.0f}" for event in events), ""]),
                text("unit", [*(event.unit for event in events), ""]),
                Column(header="price [pJ]", cells=[*(number(event.price_pj) for event in events), ""]),
                energy,
                Column(header="[%]", cells=[*_shares(explanation), "100"]),
                Column(header="source", cells=[*(str(1 + sources.index(event.source)) for event in events), ""]),
            ]
        )
    )
    say(console, *(f"  source {i}: {source}" for i, source in enumerate(sources, 1)))


def _shares(explanation: Explanation) -> list[str]:
    cost = explanation.entry.cost
    total = cost.total_energy_pj or 1
    return [number(100 * event.energy_pj / total, 3) for event in cost.events]
