"""Bytes between DRAM and SRAM under a mapping, in closed form; edge tiles count with their own sizes.

An operand's tile is read when it differs from the one before. A loop over an axis that the operand does not have
repeats its reads unless nothing inside that loop changes the operand. Partial sums that leave before their reduction is
finished are written to DRAM at their own width and read back. Twin: `bitwright.memory.reference`.
"""

import dataclasses
from fractions import Fraction

import numpy as np

from bitwright.memory.gemm import Bits, FloatArray, Gemm, IntArray, packed_bytes
from bitwright.memory.tiling import ORDER_POSITIONS, Kinds, Tilings


@dataclasses.dataclass(frozen=True, kw_only=True)
class Traffic:
    """Bytes moved for all groups, one entry per candidate.

    Attributes
    ----------
    x_read, w_read, psum_read, psum_write, y_write : IntArray
        DRAM bytes: operands, partial sums spilled and read back, finished outputs.
    x_fill, w_fill : IntArray
        Bytes written into the input and weight SRAMs: like x_read and w_read, but every element of the product's
        operands, not only distinct ones.
    x_cycles, w_cycles, output_cycles : IntArray
        Cycles in which DRAM moves x, w, and partial sums and outputs, each tile's transfer in whole cycles.
    """

    x_read: IntArray
    w_read: IntArray
    psum_read: IntArray
    psum_write: IntArray
    y_write: IntArray
    x_fill: IntArray
    w_fill: IntArray
    x_cycles: IntArray
    w_cycles: IntArray
    output_cycles: IntArray

    @property
    def dram_cycles(self) -> IntArray:
        """Cycles in which DRAM is busy."""
        return self.x_cycles + self.w_cycles + self.output_cycles

    @property
    def dram_read(self) -> IntArray:
        """All bytes read from DRAM."""
        return self.x_read + self.w_read + self.psum_read

    @property
    def dram_write(self) -> IntArray:
        """All bytes written to DRAM."""
        return self.psum_write + self.y_write


def transfer_cycles(transferred_bytes: IntArray, dram_bytes_per_cycle: float) -> IntArray:
    """Whole cycles that transfers of so many bytes occupy DRAM, element-wise."""
    cycles: FloatArray = np.ceil(transferred_bytes / dram_bytes_per_cycle)
    return cycles.astype(np.int64)


def traffic(*, gemm: Gemm, tilings: Tilings, dram_bytes_per_cycle: float, kinds: Kinds | None = None) -> Traffic:
    """DRAM traffic of every candidate, over all groups; `kinds` are those of its tiles, where they are known."""
    kinds = kinds or tilings.kinds(gemm)
    counts = m_count, k_count, n_count = tilings.counts(gemm)
    x_visits, w_visits, y_visits = (gemm.groups * visits for visits in _visits(tilings, counts))

    def totals(elements: IntArray, bits: Bits, share: Fraction = Fraction(1)) -> tuple[IntArray, IntArray]:
        """Bytes, and cycles of their transfers."""
        size = packed_bytes(elements, bits, share)
        return kinds.total(size), kinds.total(transfer_cycles(size, dram_bytes_per_cycle))

    m_k, k_n, m_n = kinds.m * kinds.k, kinds.k * kinds.n, kinds.m * kinds.n
    (x, x_cycles), (w, w_cycles) = totals(m_k, gemm.x_bits, gemm.x_share), totals(k_n, gemm.w_bits, gemm.w_share)
    (psum, psum_cycles), (y, y_cycles) = totals(m_n, gemm.psum_bits), totals(m_n, gemm.y_dram_bits)
    x, x_cycles, w, w_cycles = x // n_count, x_cycles // n_count, w // m_count, w_cycles // m_count
    psum, psum_cycles, y, y_cycles = (each // k_count for each in (psum, psum_cycles, y, y_cycles))
    spills = y_visits - gemm.groups
    return Traffic(
        x_read=x_visits * x,
        w_read=w_visits * w,
        psum_read=spills * psum,
        psum_write=spills * psum,
        y_write=gemm.groups * y,
        x_fill=x_visits * (not gemm.x_on_chip) * (kinds.total(packed_bytes(m_k, gemm.x_bits)) // n_count),
        w_fill=w_visits * (kinds.total(packed_bytes(k_n, gemm.w_bits)) // m_count),
        x_cycles=x_visits * x_cycles,
        w_cycles=w_visits * w_cycles,
        output_cycles=2 * spills * psum_cycles + gemm.groups * y_cycles,
    )


def _visits(tilings: Tilings, counts: tuple[IntArray, IntArray, IntArray]) -> tuple[IntArray, IntArray, IntArray]:
    """How often each tile of x, w and y is visited within a group: x lacks axis n, w lacks m, y lacks k."""
    several = [count > 1 for count in counts]

    def repeats(absent: int) -> IntArray:
        one, other = (several[axis] & _INSIDE[axis, absent][tilings.order] for axis in (0, 1, 2) if axis != absent)
        return np.where(one | other, counts[absent], 1)

    return repeats(2), repeats(0), repeats(1)


_INSIDE = ORDER_POSITIONS.T[:, None] > ORDER_POSITIONS.T[None, :]
"""[axis, other axis, order]: whether the loop over the one is inside the loop over the other."""
