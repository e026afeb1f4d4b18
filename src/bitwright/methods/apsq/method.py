"""The method `apsq` as the registry knows it: it decides how partial sums are stored, whatever the operands are."""

from collections.abc import Sequence

import torch

from bitwright.formats import Quantized
from bitwright.methods.apsq.options import RECIPES, ApsqOptions
from bitwright.methods.apsq.rule import PartialSums
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.networks.calls import Call
from bitwright.networks.network import Batch, Network


class ApsqMethod:
    """Partial sums stored narrow: quantized inside the accumulation (APSQ), alone (PSQ), or scaled per block."""

    summary = "partial sums of 4-16 bits, quantized inside the accumulation (APSQ), alone (PSQ) or per block; a+apsq"
    fills = frozenset({Part.ACCUMULATION})
    options = ApsqOptions
    recipes = RECIPES

    def calibrate(self, network: Network, samples: Sequence[Batch], options: ApsqOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.apsq.calibrate`."""
        from bitwright.methods.apsq.calibrate import calibrate

        return calibrate(network, samples, options, plan)

    def sums(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Exact: integers as the registers hold them."""
        from bitwright.methods.apsq.sums import sums

        return sums(call, x, w, PartialSums.of(plan.accumulation))

    def fast_sums(self, call: Call, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Tile by tile in float32."""
        from bitwright.methods.apsq.sums import fast_sums

        return fast_sums(call, x, w, PartialSums.of(plan.accumulation))


METHOD = ApsqMethod()
