"""Cycles of one part of the array, in closed form.

A part of r rows and c columns of bit groups multiplies m x k x n; the port of a row takes fx neighbours of x, that of a
column fw of w (2 at 4 bits, 1 at 8). One fold is SCALE-Sim's (Samajdar et al., ISPASS 2020, and its code): 2r + c + m -
2 weight-stationary, k + r + c - 2 output-stationary; a stream that tiles cut into `runs` is filled and drained as
often. `ws-double` is ours: weights of the next fold come in behind the stream of this one, which takes at least r
cycles per run, so that a fold takes max(m, r runs), and only the first and the last are filled and drained. An empty
class takes no time. Twin: `bitwright.accelerators.dynamic_precision.register_level`.
"""

from typing import Literal

import numba
import numpy as np

from bitwright.memory import IntArray

Dataflow = Literal["ws", "ws-double", "os"]
FORMS: dict[Dataflow, int] = {"ws": 0, "ws-double": 1, "os": 2}
NEVER = 2**62
"""Cycles of work that has no rows or no columns of the array."""
ONE: IntArray = np.ones(1, dtype=np.int64)


@numba.njit(cache=True)
def cycles_of(form: int, m: int, k: int, n: int, rows: int, cols: int, fx: int, fw: int, runs: int) -> int:
    """Cycles of one part; `form` is a value of `FORMS`. Compiled, for kernels."""
    if m == 0 or n == 0 or k == 0:
        return 0
    if rows <= 0 or cols <= 0:
        return NEVER
    fold_cols = -(-n // (cols * fw))
    if form == 2:
        return -(-m // (rows * fx)) * fold_cols * (k + runs * (rows + cols - 2))
    folds = -(-k // (rows * fx)) * fold_cols
    if form == 1:
        return folds * max(m, runs * rows) + 2 * rows + cols - 2
    return folds * (m + runs * (2 * rows + cols - 2))


def part_cycles(
    dataflow: Dataflow,
    *,
    m: IntArray,
    k: IntArray,
    n: IntArray,
    rows: IntArray,
    cols: IntArray,
    fx: int,
    fw: int,
    runs: IntArray = ONE,
) -> IntArray:
    """Cycles of parts, element-wise; arrays broadcast.

    Examples
    --------
    >>> one = {"m": 200, "k": 576, "n": 128, "rows": 24, "cols": 32}
    >>> one = {name: np.array([value]) for name, value in one.items()}
    >>> int(part_cycles("ws", **one, fx=1, fw=1)[0])  # 24 x 4 folds of 2 * 24 + 32 + 200 - 2 cycles
    26688
    >>> int(part_cycles("ws-double", **one, fx=1, fw=1)[0])  # 96 folds of 200, and 78 to fill and drain
    19278
    >>> int(part_cycles("ws-double", **one, fx=2, fw=2)[0])  # 12 x 2 folds
    4878
    """
    arrays = np.broadcast_arrays(*(np.asarray(each, dtype=np.int64) for each in (m, k, n, rows, cols, runs)))
    flat = [np.ascontiguousarray(each).reshape(-1) for each in arrays]
    found = np.empty(flat[0].shape, dtype=np.int64)
    _part_cycles(FORMS[dataflow], np.stack(flat), fx, fw, found)
    return found.reshape(arrays[0].shape)


@numba.njit(cache=True)
def _part_cycles(form: int, parts: IntArray, fx: int, fw: int, found: IntArray) -> None:
    """`parts` is m, k, n, rows, cols, runs [6, parts]."""
    for i in range(found.size):
        m, k, n, rows, cols, runs = parts[:, i]
        found[i] = cycles_of(form, m, k, n, rows, cols, fx, fw, runs)
