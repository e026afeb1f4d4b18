"""Compute cycles and SRAM accesses of the dense arrays' dataflows, in closed form.

Cycles of one fold of a systolic array are SCALE-Sim's (Samajdar et al., ISPASS 2020): 2 rows + cols + T - 2, with T the
length of the stream; weights (or, output-stationary, finished sums) take `rows` cycles to shift in (out), and the skew
takes rows + cols - 2. Weight-stationary folds k over the rows and n over the columns and streams m; output-stationary
folds m and n and streams k. SIMD lanes do so without skew, T + rows cycles (our choice). Twin:
`bitwright.accelerators.systolic.register_level`.
"""

import dataclasses

import numpy as np

from bitwright.memory import Gemm, IntArray, Tilings, edges


@dataclasses.dataclass(frozen=True, kw_only=True)
class SramElements:
    """Elements between array and SRAMs over all groups [candidates]; inputs and weights are only read."""

    x_read: IntArray
    w_read: IntArray
    psum_read: IntArray
    psum_write: IntArray


def fold_cycles(*, on_rows: IntArray, on_cols: IntArray, stream: IntArray, rows: int, cols: int) -> IntArray:
    """Cycles of a tile of `on_rows` by `on_cols` elements, each fold of it streaming `stream` elements.

    Parameters
    ----------
    on_rows, on_cols : IntArray
        Extents of the tile along the axes that lie on the array's rows and columns.
    stream : IntArray
        Extent along the axis that streams through.
    rows, cols : int
        The array.

    Returns
    -------
    IntArray
        Cycles, element-wise.

    Examples
    --------
    >>> k, n, m = np.array([576]), np.array([128]), np.array([841])
    >>> int(fold_cycles(on_rows=k, on_cols=n, stream=m, rows=32, cols=32)[0])  # 18 x 4 folds of 935 cycles
    67320
    """
    folds = -(-on_rows // rows) * -(-on_cols // cols)
    return folds * (2 * rows + cols + stream - 2)


def broadcast_cycles(*, on_rows: IntArray, on_cols: IntArray, stream: IntArray, rows: int, cols: int) -> IntArray:
    """Cycles of a tile on lanes without skew, element-wise: each fold streams, then drains `rows` rows of sums.

    Parameters are those of `fold_cycles`.

    Examples
    --------
    >>> m, n, k = np.array([841]), np.array([128]), np.array([576])
    >>> int(broadcast_cycles(on_rows=m, on_cols=n, stream=k, rows=24, cols=32)[0])  # 36 x 4 folds of 600 cycles
    86400
    """
    folds = -(-on_rows // rows) * -(-on_cols // cols)
    return folds * (stream + rows)


def folds_of_tiles(*, extent: int, tile: IntArray, width: int) -> IntArray:
    """Folds of an axis that is cut into tiles, each of which is cut into folds of `width` [candidates]."""
    folds = np.zeros_like(tile)
    for count, size in edges(extent, tile):
        folds += count * -(-size // width)
    return folds


def weight_stationary_elements(*, gemm: Gemm, tilings: Tilings, rows: int, cols: int) -> SramElements:
    """Each x once per fold of n; each weight once per tile of m; each partial sum once per fold of k."""
    m_tiles, _, _ = tilings.counts(gemm)
    k_folds = folds_of_tiles(extent=gemm.k, tile=tilings.k, width=rows)
    n_folds = folds_of_tiles(extent=gemm.n, tile=tilings.n, width=cols)
    outputs = gemm.groups * gemm.m * gemm.n
    return SramElements(
        x_read=gemm.groups * gemm.m * gemm.k * n_folds,
        w_read=gemm.groups * gemm.k * gemm.n * m_tiles,
        psum_read=outputs * (k_folds - 1),
        psum_write=outputs * k_folds,
    )


def output_stationary_elements(*, gemm: Gemm, tilings: Tilings, rows: int, cols: int) -> SramElements:
    """Each x once per fold of n; each weight once per fold of m; each partial sum once per tile of k."""
    m_folds = folds_of_tiles(extent=gemm.m, tile=tilings.m, width=rows)
    n_folds = folds_of_tiles(extent=gemm.n, tile=tilings.n, width=cols)
    _, k_tiles, _ = tilings.counts(gemm)
    outputs = gemm.groups * gemm.m * gemm.n
    return SramElements(
        x_read=gemm.groups * gemm.m * gemm.k * n_folds,
        w_read=gemm.groups * gemm.k * gemm.n * m_folds,
        psum_read=outputs * (k_tiles - 1),
        psum_write=outputs * k_tiles,
    )
