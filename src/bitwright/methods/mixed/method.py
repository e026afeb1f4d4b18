"""The method `mixed` as the registry knows it: integers whose width is chosen by site, offline."""

from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.methods.integer.method import IntegerProducts
from bitwright.methods.mixed.options import MixedOptions
from bitwright.methods.plan import Plan
from bitwright.networks.network import Batch, Network


class MixedMethod(IntegerProducts):
    """Integers of 8 bits, and of 4 at the sites that bear it."""

    summary = "integers of 4 or 8 bits by site, fixed offline to a budget: the static rival of run-time precision"
    options = MixedOptions
    recipes: Mapping[str, Mapping[str, Any]] = {}

    def calibrate(self, network: Network, samples: Sequence[Batch], options: MixedOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.mixed.calibrate`."""
        from bitwright.methods.mixed.calibrate import calibrate

        return calibrate(network, samples, options, plan)


METHOD = MixedMethod()
