"""What bounds a whole network on a machine: site by site, and in a roofline."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from bitwright.accelerators.cost import Cost
from bitwright.accelerators.machine import Machine
from bitwright.errors import InputError
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.networks.sites import Site
from bitwright.shown import Headline, Table, Tabled
from bitwright.studies.cost_tables import cost_tables, names_of
from bitwright.studies.inputs import simulation_input
from bitwright.studies.machines import COMMON, build_one
from bitwright.studies.simulate import simulate
from bitwright.studies.simulation import Simulation
from bitwright.units import number

if TYPE_CHECKING:
    import plotly.graph_objects as go

VECTOR = "vector"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """One site in the roofline.

    Attributes
    ----------
    site : Site
        The site.
    bound : str
        The resource that is busiest: `array`, `banks` or `dram`.
    cycles : int
        Of all its runs.
    intensity : float
        Multiply-accumulates by bytes of DRAM.
    rate : float
        Multiply-accumulates per cycle that it reaches.
    """

    site: Site
    bound: str
    cycles: int
    intensity: float
    rate: float


class BoundSiteLine(TypedDict):
    """A site: what bounds it, and where it lies in the roofline."""

    site: Annotated[str, "its name"]
    bound: Annotated[str, "the resource that is busiest: array, banks or dram"]
    cycles: Annotated[int, "of all its runs"]
    macs_per_dram_byte: Annotated[float, "multiply-accumulates by bytes of DRAM"]
    macs_per_cycle: Annotated[float, "multiply-accumulates per cycle that it reaches"]
    share_of_peak: Annotated[float, "the same by the machine's peak, 0 .. 1"]


class BoundLine(TypedDict):
    """A resource: what it bounds."""

    bound: Annotated[str, "array, banks, dram or vector"]
    cycles: Annotated[int, "of what it bounds; the vector unit's are its own"]
    share: Annotated[float, "of all cycles, 0 .. 1"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Bounds(Tabled):
    """What bounds a network on a machine; `.frame()`, `.plot()` is its roofline.

    Frames: `sites`, one line each, with what bounds it and where it lies in the roofline; `bounds`, one per resource;
    and `components`, `site_components`, `events`, `total` of `Simulation`.

    Attributes
    ----------
    simulation : Simulation
        What the network costs.
    points : tuple of Point
        Its sites.
    cycles : mapping
        By resource, cycles of what it bounds; the vector unit's are its own.
    peak : float
        Multiply-accumulates per cycle of the machine, at 8 bits: the roof.
    dram_bytes_per_cycle : float
        What the slope is.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {
        **cost_tables(lambda found: [(names_of(found.simulation), found.simulation)]),
        "sites": Table(BoundSiteLine, lambda found: found._site_lines()),
        "bounds": Table(BoundLine, lambda found: found._bound_lines()),
    }

    simulation: Simulation
    points: tuple[Point, ...]
    cycles: Mapping[str, int]
    peak: float
    dram_bytes_per_cycle: float

    def headline(self) -> Headline:
        """Shares of the cycles by the resource that bounds them."""
        whole = self.simulation.cost.cycles or 1
        shares = [(f"bound by {name}", f"{number(100 * each / whole, 3)} %") for name, each in self.cycles.items()]
        title, figures = self.simulation.headline()
        return Headline(title, [*shares, *figures])

    def _site_lines(self) -> Iterator[BoundSiteLine]:
        for point in self.points:
            yield {
                "site": point.site.name,
                "bound": point.bound,
                "cycles": point.cycles,
                "macs_per_dram_byte": point.intensity,
                "macs_per_cycle": point.rate,
                "share_of_peak": point.rate / self.peak,
            }

    def _bound_lines(self) -> Iterator[BoundLine]:
        whole = self.simulation.cost.cycles or 1
        for name, cycles in self.cycles.items():
            yield {"bound": name, "cycles": cycles, "share": cycles / whole}

    def plot(self) -> "go.Figure":
        """The roofline, as a plotly figure."""
        from bitwright.studies.drawing import draw_roofline

        return draw_roofline(self)

    @property
    def ridge(self) -> float:
        """Multiply-accumulates per byte from which on the multipliers are the limit."""
        return self.peak / self.dram_bytes_per_cycle


def bounds_of(
    network: Network,
    plan: Plan,
    accelerator: str,
    *,
    parameters: Mapping[str, Any] | None = None,
    substrate: str = COMMON,
    seed: int = 0,
) -> Bounds:
    """What bounds `network` by `plan` on the accelerator of that name, on the input that `simulate` takes too.

    Raises
    ------
    InputError
        As `simulate`.

    Examples
    --------
    >>> from bitwright.api import calibrate, load
    >>> network = load("gemm:1x4096x4096")
    >>> found = bounds_of(network, calibrate(network, "int8"), "simd", parameters={"cols": 64})
    >>> found.points[0].bound, found.points[0].rate < found.peak
    ('dram', True)
    """
    accelerator, machine = build_one(accelerator, parameters, substrate)
    batch, described = simulation_input(network, seed=seed)
    simulation = simulate(network, plan, {accelerator: machine}, batch=batch, described=described)[accelerator]
    if simulation.refusal is not None:
        raise InputError(f"{accelerator} cannot run {plan.method} of {network.name}: {simulation.refusal}")
    points = tuple(_point(entry.site, entry.cost) for entry in simulation.sites)
    cycles: dict[str, int] = {}
    for point in points:
        cycles[point.bound] = cycles.get(point.bound, 0) + point.cycles
    if simulation.vector.cycles:
        cycles[VECTOR] = simulation.vector.cycles
    dram = simulation.cost.busy_cycles.get("dram", 0)
    moved = _dram_bytes(simulation.cost)
    measured = moved / dram if dram else float("inf")
    return Bounds(
        simulation=simulation,
        points=points,
        cycles=cycles,
        peak=machine.peak_macs_per_cycle,
        dram_bytes_per_cycle=machine.dram_bandwidth if isinstance(machine, Machine) else measured,
    )


def _point(site: Site, cost: Cost) -> Point:
    return Point(
        site=site,
        bound=cost.bound or "array",
        cycles=cost.cycles,
        intensity=cost.macs_dense / max(1.0, _dram_bytes(cost)),
        rate=cost.macs_dense / cost.cycles,
    )


def _dram_bytes(cost: Cost) -> float:
    return cost.traffic_bytes.get("dram_read", 0) + cost.traffic_bytes.get("dram_write", 0)
