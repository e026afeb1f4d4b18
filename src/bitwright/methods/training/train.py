"""The loop: batches, Adam, looks at held-out samples, checkpoints, an early stop.

Learning rates rise over the first twentieth of the steps and fall as a cosine to nothing. Adam moves all weights alike,
and those of folded convolutions differ by orders of magnitude: so each row of a weight moves in units of its own root
mean square at the beginning by the root of its length, so that a step changes what it gives by about one share however
long it is (Yang and Hu, 2021, for the idea), vectors as a whole (our choices). Weights start as the plan has them,
rounded or corrected ones included: what is calibrated is where training begins. Beside what learns runs its moving
average (exponential; Polyak and Juditsky, 1992, for the idea), which is less noisy than any single step. What counts is
the loss of exact execution on held-out samples, of what learns and of its average; the best plan seen is the result,
the calibrated one included, so that training never makes it worse on these. Where a look finds what is much worse,
training goes back to the best and on from there in smaller steps (ours): a rate that is right for one network ruins
another.
"""

import contextlib
import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from bitwright.errors import InputError
from bitwright.methods.plan import Plan
from bitwright.methods.training.checkpoint import Checkpoint, Reached, load_checkpoint, save_checkpoint
from bitwright.methods.training.learner import Learner
from bitwright.methods.training.settings import TrainingSettings
from bitwright.networks.network import Batch, Network
from bitwright.processes import INTERRUPTING

WARM_UP = 0.05
Progress = Callable[[str, int, int], None]
Stream = Callable[[int], Batch]
"""Step -> its batch, the same whenever it is asked for."""


def silent(stage: str, done: int, total: int) -> None:
    """The progress nobody asked for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What training came to.

    Attributes
    ----------
    plan : Plan
        The best one seen.
    steps : int
        Taken, resumed ones included.
    first_loss, best_loss : float
        Of exact execution on the held-out samples: before training, and of `plan`.
    losses : tuple of (int, float)
        Step and loss at every look, of what learns or of its average, whichever is less.
    seconds : float
        Spent, those before a resumption included.
    stopped : str
        Why it ended: `steps`, `minutes`, `patience` or `interrupted`.
    """

    plan: Plan
    steps: int
    first_loss: float
    best_loss: float
    losses: tuple[tuple[int, float], ...]
    seconds: float
    stopped: str


def train(
    network: Network,
    plan: Plan | None,
    stream: Stream,
    held_out: Sequence[Batch],
    settings: TrainingSettings,
    *,
    checkpoint: Path | None = None,
    resume: bool = False,
    samples: str = "",
    progress: Progress = silent,
) -> Outcome:
    """Train `network` with `plan` in the loop.

    Parameters
    ----------
    plan : Plan or None
        Calibrated; None where training is resumed, whose checkpoint has it.
    stream : callable
        The batch of each step.
    held_out : sequence of batches
        Judged on, never learned from.
    checkpoint : path or None
        Where to keep all state at every look.
    resume : bool
        Continue from that file.
    samples : str
        What `stream` and `held_out` are, in a phrase; a checkpoint is resumed on the same only.

    Raises
    ------
    InputError
        If there is nothing to train, or the checkpoint cannot be continued.
    """
    run = _resumed(network, checkpoint, settings, samples) if resume else _started(network, plan, held_out, settings)
    began, spent = time.monotonic(), run.seconds
    stopped = "steps"
    try:
        while run.step < settings.steps:
            if run.step % settings.every == 0 and run.losses[-1][0] != run.step:  # it was stopped before the look
                run.look(held_out)
            progress("training", run.step, settings.steps)
            with whole_steps():
                run.take(stream(run.step))
            run.seconds = spent + time.monotonic() - began
            over = run.seconds > 60 * settings.minutes
            if run.step % settings.every == 0 or run.step == settings.steps or over:
                run.look(held_out)
                _keep(run, checkpoint, samples)
                if over or run.waited >= settings.patience:
                    stopped = "minutes" if over else "patience"
                    break
    except KeyboardInterrupt:
        stopped = "interrupted"
        _keep(run, checkpoint, samples)
    return run.outcome(stopped)


@contextlib.contextmanager
def whole_steps() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for the end of the block: half a step is no state to keep.

    Only the main thread is told of them, and only what somebody handles waits.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {number: signal.getsignal(number) for number in INTERRUPTING}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    for number in handled:
        signal.signal(number, lambda number, frame: waiting.append(number))  # noqa: ARG005
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)
    if waiting:
        signal.raise_signal(waiting[0])


class _Run:
    """Training as it stands."""

    def __init__(self, learner: Learner, settings: TrainingSettings) -> None:
        self.learner, self.settings = learner, settings
        self.step, self.waited, self.seconds = 0, 0, 0.0
        self.slower = 0
        self.losses: list[tuple[int, float]] = []
        self.learning = {
            **{f"weights/{name}": p for name, p in learner.weights.items()},
            **{f"scales/{name}": p for name, p in learner.scales().items()},
        }
        self.best: dict[str, torch.Tensor] = {}
        self.average = {name: p.detach().clone() for name, p in self.learning.items()} if settings.averaging else {}
        scales = [p for name, p in self.learning.items() if name.startswith("scales/")]
        self.rates = [settings.learning_rate, settings.scale_rate]
        self.adam = torch.optim.Adam([{"params": list(learner.weights.values())}, {"params": scales}])
        self.sizes = [_size(weight.detach()) for weight in learner.weights.values()]

    def take(self, batch: Batch) -> None:
        """One step."""
        factor = _factor(self.step, self.settings.steps) * SLOWER**self.slower
        for group, rate in zip(self.adam.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor
        self.adam.zero_grad(set_to_none=True)
        loss = self.learner.loss(batch, self.settings.features)
        if not bool(loss.isfinite()):
            raise InputError(
                f"the loss is {float(loss)} at step {self.step}; train with a lower --learning-rate, "
                "from the last checkpoint if there is one"
            )
        loss.backward()
        before = [weight.detach().clone() for weight in self.learner.weights.values()]
        self.adam.step()
        with torch.no_grad():
            for weight, old, size in zip(self.learner.weights.values(), before, self.sizes, strict=True):
                weight.copy_(old + (weight - old) * size)
            for name, average in self.average.items():
                average.lerp_(self.learning[name], 1 / min(self.step + 2, self.settings.averaging))
        self.step += 1

    def look(self, held_out: Sequence[Batch]) -> None:
        """Judge, and remember the best; what is much worse goes back to it, to go on from there in smaller steps."""
        loss, values = self._judged(held_out)
        due = self.step % self.settings.every == 0
        with whole_steps():
            if not self.losses or _ranked(loss) < self._least():
                self.best = values
                self.waited = 0
            elif due:  # stopped by time in between, it goes on as it was
                self.waited += 1
                if _ranked(loss) > LOST * self._least():
                    self.slower += 1
                    self.load(self.best)
                    self.average = {name: value.clone() for name, value in self.best.items()} if self.average else {}
                    self.adam.state.clear()
            self.losses.append((self.step, loss))

    def _judged(self, held_out: Sequence[Batch]) -> tuple[float, dict[str, torch.Tensor]]:
        """The loss of what learns, or of its average where that is less, and the values it is of."""
        now = self.copied()
        loss, values = self.learner.judge(list(held_out)), now
        if self.average and self.step:
            self.load(self.average)
            try:
                averaged = self.learner.judge(list(held_out))
            finally:
                self.load(now)
            if _ranked(averaged) < _ranked(loss):
                return averaged, {name: value.clone() for name, value in self.average.items()}
        return loss, values

    def _least(self) -> float:
        """The best loss seen."""
        return min(_ranked(loss) for _, loss in self.losses)

    def outcome(self, stopped: str) -> Outcome:
        """With the best plan."""
        self.load(self.best)
        return Outcome(
            plan=self.learner.now(),
            steps=self.step,
            first_loss=self.losses[0][1],
            best_loss=min((loss for _, loss in self.losses), key=_ranked),
            losses=tuple(self.losses),
            seconds=self.seconds,
            stopped=stopped,
        )

    def copied(self) -> dict[str, torch.Tensor]:
        """What learns, as it stands."""
        return {name: p.detach().clone() for name, p in self.learning.items()}

    @torch.no_grad()
    def load(self, values: Mapping[str, torch.Tensor]) -> None:
        """Values into what learns, in place."""
        for name, parameter in self.learning.items():
            parameter.copy_(values[name])

    def moments(self) -> dict[str, torch.Tensor]:
        """Adam's state by name; none before the first step."""
        return {
            f"{name}/{kind}": torch.as_tensor(value)
            for name, parameter in self.learning.items()
            for kind, value in self.adam.state.get(parameter, {}).items()
        }

    def load_moments(self, moments: Mapping[str, torch.Tensor]) -> None:
        """Adam's state from `moments`."""
        for name, parameter in self.learning.items():
            state = {kind: moments[f"{name}/{kind}"] for kind in MOMENTS if f"{name}/{kind}" in moments}
            if state:
                self.adam.state[parameter] = state


def _size(weight: torch.Tensor) -> torch.Tensor:
    """What the steps of a weight [rows, ...], a vector or a number are in units of, broadcastable; 1 where all is 0.

    Of each row the root mean square by the root of its length: Adam's steps have about one size, and where inputs
    have a mean, all of a row's steps move its product together. Of a vector the root mean square.
    """
    if not weight.dim():
        size = weight.abs()
    elif weight.dim() == 1:
        size = weight.square().mean(0, keepdim=True).sqrt()
    else:
        size = weight.flatten(1).norm(dim=1).view(-1, *[1] * (weight.dim() - 1)) / math.prod(weight.shape[1:])
    return torch.where(size > 0, size, torch.ones_like(size))


def _ranked(loss: float) -> float:
    """A loss to be compared: what is no number is as bad as can be."""
    return math.inf if math.isnan(loss) else loss


MOMENTS = ("step", "exp_avg", "exp_avg_sq")
LOST, SLOWER = 1.25, 0.3
"""By the best loss: what is so much worse goes back to it; and what rates are multiplied by then."""


def _started(network: Network, plan: Plan | None, held_out: Sequence[Batch], settings: TrainingSettings) -> _Run:
    assert plan is not None, "what is not resumed begins with a plan"
    run = _Run(Learner(network, plan), settings)
    run.look(held_out)
    return run


def _resumed(network: Network, path: Path | None, settings: TrainingSettings, samples: str) -> _Run:
    if path is None:
        raise InputError("--resume continues from a checkpoint; name it with --checkpoint FILE")
    found = load_checkpoint(path, network)
    if found.samples != samples:
        raise InputError(
            f"{path} learned from {found.samples}, not from {samples}; resume it with the same, or name another "
            "--checkpoint"
        )
    fixed = {"steps", "learning_rate", "scale_rate", "features", "averaging", "seed", "every"}
    for name, value in settings.model_dump(include=fixed).items():
        if found.settings.get(name) != value:
            raise InputError(
                f"{path} was trained with {name}={found.settings.get(name)}, not {value}; resume it with the same, "
                "or name another --checkpoint"
            )
    run = _Run(Learner(network, found.plan), settings)
    _check_fit(path, run, found)
    run.load(found.values)
    run.load_moments(found.moments)
    run.best, run.average = dict(found.best), dict(found.average)
    run.step, run.waited, run.slower = found.reached.step, found.reached.waited, found.reached.slower
    run.seconds, run.losses = found.reached.seconds, list(found.reached.losses)
    return run


def _check_fit(path: Path, run: _Run, found: Checkpoint) -> None:
    """Refuse tensors that are not of what learns."""
    learning = {name: parameter.shape for name, parameter in run.learning.items()}
    held = [found.values, found.best, *([found.average] if run.average or found.average else [])]
    sizes = [{name: value.shape for name, value in each.items()} for each in held]
    moments = {f"{name}/{kind}": shape for name, shape in learning.items() for kind in MOMENTS}
    moments |= {f"{name}/{MOMENTS[0]}": torch.Size() for name in learning}
    if any(each != learning for each in sizes) or any(
        moments.get(name) != value.shape or (name.endswith(("/step", "_sq")) and bool((value < 0).any()))
        for name, value in found.moments.items()
    ):
        raise InputError(f"{path} does not fit what learns here, in names, sizes or moments; train it anew")


def _keep(run: _Run, path: Path | None, samples: str) -> None:
    """The checkpoint, if one is wanted."""
    if path is None:
        return
    reached = Reached(step=run.step, waited=run.waited, slower=run.slower, seconds=run.seconds, losses=run.losses)
    values = {name: p.detach() for name, p in run.learning.items()}
    save_checkpoint(
        Checkpoint(
            plan=run.learner.plan,
            values=values,
            moments=run.moments(),
            best=run.best,
            average=run.average,
            reached=reached,
            settings=run.settings.model_dump(),
            samples=samples,
        ),
        path,
    )


def _factor(step: int, steps: int) -> float:
    """The rate's share of its peak."""
    warm = max(1, round(WARM_UP * steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
