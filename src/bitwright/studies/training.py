"""Training of a network: calibrated by a method, trained on samples that are always there, and what came of it."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

from bitwright.errors import InputError
from bitwright.methods.plan import Plan
from bitwright.methods.progress import reporting, within
from bitwright.methods.protocol import compose
from bitwright.methods.training import Outcome, TrainingSettings, train
from bitwright.methods.training.checkpoint import load_checkpoint
from bitwright.networks.network import Network
from bitwright.shown import Headline, Table, Tabled
from bitwright.studies.judging import judged
from bitwright.studies.search import INTERRUPTED
from bitwright.tasks.calibrate import CALIBRATION_COUNTS, calibrate_method
from bitwright.tasks.evaluate import Evaluation, Progress, silent
from bitwright.tasks.given import to_calibrate_on
from bitwright.tasks.samples import Samples, calibration_of, require_kind
from bitwright.tasks.training_samples import training_samples
from bitwright.units import number, scaled
from bitwright.words import counted

if TYPE_CHECKING:
    import plotly.graph_objects as go

GO_ON = "the same command goes on with it; for this one name another --checkpoint"


class LossLine(TypedDict):
    """A look at the held-out samples."""

    step: Annotated[int, "batches learned from"]
    loss: Annotated[float, "of exact execution, in nats (KL divergence) where outputs are logits, else a share of 1"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Training(Tabled):
    """One training; `.plan` is the best one, `.frame()` the losses, `.plot()` the same as a picture.

    The frame `losses` has one line per look at the held-out samples: the step, and the loss of exact execution.

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
    judged : Evaluation, str or None
        The plan on samples that chose nothing, or why it was not judged; None where the training was interrupted.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {"losses": Table(LossLine, lambda training: training.losses)}

    network: str
    outcome: Outcome
    settings: TrainingSettings
    samples: str
    logits: bool
    judged: Evaluation | str | None

    @property
    def plan(self) -> Plan:
        """The best one seen."""
        return self.outcome.plan

    @property
    def loss(self) -> str:
        """What losses are, with their unit."""
        return "KL divergence from float [nats]" if self.logits else "relative squared error"

    def headline(self) -> Headline:
        """Losses before and after, and how many steps were taken."""
        outcome = self.outcome
        figures = [
            (f"{self.loss}, held out", f"{number(outcome.first_loss)} before, {number(outcome.best_loss)} after"),
            ("steps", f"{outcome.steps:,} in {scaled(outcome.seconds, 's')}"),
            ("stopped by", outcome.stopped),
            ("samples", self.samples),
        ]
        return Headline(f"{self.network}, {outcome.plan.method}", figures)

    @property
    def losses(self) -> list[LossLine]:
        """Step and loss at every look."""
        return [{"step": step, "loss": loss} for step, loss in self.outcome.losses]

    def plot(self) -> "go.Figure":
        """Loss on the held-out samples over steps, as a plotly figure."""
        import plotly.graph_objects as go

        steps, losses = zip(*self.outcome.losses, strict=True)
        figure = go.Figure(go.Scatter(x=steps, y=losses))
        figure.update_layout(xaxis={"title": "step"}, yaxis={"title": f"{self.loss}, held out"})
        return figure


def train_network(
    network: Network,
    method: str | None,
    settings: TrainingSettings,
    *,
    options: Mapping[str, Any] | None = None,
    given: Iterable[Any] | Path | None = None,
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
    require_kind(network)
    chosen = None if given is None else to_calibrate_on(network, given, "samples")
    calibrated = _calibration(network, chosen, calibration_count, settings.seed)
    samples = training_samples(network, batch_size=batch_size, seed=settings.seed, given=chosen)
    going_on = checkpoint is not None and (resume or checkpoint.exists())
    plan = None
    if going_on and checkpoint is not None:
        began = load_checkpoint(checkpoint, network).plan
        asked = None if resume and not options else options or {}
        by_count = calibration_count is not None or not resume
        _check_same(checkpoint, began, method, asked, calibrated().description if by_count else None)
    elif method is not None:
        with reporting(within(progress, "calibrating")):
            plan = calibrate_method(network, method, options=options, samples=calibrated(), seed=settings.seed)
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


def _check_same(
    path: Path,
    began: Plan,
    method: str | None,
    options: Mapping[str, Any] | None,
    samples: str | None,
) -> None:
    """Refuse a checkpoint of another method, other options or other calibration samples than those described."""
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
    if samples is not None and samples != began.calibrated_on:
        raise InputError(f"{path} was calibrated on {began.calibrated_on}, not on {samples}; {GO_ON}")


def _calibration(
    network: Network, given: Samples | tuple[str, ...] | None, count: int | None, seed: int
) -> Callable[[], Samples]:
    """Makes the samples to calibrate on: the caller's, or `count` of the sources named."""
    if isinstance(given, Samples) and count is not None:
        raise InputError("calibration_count is given, but the caller gives the samples; leave calibration_count out")
    number = CALIBRATION_COUNTS.get(network.kind, 1) if count is None else count
    return lambda: calibration_of(given, network, count=number, seed=seed)


def _calibrated(described: str) -> str:
    """Without what an earlier training added."""
    return described.split("; trained for ", maxsplit=1)[0]
