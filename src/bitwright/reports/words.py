"""A study at equal accuracy in words: who wins within the budget, by how much, and how sure that is."""

from bitwright.studies.frontier import Frontier, OperatingPoint, Standing
from bitwright.studies.objectives import OBJECTIVES, Objective
from bitwright.studies.systems import STATIC
from bitwright.units import number, scaled

SAME = "1.00x"
UNSURE = "≈"
UNSURE_LEGEND = f"{UNSURE}: not separated, the 95 % interval of the loss spans the budget"


def percent(share: float, digits: int = 3) -> str:
    """`0.01` as `1 %`."""
    text = number(100 * share, digits)
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def headline(frontier: Frontier, network: str) -> str:
    """What the budget means for a network."""
    return f"{network} at a loss of at most {percent(frontier.budget)} ({frontier.losses[network]})"


def findings(frontier: Frontier, network: str) -> list[str]:
    """A sentence per objective."""
    return [_finding(frontier, network, objective) for objective in OBJECTIVES]


def amount(value: float | None, objective: Objective) -> str:
    """A cost with its unit."""
    return scaled(value, objective.unit, objective.power).replace("mm2", "mm²")


def loss_words(point: OperatingPoint) -> str:
    """`0.42 % [-0.1, 1.2]`, marked where the interval spans the budget."""
    if point.loss is None:
        return "-"
    low, high = (number(100 * end, 3) for end in (point.loss.interval.low, point.loss.interval.high))
    mark = "" if point.separated else f" {UNSURE}"
    return f"{number(100 * point.loss.value, 3)} [{low}, {high}]{mark}"


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
    if not ranked or ranked[0].best is None:
        return f"Least {objective.title}: no system has a comparable point whose whole interval keeps the budget."
    winner = ranked[0]
    point = winner.best
    assert point is not None
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
    return f"{said}. Its loss is {loss_words(point)} %.{_next(ranked, objective)}"


def _next(ranked: list[Standing], objective: Objective) -> str:
    if len(ranked) < 2 or ranked[1].best is None:
        return ""
    second = ranked[1]
    assert second.best is not None
    return f" Next: {second.system} at {amount(second.best.value(objective), objective)}."


def _who(standing: Standing, point: OperatingPoint) -> str:
    return f"{standing.system} ({_named(point)})"


def _named(point: OperatingPoint) -> str:
    return f"{point.row.method} on {point.row.accelerator}"


def _against(gain: float | None) -> str:
    if gain is None:
        return "an unknown factor less than"
    figure, relation = against(gain)
    return relation if figure == SAME else f"{figure.removesuffix('x')} times {relation}"
