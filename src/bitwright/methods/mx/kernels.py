"""CPU kernels of products in blocks: words to values. Tests hold them equal to torch operators."""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats import PerGroup, Quantized
from bitwright.formats.lookup_kernels import run

Array = npt.NDArray[Any]


def reals(operand: Quantized, table: torch.Tensor, lowest: torch.Tensor) -> dict[str, torch.Tensor]:
    """table[words] times the scale of each block, float64, the lowest bit of each row and its sum of squares.

    Parameters
    ----------
    operand : Quantized
        Words [.., K] on the CPU.
    table, lowest : torch.Tensor
        The value of each word, and the exponent of its lowest bit; -infinity of 0.
    """
    words = operand.codes.contiguous()
    k = words.shape[-1]
    if isinstance(operand.granularity, PerGroup):
        size = operand.granularity.size
        scales = operand.scale.reshape(-1, -(-k // size))
    else:
        size, scales = k, torch.ones(words.numel() // k, 1)
    found = torch.empty(words.shape, dtype=torch.float64)
    bits, squares = (torch.empty(words.shape[:-1], dtype=torch.float64) for _ in range(2))
    results = (found.view(-1, k), bits.view(-1), squares.view(-1))
    arguments = (scales, table, torch.where(lowest.isinf(), torch.inf, lowest))
    numbers = (each.numpy() for each in (words.view(-1, k), *arguments))
    run(_reals, _reals_some, *numbers, size, *(each.numpy() for each in results))
    return {"values": found, "lowest": bits, "squares": squares}


@numba.njit(parallel=True, cache=True)
def _reals(
    words: Array, scales: Array, table: Array, lowest: Array, size: int, out: Array, bits: Array, squares: Array
) -> None:
    for row in numba.prange(len(words)):
        _reals_some(words, scales, table, lowest, size, out, bits, squares, row, row + 1)


@numba.njit(cache=True)
def _reals_some(
    words: Array,
    scales: Array,
    table: Array,
    lowest: Array,
    size: int,
    out: Array,
    bits: Array,
    squares: Array,
    start: int,
    stop: int,
) -> None:
    k = words.shape[1]
    for row in range(start, stop):
        total, least = 0.0, np.inf
        for block in range(scales.shape[1]):
            scale, here = np.float64(scales[row, block]), np.inf
            for i in range(block * size, min(k, (block + 1) * size)):
                value = table[words[row, i]] * scale
                out[row, i] = value
                total += value * value
                here = min(here, lowest[words[row, i]])
            least = min(least, here + _lowest_bit(scales[row, block]))
        bits[row], squares[row] = least, total


@numba.njit(inline="always")
def _lowest_bit(scale: Any) -> Any:
    """Exponent of the lowest bit of a positive float32."""
    pattern = np.int64(np.float32(scale).view(np.int32))
    exponent, mantissa = pattern >> 23, pattern & 0x7FFFFF
    if exponent > 0:
        mantissa += 1 << 23
        exponent -= 1
    exponent -= 149
    while mantissa > 0 and mantissa & 1 == 0:
        mantissa >>= 1
        exponent += 1
    return exponent
