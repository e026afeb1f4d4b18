"""The slow twin of `traffic` and `pipeline`: walks every tile of a mapping and moves every operand, one after another.

Tests hold both equal. Plain Python integers, no closed form.
"""

import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from bitwright.memory.gemm import BITS_PER_BYTE, Gemm
from bitwright.memory.tiling import AXES, TiledMachine


@dataclasses.dataclass(kw_only=True)
class Walk:
    """What a walk over all tiles counted: cycles, cycles of the array, DRAM bytes."""

    cycles: int = 0
    compute_cycles: int = 0
    x_read: int = 0
    w_read: int = 0
    psum_read: int = 0
    psum_write: int = 0
    y_write: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tile:
    x: tuple[int, int, int]  # group and indices of the operand's tile
    w: tuple[int, int, int]
    y: tuple[int, int, int]
    m: int
    k: int
    n: int


def walk(*, gemm: Gemm, tile: tuple[int, int, int], order: str, output_buffers: int, machine: TiledMachine) -> Walk:
    """Cycles and traffic of a mapping with tiles of (m, k, n), loops in `order` (outermost first)."""
    total = Walk()
    reads, read_backs, writes, compute = [], [], [], []  # cycles of each tile
    tiles = list(_tiles(gemm, tile, order))
    reduced: dict[tuple[int, int, int], int] = {}  # how far along k each output tile has come
    for i, now in enumerate(tiles):
        before, after = tiles[i - 1] if i else None, tiles[i + 1] if i + 1 < len(tiles) else None
        x = _bytes(now.m * now.k, gemm.x_bits, gemm.x_share) if before is None or now.x != before.x else 0
        w = _bytes(now.k * now.n, gemm.w_bits, gemm.w_share) if before is None or now.w != before.w else 0
        returns = (before is None or now.y != before.y) and now.y in reduced
        back = _bytes(now.m * now.n, gemm.psum_bits) if returns else 0
        reduced[now.y] = reduced.get(now.y, 0) + now.k
        leaves, finished = after is None or now.y != after.y, reduced[now.y] == gemm.k
        out = _bytes(now.m * now.n, gemm.y_bits if finished else gemm.psum_bits) if leaves else 0
        total.x_read, total.w_read, total.psum_read = total.x_read + x, total.w_read + w, total.psum_read + back
        total.y_write, total.psum_write = total.y_write + out * finished, total.psum_write + out * (not finished)
        reads.append(_cycles(x, machine) + _cycles(w, machine))
        read_backs.append(_cycles(back, machine))
        writes.append(_cycles(out, machine))
        m, k, n = (np.array([extent], dtype=np.int64) for extent in (now.m, now.k, now.n))
        compute.append(int(machine.compute_cycles(m=m, k=k, n=n)[0]))
    total.compute_cycles = sum(compute)
    total.cycles = _time(compute, reads, read_backs, writes, output_buffers)
    return total


def _time(compute: list[int], reads: list[int], read_backs: list[int], writes: list[int], output_buffers: int) -> int:
    clock = reads[0]
    for i, busy in enumerate(compute):
        next_read = reads[i + 1] if i + 1 < len(compute) else 0
        next_back = read_backs[i + 1] if i + 1 < len(compute) else 0
        if output_buffers == 2:
            clock += max(busy, next_read + next_back + (writes[i - 1] if i else 0))
        else:
            clock += max(busy, next_read) + writes[i] + next_back
    return clock + (writes[-1] if output_buffers == 2 else 0)


def _tiles(gemm: Gemm, tile: tuple[int, int, int], order: str) -> Iterator[_Tile]:
    extents = dict(zip(AXES, (gemm.m, gemm.k, gemm.n), strict=True))
    sizes = dict(zip(AXES, tile, strict=True))
    for group in range(gemm.groups):
        for outer in range(0, extents[order[0]], sizes[order[0]]):
            for middle in range(0, extents[order[1]], sizes[order[1]]):
                for inner in range(0, extents[order[2]], sizes[order[2]]):
                    start = dict(zip(order, (outer, middle, inner), strict=True))
                    size = {axis: min(sizes[axis], extents[axis] - start[axis]) for axis in AXES}
                    yield _Tile(
                        x=(group, start["m"], start["k"]),
                        w=(group, start["k"], start["n"]),
                        y=(group, start["m"], start["n"]),
                        m=size["m"],
                        k=size["k"],
                        n=size["n"],
                    )


def _bytes(elements: int, bits: int, share: Fraction = Fraction(1)) -> int:
    return math.ceil(elements * bits * share / BITS_PER_BYTE)


def _cycles(transferred_bytes: int, machine: TiledMachine) -> int:
    return math.ceil(transferred_bytes / machine.dram_bytes_per_cycle)
