"""The array register by register, cycle by cycle: four parts side by side, one clock, one set of registers.

Slow twin of `bitwright.accelerators.dynamic_precision.latency`. The top left part takes the wide rows of x by the wide
columns of w, the top right one wide by narrow, the bottom ones narrow rows alike. Our reading of how four products
share an array: left parts are fed from the left edge and right parts from the right one; weights and partial sums of
top parts go by the top edge and those of bottom parts by the bottom edge. So each part, seen from its own corner, is
the same array, and a register at the cut takes nothing from across it. Seen from a part's corner, k goes along the
rows, n along the columns (weight-stationary), or m and n (output- stationary), where sums stay and leave for free, as
in SCALE-Sim's code.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bitwright.accelerators.dynamic_precision import bit_group
from bitwright.accelerators.dynamic_precision.latency import Dataflow
from bitwright.memory import IntArray

Registers = np.ndarray[Any, np.dtype[Any]]
Marks = npt.NDArray[np.bool_]
Fold = tuple[int, int]
"""Where it begins along k and n."""
PAIRS = ((8, 8), (8, 4), (4, 8), (4, 4))


@dataclasses.dataclass(kw_only=True)
class Part:
    """One part: its product [m, n] and the cycles until it is done.

    Attributes
    ----------
    x, w : IntArray
        [m, k] and [k, n].
    bits : (int, int)
        Of x and w: the mode.
    stream, rests, coming, sums : Registers
        Of its bit groups, seen from its corner [rows, cols]: the word of x; the weights that rest (output-stationary:
        the word of w); the weights that come in behind them; the sums.
    product : IntArray
        What has left.
    cycles : int
        So far.
    busy : int
        Cycles of bit groups with anything to multiply.
    multipliers : int
        Most multipliers of a bit group in a cycle.
    """

    x: IntArray
    w: IntArray
    bits: tuple[int, int]
    stream: Registers
    rests: Registers
    coming: Registers
    sums: Registers
    product: IntArray
    cycles: int = 0
    busy: int = 0
    multipliers: int = 0

    @property
    def fx(self) -> int:
        """Elements of x at a port."""
        return bit_group.per_port(self.bits[0])

    @property
    def fw(self) -> int:
        """Elements of w at a port."""
        return bit_group.per_port(self.bits[1])

    def multiply(self, words: list[int], weights: list[list[int]]) -> list[int]:
        """What a bit group adds to its sums; its work is counted."""
        sums, used = bit_group.cycle(words, weights, x_bits=self.bits[0], w_bits=self.bits[1])
        self.busy += used > 0
        self.multipliers = max(self.multipliers, used)
        return sums


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulated:
    """The product [m, n] of all four classes, scattered back, and its parts in the order of `PAIRS`."""

    product: IntArray
    parts: tuple[Part, ...]

    @property
    def cycles(self) -> int:
        """Until the last part is done."""
        return max(part.cycles for part in self.parts)


def simulate(
    dataflow: Dataflow,
    *,
    x: IntArray,
    w: IntArray,
    x_narrow: Marks,
    w_narrow: Marks,
    size: tuple[int, int],
    line: tuple[int, int],
) -> Simulated:
    """Run the four classes of x [m, k] by w [k, n] at once, in registers of one array.

    Parameters
    ----------
    x_narrow, w_narrow : Marks
        Which rows of x, and which columns of w, are narrow: what the index lists say.
    size : (int, int)
        Rows and columns of bit groups.
    line : (int, int)
        Those of them that wide rows and wide columns get.
    """
    (rows, cols), (row, col) = size, line
    arrays = [np.full((rows, cols), None, dtype=object) for _ in range(4)]
    above, below, left, right = slice(0, row), slice(row, rows), slice(0, col), slice(col, cols)
    corners = ((above, left, -1, 1), (above, right, -1, -1), (below, left, 1, 1), (below, right, 1, -1))
    parts, lists = [], []
    for (x_bits, w_bits), (down, across, flow, feed) in zip(PAIRS, corners, strict=True):
        m, n = np.flatnonzero(x_narrow == (x_bits == 4)), np.flatnonzero(w_narrow == (w_bits == 4))
        stream, rests, coming, sums = (each[down, across][::flow, ::feed] for each in arrays)
        product = np.zeros((len(m), len(n)), dtype=np.int64)
        parts.append(
            Part(
                x=x[m],
                w=w[:, n],
                bits=(x_bits, w_bits),
                stream=stream,
                rests=rests,
                coming=coming,
                sums=sums,
                product=product,
            )
        )
        lists.append((m, n))
    _run(dataflow, [part for part in parts if part.product.size])
    whole = np.zeros((len(x), w.shape[1]), dtype=np.int64)
    for part, (m, n) in zip(parts, lists, strict=True):
        whole[np.ix_(m, n)] = part.product
    return Simulated(product=whole, parts=tuple(parts))


def _run(dataflow: Dataflow, parts: list[Part]) -> None:
    """One cycle of every part, again and again, until all are done."""
    running = [(part, _sums_rest(part) if dataflow == "os" else _weights_rest(part, dataflow)) for part in parts]
    while running:
        going = []
        for part, clock in running:
            if next(clock, False):
                part.cycles += 1
                going.append((part, clock))
        running = going


def _weights_rest(part: Part, dataflow: Dataflow) -> Iterator[bool]:
    """Cycles of a weight-stationary part.

    `ws-double`: a fold's weights come in, row by row behind the stream of the fold before; a stream shorter than that
    takes is followed by bubbles, the last one too.
    """
    (rows, cols), (m, k), n = part.stream.shape, part.x.shape, part.w.shape[1]
    folds = [(at_k, at_n) for at_n in range(0, n, cols * part.fw) for at_k in range(0, k, rows * part.fx)]
    if dataflow == "ws":
        period = 2 * rows + cols + m - 2
        streams = [fold * period + rows for fold in range(len(folds))]
        loads = [start - rows for start in streams]
        end = len(folds) * period
    else:
        period = max(m, rows)
        streams = [fold * period + rows for fold in range(len(folds))]
        loads = [0, *streams[:-1]]
        end = len(folds) * period + 2 * rows + cols - 2
    for registers in (part.coming, part.rests, part.stream, part.sums):
        registers[:] = None
    for time in range(end):
        part.stream[:, 1:] = part.stream[:, :-1].copy()
        part.stream[:, 0] = None
        for fold, start in zip(folds, streams, strict=True):
            _enter(part, fold, time - start)
        _add_up(part)
        for fold, start, load in zip(folds, streams, loads, strict=True):
            _leave(part, fold, time - start - (rows - 1))
            _load(part, fold, time - load)
        yield True


def _enter(part: Part, fold: Fold, time: int) -> None:
    """Row i of the array takes word `time` - i of the stream, whose first one brings the new weights' turn with it."""
    (rows, cols), (m, k) = part.stream.shape, part.x.shape
    for row in range(rows):
        index = time - row
        if 0 <= index < m:
            part.stream[row, 0] = _words(part.x[index], fold[0], row, part.fx, k)
        if 0 <= index < cols:
            part.rests[row, index] = part.coming[row, index]


def _leave(part: Part, fold: Fold, time: int) -> None:
    """Column j hands out the sums of row `time` - j."""
    m, n = part.product.shape
    for col in range(part.sums.shape[1]):
        at, index = fold[1] + col * part.fw, time - col
        if 0 <= index < m and at < n:
            part.product[index, at : at + part.fw] += np.array(part.sums[-1, col][: n - at])


def _load(part: Part, fold: Fold, time: int) -> None:
    """Column j takes a row of weights, the last row first; those above the front move on, those below it stay."""
    rows, cols = part.coming.shape
    for col in range(cols):
        step = time - col
        if 0 <= step < rows:
            part.coming[1 : step + 1, col] = part.coming[:step, col].copy()
            part.coming[0, col] = _weights(part, fold, rows - 1 - step, col)


def _add_up(part: Part) -> None:
    """Sums move on by a row, and products are added."""
    above = np.concatenate([np.full_like(part.sums[:1], None), part.sums[:-1]])
    for (row, col), words in np.ndenumerate(part.stream):
        carried = above[row, col] or [0] * part.fw
        weights: Any = part.rests[row, col]
        added = part.multiply(words, weights) if words and weights else []
        part.sums[row, col] = [a + b for a, b in zip(carried, added + [0] * (part.fw - len(added)), strict=True)]


def _words(x: IntArray, at: int, row: int, count: int, limit: int) -> list[int]:
    """Up to `count` neighbours that enter a row together."""
    start = at + row * count
    found: list[int] = x[start : min(limit, start + count)].tolist()
    return found


def _weights(part: Part, fold: Fold, row: int, col: int) -> list[list[int]]:
    """What rests in a bit group, by k, then by n; nothing beyond the edge."""
    k, n = fold[0] + row * part.fx, fold[1] + col * part.fw
    block: list[list[int]] = part.w[k : k + part.fx, n : n + part.fw].tolist()
    return [each for each in block if each]


def _sums_rest(part: Part) -> Iterator[bool]:
    """Cycles of an output-stationary part: x enters from one side, w from the other, both skewed."""
    (rows, cols), (m, k), n = part.stream.shape, part.x.shape, part.w.shape[1]
    for at_m in range(0, m, rows * part.fx):
        for at_n in range(0, n, cols * part.fw):
            part.stream[:], part.rests[:] = None, None
            totals = np.zeros((rows * part.fx, cols * part.fw), dtype=np.int64)
            for time in range(k + rows + cols - 2):
                part.stream[:, 1:] = part.stream[:, :-1].copy()
                part.rests[1:] = part.rests[:-1].copy()
                for row in range(rows):
                    index = time - row
                    part.stream[row, 0] = _words(part.x[:, index], at_m, row, part.fx, m) if 0 <= index < k else None
                for col in range(cols):
                    index = time - col
                    part.rests[0, col] = _words(part.w[index], at_n, col, part.fw, n) if 0 <= index < k else None
                _multiply_words(part, totals)
                yield True
            block = part.product[at_m : at_m + rows * part.fx, at_n : at_n + cols * part.fw]
            block += totals[: block.shape[0], : block.shape[1]]


def _multiply_words(part: Part, totals: IntArray) -> None:
    """Each bit group multiplies each element of its word of x by each of its word of w."""
    for (row, col), words in np.ndenumerate(part.stream):
        weights: Any = part.rests[row, col]
        if not words or not weights:
            continue
        columns = slice(col * part.fw, col * part.fw + len(weights))
        used = 0
        for i, word in enumerate(words):
            sums, multipliers = bit_group.cycle([word], [weights], x_bits=part.bits[0], w_bits=part.bits[1])
            totals[row * part.fx + i, columns] += sums
            used += multipliers
        part.busy += 1
        part.multipliers = max(part.multipliers, used)
