"""The decision on precision of our reconstruction of Drift: range and mean deviation of a sub-tensor of codes.

The rule is that of `bitwright.methods.drift.conversion`, to the bit: how many low-order bits c has to drop until 4 hold
the largest |c| (affine: the span from the smallest c), at most 4; and whether sum |c - mean| is at least delta steps
for each element, where the mean is rounded to the next integer, halves up. So a sub-tensor comes twice: gathered for
its sum and ends, and, when nine clocks have divided the sum, measured. Nothing else is divided: with least = ceil(16 *
delta * count), a constant of the site but at its edges, the sum of deviations times 2^(4 - shift) is compared. The bill
of the machine `drift` has two of it, one that gathers while the other measures, and reads codes again.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.settings import OURS, about

CENTRED = 9
"""Bits of a code of 8 bits less its zero point, and of the mean."""
MEAN_STEPS = 9
REST, GATHER, DIVIDE, MEASURE = range(4)
FITS = {True: (7, 15, 30, 60, 127), False: (15, 31, 62, 124, 255)}
"""The largest |c| (span, where codes are unsigned) that each shift takes, 0 .. 4, by whether codes are signed."""
MOST = len(FITS[True]) - 1
"""Bits that may be dropped."""


class PrecisionDecider(Circuit):
    """A sum, two ends, a divider and a sum of deviations."""

    name: ClassVar[str] = "precision-decider"
    summary: ClassVar[str] = "range and mean deviation of a sub-tensor, and the bits that it may drop (for Drift)"
    source: ClassVar[str] = "ours, for the reconstruction of Drift (DAC 2024); its range and density tests are recalled"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {"sub-tensors of up to 8,191 codes": {}}

    count_bits: int = pydantic.Field(
        13, ge=2, le=20, description="width of a sub-tensor's length", json_schema_extra=about(OURS, unit="bits")
    )

    def ports(self) -> Ports:
        """What stands at the outputs follows from what was taken in until the clock before."""
        inputs = (
            Port(name="c", bits=CENTRED, signed=True, what="a code less its zero point"),
            Port(name="phase", bits=2, what="0: rest, 1: gather, 2: divide, 3: measure"),
            Port(name="first", bits=1, what="the phase begins"),
            Port(name="count", bits=self.count_bits, what="codes of the sub-tensor"),
            Port(name="least", bits=self._sum_bits + MOST, what="16 delta by count, rounded up"),
            Port(name="is_signed", bits=1, what="narrow codes are -7 .. 7, not 0 .. 15"),
            Port(name="affine", bits=1, what="they count from the smallest code, not from zero"),
        )
        outputs = (
            Port(name="narrow", bits=1, what="the sub-tensor becomes narrow"),
            Port(name="shift", bits=3, what="bits that it drops; 5: more than may be"),
            Port(name="smallest", bits=CENTRED, signed=True, what="its smallest code"),
        )
        return Ports(inputs=inputs, outputs=outputs)

    @property
    def _sum_bits(self) -> int:
        """Of sums of `count` codes of `CENTRED` bits, and of their distances."""
        return self.count_bits + CENTRED + 1

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Sub-tensors of 32 codes, and a clock of rest."""
        count = 32
        at = np.broadcast_to(np.arange(clocks)[:, None] % (2 * count + MEAN_STEPS + 1), (clocks, streams))
        ends = np.array([0, count, count + MEAN_STEPS, 2 * count + MEAN_STEPS])
        phase = (np.searchsorted(ends, at, side="right")) % 4
        return {
            "phase": phase,
            "first": np.isin(at, ends).astype(np.int64),
            "count": np.full_like(at, min(count, (1 << self.count_bits) - 1)),
            "least": np.full_like(at, 16 * count),
            "is_signed": np.ones_like(at),
            "affine": np.zeros_like(at),
        }

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Both tests on what has been gathered and measured so far."""
        c = inputs["c"]
        found = {name: np.zeros_like(c) for name in ("narrow", "shift", "smallest")}
        total, smallest, largest, rest, quotient, deviation = (np.zeros_like(c[0]) for _ in range(6))
        for clock in range(len(c)):
            now = {name: values[clock] for name, values in inputs.items()}
            shift = _shift(smallest, largest, now["is_signed"], now["affine"])
            dense = deviation << (MOST - np.minimum(shift, MOST)) >= now["least"]
            found["narrow"][clock] = (shift <= MOST) & ((shift == 0) | dense)
            found["shift"][clock], found["smallest"][clock] = shift, smallest
            gathers, divides, measures = (now["phase"] == phase for phase in (GATHER, DIVIDE, MEASURE))
            first, count = now["first"] == 1, now["count"]
            distance = np.abs(c[clock] - (quotient - (1 << (MEAN_STEPS - 1))))
            deviation = np.where(measures, self._kept(np.where(first, 0, deviation) + distance), deviation)
            begun = 2 * total + count + (count << MEAN_STEPS)
            held = np.where(first, begun, rest) & ((1 << self._rest_bits) - 1)
            more = held >= (count << MEAN_STEPS)
            left = (held - np.where(more, count << MEAN_STEPS, 0)) << 1
            rest = np.where(divides, left & ((1 << self._rest_bits) - 1), rest)
            shifted = (quotient << 1 | more) & ((1 << MEAN_STEPS) - 1)
            quotient = np.where(divides, shifted, quotient)
            half = 1 << (self._sum_bits - 1)
            added = (np.where(first, 0, total) + c[clock] + half & (2 * half - 1)) - half
            total = np.where(gathers, added, total)
            smallest = np.where(gathers, np.where(first, c[clock], np.minimum(smallest, c[clock])), smallest)
            largest = np.where(gathers, np.where(first, c[clock], np.maximum(largest, c[clock])), largest)
        return found

    def _kept(self, values: Integers) -> Integers:
        return values & ((1 << self._sum_bits) - 1)

    @property
    def _rest_bits(self) -> int:
        """Of what is left to divide: less than twice count * 2^9."""
        return self.count_bits + MEAN_STEPS + 1

    def build(self, m: Any, io: Any) -> None:
        """Every register and both tests."""
        from amaranth.hdl import Mux, Signal, signed

        total = Signal(signed(self._sum_bits), name="total")
        smallest, largest = (Signal(signed(CENTRED), name=name) for name in ("least_c", "greatest_c"))
        with m.If(io.phase == GATHER):
            m.d.sync += total.eq(Mux(io.first, 0, total) + io.c)
            with m.If(io.first | (io.c < smallest)):
                m.d.sync += smallest.eq(io.c)
            with m.If(io.first | (io.c > largest)):
                m.d.sync += largest.eq(io.c)

        rest, held = (Signal(self._rest_bits, name=name) for name in ("rest", "held"))
        quotient, high = Signal(MEAN_STEPS, name="quotient"), Signal(self.count_bits + 2, name="high")
        m.d.comb += held.eq(Mux(io.first, (total << 1) + io.count + (io.count << MEAN_STEPS), rest))
        m.d.comb += high.eq(held[MEAN_STEPS:] - io.count)
        more = ~high[-1]  # of a difference of positive numbers, whether it is none below 0
        with m.If(io.phase == DIVIDE):
            m.d.sync += quotient.eq((quotient << 1) | more)
            m.d.sync += rest.eq(Mux(more, (high << MEAN_STEPS) | held[:MEAN_STEPS], held) << 1)

        # the quotient counts from -256, which turning its highest bit round does
        deviation, away = Signal(self._sum_bits, name="deviation"), Signal(signed(CENTRED + 1), name="away")
        m.d.comb += away.eq(io.c - (quotient ^ (1 << (MEAN_STEPS - 1))).as_signed())
        distance = Signal(CENTRED + 1, name="distance")
        m.d.comb += distance.eq(Mux(away[-1], -away, away))
        with m.If(io.phase == MEASURE):
            m.d.sync += deviation.eq(Mux(io.first, 0, deviation) + distance)

        self._tests(m, io, smallest, largest, deviation)

    def _tests(self, m: Any, io: Any, smallest: Any, largest: Any, deviation: Any) -> None:
        from amaranth.hdl import Mux, Signal, signed

        span, reached = (Signal(signed(CENTRED + 2), name=name) for name in ("span", "reached"))
        negative = Signal(signed(CENTRED + 1), name="negative")
        m.d.comb += [
            span.eq(largest - smallest),
            negative.eq(-smallest),
            reached.eq(Mux(io.affine, span, Mux(largest > negative, largest, negative))),
        ]
        over = Signal(MOST + 1, name="over")
        for at in range(MOST + 1):
            m.d.comb += over[at].eq(Mux(io.is_signed, reached > FITS[True][at], reached > FITS[False][at]))
        scaled = Signal(self._sum_bits + MOST, name="scaled")
        m.d.comb += scaled.eq(deviation)
        for at in reversed(range(MOST)):  # the last assignment holds: the least shift that is enough
            with m.If(~over[at]):
                m.d.comb += scaled.eq(deviation << (MOST - at))
        m.d.comb += [
            io.shift.eq(sum(over)),
            io.narrow.eq(~over[-1] & (~over[0] | (scaled >= io.least))),
            io.smallest.eq(smallest),
        ]


def _shift(smallest: Integers, largest: Integers, signed: Integers, affine: Integers) -> Integers:
    """How many thresholds are passed, 0 .. 5."""
    reached = np.where(affine, largest - smallest, np.maximum(largest, -smallest))
    fits = np.where(signed[:, None], FITS[True], FITS[False])
    found: Integers = (reached[:, None] > fits).sum(1)
    return found
