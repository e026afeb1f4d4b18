"""A comparison as one table per network: a row per method and accelerator, beside the best static machine."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bitwright.reports.costs import BESIDE, BUSY, GAIN, SYSTEM, cost_columns, substrate_lines
from bitwright.reports.records import notes_of
from bitwright.reports.scores import LEGEND, NOT_SEPARATED, difference, off_by, value
from bitwright.reports.tables import Column, print_fitting, ranked, say, text
from bitwright.studies.compare import UNSUPPORTED, Comparison
from bitwright.studies.gains import gain
from bitwright.studies.objectives import ENERGY, LATENCY
from bitwright.studies.row import Row
from bitwright.studies.simulate import Simulation
from bitwright.studies.systems import system_of
from bitwright.tasks.budget import MISSED, UNDECIDED
from bitwright.tasks.calibrate import NOTHING
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.floor import promised
from bitwright.units import DASH, number

if TYPE_CHECKING:
    from rich.console import Console

NAMED = 4  # sites that are named before the rest is summed up
EXACT = "Exact and fast products of the same codes are 0 accumulator steps apart, in all rows with a score."
GAINS = {ENERGY: 0, LATENCY: GAIN}
"""Objectives whose gains are shown, by the rank of the column."""


def print_comparison(comparison: Comparison, console: "Console") -> None:
    """Every network's table, then the reasons for what is missing."""
    for network in comparison.networks:
        _print_network(comparison, network, console)
    if comparison.left_out:
        say(
            console,
            f"{comparison.left_out} pairs of a method and a machine do not fit and are left out (bitwright systems).",
        )
    say(console, *substrate_lines(comparison.substrate))
    say(console, *(f"Note: {note}" for note in notes_of(comparison)))


def _print_network(comparison: Comparison, network: str, console: "Console") -> None:
    rows = comparison.rows_of(network)
    say(console, f"{network}: {_what(rows)}")
    scores = _score_columns(rows)
    costs, gains = cost_columns([row.simulation for row in rows]), _gain_columns(comparison, network)
    print_fitting(_name_columns(rows, comparison.substrate.kinds), [*scores, *costs, *gains], console)
    if any(cell.endswith(NOT_SEPARATED) for column in scores for cell in column.cells):
        say(console, f"{LEGEND}.")
    say(
        console,
        *([EXACT] if _all_exact(rows) else []),
        *_promises(rows),
        *_yardsticks(comparison, network),
        *(f"{'; '.join(named)}: {why}" for why, named in reasons_of(rows).items()),
    )
    say(console, "")


def _all_exact(rows: Sequence[Row]) -> bool:
    """Whether something was quantized, and nothing differs between exact and fast products."""
    return {row.evaluation.off_by for row in rows if row.evaluation is not None} - {None} == {0}


def _promises(rows: Sequence[Row]) -> list[str]:
    """Of methods that were searched to a budget, those that keep it; the status of the others says why not."""
    found = {row.method: row.evaluation for row in rows if row.evaluation is not None}
    return [f"{name}: {promised(each)}." for name, each in found.items() if each.kept]


def reasons_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Reason -> methods with the machines whose figures are missing, or of a part only, for it."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        state = "not supported" if row.status == UNSUPPORTED else row.status
        said = [row.reason if row.status in {MISSED, UNDECIDED} else f"{state}: {row.reason}"] if row.reason else []
        if row.simulation is not None and row.simulation.unsupported and row.status != "partial":
            said.append(_left_out(row.simulation))
        for reason in said:
            found.setdefault((reason, row.method), []).append(row.accelerator)
    grouped: dict[str, list[str]] = {}
    for (reason, method), machines in found.items():
        grouped.setdefault(reason, []).append(f"{method} on {', '.join(machines)}")
    return grouped


def _yardsticks(comparison: Comparison, network: str) -> list[str]:
    """What gains are measured by, in a sentence."""
    found: dict[str, list[str]] = {}
    for objective in GAINS:
        best = comparison.yardstick(network, objective)
        if best is not None:
            found.setdefault(f"{best.method} on {best.accelerator}", []).append(objective.title)
    named = ", ".join(f"{name} ({' and '.join(titles)})" for name, titles in found.items())
    return [f"Gains are against the cheapest static machine of the rows: {named}."] if found else []


def _gain_columns(comparison: Comparison, network: str) -> list[Column]:
    """How many times less than the best static machine; nothing where there is none, or nothing else."""
    rows, columns = comparison.rows_of(network), []
    for objective, rank in GAINS.items():
        best = comparison.yardstick(network, objective)
        gains = [gain(row, best, objective) for row in rows]
        if any(row is not best and each is not None for row, each in zip(rows, gains, strict=True)):
            cells = [DASH if each is None else f"{number(each, 3)}x" for each in gains]
            columns.append(Column(header=f"{objective.title} gain", cells=cells, rank=rank))
    return columns


def _left_out(simulation: Simulation) -> str:
    names = sorted({entry.name for entry in simulation.unsupported})
    more = ", ..." if len(names) > NAMED else ""
    return (
        f"{number(100 * simulation.supported_share)} % of the multiply-accumulates are costed; left out: "
        f"{', '.join(names[:NAMED])}{more} (simulate says why)"
    )


def _what(rows: Sequence[Row]) -> str:
    """Two sentences: what the scores were measured on, and what the costs are of."""
    said = []
    scores = [row.evaluation.score for row in rows if row.evaluation is not None]
    if scores:
        better = "higher is better" if scores[0].higher_is_better else "lower is better"
        said.append(f"{scores[0].metric} ({better}) on {scores[0].sample_count}: {scores[0].tested_on}.")
        calibrated = dict.fromkeys(score.calibrated_on for score in scores if score.calibrated_on != NOTHING)
        said.append(f"Calibrated on {' / '.join(calibrated) or NOTHING}.")
    else:
        said.append("no score.")
    inputs = dict.fromkeys(row.simulation.input for row in rows if row.simulation is not None)
    if inputs:
        said.append(f"Costs of one inference on {' / '.join(inputs)}.")
    return " ".join(said)


def _name_columns(rows: Sequence[Row], kinds: Mapping[str, str]) -> list[Column]:
    names = [text("method", [row.method for row in rows]), text("accelerator", [row.accelerator for row in rows])]
    systems = [system_of(row.method, row.accelerator, kinds) for row in rows]
    if len(set(systems) - {""}) > 1:
        names[:0] = ranked(SYSTEM, text("system", [system or DASH for system in systems]))
    states = [row.status for row in rows]
    return [*names, text("status", states)] if set(states) != {"ok"} else names


def _score_columns(rows: Sequence[Row]) -> list[Column]:
    found = [row.evaluation for row in rows]
    if not any(found):
        return []
    return [
        Column(header="score", cells=[value(each.score) if each else DASH for each in found]),
        *_beside_columns(found),
        Column(
            header="from float [95 %]", cells=[difference(each.score) if each else DASH for each in found], rank=BUSY
        ),
        *([] if _all_exact(rows) else [Column(header="off by", cells=[off_by(e) if e else DASH for e in found])]),
    ]


def _beside_columns(found: Sequence[Evaluation | None]) -> list[Column]:
    """The first figure that stands beside the score."""
    shown = [next((each for each in one.score.measures if each.beside), None) if one else None for one in found]
    first = next((each for each in shown if each is not None), None)
    if first is None:
        return []
    cells = [DASH if each is None else f"{number(each.value)} {each.unit}".strip() for each in shown]
    return [Column(header=first.name, cells=cells, rank=BESIDE)]
