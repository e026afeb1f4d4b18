"""Sentences of the page: what was compared, who wins, under which assumptions, and what is missing."""

from collections.abc import Sequence

from bitwright.reports.comparison import reasons_of
from bitwright.reports.frontier import point_reasons_of
from bitwright.reports.records import notes_of
from bitwright.reports.scores import LEGEND, value
from bitwright.reports.words import UNSURE, UNSURE_LEGEND, against, amount, findings, judged_amount
from bitwright.studies.compare import Comparison
from bitwright.studies.frontier import Frontier, OperatingPoint, Standing
from bitwright.studies.machines import COMMON, Footing
from bitwright.studies.objectives import OBJECTIVES, Objective
from bitwright.studies.row import Row
from bitwright.studies.systems import STATIC
from bitwright.tasks.budget import LOSS, UNDECIDED
from bitwright.tasks.calibrate import NOTHING
from bitwright.units import number
from bitwright.words import counted

LOSS_NOTES = {
    True: ("A negative loss is a gain on these samples; it does not say that quantization makes a network better.",),
    False: (),
}


def title(result: Comparison | Frontier) -> str:
    """Networks, and the budget."""
    if isinstance(result, Frontier):
        return f"{', '.join(result.networks)} at {result.budget.words}"
    return f"{', '.join(dict.fromkeys(row.network for row in result.rows))}: methods and accelerators"


def lead(result: Comparison | Frontier) -> str:
    """What was compared, in one sentence."""
    rows = result.comparison.rows if isinstance(result, Frontier) else result.rows
    methods, machines = len({row.method for row in rows}), len({row.accelerator for row in rows})
    if isinstance(result, Frontier):
        return (
            f"{counted(len(result.systems), 'system')} offered at {counted(methods, 'operating point')} on "
            f"{counted(machines, 'machine')}. Each "
            "point's accuracy and cost come from the same integers. Of every system the cheapest point with "
            f"{result.budget.words} on one half of the samples is taken, reported on the other half, and measured by "
            "the best static machine where its whole interval keeps the budget."
        )
    return (
        f"{counted(methods, 'method')} on {counted(machines, 'machine')}. Accuracy and cost of a row come from the "
        "same integers. "
        "Without a budget of accuracy nothing is ranked."
    )


def words(network: str, rows: Sequence[Row], frontier: Frontier | None) -> list[str]:
    """Who wins, of the rows that are ok."""
    if frontier is not None:
        return findings(frontier, network)
    costed = [(row, row.simulation) for row in rows if row.simulation is not None and row.status == "ok"]
    said = []
    for objective in OBJECTIVES:
        if costed:
            row, simulation = min(costed, key=lambda each: objective.of(each[1]))
            score = f", at {row.evaluation.score.metric} {value(row.evaluation.score)}" if row.evaluation else ""
            cost = amount(objective.of(simulation), objective)
            said.append(f"Least {objective.title}: {row.method} on {row.accelerator}, {cost}{score}.")
    return said or ["No machine has costs of the whole network at a score above the floor."]


def cards(frontier: Frontier, network: str) -> list[dict[str, str]]:
    """A short form of each finding."""
    found = []
    for objective in OBJECTIVES:
        ranked = frontier.standings_of(network, objective.name)
        best = ranked[0].best if ranked else None
        if best is None or not best.keeps:
            found.append(_undecided(frontier, ranked[0] if ranked else None, objective))
            continue
        figure, relation = against(ranked[0].gain) if ranked[0].gain else ("", "")
        own = ranked[0].system in STATIC
        found.append(
            {
                "over": f"least {objective.title}",
                "large": "static" if own else figure or amount(best.value(objective), objective),
                "name": f"{ranked[0].system}: {best.row.method} on {best.row.accelerator}",
                "small": f"{amount(best.value(objective), objective)}; {_judged(frontier, best)}",
                "unit": "nothing beats it" if own else f"{relation} the best static machine" if relation else "",
            }
        )
    return found


def _undecided(frontier: Frontier, standing: Standing | None, objective: Objective) -> dict[str, str]:
    """Where nothing is within: no ratio, and the undecided point of least cost in small type."""
    point = None if standing is None else standing.best
    if standing is None or point is None or point.state != UNDECIDED:
        name = "no point keeps the budget"
        return {"over": objective.title, "large": "none", "name": name, "small": "", "unit": ""}
    return {
        "over": f"least {objective.title}",
        "large": UNSURE,
        "name": f"undecided: {standing.system}, {point.row.method} on {point.row.accelerator}",
        "small": f"{amount(point.value(objective), objective)}; {_judged(frontier, point)}",
        "unit": "no interval is within the budget",
    }


def _judged(frontier: Frontier, point: OperatingPoint) -> str:
    return f"{frontier.budget.constraint.name} {judged_amount(point, frontier.budget)}"


def samples(rows: Sequence[Row]) -> list[str]:
    """What was measured on what."""
    scores = [row.evaluation.score for row in rows if row.evaluation is not None]
    inputs = dict.fromkeys(row.simulation.input for row in rows if row.simulation is not None)
    said = []
    if scores:
        first = scores[0]
        better = "higher is better" if first.higher_is_better else "lower is better"
        own = "" if first.float_value is None else f" The float network has {number(first.float_value)} {first.unit}"
        said.append(
            f"{first.metric} ({better}) on {first.sample_count}: {first.tested_on}.{own.rstrip()}{'.' if own else ''}"
        )
        calibrated = dict.fromkeys(score.calibrated_on for score in scores if score.calibrated_on != NOTHING)
        said.append(f"Calibrated on {' / '.join(calibrated) or NOTHING}.")
    if inputs:
        said.append(f"Costs of one inference on {' / '.join(inputs)}.")
    return said


def legend(rows: Sequence[Row], frontier: Frontier | None) -> str:
    """What the mark in the table means."""
    if frontier is not None:
        return f"{UNSURE_LEGEND}."
    return f"{LEGEND}." if any(row.evaluation and row.evaluation.score.interval for row in rows) else ""


def substrate(footing: Footing) -> str:
    """What the machines stand on, and what those are that have names of their own."""
    kinds = "".join(f" {name} is {kind} with parameters of its own." for name, kind in footing.kinds.items())
    kept = "".join(
        f" {name} has circuits by their synthesis, and at published prices, beside memories: {', '.join(of) or 'none'}."
        for name, of in footing.published.items()
    )
    return f"{_substrate(footing)}{kinds}{kept}"


def _substrate(footing: Footing) -> str:
    if footing.name != footing.base:
        return f"Substrate {footing.name}: the user's own, from the {footing.base} one; what differs is below."
    if footing.name != COMMON:
        return "Native substrate: each machine in its published configuration, so that ratios compare whole designs."
    same = "the same node, clock, SRAMs, DRAM and number of multipliers for all machines"
    changed = "; some parameters were set, see below" if footing.differences else ""
    return f"Common substrate: {same}{changed}."


def assumptions(result: Comparison | Frontier) -> list[str]:
    """What the figures rest on."""
    comparison = result if isinstance(result, Comparison) else result.comparison
    said = [substrate(comparison.substrate)]
    if isinstance(result, Frontier):
        meanings = dict.fromkeys(result.constrained.values())
        said += [
            f"The budget, {result.budget.words}, constrains the {' / '.join(meanings)}; intervals (95 %) are a paired "
            "bootstrap over independent units (photographs, paragraphs, documents, labelled samples), widened for few.",
            *(f"{network}: {halved}." for network, halved in result.split.items()),
            "Fronts go by point estimates on the half that is reported. Only a point whose whole interval is within "
            "the budget there has a rank or a ratio, and so has the static machine that it is compared with. A point "
            "whose estimate keeps the budget and whose interval does not is marked ≈.",
            *LOSS_NOTES[result.budget.constraint is LOSS],
            "A point is compared only if its machine runs as large a share of the products as any other.",
            "Operating points are those of the systems; searched formats and trained plans join only with --plan.",
            *(f"{name}: {about}." for name, about in result.systems.items()),
        ]
    said += [
        "Energy is the sum of counted events times prices, listed with their sources; what is no product of matrices "
        "runs on a vector unit. The wires between an array and its buffers and DRAM background power are not priced.",
        *notes_of(comparison),
    ]
    return said


def missing(rows: Sequence[Row], points: Sequence[OperatingPoint] | None) -> list[str]:
    """What has no figures, or not all, and why."""
    reasons = dict(reasons_of(rows))
    if points is not None:
        reasons |= point_reasons_of(list(points))
    return [f"{'; '.join(named)}: {reason}" for reason, named in reasons.items()]
