"""Sums of looked-up products, each addition rounded to a number of significant bits, half to even.

Sums are kept in float64. Where its 53 bits do not hold a sum, the sum is first rounded to odd, so that rounding it
again to up to 51 bits gives what rounding the exact sum gives (Boldo and Melquiond, 2008). x and w as in
`bitwright.methods.tabled.kernels`.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Words = npt.NDArray[np.uint8]
Reals = npt.NDArray[np.float64]
MANTISSA = 53
ROWS = 256


@numba.njit(inline="always")
def _rounded(number: np.float64, dropped: np.int64) -> Any:
    """`number` without its last `dropped` bits of mantissa; a carry runs into the exponent as it should."""
    pattern = np.float64(number).view(np.int64)
    last = (pattern >> dropped) & 1
    pattern += (np.int64(1) << (dropped - 1)) - 1 + last
    return np.int64(pattern & ~((np.int64(1) << dropped) - 1)).view(np.float64)


@numba.njit(inline="always")
def _to_odd(one: np.float64, other: np.float64) -> Any:
    """The sum; where float64 does not hold it, the neighbour whose last bit is 1."""
    total = one + other
    back = total - one
    lost = (one - (total - back)) + (other - back)  # exactly (Knuth)
    pattern = np.float64(total).view(np.int64)
    if lost != 0 and not pattern & 1:
        pattern += np.int64(1) if (lost > 0) == (total > 0) else np.int64(-1)
    return np.int64(pattern).view(np.float64)


@numba.njit(parallel=True, cache=True)
def products(x: Words, w: Words, table: Reals, out: Reals, bits: int) -> None:
    """out[g, n, m] = the rounded running sum over k of table[w[g, n, k], x[g, k, m]]."""
    n = w.shape[1]
    for task in numba.prange(w.shape[0] * n):
        _column(x[task // n], w[task // n, task % n], table, out[task // n, task % n], np.int64(MANTISSA - bits))


@numba.njit(cache=True)
def _column(x: Words, w: Words, table: Reals, out: Reals, dropped: np.int64) -> None:
    for start in range(0, x.shape[1], ROWS):
        stop = min(x.shape[1], start + ROWS)
        sums = np.zeros(stop - start)
        for i in range(x.shape[0]):
            multiples, words = table[w[i]], x[i, start:stop]
            for m in range(stop - start):
                sums[m] = _rounded(_to_odd(sums[m], multiples[words[m]]), dropped)
        out[start:stop] = sums


@numba.njit(parallel=True, cache=True)
def depthwise(x: Words, w: Words, table: Reals, out: Reals, bits: int) -> None:
    """out[m, c] = the rounded running sum over k of table[w[k, c], x[m, k, c]]."""
    for m in numba.prange(x.shape[0]):
        _row(x[m], w, table, out[m], np.int64(MANTISSA - bits))


@numba.njit(cache=True)
def _row(x: Words, w: Words, table: Reals, out: Reals, dropped: np.int64) -> None:
    for c in range(x.shape[1]):
        total = np.float64(0)
        for i in range(x.shape[0]):
            total = _rounded(_to_odd(total, table[w[i, c], x[i, c]]), dropped)
        out[c] = total
