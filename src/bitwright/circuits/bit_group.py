"""A bit group of our reconstruction of Drift: four multipliers of 4 by 4 bits between selectors for the array's cuts.

Drift's own processing element (DAC 2024) is not public; arithmetic and widths are those of
`bitwright.accelerators.dynamic_precision.bit_group`. Weights rest: a port of 8 bits takes one wide or two narrow
neighbours along k, the register two of 8 bits or four of 4, and there are sums of two columns. Digit i of the port
meets weights' digits at multipliers (i, 0) and (i, 1); what a digit means goes by the widths. Where the array can be
cut, x comes from either side, and sums from above, from below, or from nowhere: at the cut they begin. Weights come by
a wire along the column, row by row, and wait in second registers; `take`, which travels with a fold's first x, makes
them rest, and they are multiplied in the same clock.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, Words
from bitwright.circuits.feeding import centred
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.circuits.resting import loaded, sums_before
from bitwright.settings import OURS, RECOLLECTED, about

DIGIT = 4
PORT = 2 * DIGIT
COLUMNS = 2
"""Sums: of one wide column of w, the first, or of two narrow ones."""


class BitGroup(Circuit):
    """Selectors, registers of x and w, multipliers, shifters and two sums."""

    name: ClassVar[str] = "bit-group"
    summary: ClassVar[str] = "four 4-bit multipliers for 8 and 4 bits, with selectors at the array's cuts (for Drift)"
    source: ClassVar[str] = "ours; bit groups, cuts and links both ways are recollections of Drift (DAC 2024)"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "with cuts": {},
        "without cuts": {"cuts": False},
    }

    cuts: bool = pydantic.Field(
        True, description="x and sums come from either side", json_schema_extra=about(RECOLLECTED)
    )
    sum_bits: int = pydantic.Field(
        32, ge=2, le=48, description="width of a sum, which wraps", json_schema_extra=about(OURS, unit="bits")
    )

    def ports(self) -> Ports:
        """Without cuts there are `x` and `sum_in` alone."""
        ways = (("west", "east"), ("above", "below")) if self.cuts else (("",), ("in",))
        inputs = [
            Port(name=f"x_{way}".strip("_"), bits=PORT, what="one wide or two narrow elements of x, the first lowest")
            for way in ways[0]
        ]
        inputs += [
            Port(name=f"sum_{way}", bits=self.sum_bits, signed=True, lanes=COLUMNS, what="sums of the row before")
            for way in ways[1]
        ]
        if self.cuts:
            inputs += [
                Port(name="from_east", bits=1, what="x comes from the east"),
                Port(name="from_below", bits=1, what="sums come from below"),
                Port(name="begins", bits=1, what="sums begin here"),
            ]
        inputs += [
            Port(name="w", bits=2 * PORT, what="weights: by k, then by column, the first lowest"),
            Port(name="load", bits=1, what="they are taken into the second register"),
            Port(name="take", bits=1, what="those that wait rest from this x on"),
        ]
        for name in "xw":
            inputs += [
                Port(name=f"{name}_narrow", bits=1, what=f"{name} is of 4 bits"),
                Port(name=f"{name}_signed", bits=1, what=f"{name} is signed"),
            ]
        x_out = Port(name="x_out", bits=PORT, what="x for the next group, a clock later")
        total = Port(name="sum", bits=self.sum_bits, signed=True, lanes=COLUMNS, what="sums, a clock later")
        return Ports(inputs=tuple(inputs), outputs=(x_out, total))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Wide signed operands from west and above; a weight meets `LENGTH` inputs, and the next ones wait."""
        whole = np.ones((clocks, streams), np.int64)
        at = np.broadcast_to(np.arange(clocks)[:, None] % LENGTH, whole.shape)
        found = {"x_narrow": 0 * whole, "w_narrow": 0 * whole, "x_signed": whole, "w_signed": whole}
        found |= {"load": (at == LENGTH // 2).astype(np.int64), "take": (at == LENGTH - 1).astype(np.int64)}
        if self.cuts:
            found |= {"from_east": 0 * whole, "from_below": 0 * whole, "begins": 0 * whole}
        return found

    def feed_words(self, x: Words, w: Words, begins: Integers) -> dict[str, Integers]:
        """One wide element by one wide weight, which waits for a clock, on top of the products before.

        Raises
        ------
        InputError
            Operands that are no integers of at most 8 bits.
        """
        found = self.controls(*begins.shape) | {"load": np.ones_like(begins), "take": np.ones_like(begins)}
        codes = {"x": x.codes.copy(), "w": w.codes}
        for name, words in (("x", x), ("w", w)):
            centred(words, self.name)
            found[f"{name}_signed"] = np.full_like(begins, int(codes[name].min() < 0))
        codes["x"][0] = 0  # the first of all meets no weight yet
        before = np.stack([sums_before(codes["x"] * codes["w"], begins), np.zeros_like(begins)], -1)
        found["w"] = loaded(codes["w"] & ((1 << PORT) - 1))
        port = codes["x"] & ((1 << PORT) - 1)
        nothing = np.zeros_like(before)
        if not self.cuts:
            return found | {"x": port, "sum_in": before}
        sides = {"x_west": port, "x_east": np.zeros_like(port), "sum_above": before, "sum_below": nothing}
        return found | sides | {"begins": begins}

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Sums of elements' products, and x, a clock later."""
        if self.cuts:
            x = np.where(inputs["from_east"], inputs["x_east"], inputs["x_west"])
            carried = np.where(inputs["from_below"][..., None], inputs["sum_below"], inputs["sum_above"])
            carried = np.where(inputs["begins"][..., None], 0, carried)
        else:
            x, carried = inputs["x"], inputs["sum_in"]
        found = {"x_out": _later(x), "sum": np.zeros_like(carried)}
        waits, rests = np.zeros_like(x[0]), np.zeros_like(x[0])
        for clock in range(len(x)):
            mode = {name: inputs[name][clock] for name in ("x_narrow", "w_narrow", "x_signed", "w_signed")}
            rests = np.where(inputs["take"][clock], waits, rests)
            if clock + 1 < len(x):
                found["sum"][clock + 1] = wrapped(carried[clock] + _products(x[clock], rests, mode), self.sum_bits)
            waits = np.where(inputs["load"][clock], inputs["w"][clock], waits)
        return found

    def build(self, m: Any, io: Any) -> None:
        """As `model`, by digits."""
        from amaranth.hdl import Mux, Signal, signed

        x = Signal(PORT, name="x_taken")
        m.d.comb += x.eq(Mux(io.from_east, io.x_east, io.x_west) if self.cuts else io.x)
        m.d.sync += io.x_out.eq(x)
        waits, held, rests = (Signal(2 * PORT, name=name) for name in ("waits", "held", "rests"))
        with m.If(io.load):
            m.d.sync += waits.eq(io.w)
        m.d.comb += rests.eq(Mux(io.take, waits, held))
        m.d.sync += held.eq(rests)

        def digit(name: str, bits: Any, sign: Any) -> Any:
            found = Signal(signed(DIGIT + 1), name=name)
            m.d.comb += [found[:DIGIT].eq(bits), found[DIGIT].eq(bits[-1] & sign)]
            return found

        columns: list[list[Any]] = [[], []]
        for i in range(2):
            of_x = digit(f"x{i}", x[DIGIT * i : DIGIT * (i + 1)], io.x_signed & (io.x_narrow | i))
            row = []
            for d in range(2):
                low, high = rests[DIGIT * d : DIGIT * (d + 1)], rests[PORT + DIGIT * d : PORT + DIGIT * (d + 1)]
                weight = Mux(io.x_narrow, high, low) if i else low
                row.append(of_x * digit(f"w{i}{d}", weight, io.w_signed & (io.w_narrow | d)))
            for column, value in enumerate(
                (row[0] + Mux(io.w_narrow, 0, row[1] << DIGIT), Mux(io.w_narrow, row[1], 0))
            ):
                columns[column].append(Mux(io.x_narrow, value, value << DIGIT) if i else value)
        for column, products in enumerate(columns):
            total = Signal(signed(self.sum_bits), name=f"total{column}")
            carried = (
                io.sum_in[column]
                if not self.cuts
                else Mux(io.begins, 0, Mux(io.from_below, io.sum_below[column], io.sum_above[column]))
            )
            m.d.sync += total.eq(carried + (products[0] + products[1]))
            m.d.comb += io.sum[column].eq(total)


def _products(x: Integers, w: Integers, mode: Mapping[str, Integers]) -> Integers:
    """What a clock adds to the two sums [streams, 2], from whole elements."""
    found = np.zeros((len(x), COLUMNS), np.int64)
    for x_narrow in (0, 1):
        for w_narrow in (0, 1):
            x_bits, w_bits = (DIGIT if narrow else PORT for narrow in (x_narrow, w_narrow))
            sums = np.zeros_like(found)
            for k in range(PORT // x_bits):
                for column in range(PORT // w_bits):
                    element = _element(x, x_bits * k, x_bits, mode["x_signed"])
                    sums[:, column] += element * _element(w, PORT * k + w_bits * column, w_bits, mode["w_signed"])
            here = (mode["x_narrow"] == x_narrow) & (mode["w_narrow"] == w_narrow)
            found = np.where(here[:, None], sums, found)
    return found


def _element(word: Integers, place: int, bits: int, signed: Integers) -> Integers:
    code = word >> place & ((1 << bits) - 1)
    return np.where(signed, wrapped(code, bits), code)


def _later(values: Integers) -> Integers:
    return np.concatenate([np.zeros_like(values[:1]), values[:-1]])
