"""What a circuit burns per clock under streams of operands: toggles of its gates times what its cells say.

Every change of a net charges or discharges what it drives (half C V squared) and costs the driving cell its internal
energy; a flip-flop's clock pin changes twice per clock whatever its data do, at the mean of its costs by condition.
An output's internal energy is the mean over the inputs that may have made it change, weighted by how often each does.
Gates that take a unit of time each show changes on the way to a result (glitches); `glitches=False` leaves those out.
Wires are left out.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from bitwright.circuits.circuit import Ports, Values
from bitwright.circuits.liberty import Cell, Power, Table
from bitwright.circuits.simulation import run
from bitwright.circuits.synthesis import INPUT_TRANSITION, Mapped


@dataclasses.dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy per clock, in pJ.

    Attributes
    ----------
    nets_pj : float
        Of charging what outputs of cells, and the circuit's inputs, drive; the clock is not among them.
    internal_pj : float
        Inside cells, beside those of the clock.
    clock_pj : float
        Of flip-flops' clock pins: their capacitance and what happens behind them.
    """

    nets_pj: float
    internal_pj: float
    clock_pj: float

    @property
    def pj(self) -> float:
        """All of it."""
        return self.nets_pj + self.internal_pj + self.clock_pj


def energy(mapped: Mapped, ports: Ports, inputs: Values, *, glitches: bool = True) -> Energy:
    """Energy per clock of a circuit under streams [clocks, streams(, lanes)]."""
    netlist, library = mapped.netlist, mapped.library
    found = run(netlist, ports, inputs, glitches=glitches)
    changes = found.rises + found.falls
    half = library.voltage**2 / 2
    internal = clock = 0.0
    for name, pins in zip(netlist.cells, netlist.pins, strict=True):
        cell = library.cells[name]
        for pin, powers in cell.powers.items():
            if pin not in pins:
                continue
            if pin == cell.kind.clock:
                clock += found.clocks * sum(_both(power) for power in powers) / max(1, len(powers))
            else:
                internal += _internal(mapped, cell, pins, pin, powers, found.rises, found.falls)
        if cell.kind.clock:
            clock += found.clocks * 2 * half * cell.capacitance[cell.kind.clock]
    return Energy(
        nets_pj=float((changes * mapped.loads).sum()) * half / found.clocks,
        internal_pj=internal / found.clocks,
        clock_pj=clock / found.clocks,
    )


def _both(power: Power) -> float:
    return sum(_at(table, 0.0, INPUT_TRANSITION) for table in (power.rise, power.fall))


def _internal(
    mapped: Mapped,
    cell: Cell,
    pins: Mapping[str, int],
    pin: str,
    powers: tuple[Power, ...],
    rises: np.ndarray,
    falls: np.ndarray,
) -> float:
    """Internal energy of all changes of a pin."""
    net = pins[pin]
    if not (rises[net] or falls[net]) or not powers:
        return 0.0
    load = mapped.loads[net] if pin not in cell.capacitance else 0.0
    related = [pins.get(power.related, net) for power in powers]
    weights = np.array([rises[each] + falls[each] for each in related], float)
    if cell.kind.clock or not weights.sum():
        weights = np.ones(len(powers))
    weights /= weights.sum()
    total = 0.0
    for power, weight, source in zip(powers, weights, related, strict=True):
        transition = mapped.transitions[source]
        total += weight * rises[net] * _at(power.rise, load, transition)
        total += weight * falls[net] * _at(power.fall, load, transition)
    return total


def _at(table: Table | None, load: float, transition: float) -> float:
    return 0.0 if table is None else table.at(load, transition)
