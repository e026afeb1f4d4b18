"""Synthesis: the circuit in cells of a library, their area, leakage and the longest path through them.

Yosys maps (`synth -booth`, `dfflibmap`, ABC, which buffers and sizes too); timing is a static analysis of the cells'
delay tables, of rising and falling edges by the edges that cause them, without wires. Area is that of cells alone.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from bitwright.circuits import liberty, yosys
from bitwright.circuits.circuit import Circuit
from bitwright.circuits.liberty import Arc, Library
from bitwright.circuits.netlist import Netlist, read

INPUT_TRANSITION = 0.1
"""Of inputs and of the clock, in ns; ours."""
OUTPUT_LOAD = 4
"""Input capacitances of an inverter that every output drives; ours."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mapped:
    """A circuit in cells of a library.

    Attributes
    ----------
    netlist : Netlist
        Whose cells are the library's.
    library : Library
        The cells.
    loads : array [nets]
        Capacitance that each net drives, in pF.
    slopes, edges : array [nets, 2]
        How long a net's falling and its rising edge take, and when they are there at the latest, in ns after the
        clock's edge.
    """

    netlist: Netlist
    library: Library
    loads: np.ndarray
    slopes: np.ndarray
    edges: np.ndarray

    @functools.cached_property
    def transitions(self) -> np.ndarray:
        """The slower one of each net's edges, in ns: [nets]."""
        found: np.ndarray = self.slopes.max(1)
        return found

    @functools.cached_property
    def arrivals(self) -> np.ndarray:
        """When each net has its value, in ns after the clock's edge: [nets]."""
        found: np.ndarray = self.edges.max(1)
        return found

    @property
    def area(self) -> float:
        """Of all cells, in um2."""
        return sum(self.library.cells[name].area for name in self.netlist.cells)

    @property
    def gates(self) -> float:
        """The area in NANDs of two inputs."""
        return self.area / self.library.nand2_area

    @property
    def sequential_area(self) -> float:
        """Of flip-flops, in um2."""
        cells = (self.library.cells[name] for name in self.netlist.cells)
        return sum(cell.area for cell in cells if cell.kind.data)

    @property
    def leakage_nw(self) -> float:
        """Of all cells."""
        return sum(self.library.cells[name].leakage_nw for name in self.netlist.cells)

    @property
    def critical_path_ns(self) -> float:
        """From inputs or flip-flops to outputs or flip-flops, their setup time included."""
        ends = [self.arrivals[net] for bits in self.netlist.outputs.values() for net in bits]
        for name, pins in zip(self.netlist.cells, self.netlist.pins, strict=True):
            cell = self.library.cells[name]
            if cell.kind.data:
                ends.append(self.arrivals[pins[cell.kind.data]] + cell.setup)
        return float(max(ends, default=0.0))


def synthesize(circuit: Circuit, path: Path) -> Mapped:
    """A circuit in the cells of a Liberty file.

    Raises
    ------
    InputError
        Without the extra `rtl`, a file that is no library, or where Yosys fails.
    """
    library = liberty.read(path)
    library.require_buffer()
    inverter = library.inverter
    load = OUTPUT_LOAD * max(library.cells[inverter].capacitance.values())
    commands = [
        f"synth -flatten -booth -top {yosys.TOP}",
        f"dfflibmap -liberty {yosys.CELLS}",
        f"abc -liberty {yosys.CELLS} -constr constraints",
        "opt_clean -purge",
        "write_json out.json",
    ]
    constraints = f"set_driving_cell {inverter}\nset_load {1000 * load:.6g} [all_outputs]\n"
    given = {"constraints": constraints.encode(), yosys.CELLS: liberty.content(path)}
    text = yosys.made(circuit, commands, ["out.json"], given)["out.json"]
    netlist = read(json.loads(text)["modules"][yosys.TOP], {name: cell.kind for name, cell in library.cells.items()})
    return timed(netlist, library, load)


def timed(netlist: Netlist, library: Library, output_load: float) -> Mapped:
    """A netlist in a library's cells, with loads, transitions and arrivals of its nets; outputs drive so many pF."""
    found = Mapped(
        netlist=netlist,
        library=library,
        loads=_loads(netlist, library, output_load),
        slopes=np.full((netlist.nets, 2), INPUT_TRANSITION),
        edges=np.zeros((netlist.nets, 2)),
    )
    driver = {
        pins[pin]: (name, pins, pin)
        for name, pins in zip(netlist.cells, netlist.pins, strict=True)
        for pin in library.cells[name].arcs
        if pin in pins
    }
    for net in map(int, (*netlist.state, *netlist.result)):  # flip-flops first, then gates after those they read
        if net in driver:
            _settle(found, net, *driver[net])
    return found


def _loads(netlist: Netlist, library: Library, output_load: float) -> np.ndarray:
    """What each net drives, in pF."""
    loads = np.zeros(netlist.nets)
    for name, pins in zip(netlist.cells, netlist.pins, strict=True):
        for pin, capacitance in library.cells[name].capacitance.items():
            if pin in pins:
                loads[pins[pin]] += capacitance
    for bits in netlist.outputs.values():
        loads[list(bits)] += output_load
    return loads


def _settle(mapped: Mapped, net: int, name: str, pins: Mapping[str, int], pin: str) -> None:
    """Note when a cell's output falls and rises at the latest, by which edges of its inputs, and how long it takes."""
    load = mapped.loads[net]
    arcs = [arc for arc in mapped.library.cells[name].arcs[pin] if arc.related in pins]
    for edge in (0, 1):
        found = [each for arc in arcs for each in _edges(mapped, arc, pins[arc.related], edge, load)]
        if found:
            mapped.edges[net, edge] = max(arrival for arrival, _ in found)
            mapped.slopes[net, edge] = max(slope for _, slope in found)


def _edges(mapped: Mapped, arc: Arc, source: int, edge: int, load: float) -> Iterator[tuple[float, float]]:
    """When an output's edge is there by an arc, and how long it takes, for each edge of the input that causes it."""
    delay, slope = ((arc.fall, arc.fall_transition), (arc.rise, arc.rise_transition))[edge]
    for cause in arc.causes[edge]:
        before = mapped.slopes[source, cause]
        if delay is not None:
            yield (
                mapped.edges[source, cause] + delay.at(load, before),
                before if slope is None else slope.at(load, before),
            )


@functools.cache
def tool_versions() -> dict[str, str]:
    """Of what made a synthesis."""
    from importlib.metadata import version

    return {name: version(name) for name in ("amaranth", "pyosys")}
