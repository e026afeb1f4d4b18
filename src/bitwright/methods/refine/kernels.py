"""Rounding with error feedback, row by row: each row of a weight is independent of the others.

`rounded` is one block of LDLQ (see `bitwright.methods.refine.second_order`), `descend` exact coordinate descent.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[Any]


@numba.njit(cache=True, inline="always")
def _nearest(x: float, values: Reals, middles: Reals) -> float:
    """The value nearest to x, the upper one from half-way on."""
    low, high = 0, len(middles)
    while low < high:
        middle = (low + high) // 2
        if x >= middles[middle]:
            low = middle + 1
        else:
            high = middle
    return values[low]


@numba.njit(cache=True, parallel=True, fastmath={"reassoc", "contract"})
def rounded(
    base: Reals, w: Reals, scale: Reals, feedback: Reals, values: Reals, middles: Reals, q: Reals, error: Reals
) -> None:
    """Round `base` [rows, B] element after element: q and error = w - q, each error fed to those behind it.

    `feedback` [groups, B, B] has in row k what error j < k adds to element k; rows are of groups in order.
    """
    rows, width = base.shape
    each = rows // len(feedback)
    for i in numba.prange(rows):
        to = feedback[i // each]
        for k in range(width):
            x = base[i, k]
            for j in range(k):
                x += error[i, j] * to[k, j]
            chosen = _nearest(x / scale[i, k], values, middles) * scale[i, k]
            q[i, k] = chosen
            error[i, k] = w[i, k] - chosen


@numba.njit(cache=True, parallel=True, fastmath={"contract"})
def descend(
    w: Reals, scale: Reals, hessian: Reals, gradient: Reals, values: Reals, middles: Reals, passes: int, q: Reals
) -> None:
    """Move q [rows, K] element by element to where the error e H e' is least, at most `passes` times over.

    `gradient` = e H [rows, K], kept up to date. No step makes the error larger.
    """
    rows, width = w.shape
    each = rows // len(hessian)
    for i in numba.prange(rows):
        h = hessian[i // each]
        for _ in range(passes):
            moved = False
            for k in range(width):
                if h[k, k] <= 0:
                    continue
                best = q[i, k] + gradient[i, k] / h[k, k]
                chosen = _nearest(best / scale[i, k], values, middles) * scale[i, k]
                if chosen == q[i, k]:
                    continue
                less = q[i, k] - chosen
                if less * (2 * gradient[i, k] + less * h[k, k]) >= 0:  # what rounding of sums would only seem to gain
                    continue
                q[i, k] = chosen
                moved = True
                for j in range(width):
                    gradient[i, j] += less * h[k, j]
            if not moved:
                break


def middles_of(values: Reals) -> Reals:
    """Half-way between ascending values."""
    return ((values[1:].astype(np.float64) + values[:-1]) / 2).astype(values.dtype)
