"""Tiles of a product whose rows and columns are of two widths.

Ours: rows and columns are permuted so that every tile holds each class in proportion, and folds run over the borders of
tiles, so that a tile takes its share of the cycles of its blocks, rounded such that tiles add up to the schedule's
cycles exactly. What tiles do cost: they cut streams into runs (`bitwright.accelerators.dynamic_precision.latency`).
Tiles are chosen for operands as wide as the plan's, which they must fit if nothing is narrow; then DRAM and SRAMs move
them as they are stored: narrow elements take 4 bits, others 8. Where precision goes by rows, each class needs rows
enough in a tile to hide weights that come in meanwhile: tiles are chosen with at least 2, 4 and 8 times the array's
rows, and the best way is kept, as a compiler would that knows shares from calibration. (Two are enough for parts side
by side: the R m / (m + m' / 2) rows of bit groups for m wide rows are at most m, if m and m' narrow ones are 2 R.)
"""

import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from bitwright.accelerators.bill import Use
from bitwright.accelerators.dataflow import Accesses
from bitwright.accelerators.dynamic_precision.latency import Form, fill_cycles, part_cycles
from bitwright.memory import Gemm, IntArray, Mapping, packed_bytes
from bitwright.memory.gemm import BITS_PER_BYTE, FINEST_SHARE
from bitwright.methods.classes import NARROW_BITS

LARGEST_PRODUCT = 2**62
LEAST_ROWS = (2, 4, 8)
"""Rows of the smallest tile by those of the array, where precision goes by rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WholeArray:
    """All of an array in the mode of one pair of widths: what tiles are chosen for.

    Attributes
    ----------
    form : str
        How folds take time.
    rows, cols : int
        Ports: of bit groups, or of multipliers.
    fx, fw : int
        Elements of x and of w at a port.
    macs : (int, int)
        Elements of x by elements of w that a bit group multiplies in a cycle of its own.
    wave_cycles : int
        Cycles of a row of x; where sums rest, of a step of the reduction.
    least : (int, int)
        Elements at a port of the narrowest that x and w may become.
    least_rows : int
        The fewest rows that a tile should have, where sums do not rest.
    sum_bits : int
        Of a partial sum.
    product, exchange : Use
        A bit group at work; what rests exchanged once.
    """

    form: Form
    rows: int
    cols: int
    fx: int
    fw: int
    macs: tuple[int, int]
    wave_cycles: int
    least: tuple[int, int]
    least_rows: int
    sum_bits: int
    product: Use
    exchange: Use

    @property
    def sums_rest(self) -> bool:
        """Whether the array is output-stationary."""
        return self.form in ("os", "os-double")

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """A fold of narrow weights that streams enough rows, or of narrow outputs."""
        rows, cols = self.rows * self.least[0], self.cols * self.least[1]
        return rows if self.sums_rest else max(rows, self.least_rows), rows, cols

    @property
    def unit_divides(self) -> bool:
        """An array that no tile fills is better than none."""
        return True

    @property
    def rescales(self) -> int:
        """Never."""
        return 0

    @property
    def read_back(self) -> tuple[Use, ...]:
        """Nothing more."""
        return ()

    @property
    def fill_cycles(self) -> int:
        """Of the form."""
        return fill_cycles(self.form, self.rows, self.cols)

    def cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of tiles of one class, element-wise."""
        whole = {"rows": np.array(self.rows), "cols": np.array(self.cols)}
        stream = {"m": m, "k": k * self.wave_cycles} if self.sums_rest else {"m": m * self.wave_cycles, "k": k}
        return part_cycles(self.form, **stream, n=n, **whole, fx=self.fx, fw=self.fw)

    def accesses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Accesses:
        """As of a plain array of as many rows and columns as ports take elements."""
        rows, cols = self.rows * self.fx, self.cols * self.fw
        x = m * k * -(-n // cols)
        if self.sums_rest:
            return Accesses(x=x, w=k * n * -(-m // rows), sums=m * n)
        return Accesses(x=x, w=k * n, sums=m * n * -(-k // rows))

    def uses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Sequence[tuple[Use, IntArray]]:
        """Bit groups at work, and what rests exchanged."""
        inner, outer = (m, k) if self.sums_rest else (k, m)
        busy = outer * -(-inner // self.macs[0]) * -(-n // self.macs[1])
        folds = -(-inner // (self.rows * self.fx)) * -(-n // (self.cols * self.fw))
        return [(self.product, busy), (self.exchange, folds)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """An operand in memory.

    Attributes
    ----------
    bits : Fraction
        Of an element on average.
    list_bits : Fraction
        Of the entries of its lists of rows (or columns), by element; in DRAM beside the elements.
    share : Fraction
        Distinct elements by elements.

    Examples
    --------
    >>> stored = Stored(bits=Fraction(5), list_bits=Fraction(1, 5), share=Fraction(1, 9))
    >>> stored.distinct_bytes(1000), int(stored.sram_bytes(np.array(9000))), int(stored.dram_bytes(np.array(9000)))
    (650, 5625, 650)
    """

    bits: Fraction
    list_bits: Fraction
    share: Fraction

    def distinct_bytes(self, elements: int) -> int:
        """Whole bytes of so many distinct elements with their lists."""
        return math.ceil(elements * (self.bits + self.list_bits) / BITS_PER_BYTE)

    def sram_bytes(self, elements: IntArray) -> IntArray:
        """Whole bytes of tiles of so many elements in SRAM."""
        return packed_bytes(elements, 1, _finest(self.bits))

    def dram_bytes(self, elements: IntArray) -> IntArray:
        """Whole bytes of what is distinct of them in DRAM, with their lists."""
        return packed_bytes(elements, 1, _finest((self.bits + self.list_bits) * self.share))


def average_bits(bits: int, narrow: float) -> Fraction:
    """Bits of an element if a share of them is narrow, rounded up.

    Examples
    --------
    >>> average_bits(8, 0.75), average_bits(4, 1)
    (Fraction(5, 1), Fraction(4, 1))
    """
    return bits - Fraction(int(narrow * FINEST_SHARE), FINEST_SHARE) * (bits - NARROW_BITS)


def spread(spent: IntArray, lengths: IntArray, gemm: Gemm, mapping: Mapping) -> IntArray:
    """Cycles of each tile [groups, m tiles, k tiles, n tiles]; their sum is that of `spent`.

    Parameters
    ----------
    spent : IntArray
        Cycles of each block [groups, blocks].
    lengths : IntArray
        Of the blocks along k [blocks].
    """
    assert lengths.sum() == gemm.k, f"blocks of {lengths.sum()} in all, and the reduction is {gemm.k}"
    ends = np.minimum(gemm.k, mapping.tile_k * np.arange(1, -(-gemm.k // mapping.tile_k) + 1))
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    block = np.searchsorted(starts, ends, side="left") - 1
    before = np.concatenate([np.zeros((len(spent), 1), dtype=np.int64), np.cumsum(spent, axis=1)], axis=1)
    done = before[:, block] + spent[:, block] * (ends - starts[block]) // lengths[block]
    by_k = np.diff(done, axis=1, prepend=0)
    m, n = _sizes(gemm.m, mapping.tile_m), _sizes(gemm.n, mapping.tile_n)
    areas = np.cumsum(m[:, None] * n)
    tiles = np.diff(shared(by_k, areas), axis=2, prepend=0)
    return tiles.reshape(*by_k.shape, len(m), len(n)).transpose(0, 2, 1, 3)


def shared(whole: IntArray, areas: IntArray) -> IntArray:
    """`whole` by cumulative areas [..., areas], rounded down; through float64 where products exceed 64 bits."""
    if int(whole.max(initial=0)) * int(areas[-1]) < LARGEST_PRODUCT:
        return whole[..., None] * areas // areas[-1]
    return np.floor(whole[..., None] * (areas / areas[-1])).astype(np.int64)


def _sizes(extent: int, tile: int) -> IntArray:
    """Sizes of the tiles of an axis; the last one may be smaller."""
    return np.minimum(tile, extent - np.arange(0, extent, tile, dtype=np.int64))


def tile_elements(gemm: Gemm, mapping: Mapping) -> tuple[IntArray, IntArray]:
    """Elements of x's and of w's tiles [groups, m tiles, k tiles], [groups, k tiles, n tiles]."""
    m, k, n = (
        _sizes(extent, tile)
        for extent, tile in ((gemm.m, mapping.tile_m), (gemm.k, mapping.tile_k), (gemm.n, mapping.tile_n))
    )
    x, w = m[:, None] * k, k[:, None] * n
    return np.broadcast_to(x, (gemm.groups, *x.shape)), np.broadcast_to(w, (gemm.groups, *w.shape))


def _finest(share: Fraction) -> Fraction:
    """Rounded up where the denominator is large, so that byte counts stay within 64 bits."""
    if share.denominator <= FINEST_SHARE:
        return share
    return Fraction(-(-share.numerator * FINEST_SHARE // share.denominator), FINEST_SHARE)
