"""Calibration of `aqs`: the integers' static calibration, then slices, zero points (ZPM) and splits (DBS) per site."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from bitwright.formats import SPLITS, Quantized
from bitwright.methods.aqs.bins import centred, code_shares, dropped_mean, one_sided, skipped_share, sliced
from bitwright.methods.aqs.dbs import Splits, Step, ranked, wanted_split, within_budget
from bitwright.methods.aqs.options import AqsOptions
from bitwright.methods.execution import Executor
from bitwright.methods.integer.calibrate import Observed, decided, observe_network
from bitwright.methods.integer.observe import Ranges
from bitwright.methods.integer.rules import Rules, shape_plans
from bitwright.methods.integer.smooth import output_loss
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.network import Batch, Network
from bitwright.networks.trace import trace

UNJUDGED = "splits are by distribution alone: synthetic operands have no network's loss to be judged by"


def calibrate(network: Network, samples: Sequence[Batch], options: AqsOptions, plan: Plan) -> Plan:
    """`plan` with sliced operands at every site; raises as the integers' calibration does."""
    if network.shape_only and not network.distribution:
        sites = trace(network).sites
        options.check_globs([site.name for site in sites])
        shapes = shape_plans(sites, Rules.of(options, sites))
        cut = {name: _unknown(site) for name, site in shapes.items()}
        return dataclasses.replace(plan, fingerprint=fingerprint(network), sites=cut)
    observed = observe_network(network, samples, options, histograms=True)
    plan = decided(network, observed, plan)
    steps = stages(observed, plan, options)
    return steps[-1]


def stages(observed: Observed, plan: Plan, options: AqsOptions) -> tuple[Plan, Plan, Plan]:
    """The plan sliced only, with ZPM where it is on, and with DBS where it is on: all from one observation."""
    sites = {name: site for name, site in plan.sites.items() if site.quantized}
    at: dict[str, AqsOptions] = {name: observed.rules.at(name) for name in sites}  # type: ignore[misc]

    def with_splits(splits: Splits, *, zpm: bool) -> Plan:
        changed = {
            name: _site(site, observed.ranges[name], splits.get(name, SPLITS[0]), at[name], zpm=zpm and at[name].zpm)
            for name, site in sites.items()
        }
        return dataclasses.replace(plan, sites={**plan.sites, **changed})

    steps = [step for name in sites if at[name].dbs for step in _steps(observed.ranges[name], sites[name], at[name])]
    splits = _judged(observed, ranked(steps), lambda chosen: with_splits(chosen, zpm=True), options.dbs_budget)
    final = with_splits(splits, zpm=True)
    if steps and not observed.judges:
        final = dataclasses.replace(final, notes=(*final.notes, UNJUDGED))
    return with_splits({}, zpm=False), with_splits({}, zpm=True), final


def _judged(observed: Observed, steps: list[Step], plan_of: Any, budget: float) -> dict[str, int]:
    """The splits that the network bears, by its outputs on the samples that judge."""
    if not observed.judges:
        return {step.site: step.split for step in steps}
    network = observed.network
    with torch.no_grad():
        references = [network.forward(batch) for batch in observed.judges]
    logits = network.kind in ("language", "image")
    weights: dict[tuple[Any, ...], Quantized] = {}

    def loss(splits: Splits) -> float:
        plan = dataclasses.replace(plan_of(splits), method="aqs", options={})
        executor = Executor(network, plan, exact=True, prepared=True, weights=weights)
        found = [
            output_loss(executor.run(batch), reference, logits=logits)
            for batch, reference in zip(observed.judges, references, strict=True)
        ]
        return sum(found) / len(found)

    return within_budget(steps, loss, budget)


def _steps(seen: Ranges, site: SitePlan, options: AqsOptions) -> list[Step]:
    """Raising the split of one site up to the one its distribution wants."""
    plans = {split: _operand(site, seen, split, options, zpm=options.zpm) for split in SPLITS}
    shares = {split: code_shares(seen, operand) for split, operand in plans.items()}
    skipped = {split: skipped_share(shares[split], plans[split].zero_point, split) for split in SPLITS}
    wanted = wanted_split(skipped, options.dbs_coverage)
    steps = []
    for split in SPLITS[1:]:
        if split > wanted:
            break
        gained = (skipped[split] - skipped[split - 1]) * seen.site.macs
        noise = _noise(shares[split], plans[split], split) - _noise(shares[split - 1], plans[split - 1], split - 1)
        steps.append(Step(site=seen.site.name, split=split, gain=max(gained, 0.0), noise=max(noise, 0.0)))
    return steps


def _noise(shares: torch.Tensor, operand: OperandPlan, split: int) -> float:
    """Variance of the dropped bits by the mean square of the activations, both in codes."""
    codes = torch.arange(len(shares), dtype=torch.float64)
    dropped = codes % (1 << (split - 4))
    variance = (shares * dropped.square()).sum() - (shares * dropped).sum().square()
    power = (shares * (codes - operand.zero_point).square()).sum()
    return float(variance / power.clamp_min(1e-30))


def _site(site: SitePlan, seen: Ranges, split: int, options: AqsOptions, *, zpm: bool) -> SitePlan:
    return dataclasses.replace(site, x=_operand(site, seen, split, options, zpm=zpm))


def _operand(site: SitePlan, seen: Ranges, split: int, options: AqsOptions, *, zpm: bool) -> OperandPlan:
    """The activation cut at `split`, its zero point centred where that lets more codes be skipped."""
    assert site.x is not None
    operand = sliced(site.x, split)
    if zpm and not one_sided(site.x.zero_point):
        moved = centred(operand, split, options.zpm_range)
        if _skips(seen, moved, split) > _skips(seen, operand, split):
            operand = moved
    if split > SPLITS[0] and options.dropped_mean:
        operand = dataclasses.replace(operand, dropped_mean=dropped_mean(code_shares(seen, operand), split))
    return operand


def _skips(seen: Ranges, operand: OperandPlan, split: int) -> float:
    return skipped_share(code_shares(seen, operand), operand.zero_point, split)


def _unknown(site: SitePlan) -> SitePlan:
    """A site of a network without numbers: sliced at 4, since nothing is known of its distribution."""
    return dataclasses.replace(site, x=sliced(site.x, SPLITS[0])) if site.quantized and site.x else site
