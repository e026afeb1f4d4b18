"""The method `ant`: for every tensor the type among int, power of two and flint with the least squared error.

Source: Guo et al., "ANT: Exploiting adaptive numerical data type for low-bit deep neural network quantization", MICRO
2022, and its public code: the type belongs to a tensor, weights are scaled per channel and activations per tensor,
by least error over clippings. Non-negative activations are unsigned. At 8 bits only int is left (an 8-bit power of two
spans 127 binades). Which layers get 8 bits is decided with retraining there; here it is an option per site.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pydantic

from bitwright.formats import Flint, Format, Integer, PerChannel, PerTensor, PowerOfTwo
from bitwright.later import later, torch
from bitwright.methods.operand_options import WideningOptions
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, Part, Plan, SitePlan
from bitwright.methods.tabled import TabledOperands
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import by_column
from bitwright.settings import OURS, about

if TYPE_CHECKING:
    from bitwright.methods.tabled import choose as choosing
    from bitwright.methods.tabled import scales
    from bitwright.methods.tabled.choose import Operand
else:
    choosing = later("bitwright.methods.tabled.choose")
    scales = later("bitwright.methods.tabled.scales")

WIDEST_POWERS = 5  # bits: 2^15 or 2^31 binades' worth of products still add up exactly


class AntOptions(WideningOptions):
    """How a network is quantized by ANT."""

    w_bits: int = pydantic.Field(
        4, ge=3, le=8, description="width of weights", json_schema_extra=about("ANT, MICRO 2022", unit="bits")
    )
    x_bits: int = pydantic.Field(
        4,
        ge=3,
        le=8,
        description="width of activations, keys and values",
        json_schema_extra=about("ANT, MICRO 2022", unit="bits"),
    )
    attention: bool = pydantic.Field(
        True, description="quantize the products of attention too", json_schema_extra=about(OURS)
    )


class AntMethod(TabledOperands):
    """A type per tensor."""

    summary = "ANT: int, power of two or flint per tensor, 4 bits unless a site says otherwise"
    fills = frozenset({Part.OPERANDS})
    options = AntOptions
    recipes: Mapping[str, Mapping[str, Any]] = {
        "ant-w4a8": {"x_bits": 8, "wide": "search"},
        "ant8": {"w_bits": 8, "x_bits": 8},
    }

    def calibrate(self, network: Network, samples: Sequence[Batch], options: AntOptions, plan: Plan) -> Plan:
        """Type and scale of every tensor."""

        def chosen(name: str, x: Operand, w: Operand) -> SitePlan:
            at = options.at(name)
            if not (w.static or at.attention):
                return FLOAT_SITE
            return SitePlan(x=_least(x, at.x_bits), w=_least(w, at.w_bits if w.static else at.x_bits))

        plan = choosing.choose(network, samples, plan, chosen, method="ant")
        options.check_globs(plan.sites)
        return plan


def types(bits: int, *, signed: bool) -> list[Format]:
    """What a tensor of `bits` can be."""
    found: list[Format] = [Integer(bits=bits, signed=signed, narrow=signed)]
    if bits <= WIDEST_POWERS:
        found.append(PowerOfTwo(bits=bits, signed=signed))
    if bits < 8:  # at 8 bits ANT keeps int
        found.append(Flint(bits=bits, signed=signed))
    return found


def _least(tensor: Operand, bits: int) -> OperandPlan:
    """The type with the least squared error; int where there are no numbers."""
    granularity = PerChannel() if tensor.static else PerTensor()
    if not tensor.seen:
        return OperandPlan(format=types(bits, signed=True)[0], granularity=granularity)
    if tensor.weight is not None:
        (rows, shape), counts = by_column(tensor.weight.float(), tensor.lead), None
    else:
        assert tensor.tally is not None
        rows, counts, shape = tensor.tally.values.reshape(1, -1), tensor.tally.counts, torch.Size()
    best: tuple[float, Format, torch.Tensor] | None = None
    for fmt in types(bits, signed=tensor.static or tensor.low < 0):
        scale, error = scales.least_error_scales(rows, fmt, counts)
        total = float(error.sum())
        if best is None or total < best[0]:
            best = (total, fmt, scale)
    assert best is not None
    _, fmt, scale = best
    return OperandPlan(format=fmt, granularity=granularity, scale=scale.reshape(shape))


METHOD = AntMethod()
