"""Training in words and as a record: what it learned from, the losses at every look, and where the plan is."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitwright.reports.scores import judgement, judgement_record
from bitwright.reports.tables import Column, say, table
from bitwright.studies.provenance import Provenance
from bitwright.studies.training import Training
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


def training_record(training: Training, plan: Path, made: Provenance) -> dict[str, Any]:
    """The same for JSON."""
    outcome = training.outcome
    return {
        "model": training.network,
        "method": outcome.plan.method,
        "options": outcome.plan.options,
        "plan": str(plan),
        "samples": training.samples,
        "settings": training.settings.model_dump(),
        "steps": outcome.steps,
        "seconds": outcome.seconds,
        "stopped": outcome.stopped,
        "loss": training.loss,
        "first_loss": outcome.first_loss,
        "best_loss": outcome.best_loss,
        "losses": [{"step": step, "loss": loss} for step, loss in outcome.losses],
        "judged": judgement_record(training.judged),
        "provenance": made,
    }
