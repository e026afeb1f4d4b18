"""Netlists: gates as truth tables between numbered nets, in an order in which each can be computed after its inputs.

Cells are those of Yosys' generic library or of a Liberty file. A cell with several outputs is several gates here.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bitwright.errors import InputError

MOST_INPUTS = 6
"""Of a gate, so that its table fits in 64 bits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellKind:
    """What a cell does.

    Attributes
    ----------
    inputs : tuple of str
        Pins, the first is the lowest bit of a table's index.
    outputs : mapping
        Pin -> its truth table over `inputs`, bit i for input word i.
    data, clock, state : str
        Of a flip-flop on the rising edge: its pins; empty: the cell is combinational.
    inverted : str
        Of a flip-flop: the pin of the opposite of what it holds.
    """

    inputs: tuple[str, ...] = ()
    outputs: Mapping[str, int] = dataclasses.field(default_factory=dict)
    data: str = ""
    clock: str = ""
    state: str = ""
    inverted: str = ""


def table(inputs: int, function: Callable[..., bool | int]) -> int:
    """The truth table of a function of so many bits.

    Examples
    --------
    >>> bin(table(2, lambda a, b: a & b)), bin(table(2, lambda a, b: a ^ b))
    ('0b1000', '0b110')
    """
    words = itertools.product((0, 1), repeat=inputs)
    return sum(bool(function(*bits[::-1])) << at for at, bits in enumerate(words))


def _gate(names: str, function: Callable[..., bool | int]) -> CellKind:
    return CellKind(inputs=tuple(names), outputs={"Y": table(len(names), function)})


GENERIC: dict[str, CellKind] = {
    "$_BUF_": _gate("A", lambda a: a),
    "$_NOT_": _gate("A", lambda a: not a),
    "$_AND_": _gate("AB", lambda a, b: a & b),
    "$_NAND_": _gate("AB", lambda a, b: not a & b),
    "$_OR_": _gate("AB", lambda a, b: a | b),
    "$_NOR_": _gate("AB", lambda a, b: not a | b),
    "$_XOR_": _gate("AB", lambda a, b: a ^ b),
    "$_XNOR_": _gate("AB", lambda a, b: not a ^ b),
    "$_ANDNOT_": _gate("AB", lambda a, b: a & (1 - b)),
    "$_ORNOT_": _gate("AB", lambda a, b: a | (1 - b)),
    "$_MUX_": _gate("ABS", lambda a, b, s: b if s else a),
    "$_DFF_P_": CellKind(data="D", clock="C", state="Q"),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Netlist:
    """A circuit in gates. Nets 0 and 1 are constants of these values.

    Attributes
    ----------
    nets : int
        How many.
    tables : uint64 [gates]
        Truth tables.
    fanin : int32 [gates, MOST_INPUTS]
        Nets of inputs; net 0 where there are fewer.
    arity : int32 [gates]
        How many inputs.
    result : int32 [gates]
        Nets of outputs.
    level : int32 [gates]
        1 + the highest level among a gate's inputs; gates are sorted by it.
    data, state : int32 [flip-flops]
        Nets that flip-flops read and drive.
    inputs, outputs : mapping
        Port, lane by lane as Verilog names them, to nets, the lowest bit first.
    cells : tuple of str
        Kinds of all cells, with names.
    pins : tuple of mapping
        Of each cell: pin -> net.
    """

    nets: int
    tables: npt.NDArray[np.uint64]
    fanin: npt.NDArray[np.int32]
    arity: npt.NDArray[np.int32]
    result: npt.NDArray[np.int32]
    level: npt.NDArray[np.int32]
    data: npt.NDArray[np.int32]
    state: npt.NDArray[np.int32]
    inputs: Mapping[str, Sequence[int]]
    outputs: Mapping[str, Sequence[int]]
    cells: tuple[str, ...]
    pins: tuple[Mapping[str, int], ...]

    @property
    def depth(self) -> int:
        """Gates on the longest path."""
        return int(self.level.max(initial=0))


def read(module: Mapping[str, Any], kinds: Mapping[str, CellKind]) -> Netlist:
    """The netlist of a flat module of Yosys' JSON.

    Raises
    ------
    InputError
        A cell that is not among `kinds`, and a loop of gates without a register.
    """
    numbers: dict[int | str, int] = {"0": 0, "1": 1, "x": 0}

    def net(bit: int | str) -> int:
        return numbers.setdefault(bit, len(numbers) - 1)

    gates: list[tuple[int, list[int], int]] = []
    data, state, cells, pins = [], [], [], []
    for cell in module["cells"].values():
        kind = kinds.get(cell["type"])
        if kind is None:
            raise InputError(f"cells of kind {cell['type']!r} are not known, so the netlist cannot be simulated")
        connected = {pin: net(bits[0]) for pin, bits in cell["connections"].items()}
        cells.append(cell["type"])
        pins.append(connected)
        if kind.state or kind.inverted:
            data.append(connected[kind.data])
            held = connected.get(kind.state)
            if held is None:
                held = net(f"state {len(data)}")
            state.append(held)
            if kind.inverted in connected:
                gates.append((0b01, [held], connected[kind.inverted]))
        gates += [
            (truth, [connected[pin] for pin in kind.inputs], connected[pin])
            for pin, truth in kind.outputs.items()
            if pin in connected
        ]
    inputs: dict[str, list[int]] = {}
    outputs: dict[str, list[int]] = {}
    for name, port in module["ports"].items():
        (inputs if port["direction"] == "input" else outputs)[name] = [net(bit) for bit in port["bits"]]
    level = _levels(gates, {0, 1, *state, *(bit for bits in inputs.values() for bit in bits)})
    order = np.argsort(np.asarray(level, dtype=np.int32), kind="stable")
    fanin = np.zeros((len(gates), MOST_INPUTS), np.int32)
    for at, (_, fed, _) in enumerate(gates):
        fanin[at, : len(fed)] = fed
    return Netlist(
        nets=len(numbers) - 1,
        tables=np.array([gate[0] for gate in gates], np.uint64)[order],
        fanin=fanin[order],
        arity=np.array([len(gate[1]) for gate in gates], np.int32)[order],
        result=np.array([gate[2] for gate in gates], np.int32)[order],
        level=np.asarray(level, np.int32)[order],
        data=np.array(data, np.int32),
        state=np.array(state, np.int32),
        inputs=inputs,
        outputs=outputs,
        cells=tuple(cells),
        pins=tuple(pins),
    )


def _levels(gates: Sequence[tuple[int, list[int], int]], known: set[int]) -> list[int]:
    """The level of each gate."""
    driver = {result: at for at, (_, _, result) in enumerate(gates)}
    waiting = [0] * len(gates)
    readers: dict[int, list[int]] = {}
    level = [1] * len(gates)
    for at, (_, fed, _) in enumerate(gates):
        for bit in fed:
            if bit in driver:
                waiting[at] += 1
                readers.setdefault(driver[bit], []).append(at)
            elif bit not in known:
                known.add(bit)  # driven by nothing, as Yosys leaves what nobody needs
    ready = [at for at, count in enumerate(waiting) if not count]
    done = 0
    while ready:
        at = ready.pop()
        done += 1
        for reader in readers.get(at, ()):
            level[reader] = max(level[reader], level[at] + 1)
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if done < len(gates):
        raise InputError("the circuit has a loop of gates without a register in it")
    return level
