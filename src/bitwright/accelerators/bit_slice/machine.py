"""What bit-slice machines share: parameters, and a site's cycles, traffic, energy and area from its real codes.

An array of processing elements (PEs); each has 4 columns of w (a weight vector) and operators of 16 4-bit multipliers,
one outer product of slice vectors per cycle; rows of x are broadcast to all. The mapping is chosen for dense operands,
as a compiler would that does not know activations; then the blocks of that mapping are counted with the real masks.
Ours, unless a parameter says otherwise: operators of a PE share its list of products evenly; PEs wait for each other at
the end of a block; each operand's tile is stored run-length coded or raw, whichever is smaller, and outputs leave raw,
because the codes of the next site are not known here.
"""

import dataclasses
import functools
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bitwright.accelerators.cost import Area, Cost
from bitwright.accelerators.events import leakage_pj_per_cycle
from bitwright.accelerators.mapped import gemm_of
from bitwright.accelerators.bit_slice.blocks import Blocks, Stored, count_blocks, store
from bitwright.accelerators.bit_slice.costs import area_of, cost_of, dense_energy_pj, leaking
from bitwright.accelerators.bit_slice.products import Products, dense_products
from bitwright.accelerators.bit_slice.schedule import Stages, tile_cycles
from bitwright.accelerators.bit_slice.slicing import SLICE_BITS, Slicing, refusal
from bitwright.accelerators.substrate import Substrate
from bitwright.errors import InputError
from bitwright.memory import (
    Buffers,
    FloatArray,
    Gemm,
    IntArray,
    Mapping,
    Objective,
    TileCosts,
    Tilings,
    Timeline,
    best_mapping,
    timeline,
)
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan
from bitwright.methods.vectors import VECTOR, VectorMasks

BITS_PER_BYTE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One execution of a site on a bit-slice machine.

    Attributes
    ----------
    gemm, mapping, slicing
        The product, its tiles, its slices.
    blocks, products : Blocks, Products
        Work counted from the masks.
    x, w : Stored
        Operands as stored.
    tile_cycles : IntArray
        Of the array [groups, m tiles, k tiles, n tiles].
    timeline : Timeline
        Cycles and DRAM traffic.
    masks : VectorMasks
        What was skipped.
    compensates : bool
        Whether the skipped slice of x is not zero.
    """

    gemm: Gemm
    mapping: Mapping
    slicing: Slicing
    blocks: Blocks
    products: Products
    x: Stored
    w: Stored
    tile_cycles: IntArray
    timeline: Timeline
    masks: VectorMasks
    compensates: bool


class SliceArray(Substrate):
    """Processing elements of slice operators between three double-buffered SRAMs, and DRAM."""

    needs_codes: ClassVar[bool] = True
    unsigned_x: ClassVar[bool]
    """Whether slices of x are unsigned (with a zero point) or signed."""
    made_for: ClassVar[str]
    """The method that makes plans for it."""

    peas: int = Field(default=16, gt=0, description="Processing elements; Panacea's 16 (public summary)")
    run_bits: int = Field(default=4, ge=1, le=8, description="Bits of a run length; recollected, our default")
    ppu_lanes: int = Field(default=32, gt=0, description="Outputs requantized and encoded per cycle; our choice")

    @property
    @abstractmethod
    def operators_per_pe(self) -> int:
        """Operators of 16 multipliers in each processing element."""

    @property
    @abstractmethod
    def block_rows(self) -> int:
        """Rows of x that the array works on at once."""

    @abstractmethod
    def slicing(self, plan: SitePlan) -> Slicing:
        """How a supported plan's operands are cut."""

    @abstractmethod
    def products(self, blocks: Blocks, slicing: Slicing) -> Products:
        """What is executed, and how long each processing element takes."""

    @abstractmethod
    def dense_pe_cycles(self, *, slicing: Slicing, pairs: IntArray) -> IntArray:
        """Cycles of a processing element that meets so many vectors of x times k without skipping, element-wise."""

    @property
    def compensators_per_pe(self) -> int:
        """Units that add weight vectors for skipped nonzero slices."""
        return 0

    @property
    def block_columns(self) -> int:
        """Columns of w that the array works on at once."""
        return VECTOR * self.peas

    @property
    def multipliers_4b(self) -> int:
        """4-bit multipliers."""
        return self.peas * self.operators_per_pe * VECTOR * VECTOR

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates of 8 by 8 bits (four slice products) per cycle, without skipping."""
        return self.multipliers_4b / 4

    @property
    def ports(self) -> dict[str, int]:
        """Bits of one access of each SRAM: a slice vector per stream, as many sums as leave per cycle. Our choice."""
        return {
            "sram_input": SLICE_BITS * self.block_rows,
            "sram_weight": SLICE_BITS * self.block_columns,
            "sram_output": self.psum_bits * self.ppu_lanes,
        }

    def supports(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        return refusal(plan, unsigned_x=self.unsigned_x, method=self.made_for)

    def run(self, work: Execution) -> Cost:
        """Cost of one execution of a site, from its real codes.

        Raises
        ------
        InputError
            If the plan is not supported, there are no codes, or not even the smallest tile fits the SRAMs.
        """
        return cost_of(self, self.measure(work))

    def measure(self, work: Execution) -> Measured:
        """Everything that the cost comes from. Raises as `run` does."""
        gemm, slicing = self._gemm(work), self.slicing(work.plan)
        return self.measure_mapped(work, best_mapping(gemm=gemm, machine=DenseTiling(machine=self, slicing=slicing)))

    def measure_mapped(self, work: Execution, mapping: Mapping) -> Measured:
        """The same under a given mapping, of which tiles, order and buffers count."""
        gemm, slicing, masks = self._gemm(work), self.slicing(work.plan), work.masks
        blocks = count_blocks(masks, tile_k=mapping.tile_k, block_vectors=self.block_rows // VECTOR)
        products = self.products(blocks, slicing)
        x = self._store(masks.x, gemm.m, slicing.x_low, slicing.x_high, mapping.tile_k, mapping.tile_m)
        w = self._store(masks.w, gemm.n, slicing.w_low, slicing.w_high, mapping.tile_k, mapping.tile_n)
        cycles = tile_cycles(
            self._stages(gemm, products.pea_cycles, x, w),
            row_blocks=-(-mapping.tile_m // self.block_rows),
            column_blocks=-(-mapping.tile_n // self.block_columns),
        )
        costs = TileCosts(
            compute=cycles,
            x_bytes=_dram_bytes(x.bits, gemm.x_share.numerator, gemm.x_share.denominator),
            w_bytes=_dram_bytes(w.bits.transpose(0, 2, 1), gemm.w_share.numerator, gemm.w_share.denominator),
        )
        assert work.x is not None
        return Measured(
            gemm=gemm,
            mapping=mapping,
            slicing=slicing,
            blocks=blocks,
            products=products,
            x=x,
            w=w,
            tile_cycles=cycles,
            timeline=timeline(gemm=gemm, mapping=mapping, costs=costs, dram_bytes_per_cycle=self.dram_bytes_per_cycle),
            masks=masks,
            compensates=not work.x.integer.signed and _skipped_slice(work) != 0,
        )

    def explain(self, work: Execution) -> dict[str, Any]:
        """Where a site's cycles come from: mapping, skip rates, products by kind, sizes. Raises as `run` does."""
        found = self.measure(work)
        dense = dense_products(found.blocks, found.slicing)
        products, cycles = found.products, found.timeline.cycles
        raw = found.gemm.groups * SLICE_BITS
        return {
            "tile_m": found.mapping.tile_m,
            "tile_k": found.mapping.tile_k,
            "tile_n": found.mapping.tile_n,
            "order": found.mapping.order,
            "tiles": found.mapping.tiles,
            "cycles": cycles,
            "compute_cycles": found.timeline.compute_cycles,
            "stall_cycles": found.timeline.stall_cycles,
            "bound": found.timeline.bound,
            "skipping": products.skipping,
            "x_vectors_skipped": found.masks.x_rate,
            "w_vectors_skipped": found.masks.w_rate,
            "products_dense": dense,
            "products_executed": products.executed,
            "products_w_high_x_high": products.high_high,
            "products_w_low_x_high": products.low_high,
            "products_w_high_x_low": products.high_low,
            "products_w_low_x_low": products.low_low,
            "executed_share": products.executed / dense,
            "x_stored_share": int(found.x.bits.sum()) / (raw * found.slicing.x_slices * found.gemm.m * found.gemm.k),
            "w_stored_share": int(found.w.bits.sum()) / (raw * found.slicing.w_slices * found.gemm.n * found.gemm.k),
            "operators_busy": products.executed / (found.timeline.compute_cycles * self.peas * self.operators_per_pe),
            "multipliers_used_of_padded_vectors": work.site.macs * found.slicing.products / (dense * VECTOR * VECTOR),
        }

    def area(self) -> Area:
        """Silicon area; control and wiring are not modelled."""
        return area_of(self)

    def _gemm(self, work: Execution) -> Gemm:
        site, plan = work.site, work.plan
        reason = self.supports(plan)
        if reason is None and (work.x is None or work.w is None):
            reason = "its costs depend on the operands' values and there are shapes only"
        if reason:
            raise InputError(f"{site.name} cannot run on this array: {reason}")
        slicing = self.slicing(plan)
        return gemm_of(
            site, x_bits=SLICE_BITS * slicing.x_slices, w_bits=SLICE_BITS * slicing.w_slices, psum_bits=self.psum_bits
        )

    def _store(self, mask: Any, rows: int, low: int, high: int, tile_k: int, tile_rows: int) -> Stored:
        return store(
            mask,
            rows=rows,
            low_slices=low,
            high_slice=bool(high),
            tile_k=tile_k,
            tile_rows=tile_rows,
            run_bits=self.run_bits,
        )

    def _stages(self, gemm: Gemm, pea_cycles: IntArray, x: Stored, w: Stored) -> Stages:
        """Cycles of decoding, multiplying and writing out each block."""
        row_vectors = self.block_rows // VECTOR
        rows = _sizes(gemm.m, self.block_rows)
        columns = _sizes(gemm.n, self.block_columns)
        of_x = np.maximum.reduceat(x.entries, np.arange(0, x.entries.shape[1], row_vectors), axis=1)
        of_w = np.maximum.reduceat(w.entries, np.arange(0, w.entries.shape[1], self.peas), axis=1)
        compute = np.maximum.reduceat(pea_cycles, np.arange(0, pea_cycles.shape[3], self.peas), axis=3)
        decode = np.maximum(of_x.transpose(0, 2, 1)[..., None], of_w.transpose(0, 2, 1)[:, :, None, :])
        output = np.broadcast_to(-(-rows[:, None] * columns // self.ppu_lanes), compute.shape).copy()
        output[:, 1:] *= 2  # partial sums of earlier tiles of k are read back first
        return Stages(decode=np.broadcast_to(decode, compute.shape), compute=compute, output=output)


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseTiling:
    """The machine as the search for a mapping sees it: operands without anything to skip, slices raw."""

    machine: SliceArray
    slicing: Slicing

    @property
    def buffers(self) -> Buffers:
        """SRAM capacities."""
        return self.machine.buffers

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """One block, over as many k as it has rows (our choice)."""
        return self.machine.block_rows, self.machine.block_rows, self.machine.block_columns

    @property
    def dram_bytes_per_cycle(self) -> float:
        """DRAM bandwidth."""
        return self.machine.dram_bytes_per_cycle

    @property
    def objective(self) -> Objective:
        """As the machine's."""
        return self.machine.objective

    @property
    def leakage_pj_per_cycle(self) -> float:
        """Energy that is spent in every cycle."""
        return leakage_pj_per_cycle(leaking(self.machine), self.machine.clock_mhz)

    def compute_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of a tile without skipping, the exposed first decode and last output included, element-wise."""
        rows = self.machine.block_rows
        full, last = (m - 1) // rows, m - (m - 1) // rows * rows
        columns = -(-n // self.machine.block_columns)
        blocks = [
            (count, self._block(vectors=-(-size // VECTOR), k=k))
            for count, size in ((full, np.full_like(m, rows)), (np.ones_like(m), last))
        ]
        outputs = -(-np.minimum(m, rows) * np.minimum(n, self.machine.block_columns) // self.machine.ppu_lanes)
        total: IntArray = columns * sum(count * cycles for count, cycles in blocks) + k + outputs
        return total

    def energy_pj(self, *, gemm: Gemm, tilings: Tilings) -> FloatArray:
        """Energy but for leakage of raw operands, in pJ [candidates]."""
        return dense_energy_pj(self.machine, self.slicing.products, gemm, tilings)

    def _block(self, *, vectors: IntArray, k: IntArray) -> IntArray:
        return np.maximum(k, self.machine.dense_pe_cycles(slicing=self.slicing, pairs=vectors * k))


@functools.cache
def _sizes(extent: int, block: int) -> IntArray:
    return np.minimum(block, extent - np.arange(0, extent, block))


def _dram_bytes(bits: IntArray, numerator: int, denominator: int) -> IntArray:
    """Whole bytes of the distinct share of so many bits."""
    return -(-bits * numerator // (BITS_PER_BYTE * denominator))


def _skipped_slice(work: Execution) -> int:
    from bitwright.formats import frequent_slice
    from bitwright.methods.vectors import split_of

    assert work.x is not None
    return frequent_slice(work.x.zero_point, split_of(work.x.integer))
