"""Calibration of log posits without a search: every weight at its width, fields by least error."""

import dataclasses
from collections.abc import Mapping, Sequence

from bitwright.errors import InputError
from bitwright.methods.lpq.fields import Fields
from bitwright.methods.lpq.options import LpqOptions
from bitwright.methods.lpq.sites import Sites, shape_plans, uniform
from bitwright.methods.plan import Plan
from bitwright.methods.sharing import once
from bitwright.methods.tabled.observe import observe_values, with_siblings
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.network import Batch, Network
from bitwright.networks.trace import trace


def calibrate(network: Network, samples: Sequence[Batch], options: LpqOptions, plan: Plan) -> Plan:
    """`plan` with log posits at every site; a network with shapes only gets formats without scales.

    Raises
    ------
    InputError
        No samples, NaN or infinity in a weight or activation, or a glob that matches no site.
    """
    if network.shape_only:
        if network.distribution:
            raise InputError(f"{network.name}: lpq has no synthetic operands; leave --distribution out, or use int8")
        sites = {site.name: site.static_weight for site in trace(network).sites}
        options.check_globs(sites)
        return dataclasses.replace(plan, fingerprint=fingerprint(network), sites=shape_plans(sites, options))
    folded = fold_batch_norm(network)
    seen, notes = with_siblings(folded, once("values", (network, *samples), lambda: observe_values(folded, samples)))
    found = Sites(seen, options)
    made = planned(network, folded, plan, found, uniform(found))
    return dataclasses.replace(made, notes=(*made.notes, *notes))


def planned(
    network: Network,
    folded: Network,
    plan: Plan,
    sites: Sites,
    chosen: Mapping[str, Fields],
) -> Plan:
    """`plan` with a choice of fields for `network`, which is executed as `folded`."""
    return dataclasses.replace(
        plan,
        fingerprint=fingerprint(network),
        sites=sites.plans(chosen),
        fold_batch_norm=folded.module is not network.module,
        notes=(*plan.notes, *network.notes),
    )
