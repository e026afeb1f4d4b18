"""The kernel of Hadamard rotations on a CPU. Twin: the product with the whole matrix, `bitwright.networks.hadamard`."""

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
