"""Pareto fronts, the best point of every system within the budget, and its ratio to the best static machine.

Fronts go by point estimates; a choice must keep the budget with the whole interval of its loss, and so must the
yardstick that it is compared with.
"""

import dataclasses
import math
from collections.abc import Sequence

from bitwright.studies.frontier.points import OperatingPoint, Standing
from bitwright.studies.objectives import OBJECTIVES, Objective
from bitwright.studies.systems import STATIC

SAME_SHARE = 1e-9


def compared(points: Sequence[OperatingPoint]) -> list[OperatingPoint]:
    """One network's points, those that can be compared marked, and the fronts they are on."""
    share = max((_share(point) for point in points), default=0.0)
    found = [dataclasses.replace(point, comparable=_comparable(point, share)) for point in points]
    fronts = {objective.name: {id(point) for point in front(found, objective)} for objective in OBJECTIVES}
    return [
        dataclasses.replace(point, fronts=tuple(name for name, members in fronts.items() if id(point) in members))
        for point in found
    ]


def front(points: Sequence[OperatingPoint], objective: Objective) -> list[OperatingPoint]:
    """Those that no other point equals or beats in both loss and cost while beating it in one; cheapest first."""
    ordered = sorted(
        (cost, point.loss.value, i)
        for i, point in enumerate(points)
        if (cost := _cost(point, objective)) is not None and point.loss
    )
    best: list[OperatingPoint] = []
    least = math.inf
    for cost, loss, i in ordered:
        tied = bool(best) and (cost, loss) == (_cost(best[-1], objective), least)
        if loss < least or tied:
            best.append(points[i])
            least = loss
    return best


def standings(network: str, points: Sequence[OperatingPoint]) -> list[Standing]:
    """Every system by every objective."""
    systems = list(dict.fromkeys(point.system for point in points))
    found: list[Standing] = []
    for objective in OBJECTIVES:
        yardstick = baseline(points, objective)
        reference = None if yardstick is None else _cost(yardstick, objective)
        best = {system: _best(points, system, objective) for system in systems}
        costs = {system: _cost(point, objective) for system, point in best.items() if point is not None}
        order = sorted(costs, key=lambda system: costs[system] or 0.0)
        for system in systems:
            cost = costs.get(system)
            found.append(
                Standing(
                    network=network,
                    objective=objective.name,
                    system=system,
                    best=best[system],
                    gain=reference / cost if reference is not None and cost else None,
                    rank=order.index(system) + 1 if system in costs else None,
                    reason="" if best[system] is not None else _why(points, system),
                )
            )
    return found


def baseline(points: Sequence[OperatingPoint], objective: Objective) -> OperatingPoint | None:
    """The yardstick: the cheapest static point, of 8-bit or 4-bit weights, that keeps the budget; None if none does."""
    return _cheapest([point for point in points if point.system in STATIC and point.keeps], objective)


def _best(points: Sequence[OperatingPoint], system: str, objective: Objective) -> OperatingPoint | None:
    return _cheapest([point for point in points if point.system == system and point.keeps], objective)


def _cheapest(points: Sequence[OperatingPoint], objective: Objective) -> OperatingPoint | None:
    """The cheapest; of equally cheap ones that with the least loss."""
    costed = [
        (cost, point.loss.value, i)
        for i, point in enumerate(points)
        if (cost := _cost(point, objective)) is not None and point.loss
    ]
    return points[min(costed)[2]] if costed else None


def _cost(point: OperatingPoint, objective: Objective) -> float | None:
    return point.value(objective) if point.comparable else None


def _share(point: OperatingPoint) -> float:
    return 0.0 if point.row.simulation is None else point.row.simulation.supported_share


def _comparable(point: OperatingPoint, share: float) -> bool:
    known = point.loss is not None and math.isfinite(point.loss.value) and point.row.status == "ok"
    return known and _share(point) >= share - SAME_SHARE


def _why(points: Sequence[OperatingPoint], system: str) -> str:
    """Why a system has no point that keeps the budget."""
    own = [point for point in points if point.system == system]
    judged = [
        (point.loss.value, point.loss.interval, point.row.method) for point in own if point.comparable and point.loss
    ]
    if judged:
        loss, interval, method = min(judged, key=lambda each: each[0])
        said = f"the least loss is {100 * loss:.3g} % [{100 * interval.low:.3g}, {100 * interval.high:.3g}] ({method})"
        return f"no point keeps the budget with its whole interval; {said}; more samples narrow it (--limit)"
    reasons = dict.fromkeys(f"{point.row.status}: {point.row.reason}" for point in own if point.row.reason)
    if reasons:
        return "; ".join(reasons)
    if any(point.row.simulation is not None and point.loss is not None for point in own):
        return "its loss is no number, or its machines leave out products that others run"
    return "it has no costs"
