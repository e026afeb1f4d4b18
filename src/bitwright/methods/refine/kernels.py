"""Rounding with error feedback, row by row: each row of a weight is independent of the others.

`rounded` is one block of LDLQ (see `bitwright.methods.refine.second_order`), `descend` exact coordinate descent.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats.lookup_kernels import use_torch_threads

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


@numba.njit(cache=True, fastmath={"reassoc", "contract"})
def _rounded_row(
    base: Reals, w: Reals, scale: Reals, to: Reals, values: Reals, middles: Reals, q: Reals, error: Reals
) -> None:
    """One row; `to` [B, B] has in row k what error j < k adds to element k."""
    for k in range(len(base)):
        x = base[k]
        for j in range(k):
            x += error[j] * to[k, j]
        chosen = _nearest(x / scale[k], values, middles) * scale[k]
        q[k] = chosen
        error[k] = w[k] - chosen


@numba.njit(cache=True, fastmath={"contract"})
def _descend_row(
    w: Reals, scale: Reals, h: Reals, gradient: Reals, values: Reals, middles: Reals, passes: int, q: Reals
) -> None:
    """One row of `descend`, by its own group's H [K, K]."""
    width = len(w)
    for _ in range(passes):
        moved = False
        for k in range(width):
            if h[k, k] <= 0:
                continue
            best = q[k] + gradient[k] / h[k, k]
            chosen = _nearest(best / scale[k], values, middles) * scale[k]
            if chosen == q[k]:
                continue
            less = q[k] - chosen
            if less * (2 * gradient[k] + less * h[k, k]) >= 0:  # what rounding of sums would only seem to gain
                continue
            q[k] = chosen
            moved = True
            for j in range(width):
                gradient[j] += less * h[k, j]
        if not moved:
            break


@numba.njit(cache=True, parallel=True)
def _rounded_parallel(
    base: Reals, w: Reals, scale: Reals, feedback: Reals, values: Reals, middles: Reals, q: Reals, error: Reals
) -> None:
    each = len(base) // len(feedback)
    for i in numba.prange(len(base)):
        _rounded_row(base[i], w[i], scale[i], feedback[i // each], values, middles, q[i], error[i])


@numba.njit(cache=True)
def _rounded_alone(
    base: Reals, w: Reals, scale: Reals, feedback: Reals, values: Reals, middles: Reals, q: Reals, error: Reals
) -> None:
    each = len(base) // len(feedback)
    for i in range(len(base)):
        _rounded_row(base[i], w[i], scale[i], feedback[i // each], values, middles, q[i], error[i])


@numba.njit(cache=True, parallel=True)
def _descend_parallel(
    w: Reals, scale: Reals, hessian: Reals, gradient: Reals, values: Reals, middles: Reals, passes: int, q: Reals
) -> None:
    each = len(w) // len(hessian)
    for i in numba.prange(len(w)):
        _descend_row(w[i], scale[i], hessian[i // each], gradient[i], values, middles, passes, q[i])


@numba.njit(cache=True)
def _descend_alone(
    w: Reals, scale: Reals, hessian: Reals, gradient: Reals, values: Reals, middles: Reals, passes: int, q: Reals
) -> None:
    each = len(w) // len(hessian)
    for i in range(len(w)):
        _descend_row(w[i], scale[i], hessian[i // each], gradient[i], values, middles, passes, q[i])


def rounded(
    base: Reals, w: Reals, scale: Reals, feedback: Reals, values: Reals, middles: Reals, q: Reals, error: Reals
) -> None:
    """Round `base` [rows, B] element after element: q and error = w - q, each error fed to those behind it.

    `feedback` [groups, B, B] has in row k what error j < k adds to element k; rows are of groups in order.
    """
    run = _rounded_alone if _alone() else _rounded_parallel
    run(base, w, scale, feedback, values, middles, q, error)


def descend(
    w: Reals, scale: Reals, hessian: Reals, gradient: Reals, values: Reals, middles: Reals, passes: int, q: Reals
) -> None:
    """Move q [rows, K] element by element to where the error e H e' is least, at most `passes` times over.

    `gradient` = e H [rows, K], kept up to date. No step makes the error larger.
    """
    run = _descend_alone if _alone() else _descend_parallel
    run(w, scale, hessian, gradient, values, middles, passes, q)


def _alone() -> bool:
    """Whether torch has one thread: that touches no OpenMP, which a forked process must not use again."""
    if torch.get_num_threads() == 1:
        return True
    use_torch_threads()
    return False


def middles_of(values: Reals) -> Reals:
    """Half-way between ascending values."""
    return ((values[1:].astype(np.float64) + values[:-1]) / 2).astype(values.dtype)
