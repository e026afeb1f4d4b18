"""What methods of tabled formats share: encoding by a static scale, the exact product, its fast emulation."""

import torch

from bitwright.formats import Integer, Quantized, TableFormat
from bitwright.methods.integer import gemm
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.tabled.products import exact_sums, fast_sums, sum_unit
from bitwright.networks.calls import Call


class TabledOperands:
    """The part of a method that executes: subclasses say how a network is calibrated."""

    def encode_x(self, call: Call, plan: SitePlan) -> Quantized:
        """Words of x by the plan's format and scale; integers (ANT's `int`) as the integer method's."""
        assert plan.x is not None
        return gemm.encode_x(call, plan) if isinstance(plan.x.format, Integer) else encode(call.x, plan.x)

    def encode_w(self, call: Call, plan: SitePlan) -> Quantized:
        """Words of w, likewise."""
        assert plan.w is not None
        return gemm.encode_w(call, plan) if isinstance(plan.w.format, Integer) else encode(call.w, plan.w)

    def gemm(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Exact: sums of products as the machine forms them, then scale and bias in float32."""
        return self.finish(call, exact_sums(call, x, w), x, w, plan)

    def fast(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Float32 sums of the same products."""
        return self.finish(call, fast_sums(call, x, w), x, w, plan)

    def finish(self, call: Call, sums: torch.Tensor, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """The output from sums: one rounding to float32, one product with the scales, the bias."""
        return gemm.finish(call, sums, x, w)

    def step(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """What the least significant bit of a product is worth: see `sum_unit`."""
        return gemm.output_step(call, x, w) * sum_unit(x.format, w.format)


def encode(tensor: torch.Tensor, operand: OperandPlan) -> Quantized:
    """Words of `tensor` in a tabled format, by the plan's scale."""
    assert isinstance(operand.format, TableFormat)
    assert operand.scale is not None, "tabled formats have static scales"
    scale = operand.scale.to(tensor.device)
    return Quantized(
        codes=operand.format.encode(tensor.float(), scale),
        format=operand.format,
        scale=scale,
        granularity=operand.granularity,
    )


def rounded(tensor: torch.Tensor, operand: OperandPlan) -> torch.Tensor:
    """The reals that `tensor` becomes: encoded and decoded, float32."""
    assert isinstance(operand.format, TableFormat)
    assert operand.scale is not None, "tabled formats have static scales"
    return operand.format.lookup().rounded(tensor, operand.scale.to(tensor.device))
