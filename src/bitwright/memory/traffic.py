"""Bytes between DRAM and SRAM under a mapping, in closed form; edge tiles count with their own sizes.

An operand's tile is read when it differs from the one before. A loop over an axis that the operand does not have
repeats its reads unless nothing inside that loop changes the operand. Partial sums that leave before their reduction is
finished are written to DRAM at their own width and read back. Twin: `bitwright.memory.reference`.
"""

import dataclasses
from collections.abc import Callable
from fractions import Fraction

import numpy as np

from bitwright.memory.gemm import FloatArray, Gemm, IntArray, packed_bytes
from bitwright.memory.tiling import ORDER_POSITIONS, Tilings


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
    dram_cycles : IntArray
        Cycles in which DRAM is busy, each tile's transfer in whole cycles.
    output_cycles : IntArray
        The part of `dram_cycles` that moves partial sums and outputs.
    """

    x_read: IntArray
    w_read: IntArray
    psum_read: IntArray
    psum_write: IntArray
    y_write: IntArray
    x_fill: IntArray
    w_fill: IntArray
    dram_cycles: IntArray
    output_cycles: IntArray

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


def traffic(*, gemm: Gemm, tilings: Tilings, dram_bytes_per_cycle: float) -> Traffic:
    """DRAM traffic of every candidate, over all groups."""
    m, k, n = (gemm.m, tilings.m), (gemm.k, tilings.k), (gemm.n, tilings.n)
    x_visits, w_visits, y_visits = (gemm.groups * visits for visits in _visits(gemm, tilings))

    def transfers(bits: int, share: Fraction = Fraction(1)) -> Callable[[IntArray], tuple[IntArray, IntArray]]:
        def of_tile(elements: IntArray) -> tuple[IntArray, IntArray]:
            size = packed_bytes(elements, bits, share)
            return size, transfer_cycles(size, dram_bytes_per_cycle)

        return of_tile

    x, x_cycles = _over_tiles(m, k, transfers(gemm.x_bits, gemm.x_share))
    w, w_cycles = _over_tiles(k, n, transfers(gemm.w_bits, gemm.w_share))
    psum, psum_cycles = _over_tiles(m, n, transfers(gemm.psum_bits))
    y, y_cycles = _over_tiles(m, n, transfers(gemm.y_bits))
    x_full, w_full = _over_tiles(m, k, transfers(gemm.x_bits))[0], _over_tiles(k, n, transfers(gemm.w_bits))[0]
    spills = y_visits - gemm.groups
    output_cycles = 2 * spills * psum_cycles + gemm.groups * y_cycles
    return Traffic(
        x_read=x_visits * x,
        w_read=w_visits * w,
        psum_read=spills * psum,
        psum_write=spills * psum,
        y_write=gemm.groups * y,
        x_fill=x_visits * x_full,
        w_fill=w_visits * w_full,
        dram_cycles=x_visits * x_cycles + w_visits * w_cycles + output_cycles,
        output_cycles=output_cycles,
    )


def _visits(gemm: Gemm, tilings: Tilings) -> tuple[IntArray, IntArray, IntArray]:
    """How often each tile of x, w and y is visited within a group: x lacks axis n, w lacks m, y lacks k."""
    counts = tilings.counts(gemm)
    positions = ORDER_POSITIONS[tilings.order]

    def repeats(absent: int) -> IntArray:
        changed_inside = np.zeros(len(tilings), dtype=np.bool_)
        for axis in {0, 1, 2} - {absent}:
            changed_inside |= (positions[:, axis] > positions[:, absent]) & (counts[axis] > 1)
        return np.where(changed_inside, counts[absent], 1)

    return repeats(2), repeats(0), repeats(1)


def _over_tiles(
    first: tuple[int, IntArray],
    second: tuple[int, IntArray],
    of_tile: Callable[[IntArray], tuple[IntArray, IntArray]],
) -> tuple[IntArray, IntArray]:
    """Sums of two quantities over the tiles of two axes, each given as (extent, tile)."""
    total = np.zeros_like(first[1]), np.zeros_like(first[1])
    for first_count, first_size in edges(*first):
        for second_count, second_size in edges(*second):
            count = first_count * second_count
            for index, quantity in enumerate(of_tile(first_size * second_size)):
                total[index][:] += count * quantity
    return total


def edges(extent: int, tile: IntArray) -> tuple[tuple[IntArray, IntArray], tuple[IntArray, IntArray]]:
    """Number and size of the full tiles before the last one of an axis, then of the last one, which may be smaller."""
    count = -(-extent // tile)
    last = extent - (count - 1) * tile
    return (count - 1, tile), (np.ones_like(count), last)
