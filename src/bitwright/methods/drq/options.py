"""Options of the method `drq`."""

from typing import ClassVar, Literal

import pydantic

from bitwright.methods.operand_options import CorrectingOptions
from bitwright.settings import OURS, about


class DrqOptions(CorrectingOptions):
    """Which regions of x are sensitive, and how much accuracy the others may cost."""

    whole_network: ClassVar[frozenset[str]] = CorrectingOptions.whole_network | {
        "budget",
        "bias_correction",
        "narrow_ends",
    }

    budget: float = pydantic.Field(
        0.01,
        gt=0,
        lt=1,
        description="what narrow regions may cost: relative loss of expected accuracy on the calibration samples, as "
        "a share of 1",
        json_schema_extra=about(OURS),
    )
    threshold: float | None = pydantic.Field(
        None,
        ge=0,
        le=255,
        allow_inf_nan=False,
        description="mean |code| from which a region is sensitive; null: searched to the budget",
        json_schema_extra=about(OURS),
    )
    region: Literal[1, 2, 4, 8] = pydantic.Field(
        4,
        description="pixels along the side of a region, in each channel",
        json_schema_extra=about(OURS, unit="pixels"),
    )
    block: int = pydantic.Field(
        16,
        ge=1,
        description="elements of a region where there are no pixels: of a token, 16 to 64",
        json_schema_extra=about(OURS, unit="elements"),
    )
    narrow_ends: bool = pydantic.Field(
        False, description="the first and the last layer too", json_schema_extra=about(OURS)
    )
    x_share: float | None = pydantic.Field(
        None,
        ge=0,
        le=1,
        description="of a network with shapes only: share of regions that are narrow, as assumed",
        json_schema_extra=about("assumed by the user"),
    )
