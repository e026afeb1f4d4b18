"""Modes of a weight-stationary array whose processing elements (PEs) pack narrow products or fuse to wide ones.

A mode turns the PEs into units: one PE, or a rectangle of PEs that work as one. k lies on the rows and n on the columns
of units. Each cycle a unit multiplies `deep` elements of x, neighbours along k, by `wide` columns of w, neighbours
along n, and hands on `wide` partial sums. Elements move from unit to unit once per cycle, so a fold takes as long as on
a plain array of as many units; a unit at the edge works for what it has and takes a cycle all the same. Twin:
`bitwright.accelerators.precision_scalable.reference`.

Our choice, the same for all machines: an element takes the next of the machine's packed widths, in DRAM, in SRAMs and
at the ports alike (3 bits take 4), because nothing between memory and array repacks it.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction

from bitwright.accelerators.systolic.dataflow import SramElements, fold_cycles, weight_stationary_elements
from bitwright.memory import Gemm, IntArray, Tilings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mode:
    """How an array works at one pair of widths.

    Attributes
    ----------
    x_bits, w_bits : int
        Packed widths of the operands.
    rows, cols : int
        The array in units.
    deep : int
        Elements of x that a unit multiplies by each of its columns of w and adds up, per cycle.
    wide : int
        Columns of w in a unit, hence sums per cycle.
    fused : int
        PEs that make a unit.
    """

    x_bits: int
    w_bits: int
    rows: int
    cols: int
    deep: int = 1
    wide: int = 1
    fused: int = 1

    @property
    def products_per_pe_cycle(self) -> Fraction:
        """Products of a PE per cycle.

        Examples
        --------
        >>> Mode(x_bits=8, w_bits=4, rows=4, cols=2, fused=2).products_per_pe_cycle
        Fraction(1, 2)
        """
        return Fraction(self.deep * self.wide, self.fused)

    @property
    def macs_per_cycle(self) -> int:
        """Products of the array per cycle."""
        return self.rows * self.cols * self.deep * self.wide

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """The smallest worthwhile tile (m, k, n): one fold, streaming as many rows as it holds of k (our choice)."""
        return self.rows * self.deep, self.rows * self.deep, self.cols * self.wide

    def compute_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of the array for one tile of m x k x n, element-wise: folds of a plain array of units."""
        return fold_cycles(
            on_rows=-(-k // self.deep), on_cols=-(-n // self.wide), stream=m, rows=self.rows, cols=self.cols
        )

    def sram_elements(self, *, gemm: Gemm, tilings: Tilings) -> SramElements:
        """Elements that move between array and SRAMs, over all groups [candidates]."""
        rows, cols = self.rows * self.deep, self.cols * self.wide
        return weight_stationary_elements(gemm=gemm, tilings=tilings, rows=rows, cols=cols)

    def pe_cycles(self, gemm: Gemm) -> int:
        """Cycles of all PEs that have anything to multiply, over all groups, under any mapping.

        Tiles are cut between units, so each row of x meets every unit's worth of w once.
        """
        return gemm.groups * gemm.m * -(-gemm.k // self.deep) * -(-gemm.n // self.wide) * self.fused

    def words(self, *, gemm: Gemm, tilings: Tilings, word_bits: int) -> tuple[IntArray, IntArray]:
        """Words of x and of w that enter at the edges, over all groups [candidates], `word_bits` or less each.

        An element is at least a word, unless a unit takes several at once: those are one.
        """
        moved = self.sram_elements(gemm=gemm, tilings=tilings)
        x = moved.x_read // gemm.k * -(-gemm.k // self.deep) * max(1, self.x_bits // word_bits)
        w = moved.w_read // gemm.n * -(-gemm.n // self.wide) * max(1, self.w_bits // word_bits)
        return x, w


def packed_width(bits: int, widths: Sequence[int]) -> int:
    """The least of the ascending `widths` that holds so many bits.

    Raises
    ------
    ValueError
        If none does.

    Examples
    --------
    >>> packed_width(3, (2, 4, 8))
    4
    """
    for width in widths:
        if bits <= width:
            return width
    raise ValueError(f"{bits} bits do not fit {widths[-1]}, the widest packed width")


def fusing_mode(*, rows: int, cols: int, x_bits: int, w_bits: int, pe_bits: int) -> Mode:
    """The mode of `rows` x `cols` PEs that multiply `pe_bits` by `pe_bits` and have as wide a port for x and for w.

    A wide x takes neighbouring rows of PEs, a wide w neighbouring columns; several narrow x or w share a port and the
    PE multiplies each x by each w. So each side of the array goes with its own operand's width, as in the ANT artifact
    (Guo et al., MICRO 2022, ant_simulator) for ANT and BitFusion.

    Examples
    --------
    >>> fusing_mode(rows=8, cols=8, x_bits=8, w_bits=4, pe_bits=4).products_per_pe_cycle
    Fraction(1, 2)
    >>> fusing_mode(rows=8, cols=8, x_bits=2, w_bits=4, pe_bits=4).products_per_pe_cycle
    Fraction(2, 1)
    """
    x_pes, w_pes = max(1, x_bits // pe_bits), max(1, w_bits // pe_bits)
    return Mode(
        x_bits=x_bits,
        w_bits=w_bits,
        rows=rows // x_pes,
        cols=cols // w_pes,
        deep=max(1, pe_bits // x_bits),
        wide=max(1, pe_bits // w_bits),
        fused=x_pes * w_pes,
    )
