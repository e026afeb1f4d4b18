"""Cycles and DRAM bytes of a mapping whose tiles differ with the data, exactly, without walking them one by one.

Machines that skip and compress take as many cycles and bytes for a tile as its values ask for. The rules are those of
`bitwright.memory.pipeline` and `bitwright.memory.traffic`. Loops of one iteration may stand anywhere, so they are moved
outside; then the innermost loop keeps the one tile that lacks its axis (x for n, w for m, the output for k) from its
first iteration to its last, and every iteration changes the other two. Twin: `bitwright.memory.reference`.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator
from typing import Literal

import numpy as np

from bitwright.memory.gemm import Gemm, IntArray, packed_bytes
from bitwright.memory.search import Mapping
from bitwright.memory.tiling import ORDER_AXES, ORDERS
from bitwright.memory.traffic import transfer_cycles

M, K, N = 1, 2, 3
"""Axes of arrays over tiles [groups, m tiles, k tiles, n tiles]."""
BLOCK_TILES = 2**14
"""As many as stay in a core's cache with all that is computed of them."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TileCosts:
    """What each tile takes.

    Attributes
    ----------
    compute : IntArray
        Cycles of the array [groups, m tiles, k tiles, n tiles].
    x_bytes : IntArray
        Bytes of x's tiles as DRAM stores them [groups, m tiles, k tiles].
    w_bytes : IntArray
        Bytes of w's tiles as DRAM stores them [groups, k tiles, n tiles].
    """

    compute: IntArray
    x_bytes: IntArray
    w_bytes: IntArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timeline:
    """What a mapping takes over all groups.

    Attributes
    ----------
    cycles : int
        From the first DRAM read to the last DRAM write.
    compute_cycles, dram_cycles : int
        Cycles in which the array, and DRAM, are busy; each tile's transfer takes whole cycles.
    x_read_bytes, w_read_bytes, psum_read_bytes : int
        Bytes read from DRAM.
    psum_write_bytes, y_write_bytes : int
        Bytes written to DRAM.
    x_visits : IntArray
        How often each tile of x is read from DRAM, the same for all of them [groups, m tiles, k tiles].
    w_visits : IntArray
        How often each tile of w is read from DRAM, the same for all of them [groups, k tiles, n tiles].
    """

    cycles: int
    compute_cycles: int
    dram_cycles: int
    x_read_bytes: int
    w_read_bytes: int
    psum_read_bytes: int
    psum_write_bytes: int
    y_write_bytes: int
    x_visits: IntArray
    w_visits: IntArray

    @property
    def dram_read_bytes(self) -> int:
        """All bytes read from DRAM."""
        return self.x_read_bytes + self.w_read_bytes + self.psum_read_bytes

    @property
    def dram_write_bytes(self) -> int:
        """All bytes written to DRAM."""
        return self.psum_write_bytes + self.y_write_bytes

    @property
    def stall_cycles(self) -> int:
        """Cycles in which the array waits for DRAM."""
        return self.cycles - self.compute_cycles

    @property
    def bound(self) -> Literal["compute", "memory"]:
        """Which of the two is busier: the array or DRAM."""
        return "compute" if self.compute_cycles >= self.dram_cycles else "memory"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _TileCycles:
    """Cycles of each tile's work and of its transfers that the array's work may hide.

    All are [groups, m tiles, k tiles, n tiles], of extent 1 along axes that the tile lacks.
    """

    compute: IntArray
    x: IntArray
    w: IntArray
    psum: IntArray
    y: IntArray


def timeline(
    *,
    gemm: Gemm,
    mapping: Mapping,
    costs: TileCosts,
    dram_bytes_per_cycle: float,
    fill_cycles: int = 0,
    block_tiles: int = BLOCK_TILES,
) -> Timeline:
    """What `gemm` takes under `mapping` if its tiles take `costs`, and filling and draining the array `fill_cycles`.

    Of `mapping`, only tiles, order and buffers count, not its figures. Memory is that of `block_tiles` tiles, or of one
    innermost loop if that is longer.
    """
    m, n = _sizes(gemm.m, mapping.tile_m), _sizes(gemm.n, mapping.tile_n)
    shape = (gemm.groups, len(m), -(-gemm.k // mapping.tile_k), len(n))
    assert costs.compute.shape == shape, f"costs of {costs.compute.shape} tiles, but the mapping has {shape}"
    assert costs.x_bytes.shape == shape[:N]
    assert costs.w_bytes.shape == (shape[0], *shape[K:])
    loops = _loops(mapping.order, shape)
    x_visits, w_visits, y_visits = (1 if loops[-1] == absent else shape[absent] for absent in (N, M, K))
    elements = m[:, None] * n
    outputs = (packed_bytes(elements, bits) for bits in (gemm.psum_bits, gemm.y_dram_bits))
    tile_bytes = (costs.x_bytes, costs.w_bytes, *outputs)
    x, w, psum, y = (transfer_cycles(each, dram_bytes_per_cycle) for each in tile_bytes)
    x_bytes, w_bytes, psum_bytes, y_bytes = (int(each.sum()) for each in tile_bytes)
    spills = gemm.groups * (y_visits - 1)
    output_cycles = 2 * spills * int(psum.sum()) + gemm.groups * int(y.sum())
    moving = (x_visits * int(x.sum()), w_visits * int(w.sum()), output_cycles)
    overlapped = [each == 2 for each in mapping.buffers]
    waiting = sum(each for each, hidden in zip(moving, overlapped, strict=True) if not hidden)
    compute = costs.compute.copy()
    compute[-1, -1, -1, -1] += fill_cycles  # of the tile that is the last in any order
    cycles = _TileCycles(
        compute=compute,
        x=x[:, :, :, None] * overlapped[0],
        w=w[:, None] * overlapped[1],
        psum=psum[None, :, None] * (overlapped[2] and spills > 0),
        y=y[None, :, None] * overlapped[2],
    )
    return Timeline(
        cycles=_pipelined(_blocks(cycles, loops, block_tiles)) + waiting,
        compute_cycles=int(compute.sum()),
        dram_cycles=sum(moving),
        x_read_bytes=x_visits * x_bytes,
        w_read_bytes=w_visits * w_bytes,
        psum_read_bytes=spills * psum_bytes,
        psum_write_bytes=spills * psum_bytes,
        y_write_bytes=gemm.groups * y_bytes,
        x_visits=np.full(costs.x_bytes.shape, x_visits),
        w_visits=np.full(costs.w_bytes.shape, w_visits),
    )


def _loops(order: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Axes from the outermost loop to the innermost: groups, loops of one iteration, the others in `order`."""
    axes = (M + int(axis) for axis in ORDER_AXES[ORDERS.index(order)])
    return (0, *sorted(axes, key=lambda axis: shape[axis] > 1))


def _blocks(cycles: _TileCycles, loops: tuple[int, ...], block_tiles: int) -> Iterator[IntArray]:
    """Compute, read and write cycles [3, tiles] of the tiles in loop order; blocks hold whole innermost loops."""
    *outside, inner = (cycles.compute.shape[axis] for axis in loops)
    k_count = cycles.compute.shape[K]
    k_index = np.arange(k_count)[None, None, :, None]
    in_order = [
        np.broadcast_to(each.transpose(loops), (*outside, each.shape[loops[-1]]))
        for each in (cycles.compute, cycles.x, cycles.w, cycles.psum, cycles.y, k_index)
    ]
    first = np.arange(inner) == 0
    x_changes, w_changes = (first if loops[-1] == absent else True for absent in (N, M))
    iterations, block = math.prod(outside), max(1, block_tiles // inner)
    for start in range(0, iterations, block):
        place = np.unravel_index(np.arange(start, min(start + block, iterations)), outside)
        compute, x, w, psum, y, k = (each[place] for each in in_order)
        read = x * x_changes + w * w_changes + psum * (k > 0)
        write = np.where(k == k_count - 1, y, psum)
        yield np.stack([compute, read, write]).reshape(3, -1)


def _pipelined(blocks: Iterator[IntArray]) -> int:
    """Cycles of a tile sequence [3, tiles]: while a tile computes, the one before is written and the one after read."""
    nothing = np.zeros((3, 2), dtype=np.int64)  # before the first tile, which is read meanwhile, and after the last
    total, before = 0, nothing
    for block in itertools.chain(blocks, [nothing]):
        compute, read, write = tiles = np.concatenate([before, block], axis=1)
        total += int(np.maximum(compute[1:-1], write[:-2] + read[2:]).sum())
        before = tiles[:, -2:]
    return total


def _sizes(extent: int, tile: int) -> IntArray:
    """Sizes of the tiles of an axis; the last one may be smaller."""
    return np.minimum(tile, extent - np.arange(0, extent, tile, dtype=np.int64))
