"""Netlists run clock by clock on many streams of integers at once, and how often each net changed.

Gates settle at once (`glitches=False`), or take one unit of time each, so that changes on the way to a result are
counted too. Before the first clock all inputs are 0 and reset is on, for a clock which is not reported.
"""

import dataclasses

import numpy as np
import numpy.typing as npt

from bitwright.circuits.circuit import Integers, Port, Ports, Values
from bitwright.circuits.netlist import Netlist

WORD = 64
RESET, CLOCK = "rst", "clk"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """What came out of a simulation.

    Attributes
    ----------
    outputs : mapping
        As `Circuit.model` gives them.
    rises, falls : int64 [nets]
        Changes of each net, over all clocks and streams.
    clocks : int
        Times streams.
    """

    outputs: dict[str, Integers]
    rises: npt.NDArray[np.int64]
    falls: npt.NDArray[np.int64]
    clocks: int


def run(netlist: Netlist, ports: Ports, inputs: Values, *, glitches: bool = False) -> Run:
    """Simulate a netlist.

    Parameters
    ----------
    netlist : Netlist
        Of a circuit with these ports.
    ports : Ports
        Which nets are which values.
    inputs : mapping
        Port -> [clocks, streams] or [clocks, streams, lanes].
    glitches : bool
        Gates take one unit of time each.
    """
    from bitwright.circuits.gates_kernel import simulate

    clocks, streams = next(iter(inputs.values())).shape[:2]
    words = -(-streams // WORD)
    nets, stimulus = [], []
    for port in ports.inputs:
        for name, lane in zip(port.names, _lanes(port, inputs[port.name]), strict=True):
            for bit, net in enumerate(netlist.inputs[name]):
                nets.append(net)
                stimulus.append(_packed((lane >> bit) & 1))
    reset = netlist.inputs.get(RESET, [])
    driven = np.array([*nets, *reset], np.int32)
    given = np.zeros((clocks, len(driven), words), np.uint64)
    for i, each in enumerate(stimulus):
        given[:, i] = each
    watched = [net for port in ports.outputs for name in port.names for net in netlist.outputs[name]]
    values = np.zeros((netlist.nets, words), np.uint64)
    values[1] = ~np.uint64(0)
    rises, falls = np.zeros(netlist.nets, np.int64), np.zeros(netlist.nets, np.int64)
    valid = _packed(np.ones((1, streams), np.int64))[0]
    steps = netlist.depth if glitches else 0

    def simulated(stimuli: npt.NDArray[np.uint64], depth: int) -> npt.NDArray[np.uint64]:
        found: npt.NDArray[np.uint64] = simulate(
            netlist.tables,
            netlist.fanin,
            netlist.arity,
            netlist.result,
            netlist.data,
            netlist.state,
            values,
            driven,
            stimuli,
            np.array(watched, np.int32),
            depth,
            rises,
            falls,
            valid,
        )
        return found

    before = np.zeros_like(given[:1])
    before[:, len(nets) :] = ~np.uint64(0)
    simulated(before, 0)
    rises[:], falls[:] = 0, 0
    seen = simulated(given, steps)
    outputs, at = {}, 0
    for port in ports.outputs:
        lanes = []
        for _ in port.names:
            bits = [_unpacked(seen[:, at + bit], streams) for bit in range(port.bits)]
            at += port.bits
            lanes.append(_number(bits, signed=port.signed))
        outputs[port.name] = np.stack(lanes, -1) if port.lanes else lanes[0]
    return Run(outputs=outputs, rises=rises, falls=falls, clocks=clocks * streams)


def _lanes(port: Port, values: Integers) -> list[Integers]:
    values = np.asarray(values, np.int64)
    return [values[..., i] for i in range(port.lanes)] if port.lanes else [values]


def _packed(bits: Integers) -> npt.NDArray[np.uint64]:
    """[clocks, streams] of 0 and 1 -> [clocks, words], stream i in bit i % 64 of word i // 64."""
    clocks, streams = bits.shape
    padded = np.zeros((clocks, -(-streams // WORD) * WORD), np.uint8)
    padded[:, :streams] = bits
    return np.packbits(padded, axis=-1, bitorder="little").view("<u8").astype(np.uint64)


def _unpacked(words: npt.NDArray[np.uint64], streams: int) -> Integers:
    """The other way round."""
    flat = np.ascontiguousarray(words.astype("<u8")).view(np.uint8)
    return np.unpackbits(flat, axis=-1, bitorder="little")[:, :streams].astype(np.int64)


def _number(bits: list[Integers], *, signed: bool) -> Integers:
    found = np.zeros_like(bits[0])
    for at, bit in enumerate(bits):
        found |= bit << at
    if signed and len(bits) < WORD:
        found -= bits[-1] << len(bits)
    return found
