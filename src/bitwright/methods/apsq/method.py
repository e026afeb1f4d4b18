"""The method `apsq` as the registry knows it: it decides how partial sums are stored, whatever the operands are."""

from __future__ import annotations

from collections.abc import Sequence

from bitwright.formats import Quantized
from bitwright.later import torch
from bitwright.methods.apsq.options import RECIPES, ApsqOptions
from bitwright.methods.apsq.rule import PartialSums
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.methods.protocol import Provides
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView

DRAFT_ROWS = 64
"""Rows per product and batch that give a trial's scales; our choice."""


class ApsqMethod:
    """Partial sums stored narrow: quantized inside the accumulation (APSQ), alone (PSQ), or scaled per block."""

    summary = "partial sums of 4-16 bits, quantized inside the accumulation (APSQ), alone (PSQ) or per block; a+apsq"
    fills = frozenset({Part.ACCUMULATION})
    provides: frozenset[Provides] = frozenset({Provides.DRAFT})
    on = ""
    options = ApsqOptions
    recipes = RECIPES

    def calibrate(self, network: Network, samples: Sequence[Batch], options: ApsqOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.apsq.calibrate`."""
        from bitwright.methods.apsq.calibrate import calibrate

        return calibrate(network, samples, options, plan)

    def draft(self, options: ApsqOptions) -> tuple[ApsqMethod, ApsqOptions]:
        """For trials: scales from fewer rows, which is what calibration spends its time on."""
        return self, options.model_copy(update={"psum_rows": min(DRAFT_ROWS, options.psum_rows)})

    def sums(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Exact: integers as the registers hold them."""
        from bitwright.methods.apsq.sums import sums

        return sums(view, x, w, _rule(plan))

    def fast_sums(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Tile by tile in float32."""
        from bitwright.methods.apsq.sums import fast_sums

        return fast_sums(view, x, w, _rule(plan))


def _rule(plan: SitePlan) -> PartialSums:
    assert isinstance(plan.accumulation, PartialSums), f"apsq did not make the rule {plan.accumulation.name}"
    return plan.accumulation


METHOD = ApsqMethod()
