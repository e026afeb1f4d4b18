"""A study at equal accuracy on a terminal and as a record: standings, points, and in words who wins."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from bitwright.reports.costs import substrate_lines
from bitwright.reports.records import FLAT, ComparedWith, Missing, compared_with, comparison_record, notes_of
from bitwright.reports.tables import Column, area_column, print_fitting, quantity, ranked, say, text
from bitwright.reports.words import (
    UNSURE_LEGEND,
    findings,
    gain_words,
    header,
    headline,
    judged_words,
    split,
    state_words,
)
from bitwright.studies.compare import GainFigures
from bitwright.studies.frontier import Frontier, OperatingPoint, Standing
from bitwright.studies.frontier.result import BudgetFigures, PointLine, StandingLine, budget_record
from bitwright.studies.objectives import OBJECTIVES, Objective
from bitwright.tasks.budget import MISSED, Budget

if TYPE_CHECKING:
    from rich.console import Console


def print_frontier(frontier: Frontier, console: "Console") -> None:
    """Per network the words, the standings and all points; then what the machines stand on."""
    for network in frontier.networks:
        points = frontier.points_of(network)
        say(console, f"{headline(frontier, network)}.", *_samples(points), *split(frontier, network))
        say(console, *findings(frontier, network))
        for objective in OBJECTIVES:
            _print_standings(frontier.standings_of(network, objective.name), objective, frontier.budget, console)
        say(console, *_without(frontier.standings_of(network, OBJECTIVES[0].name)))
        print_fitting(*_columns(points, frontier.budget), console)
        say(console, f"{UNSURE_LEGEND}; *: on the Pareto front of energy, latency, product.")
        for reason, named in point_reasons_of(points).items():
            say(console, f"{'; '.join(named)}: {reason}")
        say(console, "")
    say(console, *substrate_lines(frontier.comparison.substrate))
    say(console, *(f"Note: {note}" for note in notes_of(frontier.comparison)))


class FrontierRecord(ComparedWith, BudgetFigures):
    """Systems at equal accuracy: the comparison of their points, with their places and where systems stand."""

    budget_of: Annotated[Mapping[str, str], "network -> what is constrained, in a phrase"]
    halves: Annotated[Mapping[str, str], "network -> how its samples were halved to choose and to report"]
    systems: Annotated[Mapping[str, str], "system -> what it is"]
    standings: Annotated[list[StandingLine], "by network, objective, system"]
    words: Annotated[Mapping[str, list[str]], "network -> who wins, in sentences"]
    rows: Annotated[
        Sequence[Annotated[Mapping[str, Any], dataclasses.replace(FLAT, always=(PointLine, GainFigures, Missing))]],
        "operating points; what one does not have is null",
    ]


def frontier_record(frontier: Frontier) -> FrontierRecord:
    """The comparison's record with the budget, the points' places and the standings."""
    record = comparison_record(frontier.comparison)
    return {
        **budget_record(frontier.budget),
        "budget_of": frontier.constrained,
        "halves": frontier.split,
        "systems": frontier.systems,
        "standings": frontier.standing_lines(),
        "words": {network: findings(frontier, network) for network in frontier.networks},
        **compared_with(frontier.comparison),
        "rows": [{**row, **found} for row, found in zip(record["rows"], frontier.records(), strict=True)],
    }


def point_reasons_of(points: list[OperatingPoint]) -> dict[str, list[str]]:
    """Reason -> what is missing or left aside for it."""
    found: dict[tuple[str, str], list[str]] = {}
    for point in points:
        reason = point.row.reason
        if not reason and not point.comparable:
            reason = "on no front: its accuracy is no number, or its machine leaves out products that others run"
        if reason:
            state = "" if point.row.status == "ok" else f"{point.row.status}: "
            found.setdefault((f"{state}{reason}", point.row.method), []).append(point.row.accelerator)
    grouped: dict[str, list[str]] = {}
    for (reason, method), machines in found.items():
        grouped.setdefault(reason, []).append(f"{method} on {', '.join(dict.fromkeys(machines))}")
    return grouped


def _samples(points: list[OperatingPoint]) -> list[str]:
    scores = [point.row.evaluation.score for point in points if point.row.evaluation is not None]
    if not scores:
        return []
    first = scores[0]
    costs = dict.fromkeys(point.row.simulation.input for point in points if point.row.simulation is not None)
    own = (
        "" if first.float_value is None else f" The float network: {first.float_value:.4g} {first.unit}".rstrip() + "."
    )
    return [
        f"Judged on {first.sample_count}: {first.tested_on}. Calibrated on {first.calibrated_on}.{own}",
        f"Costs of one inference on {' / '.join(costs)}.",
    ]


def _print_standings(standings: list[Standing], objective: Objective, budget: Budget, console: "Console") -> None:
    """Systems whose point is within, the cheapest first, then those whose point is undecided."""
    best = [(each, each.best) for each in standings if each.best is not None and each.best.state != MISSED]
    if not best:
        return
    names = [text(f"least {objective.title}", [each.system for each, _ in best])]
    columns = [
        quantity("cost", [point.value(objective) for _, point in best], objective.unit, objective.power),
        Column(header="less than best static", cells=[gain_words(each) for each, _ in best]),
        Column(header=header(budget), cells=[judged_words(point, budget) for _, point in best]),
        text("point chosen for it", [_named(point) for _, point in best]),
    ]
    print_fitting(names, columns, console)


def _without(standings: list[Standing]) -> list[str]:
    """Systems that have no point, or one that misses the budget, and why, each once."""
    found = {each.system: each.reason for each in standings if each.best is None}
    missed = [each.best for each in standings if each.best is not None and each.best.state == MISSED]
    said = [
        f"{point.system}: chosen on the other half, {_named(point)} misses the budget on this one." for point in missed
    ]
    return [*said, *(f"{system}: {reason}." for system, reason in found.items())]


def _named(point: OperatingPoint) -> str:
    return f"{point.row.method} on {point.row.accelerator}"


def _columns(points: list[OperatingPoint], budget: Budget) -> tuple[list[Column], list[Column]]:
    names = [
        text("system", [point.system for point in points]),
        text("method", [point.row.method for point in points]),
        text("accelerator", [point.row.accelerator for point in points]),
    ]
    states = [point.row.status for point in points]
    if set(states) != {"ok"}:
        names.append(text("status", states))
    found = [point.row.simulation for point in points]
    costs = [quantity(each.title, [p.value(each) for p in points], each.unit, each.power) for each in OBJECTIVES]
    fronts = [" ".join("*" if each.name in point.fronts else "." for each in OBJECTIVES) for point in points]
    return names, [
        Column(header=header(budget), cells=[judged_words(point, budget) for point in points]),
        *ranked(2, text(f"budget {budget}", [state_words(point) for point in points])),
        *costs[:2],
        *ranked(3, costs[2], area_column("area", [s.area.total_um2 if s else None for s in found])),
        *ranked(1, text("front", fronts)),
    ]
