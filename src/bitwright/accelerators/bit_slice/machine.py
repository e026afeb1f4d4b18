"""What bit-slice machines share: parameters, and a site's cycles, traffic, energy and area from its real codes.

An array of processing elements (PEs); each has 4 columns of w (a weight vector) and operators of 16 4-bit multipliers,
one outer product of slice vectors per cycle; rows of x are broadcast to all. The mapping is chosen for dense operands,
as a compiler would that does not know activations; then the blocks of that mapping are counted with the real masks.
Ours, unless a parameter says otherwise: operators of a kind in a PE share one list of products at a time, those of a
vector of x, one of w and a kind of slices, and an adder tree adds theirs; PEs wait for each other at the end of each
piece of k that their buffers hold; each operand's tile is stored run-length coded or raw, whichever is smaller, and
outputs leave raw, because the codes of the next site are not known here.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bitwright.accelerators.bill import Component, Use
from bitwright.accelerators.bit_slice import work as bill
from bitwright.accelerators.bit_slice.blocks import Blocks, Stored, count_blocks, store
from bitwright.accelerators.bit_slice.buffers import Held, SliceBuffers, held, moved
from bitwright.accelerators.bit_slice.dense import DenseSlices
from bitwright.accelerators.bit_slice.pieces import Pieces, pieces_of
from bitwright.accelerators.bit_slice.products import Products, dense_products
from bitwright.accelerators.bit_slice.schedule import Stages, tile_cycles
from bitwright.accelerators.bit_slice.slicing import SLICE_BITS, Slicing, refusal
from bitwright.accelerators.engine import Ran
from bitwright.accelerators.job import Job, Measured
from bitwright.accelerators.machine import Machine
from bitwright.accelerators.systolic.machine import timing_of
from bitwright.memory import Gemm, IntArray, Mapping, TileCosts
from bitwright.memory.gemm import finest
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan
from bitwright.methods.vectors import VECTOR, VectorMasks
from bitwright.settings import OURS, RECOLLECTED, about

BITS_PER_BYTE = 8


@dataclasses.dataclass(frozen=True, kw_only=True)
class Counted:
    """One execution of a site on a bit-slice machine, counted with its masks under a mapping.

    Attributes
    ----------
    gemm, mapping, slicing, pieces
        The product, its tiles, its slices, and how k is cut.
    blocks, products : Blocks, Products
        Work counted from the masks.
    x, w : Stored
        Operands as stored.
    tile_cycles : IntArray
        Of the array [groups, m tiles, k tiles, n tiles].
    fill_cycles : int
        Once, where tiles follow one another: the first decoding and the last output.
    masks : VectorMasks
        What was skipped.
    compensates : bool
        Whether the skipped slice of x is not zero.
    """

    gemm: Gemm
    mapping: Mapping
    slicing: Slicing
    pieces: Pieces
    blocks: Blocks
    products: Products
    x: Stored
    w: Stored
    tile_cycles: IntArray
    fill_cycles: int
    masks: VectorMasks
    compensates: bool


class SliceArray(Machine):
    """Processing elements of slice operators between three double-buffered SRAMs, and DRAM."""

    needs_codes: ClassVar[bool] = True
    unsigned_x: ClassVar[bool]
    """Whether slices of x are unsigned (with a zero point) or signed."""
    made_for: ClassVar[str]
    """The method that makes plans for it."""

    peas: int = Field(
        default=16,
        gt=0,
        description="Arrays of processing elements",
        json_schema_extra=about("Panacea's 16 (public summary)"),
    )
    run_bits: int = Field(
        default=4, ge=1, le=8, description="Width of a run length", json_schema_extra=about(RECOLLECTED, unit="bits")
    )
    buffered_k: int = Field(
        default=96,
        ge=2,
        le=4096,
        description="k of a piece, which the buffers of slices in front of the operators hold of operands of two "
        "slices, and as many of the next one; as many as the smallest SRAM banks hold, one for each operator",
        json_schema_extra=about(OURS),
    )
    ppu_lanes: int = Field(
        default=32,
        gt=0,
        description="Outputs requantized and encoded per cycle",
        json_schema_extra=about(OURS),
    )

    @property
    @abstractmethod
    def teams(self) -> tuple[int, ...]:
        """Operators of 16 multipliers in each processing element that share lists of products, by kind."""

    @property
    def operators_per_pe(self) -> int:
        """All of them."""
        return sum(self.teams)

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
    def dense_pe_cycles(self, *, slicing: Slicing, vectors: IntArray, k: IntArray) -> IntArray:
        """Cycles of a processing element that meets so many vectors of x over k without skipping, element-wise."""

    @property
    def compensated_operators(self) -> int:
        """Operators whose weights the compensator of a processing element adds; 0: there is none."""
        return 0

    @property
    def slice_buffers(self) -> SliceBuffers:
        """What the elements hold of the pieces at work and to come."""
        return SliceBuffers(
            substrate=self,
            elements=self.peas,
            operators=self.operators_per_pe,
            x_vectors=self.block_rows // VECTOR,
            depth=self.buffered_k,
        )

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
    def requantizer_lanes(self) -> int:
        """As the parameter says."""
        return self.ppu_lanes

    @property
    def mergers(self) -> int:
        """Sums of one kind of slice product that are merged per cycle: those of every list that ends."""
        return len(self.teams) * VECTOR * VECTOR * self.peas

    def output_cycles(self, outputs: IntArray, *, times: int = 1) -> IntArray:
        """Cycles in which so many sums leave, or are read back first (`times` 2), element-wise."""
        cycles: IntArray = times * -(-outputs // self.ppu_lanes)
        return cycles

    def components(self) -> Sequence[Component]:
        """Multipliers, accumulators of a block, mergers, run-length logic, compensators, buffers of slices."""
        found = bill.components(
            prices=self.technology,
            unsigned_x=self.unsigned_x,
            peas=self.peas,
            teams=self.teams,
            accumulator_bits=self.block_rows * self.block_columns * self.psum_bits,
            second=self.weight_loading == "hidden",
            run_bits=self.run_bits,
            decoders=self.block_rows // VECTOR + self.peas,
            encoders=-(-self.ppu_lanes // VECTOR),
            mergers=self.mergers,
            compensated=self.compensated_operators,
        )
        return [*found, *self.slice_buffers.components()]

    def refusal(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        return refusal(plan, unsigned_x=self.unsigned_x, method=self.made_for)

    def job(self, work: Execution) -> Job:
        """A product mapped for dense operands, then counted with the masks."""
        slicing, gemm = self.slicing(work.plan), self.product(work)
        return Job(
            gemm=gemm,
            dataflows=(DenseSlices(machine=self, slicing=slicing, timing=timing_of(self)),),
            uses=self.operand_uses(work),
            measured=lambda mapping: self._measured(self.counted(work, mapping)),
        )

    def stored_bits(self, plan: SitePlan) -> int:
        """All slices."""
        return SLICE_BITS * self.slicing(plan).x_slices

    def product(self, work: Execution) -> Gemm:
        """A site with its operands as wide as all of their slices."""
        slicing = self.slicing(work.plan)
        return self.gemm_of(work, x_bits=SLICE_BITS * slicing.x_slices, w_bits=SLICE_BITS * slicing.w_slices)

    def counted(self, work: Execution, mapping: Mapping) -> Counted:
        """What an execution takes under a mapping, of which tiles, order and buffers count."""
        gemm, slicing, masks = self.product(work), self.slicing(work.plan), work.masks
        pieces = pieces_of(gemm.k, tile_k=mapping.tile_k, most=self.slice_buffers.most_k(slicing))
        blocks = count_blocks(masks, pieces=pieces, block_vectors=self.block_rows // VECTOR, operators=self.teams[0])
        products = self.products(blocks, slicing)
        x = self._store(masks.x, gemm.m, slicing.x_low, slicing.x_high, pieces, mapping.tile_m)
        w = self._store(masks.w, gemm.n, slicing.w_low, slicing.w_high, pieces, mapping.tile_n)
        loads = held(blocks, slicing, products.skipping)
        cycles, fill = tile_cycles(
            self._stages(gemm, products.pea_cycles, x, w, loads, pieces),
            pieces,
            row_blocks=-(-mapping.tile_m // self.block_rows),
            column_blocks=-(-mapping.tile_n // self.block_columns),
            timing=timing_of(self),
            loops=mapping.order,
        )
        assert work.x is not None
        return Counted(
            gemm=gemm,
            mapping=mapping,
            slicing=slicing,
            pieces=pieces,
            blocks=blocks,
            products=products,
            x=x,
            w=w,
            tile_cycles=cycles,
            fill_cycles=fill,
            masks=masks,
            compensates=not work.x.integer.signed and _skipped_slice(work) != 0,
        )

    def _measured(self, found: Counted) -> Measured:
        """The same for the engine: operands at their stored sizes, scales in proportion, sums and outputs raw."""
        gemm = found.gemm
        x_scales, w_scales = (self._scaled(found, side) for side in ("x", "w"))
        column_blocks, row_blocks = -(-gemm.n // self.block_columns), -(-gemm.m // self.block_rows)
        x_bits, w_bits = found.x.bits + x_scales, found.w.bits.transpose(0, 2, 1) + w_scales
        outputs = gemm.groups * gemm.m * gemm.n
        return Measured(
            tiles=TileCosts(
                compute=found.tile_cycles,
                x_bytes=_dram_bytes(x_bits, gemm.x_share.numerator, gemm.x_share.denominator),
                w_bytes=_dram_bytes(w_bits, gemm.w_share.numerator, gemm.w_share.denominator),
            ),
            fill_cycles=found.fill_cycles,
            x_fill=-(-x_bits // BITS_PER_BYTE),
            w_fill=-(-w_bits // BITS_PER_BYTE),
            x_read_bytes=column_blocks * int(x_bits.sum()) / BITS_PER_BYTE,
            w_read_bytes=row_blocks * int(w_bits.sum()) / BITS_PER_BYTE,
            sums=outputs * len(found.pieces.first),
            uses=list(self._uses(found, column_blocks, row_blocks)),
            macs_executed=round(gemm.macs * found.products.executed / dense_products(found.blocks, found.slicing)),
            unique_bytes=int(int(x_bits.sum()) * gemm.x_share / BITS_PER_BYTE)
            + int(int(w_bits.sum()) * gemm.w_share / BITS_PER_BYTE)
            + -(-outputs * gemm.y_dram_bits // BITS_PER_BYTE),
        )

    def _scaled(self, found: Counted, side: str) -> IntArray:
        """Bits of scales of each tile of an operand, as many as its elements' share [1 or groups, tiles, tiles]."""
        gemm, mapping = found.gemm, found.mapping
        k = _sizes(gemm.k, mapping.tile_k)
        if side == "x":
            elements = _sizes(gemm.m, mapping.tile_m)[:, None] * k
            each = gemm.x_bits - SLICE_BITS * found.slicing.x_slices
        else:
            elements = k[:, None] * _sizes(gemm.n, mapping.tile_n)
            each = gemm.w_bits - SLICE_BITS * found.slicing.w_slices
        share = finest(Fraction(each))
        return -(-elements * share.numerator // share.denominator)[None]

    def _uses(self, found: Counted, column_blocks: int, row_blocks: int) -> Iterator[tuple[Use, float]]:
        words = moved(found.blocks, found.slicing, found.products, column_blocks=column_blocks)
        yield from self.slice_buffers.uses(words)
        yield from bill.uses_of(
            gemm=found.gemm,
            slicing=found.slicing,
            blocks=found.blocks,
            products=found.products,
            x=found.x,
            w=found.w,
            compensates=found.compensates,
            column_blocks=column_blocks,
            row_blocks=row_blocks,
            run_bits=self.run_bits,
            unsigned_x=self.unsigned_x,
            teams=self.teams,
            psum_bits=self.psum_bits,
            prices=self.technology,
        )

    def details(self, work: Execution, ran: Ran) -> dict[str, Any]:
        """Skip rates, products by kind, sizes."""
        found = self.counted(work, ran.mapping)
        dense = dense_products(found.blocks, found.slicing)
        products, compute = found.products, ran.cost.compute_cycles
        raw = found.gemm.groups * SLICE_BITS
        return {
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
            "operators_busy": products.executed / (compute * self.peas * self.operators_per_pe),
            "multipliers_used_of_padded_vectors": work.site.macs * found.slicing.products / (dense * VECTOR * VECTOR),
        }

    def _store(self, mask: Any, rows: int, low: int, high: int, pieces: Pieces, tile_rows: int) -> Stored:
        return store(
            mask,
            rows=rows,
            low_slices=low,
            high_slice=bool(high),
            pieces=pieces,
            tile_rows=tile_rows,
            run_bits=self.run_bits,
        )

    def _stages(self, gemm: Gemm, pea_cycles: IntArray, x: Stored, w: Stored, loads: Held, pieces: Pieces) -> Stages:
        """Cycles of decoding, multiplying and writing out each block; buffers take what is decoded, and the rest."""
        row_vectors, buffers = self.block_rows // VECTOR, self.slice_buffers
        rows = _sizes(gemm.m, self.block_rows)
        columns = _sizes(gemm.n, self.block_columns)
        of_x = np.maximum.reduceat(x.entries, np.arange(0, x.entries.shape[1], row_vectors), axis=1)
        into_w = np.maximum(w.entries.transpose(0, 2, 1), buffers.load_cycles(loads.w))
        into_x = np.maximum(of_x.transpose(0, 2, 1), buffers.load_cycles(loads.x))
        of_w = np.maximum.reduceat(into_w, np.arange(0, into_w.shape[2], self.peas), axis=2)
        compute = np.maximum.reduceat(pea_cycles, np.arange(0, pea_cycles.shape[3], self.peas), axis=3)
        decode = np.maximum(into_x[..., None], of_w[:, :, None, :])
        outputs = rows[:, None] * columns
        shape = (gemm.groups, len(pieces.first), *outputs.shape)
        output = np.broadcast_to(self.output_cycles(outputs), shape).copy()
        output[:, 1:] = self.output_cycles(outputs, times=2)  # sums of earlier tiles of k are read back first
        return Stages(decode=np.broadcast_to(decode, compute.shape), compute=compute, output=output)


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
