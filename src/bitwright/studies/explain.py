"""Explanation: where the cycles and picojoules of one site come from.

Whatever the machine, cycles divide into those in which every multiplier would be busy, what the array adds to that
(fill, drain, edges that leave multipliers idle) and what waiting for memory adds. A machine that has an `explain` of
its own gives its mapping too.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from bitwright.accelerators.cost import Area, EventLine
from bitwright.accelerators.machine import Machine
from bitwright.accelerators.protocol import Explaining
from bitwright.errors import InputError, unknown_site
from bitwright.methods.execution import Execution
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.shown import Headline, Table, Tabled
from bitwright.studies.cost_tables import PartLine, part_lines
from bitwright.studies.inputs import simulation_input
from bitwright.studies.machines import COMMON, Footing, build_one, footing
from bitwright.studies.price_lists import PriceLine, price_lines
from bitwright.studies.simulate import Costing, kept_activations, notes_on, run_listening
from bitwright.studies.simulation import SiteCost
from bitwright.units import number, scaled

if TYPE_CHECKING:
    import plotly.graph_objects as go


class CauseLine(TypedDict):
    """A cause of cycles."""

    cause: Annotated[str, "busy (at the array's peak), array (fill, drain, idle edges) or memory (waiting)"]
    cycles: Annotated[float, "that go there"]
    share: Annotated[float, "of the site's, 0 .. 1"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Explanation(Tabled):
    """One site on one machine; `.frame()`, `.plot()`.

    Frames: `events`, one line per priced event, count x price in pJ = energy in pJ; `cycles`, one per cause;
    `components`, one per part of the machine, with energy in pJ and area in um2; `prices`, one per price that the
    published and the synthesized list have differently.

    Attributes
    ----------
    network, method, accelerator : str
        Names.
    entry : SiteCost
        The site, its plan and its cost.
    cycles : mapping
        Cycles by where they go: `busy` (at the array's peak), `array` (fill, drain, idle edges), `memory` (waiting).
    mapping : mapping
        What the machine itself tells: tiles, loop order, bound.
    area : Area
        Of the machine.
    parameters : mapping
        Of the machine.
    substrate : Footing
        What it stands on.
    input : str
        What the network ran on.
    notes : tuple of str
        What every report must say.
    prices : tuple of PriceLine
        Where published and synthesized prices are 1.5 times apart or more.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {
        "events": Table(EventLine, lambda found: found.entry.cost.event_records()),
        "cycles": Table(CauseLine, lambda found: found._cause_lines()),
        "components": Table(PartLine, lambda found: part_lines(found.entry.cost, found.area)),
        "prices": Table(PriceLine, lambda found: found.prices),
    }

    network: str
    method: str
    accelerator: str
    entry: SiteCost
    cycles: Mapping[str, float]
    mapping: Mapping[str, Any]
    area: Area
    parameters: Mapping[str, Any]
    substrate: Footing
    input: str
    notes: tuple[str, ...]
    prices: tuple[PriceLine, ...] = ()

    def headline(self) -> Headline:
        """Cycles by where they go, and energy by component."""
        cost = self.entry.cost
        title = f"{self.entry.site.name} of {self.network}, {self.method} on {self.accelerator}"
        figures = [("cycles", f"{cost.cycles:,}")]
        figures += [
            (f"of these {name}", f"{number(100 * each / cost.cycles, 3)} %") for name, each in self.cycles.items()
        ]
        figures.append(("energy", scaled(cost.total_energy_pj, "J", -12)))
        figures += [(name.replace("_", " "), scaled(energy, "J", -12)) for name, energy in cost.energy_pj.items()]
        return Headline(title, figures)

    def _cause_lines(self) -> Iterator[CauseLine]:
        for name, cycles in self.cycles.items():
            yield {"cause": name, "cycles": cycles, "share": cycles / self.entry.cost.cycles}

    def plot(self) -> "go.Figure":
        """Shares of cycles by cause and of energy by component, as a plotly figure."""
        from bitwright.studies.drawing import draw_explanation

        return draw_explanation(self)


def explain(
    network: Network,
    plan: Plan,
    accelerator: str,
    site: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    substrate: str = COMMON,
    seed: int = 0,
) -> Explanation:
    """Explain the first execution of `site` on the accelerator of that name, substrate and parameters.

    Raises
    ------
    InputError
        No such site (with the nearest names), or one that the machine does not run.

    Examples
    --------
    >>> from bitwright.api import calibrate, load
    >>> network = load("gemm:841x576x128")
    >>> array = {"rows": 32, "cols": 32, "objective": "latency"}
    >>> found = explain(network, calibrate(network, "int8"), "systolic-ws", "gemm", parameters=array)
    >>> found.cycles["busy"]  # 841 x 576 x 128 by 1024
    60552.0
    """
    accelerator, machine = build_one(accelerator, parameters, substrate)
    machines = {accelerator: machine}
    batch, described = simulation_input(network, seed=seed)
    kept = kept_activations(network, plan, machines, batch).get(accelerator)
    costing, mapping = Costing(accelerator, machine, kept), dict[str, Any]()
    prices: list[PriceLine] = []

    def listen(work: Execution) -> None:
        if work.site.name == site:
            costing(work)
            if costing.sites and isinstance(machine, Explaining):
                mapping.update(machine.explain(costing.placed(work)))
            if len(costing.sites) == 1 and not prices and isinstance(machine, Machine):
                prices.extend(price_lines(machine, costing.placed(work), costing.sites[0].cost))

    traced = run_listening(network, plan, [listen], batch)
    if costing.error is not None:
        raise costing.error
    if costing.refused:
        raise InputError(f"{accelerator} does not run {site}: {costing.refused[0][1]}")
    if not costing.sites:
        raise unknown_site(site, [each.name for each in traced.sites], network.name)
    entry = costing.sites[0]
    return Explanation(
        network=network.name,
        method=plan.method,
        accelerator=accelerator,
        entry=entry,
        cycles=_cycles(entry, machine.peak_macs_per_cycle, mapping.get("array_utilization")),
        mapping=mapping,
        area=machine.area(),
        parameters=machine.parameters(),
        substrate=footing(machines, substrate),
        input=described,
        notes=notes_on(network, plan),
        prices=tuple(prices),
    )


def _cycles(entry: SiteCost, peak: float, utilization: float | None) -> dict[str, float]:
    """Cycles by where they go; a machine that states its `utilization` while it computes knows its peak better."""
    cost = entry.cost
    busy = cost.macs_executed / peak if utilization is None else utilization * cost.compute_cycles
    busy = min(busy, cost.compute_cycles)
    return {"busy": busy, "array": cost.compute_cycles - busy, "memory": cost.cycles - cost.compute_cycles}
