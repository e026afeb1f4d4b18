"""The kernels of Hadamard rotations on a CPU. Twin: the product with the matrix, `bitwright.networks.hadamard`."""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt


@numba.njit(cache=True)
def rotate_alone(rows: npt.NDArray[Any], scale: np.float32 | np.float64) -> None:
    """Rows [R, block], of a power of two, in place: rounds of sums and differences, then times `scale`."""
    for y in rows:
        step = 1
        while step < len(y):
            for start in range(0, len(y), 2 * step):
                for i in range(start, start + step):
                    a, b = y[i], y[i + step]
                    y[i], y[i + step] = a + b, a - b
            step *= 2
        for i in range(len(y)):
            y[i] *= scale


@numba.njit(parallel=True, cache=True)
def rotate(rows: npt.NDArray[Any], scale: np.float32 | np.float64) -> None:
    """The same on all threads."""
    for r in numba.prange(len(rows)):
        rotate_alone(rows[r : r + 1], scale)


@numba.njit(cache=True)
def turn_alone(groups: npt.NDArray[Any], signs: npt.NDArray[Any]) -> None:
    """Groups [R, 2 q + 2, stride] along their middle axis by the matrix of Paley's whose S is `signs`, in place.

    Both are of one type. With p and d, the sums and differences of both halves, it is [S p + d, S d - p]: q + 1
    additions per element.
    """
    half, stride = len(signs), groups.shape[2]
    p, d = np.empty((half, stride), groups.dtype), np.empty((half, stride), groups.dtype)
    for y in groups:
        for j in range(half):
            for i in range(stride):
                a, b = y[j, i], y[half + j, i]
                p[j, i], d[j, i] = a + b, a - b
        for j in range(half):
            for i in range(stride):
                y[j, i], y[half + j, i] = d[j, i], -p[j, i]
            for k in range(half):
                sign = signs[j, k]
                for i in range(stride if sign else 0):
                    y[j, i] += sign * p[k, i]
                    y[half + j, i] += sign * d[k, i]


@numba.njit(parallel=True, cache=True)
def turn(groups: npt.NDArray[Any], signs: npt.NDArray[Any]) -> None:
    """The same on all threads."""
    for r in numba.prange(len(groups)):
        turn_alone(groups[r : r + 1], signs)
