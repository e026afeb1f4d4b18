"""`panacea`: skips frequent nonzero slices of activations and zero slices of weights at once (arXiv 2412.10059).

Sourced: 16 processing element arrays; dynamic operators for the sparse work of high-order slices and static ones for
the dense low-order work; a compensator that reuses loaded weight slices; run-length coded high-order vectors;
double-tile processing, which keeps both kinds of operators busy. Recollected: 4 dynamic and 8 static operators, 3,072
multipliers. Double-tile processing is read as two row tiles in flight that share their weights: operators wait for each
other only at the end of both. Everything else is our choice.
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from bitwright.accelerators.bit_slice.blocks import Blocks
from bitwright.accelerators.bit_slice.machine import SliceArray
from bitwright.accelerators.bit_slice.products import Products, both_sides
from bitwright.accelerators.bit_slice.slicing import Slicing, slicing_of
from bitwright.memory import IntArray
from bitwright.methods.plan import SitePlan
from bitwright.settings import OURS, RECOLLECTED, about


class Panacea(SliceArray):
    """Panacea; parameters are those of `SliceArray` and its operators."""

    summary: ClassVar[str] = "bit slices, skips frequent nonzero activation and zero weight slices (AQS-GEMM)"
    unsigned_x: ClassVar[bool] = True
    made_for: ClassVar[str] = "method aqs"

    dynamic_operators: int = Field(
        default=4, gt=0, le=64, description="Per PE, for sparse work", json_schema_extra=about(RECOLLECTED)
    )
    static_operators: int = Field(
        default=8, gt=0, le=64, description="Per PE, for dense work", json_schema_extra=about(RECOLLECTED)
    )
    dynamic_work: Literal["high", "activation"] = Field(
        default="high",
        description="What dynamic operators do: products with any high-order slice (high), or only those with the "
        "activation's, leaving the weight's to static operators",
        json_schema_extra=about("high, as a public summary has it"),
    )
    tile_rows: int = Field(
        default=32,
        gt=0,
        multiple_of=4,
        description="Rows of x in an output tile",
        json_schema_extra=about(OURS),
    )
    double_tile: bool = Field(
        default=True,
        description="Two output tiles in flight (double-tile processing)",
        json_schema_extra=about("Panacea, HPCA 2025"),
    )
    skip_single_slice: bool = Field(
        default=False,
        description="Skip zero vectors of 4-bit weights, which have one slice",
        json_schema_extra=about(OURS),
    )

    @property
    def teams(self) -> tuple[int, ...]:
        """Dynamic and static operators."""
        return self.dynamic_operators, self.static_operators

    @property
    def compensated_operators(self) -> int:
        """The dynamic ones."""
        return self.dynamic_operators

    @property
    def block_rows(self) -> int:
        """Rows of the output tiles in flight."""
        return self.tile_rows * (2 if self.double_tile else 1)

    def slicing(self, plan: SitePlan) -> Slicing:
        """Two slices of x; of w as many as its width has."""
        return slicing_of(plan, single_is_high=self.skip_single_slice)

    def products(self, blocks: Blocks, slicing: Slicing) -> Products:
        """Both sides are skipped."""
        return both_sides(
            blocks,
            slicing,
            dynamic=self.dynamic_operators,
            static=self.static_operators,
            high_low_is_dynamic=self.dynamic_work == "high",
        )

    def dense_pe_cycles(self, *, slicing: Slicing, vectors: IntArray, k: IntArray) -> IntArray:
        """Dynamic and static operators side by side."""
        high_low = slicing.w_high * slicing.x_low
        on_dynamic = slicing.w_slices * slicing.x_high
        on_static = slicing.w_low * slicing.x_low
        if self.dynamic_work == "high":
            on_dynamic += high_low
        else:
            on_static += high_low
        of_dynamic, of_static = on_dynamic * -(-k // self.dynamic_operators), on_static * -(-k // self.static_operators)
        return vectors * np.maximum(of_dynamic, of_static)
