"""CPU kernels of table formats: one pass over memory to encode, one to decode.

Encoding takes the upper 16 bits of a float32, sign, exponent and 7 bits of mantissa, as the number of a cell, and
compares the lower 16 with where the word changes inside it (`bitwright.formats.lookup.cells_of`). Tests hold both
kernels equal to torch operators, bit for bit. numba compiles them once and caches the result.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch

BLOCK = 16384  # elements a thread takes at once

Array = npt.NDArray[np.generic]


def encode(x: torch.Tensor, cells: npt.NDArray[np.uint32], scale: torch.Tensor | None) -> torch.Tensor:
    """Words, uint8, of float32 `x` on the CPU, or of x / scale for one scale, in the memory layout of `x`."""
    flat, words, out = beside(x, torch.uint8)
    if scale is None:
        run(_encode, _encode_some, flat.view(np.uint32), cells, out)
    else:
        run(_encode_scaled, _encode_scaled_some, flat, np.float32(scale.item()), cells, out)
    return words


def decode(words: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """table[words] for uint8 words and a float32 table of at most 256 entries, in the memory layout of `words`."""
    flat, reals, out = beside(words, torch.float32)
    run(_decode, _decode_some, flat, table.numpy(), out)
    return reals


def rounded(x: torch.Tensor, cells: npt.NDArray[np.uint32], table: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """table[word of x / scale] * scale in one pass, float32, in the memory layout of `x`."""
    flat, reals, out = beside(x, torch.float32)
    run(_round, _round_some, flat, np.float32(scale.item()), cells, table.numpy(), out)
    return reals


def beside(x: torch.Tensor, dtype: torch.dtype) -> tuple[Array, torch.Tensor, Array]:
    """The memory of `x`, a tensor of its layout, and the memory of that."""
    x = x if dense(x) is not None else x.contiguous()
    result = torch.empty_like(x, dtype=dtype)
    flat, out = dense(x), dense(result)
    assert flat is not None
    assert out is not None
    return flat.numpy(), result, out.numpy()


def run(parallel: Callable[..., None], some: Callable[..., None], *args: Any) -> None:
    """By all of torch's threads; one thread touches no OpenMP, which a forked process must not use again.

    `some` takes a range of elements, or of the rows of a matrix.
    """
    if torch.get_num_threads() == 1:
        some(*args, 0, args[0].size if args[0].ndim == 1 else len(args[0]))
    else:
        use_torch_threads()
        parallel(*args)


def dense(x: torch.Tensor) -> torch.Tensor | None:
    """The memory of `x` as a flat view in order, whatever the order of its axes; None if it has gaps or overlaps."""
    axes = sorted((axis for axis in range(x.dim()) if x.shape[axis] != 1), key=x.stride)
    expected = 1
    for axis in axes:
        if x.stride(axis) != expected:
            return None
        expected *= x.shape[axis]
    return x.as_strided((x.numel(),), (1,))


def use_torch_threads() -> None:
    """Let numba use as many threads as torch does; called before every kernel."""
    limit: int = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    threads = torch.get_num_threads()
    numba.set_num_threads(min(threads, limit))
    if torch.get_num_threads() != threads:  # numba's first use of OpenMP sets the number of threads for all
        torch.set_num_threads(threads)


@numba.njit(parallel=True, cache=True)
def _encode(x: Array, cells: Array, out: Array) -> None:
    for block in numba.prange((x.size + BLOCK - 1) // BLOCK):
        _encode_some(x, cells, out, block * BLOCK, min(x.size, (block + 1) * BLOCK))


@numba.njit(cache=True)
def _encode_some(x: Array, cells: Array, out: Array, start: int, stop: int) -> None:
    for i in range(start, stop):
        cell = cells[x[i] >> np.uint32(16)]
        above = (x[i] & np.uint32(0xFFFF)) >= (cell & np.uint32(0xFFFF))
        out[i] = np.uint8(cell >> (np.uint32(24) if above else np.uint32(16)))


@numba.njit(parallel=True, cache=True)
def _encode_scaled(x: Array, scale: np.float32, cells: Array, out: Array) -> None:
    for block in numba.prange((x.size + BLOCK - 1) // BLOCK):
        _encode_scaled_some(x, scale, cells, out, block * BLOCK, min(x.size, (block + 1) * BLOCK))


@numba.njit(cache=True, error_model="numpy")
def _encode_scaled_some(x: Array, scale: np.float32, cells: Array, out: Array, start: int, stop: int) -> None:
    for i in range(start, stop):
        pattern = np.float32(x[i] / scale).view(np.uint32)
        cell = cells[pattern >> np.uint32(16)]
        above = (pattern & np.uint32(0xFFFF)) >= (cell & np.uint32(0xFFFF))
        out[i] = np.uint8(cell >> (np.uint32(24) if above else np.uint32(16)))


@numba.njit(parallel=True, cache=True)
def _decode(words: Array, table: Array, out: Array) -> None:
    for block in numba.prange((words.size + BLOCK - 1) // BLOCK):
        _decode_some(words, table, out, block * BLOCK, min(words.size, (block + 1) * BLOCK))


@numba.njit(cache=True)
def _decode_some(words: Array, table: Array, out: Array, start: int, stop: int) -> None:
    for i in range(start, stop):
        out[i] = table[words[i]]


@numba.njit(parallel=True, cache=True)
def _round(x: Array, scale: np.float32, cells: Array, table: Array, out: Array) -> None:
    for block in numba.prange((x.size + BLOCK - 1) // BLOCK):
        _round_some(x, scale, cells, table, out, block * BLOCK, min(x.size, (block + 1) * BLOCK))


@numba.njit(cache=True, error_model="numpy")
def _round_some(x: Array, scale: np.float32, cells: Array, table: Array, out: Array, start: int, stop: int) -> None:
    for i in range(start, stop):
        pattern = np.float32(x[i] / scale).view(np.uint32)
        cell = cells[pattern >> np.uint32(16)]
        above = (pattern & np.uint32(0xFFFF)) >= (cell & np.uint32(0xFFFF))
        out[i] = table[np.uint8(cell >> (np.uint32(24) if above else np.uint32(16)))] * scale
