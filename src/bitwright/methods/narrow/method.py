"""The method `narrow`: a floating accumulator of few significant bits instead of one that holds every sum.

LPA's processing elements (arXiv 2403.05465; adders as drawn on the authors' poster) add linear fractions of 8 bits, and
a partial sum travels as sign, regime, exponent and fraction. Whether the published accuracies assume that is unknown;
this accumulator measures what it would cost. Ours: 8 significant bits with the leading one, rounded to nearest, ties to
even, at every addition; one running sum over the whole reduction; exponents without bounds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pydantic

from bitwright.errors import InputError
from bitwright.formats import Integer, LogPosit, Quantized
from bitwright.later import later, torch
from bitwright.methods.narrow.rule import NarrowSums
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.methods.protocol import Provides
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView
from bitwright.settings import about

if TYPE_CHECKING:
    from bitwright.methods.tabled import log_products
else:
    log_products = later("bitwright.methods.tabled.log_products")

WIDEST = 8  # bits of words whose products are looked up


class NarrowOptions(pydantic.BaseModel):
    """How many bits a sum has."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")

    narrow_bits: int = pydantic.Field(
        8,
        ge=2,
        le=32,
        description="significant bits of a sum, the leading one included",
        json_schema_extra=about("LPA's adders as drawn on the authors' poster", unit="bits"),
    )


class NarrowMethod:
    """Sums that are rounded at every addition."""

    summary = "sums of few significant bits, rounded at every addition, as LPA's adders are drawn; lpq+narrow"
    fills = frozenset({Part.ACCUMULATION})
    provides: frozenset[Provides] = frozenset()
    on = ""
    options = NarrowOptions
    recipes: Mapping[str, Mapping[str, Any]] = {}

    def calibrate(self, network: Network, samples: Sequence[Batch], options: NarrowOptions, plan: Plan) -> Plan:  # noqa: ARG002
        """The rule at every site that multiplies codes."""
        rule = NarrowSums(bits=options.narrow_bits)
        sites = {
            name: dataclasses.replace(site, accumulation=rule) if site.quantized else site
            for name, site in plan.sites.items()
        }
        return dataclasses.replace(plan, sites=sites)

    def sums(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Running sums, float64.

        Raises
        ------
        InputError
            Words of more than 8 bits, whose products are not looked up.
        """
        from bitwright.methods.narrow import kernels

        left, right, table = looked_up(x, w)
        if left.codes.device.type != "cpu":
            return running_sums(view, left, right, table, _bits(plan))
        by = {"bits": _bits(plan)}
        products, taps = (functools.partial(_call, kernel, **by) for kernel in (kernels.products, kernels.depthwise))
        return log_products.add_products(view, left, right, table, products, taps)

    def fast_sums(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The same: rounding is what such a sum is, and float32 has no shorter way to it."""
        return self.sums(view, x, w, plan)


def _call(kernel: Any, x: Any, w: Any, table: Any, out: Any, *, bits: int) -> None:
    kernel(x, w, table, out, bits)


def _bits(plan: SitePlan) -> int:
    assert isinstance(plan.accumulation, NarrowSums), f"narrow did not make the rule {plan.accumulation.name}"
    return plan.accumulation.bits


def looked_up(x: Quantized, w: Quantized) -> tuple[Quantized, Quantized, torch.Tensor]:
    """Both operands as words 0 .. 255, and the product of each pair of words, float64 [words of w, words of x]."""
    for operand in (x, w):
        if operand.format.bits > WIDEST:
            raise InputError(
                f"narrow sums look up products of words of at most {WIDEST} bits, and an operand is "
                f"{operand.format.name}; use narrower operands, or leave narrow out"
            )
    if isinstance(x.format, LogPosit) and isinstance(w.format, LogPosit):
        return x, w, log_products.pair_of(x.format, w.format).reals
    (left, of_x), (right, of_w) = _values(x), _values(w)
    return left, right, of_w.unsqueeze(1) * of_x


def _values(operand: Quantized) -> tuple[Quantized, torch.Tensor]:
    """An operand as words, and the value of each word in units of the scale, float64; NaR counts as 0."""
    if not isinstance(operand.format, Integer):
        return operand, operand.format.table().nan_to_num(0)
    low, words = operand.format.low, (operand.codes - operand.format.low).to(torch.uint8)
    values = operand.format.table().double() - operand.zero_point
    return dataclasses.replace(operand, codes=words, zero_point=operand.zero_point - low), values


def running_sums(view: GemmView, x: Quantized, w: Quantized, table: torch.Tensor, bits: int) -> torch.Tensor:
    """The slow twin, in torch on any device: one term of the reduction after the other."""
    from bitwright.methods.layouts import operands, output

    table, parts = table.to(x.codes.device), []
    for each in operands(view, x, w):
        blocks = []
        for block in each.x:
            total = torch.zeros((), dtype=table.dtype, device=table.device)
            for i in range(each.w.shape[-2]):
                if each.depthwise:
                    terms = table[each.w[i].long(), block[:, i].long()]
                else:
                    terms = table[each.w[:, i].unsqueeze(1).long(), block[:, :, i].unsqueeze(2).long()]
                total = _rounded(log_products.sum_to_odd(total, terms), bits)
            blocks.append(torch.as_tensor(total))
        parts.append(torch.cat(blocks, dim=0 if each.depthwise else 1))
    return output(view, parts)


def _rounded(numbers: torch.Tensor, bits: int) -> torch.Tensor:
    """To so many significant bits, half to even."""
    mantissa, exponent = torch.frexp(numbers)
    return torch.ldexp(torch.ldexp(mantissa, torch.tensor(bits)).round(), exponent - bits)


METHOD = NarrowMethod()
