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

import functools
from abc import abstractmethod
from collections.abc import Mapping as Dictionary
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bitwright.accelerators.cost import Area, Cost
from bitwright.accelerators.events import BITS_PER_BYTE, CACHED_MACHINES, leakage_pj_per_cycle, memory_prices
from bitwright.accelerators.mapped import gemm_of, mapping_figures
from bitwright.accelerators.precision_scalable.circuits import priced
from bitwright.accelerators.precision_scalable.modes import packed_width
from bitwright.accelerators.precision_scalable.operands import Types, refusal
from bitwright.accelerators.dynamic_precision.bit_group import MULTIPLIERS, PORT_BITS, macs_per_cycle, per_port
from bitwright.accelerators.dynamic_precision.costs import (
    ALIGNER,
    BASE,
    DECIDER,
    ENTRY_BITS,
    MULTIPLIER,
    STEP,
    Prices,
    area_of,
    bit_group_price,
    cost_of,
    entry_bits,
    leaking,
    list_bytes,
)
from bitwright.accelerators.dynamic_precision.latency import ONE, Dataflow
from bitwright.accelerators.dynamic_precision.measured import Measured, sram_bytes
from bitwright.accelerators.dynamic_precision.parts import timeline_of
from bitwright.accelerators.dynamic_precision.placement import Placement, count
from bitwright.accelerators.dynamic_precision.tiles import (
    LEAST_ROWS,
    Stored,
    WholeArray,
    average_bits,
    mappings,
    spread,
    tile_elements,
)
from bitwright.accelerators.srams import sram_macros
from bitwright.accelerators.substrate import MULTIPLIERS_4B, Substrate
from bitwright.errors import InputError
from bitwright.memory import Gemm, IntArray, Mapping, TileCosts, timeline
from bitwright.methods.classes import NARROW_BITS, PAIRS, WIDE_BITS, Classes
from bitwright.methods.drift.conversion import Conversion
from bitwright.methods.drift.rule import Drift as DriftRule
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan
from bitwright.methods.rules import Static, SubTensors

COLS = 32
ROWS = MULTIPLIERS_4B // MULTIPLIERS // COLS
WORTH = f"our choice: {ROWS} x {COLS} bit groups of {MULTIPLIERS} multipliers are the common substrate's"
TYPES = Types(
    kinds={"int": WIDE_BITS, "uint": WIDE_BITS},
    said="integers of 2 to 8 bits",
    lever="use a method of integers of 8 bits or less, or choose an accelerator made for that format",
)


class SplitArray(Substrate):
    """A rows x cols array of bit groups that runs the four classes of a product."""

    summary: ClassVar[str]
    needs_codes: ClassVar[bool] = False
    native: ClassVar[Dictionary[str, Any]] = {"rows": 32, "cols": 32, "dataflow": "ws-double"}
    """The ANT artifact's array of 4- and 8-bit integers; Drift's own, and how it loads weights, is not public."""
    edges: ClassVar[int]
    """Edges that words enter at, and sums leave from, at the same time."""
    schedules: ClassVar[bool]
    """Whether a scheduler chooses cuts."""
    rule: ClassVar[type[SubTensors]] = DriftRule
    """The precision rule that it follows."""
    gathers: ClassVar[bool] = True
    """Whether rows are gathered by lists and sums shifted into place; otherwise a bit of mask says what x is."""

    rows: int = Field(default=ROWS, ge=2, description=f"Rows of bit groups; {WORTH}")
    cols: int = Field(default=COLS, ge=2, description=f"Columns of bit groups; {WORTH}")
    dataflow: Dataflow = Field(
        default="ws",
        description="ws: weights rest, as on the other arrays here; ws-double: the next ones come in meanwhile; "
        "os: sums rest. Our choice",
    )

    def classes(self, work: Execution) -> Classes:
        """How many rows and columns it takes as narrow."""
        return work.classes

    @abstractmethod
    def place(self, classes: Classes, runs: IntArray = ONE) -> Placement:
        """Where and for how long the classes of each block run, with `runs` by block as tiles cut its streams."""

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
    def ports(self) -> dict[str, int]:
        """Bits of one access of each SRAM: what flows per cycle at all edges that are in use at once."""
        return {
            "sram_input": self.edges * self.rows * PORT_BITS,
            "sram_weight": self.edges * self.cols * PORT_BITS,
            "sram_output": self.sum_ports * self.psum_bits,
        }

    @property
    def prices(self) -> Prices:
        """What it pays for.

        Raises
        ------
        InputError, MissingPriceError
            If the node, a price or an SRAM macro is unknown.
        """
        return _prices(self)

    def supports(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        return refusal(plan, TYPES, precision=(Static, self.rule))

    def run(self, work: Execution) -> Cost:
        """Cost of one execution of a site, from its shape, formats, and how much of it is narrow.

        Raises
        ------
        InputError
            If the plan is not supported, or not even the smallest tile fits the SRAMs.
        """
        return cost_of(self, self.measure(work))

    def measure(self, work: Execution) -> Measured:
        """Everything that the cost comes from. Raises as `run` does."""
        site, plan = work.site, work.plan
        reason = self.supports(plan)
        if reason:
            raise InputError(f"{site.name} cannot run on this array: {reason}")
        x_bits, w_bits = (packed_width(bits, (NARROW_BITS, WIDE_BITS)) for bits in (plan.x_bits, plan.w_bits))
        gemm = gemm_of(site, x_bits=x_bits, w_bits=w_bits, psum_bits=self.psum_bits)
        dynamic = isinstance(plan.precision, self.rule)
        least = (NARROW_BITS, NARROW_BITS) if dynamic else (x_bits, w_bits)
        tiled = WholeArray(machine=self, gemm=gemm, least_bits=least, least_rows=self.rows)
        ways = [self._mapped(work, gemm, mapping) for mapping in mappings(tiled, LEAST_ROWS if dynamic else (1,))]
        return ways[0] if len(ways) == 1 else min(ways, key=self._score)

    @property
    def leakage_pj_per_cycle(self) -> float:
        """Energy that is spent in every cycle."""
        return leakage_pj_per_cycle(leaking(self), self.clock_mhz)

    def _score(self, way: Measured) -> tuple[float, float]:
        """What the objective minimizes, then energy."""
        cycles, energy = way.timeline.cycles, cost_of(self, way).total_energy_pj
        return {"latency": float(cycles), "energy": energy, "edp": cycles * energy}[self.objective], energy

    def _mapped(self, work: Execution, gemm: Gemm, mapping: Mapping) -> Measured:
        """Everything that the cost under a mapping comes from."""
        site, classes, dynamic = work.site, self.classes(work), isinstance(work.plan.precision, self.rule)
        runs = self._runs(classes, mapping)
        placed = self.place(classes, runs)
        x_lists, w_lists = self._lists(work) if dynamic else (Fraction(0), Fraction(0))
        x = Stored(bits=average_bits(gemm.x_bits, classes.x_narrow), list_bits=x_lists, share=gemm.x_share)
        w = Stored(bits=average_bits(gemm.w_bits, classes.w_narrow), list_bits=w_lists, share=gemm.w_share)
        x_tiles, w_tiles = tile_elements(gemm, mapping)
        costs = TileCosts(
            compute=spread(placed.spent + placed.exposed, classes.k, gemm, mapping),
            x_bytes=x.dram_bytes(x_tiles),
            w_bytes=w.dram_bytes(w_tiles),
        )
        found = timeline(gemm=gemm, mapping=mapping, costs=costs, dram_bytes_per_cycle=self.dram_bytes_per_cycle)
        visited = (found.x_visits * x.sram_bytes(x_tiles), found.w_visits * w.sram_bytes(w_tiles))
        fills = (float(visited[0].sum()), float(visited[1].sum()))
        counts = count(classes, placed, self.dataflow, runs)
        outputs = -(-gemm.groups * gemm.m * gemm.n * gemm.y_bits // BITS_PER_BYTE)
        return Measured(
            gemm=gemm,
            mapping=mapping,
            classes=classes,
            placed=placed,
            counts=counts,
            x=x,
            w=w,
            timeline=found,
            sram_bytes=sram_bytes(
                gemm=gemm, mapping=mapping, counts=counts, line=found, fills=fills, weights_rest=self.dataflow != "os"
            ),
            unique_bytes=x.distinct_bytes(site.x_elements) + w.distinct_bytes(site.w_elements) + outputs,
            dynamic=dynamic,
            affine=dynamic and _affine(work),
        )

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

    def explain(self, work: Execution) -> dict[str, Any]:
        """Where a site's cycles come from. Raises as `run` does.

        Returns
        -------
        dict
            `mapping_figures`, as run, with shares of the peak of the four classes together; narrow shares of distinct
            elements and bits that an element is stored in; shares of multiply-accumulates by class; blocks, cuts tried,
            cycles of waiting for schedules; and `timeline`: the four parts in the longest block, and in all of them
            (`bitwright.accelerators.dynamic_precision.parts.timeline_of`).
        """
        found = self.measure(work)
        macs = found.classes.macs
        least = sum(done / (self.rows * self.cols * macs_per_cycle(*pair)) for pair, done in macs.items())
        return {
            **mapping_figures(found.ran, macs=work.site.macs, peak=work.site.macs / least),
            "dataflow": self.dataflow,
            "x_narrow": found.classes.x_narrow,
            "w_narrow": found.classes.w_narrow,
            "x_stored_bits": float(found.x.bits),
            "w_stored_bits": float(found.w.bits),
            **{f"macs_a{x}w{w}_share": macs[x, w] / work.site.macs for x, w in PAIRS},
            "blocks": found.placed.spent.size,
            "cuts_tried": int(found.placed.evaluations.sum()),
            "schedule_wait_cycles": int(found.placed.exposed.sum()),
            "timeline": timeline_of(found.classes, found.placed),
        }

    def area(self) -> Area:
        """Silicon area; control and wiring are modelled as far as the parameters state them."""
        return area_of(self)

    def _runs(self, classes: Classes, mapping: Mapping) -> IntArray:
        """Into how many runs tiles cut the stream of each block [blocks]: rows, or where sums rest the reduction."""
        if self.dataflow == "os":
            return -(-classes.k // mapping.tile_k)
        return np.full_like(classes.k, -(-classes.m // mapping.tile_m))


def _affine(work: Execution) -> bool:
    """Whether narrow codes count from a smallest code of their own."""
    rule = work.plan.precision
    return isinstance(rule, DriftRule) and rule.conversion is Conversion.AFFINE


@functools.lru_cache(maxsize=CACHED_MACHINES)
def _prices(machine: SplitArray) -> Prices:
    technology = machine.technology
    return Prices(
        bit_group=bit_group_price(priced(MULTIPLIER, technology, "area"), machine.overhead_percent_of_cuts),
        step=priced(STEP, technology, "area"),
        decider=priced(DECIDER, technology, "area"),
        aligner=priced(ALIGNER, technology, "area"),
        base=priced(BASE, technology, "area"),
        index=sram_macros(technology=technology, capacity_bytes=list_bytes(), port_bits=ENTRY_BITS),
        memory=memory_prices(machine, machine.ports),
        technology=technology,
    )
