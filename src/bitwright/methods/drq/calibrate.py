"""Calibration of `drq`: the largest threshold whose narrow regions stay within the budget, by bisection.

The samples are those of calibration, without labels, never the test's. Ours: the grid of half powers of two. DRQ itself
also shrinks its regions and trains the network meanwhile, which is left out here.
"""

import dataclasses
from collections.abc import Sequence

from bitwright.errors import InputError
from bitwright.methods.budget import Judge
from bitwright.methods.drq.method import NAME
from bitwright.methods.drq.options import DrqOptions
from bitwright.methods.plan import Plan, Rule
from bitwright.methods.precision import MultiplierTime, narrowable, said_loss, smallest, stated
from bitwright.networks.network import Batch, Network
from bitwright.networks.trace import trace

LOG_RANGE = (-14, 4)
"""Thresholds go from 2**7 down to 2**-2 codes: so many half powers of two below 1."""


def calibrate(network: Network, samples: Sequence[Batch], options: DrqOptions, plan: Plan) -> Plan:
    """`plan` with a precision rule at every site that may become narrow.

    Raises
    ------
    InputError
        Operands that are no integers of at most 8 bits, a network with shapes only without a stated share, or synthetic
        operands, which nothing can be judged by, without a threshold.
    """
    sites = {site.name: site for site in trace(network).sites}
    options.check_globs(sites)
    chosen = narrowable(sites, plan, ends=options.narrow_ends)
    if network.shape_only and not network.distribution:
        return stated(network, plan, chosen, NAME, {"x_share": options.x_share})
    if options.threshold is not None:
        return planned(plan, chosen, options, options.threshold)
    if network.shape_only:
        raise InputError(f"{network.name} has synthetic operands, by which no accuracy can be judged; give threshold")
    if not samples:
        raise InputError(f"{network.name}: calibration needs at least one batch of samples")
    judge = Judge(network, samples, plan, correct=options.bias_correction)
    seen: dict[int, tuple[float, float]] = {}

    def fits(exponent: int) -> bool:
        time = MultiplierTime()
        loss = judge.loss(planned(plan, chosen, options, 2 ** (-exponent / 2)), time)
        seen[exponent] = loss, time.spent / time.wide
        return loss <= options.budget

    exponent = smallest(fits, *LOG_RANGE)
    found = planned(plan, chosen, options, 0.0 if exponent is None else 2 ** (-exponent / 2))
    loss, time = (0.0, 1.0) if exponent is None else seen[exponent]
    note = "no threshold keeps within the budget" if exponent is None else f"threshold {2 ** (-exponent / 2):.3g}"
    said = f"{plan.method}: {note}, from {len(seen)} trials: {said_loss(loss, options.budget, time)}"
    weights = {**found.weights, **judge.biases(found)}
    return dataclasses.replace(found, weights=weights, notes=(*found.notes, said))


def planned(plan: Plan, chosen: Sequence[str], options: DrqOptions, threshold: float) -> Plan:
    """`plan` with this threshold; a site's own, in `sites`, wins."""
    made = dict(plan.sites)
    for name in chosen:
        at = options.at(name)
        own = threshold if at is options or at.threshold is None else at.threshold
        rule = Rule(name=NAME, options={"threshold": own, "region": at.region, "block": at.block})
        made[name] = dataclasses.replace(made[name], precision=rule)
    return dataclasses.replace(plan, sites=made)
