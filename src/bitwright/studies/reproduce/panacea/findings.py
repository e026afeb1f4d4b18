"""Panacea's claims with what was measured: every reason is made of the numbers behind the figure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.formats import SPLITS
from bitwright.methods.plan import Plan
from bitwright.studies.machines import Footing
from bitwright.studies.reproduce.claims import Claim
from bitwright.studies.reproduce.panacea.claims import BOUND, CENTRED, EFFICIENCY, FREQUENT, SLICED
from bitwright.studies.reproduce.panacea.ladder import METHOD, Change, RivalScore, Rung
from bitwright.studies.reproduce.panacea.rates import weighted
from bitwright.studies.reproduce.panacea.rivalry import MEMORY, Rivalry, busy, waiting
from bitwright.words import counted

BY_MACS = "weighted by multiply-accumulates"


def findings(
    ladder: Sequence[Rung],
    rivals: Rivalry,
    sibia: RivalScore,
    *,
    plan: Plan,
    standing: Footing,
    options: Mapping[str, Any],
) -> tuple[Claim, ...]:
    """The system's claims on one network.

    Parameters
    ----------
    ladder, rivals
        What was measured.
    sibia : RivalScore
        The score of its plan.
    plan : Plan
        Panacea's, with zero points and splits.
    standing : Footing
        Of both machines.
    options : mapping
        Of the method, as given.
    """
    what = {
        "network": rivals.panacea.network,
        "input": rivals.panacea.input,
        "calibrated_on": plan.calibrated_on,
        "options": ", ".join(f"{key}={value}" for key, value in options.items()) or "defaults",
    }
    on_machines = {**what, "substrate": standing.name, **_machines(rivals)}
    zeros, frequent, centred, sliced = ladder
    return (
        EFFICIENCY.found(rivals.energy_ratio, on_machines, _of_energy(rivals) + _of_scores(sliced, sibia)),
        BOUND.found(rivals.sides_ratio, what, _of_sides(rivals)),
        FREQUENT.found(_points(zeros, frequent), what, _of_rungs(zeros, frequent, _nonzero(frequent))),
        CENTRED.found(_points(frequent, centred), what, _of_rungs(frequent, centred, _moved(frequent, centred))),
        SLICED.found(_points(centred, sliced), what, _of_rungs(centred, sliced, _split(sliced, plan))),
    )


def _machines(rivals: Rivalry) -> dict[str, str]:
    """The choices that the ratio depends on."""
    panacea, sibia = rivals.panacea.parameters, rivals.sibia.parameters
    return {
        "operators_per_pe": f"Panacea {panacea['dynamic_operators']} dynamic and {panacea['static_operators']} static, "
        f"Sibia {sibia['operators']}",
        "dynamic_work": str(panacea["dynamic_work"]),
        "double_tile": str(panacea["double_tile"]).lower(),
        "run_bits": f"Panacea {panacea['run_bits']}, Sibia {sibia['run_bits']}",
    }


def _of_energy(rivals: Rivalry) -> str:
    """Where the energy ratio comes from, part by part, what bounds it, and where cycles go."""
    parts = ", ".join(
        f"{part.name} {_percent(part.panacea_share)} at {_times(part.ratio)}"
        for part in rivals.parts
        if part.ratio is not None
    )
    first, second = rivals.panacea, rivals.sibia
    return (
        f"shares of Panacea's energy, and Sibia's by Panacea's: {parts}. "
        f"Sibia moves {_times(rivals.traffic_ratio)} the DRAM bytes, of which stored sizes are "
        f"{_times(rivals.stored_ratio)} and mappings the rest. "
        f"It executes {_times(rivals.product_ratio)} the slice products; the skip rates allow "
        f"{_times(rivals.ideal_ratio)} ({_rates(rivals)}, {BY_MACS}). {_limit(rivals)} "
        f"Sibia takes {_times(rivals.cycle_ratio)} the cycles: stalls for memory are {_percent(waiting(first.cost))} "
        f"of Panacea's and {_percent(waiting(second.cost))} of its own; in the others {_percent(busy(first))} and "
        f"{_percent(busy(second))} of the multipliers work."
    )


def _of_scores(last: Rung, sibia: RivalScore) -> str:
    """What the plans score: energy is compared at unequal scores."""
    if last.evaluation is None or sibia.evaluation is None:
        return ""
    own, other = last.evaluation.score, sibia.evaluation.score
    unit = f" {own.unit}" if own.unit else ""
    lead = "" if sibia.lead is None else f" ({_change(sibia.lead, own.unit)})"
    return f" {own.metric}: Panacea's plan {own.value:.4g}{unit}, Sibia's {other.value:.4g}{unit}{lead}."


def _limit(rivals: Rivalry) -> str:
    """Whether fewer products alone could reach the published figure."""
    free, memory = rivals.free_products_ratio, next(part for part in rivals.parts if part.name == MEMORY)
    assert EFFICIENCY.published is not None
    if free < EFFICIENCY.published:
        return (
            f"Even free slice products would make it {_times(free)}: {MEMORY}, of which skipping shrinks stored "
            f"high-order slices only, are {_percent(memory.panacea_share)}."
        )
    return f"Free slice products would make it {_times(free)}: {MEMORY} alone do not rule the published figure out."


def _rates(rivals: Rivalry) -> str:
    said = [
        f"{name} skips {_percent(weighted(sites, lambda each: each.x))} of activation {word} "
        f"{_percent(weighted(sites, lambda each: each.w))} of weight vectors"
        for name, word, sites in (("Panacea", "and", rivals.panacea_rates), ("Sibia", "or", rivals.sibia_rates))
    ]
    return "; ".join(said)


def _of_sides(rivals: Rivalry) -> str:
    sites = rivals.panacea_rates
    smaller = weighted(sites, lambda each: min(each.x, each.w))
    weights = sum(each.w < each.x for each in sites)
    return (
        f"one side and both sides of Panacea's own operands: a site's smaller rate is {_percent(smaller)}, {BY_MACS}, "
        f"and it is the weights' at {weights} of {counted(len(sites), 'site')}. Against Sibia, whose operands are "
        "symmetric, the "
        f"rates allow {_times(rivals.ideal_ratio)} and {_times(rivals.product_ratio)} is executed."
    )


def _of_rungs(before: Rung, after: Rung, detail: str) -> str:
    return (
        f"{before.name} {_percent(before.x_rate)}, {after.name} {_percent(after.x_rate)} of activation vectors, "
        f"{BY_MACS}; {detail}."
    )


def _nonzero(rung: Rung) -> str:
    count = sum(each.slicing.x_high == 1 and each.zero_point >> (each.split or 0) != 0 for each in rung.sites)
    return f"the frequent slice is not zero at {count} of {counted(len(rung.sites), 'site')}"


def _moved(before: Rung, after: Rung) -> str:
    count = sum(one.zero_point != other.zero_point for one, other in zip(before.sites, after.sites, strict=True))
    return (
        f"zero points moved at {count} of {counted(len(after.sites), 'site')}, where more codes of calibration are "
        "skipped so"
        f"{_score(after)}"
    )


def _split(rung: Rung, plan: Plan) -> str:
    counts = Counter(each.split for each in rung.sites)
    splits = ", ".join(f"{split} at {counts[split]}" for split in SPLITS)
    budget = plan.options[METHOD]["dbs_budget"]
    return (
        f"splits of {splits} of {counted(len(rung.sites), 'site')}, declined where the loss would grow by more than "
        f"{budget}"
        f"{_score(rung)}"
    )


def _score(rung: Rung) -> str:
    """What the step did to the score."""
    if rung.evaluation is None or rung.step is None:
        return ""
    score = rung.evaluation.score
    return f"; {score.metric} changed by {_change(rung.step, score.unit)}"


def _change(found: Change, unit: str) -> str:
    low, high = found.interval.low, found.interval.high
    return f"{found.difference:+.3g} {unit}".strip() + f" [{low:+.3g}, {high:+.3g}]"


def _points(before: Rung, after: Rung) -> float:
    return 100 * (after.x_rate - before.x_rate)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _times(ratio: float | None) -> str:
    return "no part" if ratio is None else f"{ratio:.2f}x"
