"""The migration strength of activation smoothing, searched by what the whole network loses.

Judging a site by its own output error is misleading (errors that cancel later are punished, errors that spread are
not), so candidates are judged by the network's output on the calibration samples: first one strength for all groups,
then one per kind of layer (group names without their numbers), coordinate by coordinate. The grid is our choice.
"""

import contextlib
import copy
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch

from bitwright.methods.execution import Executor
from bitwright.methods.integer.observe import Ranges, observe_ranges
from bitwright.methods.integer.rules import Rules, site_plan
from bitwright.methods.plan import Plan
from bitwright.networks.network import Batch, Network
from bitwright.networks.smoothing import SmoothingGroup, smoothing_factors, smoothing_groups
from bitwright.networks.trace import example_batch

GRID = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
Judge = Callable[[Mapping[str, torch.Tensor]], float]  # factors per site -> the network's loss with them


def smooth(
    network: Network, samples: Sequence[Batch], ranges: Mapping[str, Ranges], rules: Rules
) -> tuple[Network, dict[str, torch.Tensor]]:
    """A smoothed copy of `network` and its factors per site; `network` itself and none, where nothing is smoothed."""
    strength = rules.options.smoothing
    if strength == "none":
        return network, {}
    work = dataclasses.replace(network, module=copy.deepcopy(network.module))
    groups = smoothing_groups(work, example_batch(work))
    if not groups:
        return network, {}
    if isinstance(strength, float):
        factors = all_factors(groups, ranges, {kind(group): strength for group in groups})
    else:
        factors = search(groups, ranges, judge_of(work, samples[0], groups, rules))
    for group in groups:
        if group.sites[0] in factors:
            group.apply(factors[group.sites[0]])
    return work, factors


def judge_of(network: Network, batch: Batch, groups: list[SmoothingGroup], rules: Rules) -> Judge:
    """How much the whole quantized network loses on one batch, as a function of the factors (`output_loss`)."""
    with torch.no_grad():
        reference = network.forward(batch)

    def judge(factors: Mapping[str, torch.Tensor]) -> float:
        with _applied(groups, factors):
            seen = observe_ranges(network, [batch])
            plan = Plan(method="int", sites={name: site_plan(r, rules) for name, r in seen.items()})
            output = Executor(network, plan, exact=False, prepared=True).run(batch)
        return output_loss(output, reference, logits=network.kind in ("language", "image"))

    return judge


def output_loss(output: torch.Tensor, reference: torch.Tensor, *, logits: bool) -> float:
    """KL divergence from the float network's distribution in nats, or the relative squared error of other outputs."""
    if logits:
        p, q = reference.flatten(0, -2).log_softmax(-1), output.flatten(0, -2).log_softmax(-1)
        return float((p.exp() * (p - q)).sum(-1).mean())
    return float((output - reference).square().sum() / reference.square().sum())


@contextlib.contextmanager
def _applied(groups: list[SmoothingGroup], factors: Mapping[str, torch.Tensor]) -> Iterator[None]:
    """Smoothing applied for a while; the weights come back bit for bit."""
    chosen = [group for group in groups if group.sites[0] in factors]
    touched = [t for group in chosen for t in (*group.sources, *(w for w, _ in group.readers))]
    kept = [(tensor, tensor.detach().clone()) for tensor in touched]
    try:
        for group in chosen:
            group.apply(factors[group.sites[0]])
        yield
    finally:
        with torch.no_grad():
            for tensor, before in reversed(kept):
                tensor.copy_(before)


def kind(group: SmoothingGroup) -> str:
    """What a group has in common with its like in other blocks: its first site's name without numbers."""
    return re.sub(r"\d+", "*", group.sites[0])


def group_factors(group: SmoothingGroup, ranges: Mapping[str, Ranges], strength: float) -> dict[str, torch.Tensor]:
    """s [K] of one group, per site."""
    seen = ranges[group.sites[0]]
    peaks = torch.maximum(seen.x_high.abs(), seen.x_low.abs())
    s = group.tie(smoothing_factors(peaks, group.weight_peaks().float(), strength))
    return dict.fromkeys(group.sites, s)


def all_factors(
    groups: list[SmoothingGroup], ranges: Mapping[str, Ranges], strengths: Mapping[str, float | None]
) -> dict[str, torch.Tensor]:
    """Factors per site for one strength per kind; None leaves a kind unsmoothed."""
    factors: dict[str, torch.Tensor] = {}
    for group in groups:
        strength = strengths[kind(group)]
        if strength is not None:
            factors |= group_factors(group, ranges, strength)
    return factors


def search(groups: list[SmoothingGroup], ranges: Mapping[str, Ranges], judge: Judge) -> dict[str, torch.Tensor]:
    """The factors that `judge` likes best; none at all if that is best."""
    kinds = sorted({kind(group) for group in groups})
    losses: dict[tuple[float | None, ...], float] = {}

    def loss(strengths: Mapping[str, float | None]) -> float:
        key = tuple(strengths[k] for k in kinds)
        if key not in losses:
            losses[key] = judge(all_factors(groups, ranges, strengths))
        return losses[key]

    candidates: list[float | None] = [None, *GRID]
    best = min((dict.fromkeys(kinds, strength) for strength in candidates), key=loss)
    for one in kinds:
        options = _near(best[one])
        best = min((best, *({**best, one: strength} for strength in options)), key=loss)
    return all_factors(groups, ranges, best)


def _near(strength: float | None) -> list[float | None]:
    """Strengths worth trying beside one: its neighbours on the grid, and none."""
    if strength is None:
        return list(GRID[::2])
    i = GRID.index(strength)
    return [None, *GRID[max(0, i - 1) : i + 2]]
