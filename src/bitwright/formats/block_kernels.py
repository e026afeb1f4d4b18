"""CPU kernels of minifloats and of formats in blocks: one pass over memory that finds a block's scale and its words.

Tests hold them equal to torch operators (`rounded_words`, `BlockFormat.scales`, `BlockFormat.encode_by`), bit for bit.
numba compiles them once and caches the result.
"""

from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats.lookup_kernels import beside, run
from bitwright.formats.minifloat import E8M0, INFINITY, MAGNITUDE, FixedPoint, Minifloat, Rounded

if TYPE_CHECKING:
    from bitwright.formats.blocks import BlockFormat

BLOCK = 16384  # elements a thread takes at once

RAISE = np.float32(2.0**23)
"""Added to what is below it, it rounds that to an integer, ties to even, in the lowest bits."""
CENTRE = np.float32(1.5 * 2.0**23)
"""The same for numbers of either sign."""

Array = npt.NDArray[Any]
Numbers = tuple[np.int32, np.int32, np.int32, np.float32, np.int32, np.int32, np.int32, np.int32]


def encode(x: torch.Tensor, to: Rounded, scale: torch.Tensor | None) -> torch.Tensor:
    """Words, uint8, of float32 `x` on the CPU, or of x / scale, in the memory layout of `x`."""
    flat, words, out = beside(x, torch.uint8)
    divisor = np.float32(1 if scale is None else scale.item())
    run(_encode, _encode_some, flat, divisor, _numbers(to), out)
    return words


def encode_blocks(
    x: torch.Tensor, fmt: "BlockFormat", tensor_scale: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Words and scales as `BlockFormat.encode` gives them, of contiguous float32 `x` [..., K] on the CPU."""
    k, element = x.shape[-1], fmt.element
    rows = x.view(-1, k).numpy()
    blocks = -(-k // fmt.size)
    words = torch.empty(x.shape, dtype=torch.uint8)
    scales = torch.empty(*x.shape[:-1], blocks)
    results = (words.view(-1, k).numpy(), scales.view(-1, blocks).numpy())
    arguments = (rows, np.int64(fmt.size), *results)
    if isinstance(fmt.scale_format, E8M0):
        top = np.int32(element.largest_exponent)
        if isinstance(element, FixedPoint):
            bounds = (np.float32(2.0**element.fraction_bits), np.float32(element.lowest), np.float32(element.highest))
            run(_fixed, _fixed_some, *arguments, top, *bounds)
        else:
            run(_floats, _floats_some, *arguments, top, _numbers(element.rounded))
    else:
        assert tensor_scale is not None, "a scale of the tensor is due"
        assert isinstance(element, Minifloat), "blocks of two levels are of floats"
        scale_format = fmt.scale_format
        two_level = (np.float32(element.largest), np.float32(tensor_scale.item()), _numbers(scale_format.rounded))
        table = scale_format.lookup().table.numpy()
        run(_two_level, _two_level_some, *arguments, _numbers(element.rounded), *two_level, table)
    return words, scales


def _numbers(to: Rounded) -> Numbers:
    """What kernels take of it."""
    return (
        np.int32(to.shift),
        np.int32(to.least_normal),
        np.int32(to.offset),
        np.float32(to.grid),
        np.int32(to.largest),
        np.int32(to.over),
        np.int32(to.nan),
        np.int32(to.sign),
    )


@numba.njit(inline="always")
def _word(x: Any, to: Any) -> Any:
    """The word of one float32, int32."""
    shift, least_normal, offset, grid, largest, over, nan, sign = to  # numba makes int64 of sums, which LLVM narrows
    pattern = np.float32(x).view(np.int32)
    magnitude = np.int32(pattern & MAGNITUDE)
    below = np.int32(np.int32(np.int32(1) << np.int32(shift - 1)) - 1)
    odd = np.int32(np.int32(magnitude >> shift) & 1)
    normal = np.int32(np.int32(np.int32(magnitude + below) + odd) >> shift)
    raised = np.float32(np.float32(magnitude.view(np.float32) * grid) + RAISE)
    subnormal = np.int32(raised.view(np.int32) & 0x7FFFFF)
    word = subnormal if magnitude < least_normal else np.int32(normal - offset)
    word = over if word > largest else word
    word = nan if magnitude > INFINITY else word
    signed = np.int32(word | sign) if pattern < 0 else word
    return word if magnitude > INFINITY and nan == largest else signed


@numba.njit(parallel=True, cache=True)
def _encode(x: Array, divisor: np.float32, to: Numbers, out: Array) -> None:
    for block in numba.prange((x.size + BLOCK - 1) // BLOCK):
        _encode_some(x, divisor, to, out, block * BLOCK, min(x.size, (block + 1) * BLOCK))


@numba.njit(cache=True, error_model="numpy")
def _encode_some(x: Array, divisor: np.float32, to: Numbers, out: Array, start: int, stop: int) -> None:
    if divisor == 1:
        for i in range(start, stop):
            out[i] = np.uint8(_word(x[i], to))
    else:
        for i in range(start, stop):
            out[i] = np.uint8(_word(np.float32(x[i] / divisor), to))


@numba.njit(inline="always")
def _peak(row: Any) -> Any:
    """The largest pattern without its sign, int32: as large as NaN where there is one."""
    peak = np.int32(0)
    for i in range(row.size):
        peak = max(peak, np.int32(row[i] & MAGNITUDE))
    return peak


@numba.njit(inline="always")
def _exponent(peak: Any, top: Any) -> Any:
    """Exponent of a block's scale by its largest pattern, -127 at least; float32's own subnormals are below that."""
    return np.int32(max(np.int32(peak >> 23) - 127 - top, -127))


@numba.njit(inline="always")
def _power(exponent: Any) -> Any:
    """2^exponent, float32; the least one is subnormal."""
    return np.int32(1 << 22 if exponent == -127 else (exponent + 127) << 23).view(np.float32)


@numba.njit(parallel=True, cache=True)
def _floats(x: Array, size: int, words: Array, scales: Array, top: np.int32, to: Numbers) -> None:
    for row in numba.prange(x.shape[0]):
        _floats_some(x, size, words, scales, top, to, row, row + 1)


@numba.njit(cache=True, error_model="numpy")
def _floats_some(
    x: Array, size: int, words: Array, scales: Array, top: np.int32, to: Numbers, start: int, stop: int
) -> None:
    k = x.shape[1]
    patterns = x.view(np.int32)
    for row in range(start, stop):
        for block in range(scales.shape[1]):
            first, last = block * size, min(k, (block + 1) * size)
            peak = _peak(patterns[row, first:last])
            if peak >= INFINITY:
                scales[row, block] = np.nan
                words[row, first:last] = 0
                continue
            exponent = _exponent(peak, top)
            scales[row, block] = _power(exponent)
            inverse = _power(-exponent)
            for i in range(first, last):
                words[row, i] = np.uint8(_word(np.float32(x[row, i] * inverse), to))


@numba.njit(parallel=True, cache=True)
def _fixed(
    x: Array,
    size: int,
    words: Array,
    scales: Array,
    top: np.int32,
    steps: np.float32,
    low: np.float32,
    high: np.float32,
) -> None:
    for row in numba.prange(x.shape[0]):
        _fixed_some(x, size, words, scales, top, steps, low, high, row, row + 1)


@numba.njit(cache=True, error_model="numpy")
def _fixed_some(
    x: Array,
    size: int,
    words: Array,
    scales: Array,
    top: np.int32,
    steps: np.float32,
    low: np.float32,
    high: np.float32,
    start: int,
    stop: int,
) -> None:
    k = x.shape[1]
    patterns = x.view(np.int32)
    for row in range(start, stop):
        for block in range(scales.shape[1]):
            first, last = block * size, min(k, (block + 1) * size)
            peak = _peak(patterns[row, first:last])
            if peak >= INFINITY:
                scales[row, block] = np.nan
                words[row, first:last] = 0
                continue
            exponent = _exponent(peak, top)
            scales[row, block] = _power(exponent)
            inverse = _power(-exponent)
            for i in range(first, last):
                integer = np.float32(np.float32(np.float32(x[row, i] * inverse) * steps) + CENTRE)
                integer = min(max(np.float32(integer - CENTRE), low), high)
                words[row, i] = np.uint8(np.int32(integer))


@numba.njit(parallel=True, cache=True)
def _two_level(
    x: Array,
    size: int,
    words: Array,
    scales: Array,
    to: Numbers,
    largest: np.float32,
    tensor_scale: np.float32,
    of_scale: Numbers,
    table: Array,
) -> None:
    for row in numba.prange(x.shape[0]):
        _two_level_some(x, size, words, scales, to, largest, tensor_scale, of_scale, table, row, row + 1)


@numba.njit(cache=True, error_model="numpy")
def _two_level_some(
    x: Array,
    size: int,
    words: Array,
    scales: Array,
    to: Numbers,
    largest: np.float32,
    tensor_scale: np.float32,
    of_scale: Numbers,
    table: Array,
    start: int,
    stop: int,
) -> None:
    k = x.shape[1]
    patterns = x.view(np.int32)
    for row in range(start, stop):
        for block in range(scales.shape[1]):
            first, last = block * size, min(k, (block + 1) * size)
            peak = _peak(patterns[row, first:last])
            if peak >= INFINITY:
                scales[row, block] = np.nan
                words[row, first:last] = 0
                continue
            wanted = np.float32(np.float32(np.int32(peak).view(np.float32) / largest) / tensor_scale)
            scale = max(table[_word(wanted, of_scale)], table[1])
            scales[row, block] = scale
            divisor = np.float32(scale * tensor_scale)
            for i in range(first, last):
                words[row, i] = np.uint8(_word(np.float32(x[row, i] / divisor), to))
