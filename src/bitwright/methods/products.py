"""Exact integer products: sum over k of (x - zero_point) * w, with an accumulator that never overflows.

Three engines, chosen by a bound that is checked, never assumed:
- codes of at most 8 bits: int8 x int8 -> int32 (`torch._int_mm`, or float32 by blocks of the reduction where that is
  faster; convolutions by blocked im2col, depthwise ones by a kernel of our own);
- integers carried in float32: exact in any order of summation while every partial sum stays below 2**24;
- integers carried in float64: likewise below 2**53, which 16-bit operands reach only at k > 2**21.
`reference_product` is their slow twin in int64.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from collections.abc import Callable, Iterator

from bitwright.errors import InputError
from bitwright.formats import Quantized, largest_magnitude
from bitwright.later import functional as F
from bitwright.later import torch
from bitwright.methods.layouts import patches
from bitwright.networks import windows
from bitwright.networks.view import GemmView

INT32_LIMIT = 2**31
FLOAT32_LIMIT = 2**24  # integers of smaller magnitude are exact in float32
FLOAT64_LIMIT = 2**53
EXACT_K = FLOAT32_LIMIT // (128 * 128) - 1
"""So many products of int8 add up exactly in float32."""
IM2COL_BYTES = 2**23  # patches are expanded in blocks of about this many bytes: they stay in the last-level cache


def accumulator_bound(k: int, x: Quantized, w: Quantized) -> int:
    """An upper bound of |any partial sum| of k products of these codes."""
    of_x = largest_magnitude(x.integer, x.zero_point) if x.offsets is None else x.integer.high - x.integer.low
    return k * of_x * largest_magnitude(w.integer, w.zero_point)


def integer_product(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """The exact product of two operands' centred codes as y.

    Returns
    -------
    torch.Tensor
        Integers, as int32 or carried in float32 or float64.

    Raises
    ------
    InputError
        If even 53 bits could overflow.
    """
    k = view.k
    bound = accumulator_bound(k, x, w)
    if _fits_int8(x, w, k, bound):
        if view.plain:
            return _linear_int8(view, x, w)
        if not view.lead:
            return _conv_int8(view, x, w)
        if view.depthwise and view.spatial <= 2 and x.codes.device.type == "cpu":
            return _depthwise_int8(view, x, w)
    if bound >= FLOAT64_LIMIT:
        raise InputError(
            f"a sum of {k} products of {x.format.name} by {w.format.name} could exceed 2**53; use narrower operands"
        )
    dtype = torch.float32 if bound < FLOAT32_LIMIT else torch.float64
    with exact_float_kernels():
        return float_product(view, x.centred().to(dtype), w.centred().to(dtype))


def reference_product(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """The same by the obvious route: int64 throughout, tap by tap of the windows, group by group."""
    xc = x.codes.to(torch.int64) - x.zero_point - (0 if x.offsets is None else x.offsets.to(torch.int64))
    wc = w.codes.to(torch.int64) - w.zero_point
    xc = windows.padded(xc, view)
    total = torch.zeros(view.output_shape, dtype=torch.int64)
    columns = (*wc.shape[: view.lead], *[1] * (len(view.rows) + view.spatial), view.n, view.channels)
    for tap, read in windows.taps(view):
        total += (xc[read].unsqueeze(-2) * wc[tap].reshape(columns)).sum(-1)
    return total


def float_product(view: GemmView, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The bare product of operands in float32 or float64; depthwise convolutions by their taps.

    torch multiplies channel by channel where float64 convolutions have groups.
    """
    if not view.depthwise or x.dtype == torch.float32:
        return view.product(x, w)
    pixels = windows.padded(view.pixels(x), view)
    filters = w.reshape(view.groups, *view.kernel).movedim(0, -1)
    total = pixels.new_zeros(*view.rows, *view.output_size, view.groups)
    for tap, read in windows.taps(view):
        total.addcmul_(pixels[read], filters[tap])
    return view.from_pixels(total)


@contextlib.contextmanager
def exact_float_kernels() -> Iterator[None]:
    """Float products that really multiply and add in the operands' precision.

    Reduced-precision modes (autocast, bfloat16 or TF32 inside float32 products), and cuDNN and NNPACK, whose Winograd
    and FFT convolutions multiply other numbers than the operands, are switched off meanwhile.
    """
    precision = torch.get_float32_matmul_precision()
    with contextlib.ExitStack() as stack:
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        if precision != "highest":
            torch.set_float32_matmul_precision("highest")
            stack.callback(torch.set_float32_matmul_precision, precision)
        if torch.cuda.is_available():
            stack.enter_context(torch.backends.cudnn.flags(enabled=False, allow_tf32=False))
        stack.enter_context(torch.backends.nnpack.flags(enabled=False))
        yield


def _fits_int8(x: Quantized, w: Quantized, k: int, bound: int) -> bool:
    narrow = x.integer.bits <= 8 and w.integer.bits <= 8 and w.integer.signed and w.zero_point == 0
    return narrow and bound < INT32_LIMIT and k * 128 * 128 < INT32_LIMIT


def _stored(x: Quantized) -> tuple[torch.Tensor, int]:
    """x's codes as int8 and the zero point among them: unsigned 8-bit codes are stored minus 128."""
    if x.codes.dtype == torch.int8:
        return x.codes, x.zero_point
    offset = 128 if x.integer.high > 127 else 0
    if x.codes.dtype == torch.uint8 and offset:
        return (x.codes ^ offset).view(torch.int8), x.zero_point - offset  # flipping the top bit subtracts 128
    return (x.codes - offset).to(torch.int8), x.zero_point - offset


@functools.cache
def _saturates() -> bool:
    """Whether this processor's kernel clips the sum of two products to 16 bits, as x86 without VNNI does."""
    x, w = torch.full((32, 64), 127, dtype=torch.int8), torch.full((32, 64), -128, dtype=torch.int8)
    return bool((torch._int_mm(x, w.t()) != 64 * 127 * -128).any())


@functools.cache
def _floats_are_faster() -> bool:
    """Whether this processor multiplies int8 slower than float32, as those without int8 instructions do: timed once.

    The result is the same either way.
    """
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randint(-128, 128, (128, 512), generator=generator).to(torch.int8) for _ in range(2))

    def seconds(multiply: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
        best = math.inf
        for _ in range(3):
            start = time.perf_counter()
            multiply(x, w)
            best = min(best, time.perf_counter() - start)
        return best

    return seconds(_by_floats) < seconds(_by_int8)


def _by_int8(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """int8 [M, K] by int8 [N, K] -> int32 [M, N] by torch's kernel on a CPU."""
    if x.shape[1] == 1:  # torch's kernel leaves the result of one column unwritten
        x, w = F.pad(x, (0, 1)), F.pad(w, (0, 1))
    if _saturates():  # two products of 7-bit weights fit 16 bits: 2 * 255 * 64 < 2**15
        return torch._int_mm(x, (w >> 1).t()).mul_(2).add_(torch._int_mm(x, (w & 1).t()))
    return torch._int_mm(x, w.t())


def _by_floats(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The same in float32, block by block of K, whose sums stay below 2**24."""
    acc: torch.Tensor | None = None
    with exact_float_kernels():
        for rows, columns in zip(x.split(EXACT_K, 1), w.split(EXACT_K, 1), strict=True):
            part = (rows.float() @ columns.float().t()).to(torch.int32)
            acc = part if acc is None else acc.add_(part)
    assert acc is not None
    return acc


def _int_mm(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """int8 [M, K] by int8 [N, K] -> int32 [M, N]; CUDA's kernel wants M > 16 and K, N in multiples of 8."""
    x, w = _rows(x), _rows(w)
    if not x.is_cuda:
        return _by_floats(x, w) if _floats_are_faster() else _by_int8(x, w)
    m, (n, k) = x.shape[0], w.shape
    x = F.pad(x, (0, -k % 8, 0, max(0, 17 - m)))
    w = F.pad(w, (0, -k % 8, 0, -n % 8))
    return torch._int_mm(x, w.t())[:m, :n]


def _rows(matrix: torch.Tensor) -> torch.Tensor:
    """`matrix` [R, K] with strides (K, 1), copied where need be.

    torch's int8 kernels take the first stride for the distance of rows, whatever it is: they read beyond rows that
    overlap, and where there is one row only, whose stride torch leaves as it was and calls contiguous.
    """
    matrix = matrix.contiguous()
    return matrix.as_strided(matrix.shape, (matrix.shape[1], 1))


def column_sums(view: GemmView, w: Quantized) -> torch.Tensor:
    """The sum of each column's codes [groups * N], int32: kept with a static weight, else computed."""
    if w.sums is not None:
        return w.sums
    return w.codes.reshape(view.groups * view.n, view.k).float().sum(1, dtype=torch.float64).to(torch.int32)


def _linear_int8(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    codes, zero_point = _stored(x)
    weight = w.codes.to(torch.int8)
    acc = _int_mm(codes.reshape(-1, codes.shape[-1]), weight)
    if zero_point:
        acc -= zero_point * column_sums(view, w)
    if x.offsets is not None:  # of rows: each one's zero point by what it meets, the sum of a column
        acc -= x.offsets.reshape(-1, 1) * column_sums(view, w)
    return acc.reshape(*codes.shape[:-1], len(weight))


def _conv_int8(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """Convolution by im2col in blocks of images."""
    codes, zero_point = _stored(x)
    weight = w.codes.to(torch.int8).reshape(view.n, -1)
    blocks = patches(view, codes, zero_point, IM2COL_BYTES)
    parts = [_int_mm(block.reshape(-1, weight.shape[1]), weight) for block in blocks]
    acc = parts[0] if len(parts) == 1 else torch.cat(parts)
    if zero_point:
        acc -= zero_point * column_sums(view, w)
    return acc.reshape(view.output_shape)


def _depthwise_int8(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    from bitwright.methods import kernels

    codes, zero_point = _stored(x)
    pixels = view.pixels(codes).contiguous()
    taps = w.codes.to(torch.int8).reshape(view.groups, *view.kernel).movedim(0, -1).contiguous()
    flat = view.spatial == 1  # one axis is a row of pixels
    acc = kernels.depthwise(
        pixels.unsqueeze(1) if flat else pixels,
        taps.unsqueeze(0) if flat else taps,
        zero_point,
        stride=two_axes(view.stride, 1),
        padding=two_axes(view.padding, 0),
        dilation=two_axes(view.dilation, 1),
    )
    return view.from_pixels(acc.squeeze(1) if flat else acc)


def two_axes(extents: tuple[int, ...], missing: int) -> tuple[int, int]:
    """Of one spatial axis or two, those of two."""
    return (missing, extents[0]) if len(extents) == 1 else (extents[0], extents[1])
