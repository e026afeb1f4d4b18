"""The slow twin of `traffic`, `pipeline` and `timeline`: walks every tile of a mapping and moves all that it needs.

Tests hold them equal. One tile after another in plain Python integers, no closed form.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from bitwright.memory.gemm import BITS_PER_BYTE, Bits, Gemm
from bitwright.memory.machine import TiledMachine
from bitwright.memory.tiling import AXES
from bitwright.memory.timeline import TileCosts

Numbers = tuple[int, int, int]
"""Buffers of x, w and the outputs, 1 or 2 each."""
Place = tuple[int, int, int]
"""Group and two indices of a tile of x (m, k), w (k, n) or y (m, n)."""


@dataclasses.dataclass(kw_only=True)
class Walk:
    """What a walk over all tiles counted: cycles, cycles of array and DRAM, DRAM bytes, reads of each operand tile."""

    cycles: int = 0
    compute_cycles: int = 0
    dram_cycles: int = 0
    x_read: int = 0
    w_read: int = 0
    psum_read: int = 0
    psum_write: int = 0
    y_write: int = 0
    x_visits: collections.Counter[Place] = dataclasses.field(default_factory=collections.Counter)
    w_visits: collections.Counter[Place] = dataclasses.field(default_factory=collections.Counter)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Tile:
    place: tuple[int, int, int, int]  # group and indices along m, k and n
    x: Place
    w: Place
    y: Place
    m: int
    k: int
    n: int


def walk(*, gemm: Gemm, tile: tuple[int, int, int], order: str, buffers: Numbers, machine: TiledMachine) -> Walk:
    """Cycles and traffic of a mapping with tiles of (m, k, n), loops in `order` (outermost first)."""
    return walk_costs(
        gemm=gemm,
        tile=tile,
        order=order,
        buffers=buffers,
        costs=uniform_costs(gemm=gemm, tile=tile, machine=machine),
        dram_bytes_per_cycle=machine.dram_bytes_per_cycle,
        fill_cycles=machine.fill_cycles,
    )


def uniform_costs(*, gemm: Gemm, tile: tuple[int, int, int], machine: TiledMachine) -> TileCosts:
    """What tiles take where their sizes alone decide."""
    groups, m, k, n = gemm.groups, *(-(-e // t) for e, t in zip((gemm.m, gemm.k, gemm.n), tile, strict=True))
    costs = TileCosts(
        compute=np.zeros((groups, m, k, n), dtype=np.int64),
        x_bytes=np.zeros((groups, m, k), dtype=np.int64),
        w_bytes=np.zeros((groups, k, n), dtype=np.int64),
    )
    for each in _tiles(gemm, tile, AXES):
        size = (np.array([extent], dtype=np.int64) for extent in (each.m, each.k, each.n))
        costs.compute[each.place] = machine.compute_cycles(**dict(zip(AXES, size, strict=True)))[0]
        costs.x_bytes[each.x] = _bytes(each.m * each.k, gemm.x_bits, gemm.x_share)
        costs.w_bytes[each.w] = _bytes(each.k * each.n, gemm.w_bits, gemm.w_share)
    return costs


def walk_costs(
    *,
    gemm: Gemm,
    tile: tuple[int, int, int],
    order: str,
    buffers: Numbers,
    costs: TileCosts,
    dram_bytes_per_cycle: float,
    fill_cycles: int = 0,
) -> Walk:
    """Cycles and traffic of a mapping with tiles of (m, k, n) that take `costs`, loops in `order` (outermost first)."""
    total = Walk()
    x_reads, w_reads, read_backs, writes, compute = [], [], [], [], []  # cycles of each tile
    tiles = list(_tiles(gemm, tile, order))
    reduced: dict[Place, int] = {}  # how far along k each output tile has come
    for i, now in enumerate(tiles):
        before, after = tiles[i - 1] if i else None, tiles[i + 1] if i + 1 < len(tiles) else None
        new_x, new_w = before is None or now.x != before.x, before is None or now.w != before.w
        x, w = int(costs.x_bytes[now.x]) * new_x, int(costs.w_bytes[now.w]) * new_w
        returns = (before is None or now.y != before.y) and now.y in reduced
        back = _bytes(now.m * now.n, gemm.psum_bits) if returns else 0
        reduced[now.y] = reduced.get(now.y, 0) + now.k
        leaves, finished = after is None or now.y != after.y, reduced[now.y] == gemm.k
        out = _bytes(now.m * now.n, gemm.y_dram_bits if finished else gemm.psum_bits) if leaves else 0
        total.x_visits[now.x] += new_x
        total.w_visits[now.w] += new_w
        total.x_read, total.w_read, total.psum_read = total.x_read + x, total.w_read + w, total.psum_read + back
        total.y_write, total.psum_write = total.y_write + out * finished, total.psum_write + out * (not finished)
        x_reads.append(_cycles(x, dram_bytes_per_cycle))
        w_reads.append(_cycles(w, dram_bytes_per_cycle))
        read_backs.append(_cycles(back, dram_bytes_per_cycle))
        writes.append(_cycles(out, dram_bytes_per_cycle))
        compute.append(int(costs.compute[now.place]))
    compute[-1] += fill_cycles
    total.compute_cycles, total.dram_cycles = sum(compute), sum([*x_reads, *w_reads, *read_backs, *writes])
    total.cycles = _time(compute, x_reads, w_reads, read_backs, writes, buffers)
    return total


def _time(
    compute: list[int],
    x_reads: list[int],
    w_reads: list[int],
    read_backs: list[int],
    writes: list[int],
    buffers: Numbers,
) -> int:
    clock = x_reads[0] + w_reads[0]
    last = len(compute) - 1
    for i, busy in enumerate(compute):
        meanwhile, afterwards = 0, 0  # what moves while the array works on tile i, and before it starts the next one
        if i < last:
            for reads, count in ((x_reads, buffers[0]), (w_reads, buffers[1]), (read_backs, buffers[2])):
                if count == 2:
                    meanwhile += reads[i + 1]
                else:
                    afterwards += reads[i + 1]
        if buffers[2] == 1:
            afterwards += writes[i]
        elif i:
            meanwhile += writes[i - 1]
        clock += max(busy, meanwhile) + afterwards
    return clock + (writes[last] if buffers[2] == 2 else 0)


def _tiles(gemm: Gemm, tile: tuple[int, int, int], order: str) -> Iterator[_Tile]:
    extents = dict(zip(AXES, (gemm.m, gemm.k, gemm.n), strict=True))
    sizes = dict(zip(AXES, tile, strict=True))
    for group in range(gemm.groups):
        for outer in range(0, extents[order[0]], sizes[order[0]]):
            for middle in range(0, extents[order[1]], sizes[order[1]]):
                for inner in range(0, extents[order[2]], sizes[order[2]]):
                    start = dict(zip(order, (outer, middle, inner), strict=True))
                    size = {axis: min(sizes[axis], extents[axis] - start[axis]) for axis in AXES}
                    m, k, n = (start[axis] // sizes[axis] for axis in AXES)
                    yield _Tile(
                        place=(group, m, k, n),
                        x=(group, m, k),
                        w=(group, k, n),
                        y=(group, m, n),
                        m=size["m"],
                        k=size["k"],
                        n=size["n"],
                    )


def _bytes(elements: int, bits: Bits, share: Fraction = Fraction(1)) -> int:
    return math.ceil(elements * bits * share / BITS_PER_BYTE)


def _cycles(transferred_bytes: int, dram_bytes_per_cycle: float) -> int:
    return math.ceil(transferred_bytes / dram_bytes_per_cycle)
