"""A fused multiply-add of binary floating-point numbers, a * b + c rounded once: IEEE 754, ties to even.

With gradual underflow, infinities and one NaN; any exponent and fraction, so float16, bfloat16, float32 and formats
small enough for every word. Ours, one path: the addend is moved along a window that holds the product, so far up as it
can matter and so far down that whatever leaves the window only says that there is something (a product of a subnormal
number may begin with zeros, which takes a significand's width below it); their sum is normalized, as far as the least
exponent lets it, and rounded. The twin adds in float64, rounded to odd, which rounds rightly again to any format of at
most 51 bits (Boldo and Melquiond, 2008).
"""

import types
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.errors import InputError
from bitwright.settings import about

Floats = npt.NDArray[np.float64]
IEEE = "IEEE 754-2019"


class FloatMultiplyAdd(Circuit):
    """A multiplier of significands, two shifters, an adder, a counter of leading zeros and what rounds."""

    name: ClassVar[str] = "float-multiply-add"
    summary: ClassVar[str] = "fused multiply-add of float16, bfloat16, float32, rounded once"
    source: ClassVar[str] = "IEEE 754 for what comes out; the datapath is ours"
    clocked: ClassVar[bool] = False
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "float16": {},
        "bfloat16": {"exponent_bits": 8, "fraction_bits": 7},
        "float32": {"exponent_bits": 8, "fraction_bits": 23},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"exponent_bits": 2, "fraction_bits": 2},
        {"exponent_bits": 3, "fraction_bits": 2},
        {"exponent_bits": 2, "fraction_bits": 3},
    )

    exponent_bits: int = pydantic.Field(
        5, ge=2, le=8, description="width of the exponent", json_schema_extra=about(IEEE, unit="bits")
    )
    fraction_bits: int = pydantic.Field(
        10, ge=1, le=23, description="width of the fraction", json_schema_extra=about(IEEE, unit="bits")
    )

    @property
    def bits(self) -> int:
        """Of a number."""
        return 1 + self.exponent_bits + self.fraction_bits

    def ports(self) -> Ports:
        """Numbers as words: sign, exponent, fraction."""
        inputs = (("a", "factor"), ("b", "factor"), ("c", "addend"))
        return Ports(
            inputs=tuple(Port(name=name, bits=self.bits, what=what) for name, what in inputs),
            outputs=(Port(name="y", bits=self.bits, what="a * b + c"),),
        )

    def feed(self, x: Integers, w: Integers, begins: Integers) -> dict[str, Integers]:
        """Integers as numbers, each product added to the running sum of those before, which is rounded every time.

        Raises
        ------
        InputError
            Codes that the format rounds.
        """
        fed = {"a": self.encode(x.astype(np.float64)), "b": self.encode(w.astype(np.float64))}
        for name, codes in (("a", x), ("b", w)):
            if (self.decode(fed[name]) != codes).any():
                raise InputError(
                    f"codes of the layer do not fit {self.fraction_bits + 1} bits of a significand; "
                    "choose a method of narrower codes, or --set fraction_bits"
                )
        fed["c"] = np.zeros_like(x)
        for clock in range(1, len(x)):
            so_far = self.model({name: values[clock - 1 : clock] for name, values in fed.items()})["y"][0]
            fed["c"][clock] = np.where(begins[clock], 0, so_far)
        return fed

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Exact products, one addition rounded to odd, one rounding to the format."""
        a, b, c = (self.decode(inputs[name]) for name in "abc")
        with np.errstate(invalid="ignore", over="ignore"):
            return {"y": self.encode(_to_odd(a * b, c))}

    def decode(self, words: Integers) -> Floats:
        """Words as float64."""
        fraction = words & ((1 << self.fraction_bits) - 1)
        exponent = words >> self.fraction_bits & self._top
        whole = np.where(exponent > 0, 1 << self.fraction_bits, 0) + fraction
        value = np.ldexp(whole.astype(np.float64), np.maximum(exponent, 1) - self._bias - self.fraction_bits)
        special = np.where(fraction == 0, np.inf, np.nan)
        found: Floats = np.where(exponent == self._top, special, value)
        return np.where(words >> (self.bits - 1), -found, found)

    def encode(self, values: Floats) -> Integers:
        """float64 as the nearest words, ties to even; every NaN is the same."""
        size = np.abs(np.where(np.isfinite(values), values, 0))
        _, exponent = np.frexp(size)
        exponent = np.maximum(exponent.astype(np.int64) - 1, 1 - self._bias)
        whole = np.rint(np.ldexp(size, self.fraction_bits - exponent)).astype(np.int64)
        # a significand that is rounded up to the next power of two moves into the exponent by itself
        hidden = 1 << self.fraction_bits
        word = whole + np.where(whole >= hidden, (exponent + self._bias - 1) << self.fraction_bits, 0)
        infinity = self._top << self.fraction_bits
        word = np.where(np.isinf(values), infinity, np.minimum(word, infinity))
        word = word | np.where(np.signbit(values), 1 << (self.bits - 1), 0)
        return np.where(np.isnan(values), infinity | hidden >> 1, word)

    @property
    def _top(self) -> int:
        return (1 << self.exponent_bits) - 1

    @property
    def _bias(self) -> int:
        return self._top >> 1

    def build(self, m: Any, io: Any) -> None:
        """Unpack, align, add, normalize, round."""
        from amaranth.hdl import Cat, Mux, Signal, signed

        width = self.fraction_bits + 1
        a, b, c = (self._unpacked(m, getattr(io, name), name) for name in "abc")
        window = 4 * width + 3
        move = Signal(signed(self.exponent_bits + 3), name="move")  # of the addend, from the window's upper end
        sign = io.a[-1] ^ io.b[-1]
        m.d.comb += move.eq(a.exponent + b.exponent - c.exponent - self._bias + width + 4)

        held, stays = Signal(range(window + 1), name="held"), Signal(name="stays")
        m.d.comb += stays.eq((move < 0) | a.zero | b.zero)
        m.d.comb += held.eq(Mux(stays, 0, Mux(move > window, window, move)))
        addend, product = Signal(2 * window, name="addend"), Signal(window, name="product")
        m.d.comb += [
            addend.eq(Cat(0, c.whole).shift_left(2 * window - width - 1) >> held),
            product.eq((a.whole * b.whole) << width),
        ]
        differ = sign ^ io.c[-1]
        rest = addend[:window].any()  # below the window
        total, size = Signal(signed(window + 3), name="total"), Signal(window + 2, name="size")
        one, other = Cat(0, product, 0), Cat(rest, addend[window:], 0)
        m.d.comb += total.eq(Mux(differ, one - other, one + other))
        m.d.comb += size.eq(Mux(total[-1], -total, total))
        top = c.exponent + Mux(stays, 0, move)
        self._rounded(m, io, size, top, sign ^ (total[-1] & differ), (a, b, c))

    def _unpacked(self, m: Any, word: Any, name: str) -> Any:
        """Significand with its hidden bit, exponent of at least 1, and what is special."""
        from amaranth.hdl import Cat, Mux, Signal

        fraction, exponent = word[: self.fraction_bits], word[self.fraction_bits : -1]
        found = types.SimpleNamespace(
            whole=Signal(self.fraction_bits + 1, name=f"{name}_whole"),
            exponent=Signal(self.exponent_bits, name=f"{name}_exponent"),
            zero=Signal(name=f"{name}_zero"),
            infinite=Signal(name=f"{name}_infinite"),
            nan=Signal(name=f"{name}_nan"),
            sign=word[-1],
        )
        m.d.comb += [
            found.whole.eq(Cat(fraction, exponent.any())),
            found.exponent.eq(Mux(exponent.any(), exponent, 1)),
            found.zero.eq(~found.whole.any()),
            found.infinite.eq(exponent.all() & ~fraction.any()),
            found.nan.eq(exponent.all() & fraction.any()),
        ]
        return found

    def _rounded(self, m: Any, io: Any, size: Any, top: Any, sign: Any, operands: Any) -> None:
        """A size whose highest bit but one has the exponent `top`, to a word; and what is special."""
        from amaranth.hdl import Cat, Const, Mux, Signal

        # the sum may carry into its highest bit, which has the exponent above
        value, left = size, Signal(self.exponent_bits + 3, name="left")
        m.d.comb += left.eq(top + 1)
        for bit in reversed(range((len(size) - 1).bit_length())):
            by = 1 << bit
            if by >= len(size):
                continue
            empty = Signal(name=f"empty{bit}")
            moved, lower = Signal.like(size, name=f"moved{bit}"), Signal.like(left, name=f"left{bit}")
            m.d.comb += [
                empty.eq(~value[len(size) - by :].any() & (left > by)),
                moved.eq(Mux(empty, value << by, value)),
                lower.eq(Mux(empty, left - by, left)),
            ]
            value, left = moved, lower
        normal, exponent = Signal(len(size), name="normal"), Signal(self.exponent_bits + 3, name="normal_exponent")
        m.d.comb += [normal.eq(value), exponent.eq(Mux(normal[-1], left, 0))]
        below = len(size) - self.fraction_bits - 1
        kept, half, rest = normal[below:-1], normal[below - 1], normal[: below - 1].any()
        word = Signal(self.exponent_bits + 3 + self.fraction_bits, name="word")
        m.d.comb += word.eq(Cat(kept, exponent) + (half & (rest | kept[0])))

        a, b, c = operands
        infinity = Const(self._top << self.fraction_bits, self.bits - 1)
        of_product = a.sign ^ b.sign
        endless = a.infinite | b.infinite
        nan = a.nan | b.nan | c.nan | (a.infinite & b.zero) | (a.zero & b.infinite)
        nan = nan | (endless & c.infinite & (of_product ^ c.sign))
        over = word[self.fraction_bits :] >= self._top
        positive = Mux(endless | c.infinite | over, infinity, word[: self.bits - 1])
        nothing = ~size.any()
        its_sign = Mux(endless, of_product, Mux(c.infinite, c.sign, Mux(nothing, of_product & c.sign, sign)))
        quiet = Const((self._top << self.fraction_bits) | 1 << self.fraction_bits - 1, self.bits)
        m.d.comb += io.y.eq(Mux(nan, quiet, Cat(positive, its_sign)))


def _to_odd(one: Floats, other: Floats) -> Floats:
    """A sum in float64; where it is not exact, of its two neighbours the one whose last bit is 1."""
    total = one + other
    back = total - one
    rest = (one - (total - back)) + (other - back)
    even = total.view(np.int64) & 1 == 0
    inexact = np.isfinite(total) & (rest != 0) & even
    return np.where(inexact, np.nextafter(total, np.where(rest > 0, np.inf, -np.inf)), total)
