"""Relative loss from the float network, and the ratio of signal to noise: what a budget can be compared with.

With labels the loss is the share of the float network's own score that is lost: (float - quantized) / |float| where
more is better (top-1, Spearman), (quantized - float) / |float| where less is (perplexity). Without labels it is what
fidelity has of accuracy: 1 - top-1 agreement with the float network where outputs are logits, 1 - cosine of the
outputs otherwise. Our choice; one figure per task, so that points of one network can be put in order.

A loss that counts (top-1, agreement) may be rarer than the samples are many: 60 images of which none changed do not
say that none of the next will. Resamples may therefore draw two samples more, one that was lost and one that was
gained (kept, for agreement), in the spirit of Agresti and Min (2005, Biometrics 61), who add them to the pairs'
table; ours is to let them into resamples only, so that the estimate stays what was measured.
"""

import dataclasses
import math

import numpy as np

from bitwright.tasks.statistics import ANYTHING, Array, Bounds, Interval, ScoreFunction, bootstrap, score_once
from bitwright.tasks.task import SQNR, MeasureKind, Task

_AGREEMENT, _COSINE = "top-1 agreement", "cosine"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """A figure that a budget may constrain, with its interval.

    Attributes
    ----------
    value : float
        A relative loss as a share of 1 (negative: a gain), or an SQNR in dB.
    interval : Interval
        Of `value`.
    of : str
        What it is of, in a phrase.
    higher_is_better : bool
        Which way is up.
    """

    value: float
    interval: Interval
    of: str = ""
    higher_is_better: bool = False

    @property
    def badness(self) -> float:
        """The value, negated where higher is better: less of it is better."""
        return -self.value if self.higher_is_better else self.value

    def within(self, limit: float) -> bool:
        """Whether the whole interval is on the good side of `limit`; NaN is not."""
        return self.interval.low >= limit if self.higher_is_better else self.interval.high <= limit

    def inside(self, limit: float) -> bool:
        """Whether the estimate is on the good side of `limit`; NaN is not."""
        return self.value >= limit if self.higher_is_better else self.value <= limit

    def separated(self, limit: float) -> bool:
        """Whether the whole interval is on one side of `limit`, so that the samples decide it."""
        beyond = self.interval.high < limit if self.higher_is_better else self.interval.low > limit
        return self.within(limit) or beyond


def meaning(task: Task) -> str:
    """What the loss is of, in a phrase."""
    if not task.needs_reference:
        way = "drop" if task.higher_is_better else "rise"
        return f"relative {way} of {task.metric} against the float network"
    kind = _figure(task)
    return f"1 - {kind.name} with the float network's outputs (no labels were given)"


def relative_loss(
    task: Task,
    quantized: Array,
    reference: Array | None,
    *,
    units: Array | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Judged:
    """The loss from the statistics [n, columns] of both networks on the same samples, resampled in pairs.

    `reference` is None where the task itself compares with the float network; `units` as in `bootstrap`.
    """
    both = quantized if reference is None else np.hstack([quantized, reference])
    score = _of_fidelity(_figure(task)) if task.needs_reference else _of_labels(task, quantized.shape[1])
    interval = bootstrap(
        both,
        score,
        units=units,
        unseen=_unseen(task, both, paired=reference is not None),
        bounds=_bounds(task),
        resamples=resamples,
        seed=seed,
    )
    return Judged(value=score_once(both, score), interval=interval, of=meaning(task))


def signal_to_noise(
    task: Task,
    quantized: Array,
    reference: Array | None,
    *,
    units: Array | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Judged | None:
    """The SQNR of the outputs in dB, from the same statistics; None where the task has none."""
    score = _ratio(task)
    if score is None:
        return None
    both = quantized if reference is None else np.hstack([quantized, reference])
    return Judged(
        value=score_once(both, score),
        interval=bootstrap(both, score, units=units, resamples=resamples, seed=seed),
        of=f"{SQNR} of the outputs against the float network's",
        higher_is_better=True,
    )


def _ratio(task: Task) -> ScoreFunction | None:
    """The score that is the SQNR, of the quantized network's statistics and, beside them, the float network's."""
    if task.metric == SQNR:
        return task.score
    return next((kind.score for kind in task.further if kind.name == SQNR), None)


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


def _bounds(task: Task) -> Bounds:
    """Of the loss: without labels no less than 0, with them anything."""
    return (0.0, math.inf) if task.needs_reference else ANYTHING


def _unseen(task: Task, both: Array, *, paired: bool) -> Array | None:
    """One sample lost and one gained, where the loss counts samples; none where the outputs are float's to the bit."""
    score = _ratio(task)
    if task.counted is None or (score is not None and math.isinf(score_once(both, score))):
        return None
    lost, kept = (np.asarray(row, dtype=float) for row in task.counted)
    return np.stack([np.hstack([lost, kept]), np.hstack([kept, lost])] if paired else [lost, kept])
