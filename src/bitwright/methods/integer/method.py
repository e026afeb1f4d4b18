"""The integer method as the registry knows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitwright.formats import Quantized
from bitwright.later import later, torch
from bitwright.methods.integer.options import RECIPES, IntegerOptions
from bitwright.methods.integer.rules import plan_of_shapes
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.methods.protocol import Provides
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView

if TYPE_CHECKING:
    from bitwright.methods.integer import gemm
else:
    gemm = later("bitwright.methods.integer.gemm")


class IntegerProducts:
    """What methods of integer operands share: how codes are made and multiplied."""

    fills = frozenset({Part.OPERANDS})
    provides: frozenset[Provides] = frozenset({Provides.FINISH, Provides.DRAFT, Provides.PENDING})
    on = ""

    def draft(self, options: IntegerOptions) -> tuple[IntegerMethod, IntegerOptions]:
        """Integers alike, without a search for smoothing."""
        own = {name: value for name, value in options.model_dump().items() if name in IntegerOptions.model_fields}
        smoothing = "none" if options.smoothing == "search" else options.smoothing
        return METHOD, IntegerOptions(**{**own, "smoothing": smoothing})

    def encode_x(self, view: GemmView, plan: SitePlan) -> Quantized:
        """See `bitwright.methods.integer.gemm`."""
        return gemm.encode_x(view, plan)

    def encode_w(self, view: GemmView, plan: SitePlan) -> Quantized:
        """See `bitwright.methods.integer.gemm`."""
        return gemm.encode_w(view, plan)

    def gemm(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Exact: integer sums, then scale and bias in float32."""
        return gemm.exact_gemm(view, x, w)

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Float32 sums of the same codes."""
        return gemm.fast_gemm(view, x, w)

    def finish(
        self,
        view: GemmView,
        sums: torch.Tensor,
        x: Quantized,
        w: Quantized,
        plan: SitePlan,  # noqa: ARG002
    ) -> torch.Tensor:
        """The output from exact sums."""
        return gemm.finish(view, sums, x, w)

    def step(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """What 1 in the accumulator is worth."""
        return gemm.output_step(view, x, w)


class IntegerMethod(IntegerProducts):
    """Integers with scales: static per tensor, per token at run time, per channel or group for weights."""

    summary = "integers of 2-16 bits, static or scaled per token, weights per channel or group, activation smoothing"
    options = IntegerOptions
    recipes = RECIPES

    def calibrate(self, network: Network, samples: Sequence[Batch], options: IntegerOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.integer.calibrate`."""
        if network.shape_only and not network.distribution:
            return plan_of_shapes(network, options, plan)
        from bitwright.methods.integer.calibrate import calibrate

        return calibrate(network, samples, options, plan)


METHOD = IntegerMethod()
