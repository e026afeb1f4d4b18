"""LPA's processing element: it multiplies by adding logarithms, and adds linearly (arXiv 2403.05465; posters).

One activation meets, per clock, one weight of 8 bits, two of 4 or four of 2, as `LogPositDecoder` gives them: lane 0
has the weight of 8 bits or the first one, lane 2 the second of 4 bits, and weights of 2 bits are signs alone. Signs are
xored, logarithms added, the fraction of the result is made linear (`LogConverter`), and each lane adds it to a sum of
its own. What sums are is not certain, so both readings of `bitwright.methods` stand here:

- narrow: as drawn, floating sums of few significant bits (`NarrowAdder`): 8 in the mode of 8-bit weights, 4 and 2 in
  the others, of which `bits_8`, `bits_4` and `bits_2` are the method narrow's `narrow_bits`;
- exact: fixed point so wide that nothing is lost, as LPQ's accuracies here assume: products of |log2| below `reach`
  twice, and 2^growth_bits of them.

Ours beside that: a lane has a sum and an adder of its own, where the drawing cuts one adder in four; logarithms are of
one piece; registers hold decoded words, as drawn. Weights rest, as in the other arrays here; where the next ones are
loaded behind the stream (`double`), they wait in second registers, and rest from the x on that they are taken with.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, Words
from bitwright.circuits.log_converter import DRAWN, looked_up
from bitwright.circuits.log_posit_decoder import INTEGER_BITS, LANES, WORD
from bitwright.circuits.lpa_sums import ExactSums, FloatingSums
from bitwright.circuits.multiply_accumulate import LENGTH
from bitwright.circuits.narrow_adder import Number, Rounding
from bitwright.circuits.resting import later, loaded, resting
from bitwright.errors import InputError
from bitwright.formats import LogPosit, converter_table
from bitwright.settings import OURS, about

WIDEST = 63
"""Bits of an exact sum, so that it is a port."""
X = W = ("sign", "zero", "log")
"""Of a decoded word."""


class LpaPe(Circuit):
    """Two adders of logarithms, three converters, four sums."""

    name: ClassVar[str] = "lpa-pe"
    summary: ClassVar[str] = "products of log posits by adding logarithms, 1, 2 or 4 per clock, and sums (LPA's PE)"
    source: ClassVar[str] = f"{DRAWN}; lanes, widths and the exact sums are ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "sums of 8, 4, 2 bits by mode, truncated": {"rounding": "truncated"},
        "sums of 8 bits in every mode": {"bits_4": 8, "bits_2": 8},
        "exact sums": {"sums": "exact", "integer_bits": 5},
        "weights that wait": {"rounding": "truncated", "double": True},
    }

    fraction_bits: int = pydantic.Field(
        3, ge=1, le=6, description="width of log2's fraction", json_schema_extra=about(OURS, unit="bits")
    )
    integer_bits: int = pydantic.Field(
        INTEGER_BITS,
        ge=2,
        le=INTEGER_BITS,
        description="width of log2's integer part, signed",
        json_schema_extra=about(OURS, unit="bits"),
    )
    sums: Literal["narrow", "exact"] = pydantic.Field(
        "narrow",
        description="floating, of few bits, or exact in fixed point",
        json_schema_extra=about(f"{DRAWN}, for narrow"),
    )
    bits_8: int = pydantic.Field(
        8,
        ge=2,
        le=16,
        description="narrow: significant bits of a sum where weights have 8 bits",
        json_schema_extra=about(DRAWN, unit="bits"),
    )
    bits_4: int = pydantic.Field(
        4, ge=2, le=16, description="the same of 4 bits", json_schema_extra=about(DRAWN, unit="bits")
    )
    bits_2: int = pydantic.Field(
        2, ge=2, le=16, description="the same of 2 bits", json_schema_extra=about(DRAWN, unit="bits")
    )
    rounding: Rounding = pydantic.Field(
        "nearest",
        description="narrow: as the method narrow rounds, or truncated, without any rounding",
        json_schema_extra=about(OURS),
    )
    exponent_bits: int = pydantic.Field(
        8, ge=3, le=12, description="narrow: width of exponents", json_schema_extra=about(OURS, unit="bits")
    )
    reach: int = pydantic.Field(
        12,
        ge=1,
        le=16,
        description="exact: |log2| of words of 8 bits is below it, as 12 for LP<8,2,3>",
        json_schema_extra=about(OURS),
    )
    reach_4: int = pydantic.Field(
        4, ge=1, le=16, description="exact: the same of weights of 4 bits", json_schema_extra=about(OURS)
    )
    growth_bits: int = pydantic.Field(
        10,
        ge=0,
        le=20,
        description="exact: log2 of how many products add up without wrapping",
        json_schema_extra=about(OURS, unit="bits"),
    )

    double: bool = pydantic.Field(
        False, description="second registers hold the next weight while one rests", json_schema_extra=about(OURS)
    )

    @pydantic.model_validator(mode="after")
    def _widths(self) -> Self:
        adders = self._adders
        if isinstance(adders, ExactSums) and max(adders.bits) > WIDEST:
            raise ValueError(
                f"exact sums take {max(adders.bits)} bits, and at most {WIDEST} are built; lower reach, growth_bits or "
                "fraction_bits"
            )
        if self.sums == "narrow" and self.exponent_bits <= self.integer_bits:
            raise ValueError(f"exponents of products have {self.integer_bits + 1} bits; set exponent_bits to so many")
        return self

    @property
    def _adders(self) -> ExactSums | FloatingSums:
        if self.sums == "exact":
            scales = 2 * self.reach, self.reach, self.reach + self.reach_4, self.reach
            return ExactSums(scales=scales, fraction_bits=self.fraction_bits, growth_bits=self.growth_bits)
        return FloatingSums(
            kept=(self.bits_2, self.bits_4, self.bits_8, self.bits_8),
            product_bits=self.fraction_bits + 1,
            exponent_bits=self.exponent_bits,
            rounding=self.rounding,
        )

    def ports(self) -> Ports:
        """Decoded words; `load` takes a weight in; sums by lane, those that a mode does not use of zeros alone."""
        bits = self.integer_bits + self.fraction_bits

        def operand(side: str, suffix: str, lanes: int, what: str) -> tuple[Port, ...]:
            return (
                Port(name=f"{side}_sign{suffix}", bits=lanes, what=f"{what} is negative"),
                Port(name=f"{side}_zero{suffix}", bits=lanes, what=f"{what} is 0, or there is none"),
                Port(name=f"{side}_log{suffix}", bits=bits, signed=True, lanes=lanes // 2, what=f"log2 of {what}"),
            )

        steering = [Port(name="load", bits=1, what="w is taken in")]
        if self.double:
            steering.append(Port(name="take", bits=1, what="the weight that waits rests from this x on"))
        if self.sums == "narrow":
            steering.insert(0, Port(name="mode", bits=2, what="2 or 3: weights of 8 bits, 1: of 4, 0: of 2"))
        return Ports(
            inputs=(
                *operand("x", "", 1, "the activation"),
                *operand("w", "", LANES, "the lane's weight"),
                *steering,
                *self._adders.ports("_in", "of the row above"),
            ),
            outputs=(
                *self._adders.ports("", "a clock later"),
                *operand("x", "_out", 1, "the activation for the next column"),
                *operand("w", "_out", LANES, "the weight that waits" if self.double else "the weight that rests"),
            ),
        )

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Weights of 4 bits, which rest for `LENGTH` clocks."""
        load = np.zeros((clocks, streams), np.int64)
        load[::LENGTH] = 1
        found = {"load": load, "x_zero": np.zeros_like(load), "w_zero": np.full_like(load, 0b1010)}
        if self.double:
            found["take"] = later(load)
        return found | ({"mode": np.ones_like(load)} if self.sums == "narrow" else {})

    def feed_words(self, x: Words, w: Words, begins: Integers) -> dict[str, Integers]:
        """x by w in every lane that w's width has, on top of the products before; a weight is loaded for one clock."""
        left, right = self._decoded(x, w), self._decoded(w, x, weight=True)
        mode = {8: 2, 4: 1, 2: 0}[next(width for width in (2, 4, WORD) if w.format.bits <= width)]
        used = np.array([lane % (1 << mode) == 0 for lane in range(LANES)])
        spread = np.where(used, 1, 0) << np.arange(LANES)
        shown = {
            "w_sign": right["sign"] * spread.sum(),
            "w_zero": np.where(right["zero"] == 1, 15, 15 - spread.sum()),
            "w_log": np.stack([right["log"], right["log"] * (mode == 1)], -1),
        }
        inputs: dict[str, Integers] = {f"x_{part}": values for part, values in left.items()}
        inputs["x_zero"][0] = 1  # the first of all meets no weight yet
        inputs |= {name: loaded(values) for name, values in shown.items()} | {"load": np.ones_like(x.codes)}
        adders = self._adders
        before = {port.name: np.zeros((*x.codes.shape, LANES), np.int64) for port in adders.ports("", "")}
        modes = np.full_like(x.codes, mode)
        product = self._products(inputs, {part: later(inputs[f"w_{part}"]) for part in W})
        for clock in range(1, len(x.codes)):
            past = slice(clock - 1, clock)
            stored = {name: values[past] for name, values in before.items()}
            total = adders.add(Number(*(each[past] for each in product)), stored, modes[past])
            for name, values in before.items():
                values[clock] = np.where(begins[clock, :, None] == 1, 0, total[name][0])
        if self.sums == "narrow":
            inputs["mode"] = modes
        if self.double:
            inputs["take"] = np.ones_like(x.codes)
        return inputs | {f"{name}_in": values for name, values in before.items()}

    def _reach(self, *, weight: bool, bits: int) -> tuple[int, str]:
        """Magnitudes of logarithms are below this, by which parameters."""
        within = 1 << (self.integer_bits - 1)
        if self.sums == "narrow" or (weight and bits <= 2):
            return within, "integer_bits"
        name, reach = ("reach_4", self.reach_4) if weight and bits <= 4 else ("reach", self.reach)
        return min(within, reach), f"integer_bits and {name}"

    def _decoded(self, words: Words, other: Words, *, weight: bool = False) -> dict[str, Integers]:
        """Signs, flags and logarithms of codes."""
        fmt = words.format
        both = (fmt, other.format)
        bits = [each.fraction_bits for each in both if isinstance(each, LogPosit)]
        if not isinstance(fmt, LogPosit) or len(bits) < len(both) or fmt.bits > WORD:
            raise InputError(
                f"operands of the layer are {' by '.join(sorted(each.name for each in both))}, and {self.name} takes "
                f"log posits of at most {WORD} bits; choose --method lp8 or lpq"
            )
        finer = self.fraction_bits - max(bits)
        own = [entry << finer for entry in converter_table(max(bits))] if finer >= 0 else None
        if converter_table(self.fraction_bits)[:: 1 << max(finer, 0)] != own:
            raise InputError(
                f"operands of the layer are {' by '.join(sorted(each.name for each in both))} of {max(bits)} fraction "
                f"bits, whose products {self.name} rounds otherwise; set fraction_bits to {max(bits)}"
            )
        sign, log = fmt.log2_parts()
        log = log << (self.fraction_bits - fmt.fraction_bits)
        most, said = self._reach(weight=weight, bits=fmt.bits)
        if np.abs(log).max() >= most << self.fraction_bits:
            raise InputError(
                f"a logarithm of the layer's words is {np.abs(log).max() / (1 << self.fraction_bits):g} in magnitude, "
                f"and {self.name} takes those below {most}; set {said}"
            )
        found = {"sign": np.where(sign < 0, 1, 0), "zero": np.where(sign == 0, 1, 0), "log": log}
        return {part: values[words.codes] for part, values in found.items()}

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Sums, and what is passed on, a clock after their operands."""
        waits = {part: resting(inputs[f"w_{part}"], inputs["load"]) for part in W}
        w = {part: self._rests(values, inputs["take"]) for part, values in waits.items()} if self.double else waits
        adders = self._adders
        stored = {port.name: inputs[f"{port.name}_in"] for port in adders.ports("", "")}
        total = adders.add(self._products(inputs, w), stored, inputs.get("mode", inputs["load"]))
        found = {name: later(values) for name, values in total.items()}
        found.update({f"x_{part}_out": later(inputs[f"x_{part}"]) for part in X})
        return found | {f"w_{part}_out": values for part, values in waits.items()}

    @staticmethod
    def _rests(waits: Integers, take: Integers) -> Integers:
        """Weights that are multiplied: those that wait, from the clock on in which they are taken."""
        taken = take.reshape(take.shape + (1,) * (waits.ndim - 2)) == 1
        return np.where(taken, waits, resting(waits, take))

    def _products(self, x: Values, w: Values) -> Number:
        """By lane; significands of fraction_bits + 1 bits."""
        lane, one = np.arange(LANES), 1 << self.fraction_bits
        sign = x["x_sign"][..., None] ^ (w["sign"][..., None] >> lane & 1)
        zero = x["x_zero"][..., None] | (w["zero"][..., None] >> lane & 1)
        log = x["x_log"]
        log = np.stack([log + w["log"][..., 0], log, log + w["log"][..., 1], log], -1)
        linear = one + np.array(converter_table(self.fraction_bits))[log & (one - 1)]
        return Number(sign, log >> self.fraction_bits, np.where(zero == 1, 0, linear))

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Signal

        for part in X:
            held = Signal.like(getattr(io, f"x_{part}"), name=f"held_x_{part}")
            m.d.sync += held.eq(getattr(io, f"x_{part}"))
            m.d.comb += getattr(io, f"x_{part}_out").eq(held)
        w_sign, w_zero = Signal(LANES, name="weight_sign"), Signal(LANES, name="weight_zero")
        w_log = [Signal.like(each, name=f"weight_log{at}") for at, each in enumerate(io.w_log)]
        with m.If(io.load):
            m.d.sync += [w_sign.eq(io.w_sign), w_zero.eq(io.w_zero)]
            m.d.sync += [held.eq(each) for held, each in zip(w_log, io.w_log, strict=True)]
        m.d.comb += [io.w_sign_out.eq(w_sign), io.w_zero_out.eq(w_zero)]
        m.d.comb += [out.eq(held) for out, held in zip(io.w_log_out, w_log, strict=True)]
        if self.double:
            w_sign, w_zero, *w_log = (_taken(m, each, io.take, at) for at, each in enumerate((w_sign, w_zero, *w_log)))
        first, alone, second = (
            self._converted(m, name, log)
            for name, log in (("first", io.x_log + w_log[0]), ("alone", io.x_log), ("second", io.x_log + w_log[1]))
        )
        for lane, (significand, exponent) in enumerate((first, alone, second, alone)):
            some = ~(io.x_zero | w_zero[lane])
            product = Number(io.x_sign ^ w_sign[lane], exponent, significand & some.replicate(len(significand)))
            self._adders.build(m, io, lane, product)

    def _converted(self, m: Any, name: str, log: Any) -> tuple[Any, Any]:
        """Significand and exponent of a number by its logarithm."""
        from amaranth.hdl import Cat, Signal, signed

        total = Signal(signed(self.integer_bits + self.fraction_bits + 1), name=f"log_{name}")
        linear = Signal(self.fraction_bits, name=f"linear_{name}")
        table = converter_table(self.fraction_bits)
        m.d.comb += [total.eq(log), linear.eq(looked_up(table, self.fraction_bits, total[: self.fraction_bits]))]
        return Cat(linear, 1), (total >> self.fraction_bits)


def _taken(m: Any, waits: Any, take: Any, number: int) -> Any:
    """What waits, in the clock in which it is taken and from then on."""
    from amaranth.hdl import Mux, Signal

    held, rests = Signal.like(waits, name=f"held{number}"), Signal.like(waits, name=f"rests{number}")
    m.d.comb += rests.eq(Mux(take, waits, held))
    m.d.sync += held.eq(rests)
    return rests
