"""Modes of a weight-stationary array whose processing elements (PEs) pack narrow products or fuse to wide ones.

A mode turns the PEs into units: one PE, or a rectangle of PEs that work as one. k lies on the rows and n on the columns
of units. Each cycle a unit multiplies `deep` elements of x, neighbours along k, by `wide` columns of w, neighbours
along n, and hands on `wide` partial sums. Elements move from unit to unit once per cycle, so folds are those of a plain
array of as many units (`bitwright.accelerators.systolic.dataflow`); a unit at the edge works for what it has and takes
a cycle all the same. Twin: `bitwright.accelerators.precision_scalable.reference`.

Our choice, the same for all machines: an element takes the next of the machine's packed widths, in DRAM, in SRAMs and
at the ports alike (3 bits take 4), because nothing between memory and array repacks it.
"""

import dataclasses
from collections.abc import Sequence
from fractions import Fraction


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
