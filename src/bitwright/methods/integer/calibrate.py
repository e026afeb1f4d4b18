"""Calibration of the integer method: ranges of unlabelled samples become scales, zero points, smoothing factors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.methods.integer.observe import (
    Ranges,
    histograms_of,
    observe_ranges,
    observe_synthetic,
    shared_ranges,
    with_siblings,
)
from bitwright.methods.integer.options import IntegerOptions
from bitwright.methods.integer.rules import Rules, site_plan
from bitwright.methods.integer.smooth import (
    all_factors,
    apply_factors,
    choose_strengths,
    held_out,
    peaks_of,
    smoothable,
    smoothed_ranges,
)
from bitwright.methods.plan import Plan, SitePlan
from bitwright.methods.sharing import once
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.network import Batch, Network
from bitwright.networks.trace import example_batch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observed:
    """What calibration knows of a network before it decides anything about codes.

    Attributes
    ----------
    network : Network
        With batch norm folded and activations smoothed: as it will be executed.
    ranges : mapping
        Site name -> ranges of that network.
    rules : Rules
        Options per site.
    smoothing : mapping
        Site name -> factors that were applied.
    folded : bool
        Whether batch norm was.
    judges : sequence of batches
        Samples to judge choices by: such as did not choose the smoothing's ranges, where there are enough.
    notes : tuple of str
        What reports must say of what was observed.
    """

    network: Network
    ranges: Mapping[str, Ranges]
    rules: Rules
    smoothing: Mapping[str, torch.Tensor]
    folded: bool
    judges: Sequence[Batch]
    notes: tuple[str, ...] = ()


def calibrate(network: Network, samples: Sequence[Batch], options: IntegerOptions, plan: Plan) -> Plan:
    """`plan` with the operands of every site decided.

    A shape-only network is calibrated on synthetic operands.

    Raises
    ------
    InputError
        No samples, NaN or infinity in a weight or activation, a glob that matches no site, or 4-bit groups that lie on
        the grid of the file the weights came from.
    """
    observed = observe_network(network, samples, options, histograms=options.calibrator != "minmax")
    return decided(network, observed, plan)


def decided(network: Network, observed: Observed, plan: Plan) -> Plan:
    """`plan` with scales and zero points from what was observed."""
    sites: dict[str, SitePlan] = {}
    for name, seen in observed.ranges.items():
        alike = seen.same_as and observed.rules.at(seen.same_as) == observed.rules.at(name)
        sites[name] = sites[seen.same_as] if alike else site_plan(seen, observed.rules)
    return dataclasses.replace(
        plan,
        fingerprint=fingerprint(network),
        sites=sites,
        smoothing=observed.smoothing,
        fold_batch_norm=observed.folded,
        notes=(*plan.notes, *network.notes, *observed.notes),
    )


def observe_network(
    network: Network, samples: Sequence[Batch], options: IntegerOptions, *, histograms: bool
) -> Observed:
    """Fold, observe, smooth; raises as `calibrate` does.

    `histograms` counts activations even where no site's calibrator needs it.
    """
    if network.shape_only:
        return _observe_synthetic(network, options, histograms=histograms)
    if not samples:
        raise InputError(f"{network.name}: calibration needs at least one batch of samples")
    folded = fold_batch_norm(network)
    work, groups = smoothable(folded) if options.smoothing != "none" else (folded, [])
    searched = bool(groups) and options.smoothing == "search"
    seen_by, judges = once("held out", samples, lambda: held_out(network, samples)) if searched else (samples, ())
    if searched and not judges:  # what is judged by the samples that gave the ranges looks better than it is
        groups = []
    first = options.first_tokens if network.kind == "language" and isinstance(options.first_tokens, int) else 0
    ranges = shared_ranges(network, work, seen_by, first=first)
    options.check_globs(ranges)
    rules = Rules.of(options, [seen.site for seen in ranges.values()])
    rules.check_weight_grid(network, ranges)
    # What decides codes: the integers' own options, and the one rule that methods on top of them may have otherwise.
    asked = (options.model_dump_json(include=set(IntegerOptions.model_fields)), type(options).run_time_w_bits)
    strengths = once(
        ("strengths", asked),
        (network, *samples),
        lambda: choose_strengths(work, judges, groups, ranges, rules),
    )
    ranges = observe_ranges(work, judges, ranges, first=first)
    factors = all_factors(groups, peaks_of(groups, ranges), strengths)
    ranges = smoothed_ranges(ranges, groups, factors)
    apply_factors(groups, factors)
    if histograms or any(rules.at(name).calibrator != "minmax" for name in ranges):
        counts = once(("histograms", asked), (network, *samples), lambda: histograms_of(work, samples, ranges))
        for name, seen in ranges.items():
            seen.histogram = counts.get(name)
    ranges, notes = with_siblings(work, ranges)
    return Observed(
        network=work,
        ranges=ranges,
        notes=notes,
        rules=rules,
        smoothing=factors,
        folded=folded.module is not network.module,
        judges=judges or samples,
    )


def _observe_synthetic(network: Network, options: IntegerOptions, *, histograms: bool) -> Observed:
    """Ranges of the synthetic operands, which are the samples and the weights at once; nothing can be judged."""
    batch = {} if network.module is None else example_batch(network)
    wanted = histograms or any("calibrator" in over for over in options.sites.values())
    ranges = observe_synthetic(network, batch, histograms=wanted)
    options.check_globs(ranges)
    rules = Rules.of(options, [seen.site for seen in ranges.values()])
    return Observed(network=network, ranges=ranges, rules=rules, smoothing={}, folded=False, judges=())
