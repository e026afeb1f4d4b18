"""Blocks in time: decode, multiply, write out, three stages that overlap from block to block.

A block is worked on piece by piece of its tile of k. While the operators work on a piece, decoders expand the next one
into the other half of the buffers, which are exchanged when both are done, after a clock at least: the control needs
one however little there is to do. Meanwhile the post-processing unit takes the block before, from second accumulators,
which are exchanged with the block's last piece. Within a tile that is filled and drained by itself, cycles = first
decode + sum over blocks of max(sum over pieces of max(compute, next decode), output before) + last output + 1, since
sums are merged a clock after their last product (found by RTL: `bitwright.circuits.arrays.SliceArray`). Without second
accumulators operators wait for every output. If tiles follow one another, a tile's last block hides the decoding of the
next tile's first block, and its first block the output of the last one of the tile before; the product's first decoding
and last output are paid once. The order of blocks is our choice: columns outside, rows inside, so that weights are
decoded for rows that follow one another. Twin: `bitwright.accelerators.bit_slice.operator_level`.
"""

import dataclasses

import numpy as np

from bitwright.accelerators.bit_slice.pieces import Pieces
from bitwright.accelerators.systolic.dataflow import Timing
from bitwright.memory import IntArray

LATENCY = 1
"""Clocks between a product and the sum that holds it."""
ALONE = Timing(pipelined=False)
"""Tiles that are filled and drained by themselves."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stages:
    """Cycles of each stage of each block.

    Attributes
    ----------
    decode, compute : IntArray
        [groups, pieces, row blocks, column blocks].
    output : IntArray
        [groups, k tiles, row blocks, column blocks].
    """

    decode: IntArray
    compute: IntArray
    output: IntArray


def tile_cycles(
    stages: Stages, pieces: Pieces, *, row_blocks: int, column_blocks: int, timing: Timing = ALONE, loops: str = "mkn"
) -> tuple[IntArray, int]:
    """Cycles of each tile [groups, row tiles, k tiles, column tiles], and of filling and draining once.

    Tiles are so many blocks, fewer at the end, and follow one another in the order of `loops`, outermost first.
    """
    groups, k_tiles, rows, columns = stages.output.shape
    row_tiles, column_tiles = -(-rows // row_blocks), -(-columns // column_blocks)
    order, starts = _order(rows, columns, row_blocks, column_blocks)
    ends = np.append(starts[1:], len(order)) - 1
    decode, compute = np.maximum(stages.decode, 1), np.maximum(stages.compute, 1)
    slots = np.maximum(compute[:, :-1], decode[:, 1:])
    before_last = np.append(slots, np.zeros_like(compute[:, :1]), axis=1)
    before_last[:, pieces.last] = 0
    earlier, decode, compute, output = (
        stage.reshape(groups, k_tiles, -1)[..., order]
        for stage in (pieces.of_tiles(before_last, 1), decode[:, pieces.first], compute[:, pieces.last], stages.output)
    )
    shape = (groups, k_tiles, row_tiles, column_tiles)
    first, last = decode[..., starts], output[..., ends]  # what a tile begins and ends with
    following, before = np.empty_like(decode), np.empty_like(output)
    following[..., :-1], before[..., 1:] = decode[..., 1:], output[..., :-1]
    following[..., ends] = _shifted(first.reshape(shape), loops, -1).reshape(first.shape) * timing.pipelined
    before[..., starts] = _shifted(last.reshape(shape), loops, 1).reshape(last.shape) * timing.pipelined
    slots = earlier + np.maximum(compute, following)  # blocks hide the output before if accumulators are double
    slots = np.maximum(slots, before) if timing.hidden else slots + output
    cycles, fill = np.add.reduceat(slots, starts, axis=-1), 0
    if timing.pipelined:
        fill = int(first[0, 0, 0]) + int(last[-1, -1, -1]) * timing.hidden + LATENCY
    else:
        cycles += first + last * timing.hidden + LATENCY
    return cycles.reshape(shape).transpose(0, 2, 1, 3), fill


def _shifted(of_tiles: IntArray, loops: str, by: int) -> IntArray:
    """What the tile before (1) or after (-1) has [groups, k tiles, row tiles, column tiles]; 0 where there is none.

    Tiles are in the order of `loops`, with groups outside of all.
    """
    axes = (0, *(1 + "kmn".index(axis) for axis in loops))
    in_order = of_tiles.transpose(axes)
    flat = np.roll(in_order.reshape(-1), by)
    flat[0 if by > 0 else -1] = 0
    return flat.reshape(in_order.shape).transpose(np.argsort(axes))


def _order(rows: int, columns: int, row_blocks: int, column_blocks: int) -> tuple[IntArray, IntArray]:
    """Blocks (row * columns + column) as they run, tile by tile, and where each tile starts."""
    row, column = (axis.ravel() for axis in np.indices((rows, columns)))
    tile = row // row_blocks * -(-columns // column_blocks) + column // column_blocks
    order = np.lexsort((row, column, tile))
    starts = np.flatnonzero(np.diff(tile[order], prepend=-1))
    return order, starts
