"""Mixed widths where they matter: which kinds of layers keep wide weights beside narrow ones.

Kinds are depthwise convolutions, whose few weights have no others to make up for their errors, the first layer and the
last. Ours: each kind alone is tried wide, and ranked by what the loss of the output falls by for what multiplier time
(products of bits) rises by; in that order each stays wide if loss times time falls by `LEAST_GAIN` at least. Samples
that chose no weight judge. Exceptions take `MOST_TIME` more multiplier time at most. Wide weights are integers with a
scale per output channel, by its largest magnitude.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch

from bitwright.formats import Integer, PerChannel
from bitwright.methods.integer.scales import symmetric_scale
from bitwright.methods.plan import OperandPlan, Plan
from bitwright.methods.refine.targets import Target
from bitwright.methods.refine.trial import Weights
from bitwright.networks.sites import Site

LEAST_GAIN = 0.03
MOST_TIME = 0.25
Loss = Callable[[Plan, Weights], float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Widened:
    """What was tried.

    Attributes
    ----------
    plan : Plan
        With the kinds that stay wide, and a note that says so.
    wide : frozenset of str
        Their sites.
    """

    plan: Plan
    wide: frozenset[str]


def kinds_of(sites: Sequence[Site], may: Callable[[str], bool]) -> dict[str, list[str]]:
    """Kind -> its sites that may be wide; a depthwise first layer is of the first kind."""
    layers = [site for site in sites if site.static_weight]
    ends = {"first": layers[:1], "last": layers[-1:]}
    apart = {site.name for each in ends.values() for site in each}
    depthwise = [
        site for site in layers if site.conv and 1 < site.groups == site.conv.channels and site.name not in apart
    ]
    kinds = {"depthwise": depthwise, **ends}
    found = {kind: [site.name for site in some if may(site.name)] for kind, some in kinds.items()}
    return {kind: names for kind, names in found.items() if names}


def widened(
    plan: Plan,
    weights: Weights,
    *,
    kinds: Mapping[str, Sequence[str]],
    operands: Mapping[str, OperandPlan],
    parameters: Mapping[str, str],
    sites: Sequence[Site],
    loss: Loss,
) -> Widened:
    """Which `kinds` stay wide.

    Parameters
    ----------
    weights : mapping
        Parameter name -> values that narrow weights were rounded to; wide ones have the network's.
    operands : mapping
        Site -> its wide weight, of all sites of the kinds.
    parameters : mapping
        Site -> its parameter.
    loss : callable
        (plan, weights) -> loss on samples that judge.
    """

    def tried(some: Sequence[str]) -> tuple[Plan, dict[str, torch.Tensor]]:
        names = {name for kind in some for name in kinds[kind]}
        made = {name: dataclasses.replace(plan.sites[name], w=operands[name]) for name in names}
        kept = {parameters[name] for name in names if name in parameters}
        own = {name: values for name, values in weights.items() if name not in kept}
        return dataclasses.replace(plan, sites={**plan.sites, **made}), own

    def judged(some: Sequence[str]) -> tuple[float, float]:
        made, own = tried(some)
        return loss(made, own), multiplier_time(made, sites)

    base, start = judged([])
    alone = {kind: judged([kind]) for kind in kinds}
    order = sorted(kinds, key=lambda kind: (base - alone[kind][0]) / (alone[kind][1] / start - 1), reverse=True)
    chosen: list[str] = []
    best, time = base, start
    for kind in order:
        found, spent = judged([*chosen, kind]) if chosen else alone[kind]
        if spent <= (1 + MOST_TIME) * start and found * spent < (1 - LEAST_GAIN) * best * time:
            chosen.append(kind)
            best, time = found, spent
    made, _ = tried(chosen)
    note = f"{plan.method}: {_said(chosen, kinds, operands)} (tried: {', '.join(kinds)})"
    if chosen:
        note += (
            f", for {100 * (time / start - 1):.2g} % more multiplier time; the loss on held-out samples falls from "
            f"{base:.3g} to {best:.3g}"
        )
    return Widened(
        plan=dataclasses.replace(made, notes=(*plan.notes, note)),
        wide=frozenset(name for kind in chosen for name in kinds[kind]),
    )


def _said(chosen: Sequence[str], kinds: Mapping[str, Sequence[str]], operands: Mapping[str, OperandPlan]) -> str:
    if not chosen:
        return "no kind of layer keeps wide weights"
    bits = operands[kinds[chosen[0]][0]].format.bits
    return f"weights of {bits} bits in layers of the kind {', '.join(chosen)}"


def multiplier_time(plan: Plan, sites: Sequence[Site]) -> float:
    """Multiply-accumulates times the bits of both operands."""
    return float(sum(site.macs * plan.site(site.name).x_bits * plan.site(site.name).w_bits for site in sites))


def wide_operand(target: Target, weight: torch.Tensor, bits: int) -> OperandPlan:
    """A weight as integers with a scale per output channel."""
    fmt = Integer(bits=bits, signed=True, narrow=True)
    w = target.view(weight).detach().float()
    peaks = w.abs().amax(tuple(range(target.lead + 1, w.dim())), keepdim=True)
    return OperandPlan(format=fmt, granularity=PerChannel(), scale=symmetric_scale(peaks, fmt).cpu())
