"""Claims about networks with weights: what the budget of accuracy allows, and whether the distortion formula holds."""

import dataclasses
from collections.abc import Mapping

from bitwright.accelerators.dynamic_precision.bit_group import per_port
from bitwright.methods.classes import NARROW_BITS, WIDE_BITS
from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.drift import claims as published
from bitwright.studies.reproduce.drift.arrays import DATAFLOWS, DRIFT, SEQ, Machine, described, key
from bitwright.studies.reproduce.drift.bounds import equal_share
from bitwright.studies.reproduce.drift.claims import SPEEDUP
from bitwright.studies.reproduce.drift.distortion import FIRST_USEFUL, Bin
from bitwright.studies.reproduce.drift.ladder import DRQ, INT8, KINDS, MIXED, STEPS, Ladder, Rung
from bitwright.studies.reproduce.drift.measured import Measured
from bitwright.studies.reproduce.drift.options import StudyOptions
from bitwright.words import counted


def reached_claims(network: Measured, machines: Mapping[str, Machine], options: StudyOptions) -> list[Claim]:
    """Of one network with a ladder."""
    assert network.ladder is not None
    told = {
        "networks": network.network,
        "budget": f"{100 * options.budget:g} % of expected accuracy, judged without labels",
        "calibrated_on": network.ladder.calibrated_on,
        "costed_on": network.costed_on,
        "machines": described(machines),
    }
    return [*_budget(network.ladder, told, machines, options), _distortion(network, told, options)]


def _budget(
    ladder: Ladder, told: Mapping[str, str], machines: Mapping[str, Machine], options: StudyOptions
) -> list[Claim]:
    last = ladder.rung(KINDS)
    if last.reason:
        return [claim.found(None, told, last.reason) for claim in (published.BUDGET, published.SHARE)]
    share = equal_share(1 / last.time)
    lacking = (
        f"{100 * (equal_share(SPEEDUP) - share):.0f} points short of the {100 * equal_share(SPEEDUP):.1f} % that "
        f"{SPEEDUP} needs"
    )
    reached = "as much as the published speed-up needs" if 1 / last.time >= SPEEDUP else lacking
    by_class = ", ".join(f"{name} {100 * value:.0f} %" for name, value in last.shares.items())
    return [
        published.BUDGET.found(
            1 / last.time,
            told,
            f"{_steps(ladder)} {_loss(last)} {_on_machines(ladder, last)} {_filled(machines, options)}",
        ),
        published.SHARE.found(
            100 * share,
            told,
            f"multiply-accumulates by class: {by_class}; multiplier time is as at {100 * share:.0f} % of both "
            f"operands, {reached}. {_rivals(ladder)}",
        ),
    ]


def _steps(ladder: Ladder) -> str:
    """What each step gains."""
    told = []
    for name in STEPS:
        rung = ladder.rung(name)
        told.append(f"{name}: failed" if rung.reason else f"{name}: {1 / rung.time:.2f}")
    return (
        f"Speed-up of multipliers, step by step: {'; '.join(told)}. Smoothing, which int8's own search chooses, is at "
        f"{counted(len(ladder.base.smoothing), 'site')}. On few samples loss does not always fall as delta grows, "
        "so bisection "
        "may end at more than one delta, and a step that helps can look as if it did not."
    )


def _loss(rung: Rung) -> str:
    return (
        f"Expected accuracy falls by {100 * rung.loss:.2g} % on the calibration samples, by {100 * rung.held_out:.2g} "
        "% on unseen ones."
    )


def _on_machines(ladder: Ladder, rung: Rung) -> str:
    base = ladder.rung(INT8)
    told = []
    for name in (DRIFT, SEQ):
        for dataflow in DATAFLOWS:
            at, reference = key(name, dataflow), key(SEQ, dataflow)
            if at in rung.costs and reference in base.costs:
                own, static = rung.costs[at], base.costs[reference]
                faster, saved = static.cycles / own.cycles, static.energy_pj / own.energy_pj
                told.append(f"{at}: {faster:.2f} in cycles, {saved:.2f} in energy")
    return f"On machines, over int8 on the uncut array: {'; '.join(told)}."


def _filled(machines: Mapping[str, Machine], options: StudyOptions) -> str:
    """How much of the array's rows a block fills."""
    rows = machines[key(DRIFT, DATAFLOWS[0])].rows
    taken = [-(-options.block // per_port(bits)) for bits in (NARROW_BITS, WIDE_BITS)]
    return (
        f"A block of {options.block} fills {min(rows, taken[0])} of {rows} rows at 4 bits and {min(rows, taken[1])} at "
        "8, and each block is a product of its own."
    )


def _rivals(ladder: Ladder) -> str:
    told = []
    for name in (DRQ, MIXED):
        rung = ladder.rung(name)
        told.append(f"{name} failed" if rung.reason else f"{name} {1 / rung.time:.2f}")
    return f"At the same budget, in multiplier time: {', '.join(told)}."


def _distortion(network: Measured, told: Mapping[str, str], options: StudyOptions) -> Claim:
    useful = [each for each in network.distortions if each.low >= FIRST_USEFUL]
    if not useful:
        return published.DISTORTION.found(None, told, "no sub-tensor is that dense")
    formula, measured = (100 * _weighted(useful, name) for name in ("predicted", "measured"))
    by_operand = "; ".join(
        f"{operand}: {100 * _weighted(found, 'predicted'):.2f} % by formula, "
        f"{100 * _weighted(found, 'measured'):.2f} % measured"
        for operand in "xw"
        if (found := [each for each in useful if each.operand == operand])
    )
    low, high = (pick(each.measured / each.predicted for each in network.distortions) for pick in (min, max))
    reason = (
        f"Of {sum(each.count for each in useful):,} sub-tensors of {options.block} elements with at least "
        f"{FIRST_USEFUL:g} steps of deviation: {by_operand}. Over all bins the measured error is {low:.2f} to "
        f"{high:.2f} of the formula's. {_draws(useful)} The rest is data that are not Laplace, or not around zero, "
        "from which narrow codes count here."
    )
    return dataclasses.replace(published.DISTORTION, published=formula).found(measured, told, reason)


def _draws(bins: list[Bin]) -> str:
    """How far Laplace data themselves are from the formula, once the range test has sorted them."""
    ratios = [each.drawn / each.predicted for each in bins if each.drawn is not None]
    if not ratios:
        return "There are too few of them to draw Laplace data alike."
    return (
        f"Laplace draws made narrow by the same tests are at {min(ratios):.2f} to {max(ratios):.2f} of it there: the "
        "range test gives short tails to sub-tensors of many steps, and long ones to those of few."
    )


def _weighted(bins: list[Bin], name: str) -> float:
    """Mean over sub-tensors."""
    return sum(each.count * float(getattr(each, name)) for each in bins) / sum(each.count for each in bins)
