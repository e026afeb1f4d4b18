"""Drift's claims with what was measured: every reason is made of the numbers behind the figure."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.drift import claims as published
from bitwright.studies.reproduce.drift.arrays import (
    BITFUSION,
    DATAFLOWS,
    DRIFT,
    EYERISS,
    ROW_GROUPS,
    SEQ,
    Machine,
    described,
    drq_name,
)
from bitwright.studies.reproduce.drift.bounds import EnergyParts, equal_share, fluid_speedup
from bitwright.studies.reproduce.drift.claims import INT8, RIVALS, SAVING, SPEEDUP
from bitwright.studies.reproduce.drift.measured import Measured
from bitwright.studies.reproduce.drift.options import StudyOptions
from bitwright.studies.reproduce.drift.reached import reached_claims
from bitwright.studies.reproduce.drift.runs import IN_BLOCKS, LIST, PRICES, Stated
from bitwright.words import counted

FIRST, OTHER = DATAFLOWS


def findings(networks: Sequence[Measured], machines: Mapping[str, Machine], options: StudyOptions) -> list[Claim]:
    """The system's claims.

    Those of shapes are over networks of shapes only, or over all if none is; those of weights for each that has them.
    """
    asked = [each for each in networks if not each.has_weights] or networks
    shapes = {each.network: each.stated for each in asked if each.stated is not None}
    failed = "; ".join(f"{each.network}: {each.reason}" for each in asked if each.reason)
    told = _conditions(asked, machines, options)
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
    reason = (
        f"{_each(shapes, lambda each: each.speedup(rival, FIRST))}; without the limit of DRAM {alone:.2f}; with "
        f"{OTHER} {other:.2f}. Shares of {options.x_share:g} of x and {options.w_share:g} of w are stated. "
    )
    return published.SPEEDUPS[rival].found(measured, told, reason + _why(rival, shapes, measured, options))


def _why(rival: str, shapes: Mapping[str, Stated], measured: float, options: StudyOptions) -> str:
    """What a rival's ratio comes from."""
    bound = fluid_speedup(options.x_share, options.w_share)
    if rival == SEQ:
        faster = sum(each.speedup(rival, FIRST) > 1 for each in shapes.values())
        return (
            f"Cutting is faster on {faster} of {counted(len(shapes), 'network')} with {FIRST}: it saves filling and "
            "draining for "
            "every product in turn, and loses where parts end unequally."
        )
    if rival == INT8:
        return f"{_against_static(measured, bound)} {_in_blocks(shapes, options)}"
    if rival == BITFUSION:
        return (
            f"It loads weights between streams in either case, as drift does with {OTHER} only, so {FIRST} counts that "
            f"loading as well; the bound of multipliers alone is {bound:.2f}."
        )
    if rival == EYERISS:
        return (
            f"It has 16-bit PEs, and fewer: an array of the same area, not of the same multipliers. {_side(measured)}"
        )
    groups = next(each for each in ROW_GROUPS if drq_name(each) == rival)
    wave = 4 - 3 * options.x_share**groups
    return (
        f"A wave takes {wave:.2f} of 4 cycles at that share of x, {4 / wave:.2f} times as fast as INT8: w becomes "
        f"narrow with every narrow x, so {100 * options.x_share:.0f} % of products are 4 by 4 bits, against "
        f"{100 * options.x_share * options.w_share:.0f} % in drift. Whether accuracy bears equal shares is not asked "
        f"here. {_side(measured)}"
    )


def _in_blocks(shapes: Mapping[str, Stated], options: StudyOptions) -> str:
    """What finer sub-tensors cost the machine."""
    over = IN_BLOCKS[DRIFT]
    speedup = mean(each.speedup(INT8, FIRST, over) for each in shapes.values())
    saving = mean(each.saving(INT8, FIRST, over=over) for each in shapes.values())
    return (
        "Sub-tensors are whole rows and columns here, in convolutions pixels, so that each position of a kernel is a "
        f"product of its own; in blocks of {options.block} with affine codes, which networks bear better, the same "
        f"shares give {speedup:.2f} ({saving:.2f} of energy): a block fills fewer rows of the array, and each is "
        "filled, drained and scheduled for itself."
    )


def _against_static(measured: float, bound: float) -> str:
    if bound < SPEEDUP:
        return (
            f"Multipliers that are never idle would give {bound:.2f}, less than published: that takes larger "
            f"shares ({equal_share(SPEEDUP):.3f} of each operand), a larger array than the rival's, or a rival that "
            "loses time otherwise."
        )
    return (
        f"Multipliers that are never idle would give {bound:.2f}, of which {100 * (1 - measured / bound):.0f} % are "
        "lost to fills, edges and cuts."
    )


def _side(measured: float) -> str:
    side = "Less" if measured < SPEEDUP else "More"
    return f"{side} than published: such a rival alone does not explain the figure at these shares."


def _saving(rival: str, shapes: Mapping[str, Stated], told: Mapping[str, str]) -> Claim:
    measured = mean(each.saving(rival, FIRST) for each in shapes.values())
    prices = ", ".join(
        f"{mean(each.saving(rival, FIRST, price) for each in shapes.values()):.2f} at {price} pJ per bit"
        for price in PRICES
        if price != LIST
    )
    other = mean(each.saving(rival, OTHER) for each in shapes.values())
    reason = (
        f"{_each(shapes, lambda each: each.saving(rival, FIRST))} at the DRAM price of the list; {prices}; with "
        f"{OTHER} {other:.2f}. {_where(rival, shapes)} No energy or area table of the paper is public."
    )
    return published.SAVINGS[rival].found(measured, told, reason)


def _where(rival: str, shapes: Mapping[str, Stated]) -> str:
    """Shares of energy by part, over all networks alike."""
    said = []
    for name in (rival, "drift"):
        runs = [each.run(name, FIRST) for each in shapes.values()]
        shares = {
            part: sum(run.parts_pj[LIST].get(part, 0.0) / run.energy_pj[LIST] for run in runs) / len(runs)
            for part in {part for run in runs for part in run.parts_pj[LIST]}
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
    by_price = {
        price: {name: EnergyParts.of(each.run(INT8, FIRST).parts_pj[price]) for name, each in shapes.items()}
        for price in PRICES
    }
    parts = by_price[LIST]
    needed = [each.share_for(SAVING) for each in parts.values()]
    feasible = [share for share in needed if share is not None]
    free = {name: _without_dram(each) for name, each in shapes.items()}
    reason = (
        f"If all energy shrank with multiplier time, {100 * equal_share(SAVING):.1f} % of each operand would have to "
        f"be narrow, more than the {100 * equal_share(SPEEDUP):.1f} % of the speed-up: the saving is the larger "
        "figure, so something must save beside multipliers, or the rival spends more otherwise. Here array and leakage "
        "shrink with multiplier time at best, DRAM and the operands' SRAMs with bits (in the same tiles), the rest "
        f"not: {', '.join(f'{name} {_split(each)}' for name, each in parts.items())} of int8's energy. The share "
        f"needed then: {_needed(parts)} at the DRAM price of the list; {_needed(by_price['4'])} at 4 pJ per bit; "
        f"{_needed(free)} if DRAM's energy did not count"
    )
    measured = 100 * sum(feasible) / len(feasible) if len(feasible) == len(needed) else None
    return published.ENERGY_SHARE.found(measured, told, f"{reason}.")


def _without_dram(found: Stated) -> EnergyParts:
    parts = found.run(INT8, FIRST).parts_pj[LIST]
    return EnergyParts.of({name: energy for name, energy in parts.items() if name != "dram"})


def _split(parts: EnergyParts) -> str:
    return "/".join(f"{100 * each / parts.total:.0f}" for each in (parts.timed, parts.moved, parts.kept)) + " %"


def _needed(parts: Mapping[str, EnergyParts]) -> str:
    """Of each network; how far it gets where no share suffices."""
    told = []
    for name, each in parts.items():
        share = each.share_for(SAVING)
        most = f"none ({each.best_saving(1):.2f}x with all narrow)"
        told.append(f"{name} {most if share is None else f'{100 * share:.0f} %'}")
    return ", ".join(told)
