"""Options of the method `mixed`: those of integers, and what narrow sites may cost."""

from typing import Any, ClassVar

import pydantic

from bitwright.methods.integer import IntegerOptions
from bitwright.settings import OURS, about


class MixedOptions(IntegerOptions):
    """How sites become narrow; what the integer options say holds for all of them, but the bits of narrow ones."""

    whole_network: ClassVar[frozenset[str]] = IntegerOptions.whole_network | {"budget"}

    budget: float = pydantic.Field(
        0.01,
        gt=0,
        lt=1,
        description="what narrow sites may cost: relative loss of expected accuracy on the calibration samples, as a "
        "share of 1",
        json_schema_extra=about(OURS),
    )
    narrow_bits: int = pydantic.Field(
        4, ge=2, le=4, description="width of both operands of a narrow site", json_schema_extra=about(OURS, unit="bits")
    )


RECIPES: dict[str, dict[str, Any]] = {}
