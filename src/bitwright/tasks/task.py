"""What judges a network: test samples, statistics per sample, and a score with its interval.

Whoever runs the networks goes through `task.batches`, gives each output to `task.collect`, and the rows of all
batches to `summarise`. Statistics are [rows, columns] arrays of float64, one row per sample (or per block of
neighbouring tokens), so that two networks can be compared sample by sample; batches say of which independent units
their samples are, which is what intervals resample.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np

from bitwright.later import torch
from bitwright.networks.network import Batch, Network
from bitwright.tasks.samples import Samples
from bitwright.tasks.statistics import (
    ANYTHING,
    Array,
    Bounds,
    Interval,
    ScoreFunction,
    bootstrap,
    mean_of,
    paired_bootstrap,
    score_once,
    sqnr_of,
)
from bitwright.words import counted

SQNR, KL = "SQNR", "KL divergence"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskBatch:
    """Some test samples: what the network takes, and what the task knows about them (nothing: an empty array).

    Attributes
    ----------
    inputs : Batch
        What the network takes.
    labels : numpy.ndarray
        What the task knows.
    units, together
        Which independent unit every sample is of, and how many neighbouring rows of a sample are one, as in
        `bitwright.tasks.units.row_units`.
    """

    inputs: Batch
    labels: Array = dataclasses.field(default_factory=lambda: np.empty(0))
    units: Array = dataclasses.field(default_factory=lambda: np.empty(0))
    together: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class MeasureKind:
    """A further figure beside the score.

    Attributes
    ----------
    name, unit : str
        E.g. `KL divergence`, `nats`.
    higher_is_better : bool
        Which way is up.
    score : ScoreFunction
        Of the quantized network's statistics, followed column-wise by the float network's where the task has them.
    beside : bool
        Whether it stands beside the score wherever that does.
    bounds : tuple of float
        The least and the largest value that it can have.
    """

    name: str
    unit: str
    higher_is_better: bool
    score: ScoreFunction
    beside: bool = False
    bounds: Bounds = ANYTHING


def sqnr_beside(signal: int, noise: int) -> MeasureKind:
    """The signal-to-noise ratio of outputs, to stand beside a score that few samples hardly separate.

    `signal` and `noise` are the columns of the statistics with their powers.
    """
    return MeasureKind(name=SQNR, unit="dB", higher_is_better=True, score=sqnr_of(signal, noise), beside=True)


def divergence(column: int, *, weight: int | None = None) -> MeasureKind:
    """The KL divergence from the float network's softmax of logits to the quantized one's, in nats per position.

    `column` holds its sums and `weight` the numbers of positions; None: each row is one.
    """
    return MeasureKind(
        name=KL, unit="nats", higher_is_better=False, score=mean_of(column, weight=weight), bounds=(0.0, math.inf)
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measure:
    """A further figure beside the score.

    Attributes
    ----------
    name, unit : str
        What it is, and in what; an empty unit is a plain number's.
    higher_is_better : bool
        Which way is up.
    value : float
        In `unit`.
    interval : Interval
        Of `value`, in `unit`.
    beside : bool
        Whether it stands beside the score wherever that does.
    """

    name: str
    unit: str
    higher_is_better: bool
    value: float
    interval: Interval
    beside: bool = False


class Task(Protocol):
    """What a network is judged by."""

    @property
    def name(self) -> str:
        """As users write it: `top1`."""

    @property
    def metric(self) -> str:
        """What is measured: `top-1 accuracy`."""

    @property
    def unit(self) -> str:
        """In what: `%`; empty for a plain number."""

    @property
    def higher_is_better(self) -> bool:
        """Which way is up."""

    @property
    def ratio(self) -> bool:
        """Whether half of the score is half of what the network can do: false for scores on a scale of their own."""

    @property
    def samples(self) -> int:
        """How many test samples there are."""

    @property
    def sample_unit(self) -> str:
        """Of what: `images`, `tokens in 4 windows of 512`."""

    @property
    def independent(self) -> tuple[str, str] | None:
        """What its independent units are, one and several: (`photograph`, `photographs`); None: the samples are."""

    @property
    def bounds(self) -> Bounds:
        """The least and the largest score that there can be."""

    @property
    def counted(self) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
        """The row of a sample that is lost, and of one that is not, where the loss is a share of samples; else None."""

    @property
    def tested_on(self) -> str:
        """One phrase that says which samples they are and where they came from."""

    @property
    def needs_reference(self) -> bool:
        """Whether the score compares with the float network's output (whose own score then says nothing)."""

    @property
    def repeatable(self) -> bool:
        """Whether another process can tell that it judges by the same: false where the caller's code scores."""

    @property
    def score(self) -> ScoreFunction:
        """From statistics to the score, in `unit`."""

    @property
    def further(self) -> tuple[MeasureKind, ...]:
        """Other figures from the same statistics."""

    def batches(self, network: Network, *, batch_size: int | None = None) -> Iterator[TaskBatch]:
        """The test samples, in a fixed order, loaded as they are needed; None is a size that suits the task."""

    def collect(self, batch: TaskBatch, output: torch.Tensor, reference: torch.Tensor) -> Array:
        """Statistics [rows, columns] of one output; `reference` is the float network's output for the same batch."""

    def calibration(self, network: Network, *, count: int, seed: int) -> Samples:
        """At most `count` samples to calibrate on, never the test samples."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """What a quantized network scored, beside its float self.

    Attributes
    ----------
    task, metric, unit : str
        Which task, what was measured, in what.
    higher_is_better : bool
        Which way is up.
    value : float
        The quantized network's score, in `unit`.
    value_interval : Interval
        Of `value`.
    float_value : float or None
        The float network's score; None where the task compares with the float network to begin with.
    difference : float or None
        `value - float_value`, in `unit`.
    interval : Interval or None
        Of `difference`, from resampling the samples in pairs.
    samples : int
        How many test samples.
    sample_unit : str
        Of what.
    units : int
        How many of them are independent, which is what intervals resample.
    independent : tuple of str or None
        What those are, as in `Task`.
    tested_on, calibrated_on : str
        Which samples, and where they came from.
    measures : tuple of Measure
        Other figures from the same run.
    ratio : bool
        As in `Task`.
    """

    task: str
    metric: str
    unit: str
    higher_is_better: bool
    value: float
    value_interval: Interval
    float_value: float | None
    difference: float | None
    interval: Interval | None
    samples: int
    sample_unit: str
    tested_on: str
    calibrated_on: str
    measures: tuple[Measure, ...] = ()
    ratio: bool = True
    units: int = 0
    independent: tuple[str, str] | None = None

    @property
    def sample_count(self) -> str:
        """The number of samples with its unit, e.g. `500 images`, `64 crops (7 independent photographs)`."""
        said = f"{self.samples} {self.sample_unit}"
        if self.independent is None:
            return said
        one, several = (f"independent {name}" for name in self.independent)
        return f"{said} ({counted(self.units, one, several)})"


def summarise(
    task: Task,
    quantized: Array,
    reference: Array | None,
    *,
    calibrated_on: str,
    units: Array | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Score:
    """The score of a task from the statistics of all batches.

    Parameters
    ----------
    task : Task
        What the statistics were collected by.
    quantized : numpy.ndarray
        Statistics [rows, columns] of the quantized network.
    reference : numpy.ndarray or None
        Those of the float network on the same samples; None where the task needs a reference output instead.
    calibrated_on : str
        `Samples.description` of what the method was calibrated on.
    units : numpy.ndarray or None
        The independent unit [rows] of every row; None: each is its own.
    resamples, seed : int
        Of the bootstrap.
    """
    difference, interval = None, None
    if reference is not None:
        difference, interval = paired_bootstrap(
            quantized, reference, task.score, units=units, resamples=resamples, seed=seed
        )
    return Score(
        task=task.name,
        metric=task.metric,
        unit=task.unit,
        higher_is_better=task.higher_is_better,
        value=score_once(quantized, task.score),
        value_interval=bootstrap(
            quantized, task.score, units=units, bounds=task.bounds, resamples=resamples, seed=seed
        ),
        float_value=None if reference is None else score_once(reference, task.score),
        difference=difference,
        interval=interval,
        samples=task.samples,
        sample_unit=task.sample_unit,
        units=len(quantized) if units is None else len(np.unique(units)),
        independent=task.independent,
        tested_on=task.tested_on,
        ratio=task.ratio,
        calibrated_on=calibrated_on,
        measures=_measures(task, quantized, reference, units, resamples=resamples, seed=seed),
    )


def _measures(
    task: Task, quantized: Array, reference: Array | None, units: Array | None, *, resamples: int, seed: int
) -> tuple[Measure, ...]:
    both = quantized if reference is None else np.hstack([quantized, reference])
    return tuple(
        Measure(
            name=kind.name,
            unit=kind.unit,
            higher_is_better=kind.higher_is_better,
            value=score_once(both, kind.score),
            interval=bootstrap(both, kind.score, units=units, bounds=kind.bounds, resamples=resamples, seed=seed),
            beside=kind.beside,
        )
        for kind in task.further
    )
