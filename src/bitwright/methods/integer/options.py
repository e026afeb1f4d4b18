"""Options of the integer method, and the recipes that name common sets of them.

Every option can be overridden for sites whose name matches a glob: `sites={"*.down_proj": {"x_bits": 16}}`.
"""

import fnmatch
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, Self

import pydantic

from bitwright.errors import InputError
from bitwright.formats import PerChannel, PerGroup, PerTensor, PerToken, Rounding, Saturation, parse_granularity

Calibrator = Literal["minmax", "percentile", "mse"]


class IntegerOptions(pydantic.BaseModel):
    """How a network is quantized to integers. Defaults are the recipe `int8`."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")
    whole_network: ClassVar[frozenset[str]] = frozenset({"sites", "smoothing", "ends"})
    """Options that no single site can have."""

    x_bits: int = pydantic.Field(8, ge=2, le=16, description="bits of activations")
    x_symmetric: bool = pydantic.Field(
        False, description="signed activations around 0 instead of unsigned ones with a zero point"
    )
    x_granularity: str = pydantic.Field(
        "tensor", description="tensor (static scale) or token (scaled at run time, symmetric)"
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
    sites: dict[str, dict[str, Any]] = pydantic.Field(
        default_factory=dict, description="options per glob on site names"
    )

    @pydantic.field_validator("x_granularity")
    @classmethod
    def _check_x(cls, value: str) -> str:
        if not isinstance(parse_granularity(value), PerTensor | PerToken):
            raise ValueError("activations are scaled per tensor or per token")
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

    @pydantic.field_validator("sites")
    @classmethod
    def _check_sites(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for glob, overrides in value.items():
            for key in overrides:
                if key not in cls.model_fields or key in cls.whole_network:
                    raise ValueError(f"{glob}: {key!r} is no option of a single site")
            cls(**overrides)
        return value

    @property
    def run_time_w_bits(self) -> int:
        """Bits of a w that is computed at run time (keys, values): as an activation's."""
        return self.x_bits

    def at(self, name: str) -> Self:
        """The options of the site `name`, later globs winning."""
        merged = {k: v for glob, over in self.sites.items() if fnmatch.fnmatchcase(name, glob) for k, v in over.items()}
        return type(self)(**{**self.model_dump(), **merged}) if merged else self

    def check_globs(self, names: Iterable[str]) -> None:
        """Refuse a glob that matches none of the sites `names`."""
        known = list(names)
        for glob in self.sites:
            if not fnmatch.filter(known, glob):
                examples = ", ".join(known[:3])
                raise InputError(f"option sites: {glob!r} matches no site; sites are named like {examples}")


RECIPES: dict[str, dict[str, Any]] = {
    "int8": {},
    "int8-token": {"x_granularity": "token", "x_symmetric": True},
    "int8-sym": {"x_symmetric": True},
    "int7-sym": {"x_symmetric": True, "x_bits": 7, "w_bits": 7},
    "sibia": {"x_symmetric": True, "x_bits": 7, "w_bits": 7, "ends": "same"},
    "w4a8": {"w_bits": 4, "w_granularity": "group:128", "w_calibrator": "mse"},
}
