"""One pass over the sub-tensors of an operand: both tests and the conversion of `bitwright.methods.drift.conversion`.

Integers throughout, but for the product delta * 2**shift * count, which is a float64 like the twin's. numba compiles
the kernel once and caches the result.
"""

import numba
import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats.lookup_kernels import use_torch_threads
from bitwright.methods.drift.conversion import DROPPED_MOST, WIDE, Decision, reaches

Array = npt.NDArray[np.generic]
Numbers = npt.NDArray[np.int32]
Region = tuple[int, int, int, int, int]
"""An image, and from and to which rows and columns of it."""


def narrow(codes: torch.Tensor, tests: Decision) -> torch.Tensor:
    """Narrow int8 or uint8 codes [batch, height, width, channels] in place; returns shifts, int8 [..., blocks]."""
    batch, height, width, channels = codes.shape
    shifts = torch.empty(batch, height, width, -(-channels // tests.size), dtype=torch.int8)
    fits = np.array(reaches(signed=tests.signed), dtype=np.int32)
    top = 7 if tests.signed else 15
    numbers = np.array(
        [tests.size, tests.region, tests.affine, tests.zero_point, tests.low, tests.high, -top * tests.signed, top],
        dtype=np.int32,
    )
    use_torch_threads()
    _narrow(codes.numpy(), np.float64(tests.delta), numbers, fits, shifts.numpy())
    return shifts


@numba.njit(parallel=True, cache=True)
def _narrow(codes: Array, delta: np.float64, numbers: Numbers, fits: Numbers, shifts: Array) -> None:
    batch, height, width, _ = codes.shape
    region = numbers[1]
    rows, columns = (height + region - 1) // region, (width + region - 1) // region
    for task in numba.prange(batch * rows * columns):
        image, y, x = task // (rows * columns), task // columns % rows * region, task % columns * region
        where = (image, y, min(height, y + region), x, min(width, x + region))
        for block in range(shifts.shape[3]):
            shift = _sub_tensor(codes, where, block * numbers[0], delta, numbers, fits)
            shifts[image, y : y + region, x : x + region, block] = shift


@numba.njit(cache=True)
def _sub_tensor(
    codes: Array, where: Region, start: np.int32, delta: np.float64, numbers: Numbers, fits: Numbers
) -> np.int8:
    """Both tests of a block of some pixels, and the conversion in place if they are passed; the shift, or -1."""
    affine, zero_point = numbers[2], numbers[3]
    image, top, bottom, left, right = where
    stop = min(start + numbers[0], codes.shape[3])
    count = (stop - start) * (bottom - top) * (right - left)
    smallest, largest, total = np.int32(1 << 20), np.int32(-(1 << 20)), np.int64(0)
    for y in range(top, bottom):
        for x in range(left, right):
            low, high, part = _extent(codes[image, y, x][start:stop])
            smallest, largest, total = min(smallest, low), max(largest, high), total + part
    middle = np.int32((2 * (total - count * zero_point) + count) // (2 * count)) + zero_point
    smallest, largest = smallest - zero_point, largest - zero_point
    shift = _shift(largest - smallest if affine else max(largest, -smallest), fits)
    if shift <= 0:
        return np.int8(shift)
    deviation = np.int64(0)
    for y in range(top, bottom):
        for x in range(left, right):
            deviation += _deviation(codes[image, y, x][start:stop], middle)
    if deviation < delta * (count << shift):
        return np.int8(WIDE)
    for y in range(top, bottom):
        for x in range(left, right):
            _convert(codes[image, y, x][start:stop], np.int32(shift), smallest if affine else np.int32(0), numbers)
    return np.int8(shift)


@numba.njit(cache=True)
def _shift(reached: np.int32, fits: Numbers) -> int:
    """The range test: the smallest shift that takes so much, or -1."""
    for shift in range(DROPPED_MOST + 1):
        if reached <= fits[shift]:
            return shift
    return WIDE


@numba.njit(cache=True)
def _extent(line: Array) -> tuple[np.int32, np.int32, np.int32]:
    """Smallest and largest code, and the sum of all."""
    smallest, largest, total = np.int32(line[0]), np.int32(line[0]), np.int32(0)
    for i in range(line.size):
        code = np.int32(line[i])
        smallest = min(smallest, code)
        largest = max(largest, code)
        total += code
    return smallest, largest, total


@numba.njit(cache=True)
def _deviation(line: Array, middle: np.int32) -> np.int64:
    """Sum of |code - middle|."""
    total = np.int32(0)
    for i in range(line.size):
        total += np.int32(abs(np.int32(line[i]) - middle))
    return np.int64(total)


@numba.njit(cache=True)
def _convert(line: Array, shift: np.int32, base: np.int32, numbers: Numbers) -> None:
    origin = np.int32(base + numbers[3])
    low = np.int32(max(numbers[6], -((base - numbers[4]) >> shift)))
    high = np.int32(min(numbers[7], (numbers[5] - base) >> shift))
    half = np.int32(1 << shift >> 1)
    for i in range(line.size):
        c = np.int32(np.int32(line[i]) - origin)
        u = np.int32((c + half - 1 + ((c >> shift) & 1)) >> shift)
        u = np.int32(max(low, min(high, u)))
        line[i] = np.int32(origin + np.int32(u << shift))
