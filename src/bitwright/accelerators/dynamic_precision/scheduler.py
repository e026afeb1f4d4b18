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

import numpy as np

from bitwright.accelerators.dynamic_precision.latency import FORMS, ONE, Form
from bitwright.memory import IntArray


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
    from bitwright.accelerators.dynamic_precision import cut_kernels

    products = np.stack(np.broadcast_arrays(m_wide, m_narrow, n_wide, n_narrow, k, runs), axis=1).astype(np.int64)
    distinct, which = np.unique(products, axis=0, return_inverse=True)
    found = np.empty((len(distinct), 7), dtype=np.int64)
    cut_kernels.schedule(FORMS[form], rows, cols, distinct, found)
    found = found[which.reshape(-1)]
    return Cuts(rows=found[:, 0], cols=found[:, 1], cycles=found[:, 2:6], evaluations=found[:, 6])
