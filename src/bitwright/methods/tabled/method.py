"""What methods of tabled formats share: encoding by a static scale, the exact product, its fast emulation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bitwright.errors import InputError
from bitwright.formats import Integer, Quantized, TableFormat
from bitwright.later import later, torch
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.protocol import Provides
from bitwright.networks.view import GemmView

if TYPE_CHECKING:
    from bitwright.methods.integer import gemm
    from bitwright.methods.tabled import products
else:
    gemm = later("bitwright.methods.integer.gemm")
    products = later("bitwright.methods.tabled.products")


class TabledOperands:
    """The part of a method that executes: subclasses say how a network is calibrated.

    Examples
    --------
    >>> from bitwright.methods.ant import METHOD
    >>> isinstance(METHOD, TabledOperands)
    True
    """

    provides: frozenset[Provides] = frozenset({Provides.FINISH})
    on = ""

    def encode_x(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Words of x by the plan's format and scale; integers (ANT's `int`) as the integer method's."""
        assert plan.x is not None
        return gemm.encode_x(view, plan) if isinstance(plan.x.format, Integer) else encode(view.x, plan.x)

    def encode_w(self, view: GemmView, plan: SitePlan) -> Quantized:
        """Words of w, likewise."""
        assert plan.w is not None
        return gemm.encode_w(view, plan) if isinstance(plan.w.format, Integer) else encode(view.w, plan.w)

    def gemm(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Exact: sums of products as the machine forms them, then scale and bias in float32."""
        return self.finish(view, products.exact_sums(view, x, w), x, w, plan)

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Float32 sums of the same products."""
        return self.finish(view, products.fast_sums(view, x, w), x, w, plan)

    def finish(self, view: GemmView, sums: torch.Tensor, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """The output from sums: one rounding to float32, one product with the scales, the bias."""
        return gemm.finish(view, sums, x, w)

    def step(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """What the least significant bit of a product is worth: see `sum_unit`."""
        return gemm.output_step(view, x, w) * products.sum_unit(x.format, w.format)


def encode(tensor: torch.Tensor, operand: OperandPlan) -> Quantized:
    """Words of `tensor` in a tabled format, by the plan's scale."""
    assert isinstance(operand.format, TableFormat)
    scale = _scale(operand).to(tensor.device)
    return Quantized(
        codes=operand.format.encode(tensor.float(), scale),
        format=operand.format,
        scale=scale,
        granularity=operand.granularity,
    )


def rounded(tensor: torch.Tensor, operand: OperandPlan) -> torch.Tensor:
    """The reals that `tensor` becomes: encoded and decoded, float32."""
    assert isinstance(operand.format, TableFormat)
    return operand.format.lookup().rounded(tensor, _scale(operand).to(tensor.device))


def _scale(operand: OperandPlan) -> torch.Tensor:
    if operand.scale is None:
        raise InputError(
            f"the plan gives an operand {operand.format.name} and no scale, and words of a table have static ones; "
            "calibrate it anew"
        )
    return operand.scale
