"""`apsq`: the array of APSQ (Tan et al., DAC 2025) with its reconfigurable engine (RAE) where partial sums leave it.

Po lines of Pco processing elements, each an inner product of Pci int8 operands, between three SRAMs and DRAM, in one of
three dataflows. Sourced: array, RAE and its four banks (authors' figure). Recollected, so never to be quoted as the
paper's: 16 x 8 x 8 and the buffers of the native configuration. The paper's energy equations are not public; those of
`dataflow` are a reconstruction.

Ours: the common array is 12 x 8 x 8; one step of Po x Pco partial sums per cycle; a pipeline of multiplier, adder tree
and RAE; requantizers in as many lanes as there are processing elements. A partial sum that is quantized takes a shift
and the addition of its rounding offset, one that is read back a shift; finding the exponent of a block at run time
takes a comparison, priced as an addition. Shifters and adders are priced at 32 bits whatever the width of what is
stored. Output-stationary sums rest in the array at full width: nothing is stored, so nothing is quantized, whatever
the plan's rule, and they leave behind the stream, through second registers, however weights are loaded. An unfinished
output keeps as many partial sums as its group asks for (`bitwright.accelerators.partial_sums.accumulation`). Codes that
are centred bring a constant per tile of the reduction and output, which moves with the weights and is added to the
tile's sum.

Accesses are counted like those of every other machine (`variant=mapped`), or as a reconstruction does that matches
published figures (`published`, `bitwright.accelerators.partial_sums.published`).
"""

import functools
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Literal

from pydantic import Field

from bitwright.accelerators import engine
from bitwright.accelerators.bill import Component, Use, listed_use, use
from bitwright.accelerators.circuits import Circuit, Part, listed, priced, times
from bitwright.accelerators.engine import AtWork, Ran
from bitwright.accelerators.events import partial_sum_pj
from bitwright.accelerators.job import Job
from bitwright.accelerators.machine import Machine
from bitwright.accelerators.partial_sums import accumulation
from bitwright.accelerators.partial_sums.accumulation import Stored, stored_by
from bitwright.accelerators.partial_sums.dataflow import InnerProducts, Rests
from bitwright.accelerators.partial_sums.published import Grid, Moved, cycles_of, moved_by
from bitwright.accelerators.substrate import ARTIFACT_DRAM_BYTES, MULTIPLIERS_4B
from bitwright.accelerators.systolic.machine import ARRAY, REGISTER, SHADOW, timing_of
from bitwright.accelerators.systolic.operands import fits
from bitwright.memory import Bits, Gemm
from bitwright.memory import Mapping as Tiles
from bitwright.methods.apsq.rule import PartialSums
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan
from bitwright.methods.rules import Static
from bitwright.settings import OURS, RECOLLECTED, about

Variant = Literal["mapped", "published"]

MULTIPLIER = "mac_int8"
ADDER, SHIFTER = "add_int32", "shift_int32"
RAE_ADDERS, RAE_SHIFTERS = 4, 5
"""Of a lane, in the authors' figure; one of the adders is there without the engine too."""
RAE = Circuit(
    name="lane of the RAE",
    parts=(
        Part(event=ADDER, count=RAE_ADDERS - 1, what="tree of banks and rounding, beside the array's own adder"),
        Part(event=SHIFTER, count=RAE_SHIFTERS, what="four banks and the quantizer"),
    ),
)
MULTIPLIER_BITS = 8
PER_MULTIPLIER = 4  # 4-bit multipliers that an int8 one is worth
PCI, PCO = 8, 8
PO = MULTIPLIERS_4B // PER_MULTIPLIER // PCI // PCO
WORTH = (
    f"{PO} x {PCI} x {PCO} int8 multipliers are worth {MULTIPLIERS_4B:,} 4-bit ones, the common substrate; our choice"
)


class Apsq(Machine):
    """The APSQ array; `psum_bits` are those of exact sums, a plan that quantizes them says its own.

    Examples
    --------
    >>> Apsq(dataflow="is", po=16).peak_macs_per_cycle
    1024
    """

    summary: ClassVar[str] = "input-, weight- or output-stationary array whose stored partial sums can be quantized"
    native: ClassVar[Mapping[str, Any]] = {
        "po": 16,
        "output_sram_kib": 256,
        "dram_bytes_per_cycle": ARTIFACT_DRAM_BYTES,
    }
    """Recollected, with 8 x 8 and the other SRAMs as in the common substrate: 16 x 8 x 8, 256, 128 and 256 KiB; DRAM is
    the ANT artifact's, as of the other native machines."""

    po: int = Field(
        default=PO,
        gt=0,
        description="Lines of the array, a row of x each",
        json_schema_extra=about(WORTH),
    )
    pci: int = Field(
        default=PCI,
        gt=0,
        description="Products that a processing element adds",
        json_schema_extra=about(RECOLLECTED),
    )
    pco: int = Field(
        default=PCO,
        gt=0,
        description="Processing elements of a line",
        json_schema_extra=about(RECOLLECTED),
    )
    dataflow: Rests = Field(
        default="ws",
        description="What rests in the array: inputs, weights or outputs",
        json_schema_extra=about("weights, the machine's name says which"),
    )
    variant: Variant = Field(
        default="mapped",
        description="Accesses counted as on every other machine (mapped), or as published figures seem to be "
        "(published)",
        json_schema_extra=about(OURS),
    )
    spill_through_sram: bool = Field(
        default=True,
        description="Whether partial sums on their way to DRAM pass the output SRAM, in published counting",
        json_schema_extra=about(OURS),
    )

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle with every multiplier busy."""
        return self.po * self.pci * self.pco

    @property
    def multipliers_4b(self) -> int:
        """The multipliers in 4-bit by 4-bit ones."""
        return PER_MULTIPLIER * self.po * self.pci * self.pco

    @property
    def lanes(self) -> int:
        """Partial sums per cycle, each with a lane of the RAE and a requantizer."""
        return self.po * self.pco

    @property
    def fill_cycles(self) -> int:
        """Cycles from a step to the one in which its sums leave: stages of multiplier, adder tree and RAE, less one."""
        stages = 1 + (self.pci - 1).bit_length() + 1
        return stages - 1

    @property
    def requantizer_lanes(self) -> int:
        """One per processing element."""
        return self.lanes

    @property
    def resting_bits(self) -> int:
        """Bits that rest in the array."""
        inputs, weights = self.po * self.pci * MULTIPLIER_BITS, self.pci * self.pco * MULTIPLIER_BITS
        return {"is": inputs, "ws": weights, "os": self.lanes * self.psum_bits}[self.dataflow]

    def components(self) -> Sequence[Component]:
        """Multipliers, the RAE, second registers for what rests."""
        prices = self.technology
        found = [
            Component(name=ARRAY, count=self.po * self.pci * self.pco, circuit=listed(MULTIPLIER, prices)),
            Component(name="rae", count=self.lanes, circuit=priced(RAE, prices, "parts")),
        ]
        if self.weight_loading == "hidden" or self.dataflow == "os":
            register = priced(REGISTER, prices, "parts")
            found.append(Component(name=SHADOW, count=self.resting_bits, circuit=register))
        return found

    def refusal(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        if not isinstance(plan.precision, Static):
            return (
                f"its precision is chosen at run time ({plan.precision.name}) and the array has one; "
                "leave that rule out of the method, or choose an accelerator made for it"
            )
        for operand, number_type in (("x", plan.x_type), ("w", plan.w_type)):
            if not fits(number_type, "int8"):
                return f"{operand} is {number_type} and the array multiplies int8; use a method of 8 bits or less"
        return accumulation.refusal(plan.accumulation, pci=self.pci)

    def job(self, work: Execution) -> Job:
        """A product on the array."""
        return Job(gemm=self.product(work), dataflows=(self.inner_products(work),), uses=self.operand_uses(work))

    def stored(self, work: Execution) -> Stored:
        """How a supported execution's partial sums are stored."""
        return stored_by(work.plan.accumulation, self.psum_bits)

    def product(self, work: Execution) -> Gemm:
        """A site with its constants among the weights, and what an unfinished output keeps."""
        plan, stored = work.plan, self.stored(work)
        tiles = -(-work.site.k // self.pci)
        kept: Bits = self.psum_bits if self.dataflow == "os" else stored.bits * max(1, stored.live_tiles(tiles))
        return self.gemm_of(work, x_bits=plan.x_bits, w_bits=plan.w_bits + self._constants(work), psum_bits=kept)

    def inner_products(self, work: Execution) -> InnerProducts:
        """The dataflow of a supported execution."""
        prices, stored = self.technology, self.stored(work)
        shifts = times(priced(REGISTER, prices, "parts"), self.resting_bits, f"{self.resting_bits:,} x {{}}")
        return InnerProducts(
            rests=self.dataflow,
            po=self.po,
            pci=self.pci,
            pco=self.pco,
            depth=self.fill_cycles,
            timing=timing_of(self),
            sum_bits=self.psum_bits if self.dataflow == "os" else stored.bits,
            product=use("mac", MULTIPLIER, "operation", listed(MULTIPLIER, prices)),
            exchange=use("registers", "exchange what rests", "fold", shifts),
            stored=self._engine_uses(stored, constants=self._constants(work) > 0),
            loaded=(listed_use("rae", SHIFTER, prices),) if stored.quantized else (),
        )

    def _engine_uses(self, stored: Stored, *, constants: bool) -> tuple[tuple[Use, int], ...]:
        """What the RAE does for a sum, and how often: a shift, rounding, a comparison, a constant."""
        additions = stored.quantized + stored.exponent_is_dynamic + constants
        uses = (
            (listed_use("rae", SHIFTER, self.technology), int(stored.quantized)),
            (listed_use("rae", ADDER, self.technology), additions),
        )
        return tuple((each, count) for each, count in uses if count)

    def _constants(self, work: Execution) -> Fraction:
        """Bits of the constants of centred codes, by weight: one per output and tile, as wide as they can get."""
        plan, rule = work.plan, work.plan.accumulation
        centred = (
            isinstance(rule, PartialSums)
            and plan.x is not None
            and (rule.centres is not None or plan.x.zero_point != 0 or not plan.x.integer.signed)
        )
        if not centred or self.dataflow == "os" or not work.site.static_weight or self.variant == "published":
            return Fraction(0)
        k, tile = work.site.k, min(self.pci, work.site.k)
        return Fraction(-(-k // self.pci) * (plan.x_bits + plan.w_bits + (tile - 1).bit_length()), k)

    def ran(self, work: Execution) -> Ran:
        """How an execution runs, mapped or as published counting has it. Raises as the other machines' do."""
        if self.variant == "mapped" or self.supports(work.plan):
            return super().ran(work)
        return _published(self, self.job(work), self.stored(work))

    def moved(self, work: Execution) -> Moved:
        """What published counting moves of a supported execution."""
        return _moved(self, self.product(work), self.stored(work))

    def details(self, work: Execution, ran: Ran) -> dict[str, Any]:
        """Tiles and partial sums.

        Returns
        -------
        dict
            Tiles `nm`, `np`, `no` of the array, what rests, how accesses are counted; partial sums of an output that
            live at once, bits of each, and whether any cross DRAM (`spill`); `psum_energy_share` (0 .. 1): moving
            partial sums, of all energy.
        """
        stored, site = self.stored(work), work.site
        tiles = -(-site.k // self.pci)
        return {
            "nm": -(-site.m // self.po),
            "np": tiles,
            "no": -(-site.n // self.pco),
            "dataflow": self.dataflow,
            "variant": self.variant,
            "live_psum_tiles": 0 if self.dataflow == "os" else stored.live_tiles(tiles),
            "psum_bits": float(stored.bits),
            "spill": ran.spilled,
            "psum_energy_share": partial_sum_pj(ran.cost) / ran.cost.total_energy_pj,
        }


def _moved(machine: Apsq, gemm: Gemm, stored: Stored) -> Moved:
    return moved_by(
        gemm=gemm,
        grid=Grid(m=gemm.m, k=gemm.k, n=gemm.n, po=machine.po, pci=machine.pci, pco=machine.pco),
        rests=machine.dataflow,
        stored=stored,
        output_bytes=machine.buffers.output_bytes,
        weight_bytes=machine.buffers.weight_bytes,
        through_sram=machine.spill_through_sram,
    )


@functools.lru_cache(maxsize=engine.CACHED_COSTS)
def _published(machine: Apsq, job: Job, stored: Stored) -> Ran:
    gemm, (dataflow,) = job.gemm, job.dataflows
    assert isinstance(dataflow, InnerProducts)
    moved = _moved(machine, gemm, stored)
    took = cycles_of(
        gemm=gemm, moved=moved, fill_cycles=machine.fill_cycles, dram_bytes_per_cycle=machine.dram_bandwidth
    )
    sums = gemm.groups * gemm.m * gemm.n * moved.grid.psum_tiles
    at_work = AtWork(machine=machine, dataflow=dataflow, gemm=gemm, uses=job.uses)
    cost = engine.cost_of(
        at_work,
        cycles=took["cycles"],
        compute_cycles=took["compute"],
        busy={"array": took["compute"], "banks": 0, "dram": took["dram"]},
        dram=moved.dram_bytes,
        sram=moved.sram_bytes,
        finished={"sram_output_write": gemm.groups * gemm.m * gemm.n * float(gemm.y_bits) / 8},
        uses=[
            (dataflow.product, gemm.macs),
            *((each, count * sums) for each, count in dataflow.stored if machine.dataflow != "os"),
            *job.uses,
            *((each, gemm.groups * moved.accesses.stored) for each in (at_work.books.accumulate, *dataflow.read_back)),
            (at_work.books.requantize, gemm.groups * gemm.m * gemm.n),
        ],
        macs_executed=gemm.macs,
        unique_bytes=gemm.unique_bytes,
    )
    return Ran(mapping=_as_tiles(machine, gemm, moved, took), dataflow=dataflow, cost=cost, spilled=moved.spills)


def _as_tiles(machine: Apsq, gemm: Gemm, moved: Moved, took: Mapping[str, int]) -> Tiles:
    """Published counting in the words of a mapping: the array's steps as tiles."""
    dram = moved.dram_bytes
    x = -(-gemm.groups * gemm.m * gemm.k * gemm.x_bits * gemm.x_share // 8)
    return Tiles(
        tile_m=min(machine.po, gemm.m),
        tile_k=min(machine.pci, gemm.k),
        tile_n=min(machine.pco, gemm.n),
        order=moved.accesses.order,
        input_buffers=2,
        weight_buffers=2,
        output_buffers=2,
        tiles=gemm.groups * moved.grid.steps,
        cycles=took["cycles"],
        compute_cycles=took["compute"],
        port_cycles=0,
        dram_cycles=took["dram"],
        dram_x_read_bytes=int(x),
        dram_w_read_bytes=dram["read"] - dram["psum_read"] - int(x),
        dram_psum_read_bytes=dram["psum_read"],
        dram_psum_write_bytes=dram["psum_write"],
        dram_y_write_bytes=dram["write"] - dram["psum_write"],
        input_fill_bytes=0,
        weight_fill_bytes=0,
    )


class ApsqInputStationary(Apsq):
    """The same array with inputs at rest, under a name of its own so that dataflows stand side by side."""

    summary: ClassVar[str] = "the array of apsq with inputs at rest"
    dataflow: Rests = Field(
        default="is",
        description="What rests in the array: inputs, weights or outputs",
        json_schema_extra=about("weights, the machine's name says which"),
    )


class ApsqOutputStationary(Apsq):
    """The same array with outputs at rest: no partial sum is stored."""

    summary: ClassVar[str] = "the array of apsq with outputs at rest, whose partial sums are never stored"
    dataflow: Rests = Field(
        default="os",
        description="What rests in the array: inputs, weights or outputs",
        json_schema_extra=about("weights, the machine's name says which"),
    )
