"""Options of the method `mx`, and the recipes that name its formats."""

from typing import Any, Literal

import pydantic

from bitwright.methods.operand_options import OperandOptions
from bitwright.settings import OURS, about

FormatName = Literal["mxfp8-e4m3", "mxfp8-e5m2", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp4", "mxint8", "nvfp4", "fp8"]
MX = "OCP microscaling formats, 2023"


class MxOptions(OperandOptions):
    """Which formats a network has. Defaults are the recipe `mxfp8`."""

    w_format: FormatName = pydantic.Field("mxfp8-e4m3", description="format of weights", json_schema_extra=about(MX))
    x_format: FormatName = pydantic.Field(
        "mxfp8-e4m3", description="format of activations, keys and values", json_schema_extra=about(MX)
    )
    attention: bool = pydantic.Field(
        True, description="quantize the products of attention too", json_schema_extra=about(OURS)
    )


def _both(name: FormatName) -> dict[str, Any]:
    return {"w_format": name, "x_format": name}


RECIPES: dict[str, dict[str, Any]] = {
    "mxfp8": _both("mxfp8-e4m3"),
    "mxfp6": _both("mxfp6-e2m3"),
    "mxfp4": _both("mxfp4"),
    "mxint8": _both("mxint8"),
    "nvfp4": _both("nvfp4"),
    "fp8": _both("fp8"),
}
