"""The method `adaptivfloat`: weights and activations in AdaptivFloat, the bias from each tensor's largest magnitude.

Source: Tambe et al., "Algorithm-hardware co-design of adaptive floating-point encodings", DAC 2020: one bias per
tensor, so that the largest magnitude is just representable. Widths of exponents are options (3 bits at 8, as there).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pydantic

from bitwright.formats import AdaptivFloat, PerTensor, adaptivfloat_scale
from bitwright.later import later, torch
from bitwright.methods.operand_options import OperandOptions
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, Part, Plan, SitePlan
from bitwright.methods.tabled import TabledOperands
from bitwright.networks.network import Batch, Network
from bitwright.settings import OURS, about

if TYPE_CHECKING:
    from bitwright.methods.tabled import choose as choosing
    from bitwright.methods.tabled.choose import Operand
else:
    choosing = later("bitwright.methods.tabled.choose")


class AdaptivFloatOptions(OperandOptions):
    """How a network is quantized to AdaptivFloat."""

    w_bits: int = pydantic.Field(
        8, ge=3, le=8, description="width of weights", json_schema_extra=about("AdaptivFloat, DAC 2020", unit="bits")
    )
    x_bits: int = pydantic.Field(
        8,
        ge=3,
        le=8,
        description="width of activations",
        json_schema_extra=about("AdaptivFloat, DAC 2020", unit="bits"),
    )
    exponent_bits: int = pydantic.Field(
        3,
        ge=1,
        le=5,
        description="width of the exponent; narrow words keep a sign and leave at most bits - 1 for it",
        json_schema_extra=about("AdaptivFloat, DAC 2020: 3 at 8 bits", unit="bits"),
    )
    attention: bool = pydantic.Field(
        True, description="quantize the products of attention too", json_schema_extra=about(OURS)
    )


class AdaptivFloatMethod(TabledOperands):
    """Floats with a bias per tensor."""

    summary = "AdaptivFloat: narrow floats with an exponent bias per tensor, for weights and activations"
    fills = frozenset({Part.OPERANDS})
    options = AdaptivFloatOptions
    recipes: Mapping[str, Mapping[str, Any]] = {
        "af8": {},
        "af6": {"w_bits": 6},
        "af5": {"w_bits": 5},
        "af4": {"w_bits": 4, "exponent_bits": 2},
    }

    def calibrate(self, network: Network, samples: Sequence[Batch], options: AdaptivFloatOptions, plan: Plan) -> Plan:
        """The bias of every tensor from its largest magnitude."""

        def chosen(name: str, x: Operand, w: Operand) -> SitePlan:
            at = options.at(name)
            if not (w.static or at.attention):
                return FLOAT_SITE
            return SitePlan(x=_operand(x, at.x_bits, at), w=_operand(w, at.w_bits if w.static else at.x_bits, at))

        plan = choosing.choose(network, samples, plan, chosen, method="adaptivfloat")
        options.check_globs(plan.sites)
        return plan


def _operand(tensor: Operand, bits: int, options: AdaptivFloatOptions) -> OperandPlan:
    fmt = AdaptivFloat(bits=bits, exponent_bits=min(options.exponent_bits, bits - 1))
    scale = torch.tensor(adaptivfloat_scale(tensor.peak, fmt)) if tensor.seen else None
    return OperandPlan(format=fmt, granularity=PerTensor(), scale=scale)


METHOD = AdaptivFloatMethod()
