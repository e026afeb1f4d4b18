"""Blocks in time: decode, multiply, write out, three stages that overlap from block to block.

While the operators work on a block, decoders expand the next block's vectors and the post-processing unit takes the one
before, from second accumulators: within a tile that is filled and drained by itself, cycles = first decode + sum of
max(compute, next decode, output before) + last output. Without second accumulators operators wait for every output. If
tiles follow one another, a tile's last block hides the decoding of a first block, and its first block the output of a
last one; those of its own stand for its neighbours', and the product's first decoding and last output are paid once.
The order of blocks is our choice: columns outside, rows inside, so that weights are decoded for rows that follow one
another. Twin: `bitwright.accelerators.bit_slice.operator_level`.
"""

import dataclasses

import numpy as np

from bitwright.accelerators.systolic.dataflow import Timing
from bitwright.memory import IntArray

ALONE = Timing(pipelined=False)
"""Tiles that are filled and drained by themselves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
    """Cycles of each stage of each block [groups, k tiles, row blocks, column blocks]."""

    decode: IntArray
    compute: IntArray
    output: IntArray


def tile_cycles(stages: Stages, *, row_blocks: int, column_blocks: int, timing: Timing = ALONE) -> tuple[IntArray, int]:
    """Cycles of each tile [groups, row tiles, k tiles, column tiles], and of filling and draining once.

    Tiles are so many blocks, fewer at the end.
    """
    groups, k_tiles, rows, columns = stages.compute.shape
    row_tiles, column_tiles = -(-rows // row_blocks), -(-columns // column_blocks)
    order, starts = _order(rows, columns, row_blocks, column_blocks)
    ends = np.append(starts[1:], len(order)) - 1
    decode, compute, output = (
        stage.reshape(groups, k_tiles, -1)[..., order] for stage in (stages.decode, stages.compute, stages.output)
    )
    following, before = np.empty_like(decode), np.empty_like(output)
    following[..., :-1], before[..., 1:] = decode[..., 1:], output[..., :-1]
    following[..., ends] = decode[..., starts] if timing.pipelined else 0
    before[..., starts] = output[..., ends] if timing.pipelined else 0
    slots = _slots(compute, following, before, output, timing)
    cycles = np.add.reduceat(slots, starts, axis=-1)
    fill = 0
    if timing.pipelined:  # nothing follows the last block or goes before the first
        following[-1, -1, -1], before[0, 0, 0] = 0, 0
        hidden = int((slots - _slots(compute, following, before, output, timing)).sum())
        fill = int(decode[0, 0, 0]) + int(output[-1, -1, -1]) * timing.hidden - hidden
    else:
        cycles += decode[..., starts] + output[..., ends] * timing.hidden
    return cycles.reshape(groups, k_tiles, row_tiles, column_tiles).transpose(0, 2, 1, 3), fill


def _slots(compute: IntArray, following: IntArray, before: IntArray, output: IntArray, timing: Timing) -> IntArray:
    """Cycles of blocks that hide the decoding that follows, and the output before if accumulators are double."""
    slots = np.maximum(compute, following)
    return np.maximum(slots, before) if timing.hidden else slots + output


def _order(rows: int, columns: int, row_blocks: int, column_blocks: int) -> tuple[IntArray, IntArray]:
    """Blocks (row * columns + column) as they run, tile by tile, and where each tile starts."""
    row, column = (axis.ravel() for axis in np.indices((rows, columns)))
    tile = row // row_blocks * -(-columns // column_blocks) + column // column_blocks
    order = np.lexsort((row, column, tile))
    starts = np.flatnonzero(np.diff(tile[order], prepend=-1))
    return order, starts
