"""Training of a network: calibrated by a method, trained on samples that are always there, and what came of it."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.methods.plan import Plan
from bitwright.methods.progress import reporting, within
from bitwright.methods.protocol import compose
from bitwright.methods.training import Outcome, TrainingSettings, train
from bitwright.methods.training.checkpoint import load_checkpoint
from bitwright.networks.network import Network
from bitwright.tasks.calibrate import CALIBRATION_COUNTS, calibrate_method
from bitwright.tasks.evaluate import Progress, silent
from bitwright.tasks.samples import default_samples
from bitwright.tasks.training_samples import training_samples

GO_ON = "the same command goes on with it; for this one name another --checkpoint"


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
    """

    network: str
    outcome: Outcome
    settings: TrainingSettings
    samples: str
    logits: bool


def train_network(
    network: Network,
    method: str | None,
    settings: TrainingSettings,
    *,
    options: Mapping[str, Any] | None = None,
    calibration_count: int | None = None,
    batch_size: int | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    progress: Progress = silent,
) -> Training:
    """Calibrate `network` by `method` and train it, or go on from `checkpoint` where there is one.

    A method of None is the checkpoint's. With `resume` there has to be a checkpoint, and what is not given is as it
    says.

    Raises
    ------
    InputError
        A network with shapes only or without samples, a method that cannot be trained, or a checkpoint that does not
        fit.
    """
    samples = training_samples(network, batch_size=batch_size, seed=settings.seed)
    going_on = checkpoint is not None and (resume or checkpoint.exists())
    plan = None
    if going_on and checkpoint is not None:
        began = load_checkpoint(checkpoint, network).plan
        asked = None if resume and not options else options or {}
        counted = calibration_count is not None or not resume
        _check_same(checkpoint, began, network, method, asked, calibration_count, settings.seed, counted=counted)
    elif method is not None:
        with reporting(within(progress, "calibrating")):
            plan = calibrate_method(network, method, options=options, count=calibration_count, seed=settings.seed)
    outcome = train(
        network,
        plan,
        samples.stream,
        samples.held_out,
        settings,
        checkpoint=checkpoint,
        resume=going_on or method is None,
        samples=samples.description,
        progress=progress,
    )
    note = f"trained for {outcome.steps} steps on {samples.description}"
    trained = dataclasses.replace(outcome.plan, calibrated_on=f"{_calibrated(outcome.plan.calibrated_on)}; {note}")
    return Training(
        network=network.name,
        outcome=dataclasses.replace(outcome, plan=trained),
        settings=settings,
        samples=samples.description,
        logits=network.kind in ("language", "image"),
    )


def _check_same(
    path: Path,
    began: Plan,
    network: Network,
    method: str | None,
    options: Mapping[str, Any] | None,
    count: int | None,
    seed: int,
    *,
    counted: bool,
) -> None:
    """Refuse a checkpoint of another method, other options or, if `counted`, other calibration samples."""
    named = method or began.method
    if named != began.method:
        raise InputError(f"{path} is a checkpoint of {began.method}, not of {named}; {GO_ON}")
    if options is not None:
        asked = {name: chosen.model_dump(mode="json") for name, _, chosen in compose(named, options).methods}
        for part, own in asked.items():
            for name, value in own.items():
                was = began.options.get(part, {}).get(name)
                if was != value:
                    raise InputError(f"{path} was calibrated with {name}={was}, not {value}; {GO_ON}")
    if counted:
        number = CALIBRATION_COUNTS.get(network.kind, 1) if count is None else count
        samples = default_samples(network, count=number, seed=seed).description
        if samples != began.calibrated_on:
            raise InputError(f"{path} was calibrated on {began.calibrated_on}, not on {samples}; {GO_ON}")


def _calibrated(described: str) -> str:
    """Without what an earlier training added."""
    return described.split("; trained for ", maxsplit=1)[0]
