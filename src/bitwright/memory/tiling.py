"""Tiles between DRAM and SRAM: their sizes, the order in which they are visited, and whether they fit.

A product is cut into tiles of m x k x n, visited by three nested loops, groups outside of them. Tile sizes are
multiples of what fills the array, and rows in even halves to sixteenths besides; where an axis can be cut into as many
tiles of several sizes, the smallest is tried, which is the most even cut and takes the least room. Our choice: each
of x, w and the partial sums is double-buffered where a tile of it fits half of its SRAM, and otherwise single-buffered,
with transfers that the array waits for.
"""

import dataclasses
import itertools
import math

import numpy as np

from bitwright.errors import InputError
from bitwright.memory.gemm import BoolArray, Gemm, IntArray, packed_bytes

AXES = "mkn"
ORDERS: tuple[str, ...] = tuple("".join(order) for order in itertools.permutations(AXES))
"""Loop orders, outermost loop first."""
ORDER_AXES: IntArray = np.array([[AXES.index(axis) for axis in order] for order in ORDERS], dtype=np.int64)
"""[order, position] -> axis (0: m, 1: k, 2: n)."""
ORDER_POSITIONS: IntArray = np.argsort(ORDER_AXES, axis=1)
"""[order, axis] -> position (0: outermost)."""
BYTES_PER_KIB = 1024
MOST_EVEN_CUTS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Buffers:
    """Capacities of the SRAMs that tiles live in, in bytes, both halves of a double buffer together."""

    input_bytes: int
    weight_bytes: int
    output_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tilings:
    """Candidate mappings, one per entry of each array [candidates].

    Attributes
    ----------
    m, k, n : IntArray
        Tile extents, at most the product's.
    order : IntArray
        Index into `ORDERS`.
    input_buffers, weight_buffers, output_buffers : IntArray
        1 or 2.
    """

    m: IntArray
    k: IntArray
    n: IntArray
    order: IntArray
    input_buffers: IntArray
    weight_buffers: IntArray
    output_buffers: IntArray

    def __len__(self) -> int:
        return len(self.m)

    def select(self, index: IntArray) -> "Tilings":
        """The candidates at `index`, in its order."""
        return Tilings(**{field.name: getattr(self, field.name)[index] for field in dataclasses.fields(self)})

    def counts(self, gemm: Gemm) -> tuple[IntArray, IntArray, IntArray]:
        """Numbers of tiles along m, k and n."""
        return -(-gemm.m // self.m), -(-gemm.k // self.k), -(-gemm.n // self.n)

    def kinds(self, gemm: Gemm) -> "Kinds":
        """The tiles of one group by size: along each axis, those before the last one are alike."""
        sizes, counts = [], []
        new = np.ones(len(self), dtype=np.bool_)  # candidates of one tile follow one another
        new[1:] = (self.m[1:] != self.m[:-1]) | (self.k[1:] != self.k[:-1]) | (self.n[1:] != self.n[:-1])
        for extent, tile in ((gemm.m, self.m[new]), (gemm.k, self.k[new]), (gemm.n, self.n[new])):
            before = -(-extent // tile) - 1
            sizes.append(np.stack([tile, extent - before * tile]))
            counts.append(np.stack([before, np.ones_like(before)]))
        first, second, third = _outer(counts)
        count = (first * second * third).reshape(8, -1).T
        some = count > 0
        m, k, n = (each.reshape(8, -1).T[some] for each in np.broadcast_arrays(*_outer(sizes)))
        starts = np.concatenate([[0], np.cumsum(some.sum(axis=1))[:-1]])
        return Kinds(count=count[some], m=m, k=k, n=n, starts=starts, tiling=np.cumsum(new) - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kinds:
    """Tiles by size, at most eight kinds of each tiling one after the other [kinds of all tilings].

    Attributes
    ----------
    count : IntArray
        How many there are in a group, at least 1.
    m, k, n : IntArray
        Extents.
    starts : IntArray
        Where each tiling's kinds begin [tilings].
    tiling : IntArray
        Which one a candidate has; loop orders share it [candidates].
    """

    count: IntArray
    m: IntArray
    k: IntArray
    n: IntArray
    starts: IntArray
    tiling: IntArray

    def total(self, each: IntArray) -> IntArray:
        """The sum over all tiles of a group of what each kind has [candidates]."""
        total: IntArray = np.add.reduceat(self.count * each, self.starts)[self.tiling]
        return total


def _outer(pairs: list[IntArray]) -> list[IntArray]:
    """Three arrays [2, candidates] along axes of their own [2, 2, 2, candidates]."""
    return [pairs[0][:, None, None], pairs[1][None, :, None], pairs[2][None, None, :]]


def tile_sizes(*, extent: int, unit: int) -> list[int]:
    """The smallest multiple of `unit` of every number of tiles that an axis can be cut into, ascending; then `extent`.

    Examples
    --------
    >>> tile_sizes(extent=841, unit=32)  # 27 units: in 27, 14, 9, 7, 6, 5, 4, 3, 2 and 1
    [32, 64, 96, 128, 160, 192, 224, 288, 448, 841]
    """
    units = -(-extent // unit)
    few = range(1, math.isqrt(units) + 2)
    sizes = {-(-units // tiles) for tiles in few} | {size for size in few if -(-units // -(-units // size)) == size}
    return [min(extent, unit * size) for size in sorted(sizes)]


def candidates(*, gemm: Gemm, buffers: Buffers, unit: tuple[int, int, int], unit_divides: bool = True) -> Tilings:
    """Every tiling in multiples of `unit` (m, k, n) that fits, with every loop order that makes a difference.

    If two tiles of `unit` do not fit and `unit_divides`, it is halved until two do: an array that no tile fills is
    better than one that waits, or than none.

    Raises
    ------
    InputError
        If not even the smallest tile fits; names the memory, the demand, the capacity and what to raise.
    """
    extents = (gemm.m, gemm.k, gemm.n)
    unit = _fitting(gemm, buffers, unit) if unit_divides else unit
    sizes = [tile_sizes(extent=e, unit=u) for e, u in zip(extents, unit, strict=True)]
    sizes[0] = sorted({*sizes[0], *_even_cuts(gemm.m, unit[0])} if unit_divides else sizes[0])
    if not _fits(gemm, buffers, sizes[0][0], sizes[1][0], sizes[2][0]):
        raise _too_small(gemm=gemm, buffers=buffers, smallest=(sizes[0][0], sizes[1][0], sizes[2][0]))
    m, k, n = _that_fit(gemm, buffers, *(np.array(axis, dtype=np.int64) for axis in sizes))
    x, w, psum = _tile_bytes(gemm, m, k, n)
    split = (m < gemm.m) * 1 + (k < gemm.k) * 2 + (n < gemm.n) * 4
    tile, order = np.nonzero(_DISTINCT_ORDERS[split])
    return Tilings(
        m=m[tile],
        k=k[tile],
        n=n[tile],
        order=order.astype(np.int64),
        input_buffers=1 + (2 * x[tile] <= buffers.input_bytes).astype(np.int64),
        weight_buffers=1 + (2 * w[tile] <= buffers.weight_bytes).astype(np.int64),
        output_buffers=1 + (2 * psum[tile] <= buffers.output_bytes).astype(np.int64),
    )


def _even_cuts(extent: int, unit: int) -> list[int]:
    """Rows of tiles that are as even as can be, no multiples: two equal products in one are as good as one by one."""
    return [size for size in (-(-extent // tiles) for tiles in range(2, MOST_EVEN_CUTS + 1)) if size >= unit]


def _fitting(gemm: Gemm, buffers: Buffers, unit: tuple[int, int, int]) -> tuple[int, int, int]:
    """The unit, its rows halved until two tiles of it fit, then its columns, then its depth."""
    m, k, n = (min(extent, size) for extent, size in zip((gemm.m, gemm.k, gemm.n), unit, strict=True))
    if _fits(gemm, buffers, m, k, n, operands=2):
        return unit
    while not _fits(gemm, buffers, m, k, n, operands=2):
        if m > 1:
            m = -(-m // 2)
        elif n > 1:
            n = -(-n // 2)
        elif k > 1:
            k = -(-k // 2)
        else:
            break
    return m, k, n


def _fits(gemm: Gemm, buffers: Buffers, m: int, k: int, n: int, *, operands: int = 1) -> bool:
    return bool(_fit(gemm, buffers, *(np.array([size]) for size in (m, k, n)), operands=operands)[0])


def _that_fit(
    gemm: Gemm, buffers: Buffers, m: IntArray, k: IntArray, n: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """All tiles of these sizes that fit, in the order of their sizes; each operand has two of the three axes."""
    x = packed_bytes(m[:, None] * k, gemm.x_bits) <= buffers.input_bytes
    w = packed_bytes(k[:, None] * n, gemm.w_bits) <= buffers.weight_bytes
    psum = packed_bytes(m[:, None] * n, gemm.psum_bits) <= buffers.output_bytes
    of_m, of_k = np.nonzero(x)
    pair, of_n = np.nonzero(w[of_k] & psum[of_m])
    return m[of_m[pair]], k[of_k[pair]], n[of_n]


def _fit(gemm: Gemm, buffers: Buffers, m: IntArray, k: IntArray, n: IntArray, *, operands: int = 1) -> BoolArray:
    """Whether so many tiles of each operand fit, and one of partial sums [candidates]."""
    x, w, psum = _tile_bytes(gemm, m, k, n)
    fits: BoolArray = (operands * x <= buffers.input_bytes) & (operands * w <= buffers.weight_bytes)
    return fits & (psum <= buffers.output_bytes)


def _tile_bytes(gemm: Gemm, m: IntArray, k: IntArray, n: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    return (
        packed_bytes(m * k, gemm.x_bits),
        packed_bytes(k * n, gemm.w_bits),
        packed_bytes(m * n, gemm.psum_bits),
    )


def _distinct_orders() -> BoolArray:
    """[which axes are split, order]: loops of one iteration may stand anywhere, so only one such order is kept."""
    keep = np.zeros((8, len(ORDERS)), dtype=np.bool_)
    for split in range(8):
        seen = set()
        for index, order in enumerate(ORDERS):
            loops = "".join(axis for axis in order if split >> AXES.index(axis) & 1)
            keep[split, index] = loops not in seen
            seen.add(loops)
    return keep


_DISTINCT_ORDERS = _distinct_orders()


def _too_small(*, gemm: Gemm, buffers: Buffers, smallest: tuple[int, int, int]) -> InputError:
    m, k, n = (np.array([extent], dtype=np.int64) for extent in smallest)
    x, w, psum = (int(size[0]) for size in _tile_bytes(gemm, m, k, n))
    memory, what, needed, capacity = max(
        (
            ("input", f"one tile of {gemm.x_bits}-bit inputs", x, buffers.input_bytes),
            ("weight", f"one tile of {gemm.w_bits}-bit weights", w, buffers.weight_bytes),
            ("output", f"one tile of {gemm.psum_bits}-bit partial sums", psum, buffers.output_bytes),
        ),
        key=lambda each: each[2] / each[3],
    )
    return InputError(
        f"the {memory} SRAM holds {capacity} bytes, and {what} needs {needed} at the smallest tile "
        f"({smallest[0]} x {smallest[1]} x {smallest[2]}, m x k x n) of a product of {gemm.m} x {gemm.k} x "
        f"{gemm.n}; raise {memory}_sram_kib to {-(-needed // BYTES_PER_KIB)} or make the array smaller"
    )
