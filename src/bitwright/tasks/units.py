"""Independent units: what rows of statistics were drawn together, and how units are halved.

Rows of one unit are not independent: crops of one photograph, sentences of one paragraph, neighbouring tokens.
Intervals resample units (`bitwright.tasks.statistics`), and whoever chooses by some samples and reports on others
halves them by unit. Which units a task has is our choice, stated at the task.
"""

import dataclasses

import numpy as np

from bitwright.tasks.statistics import Array

LEAST_UNITS = 4
"""For halves: two in each, the fewest that have an interval."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Halves:
    """Rows [n] of either half, as booleans; no unit has rows in both."""

    chooses: Array
    reports: Array


def row_units(units: Array, rows: int, *, together: int | None = None, start: int = 0) -> Array:
    """The unit [rows] of every row of a batch.

    Parameters
    ----------
    units : numpy.ndarray
        Integers [samples], which every sample of the batch is of; empty: each row is a unit of its own.
    rows : int
        Of the batch; every sample has as many.
    together : int or None
        Neighbouring rows of a sample that are one unit; None: all of them.
    start : int
        Rows of the batches before, which number the units of rows on their own.

    Examples
    --------
    >>> row_units(np.array([3, 7]), 4), row_units(np.empty(0), 2, start=5)
    (array([3, 3, 7, 7]), array([5, 6]))
    >>> len(set(row_units(np.array([0, 1]), 8, together=2)))
    4
    """
    if not units.size:
        return start + np.arange(rows)
    if rows % len(units):  # samples of several lengths: the batch stays together, which is the cautious reading
        return np.full(rows, units[0])
    each = rows // len(units)
    if together is None:
        return np.repeat(units, each)
    parts = -(-each // together)
    return (units[:, None] * parts + np.arange(each) // together).ravel()


def halves(units: Array, *, seed: int) -> Halves | None:
    """Half of the units to choose by, and the others, the larger half, to report on; None for too few.

    Examples
    --------
    >>> found = halves(np.array([0, 0, 1, 2, 3, 3, 4]), seed=0)
    >>> int((found.chooses & found.reports).sum()), int((found.chooses | found.reports).sum())
    (0, 7)
    """
    names = np.unique(units)
    if len(names) < LEAST_UNITS:
        return None
    chosen = np.random.default_rng(seed).permutation(names)[: len(names) // 2]
    chooses = np.isin(units, chosen)
    return Halves(chooses=chooses, reports=~chooses)
