"""The method `file`: a quantized file's own scales, zero points and widths; of ONNX here, of GGUF in `blocks`.

Nothing is calibrated. Products are exact sums of the file's codes; where nothing but a QuantizeLinear reads a product,
its sums are rounded at once as integer kernels do it: code = saturate(round half to even((sums + bias) * m)) + zero
point, with m = scale x * scale w / scale y in float32, and the bias in integers (ONNX leaves the rounding of its
QLinearConv open; this is onnxruntime's, MLAS `MlasRequantizeOutput`). What is no product runs in float and is rounded
as written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pydantic

from bitwright.formats import (
    Quantized,
)
from bitwright.later import torch
from bitwright.methods.integer.method import IntegerProducts
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.methods.products import integer_product
from bitwright.methods.protocol import Provides
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView


class FileOptions(pydantic.BaseModel):
    """There are none: the file decides."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class FileMethod(IntegerProducts):
    """A file's own quantization."""

    summary = "a quantized file's own scales, zero points and widths (ONNX, GGUF), executed as they are"
    provides: frozenset[Provides] = frozenset({Provides.FINISH, Provides.FIXED})
    options: Any = FileOptions
    recipes: Mapping[str, Mapping[str, Any]] = {}

    def calibrate(self, network: Network, samples: Sequence[Batch], options: FileOptions, plan: Plan) -> Plan:
        """The file's plan; samples are not looked at."""
        from bitwright.exchange.blocks import plan_of_blocks
        from bitwright.exchange.quantized_plan import plan_of
        from bitwright.networks.gguf_file import BLOCKS, GgufFile

        del samples, options
        blocks = network.tools.get(BLOCKS)
        return plan_of_blocks(network, blocks, plan) if isinstance(blocks, GgufFile) else plan_of(network, plan)

    def gemm(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Exact integer sums, rounded to the output's codes where the plan has some."""
        if plan.y is None:
            return super().gemm(view, x, w, plan)
        return _requantized(view, integer_product(view, x, w), x, w, plan.y)

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """The same from float32 sums."""
        if plan.y is None:
            return super().fast(view, x, w, plan)
        return _requantized(view, view.product(x.centred(), w.centred()), x, w, plan.y)

    def step(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """One code of the output where it has codes, else what 1 in the accumulator is worth."""
        if plan.y is None or plan.y.scale is None:
            return super().step(view, x, w, plan)
        return plan.y.scale.to(view.x.device)


def _requantized(view: GemmView, sums: torch.Tensor, x: Quantized, w: Quantized, y: OperandPlan) -> torch.Tensor:
    """The reals of the output's codes, from sums of products."""
    assert y.scale is not None
    step, of_y, fmt = x.scale * view.columns(w.scale), y.scale.to(sums.device), y.integer
    if view.bias is not None:
        bias = (view.bias.double() / step.double()).round()
        sums = sums.to(torch.float64) + bias
    scaled = sums.to(torch.float32) * (step / of_y)
    codes = scaled.clamp(fmt.low - y.zero_point, fmt.high - y.zero_point).round()
    return codes * of_y


METHOD = FileMethod()
