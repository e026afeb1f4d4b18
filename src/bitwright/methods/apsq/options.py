"""Options of the method `apsq`: how partial sums are stored, at which sites, and how their scales are found.

Sources: APSQ (arXiv 2505.03748, DAC 2025) for additive quantization in groups with power-of-two scales; Pci = 8 is
recollected. Rounding, saturation, phase, calibration and whether attention takes part are not public: our choices.
"""

from typing import ClassVar, Literal, Self

import pydantic

from bitwright.formats import Rounding, Saturation
from bitwright.methods.apsq.rule import Kind, PartialSums, Phase
from bitwright.methods.site_options import SiteOptions
from bitwright.settings import OURS, RECOLLECTED, about

Calibrator = Literal["max", "mse"]


class ApsqOptions(SiteOptions):
    """How partial sums are quantized. Defaults are the recipe `apsq-gs2`."""

    whole_network: ClassVar[frozenset[str]] = SiteOptions.whole_network | {"psum_attention", "psum_rows"}

    psum_rule: Kind = pydantic.Field(
        Kind.APSQ,
        description="apsq: the running sum in groups; psq: each tile alone; block: the running sum, scaled at run time",
        json_schema_extra=about("APSQ, arXiv 2505.03748"),
    )
    psum_tile: int = pydantic.Field(
        8,
        ge=1,
        description="Pci, elements of the reduction that are added exactly",
        json_schema_extra=about(RECOLLECTED, unit="elements"),
    )
    psum_bits: Literal[4, 6, 8, 16, 32] = pydantic.Field(
        8, description="width of a stored partial sum", json_schema_extra=about("APSQ, arXiv 2505.03748", unit="bits")
    )
    group_size: int = pydantic.Field(
        2,
        ge=1,
        description="gs, tiles per quantization of the running sum",
        json_schema_extra=about("APSQ, arXiv 2505.03748, has 1 to 4; of these our choice", unit="tiles"),
    )
    phase: Phase = pydantic.Field(
        Phase.HEAD, description="the running sum is quantized at a group's head or tail", json_schema_extra=about(OURS)
    )
    psum_rounding: Literal[Rounding.HALF_UP, Rounding.FLOOR] = pydantic.Field(
        Rounding.HALF_UP, description="rounding of the shift that stores", json_schema_extra=about(OURS)
    )
    psum_saturation: Saturation = pydantic.Field(
        Saturation.CLIP, description="what happens outside the range", json_schema_extra=about(OURS)
    )
    psum_block: int = pydantic.Field(
        32,
        ge=1,
        description="outputs that share a scale, under the rule block",
        json_schema_extra=about(OURS),
    )
    psum_calibrator: Calibrator = pydantic.Field(
        "mse",
        description="scales: max, the largest value seen fits; mse, the least squared error of each step, which clips "
        "what is rare in calibration (not where sums wrap around: there the largest fits)",
        json_schema_extra=about("our choice, by 2 to 3 dB of a network's output; a public re-implementation has max"),
    )
    psum_centre: Literal["mean", "zero"] = pydantic.Field(
        "mean",
        description="what activations are centred on in products with weights: the mean of each channel in "
        "calibration, or real zero",
        json_schema_extra=about(OURS),
    )
    psum_attention: bool = pydantic.Field(True, description="products of attention too", json_schema_extra=about(OURS))
    psum_rows: int = pydantic.Field(
        256,
        ge=1,
        description="rows per product, block of images and batch that scales are calibrated on, evenly spaced",
        json_schema_extra=about(OURS),
    )

    @pydantic.model_validator(mode="after")
    def _check_saturation(self) -> Self:
        if self.psum_rule is Kind.BLOCK and self.psum_saturation is Saturation.WRAP:
            raise ValueError("scales taken from the data fit them, so that nothing is left to wrap around")
        return self

    def partial_sums(self) -> PartialSums:
        """The rule, without scales."""
        return PartialSums(
            kind=self.psum_rule,
            tile=self.psum_tile,
            bits=self.psum_bits,
            group_size=self.group_size,
            phase=self.phase,
            rounding=Rounding(self.psum_rounding),
            saturation=self.psum_saturation,
            block=self.psum_block,
        )


RECIPES: dict[str, dict[str, object]] = {
    **{f"apsq-gs{size}": {"group_size": size} for size in (1, 2, 3, 4)},
    "psq": {"psum_rule": "psq"},
    "psum-block": {"psum_rule": "block"},
    "psum16": {"psum_bits": 16, "group_size": 1},
    "psum32": {"psum_bits": 32, "group_size": 1},
}
