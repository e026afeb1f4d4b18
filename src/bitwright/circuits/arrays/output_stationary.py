"""An output-stationary array with its control: sums rest, and leave by registers of their own behind the next fold.

Cells are `MultiplyAccumulate`. x enters skewed from the left and w from the top. The first element of a fold exchanges
a cell's sum; the bottom row's leaves in that clock and draws those above it after it, a row a clock. Behind the last
fold comes a mark alone, which sends its sums out. The control starts a fold when the sums before have had as many
clocks as there are rows and, unless folds follow one another, all products are done. Closed form:
`bitwright.accelerators.systolic.dataflow.OutputStationary`; slow twin:
`bitwright.accelerators.systolic.register_level`.
"""

import dataclasses
import types
from typing import Any

import numpy as np

from bitwright.circuits.arrays.bench import Fold, Ran, delayed, padded, parts, simulate
from bitwright.circuits.arrays.weight_stationary import COUNT_BITS
from bitwright.circuits.circuit import Integers, place
from bitwright.circuits.multiply_accumulate import MultiplyAccumulate


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputStationaryArray:
    """Rows of cells along m, columns along n.

    Attributes
    ----------
    rows, cols : int
        Cells.
    pipelined : bool
        The next fold follows at once, if sums before it have left; otherwise when all products are done.
    x_signed : bool
        Codes of x are signed.
    """

    rows: int
    cols: int
    pipelined: bool = True
    x_signed: bool = True

    @property
    def cell(self) -> MultiplyAccumulate:
        """One of them, for codes of 8 bits."""
        return MultiplyAccumulate(x_bits=8, w_bits=8, sum_bits=32, x_signed=self.x_signed, stationary="outputs")

    def run(self, x: Integers, w: Integers) -> Ran:
        """x [m, k] by w [k, n], fold by fold of m within folds of n."""
        k = len(w)
        m, io = self.built(k)
        folds = [
            Fold(x=padded(x[rows], (self.rows, k)), w=padded(w[:, n], (k, self.cols)), m=rows, n=n)
            for n in parts(w.shape[1], self.cols)
            for rows in parts(len(x), self.rows)
        ]
        left: list[list[int]] = [[] for _ in range(self.cols)]
        cycles, product_cycles = 0, 0

        def clock(context: Any, at: int) -> bool:
            nonlocal cycles, product_cycles
            if at == 0:
                context.set(io.folds, len(folds))
            if context.get(io.valid):
                place, element = context.get(io.fold), context.get(io.element)
                for row, port in enumerate(io.x):
                    context.set(port, int(folds[place].x[row, element]))
                for col, port in enumerate(io.w):
                    context.set(port, int(folds[place].w[element, col]))
            for leaves, sums, total in zip(io.leaves, left, io.sum, strict=True):
                if context.get(leaves):
                    sums.append(context.get(total))
            if context.get(io.multiplied):
                product_cycles = at + 1
            cycles = at + 1
            return len(left[-1]) == self.rows * len(folds)

        simulate(m, clock)
        product = np.zeros((len(x), w.shape[1]), np.int64)
        sums = np.array(left).reshape(self.cols, len(folds), self.rows)[:, :, ::-1]
        for at, fold in enumerate(folds):
            product[fold.m, fold.n] = sums[: fold.n.stop - fold.n.start, at, : fold.m.stop - fold.m.start].T
        return Ran(product=product, cycles=cycles, product_cycles=product_cycles)

    def built(self, length: int) -> tuple[Any, Any]:
        """The array in a module of Amaranth's, for reductions of so many elements, and its ports."""
        from amaranth.hdl import Module, Signal, signed

        m, cell = Module(), self.cell
        x_shape = signed(cell.x_bits) if self.x_signed else cell.x_bits
        io = types.SimpleNamespace(
            x=[Signal(x_shape, name=f"x{row}") for row in range(self.rows)],
            w=[Signal(signed(cell.w_bits), name=f"w{col}") for col in range(self.cols)],
            folds=Signal(COUNT_BITS, name="folds"),
            valid=Signal(name="valid"),
            fold=Signal(COUNT_BITS, name="fold"),
            element=Signal(COUNT_BITS, name="element"),
            multiplied=Signal(name="multiplied"),
            leaves=[Signal(name=f"leaves{col}") for col in range(self.cols)],
            sum=[Signal(signed(cell.sum_bits), name=f"sum{col}") for col in range(self.cols)],
        )
        marks, done = Signal(3, name="marks"), Signal(name="fold_done")
        self._control(m, io, length, marks, done)
        self._cells(m, io, cell, marks, done)
        return m, io

    def _control(self, m: Any, io: Any, length: int, marks: Any, done: Any) -> None:
        """Counts of folds that have begun, whose elements have entered, whose products are done."""
        from amaranth.hdl import Cat, Mux, Signal

        started, streamed, finished = (Signal(COUNT_BITS, name=name) for name in ("started", "streamed", "finished"))
        element = Signal(COUNT_BITS, name="next_element")
        age = Signal(range(self.rows + 1), name="age", init=self.rows)
        starts, alone = Signal(name="starts"), Signal(name="alone")
        free = (age == self.rows) if self.pipelined else (age == self.rows) & (finished == started)
        m.d.comb += [
            starts.eq((started == streamed) & free & (started <= io.folds)),
            alone.eq(starts & (started == io.folds)),
            io.valid.eq((starts & ~alone) | (started != streamed)),
            io.fold.eq(streamed),
            io.element.eq(Mux(starts, 0, element)),
            marks.eq(Cat(io.valid, starts, io.valid & (io.element == length - 1))),
        ]
        with m.If(age != self.rows):
            m.d.sync += age.eq(age + 1)
        with m.If(starts):
            m.d.sync += [started.eq(started + 1), age.eq(1)]
        with m.If(io.valid):
            m.d.sync += element.eq(io.element + 1)
        with m.If(marks[2] | alone):
            m.d.sync += streamed.eq(streamed + 1)
        with m.If(done):
            m.d.sync += finished.eq(finished + 1)

    def _cells(self, m: Any, io: Any, cell: MultiplyAccumulate, marks: Any, done: Any) -> None:
        """Marks go with x: whether there are elements, whether they are a fold's first or last."""
        from amaranth.hdl import Mux, Signal

        # in clocks without elements cells multiply zeros, so that sums stay
        entering = [[Mux(io.valid, each, 0) for each in side] for side in (io.x, io.w)]
        x, w = delayed(m, entering[0], "x_skew"), delayed(m, entering[1], "w_skew")
        passing = delayed(m, [marks] * self.rows, "mark_skew")
        exchanges: list[list[Any]] = []
        totals: list[list[Any]] = []
        for row in range(self.rows):
            exchanges.append([])
            totals.append([])
            for col in range(self.cols):
                unit, mark = place(m, cell, f"cell{row}_{col}"), passing[row]
                m.d.comb += [unit.x.eq(x[row]), unit.w.eq(w[col]), unit.clear.eq(mark[1])]
                if row == self.rows - 1 and col == self.cols - 1:
                    m.d.comb += [io.multiplied.eq(mark[0]), done.eq(mark[2])]
                x[row], w[col] = unit.x_out, unit.w_out
                exchanges[row].append(mark[1])
                totals[row].append(unit.sum)
                passing[row] = Signal(3, name=f"mark{row}_{col}")
                m.d.sync += passing[row].eq(mark)
        for col in range(self.cols):
            self._way_out(m, io, col, [each[col] for each in exchanges], [each[col] for each in totals])

    def _way_out(self, m: Any, io: Any, col: int, exchanges: list[Any], totals: list[Any]) -> None:
        """Registers above the bottom row take their sums and hold them until the bottom row's has begun to leave."""
        from amaranth.hdl import Mux, Signal

        bottom = self.rows - 1
        left, first = Signal(range(self.rows), name=f"left{col}"), Signal(name=f"any{col}")
        out = [Signal.like(totals[0], name=f"out{row}_{col}") for row in range(self.rows)]
        m.d.comb += [
            # what the first fold exchanges are no sums
            io.leaves[col].eq((exchanges[bottom] & first) | (left != 0)),
            io.sum[col].eq(Mux(exchanges[bottom], totals[bottom], out[bottom])),
        ]
        with m.If(exchanges[bottom]):
            m.d.sync += [first.eq(1), left.eq(Mux(first, bottom, 0))]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        for row, register in enumerate(out):
            # as often as there are rows above, since behind their sums come those of the next fold
            draws = exchanges[bottom] | (left > self.rows - row) if row else 0
            own = exchanges[row] if row < bottom else 0
            with m.If(own):
                m.d.sync += register.eq(totals[row])
            with m.Elif(draws):
                m.d.sync += register.eq(out[row - 1] if row else 0)
