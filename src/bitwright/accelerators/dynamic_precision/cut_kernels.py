"""The kernels of parts of the array and of where it is cut: `latency` says the forms, `scheduler` the steps.

numba compiles them once and caches the result. Twin: `bitwright.accelerators.dynamic_precision.reference`.
"""

import numba
import numpy as np

from bitwright.memory import IntArray

NEVER = 2**62
"""Cycles of work that has no rows or no columns of the array."""
STEPS = (
    *((step, 0) for step in (-4, -2, -1, 1, 2, 4)),
    *((0, step) for step in (-4, -2, -1, 1, 2, 4)),
    *((-1, -1), (-1, 1), (1, -1), (1, 1)),
)
"""Steps of (the row line, the column line) in the order in which equally good ones are preferred."""


@numba.njit(cache=True)
def cycles_of(form: int, m: int, k: int, n: int, rows: int, cols: int, fx: int, fw: int, runs: int) -> int:
    """Cycles of one part; `form` is a value of `FORMS`. Compiled, for kernels."""
    if m == 0 or n == 0 or k == 0:
        return 0
    if rows <= 0 or cols <= 0:
        return NEVER
    fold_cols = -(-n // (cols * fw))
    skew = runs * (rows + cols - 2)
    if form in (2, 3):
        return -(-m // (rows * fx)) * fold_cols * (k + skew if form == 2 else max(k, runs * rows))
    folds = -(-k // (rows * fx)) * fold_cols
    if form == 1:
        return folds * max(m, runs * rows)
    if form == 4:
        return folds * max(m + skew, runs * rows)
    return folds * (m + runs * rows + (skew if form == 0 else 0))


@numba.njit(cache=True)
def part_cycles(form: int, parts: IntArray, fx: int, fw: int, found: IntArray) -> None:
    """`parts` is m, k, n, rows, cols, runs [6, parts]."""
    for i in range(found.size):
        m, k, n, rows, cols, runs = parts[:, i]
        found[i] = cycles_of(form, m, k, n, rows, cols, fx, fw, runs)


@numba.njit(cache=True)
def start(size: int, wide: int, narrow: int) -> int:
    """The closed-form cut of an axis of `size` bit groups, rounded half up. Compiled, for kernels."""
    if wide == 0:
        return 0
    if narrow == 0:
        return size
    twice, whole = 2 * size * wide, 2 * wide + narrow
    return min(size - 1, max(1, (2 * twice + whole) // (2 * whole)))


@numba.njit(cache=True)
def _latencies(form: int, rows: int, cols: int, product: IntArray, row: int, col: int, found: IntArray) -> None:
    m_wide, m_narrow, n_wide, n_narrow, k, runs = product
    found[0] = cycles_of(form, m_wide, k, n_wide, row, col, 1, 1, runs)
    found[1] = cycles_of(form, m_wide, k, n_narrow, row, cols - col, 1, 2, runs)
    found[2] = cycles_of(form, m_narrow, k, n_wide, rows - row, col, 2, 1, runs)
    found[3] = cycles_of(form, m_narrow, k, n_narrow, rows - row, cols - col, 2, 2, runs)


@numba.njit(cache=True)
def _descending(cycles: IntArray, found: IntArray) -> None:
    for i in range(4):
        value, j = cycles[i], i
        while j > 0 and found[j - 1] < value:
            found[j] = found[j - 1]
            j -= 1
        found[j] = value


@numba.njit(cache=True)
def _less(first: IntArray, second: IntArray) -> bool:
    for i in range(4):
        if first[i] != second[i]:
            return bool(first[i] < second[i])
    return False


@numba.njit(cache=True)
def schedule(form: int, rows: int, cols: int, products: IntArray, found: IntArray) -> None:
    """`products` are m_wide, m_narrow, n_wide, n_narrow, k, runs; `found` row, column, four cycles, cuts tried."""
    cycles, key, best = np.empty(4, dtype=np.int64), np.empty(4, dtype=np.int64), np.empty(4, dtype=np.int64)
    for i in range(len(products)):
        m_wide, m_narrow, n_wide, n_narrow = products[i, :4]
        row, col = start(rows, m_wide, m_narrow), start(cols, n_wide, n_narrow)
        rows_move, cols_move = m_wide > 0 and m_narrow > 0, n_wide > 0 and n_narrow > 0
        _latencies(form, rows, cols, products[i], row, col, cycles)
        _descending(cycles, best)
        tried, better = int(rows_move or cols_move), rows_move or cols_move
        while better:
            better, next_row, next_col = False, row, col
            for row_step, col_step in STEPS:
                new_row, new_col = row + row_step, col + col_step
                if (row_step != 0 and not (rows_move and 1 <= new_row < rows)) or (
                    col_step != 0 and not (cols_move and 1 <= new_col < cols)
                ):
                    continue
                tried += 1
                _latencies(form, rows, cols, products[i], new_row, new_col, cycles)
                _descending(cycles, key)
                if _less(key, best):
                    best[:] = key
                    better, next_row, next_col = True, new_row, new_col
            row, col = next_row, next_col
        _latencies(form, rows, cols, products[i], row, col, cycles)
        found[i, 0], found[i, 1], found[i, 2:6], found[i, 6] = row, col, cycles, tried
