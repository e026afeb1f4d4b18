"""Tiles of a product whose rows and columns are of two widths.

Ours: rows and columns are permuted so that every tile holds each class in proportion, and folds run over the borders of
tiles, so that a tile takes its share of the cycles of its blocks, rounded such that tiles add up to the schedule's
cycles exactly. What tiles do cost: they cut streams into runs (`bitwright.accelerators.dynamic_precision.latency`). Tiles are
chosen for operands as wide as the plan's, which they must fit if nothing is narrow; then DRAM and SRAMs move them as
they are stored: narrow elements take 4 bits, others 8. Where precision goes by rows, each class needs rows enough in a
tile to hide weights that come in meanwhile: tiles are chosen with at least 2, 4 and 8 times the array's rows, and the
best way is kept, as a compiler would that knows shares from calibration. (Two are enough for parts side by side: the
R m / (m + m' / 2) rows of bit groups for m wide rows are at most m, if m and m' narrow ones are 2 R.)
"""

import contextlib
import dataclasses
import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from bitwright.accelerators.systolic.costs import movement_pj, sram_bytes
from bitwright.accelerators.systolic.dataflow import output_stationary_elements, weight_stationary_elements
from bitwright.accelerators.events import requantize_event
from bitwright.accelerators.dynamic_precision.bit_group import per_port
from bitwright.accelerators.dynamic_precision.latency import part_cycles
from bitwright.errors import InputError
from bitwright.memory import Buffers, FloatArray, Gemm, IntArray, Mapping, Objective, Tilings, best_mapping, traffic
from bitwright.memory.gemm import BITS_PER_BYTE, FINEST_SHARE, packed_bytes
from bitwright.methods.classes import NARROW_BITS

if TYPE_CHECKING:
    from bitwright.accelerators.dynamic_precision.machine import SplitArray


LEAST_ROWS = (2, 4, 8)
"""Rows of the smallest tile by those of the array, where precision goes by rows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WholeArray:
    """A machine as the search for a mapping sees it: all of the array in the mode of one pair of widths.

    Attributes
    ----------
    machine : SplitArray
        Its parameters.
    gemm : Gemm
        The product, all of it as wide as its plan says.
    least_bits : (int, int)
        The narrowest that elements of x and of w may become.
    least_rows : int
        The fewest rows that a tile should have, where sums do not rest.
    """

    machine: "SplitArray"
    gemm: Gemm
    least_bits: tuple[int, int]
    least_rows: int

    @property
    def buffers(self) -> Buffers:
        """SRAM capacities."""
        return self.machine.buffers

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """The smallest worthwhile tile (m, k, n): a fold of narrow weights that streams enough rows, or sums."""
        rows, cols = (side * per_port(bits) for side, bits in zip(self._size, self.least_bits, strict=True))
        return rows if self.machine.dataflow == "os" else max(rows, self.least_rows), rows, cols

    @property
    def dram_bytes_per_cycle(self) -> float:
        """DRAM bandwidth."""
        return self.machine.dram_bytes_per_cycle

    @property
    def objective(self) -> Objective:
        """As the machine's."""
        return self.machine.objective

    @property
    def leakage_pj_per_cycle(self) -> float:
        """Energy that is spent in every cycle."""
        return self.machine.leakage_pj_per_cycle

    def compute_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of tiles of one class, element-wise; `ws-double` is filled and drained once, which no tile is told."""
        (rows, cols), fx, fw = self._size, per_port(self.gemm.x_bits), per_port(self.gemm.w_bits)
        whole = {"rows": np.array(rows), "cols": np.array(cols)}
        cycles = part_cycles(self.machine.dataflow, m=m, k=k, n=n, **whole, fx=fx, fw=fw)
        return cycles - (2 * rows + cols - 2) if self.machine.dataflow == "ws-double" else cycles

    def energy_pj(self, *, gemm: Gemm, tilings: Tilings) -> FloatArray:
        """Energy but for leakage of operands of one width each, in pJ [candidates]."""
        bits = (gemm.x_bits, gemm.w_bits)
        rows, cols = (side * per_port(each) for side, each in zip(self._size, bits, strict=True))
        stationary = output_stationary_elements if self.machine.dataflow == "os" else weight_stationary_elements
        moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=self.dram_bytes_per_cycle)
        elements = stationary(gemm=gemm, tilings=tilings, rows=rows, cols=cols)
        sram = sram_bytes(gemm=gemm, elements=elements, moved=moved)
        prices = self.machine.prices
        worked = gemm.macs / (per_port(bits[0]) * per_port(bits[1])) * prices.bit_group.energy_pj
        requantized = requantize_event(gemm.groups * gemm.m * gemm.n, prices.technology).energy_pj
        return worked + requantized + movement_pj(sram=sram, moved=moved, prices=prices.memory)

    @property
    def _size(self) -> tuple[int, int]:
        return self.machine.rows, self.machine.cols


def mappings(whole: WholeArray, times: Sequence[int]) -> list[Mapping]:
    """The distinct best mappings with tiles of at least so many `times` the rows of `whole`, as far as SRAMs hold them.

    Raises
    ------
    InputError
        If not even the smallest fits.
    """
    found = [best_mapping(gemm=whole.gemm, machine=_with_rows(whole, times[0]))]
    for each in times[1:]:
        with contextlib.suppress(InputError):
            found.append(best_mapping(gemm=whole.gemm, machine=_with_rows(whole, each)))
    return list(dict.fromkeys(found))


def _with_rows(whole: WholeArray, times: int) -> WholeArray:
    return dataclasses.replace(whole, least_rows=times * whole.least_rows)


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
    tiles = np.diff(by_k[:, :, None] * areas // areas[-1], axis=2, prepend=0)
    return tiles.reshape(*by_k.shape, len(m), len(n)).transpose(0, 2, 1, 3)


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
