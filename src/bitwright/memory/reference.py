"""The slow twin of `traffic`, `pipeline` and `timeline`: walks every tile of a mapping and moves all that it needs.

Tests hold them equal. One tile after another in plain Python integers, no closed form.
"""

import collections
import dataclasses
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from bitwright.memory.gemm import BITS_PER_BYTE, Bits, Gemm, IntArray
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
        words=uniform_words(gemm=gemm, tile=tile, machine=machine),
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
    """What SRAMs move: bits of a cycle of the three of them, and the array's for each tile."""

    widths: tuple[float, float, float]
    of_array: dict[tuple[int, int, int, int], list[float]]


FREE = Words(widths=(math.inf, math.inf, math.inf), of_array=collections.defaultdict(lambda: [0.0, 0.0, 0.0]))
"""SRAMs that nobody waits for."""


def uniform_words(*, gemm: Gemm, tile: tuple[int, int, int], machine: TiledMachine) -> Words:
    """What SRAMs move where sizes alone decide."""
    of_array = {}
    for each in _tiles(gemm, tile, AXES):
        bits = machine.array_bits(**_arrays(each))
        of_array[each.place] = [float(moved[0]) for moved in bits]
    return Words(widths=machine.sram_bits_per_cycle, of_array=of_array)


def _arrays(tile: "_Tile") -> dict[str, IntArray]:
    return {axis: np.array([extent]) for axis, extent in zip(AXES, (tile.m, tile.k, tile.n), strict=True)}


def uniform_costs(*, gemm: Gemm, tile: tuple[int, int, int], machine: TiledMachine) -> TileCosts:
    """What tiles take where their sizes alone decide."""
    groups, m, k, n = gemm.groups, *(-(-e // t) for e, t in zip((gemm.m, gemm.k, gemm.n), tile, strict=True))
    costs = TileCosts(
        compute=np.zeros((groups, m, k, n), dtype=np.int64),
        x_bytes=np.zeros((groups, m, k), dtype=np.int64),
        w_bytes=np.zeros((groups, k, n), dtype=np.int64),
    )
    for each in _tiles(gemm, tile, AXES):
        words = zip(machine.array_bits(**_arrays(each)), machine.sram_bits_per_cycle, strict=True)
        waits = [math.ceil(bits[0] / width) for bits, width in words]
        costs.compute[each.place] = max(int(machine.array_cycles(**_arrays(each))[0]), *waits)
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
    words: Words = FREE,
) -> Walk:
    """Cycles and traffic of a mapping with tiles of (m, k, n) that take `costs`, loops in `order` (outermost first)."""
    total = Walk()
    x_reads, w_reads, read_backs, writes, compute = [], [], [], [], []  # transfers of each tile, and its cycles
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
        filled = 8 * _bytes(now.m * now.k, gemm.x_bits) * (new_x and not gemm.x_on_chip)
        kept = float(now.m * now.n * gemm.y_bits) * (leaves and finished and gemm.y_on_chip)
        bandwidth = dram_bytes_per_cycle
        x_reads.append(_Moved(dram=_cycles(x, bandwidth), bits=(filled, 0, 0)))
        w_reads.append(_Moved(dram=_cycles(w, bandwidth), bits=(0, 8 * _bytes(now.k * now.n, gemm.w_bits) * new_w, 0)))
        read_backs.append(_Moved(dram=_cycles(back, bandwidth), bits=(0, 0, 8 * back)))
        writes.append(_Moved(dram=_cycles(out, bandwidth), bits=(kept, 0, 8 * out * (not finished))))
        compute.append(int(costs.compute[now.place]))
    compute[-1] += fill_cycles
    moved = [*x_reads, *w_reads, *read_backs, *writes]
    total.compute_cycles, total.dram_cycles = sum(compute), sum(each.dram for each in moved)
    of_array = [words.of_array[each.place] for each in tiles]
    total.cycles = _time(compute, of_array, x_reads, w_reads, read_backs, writes, buffers, words.widths)
    return total


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Moved:
    """A transfer: cycles of DRAM, and bits through the SRAMs of x, w and the outputs."""

    dram: int
    bits: tuple[float, float, float]

    def alone(self, widths: tuple[float, float, float]) -> int:
        """Cycles if nothing else moves."""
        return max(self.dram, *(math.ceil(bits / width) for bits, width in zip(self.bits, widths, strict=True)))


def _time(
    compute: list[int],
    of_array: list[list[float]],
    x_reads: list[_Moved],
    w_reads: list[_Moved],
    read_backs: list[_Moved],
    writes: list[_Moved],
    buffers: Numbers,
    widths: tuple[float, float, float],
) -> int:
    clock = x_reads[0].alone(widths) + w_reads[0].alone(widths)
    last = len(compute) - 1
    for i, busy in enumerate(compute):
        meanwhile, afterwards = list[_Moved](), list[_Moved]()  # while the array works on tile i, and before the next
        if i < last:
            for reads, count in ((x_reads, buffers[0]), (w_reads, buffers[1]), (read_backs, buffers[2])):
                (meanwhile if count == 2 else afterwards).append(reads[i + 1])
        if buffers[2] == 1:
            afterwards.append(writes[i])
        elif i:
            meanwhile.append(writes[i - 1])
        ports = [
            math.ceil((of_array[i][sram] + sum(each.bits[sram] for each in meanwhile)) / width)
            for sram, width in enumerate(widths)
        ]
        clock += max(busy, sum(each.dram for each in meanwhile), *ports)
        clock += sum(each.alone(widths) for each in afterwards)
    return clock + (writes[last].alone(widths) if buffers[2] == 2 else 0)


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
