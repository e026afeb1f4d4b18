"""Circuits of bills as they were synthesized: gates and energies of a table, and what they are at a node.

The table (`data/circuits.csv`, made by tools/make_circuit_table.py) holds figures of cells of .18 um; no cell ships.
Area shrinks to 28 nm as a published processing element does that was synthesized in the same cells: `SHRINK` has the
least and the most that it was found to be, of which the geometric mean is taken, and `area_factor` goes on to other
nodes. Nothing here is fitted to what a machine charts. Energy is a ratio to that of the int8 multiply-accumulate unit
whose weights rest, in the same cells under the same uniform operands, times what the price list says of an int8
multiply-accumulate. Leakage goes by area, as of every circuit.
"""

import csv
import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from bitwright.circuits import Circuit, MultiplyAccumulate
from bitwright.technology.price_file import DATA
from bitwright.technology.scaling import area_factor

TABLE = DATA / "circuits.csv"
REFERENCE = MultiplyAccumulate(stationary="weights")
"""The unit that energies are ratios to, and the price of it."""
REFERENCE_PRICE = "mac_int8"
SHRINK = {"osu018_stdcells": (85.9, 93.6)}
"""By library: um2 in its cells by um2 at 28 nm, of one published processing element with 28 nm area reports.

Its RTL was synthesized in these cells and divided. The same gives 12.0 to 14.5 for sky130hd, and 2.37 to 3.0 for
Nangate's open 45 nm cells. An int8 multiply-accumulate unit of 32-bit sums takes 23,652, 4,116 and 826 um2 in the
three, which is 253 to 275, 284 to 343 and 275 to 349 um2 at 28 nm: so far do libraries and mapping differ.
"""
ANCHOR_NM = 28


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynthesizedCircuit:
    """A line of the table.

    Attributes
    ----------
    circuit : str
        Its name.
    library : str
        Whose cells.
    gates, area_um2 : float
        NANDs of two inputs, and um2 in that library.
    energy_pj : float
        Per clock in that library, under uniform operands, each gate settling once.
    """

    circuit: str
    library: str
    gates: float
    area_um2: float
    energy_pj: float

    def area_at(self, node_nm: float) -> float:
        """Area in um2 at a node."""
        return self.area_um2 / math.sqrt(math.prod(SHRINK[self.library])) * area_factor(ANCHOR_NM, node_nm)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SynthesizedTable:
    """What was synthesized, in cells of one library.

    Attributes
    ----------
    lines : mapping
        By a circuit's name and parameters, as `key_of` writes them.
    """

    lines: Mapping[tuple[str, str], SynthesizedCircuit]

    def of(self, circuit: Circuit) -> SynthesizedCircuit | None:
        """The line of a circuit with these parameters; None where there is none."""
        return self.lines.get(key_of(circuit))

    def energy_ratio(self, line: SynthesizedCircuit) -> float:
        """A circuit's energy per clock, in int8 multiply-accumulates."""
        return line.energy_pj / self.lines[key_of(REFERENCE)].energy_pj


def key_of(circuit: Circuit) -> tuple[str, str]:
    """A circuit's name, and its parameters as JSON with sorted keys.

    Examples
    --------
    >>> key_of(MultiplyAccumulate(x_bits=4))[0]
    'multiply-accumulate'
    """
    return circuit.name, _written(circuit.model_dump(mode="json"))


def _written(parameters: Mapping[str, Any]) -> str:
    return json.dumps(parameters, sort_keys=True)


@functools.cache
def built_in_circuits() -> SynthesizedTable:
    """The table that ships."""
    with TABLE.open(newline="", encoding="utf-8") as stream:
        lines = {
            (row["circuit"], _written(json.loads(row["parameters"]))): SynthesizedCircuit(
                circuit=row["circuit"],
                library=row["library"],
                gates=float(row["gates"]),
                area_um2=float(row["area_um2"]),
                energy_pj=float(row["energy_uniform_pj"]),
            )
            for row in csv.DictReader(stream)
        }
    return SynthesizedTable(lines=MappingProxyType(lines))
