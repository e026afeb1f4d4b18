"""LPA's unified decoder: eight bits are one log posit of 8 bits, two of 4 or four of 2 (arXiv 2403.05465).

As drawn on the authors' posters: two's complement by the sign, bits inverted by the first one of the regime, a counter
of leading zeros, a shifter that takes the regime away, and the regime from the count, conditionally inverted. MODE is
theirs: 1- for one word, 01 for two, 00 for four, the first word in the highest bits. Ours: es and the longest run come
as ports, since formats change by the layer; the run ends there without a terminator (what else rs may mean is a run of
n - 1); regime, exponent and fraction leave as one fixed-point log2, which needs no es behind the decoder, where the
drawing has the regime beside the rest; a flag says which lanes are 0, NaR or not used. A word of 8 bits and the first
of 4 share a slice; words of 2 bits are -1, 0, 1 and have no logarithm.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.leading import normalized
from bitwright.circuits.log_converter import DRAWN
from bitwright.formats import LogPosit
from bitwright.settings import OURS, about

LANES = 4
WORD = 8
MOST_ES = 3
INTEGER_BITS = 7
"""Of a logarithm, signed: |log2| < 56 where es is at most 3."""
WIDTHS = (2, 4, 8, 8)
"""Of words, by mode."""


class LogPositDecoder(Circuit):
    """Eight bits to signs, flags and logarithms of up to four lanes."""

    name: ClassVar[str] = "log-posit-decoder"
    summary: ClassVar[str] = "log posits of 8, 4 or 2 bits to sign and log2 (LPA's unified decoder)"
    source: ClassVar[str] = f"{DRAWN}; ports, and log2 in one piece, are ours"
    clocked: ClassVar[bool] = False
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"fractions of 3 bits": {}}
    small: ClassVar[tuple[Mapping[str, Any], ...]] = ({}, {"fraction_bits": 6})

    fraction_bits: int = pydantic.Field(
        3,
        ge=1,
        le=6,
        description="width of log2's fraction; formats of more lose the last bits, and none has more than 6",
        json_schema_extra=about(OURS, unit="bits"),
    )

    def ports(self) -> Ports:
        """Lane 0 has the word of 8 bits, or the first; lane 2 the second of 4 bits."""
        inputs = (
            Port(name="word", bits=WORD, what="one word, two or four, the first in the highest bits"),
            *format_ports(),
        )
        sign = Port(name="sign", bits=LANES, what="of each lane, 1 for negative ones")
        zero = Port(name="zero", bits=LANES, what="the lane's word is 0 or NaR, or there is none")
        bits = INTEGER_BITS + self.fraction_bits
        log = Port(name="log", bits=bits, signed=True, lanes=2, what="log2 of lanes 0 and 2 in fixed point; 0 of zeros")
        return Ports(inputs=inputs, outputs=(sign, zero, log))

    def model(self, inputs: Values) -> dict[str, Integers]:
        """By the format's own table of every word."""
        word, mode, es, run = (inputs[name] for name in ("word", "mode", "es", "run"))
        signs, logs = _tables(self.fraction_bits)
        sign, zero = np.zeros_like(word), np.zeros_like(word)
        found = []
        for lane in range(LANES):
            code = _code(word, mode, lane)
            signum, log = signs[mode, es, run, code], logs[mode, es, run, code]
            used = np.array([True, lane % 2 == 0, lane == 0, lane == 0])[mode]
            sign |= np.where(used & (signum < 0), 1 << lane, 0)
            zero |= np.where(used & (signum != 0), 0, 1 << lane)
            found.append(np.where(used, log, 0))
        return {"sign": sign, "zero": zero, "log": np.stack([found[0], found[2]], -1)}

    def build(self, m: Any, io: Any) -> None:
        """A slice of 8 bits for the first word of 8 or 4, one of 4 bits for the second, and none for words of 2."""
        from amaranth.hdl import Cat, Mux, Signal

        four, eight = io.mode[0] & ~io.mode[1], io.mode[1]
        low, high = io.word[:4], io.word[4:]
        first, second = Signal(WORD, name="first"), Signal(4, name="second")
        m.d.comb += [first.eq(Cat(Mux(eight, low, 0), high)), second.eq(low)]
        logs, zeros = [], []
        for name, word, out in (("a", first, io.log[0]), ("b", second, io.log[1])):
            log, zero = self._slice(m, name, word, io)
            shown = (four | eight) if name == "a" else four
            m.d.comb += out.eq(Mux(shown & ~zero, log, 0))
            logs.append(log)
            zeros.append(zero)
        pairs = [io.word[at : at + 2] for at in (6, 4, 2, 0)]  # words of 2 bits: the sign, and whether it is a number
        two = ~io.mode.any()
        lanes = [
            (Mux(two, ~pairs[0][0], zeros[0]), pairs[0][1]),
            (~two | ~pairs[1][0], pairs[1][1]),
            (Mux(two, ~pairs[2][0], ~four | zeros[1]), Mux(four, low[3], pairs[2][1])),
            (~two | ~pairs[3][0], pairs[3][1]),
        ]
        m.d.comb += [io.zero.eq(Cat(zero for zero, _ in lanes)), io.sign.eq(Cat(sign & ~zero for zero, sign in lanes))]

    def _slice(self, m: Any, name: str, word: Any, io: Any) -> tuple[Any, Any]:
        """log2 of a word of so many bits or, with zeros below it, fewer; and whether it is 0 or NaR."""
        from amaranth.hdl import Cat, Mux, Signal, signed

        size = len(word) - 1
        body, zero, run = Signal(size, name=f"body_{name}"), Signal(name=f"zero_{name}"), Signal(3, name=f"run_{name}")
        m.d.comb += [zero.eq(~word[:-1].any()), body.eq(Mux(word[-1], -word, word))]
        ones = body[-1]
        _, zeros = normalized(m, f"regime_{name}", body ^ ones.replicate(size))
        counted = Signal(3, name=f"counted_{name}")
        m.d.comb += counted.eq(zeros - 1)
        capped = Signal(name=f"capped_{name}")
        m.d.comb += [capped.eq(counted >= io.run), run.eq(Mux(capped, io.run, counted))]
        # The first bit of the run is the body's last: what follows it moves up by the rest of the run and a terminator.
        tail = Signal(size - 1, name=f"tail_{name}")
        moved = (body[: size - 1] << run)[: size - 1]
        m.d.comb += tail.eq(Mux(capped, moved, moved << 1))
        regime = run ^ (~ones).replicate(3)
        whole = Signal(signed(size + 3), name=f"whole_{name}")
        m.d.comb += whole.eq(Cat(tail, regime, ~ones))
        shifted = whole << io.es
        dropped = size - 1 - self.fraction_bits
        return (shifted >> dropped if dropped > 0 else shifted << -dropped), zero


def format_ports() -> tuple[Port, ...]:
    """What says how words are read or written, layer by layer."""
    return (
        Port(name="mode", bits=2, what="2 or 3: words of 8 bits, 1: of 4, 0: of 2"),
        Port(name="es", bits=2, what="exponent bits of the format"),
        Port(name="run", bits=3, what="rs of the format less 1; n - 2 and more are one"),
    )


def format_of(mode: int, es: int, run: int) -> LogPosit:
    """The format that these ports stand for."""
    bits = WIDTHS[mode]
    return LogPosit(n=bits, es=es, rs=min(run + 1, bits - 1))


def _code(word: Integers, mode: Integers, lane: int) -> Integers:
    """The word of a lane; anything in lanes that a mode does not use."""
    two, four = word >> (6 - 2 * lane) & 3, word >> (4 - 2 * (lane & 2)) & 15
    return np.where(mode == 0, two, np.where(mode == 1, four, word))


@functools.cache
def _tables(fraction_bits: int) -> tuple[Integers, Integers]:
    """Signs and log2 in units of 2^-fraction_bits, rounded down, [mode, es, run, word]."""
    signs, logs = np.zeros((2, len(WIDTHS), MOST_ES + 1, 8, 1 << WORD), np.int64)
    for mode, es, run in np.ndindex(signs.shape[:3]):
        fmt = format_of(mode, es, run)
        sign, log = fmt.log2_parts()
        signs[mode, es, run, : len(sign)] = sign
        logs[mode, es, run, : len(log)] = (log << WORD) >> (WORD + fmt.fraction_bits - fraction_bits)
    return signs, logs
