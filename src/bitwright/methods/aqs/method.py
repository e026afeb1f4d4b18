"""The method `aqs` as the registry knows it.

Skipping and compensating slices changes no bit of a product (`bitwright.methods.aqs.reference` does it slice by slice,
and tests hold both equal), so networks run the integers' exact product of the stored codes.
"""

from collections.abc import Sequence

import torch

from bitwright.formats import Quantized
from bitwright.methods.aqs.options import RECIPES, AqsOptions
from bitwright.methods.integer import gemm
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.networks.calls import Call
from bitwright.networks.network import Batch, Network


class AqsMethod:
    """Asymmetric 8-bit activations in two slices, symmetric weights in signed slices, ZPM and DBS."""

    summary = "Panacea's AQS-GEMM: asymmetric 8-bit activations and 7- or 4-bit weights in slices, ZPM, DBS"
    fills = frozenset({Part.OPERANDS})
    options = AqsOptions
    recipes = RECIPES

    def calibrate(self, network: Network, samples: Sequence[Batch], options: AqsOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.aqs.calibrate`."""
        from bitwright.methods.aqs.calibrate import calibrate

        return calibrate(network, samples, options, plan)

    def encode_x(self, call: Call, plan: SitePlan) -> Quantized:
        """Codes of x, without the low-order bits that the site's split drops."""
        return gemm.encode_x(call, plan)

    def encode_w(self, call: Call, plan: SitePlan) -> Quantized:
        """Codes of w, as the integers'."""
        return gemm.encode_w(call, plan)

    def gemm(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:  # noqa: ARG002
        """Exact: integer sums of the stored codes, then scale and bias in float32."""
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


METHOD = AqsMethod()
