"""Relative loss from the float network: what a budget of accuracy is compared with.

With labels it is the share of the float network's own score that is lost: (float - quantized) / |float| where more is
better (top-1, Spearman), (quantized - float) / |float| where less is (perplexity). Without labels it is what fidelity
has of accuracy: 1 - top-1 agreement with the float network where outputs are logits, 1 - cosine of the outputs
otherwise. Our choice; one figure per task, so that points of one network can be put in order.
"""

import dataclasses

import numpy as np

from bitwright.tasks.statistics import Array, Interval, ScoreFunction, bootstrap, score_once
from bitwright.tasks.task import MeasureKind, Task

_AGREEMENT, _COSINE = "top-1 agreement", "cosine"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RelativeLoss:
    """A share of accuracy that quantization costs (negative: a gain), with its interval, and what it is of."""

    value: float
    interval: Interval
    of: str = ""

    def within(self, budget: float) -> bool:
        """Whether the point estimate is at most `budget`; NaN is not."""
        return self.value <= budget

    def separated(self, budget: float) -> bool:
        """Whether the whole interval is on one side of `budget`, so that the samples decide it."""
        return self.interval.high <= budget or self.interval.low > budget


def meaning(task: Task) -> str:
    """What the loss is of, in a phrase."""
    if not task.needs_reference:
        way = "drop" if task.higher_is_better else "rise"
        return f"relative {way} of {task.metric} against the float network"
    kind = _figure(task)
    return f"1 - {kind.name} with the float network's outputs (no labels were given)"


def relative_loss(
    task: Task, quantized: Array, reference: Array | None, *, resamples: int = 1000, seed: int = 0
) -> RelativeLoss:
    """The loss from the statistics [n, columns] of both networks on the same samples, resampled in pairs.

    `reference` is None where the task itself compares with the float network.
    """
    both = quantized if reference is None else np.hstack([quantized, reference])
    score = _of_fidelity(_figure(task)) if task.needs_reference else _of_labels(task, quantized.shape[1])
    interval = bootstrap(both, score, resamples=resamples, seed=seed)
    return RelativeLoss(value=score_once(both, score), interval=interval, of=meaning(task))


def _figure(task: Task) -> MeasureKind:
    """Agreement where the task has it, else cosine."""
    kinds = {kind.name: kind for kind in task.further}
    return kinds.get(_AGREEMENT) or kinds[_COSINE]


def _of_fidelity(kind: MeasureKind) -> ScoreFunction:
    whole = 100.0 if kind.unit == "%" else 1.0
    return lambda statistics, counts: 1 - kind.score(statistics, counts) / whole


def _of_labels(task: Task, columns: int) -> ScoreFunction:
    sign = 1 if task.higher_is_better else -1

    def score(statistics: Array, counts: Array) -> Array:
        quantized, exact = task.score(statistics[:, :columns], counts), task.score(statistics[:, columns:], counts)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(sign * (exact - quantized) / np.abs(exact))

    return score
