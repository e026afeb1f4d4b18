"""The integer method as the registry knows it."""

from collections.abc import Sequence

import torch

from bitwright.formats import Quantized
from bitwright.methods.integer import gemm
from bitwright.methods.integer.options import RECIPES, IntegerOptions
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.networks.calls import Call
from bitwright.networks.network import Batch, Network


class IntegerProducts:
    """What methods of integer operands share: how codes are made and multiplied."""

    fills = frozenset({Part.OPERANDS})

    def encode_x(self, call: Call, plan: SitePlan) -> Quantized:
        """See `bitwright.methods.integer.gemm`."""
        return gemm.encode_x(call, plan)

    def encode_w(self, call: Call, plan: SitePlan) -> Quantized:
        """See `bitwright.methods.integer.gemm`."""
        return gemm.encode_w(call, plan)

    def gemm(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Exact: integer sums, then scale and bias in float32."""
        return gemm.exact_gemm(call, x, w)

    def fast(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Float32 sums of the same codes."""
        return gemm.fast_gemm(call, x, w)

    def finish(
        self,
        call: Call,
        sums: torch.Tensor,
        x: Quantized,
        w: Quantized,
        plan: SitePlan,  # noqa: ARG002
    ) -> torch.Tensor:
        """The output from exact sums."""
        return gemm.finish(call, sums, x, w)

    def step(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """What 1 in the accumulator is worth."""
        return gemm.output_step(call, x, w)


class IntegerMethod(IntegerProducts):
    """Integers with scales: static per tensor, per token at run time, per channel or group for weights."""

    summary = "integers of 2-16 bits, static or scaled per token, weights per channel or group, activation smoothing"
    options = IntegerOptions
    recipes = RECIPES

    def calibrate(self, network: Network, samples: Sequence[Batch], options: IntegerOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.integer.calibrate`."""
        from bitwright.methods.integer.calibrate import calibrate

        return calibrate(network, samples, options, plan)


METHOD = IntegerMethod()
