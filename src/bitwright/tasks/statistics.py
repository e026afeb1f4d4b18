"""Intervals for scores from per-sample statistics, by the paired bootstrap (Efron and Tibshirani, 1993, chapter 13).

A score is a function of `statistics` [n, columns] (one row per sample) and `counts` [resamples, n] (how often each
sample was drawn) to [resamples] values, so that all resamples are scored at once. Two networks judged on the same
samples are resampled with the same draws: what the samples have in common cancels in the difference.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ScoreFunction = Callable[[Array, Array], Array]

_ELEMENTS_AT_ONCE = 2**21  # counts held in memory: 16 MiB


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """A percentile interval in the unit of what it is of; unbounded (-inf, inf) where one sample says nothing.

    Attributes
    ----------
    low, high : float
        Its ends; both are inside.
    confidence : float
        Share of repetitions that should hold the true value.
    """

    low: float
    high: float
    confidence: float = 0.95

    def separates(self) -> bool:
        """Whether the interval excludes 0: two networks differ by more than the choice of samples explains."""
        return self.low > 0 or self.high < 0


def score_once(statistics: Array, score: ScoreFunction) -> float:
    """The score of `statistics` [n, columns], each sample counted once."""
    return float(score(statistics, np.ones((1, len(statistics))))[0])


def mean_of(column: int, *, weight: int | None = None, scale: float = 1.0) -> ScoreFunction:
    """A score: `scale` times the mean of a column; with `weight`, sum(column) / sum(weight column)."""

    def score(statistics: Array, counts: Array) -> Array:
        total = counts @ statistics[:, column]
        weights = counts.sum(axis=1) if weight is None else counts @ statistics[:, weight]
        return np.asarray(scale * total / weights)

    return score


def sqnr_of(signal: int, noise: int) -> ScoreFunction:
    """A score: 10 log10 of the sums of two columns, in dB; infinite without noise, NaN without signal too."""

    def score(statistics: Array, counts: Array) -> Array:
        powers = counts @ statistics[:, signal], counts @ statistics[:, noise]
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(10 * np.log10(np.divide(*powers)))

    return score


def spearman(statistics: Array, counts: Array) -> Array:
    """A score: Spearman's rank correlation of columns 0 and 1, from -1 to 1, ties at their average rank.

    A resample in which either column is constant carries no order and scores 0; any NaN makes the score NaN.

    Examples
    --------
    >>> spearman(np.array([[1.0, 2.0], [2.0, 4.0], [3.0, 8.0]]), np.ones((1, 3)))
    array([1.])
    """
    if np.isnan(statistics[:, :2]).any():
        return np.full(len(counts), np.nan)
    middle = (counts.sum(axis=1, keepdims=True) + 1) / 2
    a, b = (_ranks(statistics[:, column], counts) - middle for column in (0, 1))
    spread = np.sqrt((counts * a * a).sum(axis=1) * (counts * b * b).sum(axis=1))
    correlation = (counts * a * b).sum(axis=1) / np.where(spread > 0, spread, 1)
    return np.where(spread > 0, np.clip(correlation, -1, 1), 0.0)


def _ranks(values: Array, counts: Array) -> Array:
    """Average ranks [resamples, n] of `values` [n] when value i occurs `counts[:, i]` times."""
    _, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    sizes = np.add.reduceat(counts[:, order], starts, axis=1)
    return (np.cumsum(sizes, axis=1) - (sizes - 1) / 2)[:, group]


def bootstrap(
    statistics: Array, score: ScoreFunction, *, resamples: int = 1000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """The percentile interval of a score of `statistics` [n, columns]."""
    values = [score(statistics, counts) for counts in _draws(len(statistics), resamples, seed)]
    return _interval(np.concatenate(values), score_once(statistics, score), len(statistics), confidence)


def paired_bootstrap(
    quantized: Array,
    reference: Array,
    score: ScoreFunction,
    *,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, Interval]:
    """How much the score of `quantized` exceeds that of `reference`, and the percentile interval of that difference.

    Parameters
    ----------
    quantized, reference : numpy.ndarray
        Per-sample statistics [n, columns] of the two networks; row i of both is the same sample.
    score : callable
        (statistics [n, columns], counts [resamples, n]) -> scores [resamples].
    resamples : int
        How many times n samples are drawn, with replacement.
    seed : int
        Of the draws.
    confidence : float
        Of the interval.

    Returns
    -------
    difference : float
        In the score's unit.
    interval : Interval
        It always holds `difference`; with fewer than two samples it is unbounded.
    """
    if quantized.shape != reference.shape:
        raise ValueError(f"statistics of shape {quantized.shape} and {reference.shape} are not of the same samples")
    difference = float(_subtract(score_once(quantized, score), score_once(reference, score)))
    values = [
        _subtract(score(quantized, counts), score(reference, counts))
        for counts in _draws(len(quantized), resamples, seed)
    ]
    return difference, _interval(np.concatenate(values), difference, len(quantized), confidence)


def _subtract(a: Array | float, b: Array | float) -> Array:
    """The difference a - b, where two equal infinities differ by 0."""
    with np.errstate(invalid="ignore"):
        return np.where(np.equal(a, b), 0.0, np.subtract(a, b))


def _draws(n: int, resamples: int, seed: int) -> Iterator[Array]:
    """Counts [some, n] of `resamples` draws of n from n samples, with replacement, in blocks that fit in memory."""
    if n < 1:
        raise ValueError("there are no samples to resample")
    generator = np.random.default_rng(seed)
    block = max(1, _ELEMENTS_AT_ONCE // n)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


def _interval(values: Array, estimate: float, n: int, confidence: float) -> Interval:
    """The interval that `values` of the resamples span; it is widened where a skewed score leaves `estimate` out."""
    if n < 2:
        return Interval(low=-math.inf, high=math.inf, confidence=confidence)
    tail = (1 - confidence) / 2
    # The neighbouring resample, not interpolation: scores such as SQNR may be infinite.
    low, high = np.quantile(values, tail, method="lower"), np.quantile(values, 1 - tail, method="higher")
    return Interval(low=float(np.minimum(low, estimate)), high=float(np.maximum(high, estimate)), confidence=confidence)
