"""Which activations stay on chip between sites: those that fit half of the input SRAM as long as they are needed.

Ours: first come, first kept, in the order in which activations are made; the other half is left to tiles. An output
that is joined with another at once (a residual addition) stays too. What is read as w of a product, what sites read or
make that run more than once, and what enters or leaves the network, crosses DRAM.
"""

from collections import Counter
from collections.abc import Sequence

from bitwright.accelerators.substrate import Substrate
from bitwright.methods.execution import OnChip
from bitwright.networks.flows import Flows

BITS_PER_BYTE = 8
SHARE = 2
"""One by the share of the input SRAM that activations may take."""


def kept_by(machine: Substrate, flows: Flows, element_bits: Sequence[int]) -> dict[str, OnChip]:
    """What is kept while each site is at work; of a site that runs more than once, the most at any time.

    Parameters
    ----------
    machine : Substrate
        Its input SRAM.
    flows : Flows
        Of the network.
    element_bits : sequence of int
        By run of a site, bits of an element of its output as it leaves.

    Examples
    --------
    >>> from bitwright.networks.flows import Activation
    >>> kept = Activation(elements=1000, born=0, last=1)
    >>> leaving = Activation(elements=10, born=1, leaves=True)
    >>> flows = Flows(sites=("a", "b"), activations=(kept, leaving), reads=(-1, 0), makes=(0, 1))
    >>> kept_by(Substrate(input_sram_kib=2), flows, [8, 8])["b"]
    OnChip(x=True, y=False, kept_bytes=0)
    """
    runs, room = len(flows.reads), machine.buffers.input_bytes // SHARE
    often = {site for site, count in Counter(flows.sites).items() if count > 1}
    changing = {
        activation
        for site, read, made in zip(flows.sites, flows.reads, flows.makes, strict=True)
        if site in often
        for activation in (read, made)
    }
    taken, kept = [0] * runs, dict[int, int]()
    for index, each in enumerate(flows.activations):
        if each.leaves or not each.streams or each.born < 0 or each.last < each.born or index in changing:
            continue
        size = -(-each.elements * element_bits[each.born] // BITS_PER_BYTE)
        times = range(each.born, each.last + 1)
        if all(taken[time] + size <= room for time in times):
            kept[index] = size
            for time in times:
                taken[time] += size
    found: dict[str, OnChip] = {}
    for run, site in enumerate(flows.sites):
        others = taken[run] - kept.get(flows.reads[run], 0)
        before = found[site].kept_bytes if site in found else 0
        found[site] = OnChip(x=flows.reads[run] in kept, y=flows.makes[run] in kept, kept_bytes=max(before, others))
    return found
