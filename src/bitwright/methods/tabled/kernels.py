"""Products by lookup: the product of every pair of words is in a table of integers, and sums are of int64, exact.

For one weight the row of products with all words of x stays in the first-level cache while a block of x passes by.
"""

import numba
import numpy as np
import numpy.typing as npt

ROWS = 256  # of x at once: their words and their sums stay in the first-level cache
COLUMNS = 16  # of w per task
TOGETHER = 4  # columns that share the loads of x's words

Words = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


@numba.njit(parallel=True, cache=True)
def products(x: Words, w: Words, table: Integers, out: Integers) -> None:
    """out[g, n, m] = sum over k of table[w[g, n, k], x[g, k, m]]."""
    groups, rows, n = x.shape[0], x.shape[2], w.shape[1]
    row_blocks, column_blocks = -(-rows // ROWS), -(-n // COLUMNS)
    for task in numba.prange(groups * row_blocks * column_blocks):
        group = task // (row_blocks * column_blocks)
        column = task // row_blocks % column_blocks * COLUMNS
        row = task % row_blocks * ROWS
        _block(x[group], w[group], table, out[group], row, min(rows, row + ROWS), column, min(n, column + COLUMNS))


@numba.njit(cache=True)
def _block(
    x: Words, w: Words, table: Integers, out: Integers, row: int, last_row: int, column: int, last_column: int
) -> None:
    count = last_row - row
    sums = np.empty((TOGETHER, ROWS), dtype=np.int64)
    for j in range(column, last_column, TOGETHER):
        sums[:] = 0
        second, third, fourth = min(j + 1, last_column - 1), min(j + 2, last_column - 1), min(j + 3, last_column - 1)
        for i in range(x.shape[0]):
            one, two = table[w[j, i]], table[w[second, i]]
            three, four = table[w[third, i]], table[w[fourth, i]]
            words = x[i, row:last_row]
            for m in range(count):
                word = words[m]
                sums[0, m] += one[word]
                sums[1, m] += two[word]
                sums[2, m] += three[word]
                sums[3, m] += four[word]
        for part in range(min(TOGETHER, last_column - j)):
            out[j + part, row:last_row] = sums[part, :count]


@numba.njit(parallel=True, cache=True)
def depthwise(x: Words, w: Words, table: Integers, out: Integers) -> None:
    """out[m, c] = sum over k of table[w[k, c], x[m, k, c]]."""
    for m in numba.prange(x.shape[0]):
        _row(x[m], w, table, out[m])


@numba.njit(cache=True)
def _row(x: Words, w: Words, table: Integers, out: Integers) -> None:
    out[:] = 0
    for i in range(x.shape[0]):
        for c in range(x.shape[1]):
            out[c] += table[w[i, c], x[i, c]]
