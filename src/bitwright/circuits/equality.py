"""Whether RTL does what its functional twin says, bit by bit: all input words, or random streams.

Both run on the same inputs: the netlist in generic gates that Yosys makes of the RTL, and `Circuit.model`.
"""

import dataclasses
import math

import numpy as np

from bitwright.circuits import yosys
from bitwright.circuits.circuit import Circuit, Integers, Port, Values
from bitwright.circuits.netlist import GENERIC, read
from bitwright.circuits.simulation import run

BLOCK = 1 << 16
"""Streams at once."""
CORNERS = 4
"""One value in so many of a random stream is an end of its range, 0 or -1, where products and sums are largest."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Agreement:
    """How RTL and twin compare.

    Attributes
    ----------
    compared : int
        Clocks times streams.
    wrong : int
        Of these, how many differ in any output.
    first : str
        Where the first one is; empty where there is none.
    """

    compared: int
    wrong: int
    first: str = ""


def compare(circuit: Circuit, inputs: Values) -> Agreement:
    """RTL beside its twin on inputs [clocks, streams(, lanes)]."""
    ports = circuit.ports()
    found = run(read(yosys.generic(circuit), GENERIC), ports, inputs).outputs
    told = circuit.model(inputs)
    clocks, streams = next(iter(inputs.values())).shape[:2]
    wrong = np.zeros((clocks, streams), bool)
    first = ""
    for port in ports.outputs:
        differs = np.not_equal(found[port.name], told[port.name]).reshape(clocks, streams, -1).any(-1)
        if differs.any() and not first:
            clock, stream = map(int, np.argwhere(differs)[0])
            given = ", ".join(f"{name} {values[clock, stream].tolist()}" for name, values in inputs.items())
            first = (
                f"{port.name} in clock {clock} of stream {stream} is {found[port.name][clock, stream].tolist()}, and "
                f"should be {told[port.name][clock, stream].tolist()} ({given})"
            )
        wrong |= differs
    return Agreement(compared=clocks * streams, wrong=int(wrong.sum()), first=first)


def exhaustive(circuit: Circuit) -> dict[str, Integers]:
    """Every word of all inputs, in one clock: for circuits without registers."""
    inputs = circuit.ports().inputs
    bits = sum(port.bits * max(1, port.lanes) for port in inputs)
    words, at, found = np.arange(1 << bits, dtype=np.int64), 0, {}
    for port in inputs:
        lanes = []
        for _ in port.names:
            lanes.append(_ranged(port, (words >> at) & ((1 << port.bits) - 1)))
            at += port.bits
        found[port.name] = (np.stack(lanes, -1) if port.lanes else lanes[0])[None]
    return found


def random(circuit: Circuit, *, cases: int, clocks: int = 1, seed: int = 0) -> dict[str, Integers]:
    """At least so many random cases in streams of `clocks`, a quarter of the values at ends of their ranges."""
    generator = np.random.default_rng(seed)
    streams = math.ceil(cases / clocks)
    found = {}
    for port in circuit.ports().inputs:
        shape = (clocks, streams, port.lanes) if port.lanes else (clocks, streams)
        values = generator.integers(port.smallest, port.largest, shape, np.int64, endpoint=True)
        ends = generator.choice(np.array([port.smallest, port.largest, 0, -1 if port.signed else 1], np.int64), shape)
        found[port.name] = np.where(generator.integers(CORNERS, size=shape) == 0, ends, values)
    return found


def _ranged(port: Port, codes: Integers) -> Integers:
    """Bit patterns as values."""
    return codes - ((codes >> (port.bits - 1)) << port.bits) if port.signed else codes
