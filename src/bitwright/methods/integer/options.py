"""Options of the integer method, and the recipes that name common sets of them."""

from typing import Any, ClassVar, Literal

import pydantic

from bitwright.formats import PerChannel, PerGroup, PerTensor, PerToken, Rounding, Saturation, parse_granularity
from bitwright.methods.site_options import SiteOptions

Calibrator = Literal["minmax", "percentile", "mse"]


class IntegerOptions(SiteOptions):
    """How a network is quantized to integers. Defaults are the recipe `int8`."""

    whole_network: ClassVar[frozenset[str]] = SiteOptions.whole_network | {"smoothing", "ends"}

    x_bits: int = pydantic.Field(8, ge=2, le=16, description="bits of activations")
    x_symmetric: bool = pydantic.Field(
        False, description="signed activations around 0 instead of unsigned ones with a zero point"
    )
    x_granularity: str = pydantic.Field(
        "tensor", description="tensor (static scale), or scaled at run time, symmetric: token, or group:SIZE of one"
    )
    w_bits: int = pydantic.Field(8, ge=2, le=16, description="bits of weights")
    w_granularity: str = pydantic.Field("channel", description="tensor, channel or group:SIZE")
    calibrator: Calibrator = pydantic.Field("minmax", description="how activation ranges are chosen")
    w_calibrator: Calibrator = pydantic.Field("minmax", description="how weight ranges are chosen")
    percentile: float = pydantic.Field(
        99.99, gt=50, le=100, description="of |values| kept, by the percentile calibrators"
    )
    rounding: Rounding = pydantic.Field(Rounding.HALF_EVEN, description="reals to codes")
    saturation: Saturation = pydantic.Field(Saturation.CLIP, description="what happens outside the range")
    smoothing: Literal["search", "none"] | float = pydantic.Field(
        "search", description="migration strength: searched on the calibration samples, none, or a number 0 to 1"
    )
    attention: bool = pydantic.Field(True, description="quantize the products of attention too")
    ends: Literal["head8", "both8", "float", "same"] = pydantic.Field(
        "head8",
        description="first and last layer: the last at 8 bits or more, both at 8 or more, both float, or as the rest",
    )

    @pydantic.field_validator("x_granularity")
    @classmethod
    def _check_x(cls, value: str) -> str:
        if not isinstance(parse_granularity(value), PerTensor | PerToken | PerGroup):
            raise ValueError("activations are scaled per tensor, per token or per group:SIZE of one")
        return value

    @pydantic.field_validator("w_granularity")
    @classmethod
    def _check_w(cls, value: str) -> str:
        if not isinstance(parse_granularity(value), PerTensor | PerChannel | PerGroup):
            raise ValueError("weights are scaled per tensor, channel or group:SIZE")
        return value

    @pydantic.field_validator("smoothing")
    @classmethod
    def _check_smoothing(cls, value: str | float) -> str | float:
        if isinstance(value, float) and not 0 <= value <= 1:
            raise ValueError("a migration strength lies between 0 and 1")
        return value

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
    "w4a8": {"w_bits": 4, "w_granularity": "group:128", "w_calibrator": "mse"},
}
