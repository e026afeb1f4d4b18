"""Options of the method `lpq`. What the paper leaves open is our choice, and says so."""

from typing import Any, ClassVar, Literal

import pydantic

from bitwright.formats import PerChannel, PerTensor, RegimeRule, parse_granularity
from bitwright.methods.site_options import SiteOptions


class LpqOptions(SiteOptions):
    """How a network is quantized to log posits. Without a search, every weight has `w_bits` bits."""

    whole_network: ClassVar[frozenset[str]] = SiteOptions.whole_network | {"ends", "bias_correction"}

    w_bits: int = pydantic.Field(8, ge=2, le=8, description="bits of weights, before a search or without one")
    x_bits: int | Literal["derived"] = pydantic.Field(
        "derived",
        description="bits of activations, 2 to 8; derived: twice those of the weight, at most 8 (recollected)",
    )
    max_es: int = pydantic.Field(3, ge=0, le=5, description="largest es that is considered; our choice")
    regime: RegimeRule = pydantic.Field(
        RegimeRule.CAPPED,
        description="capped: rs ends a run without terminator (our reading); terminated: rs clips only",
    )
    w_granularity: str = pydantic.Field(
        "tensor", description="tensor: one sf per weight, as in the paper; channel: one per output channel, ours"
    )
    bias_correction: bool = pydantic.Field(
        True, description="take off each bias what quantization adds to its channel's mean on the samples; ours"
    )
    attention: bool = pydantic.Field(True, description="quantize the products of attention too, at x_bits or 8")
    ends: Literal["head8", "same"] = pydantic.Field(
        "same", description="last layer: at 8 bits or as the rest; a search decides it anyway"
    )

    @pydantic.field_validator("x_bits")
    @classmethod
    def _check_x_bits(cls, value: int | str) -> int | str:
        if isinstance(value, int) and not 2 <= value <= 8:
            raise ValueError("activations have 2 to 8 bits")
        return value

    @pydantic.field_validator("w_granularity")
    @classmethod
    def _check_w(cls, value: str) -> str:
        if not isinstance(parse_granularity(value), PerTensor | PerChannel):
            raise ValueError("sf belongs to a tensor or to a channel")
        return value

    def activation_bits(self, w_bits: int) -> int:
        """Bits of the activation that meets a weight of `w_bits`."""
        return min(8, 2 * w_bits) if self.x_bits == "derived" else int(self.x_bits)

    @property
    def run_time_bits(self) -> int:
        """Bits of both operands of attention, which has no weights to derive them from."""
        return 8 if self.x_bits == "derived" else int(self.x_bits)


RECIPES: dict[str, dict[str, Any]] = {f"lp{bits}": {"w_bits": bits} for bits in (4, 5, 6, 8)}
