"""Evaluation: quantized networks beside their float self on a task's test samples.

The float network runs once per batch, whatever number of plans is judged. On the first batch an audit compares exact
with fast products of the same codes; it also encodes the weights, so that no timing includes that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypedDict

import numpy as np

from bitwright.errors import InputError
from bitwright.later import later, torch
from bitwright.methods.plan import Plan
from bitwright.methods.progress import reporting, within
from bitwright.networks.network import Network
from bitwright.shown import Headline, Table, Tabled
from bitwright.tasks.budget import MISSED, UNDECIDED, WITHIN, Budget
from bitwright.tasks.calibrate import NOTHING, calibrate_method, require_quantized
from bitwright.tasks.float_outputs import FloatOutputs, timed
from bitwright.tasks.precision import PrecisionRecord, record_for
from bitwright.tasks.relative_loss import Judged, relative_loss
from bitwright.tasks.statistics import Array, Interval
from bitwright.tasks.task import Score, Task, TaskBatch, summarise
from bitwright.tasks.units import row_units
from bitwright.units import number, signed
from bitwright.words import counted

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from bitwright.methods import executor as executing
    from bitwright.methods.executor import Executor, Listener
else:
    executing = later("bitwright.methods.executor")

Progress = Callable[[str, int, int], None]
"""Told (what is going on, done, of how many); 0 of 0 is a stage of unknown length."""
KEPT = {WITHIN: True, MISSED: False, UNDECIDED: None}


def silent(stage: str, done: int, total: int) -> None:
    """The progress nobody asked for."""


class ScoreLine(TypedDict):
    """An evaluation; further columns are the task's other figures, by their names."""

    task: Annotated[str, "top1, perplexity, sts, fidelity or given"]
    metric: Annotated[str, "what is measured"]
    unit: Annotated[str, "of the score, of float's and of their difference; empty for a plain number"]
    score: Annotated[float, "the quantized network's, in `unit`"]
    score_low: Annotated[float, "lower end of its 95 % interval"]
    score_high: Annotated[float, "upper end"]
    float_score: Annotated[float | None, "the float network's; null where the task compares with it to begin with"]
    difference: Annotated[float | None, "score - float_score, in `unit`"]
    difference_low: Annotated[float | None, "lower end of the difference's 95 % interval"]
    difference_high: Annotated[float | None, "upper end"]
    separated_from_float: Annotated[bool | None, "whether that interval excludes 0"]
    samples: Annotated[str, "how many of what were tested"]
    independent_units: Annotated[int, "how many of them are independent"]
    tested_on: Annotated[str, "which samples judged"]
    calibrated_on: Annotated[str, "which samples calibrated"]
    exact: Annotated[bool, "exact arithmetic, or float32 emulation"]
    off_by: Annotated[int | None, "largest difference of exact and fast products, in steps of the accumulator"]
    seconds: Annotated[float, "that the quantized network took on all test samples"]
    float_seconds: Annotated[float, "that the float network took"]


class ScoredSiteLine(TypedDict):
    """A quantized site, on the first test batch; further columns are shares of multiply-accumulates by class."""

    site: Annotated[str, "its name"]
    off_by: Annotated[int, "largest difference of exact and fast products, in steps of the accumulator"]
    accumulation_sqnr_db: Annotated[float | None, "of stored by exact partial sums, in dB; null where sums are exact"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation(Tabled):
    """What a plan scored, and whether exact and fast execution agree; `.frame()`, `.plot()`.

    Frames: `score`, one line, with intervals; `sites`, one line per quantized site, on the first test batch.

    Attributes
    ----------
    score : Score
        The quantized network's, beside its float self.
    plan : Plan
        What was executed.
    exact : bool
        Exact arithmetic (True) or float32 emulation.
    off_by : int or None
        Largest difference between exact and fast products of the same codes on the first test batch, in steps of the
        accumulator; None where no site is quantized.
    off_by_site : str or None
        Where that is; None where `off_by` is 0 or None.
    sites_off_by : mapping
        `off_by` of every quantized site.
    accumulation_db : mapping
        Site -> signal-to-noise ratio of its output by that of exact sums of the same codes, in dB, on the first test
        batch; of the sites whose partial sums are quantized.
    precision : PrecisionRecord or None
        Shares of the classes of run-time precision, and what sub-tensors dropped, over all test samples; None where
        everything has one width.
    seconds, float_seconds : float
        Of the quantized and the plain network on all test samples, encoding of weights and loading of data excluded.
    statistics : numpy.ndarray
        The task's [rows, columns], one row per sample, so that plans judged together can be compared in pairs.
    reference : numpy.ndarray or None
        Those of the float network; None where the task compares with it to begin with.
    loss : Judged
        The relative loss from the float network, on the same samples.
    units : numpy.ndarray
        The independent unit [rows] of every row.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {
        "score": Table(ScoreLine, lambda found: [found.record()]),
        "sites": Table(ScoredSiteLine, lambda found: found._site_lines()),
    }

    score: Score
    plan: Plan
    exact: bool
    off_by: int | None
    off_by_site: str | None
    sites_off_by: Mapping[str, int]
    accumulation_db: Mapping[str, float]
    precision: PrecisionRecord | None
    seconds: float
    float_seconds: float
    loss: Judged
    statistics: Array = dataclasses.field(repr=False, compare=False)
    units: Array = dataclasses.field(repr=False, compare=False)
    reference: Array | None = dataclasses.field(default=None, repr=False, compare=False)

    @property
    def kept(self) -> bool | None:
        """Whether the samples say that what the plan promised is kept; None where they do not decide, or it has not."""
        if self.plan.promise is None:
            return None
        return KEPT[Budget(limit=self.plan.promise).state(self.loss)]

    def headline(self) -> Headline:
        """Score, float's, their difference with its interval, and whether exact and fast agree."""
        score = self.score
        figures = [(score.metric, f"{number(score.value)} {score.unit} {_interval(score.value_interval)}")]
        if score.float_value is not None:
            figures.append(("float", f"{number(score.float_value)} {score.unit}"))
        if score.difference is not None and score.interval is not None:
            figures.append(("difference", f"{signed(score.difference)} {score.unit} {_interval(score.interval)}"))
        figures += [(each.name, f"{number(each.value)} {each.unit}") for each in score.measures]
        if self.off_by is not None:
            figures.append(("exact and fast off by", f"{self.off_by} accumulator steps"))
        figures += [("tested on", f"{score.sample_count}: {score.tested_on}"), ("calibrated on", score.calibrated_on)]
        how = "exact" if self.exact else "fast"
        return Headline(f"{self.plan.method}, {how}, task {score.task}", figures)

    def record(self) -> dict[str, Any]:
        """Flat names and plain values, units in the names."""
        score, interval = self.score, self.score.interval
        line: ScoreLine = {
            "task": score.task,
            "metric": score.metric,
            "unit": score.unit,
            "score": score.value,
            "score_low": score.value_interval.low,
            "score_high": score.value_interval.high,
            "float_score": score.float_value,
            "difference": score.difference,
            "difference_low": interval.low if interval else None,
            "difference_high": interval.high if interval else None,
            "separated_from_float": interval.separates() if interval else None,
            "samples": score.sample_count,
            "independent_units": score.units,
            "tested_on": score.tested_on,
            "calibrated_on": score.calibrated_on,
            "exact": self.exact,
            "off_by": self.off_by,
            "seconds": self.seconds,
            "float_seconds": self.float_seconds,
        }
        return {**line, **{measure.name: measure.value for measure in score.measures}}

    def plot(self) -> go.Figure:
        """The score with its 95 % interval, beside float's where the task scores it, as a plotly figure."""
        from bitwright.tasks.drawing import draw

        return draw(self)

    def _site_lines(self) -> list[dict[str, Any]]:
        classes = {} if self.precision is None else {name: site.shares for name, site in self.precision.sites.items()}
        return [
            {
                "site": name,
                "off_by": steps,
                "accumulation_sqnr_db": self.accumulation_db.get(name),
                **{f"share_{label}": share for label, share in classes.get(name, {}).items()},
            }
            for name, steps in self.sites_off_by.items()
        ]


def _interval(interval: Interval) -> str:
    return f"[{number(interval.low, 3)}, {number(interval.high, 3)}]"


def evaluate(
    network: Network,
    method: str | Plan,
    task: Task,
    *,
    options: Mapping[str, Any] | None = None,
    exact: bool = True,
    calibration_count: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    listeners: Sequence[Listener] = (),
) -> Evaluation:
    """Judge one method on a task.

    Parameters
    ----------
    network : Network
        With numbers to execute.
    method : str or Plan
        A name is calibrated first, with `options`, on `calibration_count` samples.
    task : Task
        The judge and its samples.
    exact : bool
        Exact arithmetic or float32 emulation.
    batch_size : int or None
        Samples at once; None is a size that suits the task.
    seed : int
        Of calibration samples and of the bootstrap.
    progress, listeners : callables
        Told how far it is, and of every execution of every site.

    Raises
    ------
    InputError
        A network with shapes only, or samples that do not fit it.
    """
    require_numbers(network)
    if isinstance(method, str):
        with reporting(within(progress, "calibrating")):
            method = calibrate_method(network, method, options=options, task=task, count=calibration_count, seed=seed)
    found = evaluate_many(
        network,
        {"": method},
        task,
        exact=exact,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
        listeners=listeners,
    )[""]
    if isinstance(found, Exception):
        raise found
    return found


def require_numbers(network: Network) -> None:
    """Refuse a network that cannot be judged because it has shapes only."""
    if network.shape_only:
        raise InputError(
            f"{network.name} has shapes but no numbers, so it cannot be evaluated; simulate it, or use one with weights"
        )


def evaluate_many(
    network: Network,
    plans: Mapping[str, Plan],
    task: Task,
    *,
    exact: bool = True,
    batch_size: int | None = None,
    seed: int = 0,
    progress: Progress = silent,
    listeners: Sequence[Listener] = (),
    outputs: FloatOutputs | None = None,
) -> dict[str, Evaluation | Exception]:
    """Judge several plans, by name, on the same samples; what stops one of them stands in its place.

    `outputs` are the float network's on this task in batches of this size, shared by calls for some plans each.
    """
    outputs = FloatOutputs(network, kept_bytes=0) if outputs is None else outputs
    runs = {name: _Run(network, plan, exact=exact, listeners=listeners) for name, plan in plans.items()}
    float_rows: list[Array] = []
    float_seconds, done = 0.0, 0
    for index, batch in enumerate(task.batches(network, batch_size=batch_size)):
        if not done:
            for i, run in enumerate(runs.values()):
                progress("comparing exact with fast products", i, len(runs))
                run.attempt(run.audit, batch)
            progress("evaluating", 0, task.samples)
        reference, seconds = outputs.of(index, batch.inputs)
        float_seconds += seconds
        if not task.needs_reference:
            float_rows.append(task.collect(batch, reference, reference))
        for run in runs.values():
            run.attempt(run.step, task, batch, reference, seconds)
        done += _samples(network, batch)
        progress("evaluating", min(done, task.samples), task.samples)
    float_statistics = np.concatenate(float_rows) if float_rows else None

    def result(run: _Run) -> Evaluation | Exception:
        if run.error is not None:
            return run.error
        samples = (run.plan.calibrated_on or "samples that its plan does not name") if run.plan.quantizes else NOTHING
        statistics = np.concatenate(run.rows)
        try:
            run.require_sites()
            units = np.concatenate(run.units)
            score = summarise(task, statistics, float_statistics, calibrated_on=samples, units=units, seed=seed)
            loss = relative_loss(task, statistics, float_statistics, units=units, seed=seed)
        except InputError as error:
            return error
        return run.evaluation(score, loss, float_seconds, statistics, float_statistics)

    return {name: result(run) for name, run in runs.items()}


class _Run:
    """One plan's way through the test batches; a plan that quantizes nothing takes over the float network's outputs."""

    def __init__(self, network: Network, plan: Plan, *, exact: bool, listeners: Sequence[Listener]) -> None:
        self.plan, self.exact, self.precision = plan, exact, record_for(plan)
        self.listeners = (*listeners, *(() if self.precision is None else (self.precision,)))
        self.rows: list[Array] = []
        self.units: list[Array] = []
        self.seconds = 0.0
        self.error: Exception | None = None
        self.executor: Executor | None = None
        self.attempt(require_quantized, network, plan)
        if plan.quantizes or listeners:
            self.attempt(self._prepare, network)

    def _prepare(self, network: Network) -> None:
        self.executor = executing.Executor(network, self.plan, exact=self.exact, listeners=self.listeners)

    def attempt(self, step: Callable[..., None], *arguments: object) -> None:
        """Take a step, unless an earlier one failed; a failure is kept."""
        if self.error is not None:
            return
        try:
            step(*arguments)
        except Exception as error:
            self.error = error

    def require_sites(self) -> None:
        """Refuse a plan none of whose quantized sites ran: its score would be float's."""
        if self.executor is not None and self.plan.quantizes and not self.executor.off_by:
            raise InputError(
                f"none of the {counted(len(self.plan.sites), 'site')} in the plan of {self.plan.method} ran on the "
                "test samples, "
                "so that nothing was quantized; calibrate and test on inputs that take the same way"
            )

    def audit(self, batch: TaskBatch) -> None:
        """Exact against fast on one batch, which nobody listens to."""
        if self.executor is not None and self.plan.quantizes:
            self.executor.listeners = ()
            self.executor.audit(batch.inputs)
            self.executor.listeners = self.listeners

    def step(self, task: Task, batch: TaskBatch, reference: torch.Tensor, float_seconds: float) -> None:
        """One batch."""
        if self.executor is None:
            output, seconds = reference, float_seconds
        else:
            output, seconds = timed(self.executor.network, self.executor.run, batch.inputs)
        self.seconds += seconds
        rows, before = task.collect(batch, output, reference), sum(map(len, self.rows))
        self.rows.append(rows)
        self.units.append(row_units(batch.units, len(rows), together=batch.together, start=before))

    def evaluation(
        self, score: Score, loss: Judged, float_seconds: float, statistics: Array, reference: Array | None
    ) -> Evaluation:
        """Everything together."""
        steps = self.executor.off_by if self.executor is not None and self.plan.quantizes else None
        worst = max(steps, key=lambda name: steps[name], default=None) if steps else None
        off_by = None if steps is None else steps[worst] if worst is not None else 0
        return Evaluation(
            score=score,
            plan=self.plan,
            exact=self.exact,
            off_by=off_by,
            off_by_site=worst if off_by else None,
            sites_off_by=steps or {},
            accumulation_db=self.executor.accumulation_db if self.executor is not None else {},
            precision=self.precision,
            seconds=self.seconds,
            float_seconds=float_seconds,
            loss=loss,
            statistics=statistics,
            units=np.concatenate(self.units),
            reference=reference,
        )


def _samples(network: Network, batch: TaskBatch) -> int:
    """How many of the task's samples a batch holds: labels, or tokens, or whatever lies along axis 0."""
    if batch.labels.size:
        return int(batch.labels.size)
    first = next(iter(batch.inputs.values()))
    return first.numel() if network.kind == "language" else len(first) if first.dim() else 1
