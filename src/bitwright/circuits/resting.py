"""What cells of a weight-stationary array have in common, clock by clock: weights that rest, sums that go down."""

import numpy as np

from bitwright.circuits.circuit import Integers


def later(values: Integers) -> Integers:
    """What a register shows that takes these [clocks, ...] in: a clock later, after 0.

    Examples
    --------
    >>> later(np.array([3, 5])).tolist()
    [0, 3]
    """
    return np.concatenate([np.zeros_like(values[:1]), values[:-1]])


def resting(values: Integers, load: Integers) -> Integers:
    """What a register shows that takes values [clocks, streams(, lanes)] in where `load` [clocks, streams] is 1.

    Examples
    --------
    >>> resting(np.array([[3], [5], [7]]), np.array([[1], [0], [0]])).ravel().tolist()
    [0, 3, 3]
    """
    clocks = len(values)
    taken = np.where(load == 1, np.arange(clocks)[:, None], -1)
    last = later(np.maximum.accumulate(taken, axis=0) + 1) - 1  # the clock of the last one before, -1 where none is
    at = np.arange(load.shape[1])
    held: Integers = values[np.maximum(last, 0), at]
    none = (last < 0).reshape(last.shape + (1,) * (values.ndim - 2))
    return np.where(none, 0, held)


def sums_before(products: Integers, begins: Integers) -> Integers:
    """The sum of the products [clocks, streams] before each in its sum, which begins where `begins` is 1.

    Examples
    --------
    >>> sums_before(np.array([[3], [5], [7]]), np.array([[1], [0], [1]])).ravel().tolist()
    [0, 3, 0]
    """
    before = later(np.cumsum(products, axis=0))
    starts = np.maximum.accumulate(np.where(begins == 1, np.arange(len(begins))[:, None], 0), axis=0)
    return before - np.take_along_axis(before, starts, axis=0)


def loaded(values: Integers) -> Integers:
    """Weights [clocks, ...] as they come in, each a clock before its product; the first product has a weight of 0."""
    return np.concatenate([values[1:], np.zeros_like(values[:1])])
