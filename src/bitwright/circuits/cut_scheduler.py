"""A step of the scheduler that cuts the array of our reconstruction of Drift: four latencies, and the better cuts kept.

The closed forms are those of `bitwright.accelerators.dynamic_precision.latency` where folds follow one another
(`ws-double`, `os-double`, tiles in one run): ceil(along / (rows fx)) * ceil(n / (cols fw)) * max(length, rows), with k
along the rows and m as length where weights rest, m and k where sums do. Two dividers work bit by bit, one multiplier
twice. Latencies of a candidate's four parts are kept in descending order; candidates are compared lexicographically,
the longest part first, as `bitwright.accelerators.dynamic_precision.scheduler` does. An empty class takes no time; work
that has no rows or columns never ends, which is all ones. Which cuts are tried, and when, is said from outside.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.settings import OURS, about

REST, LOAD, DIVIDE, FOLDS, INSERT, JUDGE = range(6)
PARTS = 4
CANDIDATES = 16
"""Cuts that are tried where energy is measured: one round of steps; ours."""


class CutScheduler(Circuit):
    """Two serial dividers, a multiplier, four latencies and the best four."""

    name: ClassVar[str] = "cut-scheduler"
    summary: ClassVar[str] = "latencies of the four parts of a cut array, and the better cuts kept (for Drift)"
    source: ClassVar[str] = "ours; of Drift's scheduler (DAC 2024) only that it works online is known"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "sizes of 16 bits, up to 63 rows": {},
        "sizes of 4 bits": {"size_bits": 4, "axis_bits": 3},
    }

    size_bits: int = pydantic.Field(
        16, ge=2, le=16, description="width of a product's sizes", json_schema_extra=about(OURS, unit="bits")
    )
    axis_bits: int = pydantic.Field(
        6, ge=2, le=8, description="width of a count of rows or columns", json_schema_extra=about(OURS, unit="bits")
    )

    def ports(self) -> Ports:
        """A part takes a clock of LOAD, `size_bits` of DIVIDE, one of FOLDS and one of INSERT; four parts, a JUDGE."""
        inputs = (
            Port(name="phase", bits=3, what="0: rest, 1: load, 2: divide, 3: folds, 4: insert, 5: judge; others rest"),
            Port(name="first", bits=1, what="insert: the candidate's first part; judge: there is none better yet"),
            Port(name="along", bits=self.size_bits, what="what lies along the rows: k, or m"),
            Port(name="across", bits=self.size_bits, what="what lies along the columns: n"),
            Port(name="length", bits=self.size_bits, what="what streams: m, or k"),
            Port(name="rows", bits=self.axis_bits, what="rows of the part"),
            Port(name="cols", bits=self.axis_bits, what="its columns"),
            Port(name="rows_pair", bits=1, what="a row takes two elements: they are narrow"),
            Port(name="cols_pair", bits=1, what="a column takes two"),
        )
        cycles = Port(name="cycles", bits=self._cycle_bits, lanes=PARTS, what="the best four, the longest first")
        return Ports(inputs=inputs, outputs=(Port(name="better", bits=1, what="the candidate is better"), cycles))

    @property
    def _cycle_bits(self) -> int:
        return 3 * self.size_bits

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Candidates one after another, `CANDIDATES` of each product."""
        one = self.size_bits + 3
        clock = np.broadcast_to(np.arange(clocks)[:, None], (clocks, streams))
        candidate, at = divmod(clock, PARTS * one + 1)
        part, at = divmod(at, one)
        phase = np.where(at == 0, LOAD, np.where(at <= self.size_bits, DIVIDE, np.where(at == one - 2, FOLDS, INSERT)))
        first = np.where(part == PARTS, candidate % CANDIDATES == 0, part == 0)
        return {"phase": np.where(part == PARTS, JUDGE, phase), "first": first.astype(np.int64)}

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Latencies by whole divisions, though bits of them come one a clock."""
        streams, top = inputs["phase"].shape[1], (1 << self._cycle_bits) - 1
        mask = (1 << self.size_bits) - 1
        found = {"better": np.zeros_like(inputs["phase"]), "cycles": np.zeros((*inputs["phase"].shape, PARTS), int)}
        kept = {name: np.zeros((streams, 2), np.int64) for name in ("divisor", "value", "rest")}
        folds, flags = np.zeros(streams, np.int64), np.zeros((streams, 2), bool)
        length = np.zeros(streams, np.int64)
        parts, best = (np.zeros((streams, PARTS), np.int64) for _ in range(2))
        for clock in range(len(inputs["phase"])):
            now = {name: values[clock] for name, values in inputs.items()}
            first = now["first"] == 1
            is_less = first | _less(parts, best)
            found["better"][clock], found["cycles"][clock] = is_less, best
            loads, divides, multiplies, inserts, judges = (now["phase"] == at for at in range(LOAD, JUDGE + 1))
            best = np.where((judges & is_less)[:, None], parts, best)
            product = np.where(flags[:, 1], top, np.where(flags[:, 0], 0, folds * length))
            entered = np.sort(np.concatenate([np.where(first[:, None], 0, parts), product[:, None]], 1), 1)[:, :0:-1]
            parts = np.where(inserts[:, None], entered, parts)
            ceiling = kept["value"] + (kept["rest"] != 0)
            folds = np.where(multiplies, ceiling[:, 0] * ceiling[:, 1], folds)
            doubled = kept["rest"] << 1 | kept["value"] >> (self.size_bits - 1)
            more = doubled >= kept["divisor"]
            halves = np.where(more, doubled - kept["divisor"], doubled) & ((2 << self.axis_bits) - 1)
            kept["rest"] = np.where(divides[:, None], halves, kept["rest"])
            kept["value"] = np.where(divides[:, None], (kept["value"] << 1 | more) & mask, kept["value"])
            axes = np.stack([now["rows"] << now["rows_pair"], now["cols"] << now["cols_pair"]], 1)
            sizes = np.stack([now["along"], now["across"]], 1)
            kept["divisor"] = np.where(loads[:, None], axes, kept["divisor"])
            kept["value"] = np.where(loads[:, None], sizes, kept["value"])
            kept["rest"] = np.where(loads[:, None], 0, kept["rest"])
            length = np.where(loads, np.maximum(now["length"], now["rows"]) & mask, length)
            empty = (sizes == 0).any(1) | (now["length"] == 0)
            flags = np.where(loads[:, None], np.stack([empty, ~empty & (axes == 0).any(1)], 1), flags)
        return found

    def build(self, m: Any, io: Any) -> None:
        """Dividers, multiplier, lists."""
        from amaranth.hdl import Mux, Signal

        size = self.size_bits
        ceilings = [
            self._divider(m, io, name, value, count, pair)
            for name, value, count, pair in (
                ("along", io.along, io.rows, io.rows_pair),
                ("across", io.across, io.cols, io.cols_pair),
            )
        ]
        empty, never, length = Signal(name="empty"), Signal(name="never"), Signal(size, name="stream")
        nothing = ~io.along.any() | ~io.across.any() | ~io.length.any()
        with m.If(io.phase == LOAD):
            m.d.sync += [
                length.eq(Mux(io.length > io.rows, io.length, io.rows)),
                empty.eq(nothing),
                never.eq(~nothing & (~io.rows.any() | ~io.cols.any())),
            ]
        folds, one, other = Signal(2 * size, name="folds"), Signal(2 * size, name="one"), Signal(size + 1, name="other")
        product = Signal(self._cycle_bits, name="product")
        m.d.comb += [
            one.eq(Mux(io.phase == FOLDS, ceilings[0], folds)),
            other.eq(Mux(io.phase == FOLDS, ceilings[1], length)),
            product.eq(one * other),
        ]
        with m.If(io.phase == FOLDS):
            m.d.sync += folds.eq(product)
        latency = Signal(self._cycle_bits, name="latency")
        m.d.comb += latency.eq(Mux(never, -1, Mux(empty, 0, product)))
        self._lists(m, io, latency)

    def _divider(self, m: Any, io: Any, name: str, size: Any, count: Any, pair: Any) -> Any:
        """A quotient rounded up, a bit of it per clock of DIVIDE, the highest first."""
        from amaranth.hdl import Cat, Mux, Signal

        divisor, value = Signal(self.axis_bits + 1, name=f"{name}_by"), Signal(self.size_bits, name=f"{name}_quotient")
        rest, doubled = Signal(self.axis_bits + 1, name=f"{name}_rest"), Signal(self.axis_bits + 2, name=f"{name}_two")
        more, ceiling = Signal(name=f"{name}_more"), Signal(self.size_bits + 1, name=f"{name}_folds")
        m.d.comb += [doubled.eq(Cat(value[-1], rest)), more.eq(doubled >= divisor), ceiling.eq(value + rest.any())]
        with m.If(io.phase == LOAD):
            m.d.sync += [divisor.eq(Mux(pair, count << 1, count)), value.eq(size), rest.eq(0)]
        with m.Elif(io.phase == DIVIDE):
            m.d.sync += [rest.eq(Mux(more, doubled - divisor, doubled)), value.eq(Cat(more, value))]
        return ceiling

    def _lists(self, m: Any, io: Any, latency: Any) -> None:
        from amaranth.hdl import Cat, Mux, Signal

        parts, best = (
            [Signal(self._cycle_bits, name=f"{name}{at}") for at in range(PARTS)] for name in ("part", "best")
        )
        held = [Mux(io.first, 0, part) for part in parts]
        stays = [each >= latency for each in held]
        with m.If(io.phase == INSERT):
            for at, part in enumerate(parts):
                below = latency if not at else Mux(stays[at - 1], latency, held[at - 1])
                m.d.sync += part.eq(Mux(stays[at], held[at], below))
        # compared as one long number whose highest digit is the longest part
        m.d.comb += io.better.eq(io.first | (Cat(*reversed(parts)) < Cat(*reversed(best))))
        with m.If((io.phase == JUDGE) & io.better):
            m.d.sync += [kept.eq(part) for kept, part in zip(best, parts, strict=True)]
        m.d.comb += [out.eq(kept) for out, kept in zip(io.cycles, best, strict=True)]


def _less(one: Integers, other: Integers) -> Integers:
    """Whether lists [streams, 4] come before others lexicographically."""
    found: Integers = np.zeros(len(one), bool)
    equal = np.ones(len(one), bool)
    for at in range(one.shape[1]):
        found |= equal & (one[:, at] < other[:, at])
        equal &= one[:, at] == other[:, at]
    return found
