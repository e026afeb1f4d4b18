"""Intervals for scores from statistics per row, by the paired bootstrap over independent units.

A score is a function of `statistics` [n, columns] (one row per sample) and `counts` [resamples, n] (how often each
sample was drawn) to [resamples] values, so that all resamples are scored at once. Two networks judged on the same
samples are resampled with the same draws: what the samples have in common cancels in the difference (Efron and
Tibshirani, 1993, chapter 13). What is drawn is units, with all of their rows (the cluster bootstrap, Davison and
Hinkley, 1997, section 3.8): crops of one photograph are not independent.

Each end of an interval is the farther of two. The percentile's, moved away from the estimate by Student's t over the
normal quantile and by sqrt(u / (u - 1)) for u units (the correction of Hesterberg, 2015, The American Statistician 69,
on the score's own scale), since few units resampled spread less than they vary. And that of the bootstrap-t (Efron and
Tibshirani, chapter 12), whose standard errors come from what each unit does to the score when it is left out, since
percentiles of skewed powers are too short on the side that matters. Taking the farther is our choice: where 4 to 125
units are drawn from a normal or a log-normal distribution (deviation .5 or 1), at most 4 % of ends lie on the wrong
side, where 2.5 % should; percentile ends alone do in up to 15 %. With fewer than four units the bootstrap-t mostly has
no finite end, and the widened percentile stands: three units hold a mean in 94 % of repetitions. Scores that count what
is rare have rows that were not seen instead of the bootstrap-t: a draw without any of the few samples that changed has
next to no error of its own, and its distance from the estimate no meaning.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ScoreFunction = Callable[[Array, Array], Array]
Bounds = tuple[float, float]
"""The least and the largest value that a score can have."""

ANYTHING: Bounds = (-math.inf, math.inf)

_ELEMENTS_AT_ONCE = 2**21  # counts held in memory: 16 MiB
STUDENTISED = 1000
"""Units up to which ends are also those of the bootstrap-t; with more, skewness hardly moves them. Our choice."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Interval:
    """An interval in the unit of what it is of; unbounded (-inf, inf) where one independent unit says nothing.

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
    statistics: Array,
    score: ScoreFunction,
    *,
    units: Array | None = None,
    unseen: Array | None = None,
    bounds: Bounds = ANYTHING,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Interval:
    """The interval of a score of `statistics` [n, columns].

    Parameters
    ----------
    statistics : numpy.ndarray
        One row per sample.
    score : callable
        (statistics [n, columns], counts [resamples, n]) -> scores [resamples].
    units : numpy.ndarray or None
        Integers [n]: which independent unit each row is of; None: every row is its own.
    unseen : numpy.ndarray or None
        Rows [k, columns] that resamples may draw besides, each a unit; the estimate does without them. They stand for
        what is rare and was not seen, where a score counts.
    bounds : tuple of float
        The score's own, which the interval keeps to.
    resamples, seed : int
        How many times as many units as there are are drawn, with replacement, and the seed of the draws.
    confidence : float
        Of the interval.

    Returns
    -------
    Interval
        It always holds the score itself; with fewer than two units it is unbounded.
    """
    groups = _Groups.of(len(statistics), units, 0 if unseen is None else len(unseen))
    rows = statistics if unseen is None else np.concatenate([statistics, unseen])
    found = _Resampled.of(lambda counts: score(rows, counts), groups, resamples, seed, studentised=unseen is None)
    return found.interval(score_once(statistics, score), groups.seen, confidence, bounds)


def paired_bootstrap(
    quantized: Array,
    reference: Array,
    score: ScoreFunction,
    *,
    units: Array | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> tuple[float, Interval]:
    """How much the score of `quantized` exceeds that of `reference`, and the interval of that difference.

    Parameters
    ----------
    quantized, reference : numpy.ndarray
        Per-sample statistics [n, columns] of the two networks; row i of both is the same sample.
    score, units, resamples, seed, confidence
        As in `bootstrap`.

    Returns
    -------
    difference : float
        In the score's unit.
    interval : Interval
        It always holds `difference`; with fewer than two units it is unbounded.
    """
    if quantized.shape != reference.shape:
        raise ValueError(f"statistics of shape {quantized.shape} and {reference.shape} are not of the same samples")
    difference = float(_subtract(score_once(quantized, score), score_once(reference, score)))
    groups = _Groups.of(len(quantized), units)
    found = _Resampled.of(
        lambda counts: _subtract(score(quantized, counts), score(reference, counts)), groups, resamples, seed
    )
    return difference, found.interval(difference, groups.seen, confidence, ANYTHING)


def student_t(probability: float, freedom: int) -> float:
    """The quantile of Student's t with `freedom` degrees, within .2 % from probabilities of .9 to .999.

    Exact for one and two degrees; from three on the expansion of Abramowitz and Stegun, 26.7.5.

    Examples
    --------
    >>> [round(student_t(0.975, freedom), 2) for freedom in (1, 2, 3, 6, 30)]
    [12.71, 4.3, 3.18, 2.45, 2.04]
    """
    if freedom == 1:
        return math.tan(math.pi * (probability - 0.5))
    if freedom == 2:
        centred = 2 * probability - 1
        return centred * math.sqrt(2 / (1 - centred * centred))
    z = NormalDist().inv_cdf(probability)
    terms = (
        z,
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return sum(term / freedom**power for power, term in enumerate(terms))


def widening(units: int, confidence: float) -> float:
    """By how much the ends of a percentile interval of so many units are moved away from the estimate.

    Examples
    --------
    >>> [round(widening(units, 0.95), 2) for units in (4, 7, 20, 500)]
    [1.87, 1.35, 1.1, 1.0]
    """
    probability = (1 + confidence) / 2
    return student_t(probability, units - 1) / NormalDist().inv_cdf(probability) * math.sqrt(units / (units - 1))


def _subtract(a: Array | float, b: Array | float) -> Array:
    """The difference a - b, where two equal infinities differ by 0."""
    with np.errstate(invalid="ignore"):
        return np.where(np.equal(a, b), 0.0, np.subtract(a, b))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Groups:
    """Rows by units: the unit of each row [n], from 0, how many units there are, and how many of them were seen."""

    of_row: Array
    count: int
    seen: int

    @classmethod
    def of(cls, rows: int, units: Array | None, unseen: int = 0) -> "_Groups":
        """Of so many rows and, after them, as many of units that were not seen."""
        if rows < 1:
            raise ValueError("there are no samples to resample")
        if units is not None and len(units) != rows:
            raise ValueError(f"{len(units)} rows have units and {rows} have statistics")
        of_row = np.arange(rows) if units is None else np.unique(units, return_inverse=True)[1]
        seen = int(of_row.max()) + 1
        return cls(of_row=np.concatenate([of_row, seen + np.arange(unseen)]), count=seen + unseen, seen=seen)


def _draws(groups: _Groups, resamples: int, seed: int) -> Iterator[Array]:
    """Counts [some, units] of `resamples` draws of as many units as there are, in blocks that fit in memory."""
    generator = np.random.default_rng(seed)
    block = max(1, _ELEMENTS_AT_ONCE // len(groups.of_row))
    for start in range(0, resamples, block):
        rows, n = min(block, resamples - start), groups.count
        drawn = generator.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(float)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Resampled:
    """Scores of resamples, and how far each is from the score of all in standard errors of its own.

    Attributes
    ----------
    values : numpy.ndarray
        [resamples].
    distances : numpy.ndarray or None
        [resamples], in standard errors; None where those are unknown.
    error : float
        The standard error of the score of all.
    """

    values: Array
    distances: Array | None
    error: float

    @classmethod
    def of(
        cls,
        score: Callable[[Array], Array],
        groups: _Groups,
        resamples: int,
        seed: int,
        *,
        studentised: bool = True,
    ) -> "_Resampled":
        """Of a score of counts of rows [some, n]; not `studentised`: only values."""
        n, influence = groups.count, _influence(score, groups) if studentised else None
        values, errors = [], []
        for counts in _draws(groups, resamples, seed):
            values.append(score(counts[:, groups.of_row]))
            if influence is not None:
                errors.append(_errors(counts, influence))
        together = np.concatenate(values)
        if influence is None:
            return cls(values=together, distances=None, error=math.nan)
        whole = float(score(np.ones((1, len(groups.of_row))))[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            distances = _subtract(together, whole) / np.concatenate(errors)
        error = math.sqrt(float(influence @ influence) / n / (n - 1))
        return cls(values=together, distances=np.where(np.isnan(distances), 0.0, distances), error=error)

    def interval(self, estimate: float, units: int, confidence: float, bounds: Bounds) -> Interval:
        """The interval of so many units that were seen; it always holds `estimate`."""
        if units < 2:
            return Interval(low=-math.inf, high=math.inf, confidence=confidence)
        tail, factor = (1 - confidence) / 2, widening(units, confidence)
        low, high = (_moved(end, estimate, factor) for end in _ends(self.values, tail))
        if self.distances is not None:
            least, largest = _ends(self.distances, tail)
            low = min(low, _finite(estimate - largest * self.error, low))
            high = max(high, _finite(estimate - least * self.error, high))
        low, high = max(low, bounds[0]), min(high, bounds[1])
        low, high = float(np.minimum(low, estimate)), float(np.maximum(high, estimate))
        return Interval(low=low, high=high, confidence=confidence)


def _errors(counts: Array, influence: Array) -> Array:
    """Standard errors [resamples] of draws of units; exactly 0 where only one was drawn, whatever rounding says."""
    n = counts.shape[1]
    squares = counts @ influence**2 / n
    variance = squares - (counts @ influence / n) ** 2
    return np.asarray(np.sqrt(np.where(variance > 1e-12 * squares, variance, 0.0) / (n - 1)))


def _influence(score: Callable[[Array], Array], groups: _Groups) -> Array | None:
    """How much each unit [units] moves the score, from leaving it out; None where that is unknown or of no matter."""
    n = groups.count
    if not 2 < n <= STUDENTISED:
        return None
    block = max(1, _ELEMENTS_AT_ONCE // len(groups.of_row))
    without = [
        score((np.arange(start, min(start + block, n))[:, None] != groups.of_row).astype(float))
        for start in range(0, n, block)
    ]
    left_out = np.concatenate(without)
    return (n - 1) * (left_out.mean() - left_out) if np.isfinite(left_out).all() else None


def _ends(values: Array, tail: float) -> tuple[float, float]:
    """The quantiles that cut off `tail` on either side; the neighbour, not interpolated, as values may be infinite."""
    return float(np.quantile(values, tail, method="lower")), float(np.quantile(values, 1 - tail, method="higher"))


def _moved(end: float, estimate: float, factor: float) -> float:
    """An end away from the estimate by `factor`; as it is where either is infinite or no number."""
    return _finite(estimate + factor * (end - estimate), end) if math.isfinite(estimate) else end


def _finite(value: float, otherwise: float) -> float:
    return value if math.isfinite(value) else otherwise
