"""CPU kernels where torch has no operator: one pass over memory instead of several.

Each computes bit for bit what torch operators compute in several passes (`Integer.encode`, its errors, an int64
convolution, scale and bias), on tensors whose memory is dense; tests hold them equal. numba compiles them once and
caches the result.
"""

from collections.abc import Sequence

import numba
import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats import Integer, Rounding, Saturation
from bitwright.formats.lookup_kernels import dense, use_torch_threads

BLOCK = 16384  # elements a thread takes at once

Array = npt.NDArray[np.generic]
Pair = tuple[int, int]
Limits = tuple[np.float32, np.float32, np.int32]
"""The smallest and the largest code, and a mask of the bits that are kept."""


def can_encode(x: torch.Tensor, fmt: Integer, scale: torch.Tensor) -> bool:
    """Whether `encode` covers this case: float32 on the CPU, at most 8 bits, round half even and clip.

    One scale, or one per row of the last axis.
    """
    usual = fmt.rounding is Rounding.HALF_EVEN and fmt.saturation is Saturation.CLIP and fmt.bits <= 8
    rows = x.is_contiguous() and scale.shape == (*x.shape[:-1], 1)
    here = x.device.type == "cpu" and x.dtype == torch.float32 and x.numel() > 0
    return usual and here and (scale.numel() == 1 or rows)


def encode(x: torch.Tensor, fmt: Integer, scale: torch.Tensor, zero_point: int) -> torch.Tensor:
    """Codes clip(round(x / scale) + zero_point) without dropped bits, as uint8 or int8 in the memory layout of `x`."""
    x = x.detach() if dense(x) is not None else x.detach().contiguous()
    codes = torch.empty_like(x, dtype=torch.int8 if fmt.signed else torch.uint8)
    flat, out = dense(x), dense(codes)
    assert flat is not None
    assert out is not None
    limits = np.float32(fmt.low), np.float32(fmt.high), np.int32(-1 << fmt.dropped_bits)
    use_torch_threads()
    if scale.numel() == 1:
        _encode(flat.numpy(), np.float32(scale.item()), np.float32(zero_point), limits, out.numpy())
    else:
        k = x.shape[-1]
        scales = scale.detach().reshape(-1).contiguous().numpy()
        _encode_rows(flat.view(-1, k).numpy(), scales, np.float32(zero_point), limits, out.view(-1, k).numpy())
    return codes


def encode_sums(
    acc: torch.Tensor,
    step: torch.Tensor,
    bias: torch.Tensor | None,
    clamp: tuple[float, float],
    sides: Sequence[int],
    fmt: Integer,
    scale: torch.Tensor,
    zero_point: int,
) -> torch.Tensor:
    """Codes of float32(acc) * step + bias, clamped, with codes of 0 around the images: what `encode` makes of these.

    acc is int32 [B, H, W, N], step and bias [N] or [1], `sides` how many pixels are added left, right, above and below;
    `can_encode` must hold for the values, with one scale. Returns uint8 or int8 [B, above + H + below, ..., N].
    """
    batch, height, width, n = acc.shape
    left, right, above, below = sides
    size = batch, height + above + below, width + left + right, n
    dtype = torch.int8 if fmt.signed else torch.uint8
    limits = np.float32(fmt.low), np.float32(fmt.high), np.int32(-1 << fmt.dropped_bits)
    if any(sides):
        zero = encode(torch.zeros(1), fmt, scale, zero_point)
        codes = torch.full(size, int(zero), dtype=dtype)
    else:
        codes = torch.empty(size, dtype=dtype)
    by_column = step.detach().float().expand(n).contiguous()
    added = torch.zeros(n) if bias is None else bias.detach().float().expand(n).contiguous()
    use_torch_threads()
    _encode_sums(
        acc.numpy(),
        by_column.numpy(),
        added.numpy(),
        (np.float32(clamp[0]), np.float32(clamp[1])),
        (above, left),
        np.float32(scale.item()),
        np.float32(zero_point),
        limits,
        codes.numpy(),
    )
    return codes


def can_search(w: torch.Tensor, fmt: Integer) -> bool:
    """Whether `least_error` covers this case: float32 on the CPU, round half even and clip, no dropped bits."""
    usual = fmt.rounding is Rounding.HALF_EVEN and fmt.saturation is Saturation.CLIP and not fmt.dropped_bits
    return usual and w.device.type == "cpu" and w.dtype == torch.float32


def least_error(w: torch.Tensor, scales: torch.Tensor, fmt: Integer) -> torch.Tensor:
    """Which of the `scales` [rows, many] of each row of `w` has the least squared error, int64 [rows, 1]; the first.

    Errors are added up in float64, in an order of the compiler's: ties closer than that are not the twin's.
    """
    best = torch.zeros(len(w), 1, dtype=torch.int64)
    use_torch_threads()
    rows = w.detach().contiguous().numpy(), scales.detach().contiguous().numpy()
    _least_error(*rows, np.float32(fmt.low), np.float32(fmt.high), best.numpy())
    return best


def depthwise(
    x: torch.Tensor,
    w: torch.Tensor,
    zero_point: int,
    *,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
) -> torch.Tensor:
    """Sums of (x - zero_point) * w per channel: x [B, H, W, C] int8 or uint8, w [kh, kw, C] int8 -> int32."""
    batch, *size, channels = x.shape
    out = [(size[i] + 2 * padding[i] - dilation[i] * (w.shape[i] - 1) - 1) // stride[i] + 1 for i in (0, 1)]
    acc = torch.empty(batch, *out, channels, dtype=torch.int32)
    use_torch_threads()
    _depthwise(x.numpy(), w.numpy(), np.int32(zero_point), stride, padding, dilation, acc.numpy())
    return acc


def scale_columns(acc: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """float32(acc) * scale + bias for int32 acc [..., N], scale [N] or [1], bias [N]; the memory of `acc` is reused."""
    n = acc.shape[-1]
    y = acc.view(torch.float32)
    columns = scale.detach().float().expand(n).contiguous().numpy()
    use_torch_threads()
    if bias is None:
        _scale(acc.view(-1, n).numpy(), columns, y.view(-1, n).numpy())
    else:
        _scale_and_add(
            acc.view(-1, n).numpy(), columns, bias.detach().float().contiguous().numpy(), y.view(-1, n).numpy()
        )
    return y


@numba.njit(cache=True)
def _encode_some(x: Array, scale: np.float32, zero_point: np.float32, limits: Limits, out: Array) -> None:
    """Of the elements of a slice: the compiler knows how they lie, and takes several at once."""
    low, high, kept = limits
    for i in range(x.size):
        code = np.rint(x[i] / scale) + zero_point
        code = low if code < low else code
        code = high if code > high else code
        out[i] = np.int32(code) & kept


@numba.njit(parallel=True, cache=True)
def _encode(x: Array, scale: np.float32, zero_point: np.float32, limits: Limits, out: Array) -> None:
    n = x.size
    for block in numba.prange((n + BLOCK - 1) // BLOCK):
        start, stop = block * BLOCK, min(n, (block + 1) * BLOCK)
        _encode_some(x[start:stop], scale, zero_point, limits, out[start:stop])


@numba.njit(cache=True)
def _encode_scaled(
    acc: Array,
    step: Array,
    bias: Array,
    clamp: tuple[np.float32, np.float32],
    scale: np.float32,
    zero_point: np.float32,
    limits: Limits,
    out: Array,
) -> None:
    """Of the columns of one row."""
    least, most = clamp
    low, high, kept = limits
    for j in range(acc.size):
        value = np.float32(acc[j]) * step[j] + bias[j]
        value = least if value < least else value
        value = most if value > most else value
        code = np.rint(value / scale) + zero_point
        code = low if code < low else code
        code = high if code > high else code
        out[j] = np.int32(code) & kept


@numba.njit(parallel=True, cache=True)
def _encode_sums(
    acc: Array,
    step: Array,
    bias: Array,
    clamp: tuple[np.float32, np.float32],
    first: Pair,
    scale: np.float32,
    zero_point: np.float32,
    limits: Limits,
    out: Array,
) -> None:
    batch, height, width, n = acc.shape
    rows = max(1, BLOCK // n)  # pixels that a thread takes at once
    per_line = (width + rows - 1) // rows
    for block in numba.prange(batch * height * per_line):
        line, part = block // per_line, block % per_line
        image, y = line // height, line % height
        for x in range(part * rows, min(width, (part + 1) * rows)):
            _encode_scaled(
                acc[image, y, x], step, bias, clamp, scale, zero_point, limits, out[image, y + first[0], x + first[1]]
            )


@numba.njit(parallel=True, cache=True)
def _encode_rows(x: Array, scale: Array, zero_point: np.float32, limits: Limits, out: Array) -> None:
    for i in numba.prange(len(x)):
        _encode_some(x[i], scale[i], zero_point, limits, out[i])


@numba.njit(parallel=True, cache=True, fastmath={"reassoc"})  # of the sum only: nothing else has another order
def _least_error(w: Array, scales: Array, low: np.float32, high: np.float32, best: Array) -> None:
    rows, columns = w.shape
    for row in numba.prange(rows):
        least = np.inf
        for i in range(scales.shape[1]):
            scale, error = scales[row, i], 0.0
            for column in range(columns):
                code = min(max(np.rint(w[row, column] / scale), low), high)
                off = w[row, column] - code * scale
                error += np.float64(off * off)
            if error < least:
                least, best[row, 0] = error, i


@numba.njit(parallel=True, cache=True)
def _depthwise(
    x: Array, w: Array, zero_point: np.int32, stride: Pair, padding: Pair, dilation: Pair, acc: Array
) -> None:
    batch, height, width, channels = x.shape
    _, rows, columns, _ = acc.shape
    for line in numba.prange(batch * rows):
        image, row = line // rows, line % rows
        for column in range(columns):
            total = acc[image, row, column]
            total[:] = 0
            for i in range(w.shape[0]):
                y = row * stride[0] + i * dilation[0] - padding[0]
                if y < 0 or y >= height:
                    continue  # padding is real zero: code - zero_point = 0
                for j in range(w.shape[1]):
                    z = column * stride[1] + j * dilation[1] - padding[1]
                    if z < 0 or z >= width:
                        continue
                    pixel, tap = x[image, y, z], w[i, j]
                    for c in range(channels):
                        total[c] += (np.int32(pixel[c]) - zero_point) * np.int32(tap[c])


@numba.njit(parallel=True, cache=True)
def _scale(acc: Array, scale: Array, y: Array) -> None:
    m, n = acc.shape
    for i in numba.prange(m):
        for j in range(n):
            y[i, j] = np.float32(acc[i, j]) * scale[j]


@numba.njit(parallel=True, cache=True)
def _scale_and_add(acc: Array, scale: Array, bias: Array, y: Array) -> None:
    m, n = acc.shape
    for i in numba.prange(m):
        for j in range(n):
            y[i, j] = np.float32(acc[i, j]) * scale[j] + bias[j]
