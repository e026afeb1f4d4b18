"""What machines are ordered by: energy, latency, and energy x latency x area."""

import dataclasses
from collections.abc import Callable

from bitwright.errors import unknown_name
from bitwright.studies.simulation import Simulation


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


ENERGY = Objective(name="energy", title="energy", unit="J", power=-12, of=lambda found: found.cost.total_energy_pj)
LATENCY = Objective(name="latency", title="latency", unit="s", power=-6, of=lambda found: found.latency_us)
OBJECTIVES = (
    ENERGY,
    LATENCY,
    Objective(name="energy_delay_area", title="energy x delay x area", unit="J s mm2", power=-24, of=energy_delay_area),
)
"""What points are ordered by; 1 pJ us um2 is 1e-24 J s mm2."""


def objective_named(name: str) -> Objective:
    """The objective; raises `InputError`, with the names that there are, for an unknown one."""
    found = next((each for each in OBJECTIVES if each.name == name), None)
    if found is None:
        raise unknown_name("objective", name, [each.name for each in OBJECTIVES])
    return found
