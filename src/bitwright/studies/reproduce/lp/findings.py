"""LPA's claims with what was measured: every reason is made of the numbers behind the figure."""

from collections.abc import Sequence

from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.lp import claims as published
from bitwright.studies.reproduce.lp.arrays import SMALL, Arrays
from bitwright.studies.reproduce.lp.bars import bar_claims, mean_claims
from bitwright.studies.reproduce.lp.claims import RESNET50
from bitwright.studies.reproduce.lp.conditions import conditions
from bitwright.studies.reproduce.lp.densities import area_claims, throughput_claims, type_claims
from bitwright.studies.reproduce.lp.errors import error_claims
from bitwright.studies.reproduce.lp.measured import Measured
from bitwright.studies.reproduce.lp.mixes import MixOptions


def findings(networks: Sequence[Measured], arrays: Arrays, options: MixOptions) -> list[Claim]:
    """The system's claims, but for those about networks that were not asked for.

    Parameters
    ----------
    networks
        What was measured.
    arrays
        On what.
    options
        Of the mix that claims are about.
    """
    by_name = {network.network: network for network in networks}
    found = area_claims(arrays)
    if RESNET50 in by_name:
        found += _of_throughput(by_name[RESNET50], arrays, options)
    found += type_claims(arrays)
    asked = [by_name[name] for name in published.LATENCY if name in by_name]
    for network in asked:
        found += bar_claims(network, arrays, options)
    if len(asked) == len(published.LATENCY):
        found += mean_claims(asked, arrays, options)
    errors = [(network.network, error) for network in networks for error in network.errors]
    return found + (error_claims(errors) if errors else [])


def _of_throughput(network: Measured, arrays: Arrays, options: MixOptions) -> list[Claim]:
    if not network.reason:
        return throughput_claims(network, arrays, options)
    told = conditions([network], arrays, options, SMALL)
    return [claim.found(None, told, network.reason) for claim in published.OF_THROUGHPUT]
