"""What a synthesis says of one circuit, as plain figures that a table, a file and a cache can hold."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from bitwright.circuits.circuit import Circuit
from bitwright.circuits.energy import energy
from bitwright.circuits.simulation import run
from bitwright.circuits.streams import DISTRIBUTIONS, stream
from bitwright.circuits.synthesis import Mapped, synthesize, tool_versions
from bitwright.errors import InputError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Synthesized:
    """One circuit in the cells of one library.

    Attributes
    ----------
    circuit, configuration : str
        Its name, and a phrase for its parameters.
    parameters : mapping
        All of them.
    library : str
        The cells' name.
    voltage_v : float
        Theirs.
    cells : int
        How many.
    area_um2, gates : float
        Of the cells, and counted in NANDs of two inputs.
    sequential : float
        Share of the area that is flip-flops'.
    path_ns : float
        The longest path, without wires.
    leakage_nw : float
        Of all cells.
    energy_pj : mapping
        By distribution of operands: per clock, each gate settling once.
    glitching_pj : mapping
        The same with changes on the way to results, where every gate takes the same time: an upper end.
    versions : mapping
        Of the tools.
    """

    circuit: str
    configuration: str
    parameters: dict[str, Any]
    library: str
    voltage_v: float
    cells: int
    area_um2: float
    gates: float
    sequential: float
    path_ns: float
    leakage_nw: float
    energy_pj: dict[str, float]
    glitching_pj: dict[str, float]
    versions: dict[str, str]


def synthesized(circuit: Circuit, configuration: str, liberty: Path) -> Synthesized:
    """A circuit synthesized and measured.

    Raises
    ------
    InputError
        Without the extra `rtl`, a file that is no library or whose functions are not understood, or where Yosys fails.
    """
    mapped = synthesize(circuit, liberty)
    ports = circuit.ports()
    require_twin(circuit, mapped)
    still: dict[str, float] = {}
    moved: dict[str, float] = {}
    for distribution in DISTRIBUTIONS:
        inputs = stream(circuit, distribution)
        still[distribution] = energy(mapped, ports, inputs, glitches=False).pj
        moved[distribution] = energy(mapped, ports, inputs, glitches=True).pj
    return Synthesized(
        circuit=circuit.name,
        configuration=configuration,
        parameters=circuit.model_dump(mode="json"),
        library=mapped.library.name,
        voltage_v=mapped.library.voltage,
        cells=len(mapped.netlist.cells),
        area_um2=mapped.area,
        gates=mapped.gates,
        sequential=mapped.sequential_area / mapped.area,
        path_ns=mapped.critical_path_ns,
        leakage_nw=mapped.leakage_nw,
        energy_pj=still,
        glitching_pj=moved,
        versions=tool_versions(),
    )


def require_twin(circuit: Circuit, mapped: Mapped) -> None:
    """Refuse cells that do not do what the circuit does: their functions are read twice, by Yosys and here.

    Raises
    ------
    InputError
        Where an output differs on uniform operands.
    """
    inputs = stream(circuit, "uniform")
    found, told = run(mapped.netlist, circuit.ports(), inputs).outputs, circuit.model(inputs)
    wrong = [name for name, values in told.items() if not np.array_equal(found[name], values)]
    if wrong:
        raise InputError(
            f"{circuit.name} in the cells of {mapped.library.name} gives another {wrong[0]} than the circuit, so the "
            "file's functions are not understood; name another Liberty file"
        )
