"""Options of the method `lpq`. What the paper leaves open is our choice, and says so."""

from typing import Annotated, Any, ClassVar, Literal

import pydantic

from bitwright.formats import RegimeRule
from bitwright.methods.operand_options import OperandOptions
from bitwright.settings import OURS, RECOLLECTED, about


class LpqOptions(OperandOptions):
    """How a network is quantized to log posits. Without a search, every weight has `w_bits` bits."""

    whole_network: ClassVar[frozenset[str]] = OperandOptions.whole_network | {"ends"}

    w_bits: int = pydantic.Field(
        8,
        ge=2,
        le=8,
        description="width of weights, before a search or without one",
        json_schema_extra=about(OURS, unit="bits"),
    )
    x_bits: Annotated[int, pydantic.Field(ge=2, le=8)] | Literal["derived"] = pydantic.Field(
        "derived",
        description="width of activations; derived: twice that of the weight, at most 8",
        json_schema_extra=about(RECOLLECTED, unit="bits"),
    )
    max_es: int = pydantic.Field(
        3, ge=0, le=5, description="largest es that is considered", json_schema_extra=about(OURS, unit="bits")
    )
    regime: RegimeRule = pydantic.Field(
        RegimeRule.CAPPED,
        description="capped: rs ends a run without terminator; terminated: rs clips only",
        json_schema_extra=about("our reading of LP, DAC 2024"),
    )
    w_granularity: Literal["tensor", "channel"] = pydantic.Field(
        "tensor",
        description="what shares one sf: a weight, or each of its output channels",
        json_schema_extra=about("a weight: LP, DAC 2024; channel is ours"),
    )
    attention: bool = pydantic.Field(
        True, description="quantize the products of attention too, at x_bits or 8", json_schema_extra=about(OURS)
    )
    ends: Literal["head8", "same"] = pydantic.Field(
        "same",
        description="last layer: at 8 bits (head8) or as the rest (same); a search decides it anyway",
        json_schema_extra=about(OURS),
    )

    def activation_bits(self, w_bits: int) -> int:
        """Bits of the activation that meets a weight of `w_bits`."""
        return min(8, 2 * w_bits) if self.x_bits == "derived" else int(self.x_bits)

    @property
    def run_time_bits(self) -> int:
        """Bits of both operands of attention, which has no weights to derive them from."""
        return 8 if self.x_bits == "derived" else int(self.x_bits)


RECIPES: dict[str, dict[str, Any]] = {f"lp{bits}": {"w_bits": bits} for bits in (4, 5, 6, 8)}
