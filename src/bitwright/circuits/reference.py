"""The slow twin of the netlist kernel: one stream, one bit, one gate at a time, by the definition."""

from collections.abc import Mapping, Sequence

from bitwright.circuits.netlist import Netlist


def simulate_slowly(
    netlist: Netlist, before: Mapping[int, int], stimulus: Sequence[Mapping[int, int]], *, glitches: bool
) -> tuple[list[list[int]], list[int]]:
    """Values of all nets at the end of each clock, and how often each changed.

    `stimulus` gives, for every clock, the bits of driven nets, `before` those of a clock that is not counted.
    """
    values = [0] * netlist.nets
    values[1] = 1
    changes = [0] * netlist.nets
    seen = []

    def put(net: int, bit: int) -> bool:
        moved = values[net] != bit
        changes[net] += moved
        values[net] = bit
        return moved

    def gate(at: int) -> int:
        word = sum(values[netlist.fanin[at, i]] << i for i in range(netlist.arity[at]))
        return int(netlist.tables[at]) >> word & 1

    for clock, bits in enumerate([before, *stimulus]):
        for net, bit in bits.items():
            put(net, bit)
        moved = True
        while moved:
            if glitches and clock:
                later = [gate(at) for at in range(len(netlist.tables))]
                moved = sum(put(int(net), bit) for net, bit in zip(netlist.result, later, strict=True)) > 0
            else:
                moved = sum(put(int(net), gate(at)) for at, net in enumerate(netlist.result)) > 0
        seen.append(list(values))
        held = [values[net] for net in netlist.data]
        for net, bit in zip(netlist.state, held, strict=True):
            put(int(net), bit)
        if not clock:
            seen.clear()
            changes[:] = [0] * netlist.nets
    return seen, changes
