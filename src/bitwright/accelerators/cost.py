"""What running a site on a machine costs: cycles, work, traffic, and priced events whose sum is the energy.

Costs add up. Energy is never stored beside the events it comes from, so it cannot disagree with them.
"""

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, TypedDict, TypeVar

Number = TypeVar("Number", int, float)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Event:
    """So many occurrences of one thing that has a price.

    Attributes
    ----------
    component : str
        Where the energy goes: `mac`, `sram_input`, `sram_weight`, `sram_output`, `dram`, `requantizers`, `leakage`.
    name : str
        What happens: `mac_int8`, `read`, `write`.
    count : float
        How often, in `unit`s.
    unit : str
        operation, word, bit, cycle.
    price_pj : float
        Energy of one, in pJ.
    source : str
        Where the price comes from.
    """

    component: str
    name: str
    count: float
    unit: str
    price_pj: float
    source: str

    @property
    def energy_pj(self) -> float:
        """Energy of all of them, in pJ."""
        return self.count * self.price_pj


class EventLine(TypedDict):
    """A priced event: count x price = energy."""

    component: Annotated[str, "where the energy goes: `mac`, `sram_input`, `dram`, `leakage`, ..."]
    name: Annotated[str, "what happens: `mac_int8`, `read`, `write`, ..."]
    count: Annotated[float, "how often, in `unit`s"]
    unit: Annotated[str, "operation, word, bit or cycle"]
    price_pj: Annotated[float, "energy of one, in pJ"]
    energy_pj: Annotated[float, "energy of all of them, in pJ"]
    source: Annotated[str, "where the price comes from"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost of one site, or a sum of such costs.

    Attributes
    ----------
    cycles : int
        From the first DRAM read to the last DRAM write.
    compute_cycles : int
        Cycles in which the array works, its own fill and drain included.
    busy_cycles : mapping
        Cycles in which each resource is busy: `array`, `banks` (of the SRAM that is busiest), `dram`, `vector`.
    macs_dense, macs_executed, macs_skipped : int
        Multiply-accumulates of the dense product; executed + skipped = dense.
    traffic_bytes : mapping
        Bytes moved, by memory and direction: `dram_read`, `dram_write`, `sram_input_read`, ...
    unique_bytes : int
        Distinct bytes of operands and result as the machine stores them: DRAM traffic is at least this.
    events : tuple of Event
        What is priced.
    """

    cycles: int = 0
    compute_cycles: int = 0
    busy_cycles: Mapping[str, int] = dataclasses.field(default_factory=dict)
    macs_dense: int = 0
    macs_executed: int = 0
    macs_skipped: int = 0
    traffic_bytes: Mapping[str, float] = dataclasses.field(default_factory=dict)
    unique_bytes: int = 0
    events: tuple[Event, ...] = ()

    @property
    def bound(self) -> str:
        """The resource that is busiest: `array`, `banks`, `dram` or `vector`; empty where none is stated."""
        return max(self.busy_cycles, key=lambda name: self.busy_cycles[name], default="")

    @property
    def energy_pj(self) -> dict[str, float]:
        """Energy by component, in pJ."""
        energy: dict[str, float] = {}
        for event in self.events:
            energy[event.component] = energy.get(event.component, 0.0) + event.energy_pj
        return energy

    @functools.cached_property
    def total_energy_pj(self) -> float:
        """Energy of everything, in pJ."""
        return sum(event.energy_pj for event in self.events)

    def event_records(self) -> list[EventLine]:
        """Every priced event: count x price = energy, with the price's source."""
        return [
            {
                "component": event.component,
                "name": event.name,
                "count": event.count,
                "unit": event.unit,
                "price_pj": event.price_pj,
                "energy_pj": event.energy_pj,
                "source": event.source,
            }
            for event in self.events
        ]

    def __add__(self, other: "Cost") -> "Cost":
        return total_cost((self, other))

    def times(self, runs: int) -> "Cost":
        """The cost of so many runs alike, one after the other."""
        if runs == 1:
            return self
        return Cost(
            cycles=self.cycles * runs,
            compute_cycles=self.compute_cycles * runs,
            busy_cycles={name: cycles * runs for name, cycles in self.busy_cycles.items()},
            macs_dense=self.macs_dense * runs,
            macs_executed=self.macs_executed * runs,
            macs_skipped=self.macs_skipped * runs,
            traffic_bytes={key: value * runs for key, value in self.traffic_bytes.items()},
            unique_bytes=self.unique_bytes * runs,
            events=tuple(dataclasses.replace(event, count=event.count * runs) for event in self.events),
        )


def total_cost(costs: Sequence[Cost]) -> Cost:
    """The sum of all costs, added up in their order; equal events become one."""
    counts: dict[tuple[str, str, str, float, str], float] = {}
    for cost in costs:
        for event in cost.events:
            kind = (event.component, event.name, event.unit, event.price_pj, event.source)
            counts[kind] = counts.get(kind, 0) + event.count
    return Cost(
        cycles=sum(cost.cycles for cost in costs),
        compute_cycles=sum(cost.compute_cycles for cost in costs),
        busy_cycles=_added(cost.busy_cycles for cost in costs),
        macs_dense=sum(cost.macs_dense for cost in costs),
        macs_executed=sum(cost.macs_executed for cost in costs),
        macs_skipped=sum(cost.macs_skipped for cost in costs),
        traffic_bytes=_added(cost.traffic_bytes for cost in costs),
        unique_bytes=sum(cost.unique_bytes for cost in costs),
        events=tuple(
            Event(component=component, name=name, count=count, unit=unit, price_pj=price, source=source)
            for (component, name, unit, price, source), count in counts.items()
        ),
    )


def _added(each: Iterable[Mapping[str, Number]]) -> dict[str, Number]:
    """Sums by name."""
    total: dict[str, Number] = {}
    for mapping in each:
        for name, value in mapping.items():
            total[name] = total[name] + value if name in total else value
    return total


@dataclasses.dataclass(frozen=True, kw_only=True)
class Area:
    """Silicon area by component, in um2, with the source of each figure."""

    components_um2: Mapping[str, float]
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict)

    @property
    def total_um2(self) -> float:
        """Area of everything, in um2."""
        return sum(self.components_um2.values())
