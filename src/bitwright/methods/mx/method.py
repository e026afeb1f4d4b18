"""The method `mx`: operands in blocks along the reduction, as tensor cores that ship multiply them.

Formats: MX of the OCP, NVFP4, and FP8 with one scale per tensor (`bitwright.formats.blocks`). Activations get their
blocks' scales at run time by the formats' rules; weights beforehand by the same rules, and values by rounding to the
nearest or by second-order error. NVFP4's scale of the whole tensor, and FP8's only one, are static: of the largest
magnitude on the calibration samples.

A product of two elements has at most 16 significant bits, and scales of blocks are short too: each term x w is exact in
float32. Terms are added one after the other along the reduction, in float32, with one rounding at each addition, as a
fused multiply-add gives it; then come the scales of tensors and the bias. (The orders and widths in which tensor cores
add are not public; `aligned` has one of them.)

Ours: blocks of convolutions run over the channels of each tap, as they lie in memory channels last. A convolution whose
groups have fewer channels than half a block (depthwise ones, the first of most networks) stays in float32: its blocks
would be mostly padding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pydantic

from bitwright.formats import BLOCK_FORMATS, E4M3, E5M2, BlockFormat, Minifloat, PerTensor, Quantized
from bitwright.later import later, torch
from bitwright.methods.operand_options import OperandOptions
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, Part, Plan, SitePlan
from bitwright.methods.protocol import Provides
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView
from bitwright.settings import OURS, about

if TYPE_CHECKING:
    from bitwright.methods.mx import products
    from bitwright.methods.tabled import choose as choosing
    from bitwright.methods.tabled.choose import Operand
else:
    products = later("bitwright.methods.mx.products")
    choosing = later("bitwright.methods.tabled.choose")

Name = Literal[
    "mxfp8-e4m3", "mxfp8-e5m2", "mxfp6-e2m3", "mxfp6-e3m2", "mxfp4", "mxint8", "nvfp4", "fp8-e4m3", "fp8-e5m2"
]
WHOLE: dict[str, Minifloat] = {"fp8-e4m3": E4M3, "fp8-e5m2": E5M2}
"""Formats whose tensors have one scale and no blocks."""
MX, OFP8 = "OCP MX v1.0", "OCP OFP8 v1.0; one scale per tensor is the common use"


class MxOptions(OperandOptions):
    """How a network is quantized in blocks."""

    w_format: Name = pydantic.Field("mxfp8-e4m3", description="format of weights", json_schema_extra=about(MX))
    x_format: Name = pydantic.Field(
        "mxfp8-e4m3", description="format of activations, encoded at run time", json_schema_extra=about(MX)
    )
    attention: bool = pydantic.Field(
        True, description="quantize the products of attention too", json_schema_extra=about(OURS)
    )


class MxMethod:
    """Blocks of narrow numbers that share a scale."""

    summary = "blocks that share a scale along the reduction: MXFP8, MXFP6, MXFP4, MXINT8, NVFP4; and FP8 per tensor"
    fills = frozenset({Part.OPERANDS})
    provides: frozenset[Provides] = frozenset()
    on = ""
    options = MxOptions
    recipes: Mapping[str, Mapping[str, Any]] = {
        name: {"w_format": fmt, "x_format": fmt}
        for name, fmt in {
            "mxfp8": "mxfp8-e4m3",
            "mxfp6": "mxfp6-e2m3",
            "mxfp4": "mxfp4",
            "mxint8": "mxint8",
            "nvfp4": "nvfp4",
            "fp8": "fp8-e4m3",
        }.items()
    }

    def calibrate(self, network: Network, samples: Sequence[Batch], options: MxOptions, plan: Plan) -> Plan:
        """Formats of every site, scales of weights' blocks, and static scales of tensors."""

        def chosen(name: str, x: Operand, w: Operand) -> SitePlan:
            at = options.at(name)
            if not (w.static or at.attention) or _is_thin(w, at.w_format):
                return FLOAT_SITE
            return SitePlan(x=_operand(x, at.x_format), w=_operand(w, at.w_format if w.static else at.x_format))

        plan = choosing.choose(network, samples, plan, chosen, method="mx")
        options.check_globs(plan.sites)
        return plan

    def encode_x(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Words of x, with the scales of its blocks taken from it."""
        assert plan.x is not None
        return encode(view.x, plan.x)

    def encode_w(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Words of w by the plan's scales; one that is computed at run time as x."""
        assert plan.w is not None
        return encode(view.w, plan.w)

    def gemm(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Exact: terms added in float32 in the order of the reduction."""
        return _finished(view, products.running_sums(view, *_short(x, w)), x, w)

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Float32 products by torch, which adds in an order of its own."""
        return _finished(view, view.product(*_short(x, w)), x, w)

    def step(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The last bit of the largest output without its bias: additions in another order differ by some of these."""
        bare = self.fast(view, x, w, plan) if view.bias is None else view.product(x.dequantize(), w.dequantize())
        return (bare.abs().amax() * 2.0**-23).clamp_min(torch.finfo(torch.float32).tiny)


def encode(tensor: torch.Tensor, operand: OperandPlan) -> Quantized:
    """Words of `tensor` [..., K] by the plan: with static scales, or those that its blocks have."""
    scale, tensor_scale = (
        None if each is None else each.to(tensor.device) for each in (operand.scale, operand.tensor_scale)
    )
    if operand.scale_format is None:
        assert isinstance(operand.format, Minifloat)
        assert scale is not None
        words = operand.format.encode(tensor.float(), scale)
    else:
        block = block_format(operand)
        if scale is None:
            words, scale = block.encode(tensor, tensor_scale)
        else:
            words = block.encode_by(tensor, scale, tensor_scale)
    return Quantized(
        codes=words,
        format=operand.format,
        scale=scale,
        granularity=operand.granularity,
        tensor_scale=tensor_scale,
    )


def block_format(operand: OperandPlan) -> BlockFormat:
    """The format of an operand in blocks."""
    return next(
        fmt
        for fmt in BLOCK_FORMATS.values()
        if (fmt.encoding.format, fmt.encoding.granularity, fmt.scale_format)
        == (operand.format, operand.granularity, operand.scale_format)
    )


def _operand(seen: Operand, name: str) -> OperandPlan:
    peak = torch.tensor(seen.peak)
    if name in WHOLE:
        fmt = WHOLE[name]
        scale = torch.where(peak > 0, peak / fmt.largest, torch.ones(()))
        return OperandPlan(format=fmt, granularity=PerTensor(), scale=scale if seen.seen else None)
    block = BLOCK_FORMATS[name]
    tensor_scale = block.tensor_scale(peak) if seen.seen else None
    return OperandPlan(
        format=block.element,
        granularity=block.encoding.granularity,
        scale=None if seen.weight is None else block.scales(seen.weight, tensor_scale),
        scale_format=block.scale_format,
        tensor_scale=tensor_scale,
    )


def _is_thin(w: Operand, name: str) -> bool:
    """Whether a convolution has fewer channels in a group than half a block."""
    if w.weight is None or name in WHOLE:
        return False
    is_convolution = w.weight.dim() > w.lead + 2
    return is_convolution and 2 * w.weight.shape[-1] < BLOCK_FORMATS[name].size


def _short(x: Quantized, w: Quantized) -> tuple[torch.Tensor, torch.Tensor]:
    """What both operands' words stand for without the scales of whole tensors, float32: few significant bits."""
    return _without_tensor_scale(x), _without_tensor_scale(w)


def _without_tensor_scale(operand: Quantized) -> torch.Tensor:
    values = operand.format.decode(operand.codes)
    return values if isinstance(operand.granularity, PerTensor) else values * operand._spread(operand.scale)


def _finished(view: GemmView, sums: torch.Tensor, x: Quantized, w: Quantized) -> torch.Tensor:
    """y from sums: times the scales of whole tensors, plus the bias."""
    for operand in (x, w):
        factor = operand.scale if isinstance(operand.granularity, PerTensor) else operand.tensor_scale
        if factor is not None:
            sums = sums * factor
    return view.add_bias(sums if view.alpha == 1 else sums * view.alpha)


METHOD = MxMethod()
