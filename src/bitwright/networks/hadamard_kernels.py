"""The kernels of Hadamard rotations on a CPU. Twin: the product with the matrix, `bitwright.networks.hadamard`.

Rows are taken many at once, turned so that each step's additions run along memory: lane r is row r. The additions of
an element and their order are those of the factors one after the other, so that a row's result does not depend on what
it is computed with.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
LANES = 64  # rows at once, at most
VECTOR = 16  # rows at once, at least; and columns that are turned together
BUFFER = 32768  # elements of a buffer, so that two stay in a core's cache


@numba.njit(cache=True)
def rotate_alone(
    x: Array, y: Array, signs: Array, orders: Array, conferences: Array, scale: np.float32 | np.float64
) -> None:
    """y = rows of x [R, block] times `signs` [block], rotated, times `scale`.

    `orders` are the factors of Paley's, largest step first, and `conferences` their matrices S one after the other, of
    x's type; what is left of the block is a power of two.
    """
    lanes = _lanes(x.shape[1])
    a, b = np.zeros((x.shape[1], lanes), x.dtype), np.zeros((x.shape[1], lanes), x.dtype)
    for first in range(0, len(x), lanes):
        _rotate_some(x, y, first, signs, orders, conferences, scale, a, b)


@numba.njit(parallel=True, cache=True)
def rotate(x: Array, y: Array, signs: Array, orders: Array, conferences: Array, scale: np.float32 | np.float64) -> None:
    """The same on all threads."""
    lanes = _lanes(x.shape[1])
    for part in numba.prange((len(x) + lanes - 1) // lanes):
        a, b = np.zeros((x.shape[1], lanes), x.dtype), np.zeros((x.shape[1], lanes), x.dtype)
        _rotate_some(x, y, part * lanes, signs, orders, conferences, scale, a, b)


@numba.njit(cache=True)
def _lanes(block: int) -> int:
    return max(VECTOR, min(LANES, BUFFER // block // VECTOR * VECTOR))


@numba.njit(cache=True)
def _rotate_some(
    x: Array,
    y: Array,
    first: int,
    signs: Array,
    orders: Array,
    conferences: Array,
    scale: np.float32 | np.float64,
    a: Array,
    b: Array,
) -> None:
    """As many rows from `first` as the buffers a and b [block, lanes] hold."""
    block, count = x.shape[1], min(a.shape[1], len(x) - first)
    _turned_in(x, first, count, signs, a)
    step, offset = block, 0
    for order in orders:
        step //= order
        half = order // 2
        for start in range(0, block, order * step):
            for i in range(start, start + step):
                _turn(a, b, i, step, half, conferences[offset : offset + half * half])
        offset += half * half
    reach = step
    step = 1
    while step < reach:
        for start in range(0, block, 2 * step):
            for i in range(start, start + step):
                _sums(a, i, i + step, b, i, i + step)
        a, b = b, a
        step *= 2
    _turned_out(a, scale, y, first, count)


@numba.njit(cache=True)
def _turned_in(x: Array, first: int, count: int, signs: Array, a: Array) -> None:
    """a[j, r] = x[first + r, j] * signs[j], of `count` rows, by squares that stay in the first cache."""
    block = len(signs)
    for left in range(0, block, VECTOR):
        for r in range(count):
            for j in range(left, min(block, left + VECTOR)):
                a[j, r] = x[first + r, j] * signs[j]


@numba.njit(cache=True)
def _turned_out(a: Array, scale: np.float32 | np.float64, y: Array, first: int, count: int) -> None:
    """y[first + r, j] = a[j, r] * scale likewise."""
    block = len(a)
    for left in range(0, block, VECTOR):
        for r in range(count):
            for j in range(left, min(block, left + VECTOR)):
                y[first + r, j] = a[j, r] * scale


@numba.njit(cache=True)
def _sums(a: Array, i: int, j: int, b: Array, k: int, m: int) -> None:
    """Rows k and m of b become the sum and the difference of rows i and j of a."""
    for r in range(a.shape[1]):
        one, other = a[i, r], a[j, r]
        b[k, r], b[m, r] = one + other, one - other


@numba.njit(cache=True)
def _turn(a: Array, b: Array, first: int, step: int, half: int, conference: Array) -> None:
    """Rows first, first + step, ... of a, 2 `half` of them, by the matrix of Paley's whose S is `conference`, in place.

    With p and d, the sums and differences of both halves, it is [S p + d, S d - p]: half additions per element.
    """
    for j in range(half):
        _sums(a, first + j * step, first + (half + j) * step, b, j, half + j)
    for j in range(half):
        top, low = first + j * step, first + (half + j) * step
        for r in range(a.shape[1]):
            a[top, r], a[low, r] = b[half + j, r], -b[j, r]
        for k in range(half):
            sign = conference[j * half + k]
            if sign > 0:
                for r in range(a.shape[1]):
                    a[top, r] += b[k, r]
                    a[low, r] += b[half + k, r]
            elif sign < 0:
                for r in range(a.shape[1]):
                    a[top, r] -= b[k, r]
                    a[low, r] -= b[half + k, r]
