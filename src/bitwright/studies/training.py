"""Training of a network: calibrated by a method, trained on samples that are always there, and what came of it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitwright.methods.training import Outcome, TrainingSettings, train
from bitwright.networks.network import Network
from bitwright.studies.judging import judged
from bitwright.studies.search import INTERRUPTED
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import Evaluation, Progress, silent
from bitwright.tasks.training_samples import training_samples
from bitwright.words import counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """One training.

    Attributes
    ----------
    network : str
        Its name.
    outcome : Outcome
        The plan and how it came about.
    settings : TrainingSettings
        Steps and rates.
    samples : str
        What it learned from.
    logits : bool
        Whether losses are KL divergences in nats; else they are relative squared errors.
    judged : Evaluation or None
        The plan on samples that chose nothing; None where the training was interrupted.
    """

    network: str
    outcome: Outcome
    settings: TrainingSettings
    samples: str
    logits: bool
    judged: Evaluation | None


def train_network(
    network: Network,
    method: str | None,
    settings: TrainingSettings,
    *,
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    batch_size: int | None = None,
    checkpoint: Path | None = None,
    progress: Progress = silent,
) -> Training:
    """Calibrate `network` by `method` and train it; a method of None resumes from `checkpoint`.

    Raises
    ------
    InputError
        A network with shapes only or without samples, a method that cannot be trained, or a checkpoint that does not
        fit.
    """
    samples = training_samples(network, batch_size=batch_size, seed=settings.seed)
    plan = None
    if method is not None:
        progress("calibrating", 0, 0)
        plan = calibrate_method(network, method, options=options, count=calibration_count, seed=settings.seed)
    outcome = train(
        network,
        plan,
        samples.stream,
        samples.held_out,
        settings,
        checkpoint=checkpoint,
        resume=method is None,
        samples=samples.description,
        progress=progress,
    )
    note = f"trained for {counted(outcome.steps, 'step')} on {samples.description}"
    trained = dataclasses.replace(outcome.plan, calibrated_on=f"{_calibrated(outcome.plan.calibrated_on)}; {note}")
    ended = outcome.stopped != INTERRUPTED
    return Training(
        network=network.name,
        judged=judged(network, trained, seed=settings.seed, progress=progress) if ended else None,
        outcome=dataclasses.replace(outcome, plan=trained),
        settings=settings,
        samples=samples.description,
        logits=network.kind in ("language", "image"),
    )


def _calibrated(described: str) -> str:
    """Without what an earlier training added."""
    return described.split("; trained for ", maxsplit=1)[0]
