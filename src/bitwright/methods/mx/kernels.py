"""The kernel of running sums in float32. Twin: `bitwright.methods.mx.reference`."""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
ROWS, COLUMNS = 4, 128  # outputs whose sums are in the first cache at once
TALL = 64  # rows that a thread takes at once


@numba.njit(parallel=True, cache=True, fastmath={"contract"})  # terms are exact, so that fusing changes no bit
def add_terms(x: Array, w: Array, out: Array) -> None:
    """out [G, M, N] = sum over k of x [G, M, K] * w [G, K, N], in the order of k, rounded at each addition."""
    groups, m, _ = x.shape
    n = w.shape[2]
    tall, wide = (m + TALL - 1) // TALL, (n + COLUMNS - 1) // COLUMNS
    for task in numba.prange(groups * tall * wide):
        group, part = task // (tall * wide), task % (tall * wide)
        left, top = part // tall * COLUMNS, part % tall * TALL
        total = np.empty((ROWS, COLUMNS), np.float32)
        for first in range(top, min(m, top + TALL), ROWS):
            _add_some(x[group], w[group], first, min(ROWS, m - first), left, min(COLUMNS, n - left), total)
            for r in range(min(ROWS, m - first)):
                for c in range(min(COLUMNS, n - left)):
                    out[group, first + r, left + c] = total[r, c]


@numba.njit(cache=True, fastmath={"contract"})
def _add_some(x: Array, w: Array, first: int, rows: int, left: int, columns: int, total: Array) -> None:
    """A few rows by a few columns."""
    total[:] = 0
    for k in range(x.shape[1]):
        line = w[k, left : left + columns]
        for r in range(rows):
            value, sums = x[first + r, k], total[r, :columns]
            for c in range(columns):
                sums[c] += value * line[c]
