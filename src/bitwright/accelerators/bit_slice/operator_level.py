"""A bit-slice array operator by operator, cycle by cycle: the slow twin of `blocks`, `buffers` and `schedule`.

Every outer product is listed, every decoder reads one entry per cycle, every bank of a buffer takes one vector per
cycle, every operator takes one product per cycle, all of one kind from the same list, and a slot ends when decoders,
banks and operators are done; the last one of a block when its predecessor has left, too.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Queues = Callable[[bool, bool, bool, bool], str | None]
"""(w slice is high, x slice is high, w vector skippable, x vector skippable) -> the operators it goes to, or None."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Array:
    """The array as the simulation needs it.

    Attributes
    ----------
    peas : int
        Processing elements, each with 4 columns of w.
    operators : mapping
        Per processing element: name -> how many take products from lists of that name.
    block_vectors : int
        Vectors of x in a block.
    run_bits : int
        Of a run-length entry.
    lanes : int
        Outputs per cycle that leave.
    x_slices, w_slices : tuple of bool
        Whether each slice is of high order.
    most_k : int
        k of a piece that buffers hold.
    skips : tuple of bool
        Whether vectors of x, and of w, are skipped, so that buffers need not hold them.
    queues : callable
        Where a product goes.
    """

    peas: int
    operators: dict[str, int]
    block_vectors: int
    run_bits: int
    lanes: int
    x_slices: tuple[bool, ...]
    w_slices: tuple[bool, ...]
    most_k: int
    skips: tuple[bool, bool]
    queues: Queues


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """Cycles of a tile, outer products by operator list, and vectors that the buffers of x and of w took."""

    cycles: int
    products: dict[str, int]
    written: dict[str, int]


def simulate_tile(
    x: Mask, w: Mask, *, rows: int, columns: int, first_k: bool, raw: tuple[bool, bool], array: Array
) -> Simulated:
    """One tile from masks x [vectors of rows, k] and w [vectors of columns, k], True where a vector is skippable.

    `raw` says whether the tiles of x and w are stored raw; `first_k` whether partial sums need not be read back.
    """
    products, written = dict.fromkeys(array.operators, 0), dict.fromkeys("xw", 0)
    blocks = [
        (slice(i, i + array.block_vectors), slice(j, j + array.peas))
        for j in range(0, len(w), array.peas)
        for i in range(0, len(x), array.block_vectors)
    ]
    pieces = _pieces(x.shape[1], array.most_k)
    slots = [(block, piece) for block in range(len(blocks)) for piece in pieces]
    cycles = leaving = 0
    for index in range(-1, len(slots)):
        compute = following = 0
        if index >= 0:
            (at_x, at_w), piece = blocks[slots[index][0]], slots[index][1]
            compute, counted = _compute(x[at_x, piece], w[at_w, piece], array)
            for name, count in counted.items():
                products[name] += count
        if index + 1 < len(slots):
            (at_x, at_w), piece = blocks[slots[index + 1][0]], slots[index + 1][1]
            following = _decode(x[at_x, piece], w[at_w, piece], raw, array, written)
        ends = index >= 0 and slots[index][1] is pieces[-1]
        clock = 0
        while clock < 1 or clock < compute or clock < following or (ends and leaving > 0):
            leaving, clock = leaving - 1, clock + 1
        cycles += clock
        if ends:
            at_x, at_w = blocks[slots[index][0]]
            outputs = (min(rows, 4 * at_x.stop) - 4 * at_x.start) * (min(columns, 4 * at_w.stop) - 4 * at_w.start)
            leaving = _output(outputs, array.lanes) * (1 if first_k else 2)
    # the last sum is merged a clock later
    return Simulated(cycles=cycles + leaving + 1, products=products, written=written)


def _pieces(k: int, most: int) -> list[slice]:
    """As few as fit, as long as the longest but the last."""
    count = 1
    while count * most < k:
        count += 1
    length = 1
    while count * length < k:
        length += 1
    return [slice(start, min(start + length, k)) for start in range(0, k, length)]


def _decode(x: Mask, w: Mask, raw: tuple[bool, bool], array: Array, written: dict[str, int]) -> int:
    """Cycles until every stream has delivered its vectors, and banks have taken them; counts these."""
    streams = [_entries(row, raw[0], array.run_bits) for row in x] + [
        _entries(row, raw[1], array.run_bits) for row in w
    ]
    into_x = sum(_held(row, array.x_slices, array.skips[0]) for row in x)  # the same in every element
    buffers = [into_x, *(_held(row, array.w_slices, array.skips[1]) for row in w)]
    written["x"] += into_x * len(w)
    written["w"] += sum(buffers[1:])
    clock = 0
    while any(left > 0 for left in streams + buffers):
        streams = [left - 1 for left in streams]
        buffers = [left - sum(array.operators.values()) for left in buffers]
        clock += 1
    return clock


def _held(row: npt.NDArray[np.bool_], slices: tuple[bool, ...], skips: bool) -> int:
    """Vectors of all slices of a row that a buffer takes."""
    held = 0
    for high in slices:
        for skipped in row:
            held += not (high and skips and skipped)
    return held


def _entries(row: npt.NDArray[np.bool_], raw: bool, run_bits: int) -> int:
    if raw:
        return len(row)
    entries = run = 0
    for skipped in row:
        if skipped and run < 2**run_bits - 1:
            run += 1
        else:
            entries += 1
            run = 0
    return entries


def _compute(x: Mask, w: Mask, array: Array) -> tuple[int, dict[str, int]]:
    """Cycles until the slowest processing element is done, and the products by list."""
    slowest = 0
    counted = dict.fromkeys(array.operators, 0)
    for column in w:
        spent = dict.fromkeys(array.operators, 0)
        for row in x:
            for w_high in array.w_slices:
                for x_high in array.x_slices:
                    for name, count in _listed(row, column, w_high, x_high, array).items():
                        counted[name] += count
                        spent[name] += _output(count, array.operators[name])
        slowest = max(slowest, *spent.values())
    return slowest, counted


def _listed(
    row: npt.NDArray[np.bool_], column: npt.NDArray[np.bool_], w_high: bool, x_high: bool, array: Array
) -> dict[str, int]:
    """Products of one kind of slices of a vector of x and one of w, by who takes them."""
    lists = dict.fromkeys(array.operators, 0)
    for k in range(len(row)):
        goes_to = array.queues(w_high, x_high, bool(column[k]), bool(row[k]))
        if goes_to is not None:
            lists[goes_to] += 1
    return lists


def _output(outputs: int, lanes: int) -> int:
    clock = 0
    while outputs > 0:
        outputs -= lanes
        clock += 1
    return clock
