"""The migration strength of activation smoothing, searched by what the whole network loses.

Judging a site by its own output error is misleading (errors that cancel later are punished, errors that spread are
not), so candidates are judged by the network's output on the calibration samples: first one strength for all groups,
then one per kind of layer (and for the last block), coordinate by coordinate. Grid, judges and the least gain
for which a kind leaves the common strength are our choices: a stronger migration fills the range of every channel, so
that it looks a little better on text like the calibration's and clips on other text.
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
from bitwright.networks.smoothing import SmoothingGroup, smoothing_factors, smoothing_groups, untie
from bitwright.networks.trace import example_batch

GRID = (0.5, 0.6, 0.7, 0.8, 0.9)
LEAST_GAIN = 0.1  # of the loss; what two batches cannot tell apart decides nothing
JUDGES = 2  # batches that judge; the others give the ranges (our choice)
Judge = Callable[[Mapping[str, torch.Tensor]], float]  # factors per site -> the network's loss with them


def smooth(
    network: Network, samples: Sequence[Batch], ranges: Mapping[str, Ranges], rules: Rules
) -> tuple[Network, dict[str, torch.Tensor]]:
    """A smoothed copy of `network` and its factors per site; `network` itself and none, where nothing is smoothed."""
    strength = rules.options.smoothing
    if strength == "none":
        return network, {}
    work = dataclasses.replace(network, module=copy.deepcopy(network.module))
    assert work.module is not None
    untie(work.module)
    groups = smoothing_groups(work, example_batch(work))
    if not groups:
        return network, {}
    if isinstance(strength, float):
        factors = all_factors(groups, ranges, dict.fromkeys(kinds_of(groups).values(), strength))
    else:
        judges = samples[-JUDGES:] if len(samples) > JUDGES else samples
        seen = observe_ranges(work, samples[: len(samples) - len(judges)] or samples)
        factors = search(groups, seen, judge_of(work, judges, groups, seen, rules))
    for group in groups:
        if group.sites[0] in factors:
            group.apply(factors[group.sites[0]])
    return work, factors


def judge_of(
    network: Network,
    batches: Sequence[Batch],
    groups: list[SmoothingGroup],
    ranges: Mapping[str, Ranges],
    rules: Rules,
) -> Judge:
    """How much the whole quantized network loses on `batches` (`output_loss`), as a function of the factors.

    `ranges` come from other samples than `batches`, so that a strength whose ranges do not carry over is seen.
    """
    with torch.no_grad():
        references = [network.forward(batch) for batch in batches]
    logits = network.kind in ("language", "image")

    def judge(factors: Mapping[str, torch.Tensor]) -> float:
        with _applied(groups, factors):
            seen = smoothed_ranges(ranges, groups, factors)
            plan = Plan(method="int", sites={name: site_plan(r, rules) for name, r in seen.items()})
            executor = Executor(network, plan, exact=True, prepared=True)  # the quicker of the two
            return sum(
                output_loss(executor.run(batch), reference, logits=logits)
                for batch, reference in zip(batches, references, strict=True)
            )

    return judge


def smoothed_ranges(
    ranges: Mapping[str, Ranges], groups: Sequence[SmoothingGroup], factors: Mapping[str, torch.Tensor]
) -> dict[str, Ranges]:
    """What the ranges become when `factors` are applied: channel by channel they are divided."""
    result = dict(ranges)
    for group in groups:
        if group.sites[0] not in factors:
            continue
        s = factors[group.sites[0]]
        for name in group.sites:
            seen = ranges[name]
            result[name] = dataclasses.replace(seen, x_low=seen.x_low / s, x_high=seen.x_high / s)
        values = ranges.get(group.through or "")
        if values is not None and values.w_low is not None and values.w_high is not None:
            heads = s.view(-1, 1, group.head)
            result[group.through or ""] = dataclasses.replace(
                values, w_low=values.w_low / heads, w_high=values.w_high / heads
            )
    return result


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


def kinds_of(groups: Sequence[SmoothingGroup]) -> dict[str, str]:
    """First site of a group -> its kind: the site's name without numbers, but for the last block.

    Blocks are alike, except that the last one feeds the head: its activations spread over other ranges.
    """
    blocks = {name: int(found[0]) for name in (g.sites[0] for g in groups) if (found := re.findall(r"\d+", name))}
    last = max(blocks.values(), default=-1)
    ends = {name for name, block in blocks.items() if block == last and len(set(blocks.values())) > 1}
    return {g.sites[0]: g.sites[0] if g.sites[0] in ends else re.sub(r"\d+", "*", g.sites[0]) for g in groups}


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
    kinds = kinds_of(groups)
    for group in groups:
        strength = strengths[kinds[group.sites[0]]]
        if strength is not None:
            factors |= group_factors(group, ranges, strength)
    return factors


def search(groups: list[SmoothingGroup], ranges: Mapping[str, Ranges], judge: Judge) -> dict[str, torch.Tensor]:
    """The factors that `judge` likes best; none at all if that is best."""
    kinds = sorted(set(kinds_of(groups).values()))
    losses: dict[tuple[float | None, ...], float] = {}

    def loss(strengths: Mapping[str, float | None]) -> float:
        key = tuple(strengths[k] for k in kinds)
        if key not in losses:
            losses[key] = judge(all_factors(groups, ranges, strengths))
        return losses[key]

    def better(
        of: Mapping[str, float | None], challengers: list[Mapping[str, float | None]]
    ) -> Mapping[str, float | None]:
        challenger = min(challengers, key=loss)
        return challenger if loss(challenger) < (1 - LEAST_GAIN) * loss(of) else of

    best = better(dict.fromkeys(kinds), [dict.fromkeys(kinds, strength) for strength in GRID])
    for one in kinds if len(kinds) > 1 else []:
        best = better(best, [{**best, one: strength} for strength in _near(best[one])])
    return all_factors(groups, ranges, best)


def _near(strength: float | None) -> list[float | None]:
    """Strengths worth trying beside one: its neighbours on the grid; a few, beside none."""
    if strength is None:
        return list(GRID[::2])
    i = GRID.index(strength)
    return [*GRID[max(0, i - 1) : i], *GRID[i + 1 : i + 2]]
