"""LPA's array with its control: decoders at two edges, processing elements whose weights rest, encoders below.

Cells are `LpaPe`; control, skew and marks are those of `WeightStationaryArray`. A word of 8 bits enters at the top of
each column: one weight of 8 bits, two of 4 or four of 2, which are neighbours along n and have lanes of their own. x
enters decoded at the left, a word a row. Sums of the fold of k before come in above the top row, so that a running sum
of few bits is rounded product by product, over folds as within one. Below, an encoder a lane makes words of finished
sums, narrow ones; exact ones leave as they are. The next weights wait in second registers of the cells where loading is
hidden. Closed form: `bitwright.accelerators.systolic.dataflow.WeightStationary`, with as many columns of w in a unit as
a word has weights.
"""

import dataclasses
import types
from typing import Any, Literal

import numpy as np

from bitwright.circuits.arrays.bench import Fold, delayed, padded, parts, simulate
from bitwright.circuits.arrays.weight_stationary import asks, control
from bitwright.circuits.circuit import Integers, place
from bitwright.circuits.log_posit_decoder import WIDTHS, WORD, LogPositDecoder
from bitwright.circuits.log_posit_encoder import LogPositEncoder
from bitwright.circuits.lpa_pe import LpaPe, W, X
from bitwright.formats import LogPosit

LANES_OF_WORDS = {8: (0,), 4: (0, 2), 2: (0, 1, 2, 3)}
"""By the width of weights."""

Sum = tuple[int, ...]
"""What the ports of a lane's sum carry."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Heard:
    """What leaves a column in a clock: sums by lane, and codes of their words where there are encoders."""

    sums: list[Sum]
    codes: list[int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogPositRan:
    """What came of a product.

    Attributes
    ----------
    product : float array
        Sums at sf = 0, each exactly as it left [m, n].
    words : array
        Codes that encoders made of them; zeros where sums are exact.
    cycles : int
        Until the last sum has left.
    """

    product: np.ndarray[Any, np.dtype[np.float64]]
    words: Integers
    cycles: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogPositArray:
    """Rows of cells along k, columns along n.

    Attributes
    ----------
    rows, cols : int
        Cells.
    x, w, y : LogPosit
        Formats of 8, 4 or 2 bits: of operands, and of words that leave.
    sums : str
        `narrow`, rounded to 8, 4 or 2 bits by mode, or `exact`.
    scale : int
        What encoders add to log2 of a sum, in units of 2^-7.
    hidden, pipelined : bool
        As of `WeightStationaryArray`.
    """

    rows: int
    cols: int
    x: LogPosit
    w: LogPosit
    y: LogPosit
    sums: Literal["narrow", "exact"] = "narrow"
    scale: int = 0
    hidden: bool = True
    pipelined: bool = True

    @property
    def cell(self) -> LpaPe:
        """One of them, for these formats."""
        fraction_bits = max(1, self.x.fraction_bits, self.w.fraction_bits)
        reach = [1 + int(np.abs(fmt.log2_parts()[1]).max() >> fmt.fraction_bits) for fmt in (self.x, self.w)]
        return LpaPe(
            fraction_bits=fraction_bits, sums=self.sums, double=self.hidden, reach=max(reach), reach_4=max(reach)
        )

    @property
    def lanes(self) -> tuple[int, ...]:
        """Those that have weights."""
        return LANES_OF_WORDS[self.w.bits]

    def run(self, x: Integers, w: Integers) -> LogPositRan:
        """Codes x [m, k] by w [k, n], fold by fold of k within folds of n."""
        width = self.cols * len(self.lanes)
        folds = [
            Fold(
                x=padded(x[:, k], (len(x), self.rows)) << (WORD - self.x.bits),
                w=self._words(padded(w[k, n], (self.rows, width))),
                m=slice(None),
                n=n,
            )
            for n in parts(w.shape[1], width)
            for k in parts(len(w), self.rows)
        ]
        steps = -(-len(w) // self.rows)
        m, io = self.built(len(x))
        left: list[list[Heard]] = [[] for _ in range(self.cols)]
        cycles = 0

        def clock(context: Any, at: int) -> bool:
            nonlocal cycles
            if at == 0:
                context.set(io.folds, len(folds))
            for valid, heard, sums, words in zip(io.valid, left, io.sums, io.words, strict=True):
                if context.get(valid):
                    codes = [context.get(word) >> (WORD - self.y.bits) for word in words]
                    heard.append(Heard(sums=[tuple(context.get(port) for port in lane) for lane in sums], codes=codes))
            self._feed(context, io, folds)
            self._carry(context, io, left, len(x), steps)
            cycles = at
            return len(left[-1]) == len(x) * len(folds)

        simulate(m, clock)
        product, codes = np.zeros((len(x), w.shape[1])), np.zeros((len(x), w.shape[1]), np.int64)
        for number in range(steps - 1, len(folds), steps):
            first = folds[number].n.start
            for row, col in np.ndindex(len(x), folds[number].n.stop - first):
                cell, lane = divmod(col, len(self.lanes))
                heard = left[cell][number * len(x) + row]
                product[row, first + col] = self._value(heard.sums[lane], lane)
                codes[row, first + col] = heard.codes[lane] if heard.codes else 0
        return LogPositRan(product=product, words=codes, cycles=cycles)

    def _feed(self, context: Any, io: Any, folds: list[Fold]) -> None:
        """Put the words that the control asks for; weights of the bottom row first."""
        for operand, ports in (("x", io.x), ("w", io.w)):
            if context.get(getattr(io, f"{operand}_valid")):
                fold, element = (context.get(getattr(io, f"{operand}_{what}")) for what in ("fold", "element"))
                row = folds[fold].x[element] if operand == "x" else folds[fold].w[self.rows - 1 - element]
                for port, value in zip(ports, row.tolist(), strict=True):
                    context.set(port, value)

    def _carry(self, context: Any, io: Any, left: list[list[Heard]], length: int, steps: int) -> None:
        """Put sums of the fold before above the top row, or zeros where a reduction begins."""
        for heard, (asked, fold, element), lanes in zip(left, io.above, io.sums_in, strict=True):
            if context.get(asked):
                number = context.get(fold)
                before = heard[(number - 1) * length + context.get(element)].sums if number % steps else None
                for lane, ports in enumerate(lanes):
                    for at, port in enumerate(ports):
                        context.set(port, before[lane][at] if before else 0)

    def _words(self, codes: Integers) -> Integers:
        """Weights of each word [rows, cols], the first one in its highest bits."""
        count = len(self.lanes)
        shifts = WORD - self.w.bits * (1 + np.arange(count))
        words: Integers = (codes.reshape(len(codes), -1, count) << shifts).sum(-1)
        return words

    def _value(self, total: Sum, lane: int) -> float:
        """What a lane's sum stands for."""
        cell = self.cell
        if self.sums == "exact":
            scales = 2 * cell.reach, cell.reach, cell.reach + cell.reach_4, cell.reach
            return float(total[0]) * 2.0 ** -(scales[self.lanes[lane]] + cell.fraction_bits)
        sign, exponent, significand = total
        below = max(cell.bits_8, cell.bits_4, cell.bits_2) - 1
        return float((-1) ** sign * significand) * 2.0 ** (exponent - below)

    def built(self, length: int) -> tuple[Any, Any]:
        """The array in a module of Amaranth's, for streams of so many x, and its ports."""
        from amaranth.hdl import Module, Signal

        m, cell = Module(), self.cell
        io = types.SimpleNamespace(
            x=[Signal(WORD, name=f"x{row}") for row in range(self.rows)],
            w=[Signal(WORD, name=f"w{col}") for col in range(self.cols)],
            valid=[Signal(name=f"valid{col}") for col in range(self.cols)],
        )
        asks(io)
        leaves = Signal(name="leaves")
        ideals = {"hidden": self.hidden, "pipelined": self.pipelined}
        control(m, io, rows=self.rows, length=length, leaves=leaves, **ideals)
        columns = range(self.cols)
        asked, fold, element = (
            delayed(m, [value] * self.cols, f"above_{name}")
            for name, value in (("valid", io.x_valid), ("fold", io.x_fold), ("element", io.x_element))
        )
        io.above = [(asked[col], fold[col], element[col]) for col in columns]
        cells = self._cells(m, io, cell, length, leaves)
        names = [port.name for port in cell.ports().outputs if port.name.startswith("sum")]
        io.sums_in = [
            [[getattr(cells[0][col], f"{name}_in")[lane] for name in names] for lane in self.lanes] for col in columns
        ]
        io.sums = [[[getattr(cells[-1][col], name)[lane] for name in names] for lane in self.lanes] for col in columns]
        io.words = [[] for _ in columns]
        if self.sums == "narrow":
            io.words = [
                [self._encoded(m, f"{col}_{at}", lane) for at, lane in enumerate(io.sums[col])] for col in columns
            ]
        return m, io

    def _decoded(self, m: Any, name: str, word: Any, fmt: LogPosit) -> Any:
        """A decoder at an edge, told its format."""
        decoder = place(m, LogPositDecoder(fraction_bits=self.cell.fraction_bits), f"decoder_{name}")
        m.d.comb += [decoder.word.eq(word), *_told(decoder, fmt)]
        return decoder

    def _encoded(self, m: Any, name: str, total: list[Any]) -> Any:
        """An encoder of a lane's sum."""
        cell = self.cell
        bits = max(cell.bits_8, cell.bits_4, cell.bits_2)
        encoder = place(m, LogPositEncoder(bits=bits, exponent_bits=cell.exponent_bits), f"encoder_{name}")
        sign, exponent, significand = total
        m.d.comb += [
            encoder.sign.eq(sign),
            encoder.exponent.eq(exponent),
            encoder.significand.eq(significand),
            encoder.scale.eq(self.scale),
            *_told(encoder, self.y),
        ]
        return encoder.word

    def _cells(self, m: Any, io: Any, cell: LpaPe, length: int, leaves: Any) -> list[list[Any]]:
        """Decoders, cells, and marks that go with x: whether it is one, whether it is its fold's first or last."""
        from amaranth.hdl import Cat, Signal

        marks = Signal(3, name="marks")
        first, last = io.x_element == 0, io.x_element == length - 1
        m.d.comb += marks.eq(Cat(io.x_valid, io.x_valid & first, io.x_valid & last))
        x_words, w_words = delayed(m, io.x, "x_skew"), delayed(m, io.w, "w_skew")
        x_marks = delayed(m, [marks] * self.rows, "mark_skew")
        loads: list[Any] = list(delayed(m, [io.w_valid] * self.cols, "load_skew"))
        enters, begins = list(loads), delayed(m, [io.w_element == 0] * self.cols, "begin_skew")
        passing_w = [_parts(self._decoded(m, f"w{col}", word, self.w), "") for col, word in enumerate(w_words)]
        modes = WIDTHS.index(self.w.bits)
        cells: list[list[Any]] = []
        for row in range(self.rows):
            found = self._decoded(m, f"x{row}", x_words[row], self.x)
            passing_x, mark = [found.sign[0], found.zero[0], found.log[0]], x_marks[row]
            cells.append([])
            for col in range(self.cols):
                unit = place(m, cell, f"cell{row}_{col}")
                cells[row].append(unit)
                m.d.comb += [port.eq(value) for port, value in zip(_ports(unit, "x", X, ""), passing_x, strict=True)]
                m.d.comb += [
                    port.eq(value) for port, value in zip(_ports(unit, "w", W, ""), passing_w[col], strict=True)
                ]
                m.d.comb += unit.load.eq(loads[col])
                if self.hidden:
                    m.d.comb += unit.take.eq(mark[1])
                if self.sums == "narrow":
                    m.d.comb += unit.mode.eq(modes)
                if row:
                    _connect_sums(m, cell, unit, cells[row - 1][col])
                passing_x, passing_w[col] = _ports(unit, "x", X, "_out"), _ports(unit, "w", W, "_out")
                # a weight goes on by a row in every clock in which its fold's next one enters
                moved, held = Signal(name=f"moved{row}_{col}"), Signal(3, name=f"mark{row}_{col}")
                m.d.sync += [moved.eq(loads[col]), held.eq(mark)]
                loads[col] = moved & enters[col] & ~begins[col]
                if row == self.rows - 1:
                    m.d.comb += io.valid[col].eq(held[0])
                    if col == self.cols - 1:
                        m.d.comb += leaves.eq(mark[2])
                mark = held
        return cells


def _told(circuit: Any, fmt: LogPosit) -> list[Any]:
    """A format at the ports of a decoder or encoder."""
    return [circuit.mode.eq(WIDTHS.index(fmt.bits)), circuit.es.eq(fmt.es), circuit.run.eq(fmt.rs - 1)]


def _parts(decoder: Any, suffix: str) -> list[Any]:
    return [getattr(decoder, f"sign{suffix}"), getattr(decoder, f"zero{suffix}"), *getattr(decoder, f"log{suffix}")]


def _ports(unit: Any, side: str, names: tuple[str, ...], suffix: str) -> list[Any]:
    """Sign, zero and logarithms of an operand, one by one."""
    found: list[Any] = []
    for name in names:
        port = getattr(unit, f"{side}_{name}{suffix}")
        found += port if isinstance(port, list) else [port]
    return found


def _connect_sums(m: Any, cell: LpaPe, unit: Any, above: Any) -> None:
    for port in cell.ports().outputs:
        if port.name.startswith("sum"):
            lanes = zip(getattr(unit, f"{port.name}_in"), getattr(above, port.name), strict=True)
            m.d.comb += [into.eq(out) for into, out in lanes]
