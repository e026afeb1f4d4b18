"""Energy, area, leakage and speed of SRAM macros by capacity and port width.

data/sram.csv comes from CACTI 7 (Balasubramonian et al., ACM TACO 14(2), 2017) by tools/make_sram_table.py: RAM, one
bank, one read/write port, no ECC, 360 K (CACTI's default), least energy x delay^2; 28 nm is CACTI's interpolation of
its 32 and 22 nm devices. Cells and periphery are itrs-lstp (our choice): its supply (1.1 V at 45 nm, about 0.92 V at 28
nm) is near that of logic there, and accelerators' macros use low-leakage cells; itrs-hp leaks a thousand times more
(4.2 mW for 8 KiB of 512 bits at 28 nm), itrs-lop assumes 0.6 to 0.7 V. Between table points: straight lines in the
logarithms.
"""

import csv
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from bitwright.errors import InputError

TABLE = Path(__file__).with_name("data") / "sram.csv"
SOURCE = (
    "CACTI 7 (Balasubramonian et al., ACM TACO 14(2), 2017): RAM, one bank, one read/write port, no ECC, 360 K, "
    "itrs-lstp, least energy x delay^2; interpolated between powers of two"
)

Values = tuple[float, ...]  # read_pj, write_pj, leakage_uw, area_um2, access_ns, cycle_ns
COLUMNS = (
    "capacity_bytes",
    "width_bits",
    "read_pj",
    "write_pj",
    "leakage_uw",
    "area_um2",
    "access_ns",
    "cycle_ns",
)
CACHED_MACROS = 1024


@dataclass(frozen=True, kw_only=True, eq=False)
class SramTable:
    """Macros of one node, by (capacity_bytes, width_bits), and how the numbers came about."""

    node_nm: float
    points: Mapping[tuple[int, int], Values]
    source: str


@dataclass(frozen=True, kw_only=True)
class Sram:
    """One SRAM macro: a bank with one port of `width_bits` that reads or writes.

    Attributes
    ----------
    node_nm, capacity_bytes, width_bits
        Node, capacity, and bits per access.
    read_pj, write_pj
        Energy of one access of `width_bits`, in picojoules.
    leakage_uw, area_um2
        Of the whole macro, in microwatts and square micrometres.
    access_ns, cycle_ns
        From address to data, and between two accesses, in nanoseconds.
    source
        How the numbers came about.
    """

    node_nm: float
    capacity_bytes: int
    width_bits: int
    read_pj: float
    write_pj: float
    leakage_uw: float
    area_um2: float
    access_ns: float
    cycle_ns: float
    source: str


@cache
def built_in(node_nm: float) -> SramTable:
    """The table of a node, 28 or 45. Raises `InputError` for any other."""
    points = _table().get(node_nm)
    if points is None:
        nodes = ", ".join(f"{node:g}" for node in sorted(_table()))
        raise InputError(
            f"there are no SRAM macros for {node_nm:g} nm; the table has {nodes} nm. Give those of the node under "
            "'sram:' in the price list."
        )
    return SramTable(node_nm=node_nm, points=points, source=SOURCE)


@lru_cache(maxsize=CACHED_MACROS)
def sram(table: SramTable, capacity_bytes: int, width_bits: int) -> Sram:
    """The macro of a capacity and a port width.

    Parameters
    ----------
    table
        The macros of a node.
    capacity_bytes
        Of the built-in tables 512 bytes to 16 MiB; wide ports need a few rows, so they start higher (2 KiB for 512
        bits).
    width_bits
        Of the built-in tables 8 to 1024 bits.

    Raises
    ------
    InputError
        The capacity or the width lies outside the table; the message names the range and a way out.

    Notes
    -----
    CACTI picks another organization from point to point. Writes, leakage, area and access time grow with capacity
    throughout; reads fall by up to 9 % at two points of 45 nm, cycle time is uneven, and from 4 MiB on a port of 8 bits
    is dearer than one of 16.

    Examples
    --------
    >>> macro = sram(built_in(28), 32 * 1024, 128)
    >>> macro.read_pj / 128 < 0.1  # picojoules per bit
    True
    """
    points = table.points
    low_width, high_width, across = _neighbouring_widths(table, width_bits)
    capacities = _capacities(table, low_width, high_width)
    if not capacities[0] <= capacity_bytes <= capacities[-1]:
        raise InputError(
            f"no SRAM macro of {capacity_bytes} bytes with a port of {width_bits} bits: at this width the table has "
            f"{capacities[0]} to {capacities[-1]} bytes; use several banks for more, "
            "and registers (event 'register_bit') for less."
        )
    low, high, up = _neighbours(capacities, capacity_bytes)
    narrow = _between(points[low, low_width], points[high, low_width], up)
    wide = _between(points[low, high_width], points[high, high_width], up)
    read_pj, write_pj, leakage_uw, area_um2, access_ns, cycle_ns = _between(narrow, wide, across)
    return Sram(
        node_nm=table.node_nm,
        capacity_bytes=capacity_bytes,
        width_bits=width_bits,
        read_pj=read_pj,
        write_pj=write_pj,
        leakage_uw=leakage_uw,
        area_um2=area_um2,
        access_ns=access_ns,
        cycle_ns=cycle_ns,
        source=table.source,
    )


def least_bytes(table: SramTable, width_bits: int) -> int:
    """Capacity of the smallest macro with a port of that width, in bytes. Raises as `sram` does for the width.

    Examples
    --------
    >>> least_bytes(built_in(28), 16)
    512
    """
    low_width, high_width, _ = _neighbouring_widths(table, width_bits)
    return _capacities(table, low_width, high_width)[0]


def _neighbouring_widths(table: SramTable, width_bits: int) -> tuple[int, int, float]:
    widths = sorted({width for _, width in table.points})
    if not widths[0] <= width_bits <= widths[-1]:
        raise InputError(
            f"no SRAM macro has a port of {width_bits} bits: the table has {widths[0]} to {widths[-1]} bits; "
            "put macros side by side for more."
        )
    return _neighbours(widths, width_bits)


def _capacities(table: SramTable, low_width: int, high_width: int) -> list[int]:
    """Those that both neighbouring widths have: wide ports have no small macros."""
    return sorted(c for c, w in table.points if w == low_width and (c, high_width) in table.points)


@cache
def _table() -> dict[float, dict[tuple[int, int], Values]]:
    """The table's values by node, then by (capacity_bytes, width_bits)."""
    table: dict[float, dict[tuple[int, int], Values]] = {}
    with TABLE.open(newline="") as stream:
        rows = csv.reader(stream)
        next(rows)
        for node, capacity, width, *values in rows:
            table.setdefault(float(node), {})[int(capacity), int(width)] = tuple(map(float, values))
    return table


def _neighbours(grid: list[int], at: float) -> tuple[int, int, float]:
    """The grid points around `at`, and its place between them in the logarithm (0 at a grid point)."""
    low = max(point for point in grid if point <= at)
    high = min(point for point in grid if point >= at)
    return low, high, 0.0 if low == high else math.log2(at / low) / math.log2(high / low)


def _between(first: Values, second: Values, part: float) -> Values:
    """The geometric interpolation of two rows; `first` itself at 0."""
    if part == 0:
        return first
    return tuple(a ** (1 - part) * b**part for a, b in zip(first, second, strict=True))
