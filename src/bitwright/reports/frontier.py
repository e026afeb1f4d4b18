"""A study at equal accuracy on a terminal and as a record: standings, points, and in words who wins."""

from typing import TYPE_CHECKING, Any

from bitwright.reports.costs import substrate_lines
from bitwright.reports.records import comparison_record, notes_of
from bitwright.reports.tables import Column, area_column, print_fitting, quantity, ranked, say, text
from bitwright.reports.words import UNSURE_LEGEND, findings, gain_words, headline, loss_words
from bitwright.studies.frontier import Frontier, OperatingPoint, Standing
from bitwright.studies.objectives import OBJECTIVES, Objective

if TYPE_CHECKING:
    from rich.console import Console


def print_frontier(frontier: Frontier, console: "Console") -> None:
    """Per network the words, the standings and all points; then what the machines stand on."""
    for network in frontier.networks:
        points = frontier.points_of(network)
        say(console, f"{headline(frontier, network)}.", *_samples(points), *findings(frontier, network))
        for objective in OBJECTIVES:
            _print_standings(frontier.standings_of(network, objective.name), objective, console)
        say(console, *_without(frontier.standings_of(network, OBJECTIVES[0].name)))
        print_fitting(*_columns(points), console)
        say(console, f"{UNSURE_LEGEND}; *: on the Pareto front of energy, latency, product.")
        for reason, named in point_reasons_of(points).items():
            say(console, f"{'; '.join(named)}: {reason}")
        say(console, "")
    say(console, *substrate_lines(frontier.comparison.substrate))
    say(console, *(f"Note: {note}" for note in notes_of(frontier.comparison)))


def frontier_record(frontier: Frontier) -> dict[str, Any]:
    """The comparison's record with the budget, the points' places and the standings."""
    record = comparison_record(frontier.comparison)
    rows = [{**row, **found} for row, found in zip(record["rows"], frontier.records(), strict=True)]
    return {
        "budget": frontier.budget,
        "loss_of": frontier.losses,
        "systems": frontier.systems,
        "standings": [standing_record(each) for each in frontier.standings],
        "words": {network: findings(frontier, network) for network in frontier.networks},
        **record,
        "rows": rows,
    }


def standing_record(standing: Standing) -> dict[str, Any]:
    """Flat."""
    best = standing.best
    return {
        "network": standing.network,
        "objective": standing.objective,
        "system": standing.system,
        "rank": standing.rank,
        "method": best.row.method if best else None,
        "accelerator": best.row.accelerator if best else None,
        "relative_loss": best.loss.value if best and best.loss else None,
        "separated_from_budget": best.separated if best else None,
        "times_less_than_best_static": standing.gain,
        "reason": standing.reason or None,
    }


def point_reasons_of(points: list[OperatingPoint]) -> dict[str, list[str]]:
    """Reason -> what is missing or left aside for it."""
    found: dict[tuple[str, str], list[str]] = {}
    for point in points:
        reason = point.row.reason
        if not reason and not point.comparable:
            reason = "on no front: it has no finite loss, or its machine leaves out products that others run"
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


def _print_standings(standings: list[Standing], objective: Objective, console: "Console") -> None:
    """Systems with a best point, the cheapest first."""
    best = [(each, each.best) for each in standings if each.best is not None]
    if not best:
        return
    names = [text(f"least {objective.title}", [each.system for each, _ in best])]
    columns = [
        quantity("cost", [point.value(objective) for _, point in best], objective.unit, objective.power),
        Column(header="less than best static", cells=[gain_words(each) for each, _ in best]),
        Column(header="loss [%]", cells=[loss_words(point) for _, point in best]),
        text("best point that keeps the budget", [_named(point) for _, point in best]),
    ]
    print_fitting(names, columns, console)


def _without(standings: list[Standing]) -> list[str]:
    """Systems that have no best point, and why, each once."""
    found = {each.system: each.reason for each in standings if each.best is None}
    return [f"{system}: {reason}." for system, reason in found.items()]


def _named(point: OperatingPoint) -> str:
    return f"{point.row.method} on {point.row.accelerator}"


def _columns(points: list[OperatingPoint]) -> tuple[list[Column], list[Column]]:
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
        Column(header="loss [%]", cells=[loss_words(point) for point in points]),
        *ranked(2, text("within", [_within(point) for point in points])),
        *costs[:2],
        *ranked(3, costs[2], area_column("area", [s.area.total_um2 if s else None for s in found])),
        *ranked(1, text("front", fronts)),
    ]


def _within(point: OperatingPoint) -> str:
    return "-" if point.within is None else "yes" if point.within else "no"
