"""Judged by the caller's own: any loader of (inputs, labels), and any metric that scores each sample.

Statistics: one row per sample: its score, the powers of its output and of the noise in it, and for top-1 the KL
divergence of its logits; so that two networks are compared sample by sample. The score is their mean. Samples are
taken for independent of each other.
Without a metric it is top-1 accuracy, where the network gives logits [B, classes] and labels are class ids [B].
All batches are kept in memory: every plan is judged on the same ones, whether the loader shuffles or not.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.networks.network import Batch, Network
from bitwright.networks.packages import told
from bitwright.tasks.blocks import divergences, powers
from bitwright.tasks.given import LABELS, MOST, GivenSamples, given_of, iterated, to_calibrate_on
from bitwright.tasks.samples import Samples, calibration_of, require_kind
from bitwright.tasks.statistics import ANYTHING, Array, Bounds, ScoreFunction, mean_of
from bitwright.tasks.task import MeasureKind, TaskBatch, divergence, sqnr_beside
from bitwright.tasks.top1 import RIGHT, right_of
from bitwright.words import counted

Metric = Callable[["torch.Tensor", Any], Any]
"""(the network's output for a batch, on the CPU; its labels) -> one score per sample, in one dimension."""

PAIRS = "(inputs, labels), or a dict with one of label, labels, target, targets"
TOP1 = "top1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
    """What the caller judges by.

    Attributes
    ----------
    batches : iterable
        Of (inputs, labels), or of dicts that have both; inputs as in `bitwright.tasks.given`.
    metric : callable or None
        (output, labels) -> a score per sample; None is top-1.
    higher_is_better : bool
        Which way is up.
    """

    batches: Iterable[Any] = dataclasses.field(repr=False)
    metric: Metric | None = None
    higher_is_better: bool = True

    def __str__(self) -> str:
        return "a loader of labelled batches"

    def pairs(self) -> Iterator[tuple[Any, Any]]:
        """Inputs and labels of each batch, as the caller gives them; at most `MOST` batches and one."""
        for at, item in enumerate(itertools.islice(iterated(self.batches, "data"), MOST + 1)):
            yield _parted(item, f"batch {at} of data")

    def inputs(self) -> Iterator[Any]:
        """The inputs alone."""
        return (inputs for inputs, _ in self.pairs())


def _parted(item: Any, where: str) -> tuple[Any, Any]:
    """Inputs and labels of one batch."""
    if isinstance(item, Mapping):
        found = [key for key in item if key in LABELS]
        if len(found) == 1 and len(item) > 1:
            return {key: value for key, value in item.items() if key != found[0]}, item[found[0]]
        raise InputError(f"{where} has {', '.join(map(str, item)) or 'nothing'}; {PAIRS} is expected")
    if isinstance(item, tuple | list) and len(item) > 1:
        return (item[0] if len(item) == 2 else tuple(item[:-1])), item[-1]
    given = f"a {type(item).__name__}" + (f" of {len(item)}" if isinstance(item, tuple | list) else "")
    raise InputError(f"{where} is {given}; {PAIRS} is expected")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelledBatch(TaskBatch):
    """Test samples with what the metric is given of them; `labels` are their numbers."""

    truth: Any


def labelled(
    network: Network,
    data: Labelled,
    *,
    task: str | None = None,
    limit: int | None = None,
    samples: Iterable[Any] | Path | None = None,
    calibration_samples: Iterable[Any] | Path | None = None,
    calibrates: bool = True,
) -> OwnTask:
    """The task on the caller's labelled batches.

    Parameters
    ----------
    network : Network
        With numbers.
    data : Labelled
        Batches and metric.
    task, limit
        Refused, but for top1 without a metric: the caller gives the batches as they are.
    samples, calibration_samples : iterable of batches or None
        Either is what calibrates, and then all of `data` judge; without them every other batch of `data` calibrates and
        only the rest judge.
    calibrates : bool
        Whether anything is calibrated; if not, all of `data` judge.

    Raises
    ------
    InputError
        Anything that does not fit.
    """
    require_kind(network)
    if task not in (None, TOP1) or (task is not None and data.metric is not None):
        raise InputError(
            f"task {task} is given, but a loader of labelled batches is judged by its metric; leave it out"
        )
    if limit is not None:
        raise InputError(f"the limit is {limit}, but the caller gives the batches as they are; leave the limit out")
    apart = _apart(network, samples, calibration_samples, calibrates=calibrates)
    pairs = list(data.pairs())
    found = given_of(network, [inputs for inputs, _ in pairs], "data")
    truths = [truth for _, truth in pairs]
    for at, (inputs, truth) in enumerate(zip(found.batches, truths, strict=True)):
        _check_labels(found, inputs, truth, f"batch {at} of data")
    if apart is not None or not calibrates:
        judged = found.samples()
        return _task(data, _batches(judged, truths, found), judged.description, apart)
    calibrated, judged = found.halves("data")
    rest = truths[1::2] if len(pairs) > 1 else [_rest(truths[0], calibrated.count)]
    return _task(data, _batches(judged, rest, found), judged.description, calibrated)


def _apart(
    network: Network,
    samples: Iterable[Any] | Path | None,
    calibration_samples: Iterable[Any] | Path | None,
    *,
    calibrates: bool,
) -> Samples | tuple[str, ...] | None:
    """Samples that calibrate and never judge."""
    if samples is not None and calibration_samples is not None:
        raise InputError("samples are given, but the task judges by its data and calibration_samples are given too")
    given = calibration_samples if samples is None else samples
    if given is None:
        return None
    name = "calibration_samples" if samples is None else "samples"
    if not calibrates:
        raise InputError(f"{name} are given and nothing is calibrated; leave them out")
    return to_calibrate_on(network, given, name)


def _rest(truth: Any, start: int) -> Any:
    """The labels of the second half of a batch."""
    if not isinstance(truth, torch.Tensor | np.ndarray | Sequence):
        raise InputError(
            f"data has one batch only, whose labels are a {type(truth).__name__}, which cannot be cut in half, and "
            "half of it calibrates; give at least 2 batches, or calibration_samples= apart"
        )
    return truth[start:]


def _labels(truth: Any) -> int | None:
    """How many labels there are; None for what is no collection of them by sample."""
    if isinstance(truth, torch.Tensor | np.ndarray) and not truth.ndim:
        return 1
    return len(truth) if isinstance(truth, torch.Tensor | np.ndarray | Sequence) else None


def _check_labels(found: GivenSamples, inputs: Batch, truth: Any, where: str) -> None:
    """Refuse labels that are not as many as the inputs."""
    labels, count = _labels(truth), None if found.axes is None else found.axes.size(inputs)
    if labels is not None and count is not None and labels != count:
        said = f"{counted(count, 'input')} and {counted(labels, 'label')}"
        raise InputError(f"{where} has {said}; give one label for each input")


def _batches(judged: Samples, truths: Sequence[Any], found: GivenSamples) -> tuple[LabelledBatch, ...]:
    """The batches that judge."""
    made, start = [], 0
    for inputs, truth in zip(judged.batches, truths, strict=True):
        count = found.axes.size(inputs) if found.axes is not None else _labels(truth) or 1
        made.append(LabelledBatch(inputs=inputs, labels=np.arange(start, start + count), truth=truth))
        start += count
    return tuple(made)


def _task(
    data: Labelled, batches: tuple[LabelledBatch, ...], tested_on: str, calibrated: Samples | tuple[str, ...] | None
) -> OwnTask:
    if data.metric is None:
        if not data.higher_is_better:
            raise InputError("higher_is_better=False is given without a metric, and more top-1 is better; leave it out")
        return OwnTask(
            given=batches,
            scored=_right,
            tested_on=tested_on,
            name=TOP1,
            metric="top-1 accuracy",
            ratio=True,
            unit="%",
            score=mean_of(0, scale=100.0),
            further=(sqnr_beside(1, 2), divergence(3)),
            bounds=(0.0, 100.0),
            counted=RIGHT,
            calibrated=calibrated,
        )
    name = _name_of(data.metric)
    return OwnTask(
        given=batches,
        scored=data.metric,
        tested_on=tested_on,
        name=name,
        metric=name,
        higher_is_better=data.higher_is_better,
        calibrated=calibrated,
    )


def _name_of(metric: Any) -> str:
    """A function's name, or the type of another callable."""
    if not callable(metric):
        raise InputError(
            f"metric is a {type(metric).__name__}; a callable is expected: metric(output, labels) -> a score per sample"
        )
    name = str(getattr(metric, "__name__", type(metric).__name__))
    return name if name.isidentifier() else "score"


def _right(output: torch.Tensor, truth: Any) -> torch.Tensor:
    """1 where the largest logit is the label's."""
    labels = torch.as_tensor(truth)
    if labels.dim() != 1 or labels.is_floating_point() or labels.dtype is torch.bool:
        raise InputError(
            f"data is given without a metric, so top-1 judges, but labels are {list(labels.shape)} of {labels.dtype}; "
            "class ids [B] are expected, or give a metric"
        )
    return right_of(output, labels.cpu().numpy(), "labels")


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class OwnTask:
    """The mean of a score per sample.

    Attributes
    ----------
    given : tuple of LabelledBatch
        What is judged by.
    scored : callable
        (output, labels) -> a score per sample.
    """

    given: tuple[LabelledBatch, ...] = dataclasses.field(repr=False)
    scored: Metric
    tested_on: str
    name: str
    metric: str
    unit: str = ""
    higher_is_better: bool = True
    needs_reference: bool = False
    repeatable: bool = False
    ratio: bool = False
    score: ScoreFunction = mean_of(0)
    further: tuple[MeasureKind, ...] = (sqnr_beside(1, 2),)
    independent: tuple[str, str] | None = None
    bounds: Bounds = ANYTHING
    counted: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    calibrated: Samples | tuple[str, ...] | None = dataclasses.field(default=None, repr=False)

    @property
    def samples(self) -> int:
        """How many samples."""
        return sum(len(batch.labels) for batch in self.given)

    @property
    def sample_unit(self) -> str:
        """What `samples` counts."""
        return "labelled sample" if self.samples == 1 else "labelled samples"

    def batches(self, network: Network, *, batch_size: int | None = None) -> Iterator[TaskBatch]:
        """The caller's batches, in order."""
        del network, batch_size
        return iter(self.given)

    def collect(self, batch: TaskBatch, output: torch.Tensor, reference: torch.Tensor) -> Array:
        """Rows (score, signal, noise[, KL of logits]) [B, 3 or 4] of one output."""
        assert isinstance(batch, LabelledBatch)
        count, first = len(batch.labels), int(batch.labels[0])
        try:
            made = self.scored(output.detach().cpu().clone(), copy.deepcopy(batch.truth))
            scores = torch.as_tensor(made).detach().cpu().double().numpy()
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                f"the metric {self.metric} fails on an output {list(output.shape)}: {told(error)}; it is called as "
                "metric(output, labels), and returns a score per sample"
            ) from error
        if scores.shape != (count,):
            said = "one number" if not scores.ndim else f"scores of shape {list(scores.shape)}"
            raise InputError(
                f"the metric {self.metric} returned {said} for a batch of {count}; a score for each sample, [{count}], "
                "is expected (no mean over the batch: intervals resample the samples)"
            )
        wrong = np.flatnonzero(~np.isfinite(scores))
        if wrong.size:
            raise InputError(
                f"the metric {self.metric} is {scores[wrong[0]]} for sample {first + wrong[0]} of those that judge; a "
                "finite score is expected for each"
            )
        logits = [divergences(output, reference)] if self.counted is not None else []
        return np.hstack([scores[:, None], self._powers(output, reference, count), *logits])

    def _powers(self, output: torch.Tensor, reference: torch.Tensor, count: int) -> Array:
        """Of each sample; all alike where samples do not lie along axis 0 of the output."""
        if len(output) == count:
            return powers(output.reshape(count, -1), reference.reshape(count, -1))
        return powers(output.reshape(1, -1), reference.reshape(1, -1)).repeat(count, axis=0) / count

    def calibration(self, network: Network, *, count: int, seed: int) -> Samples:
        """What calibrates: other batches of the caller's, or samples apart."""
        return calibration_of(self.calibrated, network, count=count, seed=seed)
