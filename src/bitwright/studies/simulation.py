"""What a network costs on a machine, or on several: sites, their sum, and what is left out; as tables and pictures."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from bitwright.accelerators.cost import Area, Cost
from bitwright.errors import InputError, unknown_site
from bitwright.methods.plan import SitePlan
from bitwright.networks.sites import OtherOperation, Site
from bitwright.shown import Headline, Shown, Table, Tabled
from bitwright.studies.cost_tables import cost_tables, names_of, total_figures
from bitwright.studies.shares import UNKNOWN, SiteShares
from bitwright.units import number, scaled

if TYPE_CHECKING:
    import plotly.graph_objects as go

NAMED = 4  # sites that are named before the rest is summed up


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteCost:
    """What a site costs on a machine: all its runs in one inference, which `site.count` counts."""

    site: Site
    plan: SitePlan
    cost: Cost
    shares: SiteShares = UNKNOWN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unsupported:
    """What the machine does not run: a site, or a product that is none.

    Attributes
    ----------
    name, kind : str
        The site's name or the operator's; `site` or `operation`.
    macs : int
        Its multiply-accumulates.
    share : float
        Of all multiply-accumulates of the network, 0 .. 1.
    reason : str
        Why, and what would help.
    """

    name: str
    kind: str
    macs: int
    share: float
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Simulation(Tabled):
    """One network, quantized by one method, on one machine; `.frame()`, `.plot()`, `.site(name)`.

    Frames: `sites`, one line each; `components`, one per part of the machine, with its energy in pJ and area in um2;
    `site_components`, one per site and part; `events`, one per priced event; `total`, one line.

    Attributes
    ----------
    network, method, accelerator : str
        Names.
    parameters : mapping
        Of the machine.
    input : str
        What the network ran on.
    batch : int
        Samples in the one inference, where more than one was asked for.
    sites : tuple of SiteCost
        In the order of execution, those the machine runs.
    cost : Cost
        Their sum, and `vector`.
    vector : Cost
        Of `others`, on the machine's vector unit; nothing where it has none.
    area : Area
        Of the machine.
    macs : int
        Multiply-accumulates of the whole network, run or not.
    clock_mhz, peak_macs_per_cycle : float
        Of the machine.
    unsupported : tuple of Unsupported
        What is not in `cost`.
    others : tuple of OtherOperation
        Operators without products.
    notes : tuple of str
        What every report must say.
    """

    TABLES: ClassVar[Mapping[str, Table]] = cost_tables(lambda found: [(names_of(found), found)])

    network: str
    method: str
    accelerator: str
    parameters: Mapping[str, Any]
    input: str
    sites: tuple[SiteCost, ...]
    cost: Cost
    vector: Cost
    area: Area
    macs: int
    clock_mhz: float
    peak_macs_per_cycle: float
    unsupported: tuple[Unsupported, ...]
    others: tuple[OtherOperation, ...]
    notes: tuple[str, ...] = ()
    batch: int = 1

    def headline(self) -> Headline:
        """Cycles, latency, energy, area, efficiency; or why there are none."""
        title = f"{self.network}, {self.method} on {self.accelerator}"
        if self.refusal is not None:
            return Headline(title, [("not supported:", self.refusal)])
        figures = [
            ("cycles", f"{self.cost.cycles:,}"),
            ("latency", scaled(self.latency_us, "s", -6)),
            ("energy", scaled(self.cost.total_energy_pj, "J", -12)),
            ("area", f"{number(self.area.total_um2 / 1e6)} mm²"),
            ("efficiency", f"{number(self.tops_per_watt)} TOPS/W"),
            ("multiply-accumulates", scaled(self.macs, "MACs")),
        ]
        if self.left_out:
            figures.insert(0, ("only", self.left_out))
        return Headline(title, [*figures, ("input", self.input)])

    def site(self, name: str) -> SiteCost:
        """What one site costs; raises `InputError`, with the nearest names, for one that is not here."""
        found = next((entry for entry in self.sites if entry.site.name == name), None)
        if found is None:
            refused = next((each.reason for each in self.unsupported if each.name == name), None)
            if refused is not None:
                raise InputError(f"{self.accelerator} does not run {name}: {refused}")
            raise unknown_site(name, [entry.site.name for entry in self.sites], self.network)
        return found

    def record(self) -> dict[str, Any]:
        """Flat names and plain values, units in the names."""
        return total_figures(self)

    def plot(self, by: str = "energy") -> "go.Figure":
        """Sites as bars: `energy` by component, or `cycles` of computing and of waiting; a plotly figure."""
        from bitwright.studies.drawing import draw_sites

        return draw_sites(self, by)

    @property
    def refusal(self) -> str | None:
        """Why the machine runs nothing of this network; None if it runs some of it."""
        if self.sites:
            return None
        kinds = [[entry for entry in self.unsupported if entry.kind == kind] for kind in ("site", "operation")]
        reasons = dict.fromkeys(entry.reason for entry in kinds[0] or kinds[1])
        return "; ".join(reasons) or "the network has no product"

    @property
    def left_out(self) -> str:
        """Which sites the machine does not run, in words; empty if it runs all of them."""
        names = [entry.name for entry in self.unsupported if entry.kind == "site"]
        if not names:
            return ""
        more = ", ..." if len(names) > NAMED else ""
        named = ", ".join(sorted(names)[:NAMED])
        return f"costs of {100 * self.supported_share:.3g} % of the multiply-accumulates, without {named}{more}"

    @property
    def supported_share(self) -> float:
        """Share of the network's multiply-accumulates that the machine runs, 0 .. 1."""
        return self.cost.macs_dense / self.macs if self.macs else 0.0

    @property
    def executed_share(self) -> float | None:
        """Multiply-accumulates executed by those of the dense products; None if nothing ran."""
        return self.cost.macs_executed / self.cost.macs_dense if self.cost.macs_dense else None

    @property
    def latency_us(self) -> float:
        """Of everything that runs, in microseconds."""
        return self.latency_us_of(self.cost)

    @property
    def tops_per_watt(self) -> float | None:
        """Of everything that runs."""
        return self.tops_per_watt_of(self.cost)

    @property
    def utilization(self) -> float | None:
        """Of everything that runs."""
        return self.utilization_of(self.cost)

    def latency_us_of(self, cost: Cost) -> float:
        """Cycles by clock, in microseconds."""
        return cost.cycles / self.clock_mhz

    def tops_per_watt_of(self, cost: Cost) -> float | None:
        """2 x dense multiply-accumulates per picojoule; None without energy."""
        return 2 * cost.macs_dense / cost.total_energy_pj if cost.total_energy_pj else None

    def utilization_of(self, cost: Cost) -> float | None:
        """Executed multiply-accumulates by the array's peak over all cycles; None if nothing ran."""
        return cost.macs_executed / (self.peak_macs_per_cycle * cost.cycles) if cost.cycles else None


class Simulations(dict[str, Simulation], Tabled):
    """The same network and plan on several machines, by their names; `.frame()` has a line for each.

    Frames are those of `Simulation`, of all machines.
    """

    TABLES: ClassVar[Mapping[str, Table]] = cost_tables(
        lambda found: [(names_of(each), each) for each in found.values()], first="total"
    )

    def headline(self) -> Headline:
        """Latency, energy and area of each machine."""
        if not self:
            return Headline("no machine", [])
        first = next(iter(self.values()))
        return Headline(
            f"{first.network}, {first.method} on {len(self)} machines", [_brief(each) for each in self.values()]
        )

    def plot(self, by: str = "energy") -> "go.Figure":
        """Machines as bars: `energy` by component, or `cycles` of computing and of waiting; a plotly figure."""
        from bitwright.studies.drawing import draw_machines

        return draw_machines(self, by)

    __repr__ = Shown.__repr__


def _brief(simulation: Simulation) -> tuple[str, str]:
    if simulation.refusal is not None:
        return simulation.accelerator, f"not supported: {simulation.refusal}"
    found = [
        scaled(simulation.latency_us, "s", -6),
        scaled(simulation.cost.total_energy_pj, "J", -12),
        f"{number(simulation.area.total_um2 / 1e6)} mm²",
    ]
    return simulation.accelerator, ", ".join(found)
