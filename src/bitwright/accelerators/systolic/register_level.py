"""Dense arrays register by register, cycle by cycle: the slow twin of the closed forms in `dataflow`.

Every cycle each register of a systolic array takes its neighbour's value, as in hardware; SIMD lanes hear a broadcast.
x [m, k] and w [k, n] are integers; the result is their product, what crossed the array's edges, and the cycles it took.
Control is local: an element carries the name of its fold and whether it is the first, a weight on its way down the hops
that are before it, and a unit counts the cycles since its sum was exchanged. Folds start as soon as the registers that
they need are free; how long anything takes is not computed beforehand.
"""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from bitwright.memory import IntArray
from bitwright.memory.gemm import BoolArray

Element = tuple[int, int]
"""A fold and one of its elements."""
NONE = -1
NOTHING: Element = (NONE, NONE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """What came of a product.

    Attributes
    ----------
    product : IntArray
        The sums that left the array, added up [m, n].
    cycles : int
        Until the last sum has left.
    product_cycles : int
        Until the last multiplication is done.
    folds : int
        How often what rests was exchanged.
    x_read, w_read : int
        Elements that entered, but for padding.
    sums : int
        Sums that left, but for padding.
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
    """What an array works on at a time: parts of the operands, padded, and their places in these."""

    x: IntArray
    w: IntArray
    m: slice
    k: slice
    n: slice


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

    Parameters
    ----------
    x, w : IntArray
        Operands.
    rows, cols : int
        Of the array.
    hidden : bool
        Whether the next fold's weights enter second registers behind the stream.
    pipelined : bool
        Whether the next fold's x, or its weights, follow the stream before its sums have left.
    tile : tuple of int or None
        Extents (m, k, n) of tiles, which follow one another; None: there is one.
    block : int
        Elements of k with one scale; 0: all.
    """
    folds = [
        _Fold(x=_padded(x[m, k], m.stop - m.start, rows), w=_padded(w[k, col], rows, cols), m=m, k=k, n=col)
        for m, tile_k, n in _tiles(x, w, tile)
        for col in _parts(n, cols)
        for same_scale in _parts(tile_k, block or len(w))
        for k in _parts(same_scale, rows)
    ]
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

    Sums leave by registers of their own, exchanged by the first element of the next fold. `pipelined`: it follows the
    last one at once, if sums before have left; otherwise only when all units are done. For the rest see
    `weight_stationary`.
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

    `pipelined`: by registers of their own, behind the next fold; otherwise lanes wait. For the rest see
    `weight_stationary`.
    """
    folds = _output_folds(x, w, rows, cols, tile, block)
    left, cycles, product_cycles = (_lanes if pipelined else _lanes_alone)(folds, rows, cols)
    return _simulated(x, w, folds, left, cycles, product_cycles)


class _WeightStationary:
    """Registers of a weight-stationary array, and what is on its edges."""

    def __init__(self, folds: list[_Fold], rows: int, cols: int, *, hidden: bool, pipelined: bool) -> None:
        self.folds, self.rows, self.cols, self.hidden, self.pipelined = folds, rows, cols, hidden, pipelined
        self.x, self.psum, self.active, self.entered, self.hops = _registers(5, rows, cols)
        """`entered` are the weights that go down, and rest unless `hidden`; `hops` the rows that are before them."""
        self.fold, self.element = (np.full((rows, cols), NONE) for _ in range(2))
        """Which element of which fold is in `x`."""
        self.streamed: list[Element] = [NOTHING]
        self.loaded: list[Element] = [NOTHING]
        """Which x entered the first row, and which weight the first column, cycle by cycle."""
        self.left = [np.zeros((len(fold.x), cols), dtype=np.int64) for fold in folds]
        self.started, self.streaming_done, self.loading_done = NONE, NONE, NONE
        """The latest fold whose first x, last x, last weight have entered."""
        self.missing = [len(fold.x) * cols for fold in folds]
        """Sums of each fold that have not left."""

    def run(self) -> int:
        """Cycles until the last sum has left."""
        cycles = 0
        while self.missing[-1]:
            x = self._next_x()
            self.started = max(self.started, x[0])
            weights = self._next_weights()
            self.streamed.append(x)
            self.loaded.append(weights)
            self._step()
            if x[0] != NONE and x[1] + 1 == len(self.folds[x[0]].x):
                self.streaming_done = x[0]
            if weights[1] + 1 == self.rows:
                self.loading_done = weights[0]
            cycles += 1
        return cycles

    def _next_x(self) -> Element:
        fold, element = self.streamed[-1]
        if fold > self.streaming_done:
            return fold, element + 1
        following = self.started + 1
        free = self.pipelined or self._empty()
        return (following, 0) if self.loading_done == following and free else NOTHING

    def _next_weights(self) -> Element:
        fold, element = self.loaded[-1]
        if fold > self.loading_done:
            return fold, element + 1
        following = self.loading_done + 1
        if following == len(self.folds):
            return NOTHING
        if self.hidden:  # the fold before takes its weights out of the registers that they entered
            free = self.started == self.loading_done
        else:  # the fold before has no use of its weights any more
            free = self.streaming_done == self.loading_done and (self.pipelined or self._empty())
        return (following, 0) if free else NOTHING

    def _empty(self) -> bool:
        """Whether no sums are in the array."""
        return self.started == NONE or not self.missing[self.started]

    def _step(self) -> None:
        edge = [_late(self.streamed, row) for row in range(self.rows)]
        values = [self.folds[fold].x[i, row] if fold != NONE else 0 for row, (fold, i) in enumerate(edge)]
        self.x = _right(self.x, np.array(values))
        self.fold, self.element = _right(self.fold, _first(edge)), _right(self.element, _second(edge))
        self.active = np.where(self.element == 0, self.entered, self.active) if self.hidden else self.entered
        self.psum = _down(self.psum, np.zeros(self.cols, dtype=np.int64)) + self.x * self.active
        for col in range(self.cols):
            fold = self.fold[-1, col]
            if fold != NONE:
                self.left[fold][self.element[-1, col], col] = self.psum[-1, col]
                self.missing[fold] -= 1
        self._load()

    def _load(self) -> None:
        """Weights go down while there are hops before them; the bottom row's enter first."""
        bottom = self.rows - 1
        edge = [_late(self.loaded, col) for col in range(self.cols)]
        values = [self.folds[fold].w[bottom - i, col] if fold != NONE else 0 for col, (fold, i) in enumerate(edge)]
        hops = _down(self.hops - 1, np.array([bottom - i if fold != NONE else NONE for fold, i in edge]))
        self.entered = np.where(hops >= 0, _down(self.entered, np.array(values)), self.entered)
        self.hops = np.maximum(hops, 0)


class _OutputStationary:
    """Registers of an output-stationary array, and what is on its edges."""

    def __init__(self, folds: list[_Fold], rows: int, cols: int, *, pipelined: bool) -> None:
        self.folds, self.rows, self.cols, self.pipelined = folds, rows, cols, pipelined
        self.x, self.w, self.sums, self.out = _registers(4, rows, cols)
        self.fold, self.element, self.resting = (np.full((rows, cols), NONE) for _ in range(3))
        """Which element of which fold is in `x` and `w`, and whose `sums` are."""
        self.age = np.full((rows, cols), rows - 1)
        """Cycles since a unit's sum was exchanged."""
        self.leaving = np.full(cols, NONE)
        """Whose sums leave each column."""
        self.streamed: list[Element] = [NOTHING]
        self.left = [np.zeros((rows, cols), dtype=np.int64) for _ in folds]
        self.started, self.streaming_done, self.products_done = NONE, NONE, NONE
        self.missing = rows * cols * len(folds)
        self.product_cycles = 0

    def run(self) -> int:
        """Cycles until the last sum has left."""
        cycles = 0
        while self.missing:
            fold, element = self._next()
            self.started = max(self.started, fold)
            self.streamed.append((fold, element))
            self._step()
            cycles += 1
            if fold != NONE and element + 1 == self._length(fold):
                self.streaming_done = fold
            multiplied, element = int(self.fold[-1, -1]), int(self.element[-1, -1])
            if NONE < multiplied < len(self.folds):
                self.product_cycles = cycles
                if element + 1 == self._length(multiplied):
                    self.products_done = multiplied
        return cycles

    def _length(self, fold: int) -> int:
        """Elements of a fold; behind the last comes a flag alone, which sends its sums out."""
        return self.folds[fold].x.shape[1] if fold < len(self.folds) else 1

    def _next(self) -> Element:
        fold, element = self.streamed[-1]
        if fold > self.streaming_done:
            return fold, element + 1
        free = self.age[0, 0] >= self.rows - 1  # as many cycles as there are sums on the one way out of a column
        if not self.pipelined:
            free &= self.products_done == self.started
        return (self.started + 1, 0) if free and self.started < len(self.folds) else NOTHING

    def _step(self) -> None:
        left, top = ([_late(self.streamed, delay) for delay in range(size)] for size in (self.rows, self.cols))
        real, folds = range(len(self.folds)), self.folds
        self.x = _right(self.x, np.array([folds[f].x[row, i] if f in real else 0 for row, (f, i) in enumerate(left)]))
        self.w = _down(self.w, np.array([folds[f].w[i, col] if f in real else 0 for col, (f, i) in enumerate(top)]))
        self.fold, self.element = _right(self.fold, _first(left)), _right(self.element, _second(left))
        exchange = self.element == 0
        assert (self.age[exchange] >= self.rows - 1).all(), "sums before are still on their way out"
        self.age = np.where(exchange, 0, self.age + 1)
        self._leave(exchange)
        self.resting = np.where(exchange, self.fold, self.resting)
        self.sums = np.where(exchange, 0, self.sums) + self.x * self.w

    def _leave(self, exchange: BoolArray) -> None:
        """The bottom row's sum leaves as it is exchanged, and draws those above it after it, cycle by cycle."""
        self.leaving = np.where(exchange[-1], self.resting[-1], self.leaving)
        for col in range(self.cols):
            age, fold = self.age[-1, col], self.leaving[col]
            if age < self.rows and fold != NONE:
                self.left[fold][self.rows - 1 - age, col] = self.sums[-1, col] if age == 0 else self.out[-1, col]
                self.missing -= 1
        rows_below = np.arange(self.rows)[::-1, None]
        draws = (rows_below <= self.age) & (self.age < self.rows - 1)
        above = _down(self.out, np.zeros(self.cols, dtype=np.int64))
        self.out = np.where(draws, above, np.where(exchange, self.sums, self.out))


def _lanes(folds: list[_Fold], rows: int, cols: int) -> tuple[list[IntArray], int, int]:
    """Sums that left and cycles of lanes with registers of their own for sums on their way out."""
    sums, out = _registers(2, rows, cols)
    left: list[IntArray] = []  # rows, bottom first
    cycles, product_cycles, waiting = 0, 0, 0

    def step() -> None:
        nonlocal out, cycles, waiting
        if waiting:
            left.append(out[-1])
            out, waiting = _down(out, np.zeros(cols, dtype=np.int64)), waiting - 1
        cycles += 1

    for fold in folds:
        while waiting:
            step()
        out, sums, waiting = sums, np.zeros_like(sums), rows
        for each in range(len(fold.w)):
            sums = sums + np.outer(fold.x[:, each], fold.w[each])
            step()
        product_cycles = cycles
    while waiting:
        step()
    out, waiting = sums, rows
    while waiting:
        step()
    of_folds = [np.array(left[start : start + rows][::-1]) for start in range(rows, len(left), rows)]
    return of_folds, cycles, product_cycles


def _lanes_alone(folds: list[_Fold], rows: int, cols: int) -> tuple[list[IntArray], int, int]:
    """Sums that left and cycles of lanes whose sums go down through one another."""
    left: list[IntArray] = []
    cycles, product_cycles = 0, 0
    for fold in folds:
        sums = np.zeros((rows, cols), dtype=np.int64)
        for each in range(len(fold.w)):
            sums = sums + np.outer(fold.x[:, each], fold.w[each])
            cycles += 1
        product_cycles = cycles
        out: list[IntArray] = []
        while len(out) < rows:
            out.append(sums[-1])
            sums = _down(sums, np.zeros(cols, dtype=np.int64))
            cycles += 1
        left.append(np.array(out[::-1]))
    return left, cycles, product_cycles


def _simulated(
    x: IntArray, w: IntArray, folds: list[_Fold], left: list[IntArray], cycles: int, product_cycles: int
) -> Simulated:
    product = np.zeros((len(x), w.shape[1]), dtype=np.int64)
    sums = 0
    for fold, each in zip(folds, left, strict=True):
        place = product[fold.m, fold.n]
        place += each[: place.shape[0], : place.shape[1]]
        sums += place.size
    return Simulated(
        product=product,
        cycles=cycles,
        product_cycles=product_cycles,
        folds=len(folds),
        x_read=sum(x[fold.m, fold.k].size for fold in folds),
        w_read=sum(w[fold.k, fold.n].size for fold in folds),
        sums=sums,
    )


def _output_folds(
    x: IntArray, w: IntArray, rows: int, cols: int, tile: tuple[int, int, int] | None, block: int
) -> list[_Fold]:
    return [
        _Fold(
            x=_padded(x[row, k], rows, k.stop - k.start),
            w=_padded(w[k, col], k.stop - k.start, cols),
            m=row,
            k=k,
            n=col,
        )
        for m, tile_k, n in _tiles(x, w, tile)
        for col in _parts(n, cols)
        for row in _parts(m, rows)
        for k in _parts(tile_k, block or len(w))
    ]


def _tiles(x: IntArray, w: IntArray, tile: tuple[int, int, int] | None) -> Iterator[tuple[slice, slice, slice]]:
    whole = [slice(0, extent) for extent in (*x.shape, w.shape[1])]
    sizes = [each.stop for each in whole] if tile is None else tile
    m, k, n = (_parts(each, size) for each, size in zip(whole, sizes, strict=True))
    yield from itertools.product(m, k, n)


def _parts(whole: slice, size: int) -> list[slice]:
    return [slice(start, min(start + size, whole.stop)) for start in range(whole.start, whole.stop, size)]


def _registers(kinds: int, rows: int, cols: int) -> list[IntArray]:
    return [np.zeros((rows, cols), dtype=np.int64) for _ in range(kinds)]


def _late(entered: list[Element], delay: int) -> Element:
    """What entered so many cycles ago."""
    return entered[-1 - delay] if delay < len(entered) else NOTHING


def _first(edge: list[Element]) -> IntArray:
    return np.array([fold for fold, _ in edge])


def _second(edge: list[Element]) -> IntArray:
    return np.array([element for _, element in edge])


def _right(registers: IntArray, entering: IntArray) -> IntArray:
    return np.concatenate([entering[:, None], registers[:, :-1]], axis=1)


def _down(registers: IntArray, entering: IntArray) -> IntArray:
    return np.concatenate([entering[None, :], registers[:-1]], axis=0)


def _padded(block: IntArray, rows: int, cols: int) -> IntArray:
    padded = np.zeros((rows, cols), dtype=np.int64)
    padded[: block.shape[0], : block.shape[1]] = block
    return padded
