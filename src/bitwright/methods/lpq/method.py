"""The method `lpq` as the registry knows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitwright.formats import Quantized
from bitwright.later import later, torch
from bitwright.methods.lpq.options import RECIPES, LpqOptions
from bitwright.methods.plan import Part, Plan, SitePlan
from bitwright.methods.protocol import Provides
from bitwright.methods.tabled import TabledOperands
from bitwright.networks.network import Batch, Network
from bitwright.networks.view import GemmView

if TYPE_CHECKING:
    from bitwright.methods.tabled import products
else:
    products = later("bitwright.methods.tabled.products")


class LpqMethod(TabledOperands):
    """Log posits with fields per layer, multiplied as LPA does."""

    summary = "log posits of 2-8 bits with es, rs, sf per layer, multiplied as LPA does; bitwright search finds widths"
    fills = frozenset({Part.OPERANDS})
    provides = TabledOperands.provides | {Provides.ROUGH}
    options = LpqOptions
    recipes = RECIPES

    def calibrate(self, network: Network, samples: Sequence[Batch], options: LpqOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.lpq.calibrate`."""
        from bitwright.methods.lpq.calibrate import calibrate

        return calibrate(network, samples, options, plan)

    def rough(self) -> LpqMethod:
        """Log posits multiplied in float32, without the converter's error."""
        return _ProductsOfValues()


class _ProductsOfValues(LpqMethod):
    """See `LpqMethod.rough`."""

    def fast(self, view: GemmView, x: Quantized, w: Quantized, plan: SitePlan) -> torch.Tensor:
        """Float32 products of what words stand for."""
        return self.finish(view, products.product_of_values(view, x, w), x, w, plan)


METHOD = LpqMethod()
