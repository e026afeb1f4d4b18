"""The method `lpq` as the registry knows it."""

from collections.abc import Sequence

from bitwright.methods.lpq.options import RECIPES, LpqOptions
from bitwright.methods.plan import Part, Plan
from bitwright.methods.tabled import TabledOperands
from bitwright.networks.network import Batch, Network


class LpqMethod(TabledOperands):
    """Log posits with fields per layer, multiplied as LPA does."""

    summary = "log posits of 2-8 bits with es, rs, sf per layer, multiplied as LPA does; bitwright search finds widths"
    fills = frozenset({Part.OPERANDS})
    options = LpqOptions
    recipes = RECIPES

    def calibrate(self, network: Network, samples: Sequence[Batch], options: LpqOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.lpq.calibrate`."""
        from bitwright.methods.lpq.calibrate import calibrate

        return calibrate(network, samples, options, plan)


METHOD = LpqMethod()
