"""LPA's encoder: a floating sum becomes a log posit of 8, 4 or 2 bits (arXiv 2403.05465).

Nothing of it is drawn but where it stands, below the array, and that it knows MODE; so this is ours. A table makes the
sum's significand a logarithm, a scale factor is added to it, regime and tail are cut from the result, and what does not
fit is rounded to the nearest logarithm, ties to the even word, as `LogRounding.LOG` of `bitwright.formats.log_posit`:
exactly, as one bit more than any word can have is looked up, and whether anything is left below. Regimes end as in
`LogPositDecoder`. A sum has as many significant bits as `LpaPe` keeps; 0 becomes 0, and nothing becomes NaR.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.log_converter import DRAWN, looked_up
from bitwright.circuits.log_posit_decoder import MOST_ES, WIDTHS, WORD, format_of, format_ports
from bitwright.settings import OURS, about

LOG_BITS = 7
"""Of a logarithm's fraction: one more than the 6 that a word can have."""
BODY = WORD - 1


class LogPositEncoder(Circuit):
    """A table, an adder, a shifter, a rounder and a two's complement."""

    name: ClassVar[str] = "log-posit-encoder"
    summary: ClassVar[str] = "floating sum to a log posit of 8, 4 or 2 bits (LPA's unified encoder)"
    source: ClassVar[str] = f"{DRAWN}, for its place; what is in it is ours"
    clocked: ClassVar[bool] = False
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"sums of 8 bits": {}}
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ({"bits": 3, "exponent_bits": 4, "scale_bits": 1},)

    bits: int = pydantic.Field(
        8, ge=2, le=10, description="significant bits of a sum", json_schema_extra=about(DRAWN, unit="bits")
    )
    exponent_bits: int = pydantic.Field(
        8, ge=2, le=12, description="width of its exponent", json_schema_extra=about(OURS, unit="bits")
    )
    scale_bits: int = pydantic.Field(
        14,
        ge=1,
        le=20,
        description=f"width of the scale factor sf, of which {LOG_BITS} bits are fraction",
        json_schema_extra=about(OURS, unit="bits"),
    )

    def ports(self) -> Ports:
        """A sum per clock; the word lies at the top of its 8 bits, as decoders take it."""
        return Ports(
            inputs=(
                Port(name="sign", bits=1, what="the sum is negative"),
                Port(name="exponent", bits=self.exponent_bits, signed=True, what="of its leading one"),
                Port(name="significand", bits=self.bits, what="bits from the leading one, which is 0 of 0"),
                *format_ports(),
                Port(name="scale", bits=self.scale_bits, signed=True, what=f"sf in units of 2^-{LOG_BITS}"),
            ),
            outputs=(Port(name="word", bits=WORD, what="the word, in its highest bits"),),
        )

    def model(self, inputs: Values) -> dict[str, Integers]:
        """By comparison with what lies half-way between the format's logarithms."""
        table, rest = _logs(self.bits)
        fraction = inputs["significand"] & ((1 << (self.bits - 1)) - 1)
        log = (inputs["exponent"] << LOG_BITS) + table[fraction] + inputs["scale"]
        doubled = 2 * log + rest[fraction]  # odd between two that are looked up
        mode, es, run = (inputs[name] for name in ("mode", "es", "run"))
        code = np.zeros_like(mode)
        for formats in np.ndindex(len(WIDTHS), MOST_ES + 1, 8):
            here = (mode == formats[0]) & (es == formats[1]) & (run == formats[2])
            if here.any():
                code[here] = np.searchsorted(_edges(*formats), doubled[here], side="right") + 1
        width = np.array(WIDTHS)[mode]
        code = np.where(inputs["sign"] == 1, (np.int64(1) << width) - code, code)
        some = inputs["significand"] >> (self.bits - 1) == 1
        return {"word": np.where(some, code << (WORD - width), 0)}

    def build(self, m: Any, io: Any) -> None:
        """log2, regime and tail, rounding, sign."""
        from amaranth.hdl import Cat, Const, Mux, Signal, signed

        table, rest = _logs(self.bits)
        log_bits = max(self.exponent_bits + LOG_BITS, self.scale_bits) + 1
        fraction, left = Signal(LOG_BITS, name="fraction"), Signal(name="left")
        log = Signal(signed(log_bits + MOST_ES), name="log")
        index = io.significand[:-1]
        m.d.comb += [
            fraction.eq(looked_up(table.tolist(), LOG_BITS, index)),
            left.eq(looked_up(rest.tolist(), 1, index)),
            log.eq((Cat(fraction, io.exponent).as_signed() + io.scale) << ~io.es),
        ]
        # es exponent bits and the fraction lie at the top of a tail of 10 bits, the regime above it.
        tail_bits = LOG_BITS + MOST_ES
        tail, regime = log[:tail_bits], log[tail_bits:]
        negative = log[-1]
        before = Signal(len(regime), name="before")  # the run less one
        cap, over = Signal(3, name="cap"), Signal(name="over")
        limit = Mux(io.mode[1], BODY - 1, Mux(io.mode[0], 2, 0))
        m.d.comb += [
            before.eq(regime ^ negative.replicate(len(regime))),
            cap.eq(Mux(io.run < limit, io.run, limit)),
            over.eq(before > cap),
        ]
        ones = ~negative
        ended = Cat(Mux(before[:3] == cap, Cat(Const(0, 1), tail), Cat(tail, ~ones)), ones)
        string = Cat(Const(0, BODY - 1), ended).as_signed() >> before[:3]
        self._rounded(m, io, string, ones, over, left)

    def _rounded(self, m: Any, io: Any, string: Any, ones: Any, over: Any, left: Any) -> None:
        """The word of a string of bits that goes on below it: the highest bits by mode, rounded half to even."""
        from amaranth.hdl import Cat, Const, Mux, Signal

        bits = Signal(len(string), name="string")
        m.d.comb += bits.eq(string)
        cut, up, full, least = (Const(0, BODY) for _ in range(4))
        two = ~io.mode.any()
        for count, holds in ((7, io.mode[1]), (3, io.mode[0] & ~io.mode[1]), (1, two)):
            below, low = len(bits) - count, Const(0, BODY - count)
            half = bits[below - 1] & (bits[: below - 1].any() | left | bits[below])
            cut, up = cut | Mux(holds, Cat(low, bits[below:]), 0), up | Mux(holds, Cat(low, half), 0)
            full = full | Mux(holds, Cat(low, Const(-1, count)), 0)
            least = least | Mux(holds, Cat(low, Const(1, 1)), 0)
        whole, body = Signal(BODY, name="whole"), Signal(BODY, name="body")
        m.d.comb += whole.eq(Mux(cut == full, cut, cut + up))
        with m.If(over):
            m.d.comb += body.eq(Mux(ones, full, least))
        with m.Else():
            m.d.comb += body.eq(Mux(whole.any(), whole, least))
        some = io.significand[-1]
        m.d.comb += io.word.eq(Mux(some, Mux(io.sign, -Cat(body, Const(0, 1)), body), 0))


@functools.cache
def _logs(bits: int) -> tuple[Integers, Integers]:
    """floor(2^7 * log2) of significands from 1 to below 2, and 1 where that is not exact, by their bits after the one.

    m of b bits after the one has floor t where 2^t <= (1 + m / 2^b)^128 < 2^(t + 1): compared in integers.
    """
    one, steps = 1 << (bits - 1), 1 << LOG_BITS
    powers = [(one + m) ** steps for m in range(one)]
    return (
        np.array([power.bit_length() - 1 - steps * (bits - 1) for power in powers], np.int64),
        np.array([int(power & (power - 1) != 0) for power in powers], np.int64),
    )


@functools.cache
def _edges(mode: int, es: int, run: int) -> Integers:
    """From which doubled logarithm on, in units of 2^-8, the next positive word is the nearest; ties are the even's."""
    fmt = format_of(mode, es, run)
    logs = fmt.log2_parts()[1][1 : 1 << (fmt.bits - 1)] << (LOG_BITS + 1 - fmt.fraction_bits)
    middles = (logs[:-1] + logs[1:]) // 2
    lower = np.arange(1, len(logs))
    return middles + (lower % 2 == 0)
