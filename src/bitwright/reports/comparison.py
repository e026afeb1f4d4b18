"""A comparison as one table per network: a row per method and accelerator, ranked by nobody."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitwright.reports.costs import BUSY, cost_columns, substrate_lines
from bitwright.reports.records import notes_of
from bitwright.reports.scores import LEGEND, NOT_SEPARATED, difference, off_by, value
from bitwright.reports.tables import Column, print_fitting, say, text
from bitwright.studies.compare import Comparison
from bitwright.studies.row import Row
from bitwright.studies.simulate import Simulation
from bitwright.tasks.calibrate import NOTHING
from bitwright.units import DASH, number

if TYPE_CHECKING:
    from rich.console import Console

NAMED = 4  # sites that are named before the rest is summed up


def print_comparison(comparison: Comparison, console: "Console") -> None:
    """Every network's table, then the reasons for what is missing."""
    for network in dict.fromkeys(row.network for row in comparison.rows):
        rows = [row for row in comparison.rows if row.network == network]
        _print_network(network, rows, console)
    say(console, *substrate_lines(comparison.substrate))
    say(console, *(f"Note: {note}" for note in notes_of(comparison)))


def _print_network(network: str, rows: Sequence[Row], console: "Console") -> None:
    say(console, f"{network}: {_what(rows)}")
    scores = _score_columns(rows)
    print_fitting(_name_columns(rows), [*scores, *cost_columns([row.simulation for row in rows])], console)
    if any(cell.endswith(NOT_SEPARATED) for column in scores for cell in column.cells):
        say(console, f"{LEGEND}.")
    for row in rows:
        if row.reason:
            state = "not supported" if row.status == "unsupported" else row.status
            say(console, f"{row.method} on {row.accelerator}: {state}: {row.reason}")
        if row.simulation is not None and row.simulation.unsupported and row.status != "partial":
            say(console, f"{row.method} on {row.accelerator}: {_left_out(row.simulation)}")
    say(console, "")


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


def _name_columns(rows: Sequence[Row]) -> list[Column]:
    names = [text("method", [row.method for row in rows]), text("accelerator", [row.accelerator for row in rows])]
    states = [row.status for row in rows]
    return [*names, text("status", states)] if set(states) != {"ok"} else names


def _score_columns(rows: Sequence[Row]) -> list[Column]:
    found = [row.evaluation for row in rows]
    if not any(found):
        return []
    return [
        Column(header="score", cells=[value(each.score) if each else DASH for each in found]),
        Column(
            header="from float [95 %]", cells=[difference(each.score) if each else DASH for each in found], rank=BUSY
        ),
        Column(header="off by", cells=[off_by(each) if each else DASH for each in found]),
    ]
