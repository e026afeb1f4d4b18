"""The dataflows of the APSQ array step by step: the slow twin of `dataflow`, `published` and `accumulation`.

Walks every step of Po x Pco partial sums in the loops' order, with a weight SRAM that forgets the least recently used
tile, and keeps book of every partial sum that is stored. Plain Python integers, no closed form.
"""

import dataclasses
import itertools
from collections import OrderedDict
from collections.abc import Iterator

from bitwright.accelerators.partial_sums.accumulation import Stored
from bitwright.accelerators.partial_sums.published import Grid

Place = tuple[int, int]
"""Indices of a tile of x (m, k), w (k, n) or the output (m, n)."""


@dataclasses.dataclass(kw_only=True)
class Walk:
    """What one group moved: elements, steps, and the most partial sums that were stored at once.

    `quantized` counts sums that went through the quantizer.
    """

    steps: int = 0
    x_read: int = 0
    w_read: int = 0
    w_dram: int = 0
    psum_read: int = 0
    psum_write: int = 0
    quantized: int = 0
    live: int = 0


class Sram:
    """An operand's SRAM: holds tiles up to `capacity` elements (None: any number), and forgets the oldest first."""

    def __init__(self, capacity: int | None) -> None:
        self.capacity = capacity
        self.tiles: OrderedDict[Place, int] = OrderedDict()

    def read(self, place: Place, elements: int) -> int:
        """Elements that must come from DRAM for a tile of so many to be read."""
        if place in self.tiles:
            self.tiles.move_to_end(place)
            return 0
        self.tiles[place] = elements
        while self.capacity is not None and sum(self.tiles.values()) > self.capacity:
            self.tiles.popitem(last=False)
        return elements


def walk(grid: Grid, order: str, capacity: int | None, stored: Stored) -> Walk:
    """One group of a product, step by step.

    Parameters
    ----------
    grid : Grid
        The product on the array.
    order : str
        Loops over tiles, outermost first: `mkn` (inputs rest), `nkm` (weights rest), `mnk` (sums rest).
    capacity : int or None
        Elements that the weight SRAM holds; None: any number.
    stored : Stored
        How partial sums are stored.
    """
    counts, w_sram = Walk(), Sram(capacity)
    resting = {"mkn": "x", "nkm": "w"}.get(order)
    held: Place | None = None
    live: dict[Place, int] = {}
    for m, k, n in _steps(grid, order):
        rows, depth, columns = _size(grid.m, grid.po, m), _size(grid.k, grid.pci, k), _size(grid.n, grid.pco, n)
        counts.steps += 1
        if resting != "x" or held != (m, k):
            counts.x_read += rows * depth
        if resting != "w" or held != (k, n):
            counts.w_read += depth * columns
            counts.w_dram += w_sram.read((k, n), depth * columns)
        held = {"x": (m, k), "w": (k, n)}.get(resting or "")
        if resting:
            _accumulate(counts, live, (m, n), rows * columns, k, grid.psum_tiles, stored)
    return counts


def _accumulate(
    counts: Walk, live: dict[Place, int], place: Place, outputs: int, k: int, tiles: int, stored: Stored
) -> None:
    """Add what is stored where the schedule says so, quantize, and store unless the output is finished."""
    last = k == tiles - 1
    counts.quantized += outputs
    if last or _adds(k, stored):
        counts.psum_read += live.pop(place, 0)
    if not last:
        counts.psum_write += outputs
        live[place] = live.get(place, 0) + outputs
        counts.live = max(counts.live, sum(live.values()))


def _adds(k: int, stored: Stored) -> bool:
    """Whether tile k is one that adds everything stored."""
    if stored.group_size is None:
        return False
    return k % stored.group_size == (0 if stored.phase == "head" else stored.group_size - 1)


def _steps(grid: Grid, order: str) -> Iterator[tuple[int, int, int]]:
    extents = {"m": grid.row_tiles, "k": grid.psum_tiles, "n": grid.column_tiles}
    for indices in itertools.product(*(range(extents[axis]) for axis in order)):
        place = dict(zip(order, indices, strict=True))
        yield place["m"], place["k"], place["n"]


def _size(extent: int, tile: int, index: int) -> int:
    return min(tile, extent - index * tile)
