"""Dense arrays register by register, cycle by cycle: the slow twin of the closed forms in `dataflow`.

Every cycle each register of a systolic array takes its neighbour's value, as in hardware; SIMD lanes hear a broadcast.
x [m, k] and w [k, n] are integers; the result is their product, what crossed the array's edges, and the cycles it took.
Control is local: a fold's first element carries a flag, a weight on its way down the hops that are left, and a unit
counts the cycles since its sums were exchanged. A fold starts as soon as the registers that it needs are free; no
length is computed beforehand.
"""

import dataclasses

import numpy as np

from bitwright.memory import IntArray
from bitwright.memory.gemm import BoolArray

NONE = -1
"""The element of an empty register."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """What came of a product.

    Attributes
    ----------
    product : IntArray
        What left the array, summed up [m, n].
    cycles : int
        Until the last sum has left.
    product_cycles : int
        Until the last multiplication.
    folds : int
        How often what rests was exchanged.
    x_read, w_read : int
        Elements that entered, padding apart.
    sums : int
        Sums that left, padding apart.
    """

    product: IntArray
    cycles: int
    product_cycles: int
    folds: int
    x_read: int
    w_read: int
    sums: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Fold:
    """What an array works on at a time: parts of the operands, padded, and the places of its sums in the product."""

    x: IntArray
    w: IntArray
    rows: slice
    cols: slice


def weight_stationary(
    *,
    x: IntArray,
    w: IntArray,
    rows: int,
    cols: int,
    hidden: bool = False,
    pipelined: bool = False,
    tile: tuple[int, int, int] | None = None,
    block: int = 0,
) -> Simulated:
    """Folds of w rest in the array; x enters skewed from the left; partial sums leave at the bottom.

    `hidden`: weights of the next fold enter second registers behind the stream. `pipelined`: x of the next fold follows
    at once. `tile`: extents (m, k, n) of tiles, one after another; None: all is one. `block`: elements of k of one
    scale; 0: all of them.
    """
    folds = []
    for m, k, n in _tiles(x, w, tile):
        for col in _parts(n, cols):
            for row in (part for one_scale in _parts(k, block or len(w)) for part in _parts(one_scale, rows)):
                inputs, weights = _padded(x[m, row], m.stop - m.start, rows), _padded(w[row, col], rows, cols)
                folds.append(_Fold(x=inputs, w=weights, rows=m, cols=col))
    array = _WeightStationary(folds, rows, cols, hidden=hidden, pipelined=pipelined)
    cycles = array.run()
    return _simulated(x, w, folds, array.left, cycles, cycles)


def output_stationary(
    *,
    x: IntArray,
    w: IntArray,
    rows: int,
    cols: int,
    pipelined: bool = False,
    tile: tuple[int, int, int] | None = None,
    block: int = 0,
) -> Simulated:
    """Folds of the output rest in the array; x enters from the left and w from the top; sums leave at the bottom.

    Sums leave by registers of their own behind the next fold. `pipelined`: operands of the next fold follow at once, or
    as soon as the sums before have left. `tile` and `block` are those of `weight_stationary`.
    """
    folds = _output_folds(x, w, rows, cols, tile, block)
    array = _OutputStationary(folds, rows, cols, pipelined=pipelined)
    cycles = array.run()
    return _simulated(x, w, folds, array.left, cycles, array.product_cycles)


def simd(
    *,
    x: IntArray,
    w: IntArray,
    rows: int,
    cols: int,
    pipelined: bool = False,
    tile: tuple[int, int, int] | None = None,
    block: int = 0,
) -> Simulated:
    """Folds of the output rest in the lanes; a column of x and a row of w are broadcast; sums leave at the bottom.

    `pipelined`: sums leave by registers of their own behind the next fold; otherwise lanes wait for them. `tile` and
    `block` are those of `weight_stationary`.
    """
    folds = _output_folds(x, w, rows, cols, tile, block)
    left: list[IntArray] = []
    cycles, product_cycles, busy = 0, 0, 0  # busy: cycles until the way out is free
    for fold in folds:
        sums = np.zeros((rows, cols), dtype=np.int64)
        streamed = 0
        while streamed < fold.x.shape[1] or (pipelined and busy > 0):
            if streamed < fold.x.shape[1]:
                sums = sums + np.outer(fold.x[:, streamed], fold.w[streamed])
                streamed += 1
                product_cycles = cycles + 1
            cycles, busy = cycles + 1, max(0, busy - 1)
        left.append(_drained(sums))
        if pipelined:
            busy = rows  # the bottom row leaves in the next cycle, in which the others move to registers of their own
        else:
            cycles += rows
    return _simulated(x, w, folds, left, cycles + busy, product_cycles)


class _WeightStationary:
    """Registers of a weight-stationary array and what is on its edges."""

    def __init__(self, folds: list[_Fold], rows: int, cols: int, *, hidden: bool, pipelined: bool) -> None:
        self.folds, self.rows, self.cols, self.hidden, self.pipelined = folds, rows, cols, hidden, pipelined
        shape = (rows, cols)
        self.x, self.psum, self.active, self.entered = (np.zeros(shape, dtype=np.int64) for _ in range(4))
        self.hops = np.zeros(shape, dtype=np.int64)
        """Rows that the weight in `entered` has yet to go down."""
        self.fold, self.element = (np.full(shape, NONE) for _ in range(2))
        """Which element of which fold is in `x`."""
        self.streamed: list[tuple[int, int]] = []
        self.loaded: list[tuple[int, int]] = []
        """(fold, element) that entered the first row's x, and the first column's weights, in every cycle."""
        self.left = [np.zeros((len(fold.x), cols), dtype=np.int64) for fold in folds]
        self.missing = [len(fold.x) * cols for fold in folds]
        """Sums of each fold that are still in the array."""

    def run(self) -> int:
        """Cycles until the last sum has left."""
        cycle = 0
        while self.missing[-1]:
            self.streamed.append(self._next_x())
            self.loaded.append(self._next_weights())
            self._step(cycle)
            cycle += 1
        return cycle

    def _free(self, fold: int) -> bool:
        """Whether a fold is out of the next one's way."""
        return fold < 0 or not self.pipelined or self.streamed[-1] != (fold, len(self.folds[fold].x) - 1)

    def _next_x(self) -> tuple[int, int]:
        fold, element = _last(self.streamed)
        if fold != NONE and element + 1 < len(self.folds[fold].x):
            return fold, element + 1
        following = fold + 1
        loaded = (following, self.rows - 1) in self.loaded[-self.rows - len(self.streamed) :]
        drained = fold == NONE or self.pipelined or not self.missing[fold]
        return (following, 0) if following < len(self.folds) and loaded and drained else (NONE, NONE)

    def _next_weights(self) -> tuple[int, int]:
        fold, element = _last(self.loaded)
        if fold != NONE and element + 1 < self.rows:
            return fold, element + 1
        following = fold + 1
        if following == len(self.folds):
            return NONE, NONE
        if fold == NONE:
            return following, 0
        if self.hidden:  # the fold before takes its weights out of the second registers
            free = (fold, 0) in self.streamed
        elif self.pipelined:  # the last x of the fold before has passed
            free = (fold, len(self.folds[fold].x) - 1) in self.streamed[:-1]
        else:
            free = not self.missing[fold]
        return (following, 0) if free else (NONE, NONE)

    def _step(self, cycle: int) -> None:
        rows, cols = self.rows, self.cols
        edge = [_delayed(self.streamed, cycle - row) for row in range(rows)]
        values = [self.folds[f].x[i, row] if f != NONE else 0 for row, (f, i) in enumerate(edge)]
        self.x = _right(self.x, np.array(values))
        self.fold = _right(self.fold, np.array([f for f, _ in edge]))
        self.element = _right(self.element, np.array([i for _, i in edge]))
        weights = self.entered
        if self.hidden:
            weights = self.active = np.where(self.element == 0, self.entered, self.active)
        self.psum = _down(self.psum, np.zeros(cols, dtype=np.int64)) + self.x * weights
        for col in range(cols):
            fold, element = self.fold[-1, col], self.element[-1, col]
            if fold != NONE:
                self.left[fold][element, col] = self.psum[-1, col]
                self.missing[fold] -= 1
        self._load([_delayed(self.loaded, cycle - col) for col in range(cols)])

    def _load(self, edge: list[tuple[int, int]]) -> None:
        """Weights go down a row, those with hops left; the bottom row's enter first."""
        rows = self.rows
        values = [self.folds[f].w[rows - 1 - i, col] if f != NONE else 0 for col, (f, i) in enumerate(edge)]
        above = _down(self.entered, np.array(values))
        hops = _down(self.hops - 1, np.array([rows - 1 - i if f != NONE else NONE for f, i in edge]))
        self.entered, self.hops = np.where(hops >= 0, above, self.entered), np.where(hops >= 0, hops, self.hops)
        passed_on = np.concatenate([hops[1:] >= 0, np.zeros((1, self.cols), dtype=np.bool_)])
        self.hops = np.where(passed_on & (hops < 0), 0, self.hops)


class _OutputStationary:
    """Registers of an output-stationary array and what is on its edges."""

    def __init__(self, folds: list[_Fold], rows: int, cols: int, *, pipelined: bool) -> None:
        self.folds, self.rows, self.cols, self.pipelined = folds, rows, cols, pipelined
        shape = (rows, cols)
        self.x, self.w, self.sums, self.out = (np.zeros(shape, dtype=np.int64) for _ in range(4))
        self.fold, self.element, self.resting = (np.full(shape, NONE) for _ in range(3))
        """Which element of which fold is in `x` and `w`, and whose the sum is."""
        self.age = np.full(shape, rows)
        """Cycles since the sum before was exchanged."""
        self.leaving = np.full(cols, NONE)
        """Whose sums leave each column."""
        self.streamed: list[tuple[int, int]] = []
        self.left = [np.zeros((rows, cols), dtype=np.int64) for _ in folds]
        self.missing = [rows * cols for _ in folds]
        self.product_cycles = 0

    def run(self) -> int:
        """Cycles until the last sum has left."""
        cycle = 0
        while self.missing[-1]:
            self.streamed.append(self._next())
            self._step(cycle)
            cycle += 1
            if (self.element[-1, -1] != NONE) and self.fold[-1, -1] < len(self.folds):
                self.product_cycles = cycle
        return cycle

    def _next(self) -> tuple[int, int]:
        """The next element; after the last fold, the flag of one that has none, which sends the last sums out."""
        fold, element = _last(self.streamed)
        if fold != NONE and fold < len(self.folds) and element + 1 < self.folds[fold].x.shape[1]:
            return fold, element + 1
        if fold == len(self.folds) or self.age[0, 0] < self.rows - 1:  # sums before are on their way out
            return NONE, NONE
        if self.pipelined or fold == NONE or self._done(fold):
            return fold + 1, 0
        return NONE, NONE

    def _done(self, fold: int) -> bool:
        """Whether the last unit has multiplied the last element of a fold."""
        return (self.fold[-1, -1], self.element[-1, -1]) == (fold, self.folds[fold].x.shape[1] - 1) or (
            self.resting[-1, -1] == fold and self.fold[-1, -1] == NONE and self._passed(fold)
        )

    def _passed(self, fold: int) -> bool:
        return (fold, self.folds[fold].x.shape[1] - 1) in self.streamed[: -(self.rows + self.cols - 2) or None]

    def _step(self, cycle: int) -> None:
        rows, cols, folds = self.rows, self.cols, self.folds
        left = [_delayed(self.streamed, cycle - row) for row in range(rows)]
        top = [_delayed(self.streamed, cycle - col) for col in range(cols)]
        real = range(len(folds))
        self.x = _right(self.x, np.array([folds[f].x[row, i] if f in real else 0 for row, (f, i) in enumerate(left)]))
        self.w = _down(self.w, np.array([folds[f].w[i, col] if f in real else 0 for col, (f, i) in enumerate(top)]))
        self.fold = _right(self.fold, np.array([f for f, _ in left]))
        self.element = _right(self.element, np.array([i for _, i in left]))
        exchange = self.element == 0
        self.age = np.where(exchange, 0, self.age + 1)
        self._leave(exchange)
        self.resting = np.where(exchange, self.fold, self.resting)
        self.sums = np.where(exchange, 0, self.sums) + self.x * self.w

    def _leave(self, exchange: BoolArray) -> None:
        """A row takes what is above it from when the bottom row has been exchanged until nothing more is to come."""
        rows = self.rows
        self.leaving = np.where(exchange[-1], self.resting[-1], self.leaving)
        for col in range(self.cols):
            age, fold = self.age[-1, col], self.leaving[col]
            if age < rows and fold != NONE:
                self.left[fold][rows - 1 - age, col] = self.sums[-1, col] if age == 0 else self.out[-1, col]
                self.missing[fold] -= 1
        wait = (rows - 1 - np.arange(rows))[:, None]
        takes = (self.age >= wait) & (self.age <= rows - 2)
        above = _down(self.out, np.zeros(self.cols, dtype=np.int64))
        assert not (takes & exchange)[:-1].any(), "a sum would be lost: two are to rest in one register"
        self.out = np.where(takes, above, np.where(exchange, self.sums, self.out))


def _simulated(
    x: IntArray, w: IntArray, folds: list[_Fold], left: list[IntArray], cycles: int, product_cycles: int
) -> Simulated:
    product = np.zeros((len(x), w.shape[1]), dtype=np.int64)
    sums = 0
    for fold, each in zip(folds, left, strict=True):
        place = product[fold.rows, fold.cols]
        place += each[: place.shape[0], : place.shape[1]]
        sums += place.size
    return Simulated(
        product=product,
        cycles=cycles,
        product_cycles=product_cycles,
        folds=len(folds),
        x_read=0,
        w_read=0,
        sums=sums,
    )
