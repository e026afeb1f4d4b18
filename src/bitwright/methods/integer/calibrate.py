"""Calibration of the integer method: ranges of unlabelled samples become scales, zero points, smoothing factors."""

import dataclasses
from collections.abc import Sequence

from bitwright.errors import InputError
from bitwright.methods.integer.observe import add_histograms, observe_ranges
from bitwright.methods.integer.options import IntegerOptions
from bitwright.methods.integer.rules import Rules, shape_plans, site_plan
from bitwright.methods.integer.smooth import (
    JUDGES,
    all_factors,
    apply_factors,
    choose_strengths,
    peaks_of,
    smoothable,
    smoothed_ranges,
)
from bitwright.methods.plan import Plan
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.network import Batch, Network
from bitwright.networks.trace import trace


def calibrate(network: Network, samples: Sequence[Batch], options: IntegerOptions, plan: Plan) -> Plan:
    """`plan` with the operands of every site decided.

    A shape-only network gets formats without scales: its sites can be costed, not executed.

    Raises
    ------
    InputError
        No samples, NaN or infinity in a weight or activation, a glob that matches no site, or 4-bit groups that lie on
        the grid of the file the weights came from.
    """
    if network.shape_only:
        sites = trace(network).sites
        options.check_globs([site.name for site in sites])
        rules = Rules.of(options, sites)
        return dataclasses.replace(plan, fingerprint=fingerprint(network), sites=shape_plans(sites, rules))
    if not samples:
        raise InputError(f"{network.name}: calibration needs at least one batch of samples")
    folded = fold_batch_norm(network)
    work, groups = smoothable(folded) if options.smoothing != "none" else (folded, [])
    judges = samples[-JUDGES:] if groups and options.smoothing == "search" and len(samples) > JUDGES else ()
    ranges = observe_ranges(work, samples[: len(samples) - len(judges)])
    options.check_globs(ranges)
    rules = Rules.of(options, [seen.site for seen in ranges.values()])
    rules.check_weight_grid(network, ranges)
    strengths = choose_strengths(work, judges or samples, groups, ranges, rules)
    ranges = observe_ranges(work, judges, ranges)
    factors = all_factors(groups, peaks_of(groups, ranges), strengths)
    ranges = smoothed_ranges(ranges, groups, factors)
    apply_factors(groups, factors)
    if any(rules.at(name).calibrator != "minmax" for name in ranges):
        add_histograms(work, samples, ranges)
    return dataclasses.replace(
        plan,
        fingerprint=fingerprint(network),
        sites={name: site_plan(seen, rules) for name, seen in ranges.items()},
        smoothing=factors,
        fold_batch_norm=folded.module is not network.module,
        notes=(*plan.notes, *network.notes),
    )
