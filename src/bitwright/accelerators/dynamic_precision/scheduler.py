"""Where the array is cut: a closed-form start, then greedy steps.

Ours (the paper's scheduler is only known to be online): one row line and one
column line part the array between wide and narrow rows and columns. The work of the four classes is k times an outer
product of (wide, half of narrow) rows and columns, so that the cuts r0 = rows * m_wide / (m_wide + m_narrow / 2), and
c0 alike, balance all four where nothing is rounded. From there the scheduler steps, by 1, 2 or 4 along one cut or by 1
along both, to the cuts whose four latencies, the longest first, are lexicographically least, until no step helps.
(Without steps along both it stops up to 14 % above the best cuts of plain weight-stationary parts; with them, tests
find no product above 2.5 %.) A cut stays at the edge where a class of rows or columns is empty, and off it where both
have some. Twin: `bitwright.accelerators.dynamic_precision.reference`.
"""

import dataclasses

import numba
import numpy as np

from bitwright.accelerators.dynamic_precision.latency import FORMS, ONE, Form, cycles_of
from bitwright.memory import IntArray

STEPS = (
    *((step, 0) for step in (-4, -2, -1, 1, 2, 4)),
    *((0, step) for step in (-4, -2, -1, 1, 2, 4)),
    *((-1, -1), (-1, 1), (1, -1), (1, 1)),
)
"""Steps of (the row line, the column line) in the order in which equally good ones are preferred."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cuts:
    """Where arrays are cut, one entry per product.

    Attributes
    ----------
    rows, cols : IntArray
        Rows of bit groups of the wide rows of x, columns of the wide columns of w.
    cycles : IntArray
        Of the four parts, as `methods.classes.PAIRS` orders them [products, 4].
    evaluations : IntArray
        Cuts tried, with four closed forms each; 0 where there is nothing to choose.
    """

    rows: IntArray
    cols: IntArray
    cycles: IntArray
    evaluations: IntArray


def schedule(
    form: Form,
    *,
    rows: int,
    cols: int,
    m_wide: IntArray,
    m_narrow: IntArray,
    n_wide: IntArray,
    n_narrow: IntArray,
    k: IntArray,
    runs: IntArray = ONE,
) -> Cuts:
    """The cuts of an array of rows x cols bit groups for each of many products [products].

    Equal products are scheduled once here; the evaluations are those of each. `runs` as in `latency`; it broadcasts.
    """
    products = np.stack(np.broadcast_arrays(m_wide, m_narrow, n_wide, n_narrow, k, runs), axis=1).astype(np.int64)
    distinct, which = np.unique(products, axis=0, return_inverse=True)
    found = np.empty((len(distinct), 7), dtype=np.int64)
    _schedule(FORMS[form], rows, cols, distinct, found)
    found = found[which.reshape(-1)]
    return Cuts(rows=found[:, 0], cols=found[:, 1], cycles=found[:, 2:6], evaluations=found[:, 6])


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
def _schedule(form: int, rows: int, cols: int, products: IntArray, found: IntArray) -> None:
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
