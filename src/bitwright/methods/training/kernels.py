"""The backward pass of quantized partial sums on a CPU. Twin: automatic differentiation, in the tests."""

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]
Float = np.float32 | np.float64


@numba.njit(parallel=True, cache=True, fastmath=True)
def scale_gradients(
    x: Array,
    centres: Array,
    w: Array,
    gradient: Array,
    scale: Array,
    inverse: Array,
    additive: Array,
    half: Float,
    low: Float,
    high: Float,
    found: Array,
) -> None:
    """What each step's scale gets, times the scale, from each row: found [groups * M, tiles].

    x [groups, M, tiles * width] and w [groups, tiles * width, N] as the forward kernels take them; `gradient`
    [groups, M, N] of the sums. Forwards, each step keeps a Q(v / a) - v inside the range (a times the end of the range
    outside) and whether it was inside; backwards, a saturated running sum stops what came before it.
    """
    groups, m, k = x.shape
    n, tiles = w.shape[2], len(scale)
    width = k // tiles
    for job in numba.prange(groups * m):
        group, row = job // m, job % m
        p, t = np.zeros(n, w.dtype), np.empty(n, w.dtype)
        kept, inside = np.empty((tiles, n), w.dtype), np.empty((tiles, n), w.dtype)
        for i in range(tiles):
            t[:] = 0
            for j in range(i * width, (i + 1) * width):
                value, weights = x[group, row, j] - centres[group, j], w[group, j]
                for c in range(n):
                    t[c] += value * weights[c]
            step, by = scale[i], inverse[i]
            for c in range(n):
                v = t[c] + p[c] if additive[i] else t[c]
                rounded = np.floor(v * by + half)
                q = min(max(rounded, low), high)
                inside[i, c] = q == rounded
                kept[i, c] = q * step - v if q == rounded else q * step
                p[c] = q * step if additive[i] else p[c] + q * step
        flow = gradient[group, row].copy()
        for i in range(tiles - 1, -1, -1):
            total = scale[i] * 0
            for c in range(n):
                total += flow[c] * kept[i, c]
            found[job, i] = total
            if additive[i]:
                for c in range(n):
                    flow[c] *= inside[i, c]
