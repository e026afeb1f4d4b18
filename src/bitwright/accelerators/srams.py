"""The SRAMs of a machine as banks of one geometry: energy of a word, width, leakage, area, and whether they keep pace.

Ours: all SRAMs are banks of the substrate's capacity and word, side by side, single-ported; smaller SRAMs are one bank
of their own capacity. A tile's words are spread evenly over all banks, so that an SRAM moves a word per bank and cycle,
for the array and DRAM together. An access costs a word of a bank and the
wires to it: banks lie in a square with the port at the middle of a side, from which they are 3/4 of a side away on
average. Wires' area and the crossbar are not modelled. So equal bytes cost equal energy, however wide the port.
"""

import dataclasses
import functools
import math

from bitwright import technology
from bitwright.accelerators.circuits import Priced
from bitwright.accelerators.substrate import BYTES_PER_KIB, Substrate
from bitwright.errors import InputError

LARGEST_WORD_BITS = 1024
FEWEST_WORDS = 32
BITS_PER_BYTE = 8
CACHED_MACHINES = 64
MEAN_DISTANCE = 0.75
"""Mean distance from the middle of a side, along both axes, of places in a square, by its side."""
UM_PER_MM = 1000
SRAMS = ("sram_input", "sram_weight", "sram_output")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sram:
    """One SRAM.

    Attributes
    ----------
    banks : int
        How many.
    word_bits : int
        Bits of one access of a bank.
    read_pj, write_pj : float
        Energy of a word, wires included.
    leakage_uw, area_um2 : float
        Of all banks.
    bits_per_cycle : float
        What all banks read and write in a cycle.
    source : str
        Where the numbers come from.
    """

    banks: int
    word_bits: int
    read_pj: float
    write_pj: float
    leakage_uw: float
    area_um2: float
    bits_per_cycle: float
    source: str

    @property
    def pj_per_byte(self) -> tuple[float, float]:
        """Energy of a byte that is read, and of one that is written."""
        share = BITS_PER_BYTE / self.word_bits
        return self.read_pj * share, self.write_pj * share


@functools.lru_cache(maxsize=CACHED_MACHINES)
def srams_of(machine: Substrate) -> dict[str, Sram]:
    """The SRAMs of a machine by component: sram_input, sram_weight, sram_output.

    Raises
    ------
    InputError
        If there is no such bank, or it does not keep pace with the clock.

    Examples
    --------
    >>> {name: sram.banks for name, sram in srams_of(Substrate()).items()}
    {'sram_input': 128, 'sram_weight': 64, 'sram_output': 64}
    """
    buffers = machine.buffers
    capacities = (buffers.input_bytes, buffers.weight_bytes, buffers.output_bytes)
    return {name: sram_of(machine, capacity) for name, capacity in zip(SRAMS, capacities, strict=True)}


def sram_of(machine: Substrate, capacity_bytes: int) -> Sram:
    """An SRAM of that capacity in banks of the machine's geometry. Raises as `srams_of` does."""
    bank_bytes = min(capacity_bytes, round(machine.sram_bank_kib * BYTES_PER_KIB))
    word_bits = max(BITS_PER_BYTE, min(machine.sram_bank_bits, bank_bytes * BITS_PER_BYTE // FEWEST_WORDS))
    if word_bits > LARGEST_WORD_BITS:
        raise InputError(f"sram_bank_bits is {word_bits}, and banks have words of up to {LARGEST_WORD_BITS} bits")
    banks = -(-capacity_bytes // bank_bytes)
    return banks_of(machine, banks=banks, bank_bytes=bank_bytes, word_bits=word_bits, lever="sram_bank_kib")


def banks_of(machine: Substrate, *, banks: int, bank_bytes: int, word_bits: int, lever: str) -> Sram:
    """So many banks side by side; `lever` makes them smaller.

    Raises
    ------
    InputError
        If there is no such bank, or it does not keep pace with the clock.
    """
    macro = machine.technology.sram(capacity_bytes=bank_bytes, width_bits=word_bits)
    period_ns = 1000 / machine.clock_mhz
    slowest = max(macro.cycle_ns, macro.access_ns)
    if slowest > period_ns:
        raise InputError(
            f"a bank of {bank_bytes} bytes and {word_bits} bits takes {slowest:.2f} ns and a cycle at "
            f"{machine.clock_mhz:g} MHz is {period_ns:.2f} ns; lower {lever} or clock_mhz"
        )
    area_um2 = banks * macro.area_um2
    wire = machine.technology.price("wire_bit_mm")
    wires_pj = word_bits * wire.energy() * MEAN_DISTANCE * math.sqrt(area_um2) / UM_PER_MM
    return Sram(
        banks=banks,
        word_bits=word_bits,
        read_pj=macro.read_pj + wires_pj,
        write_pj=macro.write_pj + wires_pj,
        leakage_uw=banks * macro.leakage_uw,
        area_um2=area_um2,
        bits_per_cycle=float(banks * word_bits),
        source=f"{macro.source}; wires of {MEAN_DISTANCE:g} x {math.sqrt(area_um2):.0f} um: {wire.source}",
    )


def memory(sram: Sram | technology.Sram) -> Priced:
    """A small memory as a circuit of a bill, at the price of a read; writes have a price of their own.

    Examples
    --------
    >>> memory(Substrate().technology.sram(512, 16)).area_um2 > 0
    True
    """
    return Priced(
        area_um2=sram.area_um2,
        energy_pj=sram.read_pj,
        leakage_uw=sram.leakage_uw,
        area_source=sram.source,
        energy_source=sram.source,
    )
