"""The method `aqs` as the registry knows it.

Skipping and compensating slices changes no bit of a product (`bitwright.methods.aqs.reference` does it slice by slice,
and tests hold both equal), so networks run the integers' exact product of the stored codes.
"""

from collections.abc import Sequence

from bitwright.methods.aqs.options import RECIPES, AqsOptions
from bitwright.methods.integer.method import IntegerProducts
from bitwright.methods.plan import Plan
from bitwright.networks.network import Batch, Network


class AqsMethod(IntegerProducts):
    """Asymmetric 8-bit activations in two slices, symmetric weights in signed slices, ZPM and DBS."""

    summary = "Panacea's AQS-GEMM: asymmetric 8-bit activations and 7- or 4-bit weights in slices, ZPM, DBS"
    options = AqsOptions
    recipes = RECIPES

    def calibrate(self, network: Network, samples: Sequence[Batch], options: AqsOptions, plan: Plan) -> Plan:
        """See `bitwright.methods.aqs.calibrate`."""
        from bitwright.methods.aqs.calibrate import calibrate

        return calibrate(network, samples, options, plan)


METHOD = AqsMethod()
