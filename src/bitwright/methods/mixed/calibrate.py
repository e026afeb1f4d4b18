"""Calibration of `mixed`: which sites bear narrow operands.

As in mixed-precision work since HAWQ (Dong et al., ICCV 2019), sites are ranked by what they cost alone, and so many of
them become narrow as a budget allows. Ours: the cost of a site is the loss of the network's output with that site
narrow on the first batch of samples, by the multiplier time that it saves; how many is found by bisection on all
samples; narrow scales are those of least squared error.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.formats import Quantized
from bitwright.methods.budget import Judge, shared_judge
from bitwright.methods.executor import Executor
from bitwright.methods.integer import METHOD as INTEGERS
from bitwright.methods.integer.calibrate import Observed, decided, observe_network
from bitwright.methods.integer.rules import site_plan
from bitwright.methods.integer.smooth import beginnings, output_loss
from bitwright.methods.mixed.options import MixedOptions
from bitwright.methods.plan import Plan, SitePlan
from bitwright.methods.precision import MultiplierTime, narrowable, said_loss, smallest
from bitwright.methods.progress import reported
from bitwright.networks.network import Batch, Network
from bitwright.networks.trace import trace
from bitwright.words import counted

RANKING_TOKENS = 128  # of a language model: every site is run once to be ranked
LEAST_LOSS = 1e-9


def calibrate(network: Network, samples: Sequence[Batch], options: MixedOptions, plan: Plan) -> Plan:
    """`plan` with the operands of every site decided; a network with shapes only has no accuracy and stays wide.

    Raises
    ------
    InputError
        As calibration of the integer method does.
    """
    if network.shape_only:
        return INTEGERS.calibrate(network, samples, options, plan)
    observed = observe_network(network, samples, options, histograms=True)
    wide = decided(network, observed, plan)
    narrow = _narrow(observed, options)
    sites = {site.name: site for site in trace(network).sites}
    chosen = [name for name in narrowable(sites, wide, ends=False) if _widths(narrow[name]) != _widths(wide.site(name))]
    judge = shared_judge(network, samples, wide, correct=options.bias_correction)
    order = _ranked(judge, wide, narrow, chosen, {name: sites[name].macs for name in chosen})
    seen: dict[int, tuple[float, float]] = {}

    def fits(kept: int) -> bool:
        time = MultiplierTime()
        loss = judge.loss(_with(wide, narrow, order[: len(order) - kept]), time)
        seen[kept] = loss, time.spent / time.wide
        return loss <= options.budget

    kept = smallest(fits, 0, len(order) - 1)
    count = 0 if kept is None else len(order) - kept
    loss, time = (0.0, 1.0) if kept is None else seen[kept]
    found = _with(wide, narrow, order[:count])
    said = said_loss(loss, options.budget, time)
    note = f"{plan.method}: {count} of {counted(len(order), 'site')} narrow, from {counted(len(seen), 'trial')}: {said}"
    return dataclasses.replace(found, notes=(*found.notes, note), promise=options.budget)


def _widths(plan: SitePlan) -> tuple[int, int]:
    return plan.x_bits, plan.w_bits


def _narrow(observed: Observed, options: MixedOptions) -> dict[str, SitePlan]:
    """Every site with narrow operands."""
    bits = {"x_bits": options.narrow_bits, "w_bits": options.narrow_bits}
    least = {"calibrator": "mse", "w_calibrator": "mse", "w_granularity": "channel"}
    rules = dataclasses.replace(observed.rules, options=options.model_copy(update={**bits, **least}))
    return {name: site_plan(seen, rules) for name, seen in observed.ranges.items()}


def _with(wide: Plan, narrow: Mapping[str, SitePlan], chosen: Sequence[str]) -> Plan:
    return dataclasses.replace(wide, sites={**wide.sites, **{name: narrow[name] for name in chosen}})


def _ranked(
    judge: Judge, wide: Plan, narrow: Mapping[str, SitePlan], chosen: Sequence[str], macs: Mapping[str, int]
) -> list[str]:
    """Sites, those first that save most multiplier time per loss of the output."""
    batch, logits = judge.samples[0], judge.kind in ("language", "image")
    (batch,) = beginnings(judge.network, [batch], RANKING_TOKENS)
    encoded: dict[Any, Quantized] = {}
    reference = Executor(judge.network, wide, prepared=True, weights=encoded).run(batch)
    costs = {}
    for name in reported(chosen, "ranking sites"):
        others = {key: w for key, w in encoded.items() if key[0] != name}
        output = Executor(judge.network, _with(wide, narrow, [name]), prepared=True, weights=others).run(batch)
        costs[name] = max(output_loss(output, reference, logits=logits), LEAST_LOSS) / macs[name]
    return sorted(chosen, key=lambda name: costs[name])
