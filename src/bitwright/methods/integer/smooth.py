"""The migration strength of activation smoothing, searched by what the whole network loses.

Judging a site by its own output error is misleading (errors that cancel later are punished, errors that spread are
not), so candidates are judged by the network's output on the calibration samples: first one strength for all groups,
then one per kind of layer (and for the last block), coordinate by coordinate. Grid, judges and the least gain
for which a kind leaves the common strength are our choices: a stronger migration fills the range of every channel, so
that it looks a little better on text like the calibration's and clips on other text.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bitwright.errors import InputError
from bitwright.formats import Quantized
from bitwright.later import torch
from bitwright.methods.executor import Executor
from bitwright.methods.integer.observe import Ranges
from bitwright.methods.integer.rules import Rules, site_plan
from bitwright.methods.plan import Plan
from bitwright.methods.progress import report
from bitwright.networks.network import Batch, Network
from bitwright.networks.smoothing import SmoothingGroup, smoothing_factors, smoothing_groups, untie
from bitwright.networks.trace import recording_batch

GRID = (0.5, 0.6, 0.7, 0.8, 0.9)
LEAST_GAIN = 0.1  # of the loss; what two batches cannot tell apart decides nothing
CLOSE = 1e-2  # relative norm between outputs that batches of other sizes round otherwise (our choice)
JUDGES = 2  # batches that judge where there are more; the others give the ranges (our choice)
JUDGE_TOKENS = 256  # of a language model's judging windows: every one has a loss of its own (our choice)
Peaks = Mapping[str, tuple[torch.Tensor, torch.Tensor]]
Strengths = Mapping[str, float | None]  # per kind of group; None leaves it unsmoothed
Judge = Callable[[Mapping[str, torch.Tensor]], float]  # factors per site -> the network's loss with them


def held_out(network: Network, samples: Sequence[Batch]) -> tuple[Sequence[Batch], Sequence[Batch]]:
    """The samples that give the ranges, and those that judge: the last batches, else the second half of every batch.

    None judge where batches have one sample each, or tensors that are not of one batch size, or where half of a batch
    is no batch: its output is not half of the output.
    """
    if len(samples) > JUDGES:
        return samples[:-JUDGES], samples[-JUDGES:]
    sizes = [{len(tensor) if tensor.dim() else 0 for tensor in batch.values()} for batch in samples]
    if any(len(each) != 1 or min(each) < 2 for each in sizes):
        return samples, ()
    halves = [
        [{name: part(tensor, len(tensor) // 2) for name, tensor in batch.items()} for batch in samples]
        for part in (lambda tensor, half: tensor[:half], lambda tensor, half: tensor[half:])
    ]
    return (halves[0], halves[1]) if _halves(network, samples[0], halves[0][0]) else (samples, ())


def _halves(network: Network, batch: Batch, half: Batch) -> bool:
    """Whether the beginning of a batch gives the beginning of its output."""
    try:
        with torch.no_grad():
            whole, part = network.forward(batch), network.forward(half)
    except InputError:
        return False
    rows = len(next(iter(half.values())))
    if not whole.dim() or len(part) != rows or whole[:rows].shape != part.shape:
        return False
    difference = (whole[:rows] - part).double().norm()
    return bool(difference <= CLOSE * part.double().norm())


def beginnings(network: Network, batches: Sequence[Batch], tokens: int) -> Sequence[Batch]:
    """Batches; of a language model's windows the first `tokens`, where all inputs are of one shape [batch, tokens]."""
    shapes = [{tuple(tensor.shape) for tensor in batch.values()} for batch in batches]
    if network.kind != "language" or any(len(each) != 1 or len(min(each)) != 2 for each in shapes):
        return batches
    return [{name: tensor[:, :tokens] for name, tensor in batch.items()} for batch in batches]


def smoothable(network: Network) -> tuple[Network, list[SmoothingGroup]]:
    """A copy of `network` whose weights may change, and its groups; `network` itself where there are none."""
    work = network.copy()
    assert work.module is not None
    untie(work.module)
    groups = smoothing_groups(work, recording_batch(work))
    return (work, groups) if groups else (network, groups)


def choose_strengths(
    network: Network,
    judges: Sequence[Batch],
    groups: list[SmoothingGroup],
    ranges: Mapping[str, Ranges],
    rules: Rules,
) -> Strengths:
    """A strength per kind of group, as given or searched on the batches `judges`; the weights stay as they are."""
    strength = rules.options.smoothing
    if not groups or not isinstance(strength, str):
        return dict.fromkeys(kinds_of(groups).values(), strength if isinstance(strength, float) else None)
    trial = Trial(network, judges, groups, ranges, rules)
    strengths = search(groups, peaks_of(groups, ranges), trial.judge)
    trial.restore()
    return strengths


def apply_factors(groups: Sequence[SmoothingGroup], factors: Mapping[str, torch.Tensor]) -> None:
    """Smooth the groups' weights in place."""
    for group in groups:
        if group.sites[0] in factors:
            group.apply(factors[group.sites[0]])


class Trial:
    """A network under changing factors, judged by `output_loss` on a few batches.

    Only what a change of factors touches is done again: those weights, their codes, the plans of their sites. `ranges`
    come from other samples than the batches where there are enough, so that ranges which do not carry over are seen.
    """

    def __init__(
        self,
        network: Network,
        batches: Sequence[Batch],
        groups: list[SmoothingGroup],
        ranges: Mapping[str, Ranges],
        rules: Rules,
    ) -> None:
        self.network, self.groups, self.ranges, self.rules = network, groups, ranges, rules
        batches = self.batches = beginnings(network, batches, JUDGE_TOKENS)
        self.trials = 0
        with torch.no_grad():
            self.references = [network.forward(batch) for batch in batches]
        self.plans = {name: site_plan(seen, rules) for name, seen in ranges.items()}
        self.weights: dict[tuple[Any, ...], Quantized] = {}
        self.applied: dict[str, torch.Tensor] = {}
        self.kept = [(t, t.detach().clone()) for t in {id(t): t for g in groups for t in _tensors(g)}.values()]

    def judge(self, factors: Mapping[str, torch.Tensor]) -> float:
        """The loss of the whole quantized network with these factors."""
        self.trials += 1
        report(f"smoothing, trial {self.trials}")
        self._apply(factors)
        plan = Plan(method="int", sites=self.plans)
        executor = Executor(self.network, plan, exact=True, prepared=True, weights=self.weights)
        logits = self.network.kind in ("language", "image")
        return sum(
            output_loss(executor.run(batch), reference, logits=logits)
            for batch, reference in zip(self.batches, self.references, strict=True)
        )

    @torch.no_grad()
    def restore(self) -> None:
        """Bring the weights back, bit for bit."""
        for tensor, before in self.kept:
            tensor.copy_(before)

    def _apply(self, factors: Mapping[str, torch.Tensor]) -> None:
        touched: set[int] = set()
        stale: set[str] = set()
        for group in self.groups:
            first = group.sites[0]
            old, new = self.applied.get(first), factors.get(first)
            if new is old or (new is not None and old is not None and torch.equal(new, old)):
                continue
            one = torch.ones(group.channels, device=group.sources[0].device)
            group.apply((one if new is None else new) / (one if old is None else old))
            self.applied[first] = one if new is None else new
            touched |= {_memory(t) for t in _tensors(group)}
            stale |= {group.through or first}
        seen = smoothed_ranges(self.ranges, self.groups, factors)
        stale |= {name for name, r in self.ranges.items() if r.weight is not None and _memory(r.weight) in touched}
        for name in stale & set(self.plans):
            self.plans[name] = site_plan(seen[name], self.rules)
        self.weights = {key: w for key, w in self.weights.items() if key[0] not in stale}


def _tensors(group: SmoothingGroup) -> list[torch.Tensor]:
    return [*group.sources, *(weight for weight, _ in group.readers)]


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


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
            if seen.first_low is not None and seen.first_high is not None:
                result[name].first_low, result[name].first_high = seen.first_low / s, seen.first_high / s
        values = ranges.get(group.through or "")
        if values is not None and values.w_low is not None and values.w_high is not None:
            heads = s.view(-1, group.head, 1)
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


def kinds_of(groups: Sequence[SmoothingGroup]) -> dict[str, str]:
    """First site of a group -> its kind: the site's name without numbers, but for the last block.

    Blocks are alike, except that the last one feeds the head: its activations spread over other ranges.
    """
    blocks = {name: int(found[0]) for name in (g.sites[0] for g in groups) if (found := re.findall(r"\d+", name))}
    last = max(blocks.values(), default=-1)
    ends = {name for name, block in blocks.items() if block == last and len(set(blocks.values())) > 1}
    return {g.sites[0]: g.sites[0] if g.sites[0] in ends else re.sub(r"\d+", "*", g.sites[0]) for g in groups}


def peaks_of(groups: Sequence[SmoothingGroup], ranges: Mapping[str, Ranges]) -> Peaks:
    """Per group, by its first site: max |X_j| and max |W_j| [K], of the unsmoothed network."""
    found = {}
    for group in groups:
        seen = ranges[group.sites[0]]
        x = torch.maximum(seen.x_high.abs(), seen.x_low.abs())
        found[group.sites[0]] = (x, group.weight_peaks().float())
    return found


def all_factors(groups: list[SmoothingGroup], peaks: Peaks, strengths: Strengths) -> dict[str, torch.Tensor]:
    """Factors [K] per site for one strength per kind; None leaves a kind unsmoothed."""
    factors: dict[str, torch.Tensor] = {}
    kinds = kinds_of(groups)
    for group in groups:
        strength = strengths[kinds[group.sites[0]]]
        if strength is not None:
            s = group.tie(smoothing_factors(*peaks[group.sites[0]], strength))
            factors |= dict.fromkeys(group.sites, s)
    return factors


def search(groups: list[SmoothingGroup], peaks: Peaks, judge: Judge) -> Strengths:
    """The strengths that `judge` likes best; none at all unless that is clearly worse."""
    kinds = sorted(set(kinds_of(groups).values()))
    losses: dict[tuple[float | None, ...], float] = {}

    def loss(strengths: Strengths) -> float:
        key = tuple(strengths[k] for k in kinds)
        if key not in losses:
            losses[key] = judge(all_factors(groups, peaks, strengths))
        return losses[key]

    def better(of: Strengths, challengers: list[Strengths]) -> Strengths:
        challenger = min(challengers, key=loss)
        return challenger if loss(challenger) < (1 - LEAST_GAIN) * loss(of) else of

    best = better(dict.fromkeys(kinds), [dict.fromkeys(kinds, strength) for strength in GRID])
    for one in kinds if len(kinds) > 1 else []:
        best = better(best, [{**best, one: strength} for strength in _near(best[one])])
    return best


def _near(strength: float | None) -> list[float | None]:
    """Strengths worth trying beside one: its neighbours on the grid; a few, beside none."""
    if strength is None:
        return list(GRID[::2])
    i = GRID.index(strength)
    return [*GRID[max(0, i - 1) : i], *GRID[i + 1 : i + 2]]
