"""The method `mx`: weights and activations in the block formats that ship, activations encoded as the network runs.

Formats, their scales and rounding: `bitwright.formats.blocks` (OCP microscaling formats v1.0; NVIDIA's NVFP4). `fp8` is
E4M3 with one float32 scale for a tensor, max / 448, as NVIDIA's recipe for inference has it. Weights have the scales
that the rule of the format gives their blocks, and keep them when they are rounded otherwise than to the nearest
(`bitwright.methods.refine`). Ours: scales of whole tensors, of NVFP4 and `fp8`, are found in calibration for
activations, so that no result depends on what else is in a batch; which products are quantized; outputs are float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitwright.formats import BLOCK_FORMATS, E4M3, ElementFormat, PerGroup, PerTensor, Quantized
from bitwright.later import later, torch
from bitwright.methods.mx.options import RECIPES, FormatName, MxOptions
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, Part, Plan, SitePlan
from bitwright.methods.protocol import Provides
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView

if TYPE_CHECKING:
    from bitwright.methods.mx import encode, products
    from bitwright.methods.tabled import choose as choosing
    from bitwright.methods.tabled.choose import Operand
else:
    encode = later("bitwright.methods.mx.encode")
    products = later("bitwright.methods.mx.products")
    choosing = later("bitwright.methods.tabled.choose")


class MxMethod:
    """Blocks of narrow numbers with narrow scales."""

    summary = "MXFP8, MXFP6, MXFP4, MXINT8 (OCP) and NVFP4 in blocks, FP8 per tensor, for weights and activations"
    fills = frozenset({Part.OPERANDS})
    provides: frozenset[Provides] = frozenset({Provides.FINISH})
    on = ""
    options = MxOptions
    recipes = RECIPES

    def calibrate(self, network: Network, samples: Sequence[Batch], options: MxOptions, plan: Plan) -> Plan:
        """Scales of weights, and of whole tensors where a format has such."""

        def chosen(name: str, x: Operand, w: Operand) -> SitePlan:
            at = options.at(name)
            if not (w.static or at.attention):
                return FLOAT_SITE
            return SitePlan(x=_operand(x, at.x_format), w=_operand(w, at.w_format if w.static else at.x_format))

        plan = choosing.choose(network, samples, plan, chosen, method="mx")
        options.check_globs(plan.sites)
        return plan

    def encode_x(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Words of x."""
        assert plan.x is not None
        return encode.encode(view, view.x, plan.x)

    def encode_w(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Words of w."""
        assert plan.w is not None
        return encode.encode(view, view.w, plan.w)

    def gemm(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Exact: sums of products, rounded once, then scales of tensors and bias in float32."""
        return self.finish(view, products.exact_sums(view, x, w), x, w, plan)

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Float32 sums of the same products."""
        return self.finish(view, products.fast_sums(view, x, w), x, w, plan)

    def finish(self, view: GemmView, sums: torch.Tensor, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """y from sums of products of elements and their blocks' scales: what is left is one factor and the bias."""
        factor = _of_tensor(x) * _of_tensor(w) * view.alpha
        return view.add_bias(sums.to(torch.float32).mul_(factor.to(sums.device)))

    def step(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """What the last bit of a float32 sum as large as one product of two blocks' largest elements is worth."""
        return _largest(x) * _largest(w) * abs(view.alpha) * 2.0**-23


def _in_blocks(operand: Quantized) -> bool:
    return isinstance(operand.granularity, PerGroup)


def _largest(operand: Quantized) -> torch.Tensor:
    """The largest real that a block may hold, float32."""
    assert isinstance(operand.format, ElementFormat)
    return operand.scale.amax() * operand.format.largest * (_of_tensor(operand) if _in_blocks(operand) else 1)


def _of_tensor(operand: Quantized) -> torch.Tensor:
    """The scale of the whole operand, float32."""
    if not _in_blocks(operand):
        return operand.scale
    return torch.ones(()) if operand.tensor_scale is None else operand.tensor_scale


def _operand(operand: Operand, name: FormatName) -> OperandPlan:
    """The plan of a weight, of activations, or of shapes alone."""
    if name == "fp8":
        scale = torch.tensor(operand.peak / E4M3.largest or 1.0) if operand.seen else None
        return OperandPlan(format=E4M3, granularity=PerTensor(), scale=scale)
    fmt = BLOCK_FORMATS[name]
    tensor_scale = fmt.tensor_scale(torch.tensor(operand.peak)) if operand.seen else None
    return OperandPlan(
        format=fmt.element,
        granularity=PerGroup(fmt.size),
        scale=None if operand.weight is None else encode.weight_scales(operand.weight, operand.lead, fmt, tensor_scale),
        scale_format=fmt.scale_format,
        tensor_scale=tensor_scale,
    )


METHOD = MxMethod()
