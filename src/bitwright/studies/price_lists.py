"""Where the two price lists disagree: published prices of a machine's circuits, and those by their synthesis."""

from typing import Annotated, TypedDict

from bitwright.accelerators.books import books_of
from bitwright.accelerators.cost import Cost
from bitwright.accelerators.machine import Machine
from bitwright.methods.execution import Execution
from bitwright.technology import Prices

APART = 1.5
"""From this ratio on, either way, both prices are shown."""
LEAKAGE = "leakage"
Figures = dict[tuple[str, str], float]


class PriceLine(TypedDict):
    """A price that the two lists have differently."""

    what: Annotated[str, "a component, or an event of one"]
    unit: Annotated[str, "um2 of one component, or pJ of one event"]
    published: Annotated[float, "as the price list says"]
    synthesized: Annotated[float, "by the circuit's RTL"]
    ratio: Annotated[float, "synthesized by published"]


def price_lines(machine: Machine, work: Execution, cost: Cost) -> list[PriceLine]:
    """Prices of a machine that did `work` at a `cost` which are `APART` or more in the two lists.

    Areas are of one component, energies of one event; what only one of the lists has is left out.
    """
    other: Prices = "synthesized" if machine.prices == "published" else "published"
    rival = machine.model_copy(update={"prices": other})
    figures = {machine.prices: _figures(machine, cost), other: _figures(rival, rival.ran(work).cost)}
    lines: list[PriceLine] = []
    for (what, unit), published in figures["published"].items():
        synthesized = figures["synthesized"].get((what, unit))
        if published and synthesized and not 1 / APART < synthesized / published < APART:
            lines.append(
                {
                    "what": what,
                    "unit": unit,
                    "published": published,
                    "synthesized": synthesized,
                    "ratio": synthesized / published,
                }
            )
    return lines


def _figures(machine: Machine, cost: Cost) -> Figures:
    """Prices by what they are of and their unit."""
    areas = {(each.name, "um2"): each.circuit.area_um2 for each in books_of(machine).components}
    events = {
        (f"{event.component}: {event.name}", "pJ"): event.price_pj
        for event in cost.events
        if event.component != LEAKAGE
    }
    return {**areas, **events}
