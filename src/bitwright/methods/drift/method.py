"""The method `drift` as the registry knows it: it decides at run time which sub-tensors become narrow.

Execution multiplies the narrow codes where they lie on the wide grid, u * 2**shift: one integer product whose sums are
those of the machine's four products of classes, scattered back and shifted (`bitwright.methods.drift.reference` forms
these, and tests hold both equal).
"""

import dataclasses
from collections.abc import Sequence

from bitwright.formats import Quantized
from bitwright.methods.drift.conversion import narrow_rows
from bitwright.methods.drift.options import RECIPES, DriftOptions
from bitwright.methods.drift.rule import Drift
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.methods.products import column_sums
from bitwright.methods.protocol import Provides
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView


class DriftMethod:
    """8 bits that drop to 4 where a sub-tensor's distribution allows it."""

    summary = "8-bit sub-tensors that drop to 4 bits at run time by their distribution (Drift, reconstructed); a+drift"
    fills = frozenset({Part.PRECISION})
    provides: frozenset[Provides] = frozenset()
    options = DriftOptions
    recipes = RECIPES
    on = "int8"

    def calibrate(self, network: Network, samples: Sequence[Batch], options: DriftOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.drift.calibrate`."""
        from bitwright.methods.drift.calibrate import calibrate

        return calibrate(network, samples, options, plan)

    def narrow_x(self, view: GemmView, x: Quantized, plan: SitePlan) -> Quantized:
        """x with narrow rows or regions of pixels, by blocks."""
        how = _rule(plan).narrowing("x")
        return narrow_rows(x, how, images=view.spatial if not view.lead else 0)

    def narrow_w(self, view: GemmView, w: Quantized, plan: SitePlan) -> Quantized:
        """w with narrow columns, by blocks; those of parameters are decided offline."""
        how = _rule(plan).narrowing("w")
        narrow = narrow_rows(w, how)
        if w.sums is None:
            return narrow
        return dataclasses.replace(narrow, sums=column_sums(view, dataclasses.replace(narrow, sums=None)))


def _rule(plan: SitePlan) -> Drift:
    assert isinstance(plan.precision, Drift), f"drift did not make the rule {plan.precision.name}"
    return plan.precision


METHOD = DriftMethod()
