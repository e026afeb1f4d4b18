"""Training in words and as a record: what it learned from, the losses at every look, and where the plan is."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

from bitwright.methods.training import TrainingSettings
from bitwright.reports.score_records import JudgedRecord, UnjudgedRecord, judgement_record
from bitwright.reports.scores import judgement
from bitwright.reports.tables import Column, say, table
from bitwright.studies.provenance import Provenance
from bitwright.studies.training import LossLine, Training
from bitwright.units import number, scaled
from bitwright.words import counted

if TYPE_CHECKING:
    from rich.console import Console

WHY = {
    "steps": "all steps were taken",
    "minutes": "the time was up",
    "patience": "the held-out samples no longer improved",
    "interrupted": "interrupted",
}


class TrainingRecord(TypedDict):
    """A training: what it learned from, the losses at every look, and where the plan is."""

    model: Annotated[str, "the network's name"]
    method: Annotated[str, "that was trained"]
    options: Annotated[Mapping[str, Mapping[str, Any]], "every option's value, by the method whose it is"]
    plan: Annotated[str, "the file that it is in"]
    samples: Annotated[str, "what it learned from"]
    settings: Annotated[TrainingSettings, "steps and rates"]
    steps: Annotated[int, "taken, resumed ones included"]
    seconds: Annotated[float, "spent, those before a resumption included"]
    stopped: Annotated[str, "steps, minutes, patience or interrupted"]
    loss: Annotated[str, "what losses are, with their unit"]
    first_loss: Annotated[float, "on the held-out samples before training, in the unit that `loss` names"]
    best_loss: Annotated[float, "of the plan, in the same"]
    losses: Annotated[list[LossLine], "at every look"]
    judged: Annotated[JudgedRecord | UnjudgedRecord | None, "on samples that chose nothing; null: interrupted"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def print_training(training: Training, plan: Path, console: "Console") -> None:
    """The losses, then the end."""
    outcome, loss = training.outcome, training.loss
    say(console, f"{training.network}, method {outcome.plan.method}, trained on {training.samples}.")
    console.print(
        table(
            [
                Column(header="step", cells=[f"{step:,}" for step, _ in outcome.losses]),
                Column(header=f"{loss}, held out", cells=[number(value) for _, value in outcome.losses]),
            ]
        )
    )
    say(
        console,
        f"{counted(outcome.steps, 'step')} in {scaled(outcome.seconds, 's')}: {WHY[outcome.stopped]}. "
        f"{loss} of exact execution {number(outcome.first_loss)} before, {number(outcome.best_loss)} in {plan}.",
        *judgement(training.judged),
        f"Use it: bitwright evaluate {training.network} --plan {plan}",
    )


def training_record(training: Training, plan: Path, made: Provenance) -> TrainingRecord:
    """The same for JSON."""
    outcome = training.outcome
    return {
        "model": training.network,
        "method": outcome.plan.method,
        "options": outcome.plan.options,
        "plan": str(plan),
        "samples": training.samples,
        "settings": training.settings,
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "stopped": outcome.stopped,
        "loss": training.loss,
        "first_loss": outcome.first_loss,
        "best_loss": outcome.best_loss,
        "losses": training.losses,
        "judged": judgement_record(training.judged),
        "provenance": made,
    }
