"""A study at equal accuracy in words: who wins within the budget, by how much, and how sure that is.

Ratios are of points that are within the budget with their whole interval; of others only the cost is said.
"""

from bitwright.studies.frontier import Frontier, OperatingPoint, Standing
from bitwright.studies.objectives import OBJECTIVES, Objective
from bitwright.studies.systems import STATIC
from bitwright.tasks.budget import MISSED, UNDECIDED, WITHIN, Budget
from bitwright.units import number, scaled

SAME = "1.00x"
UNSURE = "≈"
UNSURE_LEGEND = f"{UNSURE}: undecided, the estimate keeps the budget and its 95 % interval does not"
MARKS = {WITHIN: "", UNDECIDED: f" {UNSURE}", MISSED: ""}


def headline(frontier: Frontier, network: str) -> str:
    """What the budget means for a network."""
    return f"{network} at {frontier.budget.words} ({frontier.constrained[network]})"


def split(frontier: Frontier, network: str) -> list[str]:
    """How the samples were halved, in a sentence."""
    said = frontier.split.get(network)
    return [f"{said[0].upper()}{said[1:]}."] if said else []


def findings(frontier: Frontier, network: str) -> list[str]:
    """A sentence per objective."""
    return [_finding(frontier, network, objective) for objective in OBJECTIVES]


def amount(value: float | None, objective: Objective) -> str:
    """A cost with its unit."""
    return scaled(value, objective.unit, objective.power).replace("mm2", "mm²")


def header(budget: Budget) -> str:
    """Of a column of what is constrained: `loss [%]`."""
    return f"{budget.constraint.name} [{budget.constraint.unit}]"


def judged_words(point: OperatingPoint, budget: Budget) -> str:
    """`0.42 [-0.1, 1.2] ≈`, in the unit of the constraint, marked where it is undecided."""
    if point.judged is None or point.state is None:
        return "-"
    scale, interval = budget.constraint.scale, point.judged.interval
    value, low, high = (number(scale * each, 3) for each in (point.judged.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]{MARKS[point.state]}"


def judged_amount(point: OperatingPoint, budget: Budget) -> str:
    """`0.42 [-0.1, 1.2] % ≈`, with the unit."""
    mark = MARKS[point.state or MISSED]
    return f"{judged_words(point, budget).removesuffix(mark)} {budget.constraint.unit}{mark}"


def state_words(point: OperatingPoint) -> str:
    """`within`, `≈` or `missed`."""
    return {None: "-", UNDECIDED: UNSURE}.get(point.state, point.state or "-")


def gain_words(standing: Standing) -> str:
    """`1.79x`: how many times less than the best static machine."""
    return "-" if standing.gain is None else f"{number(standing.gain, 3)}x"


def against(gain: float) -> tuple[str, str]:
    """A factor of cost in words, never below 1.

    Examples
    --------
    >>> against(1.731), against(0.925), against(1.0004)
    (('1.73x', 'less than'), ('1.08x', 'more than'), ('1.00x', 'as much as'))
    """
    if f"{number(gain, 3)}x" == SAME:
        return SAME, "as much as"
    return (f"{number(gain, 3)}x", "less than") if gain > 1 else (f"{number(1 / gain, 3)}x", "more than")


def _finding(frontier: Frontier, network: str, objective: Objective) -> str:
    ranked = frontier.standings_of(network, objective.name)
    yardstick = frontier.baseline(network, objective.name)
    if not ranked or ranked[0].best is None or not ranked[0].best.keeps:
        return _unranked(ranked, frontier.budget, objective)
    winner, point = ranked[0], ranked[0].best
    said = f"Least {objective.title}: {_who(winner, point)}, {amount(point.value(objective), objective)}"
    if yardstick is None:
        said += "; no static machine keeps the budget"
    elif winner.system in STATIC:
        said += ", itself a static machine"
    else:
        said += (
            f", {_against(winner.gain)} the best static machine "
            f"({_named(yardstick)}, {amount(yardstick.value(objective), objective)})"
        )
    return f"{said}. Its {_judged(point, frontier.budget)}.{_next(ranked, objective)}"


def _unranked(ranked: list[Standing], budget: Budget, objective: Objective) -> str:
    """That nobody is within, and which system is undecided at the least cost."""
    said = f"Least {objective.title}: no system has a comparable point whose whole interval keeps the budget"
    point = ranked[0].best if ranked else None
    if point is None or point.state != UNDECIDED:
        return f"{said}."
    return (
        f"{said}; undecided at the least cost is {_who(ranked[0], point)}, "
        f"{amount(point.value(objective), objective)}, whose {_judged(point, budget)}; more samples decide (--limit)."
    )


def _judged(point: OperatingPoint, budget: Budget) -> str:
    return f"{budget.constraint.name} is {judged_amount(point, budget)}"


def _next(ranked: list[Standing], objective: Objective) -> str:
    second = ranked[1].best if len(ranked) > 1 else None
    if second is None or not second.keeps:
        return ""
    return f" Next: {ranked[1].system} at {amount(second.value(objective), objective)}."


def _who(standing: Standing, point: OperatingPoint) -> str:
    return f"{standing.system} ({_named(point)})"


def _named(point: OperatingPoint) -> str:
    return f"{point.row.method} on {point.row.accelerator}"


def _against(gain: float | None) -> str:
    if gain is None:
        return "an unknown factor less than"
    figure, relation = against(gain)
    return relation if figure == SAME else f"{figure.removesuffix('x')} times {relation}"
