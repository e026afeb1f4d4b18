"""A sweep in words and as a record: how many rows there are and of which kind, and the best of them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from bitwright.reports.schema import Columns
from bitwright.reports.tables import Column, print_fitting, say, text
from bitwright.studies.cost_tables import TotalFigures
from bitwright.studies.provenance import Provenance
from bitwright.studies.sweep import Sweep
from bitwright.studies.sweep.result import TrialLine
from bitwright.tasks.evaluate import ScoreLine
from bitwright.units import DASH, number, scaled
from bitwright.words import counted

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 20  # of the best rows
REASONS = 5  # of the most frequent ones
POINT = ("options.", "parameters.")


class Derived(TypedDict):
    """What a sweep adds to the figures of a row."""

    energy_delay_pj_us: Annotated[float, "energy x latency, in pJ us"]
    score_loss: Annotated[float, "how much worse than float, whichever way is up, in the score's unit"]
    same_as: Annotated[int, "the trial that is the same point"]


TRIAL = Columns(
    always=(TrialLine,),
    sometimes=(ScoreLine, TotalFigures, Derived),
    patterns={"^(options|parameters)[.]": Annotated[Any, "what varies of the method or of the machine"]},
    others=Annotated[float, "energy of a part of the machine in pJ, bytes moved, or a further figure of the task"],
)


class SweepRecord(TypedDict):
    """A sweep, with every row."""

    study: Annotated[str, "its name"]
    identity: Annotated[Any, "everything that decides its rows"]
    trials: Annotated[int | None, "that were asked for; null: all points"]
    objectives: Annotated[Mapping[str, str], "column -> minimise or maximise"]
    store: Annotated[str | None, "where rows are kept"]
    results: Annotated[str | None, "the Parquet file of all rows"]
    computed: Annotated[int, "rows made by this run"]
    known: Annotated[int, "rows that the store had"]
    seconds: Annotated[float, "of this run"]
    stopped: Annotated[str, "finished or interrupted"]
    statuses: Annotated[Mapping[str, int], "status -> rows"]
    best: Annotated[list[int], "trials that no other is better than"]
    rows: Annotated[Sequence[Annotated[Mapping[str, Any], TRIAL]], "by number; what a trial does not have is missing"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def print_sweep(sweep: Sweep, console: "Console") -> None:
    """The best rows, then what all of them came to."""
    best = sweep.front()
    marked = {row["trial"] for row in best}
    ok = [row for row in sweep.rows if row["status"] == "ok"]
    few = len(ok) <= SHOWN
    goals = " and ".join(f"{way} {name}" for name, way in sweep.study.objectives.items())
    if best:
        rows = counted(len(ok if few else sweep.rows), "row")
        which = f"{rows}, the best with *" if few else f"the best of {rows}"
        say(console, f"{sweep.study.name}: {which} ({goals}).")
        shown = ok if few else best[:SHOWN]
        names = dict.fromkeys(name for row in shown for name in row if name.startswith(POINT))
        columns = [text(name, [str(row[name]) for row in shown]) for name in ("network", "method", "accelerator")]
        columns += [text(name.partition(".")[2], [str(row.get(name, DASH)) for row in shown]) for name in names]
        columns += [Column(header=name, cells=[number(row[name]) for row in shown]) for name in sweep.study.objectives]
        trials = [f"{row['trial']}{' *' if few and row['trial'] in marked else ''}" for row in shown]
        print_fitting([text("trial", trials)], columns, console)
    if not few and len(best) > SHOWN:
        say(console, f"... and {len(best) - SHOWN:,} more.")
    for status, count in Counter(row["status"] for row in sweep.rows).items():
        say(console, f"{count:,} {status}.")
    reasons = Counter((row["status"], row["reason"]) for row in sweep.rows if row["status"] != "ok")
    for (status, reason), count in reasons.most_common(REASONS):
        say(console, f"{status}, {counted(count, 'time')}: {reason}")
    rate = f" ({sweep.computed / sweep.seconds:,.1f} a second)" if sweep.computed and sweep.seconds else ""
    known = f", {sweep.known:,} known from the store" if sweep.known else ""
    say(console, f"{counted(sweep.computed, 'row')} computed in {scaled(sweep.seconds, 's')}{rate}{known}.")
    if sweep.store is not None:
        say(console, f"Store: {sweep.store}; all rows: {sweep.results}")


def sweep_record(sweep: Sweep, made: Provenance) -> SweepRecord:
    """The same for JSON, with every row."""
    return {
        "study": sweep.study.name,
        "identity": sweep.study.identity(),
        "trials": sweep.study.search.trials,
        "objectives": dict(sweep.study.objectives),
        "store": sweep.store,
        "results": None if sweep.results is None else str(sweep.results),
        "computed": sweep.computed,
        "known": sweep.known,
        "seconds": sweep.seconds,
        "stopped": sweep.stopped,
        "statuses": dict(Counter(row["status"] for row in sweep.rows)),
        "best": [row["trial"] for row in sweep.front()],
        "rows": list(sweep.rows),
        "provenance": made,
    }
