"""Options of the method `drift`: what a sub-tensor is, which become narrow, and how much accuracy that may cost.

The paper (DOI 10.1145/3649329.3655986) has sub-tensors and tests whose shapes and thresholds are not public: all our
choices.
"""

from typing import Any, ClassVar, Literal

import pydantic

from bitwright.methods.drift.conversion import Conversion
from bitwright.methods.operand_options import CorrectingOptions
from bitwright.settings import OURS, about


class DriftOptions(CorrectingOptions):
    """How precision is chosen at run time. The recipe `drift-rows` has whole rows and columns and one delta."""

    whole_network: ClassVar[frozenset[str]] = CorrectingOptions.whole_network | {
        "budget",
        "delta_by",
        "bias_correction",
        "narrow_ends",
    }

    budget: float = pydantic.Field(
        0.01,
        gt=0,
        lt=1,
        description="what narrow sub-tensors may cost: relative loss of expected accuracy on the calibration samples, "
        "as a share of 1",
        json_schema_extra=about(OURS),
    )
    delta: float | None = pydantic.Field(
        None,
        ge=0,
        le=1e6,
        allow_inf_nan=False,
        description="least mean absolute deviation of a narrow sub-tensor; null: searched to the budget",
        json_schema_extra=about(OURS, unit="steps"),
    )
    delta_by: Literal["network", "kind"] = pydantic.Field(
        "kind",
        description="one delta for the network, or one per kind of layer and operand",
        json_schema_extra=about(OURS),
    )
    block: int = pydantic.Field(
        32,
        ge=0,
        description="most elements of the reduction in a sub-tensor; 0: all",
        json_schema_extra=about(OURS, unit="elements"),
    )
    region: Literal[1, 2, 3, 4] = pydantic.Field(
        1, description="pixels along the side of a sub-tensor of images", json_schema_extra=about(OURS, unit="pixels")
    )
    conversion: Conversion = pydantic.Field(
        Conversion.AFFINE,
        description="narrow codes count from zero, or (affine) from the sub-tensor's smallest code",
        json_schema_extra=about(OURS),
    )
    narrow_ends: bool = pydantic.Field(
        False, description="the first and the last layer too", json_schema_extra=about(OURS)
    )
    x_share: float | None = pydantic.Field(
        None,
        ge=0,
        le=1,
        description="of a network with shapes only: share of rows that are narrow, as assumed",
        json_schema_extra=about("assumed by the user"),
    )
    w_share: float | None = pydantic.Field(
        None,
        ge=0,
        le=1,
        description="of a network with shapes only: share of columns that are narrow, as assumed",
        json_schema_extra=about("assumed by the user"),
    )


RECIPES: dict[str, dict[str, Any]] = {
    "drift-rows": {"block": 0, "conversion": "zero", "delta_by": "network", "bias_correction": False},
}
