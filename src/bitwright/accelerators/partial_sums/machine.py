"""`apsq`: the array of APSQ (Tan et al., DAC 2025) with its reconfigurable engine (RAE) where partial sums leave it.

Po lines of Pco processing elements, each an inner product of Pci int8 operands, between three SRAMs and DRAM, in one of
three dataflows. Sourced: array, RAE and its four banks (authors' figure). Recollected, so never to be quoted as the
paper's: 16 x 8 x 8 and the buffers of the native configuration. The paper's energy equations are not public; those of
`dataflow` are a reconstruction.

Ours: the common array is 12 x 8 x 8; one step of Po x Pco partial sums per cycle, ports wide enough for what a step
needs; a pipeline of multiplier, adder tree and RAE, filled once per site; DRAM overlaps with the array but for the
first step's operands and the last step's outputs; a finished output is requantized at the array, in as many lanes as
there are processing elements, and leaves at x's width. The dataflow fixes the loops, so no mapping is searched and
`objective` has nothing to choose from. Output-stationary sums rest in the array at full width: nothing is
stored, so nothing is quantized, whatever the plan's rule.

Where partial sums that live do not fit the output SRAM, all of them go to DRAM: a cliff, which large published savings
of weight-stationary arrays come from. Three variants: `published` counts as the reconstruction that matches published
figures (inputs are read from DRAM once, SRAM accesses are those of the array alone), `fair` adds what is read again and
the SRAMs' side of every DRAM transfer, `tiled` counts like `fair` and cuts what streams into pieces, site by site, so
that the sums of a piece fit at the cost of loading again what rests: a better mapping instead of narrower sums.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field

from bitwright.accelerators.partial_sums import accumulation
from bitwright.accelerators.partial_sums.accumulation import Stored, stored_by
from bitwright.accelerators.partial_sums.costs import Moved, area_of, cost_of, moved_by, partial_sum_pj
from bitwright.accelerators.partial_sums.dataflow import Capacity, Dataflow, Grid
from bitwright.accelerators.cost import Area, Cost
from bitwright.accelerators.systolic.operands import fits
from bitwright.accelerators.mapped import gemm_of
from bitwright.accelerators.substrate import MULTIPLIERS_4B, Substrate
from bitwright.errors import InputError
from bitwright.memory import Gemm
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan
from bitwright.methods.rules import Static

Variant = Literal["fair", "published", "tiled"]

CACHED_COSTS = 4096
MULTIPLIER_BITS = 8
PER_MULTIPLIER = 4  # 4-bit multipliers that an int8 one is worth
PCI, PCO = 8, 8
PO = MULTIPLIERS_4B // PER_MULTIPLIER // PCI // PCO
WORTH = (
    f"{PO} x {PCI} x {PCO} int8 multipliers are worth {MULTIPLIERS_4B:,} 4-bit ones, the common substrate; our choice"
)


class Apsq(Substrate):
    """The APSQ array; `psum_bits` are those of exact sums, a plan that quantizes them says its own.

    Examples
    --------
    >>> Apsq(dataflow="is", po=16).peak_macs_per_cycle
    1024
    """

    summary: ClassVar[str] = "input-, weight- or output-stationary array whose stored partial sums can be quantized"
    needs_codes: ClassVar[bool] = False
    native: ClassVar[Mapping[str, Any]] = {"po": 16, "output_sram_kib": 256}
    """Recollected, with 8 x 8 and the other SRAMs as in the common substrate: 16 x 8 x 8, 256, 128 and 256 KiB."""

    po: int = Field(default=PO, gt=0, description=f"Lines of the array, a row of x each; {WORTH}")
    pci: int = Field(default=PCI, gt=0, description="Products that a processing element adds; recollected, our default")
    pco: int = Field(default=PCO, gt=0, description="Processing elements of a line; recollected, our default")
    dataflow: Dataflow = Field(default="ws", description="What rests in the array: inputs, weights or outputs")
    variant: Variant = Field(
        default="fair",
        description="Accesses counted with all that is read again (fair), as published, or fair with streams cut into "
        "the pieces that move the fewest bytes (tiled); our choice",
    )
    spill_through_sram: bool = Field(
        default=True, description="Whether partial sums on their way to DRAM pass the output SRAM; our choice"
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
        """Cycles until the first partial sum has left: multiplier, adder tree over Pci, RAE."""
        return 1 + (self.pci - 1).bit_length() + 1

    @property
    def ports(self) -> dict[str, int]:
        """Bits of one access of each SRAM: what a step takes of inputs and of weights, and its exact partial sums."""
        return {
            "sram_input": self.po * self.pci * MULTIPLIER_BITS,
            "sram_weight": self.pci * self.pco * MULTIPLIER_BITS,
            "sram_output": self.lanes * self.psum_bits,
        }

    def supports(self, plan: SitePlan) -> str | None:
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

    def run(self, work: Execution) -> Cost:
        """Cost of one execution of a site, from its shape, formats and accumulation rule.

        Raises
        ------
        InputError
            If the plan is not supported.
        """
        return _cost(self, *self._asked(work))

    def moved(self, work: Execution) -> Moved:
        """Tiles, accesses and live partial sums that `run` charges for. Raises as `run` does."""
        return _moved(self, *self._asked(work))

    def explain(self, work: Execution) -> dict[str, Any]:
        """Where a site's cycles and energy come from. Raises as `run` does.

        Returns
        -------
        dict
            Tiles `nm`, `np`, `no`, loop `order` (outermost first), tiles of its last loop that are walked at a time
            (`piece`) and `steps` of a group; `cycles`, of which `compute_cycles`; `dram_cycles` and `bound`;
            `live_psum_tiles` of an output and `live_psum_bytes` of all, beside `output_sram_bytes`, and whether they
            `spill`; elements read from SRAM and DRAM, partial sums written and read, all groups; `psum_energy_share`
            (0 .. 1): moving partial sums, of all energy.
        """
        found, cost = self.moved(work), self.run(work)
        grid, group, groups = found.grid, found.accesses, found.gemm.groups
        return {
            "nm": grid.row_tiles,
            "np": grid.psum_tiles,
            "no": grid.column_tiles,
            "order": group.order,
            "piece": group.piece,
            "steps": grid.steps,
            "cycles": cost.cycles,
            "compute_cycles": cost.compute_cycles,
            "stall_cycles": cost.cycles - cost.compute_cycles,
            "dram_cycles": found.dram_cycles,
            "bound": "compute" if cost.compute_cycles >= found.dram_cycles else "memory",
            "live_psum_tiles": found.live_tiles,
            "live_psum_bytes": found.live_bytes,
            "output_sram_bytes": self.buffers.output_bytes,
            "spill": found.spills,
            "x_sram_reads": groups * group.x_read,
            "w_sram_reads": groups * group.w_read,
            "x_dram_reads_per_element": group.x_dram / (grid.m * grid.k),
            "w_dram_reads_per_element": group.w_dram / (grid.k * grid.n),
            "psum_writes": groups * group.psum_write,
            "psum_reads": groups * group.psum_read,
            "psum_bits": float(found.stored.bits),
            "psum_energy_share": partial_sum_pj(cost) / cost.total_energy_pj,
            "utilization": work.site.macs / (self.peak_macs_per_cycle * cost.cycles),
        }

    def area(self) -> Area:
        """Silicon area; control, wiring and the RAE's multiplexers are not modelled."""
        return area_of(self)

    def grid(self, gemm: Gemm) -> Grid:
        """One group of a product in tiles of this array."""
        return Grid(m=gemm.m, k=gemm.k, n=gemm.n, po=self.po, pci=self.pci, pco=self.pco)

    def capacity(self, gemm: Gemm) -> Capacity:
        """Elements of x and w that the SRAMs hold, as far as the variant heeds that."""
        x = self.buffers.input_bytes * 8 // gemm.x_bits
        w = self.buffers.weight_bytes * 8 // gemm.w_bits
        if self.variant == "published":
            return Capacity(x=None, w=w if self.dataflow == "is" else None)
        return Capacity(x=x, w=w)

    def _asked(self, work: Execution) -> tuple[Gemm, Stored]:
        site, plan = work.site, work.plan
        reason = self.supports(plan)
        if reason:
            raise InputError(f"{site.name} cannot run on this array: {reason}")
        gemm = gemm_of(site, x_bits=plan.x_bits, w_bits=plan.w_bits, psum_bits=self.psum_bits)
        return gemm, stored_by(plan.accumulation, self.psum_bits)


@functools.lru_cache(maxsize=CACHED_COSTS)
def _cost(machine: Apsq, gemm: Gemm, stored: Stored) -> Cost:
    return cost_of(machine, _moved(machine, gemm, stored))


@functools.lru_cache(maxsize=CACHED_COSTS)
def _moved(machine: Apsq, gemm: Gemm, stored: Stored) -> Moved:
    return moved_by(machine, gemm, stored)


class ApsqInputStationary(Apsq):
    """The same array with inputs at rest, under a name of its own so that dataflows stand side by side."""

    summary: ClassVar[str] = "the array of apsq with inputs at rest"
    dataflow: Dataflow = Field(default="is", description="What rests in the array: inputs, weights or outputs")


class ApsqOutputStationary(Apsq):
    """The same array with outputs at rest: no partial sum is stored."""

    summary: ClassVar[str] = "the array of apsq with outputs at rest, whose partial sums are never stored"
    dataflow: Dataflow = Field(default="os", description="What rests in the array: inputs, weights or outputs")
