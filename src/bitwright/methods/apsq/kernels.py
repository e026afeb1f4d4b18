"""CPU kernels that fuse the products of tiles with what becomes of their sums, so that tiles never exist all at once.

Integers are carried in floats that hold them exactly (the caller checks the bound): multiply-add, floor, minimum and
maximum are one instruction for many of them. Dividing by a power of two and adding a half is exact too, so that floor
does what a shifter with rounding does. Kernels take x [groups, M, tiles * width] as integers, padded so that every tile
has `width` elements, a multiple of 8, w [groups, tiles * width, N] and what x is centred on [groups, tiles * width] as
floats; padding of w is 0.
Twin: `bitwright.methods.apsq.reference`.
"""

import numba
import numpy as np
import numpy.typing as npt

CHUNK = 8  # products that are added in registers
COLUMNS = 256  # outputs of a row that are worked on at once: they and their weights stay in the cache
FAST = {"contract", "nsz", "nnan", "ninf"}  # nothing is reassociated; exact integers do not mind contraction

Array = npt.NDArray[np.generic]
Float = np.float32 | np.float64


@numba.njit(parallel=True, cache=True, fastmath=FAST)
def recurrence(  # noqa: C901 (one loop nest: what is a function of its own is not vectorised)
    x: Array,
    centres: Array,
    w: Array,
    scale: Array,
    inverse: Array,
    additive: Array,
    half: Float,
    low: Float,
    high: Float,
    out: Array,
) -> None:
    """The schedule of `rule`: P becomes a Q(T + P) at additive steps, P + a Q(T) at others; out [groups, M, N].

    `half` is 1/2 to round half up, 0 to drop bits. Two rows at once, so that each loaded weight is used twice.
    """
    groups, m, k = x.shape
    n = w.shape[2]
    width = k // len(scale)
    pairs, blocks = (m + 1) // 2, (n + COLUMNS - 1) // COLUMNS
    for job in numba.prange(groups * blocks * pairs):
        group, start = job // (blocks * pairs), job // pairs % blocks * COLUMNS
        columns = min(COLUMNS, n - start)
        first = 2 * (job % pairs)
        second = min(first + 1, m - 1)  # a last single row is computed twice
        a, b = np.empty(k, w.dtype), np.empty(k, w.dtype)
        for j in range(k):
            a[j] = x[group, first, j] - centres[group, j]
            b[j] = x[group, second, j] - centres[group, j]
        p, q = np.zeros(columns, w.dtype), np.zeros(columns, w.dtype)  # what is stored, times its scale
        t, u = np.zeros(columns, w.dtype), np.zeros(columns, w.dtype)  # a wide tile's sum so far, by its scale
        for i in range(len(scale)):
            step, by = scale[i], inverse[i]
            last = (i + 1) * width - CHUNK
            for j in range(i * width, last + 1, CHUNK):
                w0, w1 = w[group, j, start : start + columns], w[group, j + 1, start : start + columns]
                w2, w3 = w[group, j + 2, start : start + columns], w[group, j + 3, start : start + columns]
                w4, w5 = w[group, j + 4, start : start + columns], w[group, j + 5, start : start + columns]
                w6, w7 = w[group, j + 6, start : start + columns], w[group, j + 7, start : start + columns]
                a0, a1, a2, a3 = a[j] * by, a[j + 1] * by, a[j + 2] * by, a[j + 3] * by
                a4, a5, a6, a7 = a[j + 4] * by, a[j + 5] * by, a[j + 6] * by, a[j + 7] * by
                b0, b1, b2, b3 = b[j] * by, b[j + 1] * by, b[j + 2] * by, b[j + 3] * by
                b4, b5, b6, b7 = b[j + 4] * by, b[j + 5] * by, b[j + 6] * by, b[j + 7] * by
                if j < last:
                    for c in range(columns):
                        v = t[c] + a0 * w0[c] + a1 * w1[c] + a2 * w2[c] + a3 * w3[c]
                        t[c] = v + a4 * w4[c] + a5 * w5[c] + a6 * w6[c] + a7 * w7[c]
                        v = u[c] + b0 * w0[c] + b1 * w1[c] + b2 * w2[c] + b3 * w3[c]
                        u[c] = v + b4 * w4[c] + b5 * w5[c] + b6 * w6[c] + b7 * w7[c]
                elif additive[i]:
                    for c in range(columns):
                        v = half + p[c] * by + t[c] + a0 * w0[c] + a1 * w1[c] + a2 * w2[c] + a3 * w3[c]
                        v = v + a4 * w4[c] + a5 * w5[c] + a6 * w6[c] + a7 * w7[c]
                        p[c] = min(max(np.floor(v), low), high) * step
                        v = half + q[c] * by + u[c] + b0 * w0[c] + b1 * w1[c] + b2 * w2[c] + b3 * w3[c]
                        v = v + b4 * w4[c] + b5 * w5[c] + b6 * w6[c] + b7 * w7[c]
                        q[c] = min(max(np.floor(v), low), high) * step
                else:
                    for c in range(columns):
                        v = half + t[c] + a0 * w0[c] + a1 * w1[c] + a2 * w2[c] + a3 * w3[c]
                        v = v + a4 * w4[c] + a5 * w5[c] + a6 * w6[c] + a7 * w7[c]
                        p[c] += min(max(np.floor(v), low), high) * step
                        v = half + u[c] + b0 * w0[c] + b1 * w1[c] + b2 * w2[c] + b3 * w3[c]
                        v = v + b4 * w4[c] + b5 * w5[c] + b6 * w6[c] + b7 * w7[c]
                        q[c] += min(max(np.floor(v), low), high) * step
            if width > CHUNK:
                t[:] = 0
                u[:] = 0
        for c in range(columns):
            out[group, first, start + c] = p[c]
            out[group, second, start + c] = q[c]


@numba.njit(inline="always")
def _add_tile(x: Array, w: Array, start: int, stop: int, t: Array) -> None:
    """t [N] += the products of elements start to stop of one row x [K] with w [K, N]."""
    for j in range(start, stop):
        value, weights = x[j], w[j]
        for c in range(len(t)):
            t[c] += value * weights[c]


@numba.njit(parallel=True, cache=True, fastmath=FAST)
def blocks(
    x: Array, centres: Array, w: Array, width: int, block: int, half: Float, low: Float, high: Float, out: Array
) -> None:
    """The rule `block`: the running sum is requantized at every tile, each `block` columns by a scale of their own."""
    groups, m, k = x.shape
    n = w.shape[2]
    for job in numba.prange(groups * m):
        group, row = job // m, job % m
        a, p = np.empty(k, w.dtype), np.zeros(n, w.dtype)
        for j in range(k):
            a[j] = x[group, row, j] - centres[group, j]
        for i in range(k // width):
            _add_tile(a, w[group], i * width, (i + 1) * width, p)
            for start in range(0, n, block):
                stop = min(n, start + block)
                peak = p[start] * 0
                for c in range(start, stop):
                    peak = max(peak, abs(p[c]))
                scale = p[start] * 0 + 1
                while high * scale < peak:
                    scale *= 2
                for c in range(start, stop):
                    p[c] = min(max(np.floor(p[c] / scale + half), low), high) * scale
        out[group, row] = p


@numba.njit(parallel=True, cache=True, fastmath=FAST)
def peaks(x: Array, centres: Array, w: Array, width: int, tile: Array, total: Array) -> None:
    """Largest |T_i| and largest |T_0 + .. + T_i| of every row: tile, total [groups * M, tiles]."""
    groups, m, k = x.shape
    for job in numba.prange(groups * m):
        group, row = job // m, job % m
        a = np.empty(k, w.dtype)
        for j in range(k):
            a[j] = x[group, row, j] - centres[group, j]
        s, t = np.zeros(w.shape[2], w.dtype), np.empty(w.shape[2], w.dtype)
        for i in range(k // width):
            t[:] = 0
            _add_tile(a, w[group], i * width, (i + 1) * width, t)
            of_tile = of_total = t[0] * 0
            for c in range(len(t)):
                s[c] += t[c]
                of_tile = max(of_tile, abs(t[c]))
                of_total = max(of_total, abs(s[c]))
            tile[job, i], total[job, i] = of_tile, of_total


@numba.njit(parallel=True, cache=True, fastmath=True)  # an estimate: sums may be taken in any order
def errors(
    x: Array,
    centres: Array,
    w: Array,
    width: int,
    scales: Array,
    inverses: Array,
    half: Float,
    low: Float,
    high: Float,
    squares: Array,
) -> None:
    """Squared errors of Q(T_i) and Q(T_0 + .. + T_i) by scale: scales, squares [.., 2, tiles, candidates], per row."""
    groups, m, k = x.shape
    for job in numba.prange(groups * m):
        group, row = job // m, job % m
        a = np.empty(k, w.dtype)
        for j in range(k):
            a[j] = x[group, row, j] - centres[group, j]
        s, t = np.zeros(w.shape[2], w.dtype), np.empty(w.shape[2], w.dtype)
        for i in range(k // width):
            t[:] = 0
            _add_tile(a, w[group], i * width, (i + 1) * width, t)
            for c in range(len(t)):
                s[c] += t[c]
            for kind in range(2):
                v = t if kind == 0 else s
                for candidate in range(scales.shape[2]):
                    scale = scales[kind, i, candidate]
                    by = inverses[kind, i, candidate]
                    error = scale * 0
                    for c in range(len(v)):
                        off = min(max(np.floor(v[c] * by + half), low), high) * scale - v[c]
                        error += off * off
                    squares[job, kind, i, candidate] = error


@numba.njit(parallel=True, cache=True, fastmath=FAST)
def depthwise(
    x: Array,
    centres: Array,
    w: Array,
    scale: Array,
    inverse: Array,
    additive: Array,
    half: Float,
    low: Float,
    high: Float,
    out: Array,
) -> None:
    """`recurrence` of products with one column per channel: x [M, taps, C], w [taps, C], taps padded -> out [M, C]."""
    m, taps, channels = x.shape
    width = taps // len(scale)
    for row in numba.prange(m):
        p, t = np.zeros(channels, w.dtype), np.empty(channels, w.dtype)
        for i in range(len(scale)):
            t[:] = 0
            for j in range(i * width, (i + 1) * width):
                pixel, middle, weights = x[row, j], centres[j], w[j]
                for c in range(channels):
                    t[c] += (pixel[c] - middle[c]) * weights[c]
            step, by = scale[i], inverse[i]
            if additive[i]:
                for c in range(channels):
                    p[c] = min(max(np.floor((t[c] + p[c]) * by + half), low), high) * step
            else:
                for c in range(channels):
                    p[c] += min(max(np.floor(t[c] * by + half), low), high) * step
        out[row] = p


@numba.njit(parallel=True, cache=True)
def depthwise_images(
    x: Array,
    centres: Array,
    w: Array,
    tile: int,
    steps: Array,
    half: Array,
    geometry: tuple[tuple[int, int], tuple[int, int], tuple[int, int]],
    out: Array,
) -> None:
    """`depthwise` in int32 from padded images: x [B, H, W, C] bytes, centres [C], w [taps, C], out [B, h, w, C].

    `steps` are of each tile -a, a low, a high and whether the running sum is quantized; `half` what rounds; `geometry`
    the kernel's sizes, stride and dilation. a Q(v; a) = min(max((v + half) & -a, a low), a high).
    """
    (_, across), stride, dilation = geometry
    _, height, width, channels = out.shape
    taps = len(w)
    for line in numba.prange(len(out) * height):
        image, row = line // height, line % height
        total = np.empty(channels, np.int32)
        for column in range(width):
            stored = out[image, row, column]
            stored[:] = 0
            for i in range(len(steps)):
                mask, low, high, additive = steps[i, 0], steps[i, 1], steps[i, 2], steps[i, 3]
                total[:] = half[i]
                for t in range(i * tile, min(taps, (i + 1) * tile)):
                    y, z = row * stride[0] + t // across * dilation[0], column * stride[1] + t % across * dilation[1]
                    pixel, weights = x[image, y, z], w[t]
                    for c in range(channels):
                        total[c] += (np.int32(pixel[c]) - centres[c]) * np.int32(weights[c])
                if additive:
                    for c in range(channels):
                        stored[c] = min(max((total[c] + stored[c]) & mask, low), high)
                else:
                    for c in range(channels):
                        stored[c] += min(max(total[c] & mask, low), high)
