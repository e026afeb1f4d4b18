"""Our reconstruction of Drift's array: bit groups cut into four parts, each with a control of its own.

One row line and one column line part wide and narrow rows of x and columns of w. Left parts are fed from the left edge
and right ones from the right; sums begin at the row line and leave by the upper or the lower edge; weights come by a
wire along the column from that edge, the row at the line first. So seen from its corner at the line each part is a
weight-stationary array whose folds follow one another. All that tells parts apart are the selectors and modes of the
groups. Sums of narrow codes count 2^(bits that row and column dropped), and are shifted where they leave. Closed form:
`bitwright.accelerators.dynamic_precision.latency`; slow twin:
`bitwright.accelerators.dynamic_precision.register_level`.
"""

import dataclasses
import types
from collections.abc import Sequence
from typing import Any

import numpy as np

from bitwright.circuits.arrays.bench import Fold, delayed, parts, simulate
from bitwright.circuits.arrays.weight_stationary import asks, control
from bitwright.circuits.bit_group import COLUMNS, DIGIT, PORT, BitGroup
from bitwright.circuits.circuit import Integers, place

WIDE = -1
"""Shift of a row or column that dropped nothing and has 8 bits."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutRan:
    """The product [m, n], and cycles of the four parts until their last sum has left: wide by wide first."""

    product: Integers
    cycles: tuple[int, int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """A part and its product.

    Attributes
    ----------
    name : str
        Of its signals.
    rows, cols : range
        Its bit groups, from its corner on: from the row line, and from the edge that it is fed from.
    x_bits, w_bits : int
        8 or 4.
    x, w : array
        [m, k] and [k, n].
    """

    name: str
    rows: range
    cols: range
    x_bits: int
    w_bits: int
    x: Integers
    w: Integers

    @property
    def deep(self) -> int:
        """Elements of x in a word."""
        return PORT // self.x_bits

    @property
    def wide(self) -> int:
        """Columns of w in a bit group."""
        return PORT // self.w_bits

    def folds(self) -> list[Fold]:
        """Words of x [m, rows] and of weights [rows, cols], fold by fold of k within folds of n."""
        depth, width = len(self.rows) * self.deep, len(self.cols) * self.wide
        found = []
        for n in parts(self.w.shape[1], width):
            for k in parts(len(self.w), depth):
                x = np.zeros((len(self.x), depth), np.int64)
                x[:, : k.stop - k.start] = self.x[:, k]
                w = np.zeros((depth, width), np.int64)
                w[: k.stop - k.start, : n.stop - n.start] = self.w[k, n]
                row_words = w.reshape(depth, len(self.cols), self.wide)
                group_words = _words(row_words, self.w_bits).reshape(len(self.rows), self.deep, len(self.cols))
                x_words = _words(x.reshape(len(x), len(self.rows), self.deep), self.x_bits)
                weights = _words(group_words.transpose(0, 2, 1), PORT)
                found.append(Fold(x=x_words, w=weights, m=slice(None), n=n))
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class CutArray:
    """Bit groups between lines.

    Attributes
    ----------
    rows, cols : int
        Bit groups.
    row_line, col_line : int
        Rows of wide x and columns of wide w.
    """

    rows: int
    cols: int
    row_line: int
    col_line: int

    def run(self, x: Integers, w: Integers, x_shifts: Integers, w_shifts: Integers) -> CutRan:
        """Signed codes x [m, k] by w [k, n]; narrow rows and columns are multiples of 2^shift, wide ones have -1."""
        classes = self._parts(x, w, x_shifts, w_shifts)
        m, ports = self.built([part for part, _, _ in classes])
        folds = [part.folds() for part, _, _ in classes]
        left: list[list[list[list[int]]]] = [[[] for _ in part.cols] for part, _, _ in classes]
        cycles = [0] * len(classes)

        def clock(context: Any, at: int) -> bool:
            for number, (io, words, sums) in enumerate(zip(ports, folds, left, strict=True)):
                if at == 0:
                    context.set(io.folds, len(words))
                _answer(context, io, words)
                if _hear(context, io, sums):
                    cycles[number] = at
            return all(
                len(sums[-1]) == len(part.x) * len(words)
                for sums, words, (part, _, _) in zip(left, folds, classes, strict=True)
            )

        simulate(m, clock)
        product = np.zeros((len(x), w.shape[1]), np.int64)
        for (part, rows, columns), words, sums in zip(classes, folds, left, strict=True):
            shift = np.maximum(x_shifts[rows, None], 0) + np.maximum(w_shifts[None, columns], 0)
            product[np.ix_(rows, columns)] = _assembled(part, words, np.array(sums)) << shift
        of_class = {part.name: spent for (part, _, _), spent in zip(classes, cycles, strict=True)}
        first, second, third, fourth = (of_class.get(f"a{a}w{b}", 0) for a in (8, 4) for b in (8, 4))
        return CutRan(product=product, cycles=(first, second, third, fourth))

    def _parts(
        self, x: Integers, w: Integers, x_shifts: Integers, w_shifts: Integers
    ) -> list[tuple[Part, Integers, Integers]]:
        """Parts that have work, and the rows and columns of their products."""
        found = []
        for x_bits, rows in ((8, range(self.row_line - 1, -1, -1)), (4, range(self.row_line, self.rows))):
            for w_bits, cols in ((8, range(self.col_line)), (4, range(self.cols - 1, self.col_line - 1, -1))):
                m, n = (
                    np.flatnonzero((x_shifts >= 0) == (x_bits == 4)),
                    np.flatnonzero((w_shifts >= 0) == (w_bits == 4)),
                )
                if len(m) and len(n):
                    codes_x = x[m] >> np.maximum(x_shifts[m, None], 0)
                    codes_w = w[:, n] >> np.maximum(w_shifts[None, n], 0)
                    name = f"a{x_bits}w{w_bits}"
                    part = Part(name=name, rows=rows, cols=cols, x_bits=x_bits, w_bits=w_bits, x=codes_x, w=codes_w)
                    found.append((part, m, n))
        return found

    def built(self, classes: Sequence[Part]) -> tuple[Any, list[Any]]:
        """The array in a module of Amaranth's, and the ports of each part."""
        from amaranth.hdl import Module

        m, cell = Module(), BitGroup(cuts=True, sum_bits=32)
        groups = [[place(m, cell, f"group{row}_{col}") for col in range(self.cols)] for row in range(self.rows)]
        for row, line in enumerate(groups):
            for col, group in enumerate(line):
                if col:
                    m.d.comb += group.x_west.eq(line[col - 1].x_out)
                if col + 1 < self.cols:
                    m.d.comb += group.x_east.eq(line[col + 1].x_out)
                for neighbour, sums in ((row - 1, group.sum_above), (row + 1, group.sum_below)):
                    if 0 <= neighbour < self.rows:
                        m.d.comb += [a.eq(b) for a, b in zip(sums, groups[neighbour][col].sum, strict=True)]
        return m, [self._part(m, part, groups) for part in classes]

    def _part(self, m: Any, part: Part, groups: list[list[Any]]) -> Any:
        """A part's control, its edges, and what its groups are told."""
        from amaranth.hdl import Cat, Signal

        name, bottom = part.name, len(part.rows) - 1
        io = types.SimpleNamespace(
            x=[Signal(PORT, name=f"{name}_x{row}") for row in range(len(part.rows))],
            w=[Signal(2 * PORT, name=f"{name}_w{col}") for col in range(len(part.cols))],
            valid=[Signal(name=f"{name}_valid{col}") for col in range(len(part.cols))],
            sums=[groups[part.rows[-1]][col].sum for col in part.cols],
        )
        asks(io)
        leaves, marks = Signal(name=f"{name}_leaves"), Signal(3, name=f"{name}_marks")
        length = len(part.x)
        control(m, io, rows=len(part.rows), length=length, leaves=leaves, hidden=True, pipelined=True)
        x_last = io.x_valid & (io.x_element == length - 1)
        m.d.comb += marks.eq(Cat(io.x_valid, io.x_valid & (io.x_element == 0), x_last))
        x, w = delayed(m, io.x, f"{name}_x_skew"), delayed(m, io.w, f"{name}_w_skew")
        x_marks = delayed(m, [marks] * len(part.rows), f"{name}_mark_skew")
        load = Cat(*(io.w_valid & (io.w_element == row) for row in range(len(part.rows))))
        loads = delayed(m, [load] * len(part.cols), f"{name}_load_skew")
        narrow_x, narrow_w = int(part.x_bits == DIGIT), int(part.w_bits == DIGIT)
        from_east, from_below = int(part.cols.step < 0), int(part.rows.step < 0)
        for at_row, row in enumerate(part.rows):
            mark = x_marks[at_row]
            for at_col, col in enumerate(part.cols):
                group = groups[row][col]
                m.d.comb += [
                    *(port.eq(1) for port in (group.x_signed, group.w_signed)),
                    group.x_narrow.eq(narrow_x),
                    group.w_narrow.eq(narrow_w),
                    group.from_east.eq(from_east),
                    group.from_below.eq(from_below),
                    group.begins.eq(int(at_row == 0)),
                    group.w.eq(w[at_col]),
                    group.load.eq(loads[at_col][at_row]),
                    group.take.eq(mark[1]),
                ]
                if at_col == 0:
                    m.d.comb += (group.x_east if from_east else group.x_west).eq(x[at_row])
                held = Signal(3, name=f"{name}_mark{at_row}_{at_col}")
                m.d.sync += held.eq(mark)
                if at_row == bottom:
                    m.d.comb += io.valid[at_col].eq(held[0])
                    if at_col + 1 == len(part.cols):
                        m.d.comb += leaves.eq(mark[2])
                mark = held
        return io


def _answer(context: Any, io: Any, words: list[Fold]) -> None:
    """Put the words that a part asks for."""
    if context.get(io.x_valid):
        row = words[context.get(io.x_fold)].x[context.get(io.x_element)]
        for port, value in zip(io.x, row.tolist(), strict=True):
            context.set(port, value)
    if context.get(io.w_valid):
        row = words[context.get(io.w_fold)].w[context.get(io.w_element)]
        for port, value in zip(io.w, row.tolist(), strict=True):
            context.set(port, value)


def _hear(context: Any, io: Any, sums: list[list[list[int]]]) -> bool:
    """Take the sums that leave a part's columns in this clock, and say whether there are any."""
    heard = False
    for valid, found, totals in zip(io.valid, sums, io.sums, strict=True):
        if context.get(valid):
            found.append([context.get(total) for total in totals])
            heard = True
    return heard


def _assembled(part: Part, folds: list[Fold], sums: Integers) -> Integers:
    """A part's product of codes [m, n] from its columns' sums, in the order in which they left."""
    rows = len(part.x)
    found = np.zeros((rows, part.w.shape[1]), np.int64)
    of_folds = sums.reshape(len(part.cols), len(folds), rows, COLUMNS)[..., : part.wide]
    for at, fold in enumerate(folds):
        block = of_folds[:, at].transpose(1, 0, 2).reshape(rows, -1)
        found[:, fold.n] += block[:, : fold.n.stop - fold.n.start]
    return found


def _words(codes: Integers, bits: int) -> Integers:
    """Elements along the last axis side by side, the first in the lowest bits."""
    patterns = (codes & ((1 << bits) - 1)) << bits * np.arange(codes.shape[-1])
    found: Integers = patterns.sum(-1)
    return found
