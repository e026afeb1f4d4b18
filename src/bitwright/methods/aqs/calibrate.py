"""Calibration of `aqs`: the integers' static calibration, then slices, zero points (ZPM) and splits (DBS) per site."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch

from bitwright.formats import SPLITS, Quantized
from bitwright.methods.aqs.bins import (
    centred,
    code_shares,
    dropped_mean,
    dropped_variance,
    one_sided,
    skipped_share,
    sliced,
)
from bitwright.methods.aqs.dbs import Splits, Step, ranked, wanted_split, within_budget
from bitwright.methods.aqs.options import AqsOptions
from bitwright.methods.executor import Executor
from bitwright.methods.integer.calibrate import Observed, decided, observe_network
from bitwright.methods.integer.observe import Ranges
from bitwright.methods.integer.rules import Rules, shape_plans
from bitwright.methods.integer.smooth import output_loss
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.methods.sensitivity import noise_sensitivity
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
    return Stages(observed, decided(network, observed, plan), options).final()


class Stages:
    """The plans that one observation of a network leads to, step by step: sliced, with ZPM, with DBS."""

    def __init__(self, observed: Observed, plan: Plan, options: AqsOptions) -> None:
        self.observed, self.plan, self.options = observed, plan, options
        quantized = [name for name, site in plan.sites.items() if site.quantized]
        self.at = {name: cast(AqsOptions, observed.rules.at(name)) for name in quantized}

    def sliced(self) -> Plan:
        """Activations cut at 4, zero points where the integers have them."""
        return self._plan({}, zpm=False)

    def centred(self) -> Plan:
        """With ZPM, where it is on."""
        return self._plan({}, zpm=True)

    def final(self) -> Plan:
        """With DBS too, where it is on."""
        skips = {name: self._skips(name) for name, options in self.at.items() if options.dbs}
        wanted = {name: wanted_split(skipped, self.at[name].dbs_coverage) for name, skipped in skips.items()}
        if all(split == SPLITS[0] for split in wanted.values()):
            return self.centred()
        if not self.observed.judges:
            return dataclasses.replace(self._plan(wanted, zpm=True), notes=(*self.plan.notes, UNJUDGED))
        judge = Judge(self.observed)
        steps = [step for name in wanted for step in self._steps(name, skips[name], wanted[name], judge.sensitivity)]

        def loss(splits: Splits) -> float:
            return judge.loss(self._plan(splits, zpm=True))

        splits = within_budget(ranked(steps), loss, self.options.dbs_budget)
        return self._plan(splits, zpm=True)

    @functools.cache  # noqa: B019 (a calibration's own object, gone after it)
    def operand(self, name: str, split: int, *, zpm: bool) -> OperandPlan:
        """The activation of a site cut at `split`, its zero point centred where that lets more codes be skipped."""
        x, seen = self.plan.sites[name].x, self.observed.ranges[name]
        assert x is not None
        operand = sliced(x, split)
        if zpm and self.at[name].zpm and not one_sided(x.zero_point):
            moved = centred(operand, split, seen)
            operand = max(operand, moved, key=lambda each: _skipped(seen, each, split))
        if split > SPLITS[0] and self.at[name].dropped_mean:
            operand = dataclasses.replace(operand, dropped_mean=dropped_mean(code_shares(seen, operand), split))
        return operand

    def _plan(self, splits: Splits, *, zpm: bool) -> Plan:
        changed = {
            name: dataclasses.replace(self.plan.sites[name], x=self.operand(name, splits.get(name, SPLITS[0]), zpm=zpm))
            for name in self.at
        }
        return dataclasses.replace(self.plan, sites={**self.plan.sites, **changed})

    def _skips(self, name: str) -> dict[int, float]:
        seen = self.observed.ranges[name]
        return {split: _skipped(seen, self.operand(name, split, zpm=True), split) for split in SPLITS}

    def _steps(
        self, name: str, skipped: Mapping[int, float], wanted: int, sensitivity: Mapping[str, float]
    ) -> list[Step]:
        """Raising the split of one site up to the wanted one."""
        macs = self.observed.ranges[name].site.macs
        losses = {split: self._variance(name, split) * sensitivity.get(name, 0.0) for split in SPLITS}
        return [
            Step(
                site=name,
                split=split,
                gain=max(0.0, skipped[split] - skipped[split - 1]) * macs,
                loss=max(0.0, losses[split] - losses[split - 1]),
            )
            for split in range(SPLITS[1], wanted + 1)
        ]

    def _variance(self, name: str, split: int) -> float:
        """Of the noise that dropped bits are to the activations, in their own units squared."""
        operand = self.operand(name, split, zpm=True)
        shares = code_shares(self.observed.ranges[name], operand)
        variance = dropped_variance(shares, split, corrected=self.at[name].dropped_mean)
        return float(operand.usual_scale.square()) * variance


class Judge:
    """What a plan makes a network lose on the samples that judge."""

    def __init__(self, observed: Observed) -> None:
        self.network, self.batches = observed.network, observed.judges
        self.logits = self.network.kind in ("language", "image")
        with torch.no_grad():
            self.references = [self.network.forward(batch) for batch in self.batches]
        self.sensitivity = noise_sensitivity(self.network, self.batches, logits=self.logits)
        self._weights: dict[tuple[Any, ...], Quantized] = {}  # splits leave the weights alone

    def loss(self, plan: Plan) -> float:
        """Mean over the batches; see `output_loss`."""
        plan = dataclasses.replace(plan, method="aqs", options={})
        executor = Executor(self.network, plan, exact=True, prepared=True, weights=self._weights)
        found = [
            output_loss(executor.run(batch), reference, logits=self.logits)
            for batch, reference in zip(self.batches, self.references, strict=True)
        ]
        return sum(found) / len(found)


def _skipped(seen: Ranges, operand: OperandPlan, split: int) -> float:
    return skipped_share(code_shares(seen, operand), operand.zero_point, split)


def _unknown(site: SitePlan) -> SitePlan:
    """A site of a network without numbers: sliced at 4, since nothing is known of its distribution."""
    return dataclasses.replace(site, x=sliced(site.x, SPLITS[0])) if site.quantized and site.x else site
