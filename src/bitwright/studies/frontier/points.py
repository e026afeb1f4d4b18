"""Operating points, what they are ordered by, and where systems stand."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from bitwright.errors import unknown_name
from bitwright.studies.row import Row
from bitwright.studies.simulate import Simulation
from bitwright.tasks.relative_loss import RelativeLoss


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective:
    """A cost that is to be low.

    Attributes
    ----------
    name, title : str
        In data, and for people.
    unit : str
        Of `of`'s values times 10 to the `power`.
    power : int
        See `unit`.
    of : callable
        The cost of a simulation.
    """

    name: str
    title: str
    unit: str
    power: int
    of: Callable[[Simulation], float]


def energy_delay_area(simulation: Simulation) -> float:
    """Energy x latency x area, in pJ us um2."""
    return simulation.cost.total_energy_pj * simulation.latency_us * simulation.area.total_um2


OBJECTIVES = (
    Objective(name="energy", title="energy", unit="J", power=-12, of=lambda found: found.cost.total_energy_pj),
    Objective(name="latency", title="latency", unit="s", power=-6, of=lambda found: found.latency_us),
    Objective(name="energy_delay_area", title="energy x delay x area", unit="J s mm2", power=-24, of=energy_delay_area),
)
"""What points are ordered by; 1 pJ us um2 is 1e-24 J s mm2."""


def objective_named(name: str) -> Objective:
    """The objective; raises `InputError`, with the names that there are, for an unknown one."""
    found = next((each for each in OBJECTIVES if each.name == name), None)
    if found is None:
        raise unknown_name("objective", name, [each.name for each in OBJECTIVES])
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A method with its options on a machine, as one system's choice.

    Attributes
    ----------
    system : str
        The family it belongs to.
    row : Row
        Score and cost; `row.method` names the method with its options. Its status may also be `refused`: the methods do
        not compose, or the method declines this network.
    options : mapping
        Of the method.
    loss : RelativeLoss or None
        From the float network; None where there is no score.
    within, separated : bool or None
        Whether the loss is within the budget by its estimate, and whether its interval decides that.
    comparable : bool
        Whether it has a loss and costs of as large a share of the products as any point of its network has. Others are
        on no front.
    fronts : tuple of str
        Names of the objectives on whose Pareto front (loss x objective) it is.
    """

    system: str
    row: Row
    options: Mapping[str, Any]
    loss: RelativeLoss | None = None
    within: bool | None = None
    separated: bool | None = None
    comparable: bool = False
    fronts: tuple[str, ...] = ()

    @property
    def keeps(self) -> bool:
        """Whether the samples say that it keeps the budget: the whole interval of its loss is within."""
        return bool(self.within and self.separated)

    def value(self, objective: Objective) -> float | None:
        """What it costs; None where it has no cost."""
        return None if self.row.simulation is None else objective.of(self.row.simulation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a system stands under the budget by one objective.

    Attributes
    ----------
    network, objective, system : str
        Names.
    best : OperatingPoint or None
        The cheapest of the system's points that keep the budget; None if it has none.
    gain : float or None
        Cost of the best static INT8 point that keeps the budget by this one's: how many times less this costs.
    rank : int or None
        1 is the cheapest system.
    reason : str
        Why there is no best point.
    """

    network: str
    objective: str
    system: str
    best: OperatingPoint | None
    gain: float | None
    rank: int | None
    reason: str = ""
