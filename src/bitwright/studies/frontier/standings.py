"""Pareto fronts, the point chosen for every system, and its ratio to the best static machine.

Fronts go by point estimates on the samples that report. A system's point is chosen by other samples: the cheapest that
keeps the budget there with its whole interval, or, where none does, by its estimate (our choice: the cheapest estimate
inside is mostly one that luck moved there). Only a point that then keeps the budget with its whole interval on the
samples that report has a rank or a ratio, and so must the yardstick that it is compared with.
"""

import dataclasses
import math
from collections.abc import Sequence

from bitwright.studies.frontier.points import OperatingPoint, Standing
from bitwright.studies.objectives import OBJECTIVES, Objective
from bitwright.studies.systems import STATIC
from bitwright.tasks.budget import Budget

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
    """Those that no other point equals or beats in both accuracy and cost while beating it in one; cheapest first."""
    ordered = sorted(
        (cost, point.judged.badness, i)
        for i, point in enumerate(points)
        if (cost := _cost(point, objective)) is not None and point.judged
    )
    best: list[OperatingPoint] = []
    least = math.inf
    for cost, loss, i in ordered:
        tied = bool(best) and (cost, loss) == (_cost(best[-1], objective), least)
        if loss < least or tied:
            best.append(points[i])
            least = loss
    return best


def standings(network: str, points: Sequence[OperatingPoint], budget: Budget) -> list[Standing]:
    """Every system by every objective."""
    systems = list(dict.fromkeys(point.system for point in points))
    found: list[Standing] = []
    for objective in OBJECTIVES:
        yardstick = baseline(points, objective, budget)
        reference = None if yardstick is None else _cost(yardstick, objective)
        best = {system: chosen(points, system, objective, budget) for system in systems}
        costs = {system: _cost(point, objective) for system, point in best.items() if point and point.keeps}
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
                    reason="" if best[system] is not None else _why(points, system, budget),
                )
            )
    return found


def baseline(points: Sequence[OperatingPoint], objective: Objective, budget: Budget) -> OperatingPoint | None:
    """The yardstick: the cheaper of the points chosen with 8-bit and 4-bit weights that are within; None if none is."""
    found = [chosen(points, system, objective, budget) for system in STATIC]
    return _cheapest([point for point in found if point is not None and point.keeps], objective)


def chosen(
    points: Sequence[OperatingPoint], system: str, objective: Objective, budget: Budget
) -> OperatingPoint | None:
    """A system's point by the samples that choose; the samples that report have no say."""
    own = [point for point in points if point.system == system]
    for least in (2, 1):
        found = _cheapest([point for point in own if point.offers(budget) >= least], objective)
        if found is not None:
            return found
    return None


def _cheapest(points: Sequence[OperatingPoint], objective: Objective) -> OperatingPoint | None:
    """The cheapest; of equally cheap ones that which the samples that choose like best."""
    costed = [
        (cost, point.verdict.chosen_by.badness, i)
        for i, point in enumerate(points)
        if (cost := _cost(point, objective)) is not None and point.verdict
    ]
    return points[min(costed)[2]] if costed else None


def _cost(point: OperatingPoint, objective: Objective) -> float | None:
    return point.value(objective) if point.comparable else None


def _share(point: OperatingPoint) -> float:
    return 0.0 if point.row.simulation is None else point.row.simulation.supported_share


def _comparable(point: OperatingPoint, share: float) -> bool:
    known = point.judged is not None and point.judged.badness < math.inf and point.row.status == "ok"
    return known and _share(point) >= share - SAME_SHARE


def _why(points: Sequence[OperatingPoint], system: str, budget: Budget) -> str:
    """Why a system has no point."""
    own = [point for point in points if point.system == system]
    judged = [(point.verdict, point.row.method) for point in own if point.comparable and point.verdict]
    if judged:
        best, method = min(judged, key=lambda each: each[0].chosen_by.badness)
        most = "largest" if budget.constraint.higher_is_better else "least"
        return (
            f"no point keeps the budget on the samples that choose; the {most} {budget.constraint.name} there is "
            f"{budget.shown(best.chosen_by.value)} {budget.constraint.unit} ({method})"
        )
    reasons = dict.fromkeys(f"{point.row.status}: {point.row.reason}" for point in own if point.row.reason)
    if reasons:
        return "; ".join(reasons)
    if any(point.row.simulation is not None and point.verdict is not None for point in own):
        return "its accuracy is no number, or its machines leave out products that others run"
    return "it has no costs"
