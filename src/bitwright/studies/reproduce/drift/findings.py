"""Drift's claims with what was measured: every reason is made of the numbers behind the figure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.drift import claims as published
from bitwright.studies.reproduce.drift.arrays import DATAFLOWS, SEQ, Machine, described
from bitwright.studies.reproduce.drift.bounds import EnergyParts, equal_share, fluid_speedup
from bitwright.studies.reproduce.drift.claims import INT8, RIVALS, SAVING, SPEEDUP
from bitwright.studies.reproduce.drift.measured import Measured
from bitwright.studies.reproduce.drift.options import StudyOptions
from bitwright.studies.reproduce.drift.reached import reached_claims
from bitwright.studies.reproduce.drift.runs import LIST, PRICES, Stated

FIRST, OTHER = DATAFLOWS


def findings(networks: Sequence[Measured], machines: Mapping[str, Machine], options: StudyOptions) -> list[Claim]:
    """The system's claims: those of shapes over all networks, those of weights for each network that has them."""
    shapes = {each.network: each.stated for each in networks if each.stated is not None}
    failed = "; ".join(f"{each.network}: {each.reason}" for each in networks if each.reason)
    told = _conditions(networks, machines, options)
    if not shapes or failed:
        found = [claim.found(None, told, failed or "no network was measured") for claim in published.OF_SHAPES]
    else:
        found = [
            *(_speedup(rival, shapes, told, options) for rival in RIVALS),
            *(_saving(rival, shapes, told) for rival in RIVALS),
            _fluid(shapes, told, options),
            _energy_share(shapes, told),
        ]
    return [*found, *(claim for each in networks if each.ladder for claim in reached_claims(each, machines, options))]


def _conditions(networks: Sequence[Measured], machines: Mapping[str, Machine], options: StudyOptions) -> dict[str, str]:
    return {
        "networks": "; ".join(f"{each.network} ({each.input})" for each in networks),
        "stated": options.in_words,
        "dataflow": f"{FIRST} of both; cycles and energy with DRAM",
        "machines": described(machines),
        "mean": "geometric, over networks",
    }


def mean(values: Iterable[float]) -> float:
    """Geometric.

    Examples
    --------
    >>> round(mean([1.0, 4.0]), 9)
    2.0
    """
    kept = list(values)
    return math.exp(sum(map(math.log, kept)) / len(kept))


def _each(shapes: Mapping[str, Stated], figure: Callable[[Stated], float]) -> str:
    return ", ".join(f"{name} {figure(each):.2f}" for name, each in shapes.items())


def _speedup(rival: str, shapes: Mapping[str, Stated], told: Mapping[str, str], options: StudyOptions) -> Claim:
    measured = mean(each.speedup(rival, FIRST) for each in shapes.values())
    alone = mean(each.compute_speedup(rival, FIRST) for each in shapes.values())
    other = mean(each.speedup(rival, OTHER) for each in shapes.values())
    bound = fluid_speedup(options.x_share, options.w_share)
    reason = (
        f"{_each(shapes, lambda each: each.speedup(rival, FIRST))}; {alone:.2f} without the limit of DRAM; with {OTHER} "
        f"{other:.2f}. Our reconstruction at stated shares of {options.x_share:g} and {options.w_share:g}"
    )
    if rival in (INT8, "bitfusion"):
        reason += (
            f", for which multipliers that are never idle would give {bound:.2f}. {_against_static(measured, bound)}"
        )
    elif rival == SEQ:
        faster = [name for name, each in shapes.items() if each.speedup(rival, FIRST) < 1]
        reason += (
            f". Cutting the array is faster on {len(shapes) - len(faster)} of {len(shapes)} networks: what it saves is "
            f"filling and draining, and what it loses the longest part's rounding"
        )
    else:
        reason += f". {_verdict(measured)}"
    return published.SPEEDUPS[rival].found(measured, told, f"{reason}.".replace("..", "."))


def _against_static(measured: float, bound: float) -> str:
    if bound < SPEEDUP:
        return (
            f"The published figure is above that bound, so that it takes larger shares ({equal_share(SPEEDUP):.3f} of "
            "each operand), a larger array than the rival's, or a rival that loses time otherwise"
        )
    return (
        f"The bound allows the published figure; {100 * (1 - measured / bound):.0f} % of it is lost to fills and edges"
    )


def _verdict(measured: float) -> str:
    side = "less" if measured < SPEEDUP else "more"
    return f"That is {side} than published: such a rival alone does not explain the figure at these shares"


def _saving(rival: str, shapes: Mapping[str, Stated], told: Mapping[str, str]) -> Claim:
    measured = mean(each.saving(rival, FIRST) for each in shapes.values())
    prices = ", ".join(
        f"{mean(each.saving(rival, FIRST, price) for each in shapes.values()):.2f} at {price} pJ per bit"
        for price in PRICES
        if price != LIST
    )
    other = mean(each.saving(rival, OTHER) for each in shapes.values())
    reason = (
        f"{_each(shapes, lambda each: each.saving(rival, FIRST))} at the DRAM price of the list; {prices} of DRAM; with "
        f"{OTHER} {other:.2f}. {_where(rival, shapes)} No energy or area table of the paper is public."
    )
    return published.SAVINGS[rival].found(measured, told, reason)


def _where(rival: str, shapes: Mapping[str, Stated]) -> str:
    """Shares of energy by part, over all networks alike."""
    said = []
    for name in (rival, "drift"):
        runs = [each.run(name, FIRST) for each in shapes.values()]
        shares = {
            part: sum(run.parts_pj.get(part, 0.0) / run.energy_pj[LIST] for run in runs) / len(runs)
            for part in {part for run in runs for part in run.parts_pj}
        }
        largest = sorted(shares, key=lambda part: -shares[part])[:3]
        said.append(f"{name}: " + ", ".join(f"{part.replace('_', ' ')} {100 * shares[part]:.0f} %" for part in largest))
    return f"Largest parts of energy, {'; '.join(said)}."


def _fluid(shapes: Mapping[str, Stated], told: Mapping[str, str], options: StudyOptions) -> Claim:
    bound = fluid_speedup(options.x_share, options.w_share)
    alone = mean(each.compute_speedup(INT8, FIRST) for each in shapes.values())
    reason = (
        f"The bound at these shares is {bound:.2f}; with what stays wide counted ({_ends(options)}), "
        f"{_each(shapes, lambda each: each.fluid)}; reached, without the limit of DRAM, "
        f"{_each(shapes, lambda each: each.compute_speedup(INT8, FIRST))}. The rest is lost to fills, drains, cuts in "
        "whole rows and columns, and to schedules"
    )
    return published.FLUID.found(alone, told, f"{reason}.")


def _ends(options: StudyOptions) -> str:
    return "depthwise layers" if options.narrow_ends else "the first and the last layer, and depthwise ones"


def _energy_share(shapes: Mapping[str, Stated], told: Mapping[str, str]) -> Claim:
    """What would have to hold for the energy saving, from the static network's parts of energy here."""
    parts = {name: EnergyParts.of(each.run(INT8, FIRST).parts_pj) for name, each in shapes.items()}
    needed = {name: each.share_for(SAVING) for name, each in parts.items()}
    feasible = [share for share in needed.values() if share is not None]
    told_each = ", ".join(
        f"{name} {100 * share:.0f} %"
        if share is not None
        else f"{name} none ({parts[name].best_saving(1):.2f} at 100 %)"
        for name, share in needed.items()
    )
    split = ", ".join(
        f"{name} {100 * each.timed / each.total:.0f}/{100 * each.moved / each.total:.0f}/{100 * each.kept / each.total:.0f} %"
        for name, each in parts.items()
    )
    reason = (
        f"If all energy shrank with multiplier time, {100 * equal_share(SAVING):.1f} % of each operand would have to be "
        f"narrow, more than the {100 * equal_share(SPEEDUP):.1f} % of the speed-up: the saving is the larger of the two "
        f"figures, so that something else must save besides. Here array and leakage shrink so at best, DRAM and the "
        f"operands' SRAMs with bits, the rest not at all ({split} of int8's energy); the share needed then is "
        f"{told_each}"
    )
    complete = len(feasible) == len(needed)
    return published.ENERGY_SHARE.found(100 * sum(feasible) / len(feasible) if complete else None, told, f"{reason}.")
