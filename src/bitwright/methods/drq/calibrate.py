"""Calibration of `drq`: the largest threshold whose narrow regions stay within the budget, by bisection.

The samples are those of calibration, without labels, never the test's. Ours: the grid of half powers of two. DRQ itself
also shrinks its regions and trains the network meanwhile, which is left out here.
"""

import dataclasses
from collections.abc import Sequence

from bitwright.errors import InputError
from bitwright.formats import PerGroup
from bitwright.methods.budget import shared_judge
from bitwright.methods.drq.options import DrqOptions
from bitwright.methods.drq.rule import Drq
from bitwright.methods.plan import Plan
from bitwright.methods.precision import NOTHING_NARROW, MultiplierTime, narrowable, said_loss, smallest, stated
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import trace
from bitwright.words import counted

LOG_RANGE = (-14, 4)
"""Thresholds go from 2**7 down to 2**-2 codes: so many half powers of two below 1."""


def calibrate(network: Network, samples: Sequence[Batch], options: DrqOptions, plan: Plan) -> Plan:
    """`plan` with a precision rule at every site that may become narrow.

    Raises
    ------
    InputError
        Operands that are no integers of at most 8 bits, weights scaled in groups, a network with shapes only without a
        stated share, or synthetic operands, which nothing can be judged by, without a threshold.
    """
    sites = {site.name: site for site in trace(network).sites}
    options.check_globs(sites)
    chosen = narrowable(sites, plan, ends=options.narrow_ends)
    if network.shape_only and not network.distribution:
        rules = {name: _stated_rule(sites[name], options.at(name)) for name in chosen}
        return stated(network, plan, rules, ("x_share",))
    _check_weights(plan, chosen)
    if not chosen:
        return dataclasses.replace(plan, notes=(*plan.notes, f"{plan.method}: {NOTHING_NARROW}"))
    if options.threshold is not None:
        return planned(plan, chosen, options, options.threshold)
    if network.shape_only:
        raise InputError(f"{network.name} has synthetic operands, by which no accuracy can be judged; give threshold")
    if not samples:
        raise InputError(f"{network.name}: calibration needs at least one batch of samples")
    judge = shared_judge(network, samples, plan, correct=options.bias_correction)
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
    said = f"{plan.method}: {note}, from {counted(len(seen), 'trial')}: {said_loss(loss, options.budget, time)}"
    return dataclasses.replace(found, notes=(*found.notes, said), promise=options.budget)


def _stated_rule(site: Site, options: DrqOptions) -> Drq:
    """Regions are of single channels where there are pixels."""
    block = 1 if site.conv is not None else options.block
    return Drq(x_share=options.x_share, block=block, region=options.region)


def _check_weights(plan: Plan, chosen: Sequence[str]) -> None:
    """Refuse scales by group, whose sums could not be added up over both products."""
    for name in chosen:
        w = plan.site(name).w
        if w is not None and isinstance(w.granularity, PerGroup):
            raise InputError(
                f"{name}: drq adds up two products, and weights scaled in groups have sums of several scales; "
                "use --option w_granularity=channel"
            )


def planned(plan: Plan, chosen: Sequence[str], options: DrqOptions, threshold: float) -> Plan:
    """`plan` with this threshold; a site's own, in `sites`, wins."""
    made = dict(plan.sites)
    for name in chosen:
        at = options.at(name)
        own = threshold if at is options or at.threshold is None else at.threshold
        rule = Drq(threshold=own, region=at.region, block=at.block)
        made[name] = dataclasses.replace(made[name], precision=rule)
    return dataclasses.replace(plan, sites=made)
