"""The SRAMs of a machine as sets of macros: energy per access, leakage and area.

Our choice: machines ask for ports as wide as what flows there in a cycle. Macros of the technology's table are 8 to
1024 bits wide, at least 32 rows deep and at most 16 MiB: wider ports are macros side by side, all of them accessed;
larger capacities are macros of which one is accessed; ports too wide for a small capacity are narrowed, which takes
more accesses.
"""

import dataclasses

from bitwright.technology import Technology

NARROWEST_MACRO_BITS = 8
WIDEST_MACRO_BITS = 1024
LARGEST_MACRO_BYTES = 16 * 2**20
FEWEST_ROWS = 32
BITS_PER_BYTE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class SramMacros:
    """One SRAM: its port, and what an access and the whole of it cost.

    Attributes
    ----------
    port_bits : int
        Bits of one access.
    macros : int
        Macros it is made of.
    read_pj, write_pj : float
        Energy of one access of `port_bits`.
    leakage_uw, area_um2 : float
        Of all macros.
    source : str
        Where the numbers come from.
    """

    port_bits: int
    macros: int
    read_pj: float
    write_pj: float
    leakage_uw: float
    area_um2: float
    source: str


def sram_macros(*, technology: Technology, capacity_bytes: int, port_bits: int) -> SramMacros:
    """An SRAM of `capacity_bytes` with a port of at most `port_bits`, made of the technology's macros.

    Raises
    ------
    InputError
        If the technology has no macro of that size.
    """
    deep_enough = capacity_bytes * BITS_PER_BYTE // FEWEST_ROWS
    port_bits = max(NARROWEST_MACRO_BITS, min(port_bits, deep_enough))
    beside = -(-port_bits // WIDEST_MACRO_BITS)
    stacked = -(-capacity_bytes // (beside * LARGEST_MACRO_BYTES))
    macro = technology.sram(
        capacity_bytes=-(-capacity_bytes // (beside * stacked)),
        width_bits=max(NARROWEST_MACRO_BITS, -(-port_bits // beside)),
    )
    return SramMacros(
        port_bits=port_bits,
        macros=beside * stacked,
        read_pj=beside * macro.read_pj,
        write_pj=beside * macro.write_pj,
        leakage_uw=beside * stacked * macro.leakage_uw,
        area_um2=beside * stacked * macro.area_um2,
        source=macro.source,
    )
