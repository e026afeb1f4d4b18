"""Options of the method `aqs`: those of the integers that slices allow, and how zero points and splits are chosen.

Sources: Panacea (arXiv 2412.10059, HPCA 2025) for asymmetric activations, zero-point manipulation (ZPM) at calibration
and distribution-based bit slicing (DBS) per layer. Its equations, thresholds and bit widths are not public; what is
"our choice" below is ours and must not be quoted as the paper's.
"""

from typing import ClassVar, Literal

import pydantic

from bitwright.formats import Saturation
from bitwright.methods.integer.options import IntegerOptions
from bitwright.settings import OURS, about


class AqsOptions(IntegerOptions):
    """How a network is quantized for AQS-GEMM; what is not named here is as in the method `int`."""

    whole_network: ClassVar[frozenset[str]] = IntegerOptions.whole_network | {"dbs_budget"}
    wide_bits: ClassVar[int] = 7

    x_bits: Literal[8] = pydantic.Field(
        8,
        description="width of activations: two unsigned slices of 4",
        json_schema_extra=about("Panacea, HPCA 2025", unit="bits"),
    )
    x_symmetric: Literal[False] = pydantic.Field(
        False, description="activations have a zero point", json_schema_extra=about("Panacea, HPCA 2025")
    )
    x_granularity: Literal["tensor"] = pydantic.Field(
        "tensor", description="activations have a static scale", json_schema_extra=about("Panacea, HPCA 2025")
    )
    w_bits: Literal[4, 7, 10, 13] = pydantic.Field(
        7,
        description="width of weights: signed slices of 4 that overlap",
        json_schema_extra=about("Panacea, HPCA 2025", unit="bits"),
    )
    w_granularity: Literal["tensor", "channel"] = pydantic.Field(
        "channel",
        description="what shares a scale of weights; one zero point is corrected per output, so there are no groups",
        json_schema_extra=about("the usual INT8"),
    )
    saturation: Literal[Saturation.CLIP] = pydantic.Field(
        Saturation.CLIP, description="outside the range", json_schema_extra=about(OURS)
    )
    ends: Literal["same", "float"] = pydantic.Field(
        "same", description="first and last layer: as the rest (same), or float", json_schema_extra=about(OURS)
    )
    zpm: bool = pydantic.Field(
        True,
        description="move zero points to the centre of their slice's bin where that lets more codes be skipped; never "
        "of one-sided tensors (ZPM)",
        json_schema_extra=about("Panacea, HPCA 2025"),
    )
    dbs: bool = pydantic.Field(
        True,
        description="choose the split of activations per site, 4, 5 or 6 (DBS)",
        json_schema_extra=about("Panacea, HPCA 2025"),
    )
    dbs_coverage: float = pydantic.Field(
        0.9,
        gt=0,
        lt=1,
        description="share of codes that a split's skipped bin should hold",
        json_schema_extra=about(OURS),
    )
    dbs_budget: float = pydantic.Field(
        0.0003,
        ge=0,
        allow_inf_nan=True,
        description="how much splits above 4, which drop bits, may add to the network's loss on calibration samples: "
        "nats of KL divergence from float, or share of squared error where there are no logits; inf: never decline. "
        "Other text than the samples can lose thirty times as much, which is then 1 % of perplexity",
        json_schema_extra=about(OURS),
    )
    dropped_mean: bool = pydantic.Field(
        True, description="add the mean of dropped bits back, as a constant in the bias", json_schema_extra=about(OURS)
    )

    @property
    def run_time_w_bits(self) -> int:
        """Bits of keys and values: as weights', but at least 7 (our choice; 8 are no width of signed slices)."""
        return max(7, self.w_bits)


RECIPES: dict[str, dict[str, object]] = {"aqs-w4": {"w_bits": 4, "w_calibrator": "mse", "wide": "search"}}
