"""What the machines of this room share: parameters, and a site's cost from how many rows and columns are narrow.

Our reconstruction of Drift (Liu et al., DAC 2024), of which only the claims are public: an array of bit groups between
three double-buffered SRAMs and DRAM, and lists of wide and narrow rows. Each block of a product's reduction is four
products of wide or narrow rows by wide or narrow columns (`bitwright.methods.classes`), gathered by the lists; their
sums are scattered. How they share the array is what the machines differ in. Operands of one precision are one class,
which takes the whole array.

Ours: on the common substrate 24 x 32 bit groups, 3,072 4-bit multipliers like all machines; natively 32 x 32, what the
ANT artifact gives machines of 4- and 8-bit integers. Weights are made narrow offline and stored so; outputs leave at 8
bits, because how many of them will be narrow is the next site's matter. Without codes the classes are as the precision
rule's shares state. Control and wiring are not modelled beyond what a machine states, nor the energy that DRAM spends
in the background.
"""

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from collections.abc import Mapping as Dictionary
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bitwright.accelerators.bill import Component, Use, use
from bitwright.accelerators.circuits import Built, Circuit, Priced, priced, synthesized, times
from bitwright.accelerators.dynamic_precision.bit_group import MULTIPLIERS, PORT_BITS, macs_per_cycle, per_port
from bitwright.accelerators.dynamic_precision.circuits import (
    ALIGNER,
    ALIGNERS,
    ARRAY,
    BASE,
    BASES,
    DECIDER,
    DECIDERS,
    ENTRY_BITS,
    INDEX,
    MULTIPLIER,
    SCHEDULER,
    STEP,
    bit_group_of,
    entry_bits,
    list_bytes,
)
from bitwright.accelerators.dynamic_precision.latency import ONE, Dataflow, Form, fill_cycles, form_of
from bitwright.accelerators.dynamic_precision.parts import timeline_of
from bitwright.accelerators.dynamic_precision.placement import Counts, Placement, count
from bitwright.accelerators.dynamic_precision.tiles import (
    LEAST_ROWS,
    Stored,
    WholeArray,
    average_bits,
    spread,
    tile_elements,
)
from bitwright.accelerators.dynamic_precision.walk import Walk, walk_of
from bitwright.accelerators.engine import Ran
from bitwright.accelerators.job import Job, Measured
from bitwright.accelerators.machine import Machine
from bitwright.accelerators.precision_scalable.modes import packed_width
from bitwright.accelerators.precision_scalable.operands import Types, refusal
from bitwright.accelerators.srams import memory, srams_of
from bitwright.accelerators.substrate import ARTIFACT_DRAM_BYTES, MULTIPLIERS_4B
from bitwright.accelerators.systolic.machine import REGISTER, SHADOW, timing_of
from bitwright.memory import Gemm, IntArray, Mapping, TileCosts
from bitwright.methods.classes import NARROW_BITS, PAIRS, WIDE_BITS, Classes
from bitwright.methods.drift.conversion import Conversion
from bitwright.methods.drift.rule import Drift as DriftRule
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan
from bitwright.methods.rules import Static, SubTensors
from bitwright.settings import OURS, about

BITS_PER_BYTE = 8
COLS = 32
ROWS = MULTIPLIERS_4B // MULTIPLIERS // COLS
WORTH = f"our choice: {ROWS} x {COLS} bit groups of {MULTIPLIERS} multipliers are the common substrate's"
TYPES = Types(
    kinds={"int": WIDE_BITS, "uint": WIDE_BITS},
    said="integers of 2 to 8 bits",
    lever="use a method of integers of 8 bits or less, or choose an accelerator made for that format",
)


class SplitArray(Machine):
    """A rows x cols array of bit groups that runs the four classes of a product."""

    native: ClassVar[Dictionary[str, Any]] = {"rows": 32, "cols": 32, "dram_bytes_per_cycle": ARTIFACT_DRAM_BYTES}
    """The ANT artifact's array of 4- and 8-bit integers; Drift's own, and how it loads weights, is not public."""
    edges: ClassVar[int]
    """Edges that words enter at, and sums leave from, at the same time."""
    schedules: ClassVar[bool]
    """Whether a scheduler chooses cuts."""
    rule: ClassVar[type[SubTensors]] = DriftRule
    """The precision rule that it follows."""
    group: ClassVar[tuple[Built, ...]]
    """A bit group as RTL, whose weights rest."""
    group_waits: ClassVar[bool] = True
    """Whether its RTL holds second registers for weights."""
    decider: ClassVar[Circuit] = DECIDER
    """What decides on precision, one a column."""
    measures: ClassVar[bool] = True
    """Whether deciding takes a second pass over outputs, which are read again for it."""
    gathers: ClassVar[bool] = True
    """Whether rows are gathered by lists and sums shifted into place; otherwise a bit of mask says what x is."""

    rows: int = Field(default=ROWS, ge=2, description="Rows of bit groups", json_schema_extra=about(WORTH))
    cols: int = Field(default=COLS, ge=2, description="Columns of bit groups", json_schema_extra=about(WORTH))
    dataflow: Dataflow = Field(
        default="ws",
        description="ws: weights rest, as on the other arrays here; os: sums rest",
        json_schema_extra=about(OURS),
    )

    def classes(self, work: Execution) -> Classes:
        """How many rows and columns it takes as narrow."""
        return work.classes

    @abstractmethod
    def place(self, classes: Classes, runs: IntArray = ONE, walk: Walk | None = None) -> Placement:
        """Where and for how long the classes of each block run.

        Parameters
        ----------
        classes : Classes
            What runs.
        runs : IntArray
            Into how many runs tiles cut the stream of each block [blocks].
        walk : Walk or None
            In which order tiles visit the blocks; None: all in turn for each run.
        """

    @property
    def overhead_percent_of_cuts(self) -> float:
        """What being cut adds to the area of a bit group."""
        return 0.0

    @property
    def scheduler_steps(self) -> int:
        """Cycles of the scheduler for each cut that it tries."""
        return 0

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates of 8 by 8 bits per cycle; narrower ones are up to four times as many."""
        return self.rows * self.cols

    @property
    def multipliers_4b(self) -> int:
        """4-bit multipliers."""
        return self.rows * self.cols * MULTIPLIERS

    @property
    def sum_ports(self) -> int:
        """Partial sums that leave the array per cycle in the mode with most."""
        return self.edges * self.cols * per_port(NARROW_BITS)

    @property
    def requantizer_lanes(self) -> int:
        """One per column."""
        return self.cols

    @property
    def sum_lanes(self) -> int:
        """In the mode with most."""
        return self.sum_ports

    @property
    def form(self) -> Form:
        """How folds take time."""
        return form_of(self.dataflow, timing_of(self))

    @property
    def fill_size(self) -> tuple[int, int]:
        """Rows and columns that are filled and drained."""
        return self.rows, self.cols

    def ports(self, bits: int) -> int:
        """Elements of so many bits that a row or a column of `fill_size` takes at once."""
        return per_port(bits)

    def wave_cycles(self, x_bits: int, w_bits: int) -> int:  # noqa: ARG002
        """Cycles of a wave, one row of x on its way through the array, of operands so wide."""
        return 1

    @property
    def resting_bits(self) -> int:
        """Bits that rest in a bit group: its port of weights, or sums of its four products."""
        return PORT_BITS if self.dataflow == "ws" else MULTIPLIERS * self.psum_bits

    def components(self) -> Sequence[Component]:
        """Bit groups, second registers, deciders, and what gathering, scattering and scheduling take."""
        groups, group = self.rows * self.cols, self._bit_group()
        found = [
            Component(name=ARRAY, count=groups, circuit=group),
            Component(name=DECIDERS, count=self.cols, circuit=self._priced(self.decider)),
        ]
        waits = group.synthesized and self.group_waits
        if (self.weight_loading == "hidden" and not waits) or self.dataflow == "os":
            register = priced(REGISTER, self.technology, "parts")
            found.append(Component(name=SHADOW, count=groups * self.resting_bits, circuit=register))
        if self.gathers:
            found += [
                Component(name=ALIGNERS, count=self.sum_ports, circuit=self._priced(ALIGNER)),
                Component(name=BASES, count=self.sum_ports, circuit=self._priced(BASE)),
                Component(name=INDEX, count=1, circuit=self._index()),
            ]
        if self.schedules:
            found.append(Component(name=SCHEDULER, count=1, circuit=self._priced(STEP)))
        return found

    def refusal(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        return refusal(plan, TYPES, precision=(Static, self.rule))

    def job(self, work: Execution) -> Job:
        """A product whose classes run as `place` says, in tiles for the whole array."""
        plan, gemm = work.plan, self.product(work)
        x_bits, w_bits = self._widths(plan)
        dynamic = self.is_dynamic(plan)
        least = (NARROW_BITS, NARROW_BITS) if dynamic else (x_bits, w_bits)
        rows, cols = self.fill_size
        ways = tuple(
            WholeArray(
                form=self.form,
                rows=rows,
                cols=cols,
                fx=self.ports(x_bits),
                fw=self.ports(w_bits),
                macs=(per_port(x_bits), per_port(w_bits)),
                wave_cycles=self.wave_cycles(x_bits, w_bits),
                least=(self.ports(least[0]), self.ports(least[1])),
                least_rows=times_rows * rows,
                sum_bits=self.psum_bits,
                product=use("mac", f"bit_group_a{x_bits}w{w_bits}", "cycle", self._bit_group()),
                exchange=self._exchange(),
            )
            for times_rows in (LEAST_ROWS if dynamic else (1,))
        )
        return Job(
            gemm=gemm,
            dataflows=ways,
            uses=self.operand_uses(work),
            measured=(lambda mapping: self.measured(work, mapping)) if dynamic else None,
        )

    def stored_bits(self, plan: SitePlan) -> int:
        """The packed width."""
        return self._widths(plan)[0]

    def product(self, work: Execution) -> Gemm:
        """A site with its operands as wide as its plan says."""
        x_bits, w_bits = self._widths(work.plan)
        return self.gemm_of(work, x_bits=x_bits, w_bits=w_bits)

    def is_dynamic(self, plan: SitePlan) -> bool:
        """Whether precision goes by rows and columns."""
        return isinstance(plan.precision, self.rule)

    def placed(self, work: Execution, mapping: Mapping) -> tuple[Placement, Counts]:
        """Where the classes run under a mapping, and what that moves."""
        classes = self.classes(work)
        runs = self._runs(classes, mapping)
        placed = self.place(classes, runs, walk_of(classes.k, self.product(work), mapping))
        return placed, count(placed, self.dataflow, runs)

    def stored(self, work: Execution) -> tuple[Stored, Stored]:
        """Both operands in memory."""
        gemm, classes, bits = self.product(work), self.classes(work), self._widths(work.plan)
        lists = self._lists(work) if self.is_dynamic(work.plan) else (Fraction(0), Fraction(0))
        sides = zip(
            (gemm.x_bits, gemm.w_bits),
            bits,
            (classes.x_narrow, classes.w_narrow),
            lists,
            (gemm.x_share, gemm.w_share),
            strict=True,
        )
        x, w = (
            Stored(bits=average_bits(code, narrow) + (wide - code), list_bits=listed, share=share)
            for wide, code, narrow, listed, share in sides
        )
        return x, w

    def measured(self, work: Execution, mapping: Mapping) -> Measured:
        """What an execution takes under a mapping, of which tiles, order and buffers count."""
        gemm, (placed, counts), (x, w) = self.product(work), self.placed(work, mapping), self.stored(work)
        x_tiles, w_tiles = tile_elements(gemm, mapping)
        outputs = gemm.groups * gemm.m * gemm.n
        passes = -(-gemm.m // mapping.tile_m) if self.dataflow == "ws" else 1
        w_bytes = (
            float(counts.w_read.sum() * w.bits) / BITS_PER_BYTE if placed.together else _read_bytes(counts.w_read, 1)
        )
        return Measured(
            tiles=TileCosts(
                compute=spread(placed.spent + placed.exposed, placed.classes.k, gemm, mapping),
                x_bytes=x.dram_bytes(x_tiles),
                w_bytes=w.dram_bytes(w_tiles),
            ),
            fill_cycles=fill_cycles(self.form, *self.fill_size),
            x_fill=x.sram_bytes(x_tiles),
            w_fill=w.sram_bytes(w_tiles),
            x_read_bytes=_read_bytes(counts.x_read, 0),
            w_read_bytes=w_bytes * passes,
            sums=max(int(counts.psum_write.sum()), outputs * -(-gemm.k // mapping.tile_k)),
            uses=list(self._uses(work, placed, counts)),
            macs_executed=gemm.macs,
            unique_bytes=x.distinct_bytes(work.site.x_elements * (not gemm.x_on_chip))
            + w.distinct_bytes(work.site.w_elements)
            + -(-outputs * gemm.y_dram_bits // BITS_PER_BYTE),
        )

    def _uses(self, work: Execution, placed: Placement, counts: Counts) -> Iterator[tuple[Use, float]]:
        """Bit groups by mode, exchanges of what rests, and what run-time precision takes."""
        group = self._bit_group()
        for (x, w), cycles in zip(PAIRS, counts.bit_group_cycles, strict=True):
            yield use("mac", f"bit_group_a{x}w{w}", "cycle", group), int(cycles)
        yield self._exchange(), counts.folds / math.prod(self.fill_size)
        if not self.is_dynamic(work.plan):
            return
        yield use(DECIDERS, "decide", "operation", self._priced(self.decider)), work.site.y_elements
        if self.measures:
            output = srams_of(self)["sram_output"]
            words = work.site.y_elements * WIDE_BITS / output.word_bits
            again = Use(
                component=DECIDERS, name="read again", unit="word", price_pj=output.read_pj, source=output.source
            )
            yield again, words
        if self.gathers:
            yield from self._gathering(work, placed, counts)

    def _gathering(self, work: Execution, placed: Placement, counts: Counts) -> Iterator[tuple[Use, float]]:
        """Lists of rows and columns, shifts of their sums, smallest codes, schedules."""
        classes, blocks, affine = placed.classes, placed.spent.size, _affine(work)
        words = -(-entry_bits(int(classes.k.max()), affine=affine) // ENTRY_BITS)
        rows, columns = work.site.m * blocks * words, work.site.n * blocks * words
        index, source = self.technology.sram(list_bytes(), ENTRY_BITS), self._index().area_source
        accesses = (("read", 2 * rows + columns, index.read_pj), ("write", rows + columns, index.write_pj))
        for name, count_, price_pj in accesses:
            yield Use(component=INDEX, name=name, unit="word", price_pj=price_pj, source=source), count_
        yield use(ALIGNERS, "shift", "operation", self._priced(ALIGNER)), int(counts.psum_write.sum())
        if affine:
            met = int((classes.m_narrow * classes.n + classes.m * classes.n_narrow).sum())
            yield use(BASES, "base", "operation", self._priced(BASE)), met
        if self.schedules:
            steps = int(placed.evaluations.sum()) * self.scheduler_steps
            yield use(SCHEDULER, "step", "cycle", self._priced(STEP)), steps

    def _exchange(self) -> Use:
        """What rests in all bit groups, shifted by all rows."""
        bits = self.fill_size[0] * self.rows * self.cols * self.resting_bits
        shifts = times(priced(REGISTER, self.technology, "parts"), bits, f"{bits:,} x {{}}")
        return use("registers", "exchange what rests", "fold", shifts)

    def _bit_group(self) -> Priced:
        built = synthesized(self.group, self.technology) if self.dataflow == "ws" else None
        return built or bit_group_of(self._priced(MULTIPLIER), self.overhead_percent_of_cuts)

    def _index(self) -> Priced:
        """The SRAM of row lists."""
        return memory(self.technology.sram(list_bytes(), ENTRY_BITS))

    def _priced(self, circuit: Circuit) -> Priced:
        return priced(circuit, self.technology, "area")

    def _widths(self, plan: SitePlan) -> tuple[int, int]:
        x_bits, w_bits = (packed_width(bits, (NARROW_BITS, WIDE_BITS)) for bits in (plan.x_bits, plan.w_bits))
        return x_bits, w_bits

    def _lists(self, work: Execution) -> tuple[Fraction, Fraction]:
        """Bits that say of x's and of w's sub-tensors what they are, by element."""
        lengths, rule = work.classes.k, work.plan.precision
        region = rule.region if isinstance(rule, SubTensors) else 1
        sub_tensors = Fraction(len(lengths), work.site.k)
        pixels = region**2 if work.site.conv is not None else 1
        if not self.gathers:
            return sub_tensors / pixels, Fraction(0)
        bits = entry_bits(int(lengths.max()), affine=_affine(work))
        return bits * sub_tensors / pixels, bits * sub_tensors

    def peak_of(self, work: Execution) -> float:
        """Of the four classes together."""
        macs = self.classes(work).macs
        least = sum(done / (self.rows * self.cols * macs_per_cycle(*pair)) for pair, done in macs.items())
        return sum(macs.values()) / least

    def details(self, work: Execution, ran: Ran) -> dict[str, Any]:
        """Classes, cuts and parts.

        Returns
        -------
        dict
            Narrow shares of distinct elements and bits that an element is stored in; shares of multiply-accumulates by
            class; blocks, cuts tried, cycles of waiting for schedules; and `timeline`: the four parts in the longest
            block, and in all of them (`bitwright.accelerators.dynamic_precision.parts.timeline_of`).
        """
        classes, (x, w), (placed, _) = self.classes(work), self.stored(work), self.placed(work, ran.mapping)
        macs = classes.macs
        return {
            "dataflow": self.dataflow,
            "x_narrow": classes.x_narrow,
            "w_narrow": classes.w_narrow,
            "x_stored_bits": float(x.bits),
            "w_stored_bits": float(w.bits),
            **{f"macs_a{x_bits}w{w_bits}_share": macs[x_bits, w_bits] / work.site.macs for x_bits, w_bits in PAIRS},
            "blocks": placed.spent.size,
            "cuts_tried": int(placed.evaluations.sum()),
            "schedule_wait_cycles": int(placed.exposed.sum()),
            "timeline": timeline_of(placed),
        }

    def _runs(self, classes: Classes, mapping: Mapping) -> IntArray:
        """Into how many runs tiles cut the stream of each block [blocks]: rows, or where sums rest the reduction."""
        if self.dataflow == "os":
            return -(-classes.k // mapping.tile_k)
        return np.full_like(classes.k, -(-classes.m // mapping.tile_m))


def _affine(work: Execution) -> bool:
    """Whether narrow codes count from a smallest code of their own."""
    rule = work.plan.precision
    return isinstance(rule, DriftRule) and rule.conversion is Conversion.AFFINE


def _read_bytes(elements: IntArray, side: int) -> float:
    """Bytes of elements that the array reads of an operand, by class."""
    return sum(int(each) * pair[side] for pair, each in zip(PAIRS, elements, strict=True)) / BITS_PER_BYTE
