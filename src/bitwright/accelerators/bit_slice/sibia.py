"""`sibia`: skips zero slices of symmetric operands on one side, the sparser one per layer (Im et al., HPCA 2023).

Sourced: signed bit slices, zero skipping in signed multipliers, a unit that monitors the sparsity of inputs and
weights; that it skips one side at a time is a reading of the abstract. Output speculation is left out: it predicts, and
this execution is exact. Ours: array, buffers and storage are Panacea's (both operands' high-order slices run-length
coded, which its paper does not claim), so that the machines differ in what they skip.
"""

from typing import ClassVar

from pydantic import Field

from bitwright.accelerators.bit_slice.blocks import Blocks
from bitwright.accelerators.bit_slice.machine import SliceArray
from bitwright.accelerators.bit_slice.products import Products, better_side
from bitwright.accelerators.bit_slice.slicing import Slicing, slicing_of
from bitwright.memory import IntArray
from bitwright.methods.plan import SitePlan
from bitwright.settings import OURS, about


class Sibia(SliceArray):
    """Sibia; parameters are those of `SliceArray` and its operators."""

    summary: ClassVar[str] = "signed bit slices, skips zero slices of activations or of weights, one side per layer"
    unsigned_x: ClassVar[bool] = False
    made_for: ClassVar[str] = "method sibia"

    operators: int = Field(
        default=12,
        gt=0,
        le=64,
        description="Per PE, as many as Panacea's of both kinds",
        json_schema_extra=about(OURS),
    )
    tile_rows: int = Field(
        default=64,
        gt=0,
        multiple_of=4,
        description="Rows of x in an output tile",
        json_schema_extra=about(OURS),
    )

    @property
    def teams(self) -> tuple[int, ...]:
        """All take any product."""
        return (self.operators,)

    @property
    def block_rows(self) -> int:
        """Rows of the output tile in flight."""
        return self.tile_rows

    def slicing(self, plan: SitePlan) -> Slicing:
        """Signed slices on both sides; a single slice can be skipped too."""
        return slicing_of(plan, single_is_high=True)

    def products(self, blocks: Blocks, slicing: Slicing) -> Products:
        """The better side is skipped."""
        return better_side(blocks, slicing, operators=self.operators)

    def dense_pe_cycles(self, *, slicing: Slicing, vectors: IntArray, k: IntArray) -> IntArray:
        """All products on equal operators."""
        return slicing.products * vectors * -(-k // self.operators)
