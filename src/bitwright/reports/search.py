"""A search in words and as a record: how the best candidate came about, which widths it has, and where the plan is."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from bitwright.methods.lpq.search import SearchSettings
from bitwright.reports.score_records import JudgedRecord, UnjudgedRecord, judgement_record
from bitwright.reports.scores import judgement
from bitwright.reports.tables import Column, say, table
from bitwright.studies.provenance import Provenance
from bitwright.studies.search import BestLine, LayerFields, Search
from bitwright.units import number, scaled
from bitwright.words import counted

if TYPE_CHECKING:
    from rich.console import Console

ROWS = 12
WHY = {"passes": "all passes were made", "minutes": "the time was up", "interrupted": "interrupted"}


class SearchRecord(TypedDict):
    """A search: how the best candidate came about, which widths it has, and where the plan is."""

    model: Annotated[str, "the network's name"]
    method: Annotated[str, "that was searched"]
    options: Annotated[Mapping[str, Mapping[str, Any]], "every option's value, by the method whose it is"]
    plan: Annotated[str, "the file that it is in"]
    samples: Annotated[str, "what candidates were judged on"]
    settings: Annotated[SearchSettings, "objective, widths, constants"]
    evaluations: Annotated[int, "candidates judged"]
    remembered: Annotated[int, "of these, those whose loss was in the log"]
    seconds: Annotated[float, "spent judging in this run"]
    workers: Annotated[int, "processes"]
    stopped: Annotated[str, "passes, minutes or interrupted"]
    mean_bits: Annotated[float, "of the weights' elements"]
    elements_by_bits: Annotated[Mapping[str, int], "bits -> elements of weights that have them"]
    layers: Annotated[Mapping[str, LayerFields], "site -> the format of its weight"]
    history: Annotated[list[BestLine], "after the initial candidates and after every iteration"]
    judged: Annotated[JudgedRecord | UnjudgedRecord | None, "on samples that chose nothing; null: interrupted"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def print_search(search: Search, plan: Path, console: "Console") -> None:
    """The way to the best candidate, then the candidate."""
    found = search.found
    say(console, f"{search.network}, searched on {search.samples}, objective {search.settings.objective}.")
    step = max(1, -(-len(found.history) // ROWS))
    shown = [*found.history[::step], *([found.history[-1]] if (len(found.history) - 1) % step else [])]
    console.print(
        table(
            [
                Column(header="candidates", cells=[f"{best.evaluations:,}" for best in shown]),
                Column(header="fitness", cells=[number(best.fitness) for best in shown]),
                Column(header="loss", cells=[number(best.loss) for best in shown]),
                Column(header="mean bits of weights", cells=[f"{best.mean_bits:.3f}" for best in shown]),
            ]
        )
    )
    total = sum(search.widths.values())
    shares = ", ".join(f"{bits} bits {count / total:.1%}" for bits, count in search.widths.items())
    rate = f" ({found.evaluations / found.seconds:.2f} a second)" if found.seconds else ""
    known = f", {found.remembered:,} known from the log" if found.remembered else ""
    say(
        console,
        f"{counted(found.evaluations, 'candidate')} in {scaled(found.seconds, 's')}{rate}{known}: "
        f"{WHY[found.stopped]}.",
        f"Weights: {search.mean_bits:.3f} bits on average; {shares}.",
        *judgement(search.judged),
        f"Use it: bitwright evaluate {search.network} --plan {plan}",
    )


def search_record(search: Search, plan: Path, made: Provenance) -> SearchRecord:
    """The same for JSON."""
    found = search.found
    return {
        "model": search.network,
        "method": found.plan.method,
        "options": found.plan.options,
        "plan": str(plan),
        "samples": search.samples,
        "settings": search.settings,
        "evaluations": found.evaluations,
        "remembered": found.remembered,
        "seconds": found.seconds,
        "workers": search.workers,
        "stopped": found.stopped,
        "mean_bits": search.mean_bits,
        "elements_by_bits": {str(bits): count for bits, count in search.widths.items()},
        "layers": search.layers,
        "history": search.history,
        "judged": judgement_record(search.judged),
        "provenance": made,
    }
