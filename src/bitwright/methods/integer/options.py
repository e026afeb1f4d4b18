"""Options of the integer method, and the recipes that name common sets of them."""

from typing import Annotated, Any, ClassVar, Literal

import pydantic

from bitwright.formats import Rounding, Saturation
from bitwright.formats.granularity import GroupName
from bitwright.methods.operand_options import WideningOptions
from bitwright.settings import OURS, about

Calibrator = Literal["minmax", "percentile", "mse"]


class IntegerOptions(WideningOptions):
    """How a network is quantized to integers. Defaults are the recipe `int8`."""

    whole_network: ClassVar[frozenset[str]] = WideningOptions.whole_network | {"smoothing", "ends", "first_tokens"}

    x_bits: int = pydantic.Field(
        8, ge=2, le=16, description="width of activations", json_schema_extra=about("the usual INT8", unit="bits")
    )
    x_symmetric: bool = pydantic.Field(
        False,
        description="signed activations around 0 instead of unsigned ones with a zero point",
        json_schema_extra=about("the usual INT8: activations have a zero point"),
    )
    x_granularity: Literal["tensor", "token", "token-range"] | GroupName = pydantic.Field(
        "tensor",
        description="what shares a scale of activations: static, a tensor; at run time and symmetric, a token or SIZE "
        "elements of one; token-range: at run time, a token, with a zero point of its own where a layer is linear",
        json_schema_extra=about("the usual INT8"),
    )
    w_bits: int = pydantic.Field(
        8, ge=2, le=16, description="width of weights", json_schema_extra=about("the usual INT8", unit="bits")
    )
    w_granularity: Literal["tensor", "channel"] | GroupName = pydantic.Field(
        "channel",
        description="what shares a scale of weights; a group is SIZE elements of the reduction",
        json_schema_extra=about("the usual INT8"),
    )
    calibrator: Calibrator = pydantic.Field(
        "minmax", description="how activation ranges are chosen", json_schema_extra=about(OURS)
    )
    w_calibrator: Calibrator = pydantic.Field(
        "minmax", description="how weight ranges are chosen", json_schema_extra=about(OURS)
    )
    percentile: float = pydantic.Field(
        99.99,
        gt=50,
        le=100,
        description="share of |values| kept, by the percentile calibrators",
        json_schema_extra=about(OURS, unit="%"),
    )
    rounding: Rounding = pydantic.Field(
        Rounding.HALF_EVEN, description="reals to codes", json_schema_extra=about("IEEE 754")
    )
    saturation: Saturation = pydantic.Field(
        Saturation.CLIP, description="what happens outside the range", json_schema_extra=about(OURS)
    )
    smoothing: Literal["search", "none"] | Annotated[float, pydantic.Field(ge=0, le=1)] = pydantic.Field(
        "search",
        description="migration strength (SmoothQuant): searched on the calibration samples, none, or a number",
        json_schema_extra=about("our choice: searched; SmoothQuant, ICML 2023, has 0.5 for all"),
    )
    first_tokens: Literal["search"] | Annotated[int, pydantic.Field(ge=0, le=16)] = pydantic.Field(
        "search",
        description="how many first tokens of a language model's sequences have a static scale of their own, where it "
        "is more than twice the others'; search: one or none, as held-out calibration samples say",
        json_schema_extra=about(OURS),
    )
    attention: bool = pydantic.Field(
        True, description="quantize the products of attention too", json_schema_extra=about(OURS)
    )
    ends: Literal["head8", "both8", "float", "same"] = pydantic.Field(
        "head8",
        description="first and last layer: the last at 8 bits or more (head8), both at 8 or more (both8), both float, "
        "or as the rest (same)",
        json_schema_extra=about(OURS),
    )

    @property
    def run_time_w_bits(self) -> int:
        """Bits of a w that is computed at run time (keys, values): as an activation's."""
        return self.x_bits


RECIPES: dict[str, dict[str, Any]] = {
    "int8": {},
    "int8-token": {"x_granularity": "token", "x_symmetric": True},
    "int8-sym": {"x_symmetric": True},
    "int7-sym": {"x_symmetric": True, "x_bits": 7, "w_bits": 7},
    "sibia": {"x_symmetric": True, "x_bits": 7, "w_bits": 7, "ends": "same"},
    "w4a8": {"w_bits": 4, "w_granularity": "group:128", "w_calibrator": "mse", "ends": "same", "wide": "search"},
}
