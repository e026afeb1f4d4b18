"""APSQ's array with its engine and control: inner products, an adder tree, and the RAE where sums leave.

A step multiplies Po rows of x by Pco columns of w, Pci elements of each. Weights rest while rows stream (`ws`), or
inputs while columns do (`is`), and are loaded in a clock. Stages: products, a level of the tree each, and the engine,
which reads the banks, adds, quantizes and writes within one clock; so what is stored can be read in the next. What
centring x costs is a constant of each column and tile of the reduction, which comes with the weights. Banks are SRAMs
outside. Closed form: `bitwright.accelerators.partial_sums.dataflow`.
"""

import dataclasses
import types
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from bitwright.circuits.arrays.bench import Ran, padded, simulate
from bitwright.circuits.circuit import Integers, place
from bitwright.circuits.rae import BANKS, Rae

CODE_BITS = 8
INDEX_BITS = 12
"""Of steps along each axis."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """What the engine is told of a product.

    Attributes
    ----------
    exponents : sequence of int
        By tile of the reduction.
    group_size : int
        1 .. 4 tiles between two additions of all that is stored.
    head : bool
        The first tile ends a group.
    constants : array
        [tiles of the reduction, columns]: added to a tile's sums.
    """

    exponents: Sequence[int]
    group_size: int
    head: bool
    constants: Integers


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerProductArray:
    """Po lines of Pco processing elements of Pci products, and a lane of the engine behind each element.

    Attributes
    ----------
    rests : str
        `ws`, or `is`.
    po, pci, pco : int
        Rows of x, elements and columns of w of a step.
    hidden : bool
        What rests next is loaded behind the stream.
    pipelined : bool
        Folds follow one another; otherwise each waits until the sums before have left.
    x_signed : bool
        Codes of x are signed.
    """

    rests: Literal["ws", "is"] = "ws"
    po: int
    pci: int
    pco: int
    hidden: bool = True
    pipelined: bool = True
    x_signed: bool = True

    @property
    def depth(self) -> int:
        """Stages of the pipeline."""
        return 1 + (self.pci - 1).bit_length() + 1

    @property
    def engine(self) -> Rae:
        """All lanes, which share the control."""
        lanes = self.po * self.pco
        return Rae(lanes=lanes, banks="outside", bits=8, tile_bits=19, sum_bits=32, exponent_bits=5)

    def run(self, x: Integers, w: Integers, schedule: Schedule) -> Ran:
        """Finished sums of x [m, k] by w [k, n], at full scale, without what the constants stand for."""
        (rows, k), n = x.shape, w.shape[1]
        steps = {"m": -(-rows // self.po), "k": -(-k // self.pci), "n": -(-n // self.pco)}
        x = padded(x, (steps["m"] * self.po, steps["k"] * self.pci))
        w = padded(w, (steps["k"] * self.pci, steps["n"] * self.pco))
        constants = padded(schedule.constants, (steps["k"], w.shape[1]))
        m, io = self.built(steps)
        memory = np.zeros((BANKS, steps["m"], steps["n"], self.po * self.pco), np.int64)
        product = np.zeros((len(x), w.shape[1]), np.int64)
        cycles, finished = 0, 0

        def put(context: Any, ports: Sequence[Any], values: Integers) -> None:
            for port, value in zip(ports, values.ravel().tolist(), strict=values.size > 0):
                context.set(port, value)  # behind the last block there is none

        def block(operand: Integers, at: tuple[int, int], size: tuple[int, int]) -> Integers:
            (i, j), (height, width) = at, size
            return operand[i * height : (i + 1) * height, j * width : (j + 1) * width]

        def clock(context: Any, at: int) -> bool:
            nonlocal cycles, finished
            if at == 0:
                context.set(io.group, schedule.group_size - 1)
                context.set(io.head, int(schedule.head))
            asked = {name: tuple(context.get(each) for each in ports) for name, ports in io.asks.items()}
            put(context, io.x, block(x, asked["x"], (self.po, self.pci)))
            put(context, io.w, block(w, asked["w"], (self.pci, self.pco)))
            if context.get(io.valid):
                i, tile, j = asked["sum"]
                put(context, io.constants, constants[tile, j * self.pco : (j + 1) * self.pco])
                context.set(io.exponent, schedule.exponents[tile])
                for bank in range(BANKS):
                    put(context, getattr(io.engine, f"bank{bank}"), memory[bank, i, j])
                codes = np.array([context.get(code) for code in io.engine.code])
                written = context.get(io.engine.bank)
                memory[[bank for bank in range(BANKS) if written >> bank & 1], i, j] = codes
                if tile == steps["k"] - 1:
                    sums = (codes << schedule.exponents[tile]).reshape(self.po, self.pco)
                    product[i * self.po : (i + 1) * self.po, j * self.pco : (j + 1) * self.pco] = sums
                    finished += 1
            cycles = at + 1
            return finished == steps["m"] * steps["n"]

        simulate(m, clock)
        return Ran(product=product[:rows, :n], cycles=cycles, product_cycles=cycles)

    def built(self, steps: dict[str, int]) -> tuple[Any, Any]:
        """The array in a module of Amaranth's, for products of so many steps along each axis, and its ports."""
        from amaranth.hdl import Module, Signal, signed

        m, engine = Module(), self.engine
        x_shape = signed(CODE_BITS) if self.x_signed else CODE_BITS

        def indices(name: str, axes: str) -> list[Any]:
            return [Signal(INDEX_BITS, name=f"{name}_{axis}") for axis in axes]

        io = types.SimpleNamespace(
            x=[Signal(x_shape, name=f"x{at}") for at in range(self.po * self.pci)],
            w=[Signal(signed(CODE_BITS), name=f"w{at}") for at in range(self.pci * self.pco)],
            constants=[Signal(signed(engine.tile_bits), name=f"constant{at}") for at in range(self.pco)],
            group=Signal(2, name="group_less_one"),
            head=Signal(name="head"),
            exponent=Signal(engine.exponent_bits, name="exponent"),
            valid=Signal(name="sums_valid"),
            asks={"x": indices("x", "mk"), "w": indices("w", "kn"), "sum": indices("sum", "mkn")},
            engine=place(m, engine, "rae"),
        )
        goes, step, takes = self._control(m, io, steps)
        self._lanes(m, io, steps, goes, step, takes)
        return m, io

    def _control(self, m: Any, io: Any, steps: dict[str, int]) -> tuple[Any, dict[str, Any], Any]:
        """Whether a step is made, which one, and whether what rests is exchanged at the end of this clock."""
        from amaranth.hdl import Mux, Signal

        order = "nkm" if self.rests == "ws" else "mkn"
        resting, streams = order[0], order[2]
        step = {axis: Signal(INDEX_BITS, name=f"step_{axis}") for axis in order}
        coming = {axis: Signal(INDEX_BITS, name=f"coming_{axis}") for axis in order[:2]}
        ready, over, flying = Signal(name="ready"), Signal(name="over"), Signal(self.depth - 1, name="flying")
        goes, ends, takes = Signal(name="goes"), Signal(name="ends"), Signal(name="takes")
        drained = 1 if self.pipelined else ~flying.any()
        within = step[streams] != 0
        m.d.comb += [goes.eq(ready & (drained | within) & ~over), ends.eq(goes & (step[streams] == steps[streams] - 1))]
        m.d.sync += flying.eq((flying << 1) | goes)
        with m.If(goes):
            m.d.sync += step[streams].eq(Mux(ends, 0, step[streams] + 1))
        last_k, last = step["k"] == steps["k"] - 1, step[resting] == steps[resting] - 1
        with m.If(ends):
            m.d.sync += [step["k"].eq(Mux(last_k, 0, step["k"] + 1)), step[resting].eq(step[resting] + last_k)]
            m.d.sync += over.eq(last_k & last)
        # where loading is hidden, what rests next takes its place in the clock of the last step before
        free = ~ready | ends if self.hidden else ~ready & drained
        m.d.comb += takes.eq(free & (coming[resting] != steps[resting]))
        m.d.sync += ready.eq((ready & ~ends) | takes)
        with m.If(takes):
            coming_last = coming["k"] == steps["k"] - 1
            m.d.sync += [
                coming["k"].eq(Mux(coming_last, 0, coming["k"] + 1)),
                coming[resting].eq(coming[resting] + coming_last),
            ]
        asked = {"k": coming["k"], resting: coming[resting]}
        for name, axes in (("x", "mk"), ("w", "kn")):
            rests = (name == "w") == (self.rests == "ws")
            for port, axis in zip(io.asks[name], axes, strict=True):
                m.d.comb += port.eq((asked if rests else step)[axis])
        return goes, step, takes

    def _lanes(self, m: Any, io: Any, steps: dict[str, int], goes: Any, step: dict[str, Any], takes: Any) -> None:
        """Registers of what rests, the pipeline, and the engine at its end."""
        from amaranth.hdl import Cat, Signal

        streaming, resting = (io.x, io.w) if self.rests == "ws" else (io.w, io.x)
        held = [Signal.like(each, name=f"rests{at}") for at, each in enumerate(resting)]
        with m.If(takes):
            m.d.sync += [register.eq(each) for register, each in zip(held, resting, strict=True)]
        x, w = (streaming, held) if self.rests == "ws" else (held, streaming)

        marks = Cat(goes, *(step[axis] for axis in "mkn"))
        for stage in range(self.depth - 1):
            later = Signal(len(marks), name=f"marks{stage}")
            m.d.sync += later.eq(marks)
            marks = later
        m.d.comb += io.valid.eq(marks[0])
        for at, port in enumerate(io.asks["sum"]):
            m.d.comb += port.eq(marks[1 + at * INDEX_BITS : 1 + (at + 1) * INDEX_BITS])
        i, tile, j = io.asks["sum"]
        streams, count = (i, steps["m"]) if self.rests == "ws" else (j, steps["n"])
        m.d.comb += [
            io.engine.exponent.eq(io.exponent),
            io.engine.group.eq(io.group),
            io.engine.head.eq(io.head),
            io.engine.first.eq(tile == 0),
            io.engine.last.eq(tile == steps["k"] - 1),
            io.engine.next.eq(io.valid & (streams == count - 1)),
        ]
        for lane, total in enumerate(io.engine.tile):
            row, column = divmod(lane, self.pco)
            products = [x[row * self.pci + at] * w[at * self.pco + column] for at in range(self.pci)]
            m.d.comb += total.eq(_registered(m, products, f"lane{lane}") + io.constants[column])


def _registered(m: Any, values: list[Any], name: str) -> Any:
    """The sum of values, a register behind each of them and behind each addition."""
    from amaranth.hdl import Signal

    level = 0
    while True:
        held = [Signal.like(value, name=f"{name}_{level}_{at}") for at, value in enumerate(values)]
        m.d.sync += [register.eq(value) for register, value in zip(held, values, strict=True)]
        if len(held) == 1:
            return held[0]
        values = [sum(held[at : at + 2]) for at in range(0, len(held), 2)]
        level += 1
