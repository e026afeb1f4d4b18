"""Exact integer products: sum over k of (x - zero_point) * w, with an accumulator that never overflows.

Three engines, chosen by a bound that is checked, never assumed:
- codes of at most 8 bits: int8 x int8 -> int32 (`torch._int_mm`, convolutions by blocked im2col, depthwise ones by a
  kernel of our own);
- integers carried in float32: exact in any order of summation while every partial sum stays below 2**24;
- integers carried in float64: likewise below 2**53, which 16-bit operands reach only at k > 2**21.
`reference_product` is their slow twin in int64.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Iterator

import torch
import torch.nn.functional as F

from bitwright.errors import InputError
from bitwright.formats import Quantized, largest_magnitude
from bitwright.networks.calls import Call

INT32_LIMIT = 2**31
FLOAT32_LIMIT = 2**24  # integers of smaller magnitude are exact in float32
FLOAT64_LIMIT = 2**53
IM2COL_BYTES = 2**23  # patches are expanded in blocks of about this many bytes: they stay in the last-level cache


def accumulator_bound(k: int, x: Quantized, w: Quantized) -> int:
    """An upper bound of |any partial sum| of k products of these codes."""
    return k * largest_magnitude(x.integer, x.zero_point) * largest_magnitude(w.integer, w.zero_point)


def reduction_length(call: Call) -> int:
    """k: how many products are added up per output."""
    return call.w.shape[-2] if call.layout == "batched" else call.w[0].numel()


def integer_product(call: Call, x: Quantized, w: Quantized) -> torch.Tensor:
    """The exact product of two operands' centred codes in the call's output layout.

    Returns
    -------
    torch.Tensor
        Integers, as int32 or carried in float32 or float64; [..., N], [B, N, H', W'] or [..., M, N].

    Raises
    ------
    InputError
        If even 53 bits could overflow.
    """
    k = reduction_length(call)
    bound = accumulator_bound(k, x, w)
    if _fits_int8(x, w, k, bound):
        if call.layout == "linear":
            return _linear_int8(x, w)
        if call.layout == "conv2d" and call.groups == 1:
            return _conv_int8(call, x, w)
        if is_depthwise(call) and call.x.device.type == "cpu":
            return _depthwise_int8(call, x, w)
    if bound >= FLOAT64_LIMIT:
        raise InputError(
            f"a sum of {k} products of {x.format.name} by {w.format.name} could exceed 2**53; use narrower operands"
        )
    dtype = torch.float32 if bound < FLOAT32_LIMIT else torch.float64
    with exact_float_kernels():
        return float_product(call, x.centred().to(dtype), w.centred().to(dtype))


def reference_product(call: Call, x: Quantized, w: Quantized) -> torch.Tensor:
    """The same by the obvious route: int64 throughout, convolutions through `unfold`, group by group."""
    xc = x.codes.to(torch.int64) - x.zero_point
    wc = w.codes.to(torch.int64) - w.zero_point
    if call.layout == "linear":
        return (xc.unsqueeze(-2) * wc).sum(-1)
    if call.layout == "batched":
        return (xc.unsqueeze(-1) * wc.unsqueeze(-3)).sum(-2)
    n, per_group, *kernel = wc.shape
    patches = F.unfold(xc.double(), (kernel[0], kernel[1]), call.dilation, call.padding, call.stride).long()
    batch, _, pixels = patches.shape
    patches = patches.reshape(batch, call.groups, per_group * kernel[0] * kernel[1], pixels)
    filters = wc.reshape(call.groups, n // call.groups, -1)
    products = (patches.unsqueeze(2) * filters.unsqueeze(0).unsqueeze(-1)).sum(3)
    return products.reshape(batch, n, call.output_size[0], -1)


def is_depthwise(call: Call) -> bool:
    """Whether a call is a convolution of each channel with one filter of its own."""
    return call.layout == "conv2d" and call.groups == call.x.shape[1] == call.w.shape[0]


def float_product(call: Call, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The bare product of operands in float32 or float64; depthwise convolutions by their taps.

    torch multiplies channel by channel where float64 convolutions have groups.
    """
    if not is_depthwise(call) or x.dtype == torch.float32:
        return call.product(x, w)
    vertical, horizontal = call.padding
    padded = F.pad(x, (horizontal, horizontal, vertical, vertical))
    (height, width), (down, right) = call.output_size, call.stride
    total = x.new_zeros(len(x), x.shape[1], height, width)
    for i in range(w.shape[2]):
        for j in range(w.shape[3]):
            top, left = i * call.dilation[0], j * call.dilation[1]
            rows, columns = (
                slice(top, top + down * (height - 1) + 1, down),
                slice(left, left + right * (width - 1) + 1, right),
            )
            total.addcmul_(padded[:, :, rows, columns], w[:, 0, i, j].view(1, -1, 1, 1))
    return total


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


def _int_mm(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """int8 [M, K] by int8 [N, K] -> int32 [M, N]; CUDA's kernel wants M > 16 and K, N in multiples of 8."""
    x, w = _rows(x), _rows(w)
    if not x.is_cuda:
        if x.shape[1] == 1:  # torch's kernel leaves the result of one column unwritten
            x, w = F.pad(x, (0, 1)), F.pad(w, (0, 1))
        if _saturates():  # two products of 7-bit weights fit 16 bits: 2 * 255 * 64 < 2**15
            return torch._int_mm(x, (w >> 1).t()).mul_(2).add_(torch._int_mm(x, (w & 1).t()))
        return torch._int_mm(x, w.t())
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


def row_sums(w: Quantized) -> torch.Tensor:
    """The sum of each row's codes [N], int32: kept with a static weight, else computed."""
    if w.sums is not None:
        return w.sums
    return w.codes.flatten(1).float().sum(1, dtype=torch.float64).to(torch.int32)


def _linear_int8(x: Quantized, w: Quantized) -> torch.Tensor:
    codes, zero_point = _stored(x)
    weight = w.codes.to(torch.int8)
    acc = _int_mm(codes.reshape(-1, codes.shape[-1]), weight)
    if zero_point:
        acc -= zero_point * row_sums(w)
    return acc.reshape(*codes.shape[:-1], len(weight))


def _conv_int8(call: Call, x: Quantized, w: Quantized) -> torch.Tensor:
    """Convolution by im2col in blocks of images; input and result are channels-last, where rows are contiguous."""
    codes, zero_point = _stored(x)
    n = len(w.codes)
    weight = w.codes.to(torch.int8).permute(0, 2, 3, 1).reshape(n, -1)
    blocks = patches(call, dataclasses.replace(x, codes=codes, zero_point=zero_point), IM2COL_BYTES)
    parts = [_int_mm(block.reshape(-1, weight.shape[1]), weight) for block in blocks]
    acc = parts[0] if len(parts) == 1 else torch.cat(parts)
    if zero_point:
        acc -= zero_point * row_sums(w)
    return acc.reshape(len(codes), *call.output_size, n).permute(0, 3, 1, 2)


def patches(call: Call, x: Quantized, block_bytes: int) -> Iterator[torch.Tensor]:
    """What each output pixel of a convolution reads, by blocks of images: views [images, H', W', kh, kw, channels].

    A copy of a block takes about `block_bytes` bytes, or those of one image. Padding is the zero point's code.
    """
    kernel = call.w.shape[2:]
    codes = x.codes.permute(0, 2, 3, 1).contiguous()
    if any(call.padding):
        vertical, horizontal = call.padding
        codes = F.pad(codes, (0, 0, horizontal, horizontal, vertical, vertical), value=x.zero_point)
    batch, _, _, channels = codes.shape
    size, step = call.output_size, codes.stride()
    k = channels * kernel[0] * kernel[1]
    strides = (
        step[1] * call.stride[0],
        step[2] * call.stride[1],
        step[1] * call.dilation[0],
        step[2] * call.dilation[1],
    )
    every = codes.as_strided((batch, *size, *kernel, channels), (step[0], *strides, 1))
    bytes_each = size[0] * size[1] * k * codes.element_size()
    block = batch if k == channels else max(1, block_bytes // bytes_each)
    return (every[i : i + block] for i in range(0, batch, block))


def _depthwise_int8(call: Call, x: Quantized, w: Quantized) -> torch.Tensor:
    from bitwright.methods import kernels

    codes, zero_point = _stored(x)
    weight = w.codes.to(torch.int8)[:, 0].permute(1, 2, 0).contiguous()
    acc = kernels.depthwise(
        codes.permute(0, 2, 3, 1).contiguous(),
        weight,
        zero_point,
        stride=call.stride,
        padding=call.padding,
        dilation=call.dilation,
    )
    return acc.permute(0, 3, 1, 2)
