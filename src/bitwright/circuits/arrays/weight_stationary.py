"""A weight-stationary array with its control: what is asked of the SRAMs, and when, is decided by what is in it.

Cells are `MultiplyAccumulate`. A weight enters at the top and goes down, the bottom row's first; x enters skewed from
the left; sums leave at the bottom, skewed. The control counts folds: it starts one as soon as its weights are there
and, unless folds follow one another, the sums before have left; it loads the next weights as soon as the registers that
they enter are free. Closed form: `bitwright.accelerators.systolic.dataflow.WeightStationary`; slow twin:
`bitwright.accelerators.systolic.register_level`.
"""

import dataclasses
import types
from typing import Any, Literal

import numpy as np

from bitwright.circuits.arrays.bench import Fold, Ran, delayed, padded, parts, simulate
from bitwright.circuits.circuit import Integers, place
from bitwright.circuits.multiply_accumulate import MultiplyAccumulate

COUNT_BITS = 16
"""Of folds and of elements of a fold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightStationaryArray:
    """Rows of cells along k, columns along n.

    Attributes
    ----------
    rows, cols : int
        Cells.
    hidden : bool
        The next fold's weights enter second registers behind the stream.
    pipelined : bool
        The next fold's x, or its weights, follow the stream before its sums have left.
    x_signed : bool
        Codes of x are signed.
    """

    rows: int
    cols: int
    hidden: bool = True
    pipelined: bool = True
    x_signed: bool = True

    @property
    def cell(self) -> MultiplyAccumulate:
        """One of them, for codes of 8 bits."""
        stationary: Literal["weights", "double"] = "double" if self.hidden else "weights"
        return MultiplyAccumulate(x_bits=8, w_bits=8, sum_bits=32, x_signed=self.x_signed, stationary=stationary)

    def run(self, x: Integers, w: Integers) -> Ran:
        """x [m, k] by w [k, n], fold by fold of k within folds of n."""
        m, io = self.built(len(x))
        folds = [
            Fold(x=padded(x[:, k], (len(x), self.rows)), w=padded(w[k, n], (self.rows, self.cols)), m=slice(None), n=n)
            for n in parts(w.shape[1], self.cols)
            for k in parts(len(w), self.rows)
        ]
        left: list[list[int]] = [[] for _ in range(self.cols)]
        cycles = 0

        def clock(context: Any, at: int) -> bool:
            nonlocal cycles
            if at == 0:
                context.set(io.folds, len(folds))
            for valid, sums, total in zip(io.valid, left, io.sum, strict=True):
                if context.get(valid):
                    sums.append(context.get(total))
            if context.get(io.x_valid):
                row = folds[context.get(io.x_fold)].x[context.get(io.x_element)]
                for port, value in zip(io.x, row.tolist(), strict=True):
                    context.set(port, value)
            if context.get(io.w_valid):
                row = folds[context.get(io.w_fold)].w[self.rows - 1 - context.get(io.w_element)]
                for port, value in zip(io.w, row.tolist(), strict=True):
                    context.set(port, value)
            cycles = at
            return len(left[-1]) == len(x) * len(folds)

        simulate(m, clock)
        product = np.zeros((len(x), w.shape[1]), np.int64)
        sums = np.array(left).reshape(self.cols, len(folds), len(x))
        for at, fold in enumerate(folds):
            product[:, fold.n] += sums[: fold.n.stop - fold.n.start, at].T
        return Ran(product=product, cycles=cycles, product_cycles=cycles)

    def built(self, length: int) -> tuple[Any, Any]:
        """The array in a module of Amaranth's, for streams of so many x, and its ports."""
        from amaranth.hdl import Module, Signal, signed

        m, cell = Module(), self.cell
        x_shape = signed(cell.x_bits) if self.x_signed else cell.x_bits
        io = types.SimpleNamespace(
            x=[Signal(x_shape, name=f"x{row}") for row in range(self.rows)],
            w=[Signal(signed(cell.w_bits), name=f"w{col}") for col in range(self.cols)],
            valid=[Signal(name=f"valid{col}") for col in range(self.cols)],
            sum=[Signal(signed(cell.sum_bits), name=f"sum{col}") for col in range(self.cols)],
        )
        asks(io)
        leaves = Signal(name="leaves")
        ideals = {"hidden": self.hidden, "pipelined": self.pipelined}
        control(m, io, rows=self.rows, length=length, leaves=leaves, **ideals)
        self._cells(m, io, cell, length, leaves)
        return m, io

    def _cells(self, m: Any, io: Any, cell: MultiplyAccumulate, length: int, leaves: Any) -> None:
        """Marks go with x: whether it is one, and whether it is its fold's first or last."""
        from amaranth.hdl import Cat, Signal

        marks = Signal(3, name="marks")
        m.d.comb += marks.eq(
            Cat(io.x_valid, io.x_valid & (io.x_element == 0), io.x_valid & (io.x_element == length - 1))
        )
        x, w = delayed(m, io.x, "x_skew"), delayed(m, io.w, "w_skew")
        x_marks = delayed(m, [marks] * self.rows, "mark_skew")
        enters = delayed(m, [io.w_valid] * self.cols, "load_skew")
        begins = delayed(m, [io.w_element == 0] * self.cols, "begin_skew")
        loads: list[Any] = list(enters)
        above: list[Any] = [0] * self.cols
        for row in range(self.rows):
            passing, mark = x[row], x_marks[row]
            for col in range(self.cols):
                unit = place(m, cell, f"cell{row}_{col}")
                m.d.comb += [
                    unit.x.eq(passing),
                    unit.w.eq(w[col]),
                    unit.load.eq(loads[col]),
                    unit.sum_in.eq(above[col]),
                ]
                if self.hidden:
                    m.d.comb += unit.take.eq(mark[1])
                passing, w[col], above[col] = unit.x_out, unit.w_out, unit.sum
                # a weight goes on by a row in every clock in which its fold's next one enters
                moved = Signal(name=f"moved{row}_{col}")
                m.d.sync += moved.eq(loads[col])
                loads[col] = moved & enters[col] & ~begins[col]
                mark = self._marked(m, io, row, col, mark, leaves)
        m.d.comb += [out.eq(total) for out, total in zip(io.sum, above, strict=True)]

    def _marked(self, m: Any, io: Any, row: int, col: int, mark: Any, leaves: Any) -> Any:
        """The mark of the next column; the bottom row's say what leaves."""
        from amaranth.hdl import Signal

        held = Signal(3, name=f"mark{row}_{col}")
        m.d.sync += held.eq(mark)
        if row == self.rows - 1:
            m.d.comb += io.valid[col].eq(held[0])
            if col == self.cols - 1:
                m.d.comb += leaves.eq(mark[2])
        return held


def asks(io: Any) -> None:
    """Add what the control says: how many folds there are, and which x and which weights it asks for."""
    from amaranth.hdl import Signal

    io.folds = Signal(COUNT_BITS, name="folds")
    for operand in "xw":
        setattr(io, f"{operand}_valid", Signal(name=f"{operand}_valid"))
        for what in ("fold", "element"):
            setattr(io, f"{operand}_{what}", Signal(COUNT_BITS, name=f"{operand}_{what}"))


def control(m: Any, io: Any, *, rows: int, length: int, leaves: Any, hidden: bool, pipelined: bool) -> None:
    """Four counts of folds: whose weights are there, which has begun, whose x has entered, whose sums have left."""
    from amaranth.hdl import Mux, Signal

    loaded, started, streamed, done = (
        Signal(COUNT_BITS, name=name) for name in ("loaded", "started", "streamed", "done")
    )
    element, weight = (Signal(COUNT_BITS, name=name) for name in ("element", "weight"))
    streaming, loading = started != streamed, Signal(name="loading")
    empty = 1 if pipelined else done == started
    starts, now = Signal(name="starts"), Signal(COUNT_BITS, name="started_now")
    m.d.comb += [
        starts.eq(~streaming & (loaded != started) & empty),
        now.eq(started + starts),
        io.x_valid.eq(streaming | starts),
        io.x_fold.eq(streamed),
        io.x_element.eq(Mux(starts, 0, element)),
    ]
    with m.If(io.x_valid):
        m.d.sync += [started.eq(now), element.eq(io.x_element + 1)]
        with m.If(io.x_element == length - 1):
            m.d.sync += streamed.eq(streamed + 1)
    with m.If(leaves):
        m.d.sync += done.eq(done + 1)

    free = now == loaded if hidden else (streamed == loaded) & empty
    m.d.comb += [
        io.w_valid.eq(loading | (free & (loaded != io.folds))),
        io.w_fold.eq(loaded),
        io.w_element.eq(Mux(loading, weight, 0)),
    ]
    with m.If(io.w_valid):
        last = io.w_element == rows - 1
        m.d.sync += [weight.eq(io.w_element + 1), loading.eq(~last), loaded.eq(loaded + last)]
