"""CPU kernels for masks of slice vectors: each reads the codes once. Tests hold them equal to `reference_masks`.

numba compiles them once and caches the result. Masks are uint8 inside and bool outside.
"""

import math

import numba
import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats.lookup_kernels import use_torch_threads
from bitwright.networks.sites import ConvGeometry

VECTOR = 4
BLOCK = 16  # vectors that are rearranged at once

Array = npt.NDArray[np.generic]
Pair = tuple[int, int]
Triple = tuple[int, int, int]


def row_vectors(codes: torch.Tensor, window: Pair) -> torch.Tensor:
    """bool [G, ceil(R / 4), K] of codes [G, R, K]: whether four consecutive rows all lie in `window`."""
    rows = _plain(codes)
    groups, count, k = rows.shape
    mask = torch.empty(groups, -(-count // VECTOR), k, dtype=torch.bool)
    use_torch_threads()
    _row_vectors(rows.numpy(), *_limits(rows, window), mask.numpy())
    return mask


def inside(codes: torch.Tensor, window: Pair) -> torch.Tensor:
    """bool, contiguous, of the shape of `codes`: whether each lies in `window`."""
    rows = _plain(codes)
    low, high = _limits(rows, window)
    return (rows >= int(low)) & (rows <= int(high))


def patch_vectors(inside: torch.Tensor, conv: ConvGeometry, groups: int) -> torch.Tensor:
    """bool [G, ceil(m / 4), k] of pixels [B, *size, C]: whether all that four consecutive outputs read are inside.

    Padded pixels are inside.
    """
    batch, channels = len(inside), inside.shape[-1]
    vectors = -(-batch * math.prod(conv.output_size) // VECTOR)
    taps = math.prod(conv.kernel)
    mask = torch.empty(vectors, taps, channels, dtype=torch.bool)
    use_torch_threads()
    fill = (1,) * (3 - len(conv.kernel))  # one or two spatial axes are three, of which the others have one place
    ones = (conv.kernel, conv.stride, conv.dilation, conv.output_size)
    kernel, stride, dilation, size = (_triple(each, 1) for each in ones)
    volumes = inside.reshape(batch, *fill, *inside.shape[1:])
    _patch_vectors(volumes.numpy(), kernel, stride, _triple(conv.padding, 0), dilation, size, mask.numpy())
    if groups == 1:
        return mask.view(1, vectors, taps * channels)
    apart = torch.empty(groups, vectors, taps * (channels // groups), dtype=torch.bool)
    _by_group(mask.numpy(), apart.numpy())
    return apart


def _triple(extents: tuple[int, ...], missing: int) -> Triple:
    """Extents along three axes."""
    depth, height, width = (missing,) * (3 - len(extents)) + extents
    return depth, height, width


def run_entries(mask: torch.Tensor, starts: npt.NDArray[np.int64], run_bits: int) -> torch.Tensor:
    """int32 [G, V, pieces]: run-length entries of each vector row [G, V, K] within each piece of k, by their starts.

    As `bitwright.formats.run_length_entries` of every piece.
    """
    groups, vectors, k = mask.shape
    entries = torch.empty(groups, vectors, len(starts), dtype=torch.int32)
    use_torch_threads()
    _run_entries(mask.contiguous().numpy(), np.append(starts, k), 1 << run_bits, entries.numpy())
    return entries


def _plain(codes: torch.Tensor) -> torch.Tensor:
    """Codes on the CPU, contiguous, as integers of at most 16 bits."""
    codes = codes.cpu()
    if codes.dtype not in (torch.uint8, torch.int8):
        codes = codes.to(torch.int16)
    return codes.contiguous()


def _limits(codes: torch.Tensor, window: Pair) -> tuple[np.generic, np.generic]:
    """The window in the codes' own type, in which comparisons are fastest."""
    info = torch.iinfo(codes.dtype)
    low, high = np.array([max(window[0], info.min), min(window[1], info.max)], dtype=codes.numpy().dtype)
    return low, high


@numba.njit(parallel=True, cache=True)
def _row_vectors(rows: Array, low: np.generic, high: np.generic, mask: Array) -> None:
    groups, count, k = rows.shape
    vectors = mask.shape[1]
    for at in numba.prange(groups * vectors):
        group, vector = at // vectors, at % vectors
        out = mask[group, vector]
        first = rows[group, VECTOR * vector]
        for j in range(k):
            out[j] = (first[j] >= low) & (first[j] <= high)
        for i in range(VECTOR * vector + 1, min(count, VECTOR * vector + VECTOR)):
            row = rows[group, i]
            for j in range(k):
                out[j] &= (row[j] >= low) & (row[j] <= high)


@numba.njit(parallel=True, cache=True)
def _patch_vectors(
    inside: Array, kernel: Triple, stride: Triple, padding: Triple, dilation: Triple, size: Triple, mask: Array
) -> None:
    batch, depth, height, width, channels = inside.shape
    plane, volume = size[1] * size[2], size[0] * size[1] * size[2]
    for vector in numba.prange(mask.shape[0]):
        mask[vector] = True
        for pixel in range(VECTOR * vector, min(batch * volume, VECTOR * vector + VECTOR)):
            image, place = pixel // volume, pixel % volume
            layer, row, column = place // plane, place % plane // size[2], place % size[2]
            for h in range(kernel[0]):
                x = layer * stride[0] + h * dilation[0] - padding[0]
                if x < 0 or x >= depth:
                    continue
                for i in range(kernel[1]):
                    y = row * stride[1] + i * dilation[1] - padding[1]
                    if y < 0 or y >= height:
                        continue
                    for j in range(kernel[2]):
                        z = column * stride[2] + j * dilation[2] - padding[2]
                        if z < 0 or z >= width:
                            continue
                        source, out = inside[image, x, y, z], mask[vector, (h * kernel[1] + i) * kernel[2] + j]
                        for c in range(channels):
                            out[c] &= source[c]


@numba.njit(parallel=True, cache=True)
def _by_group(mask: Array, apart: Array) -> None:
    """[vectors, taps, channels] to [groups, vectors, taps * channels of a group], in blocks that stay in the cache."""
    vectors, taps, _ = mask.shape
    groups, _, k = apart.shape
    width = k // taps
    for block in numba.prange((vectors + BLOCK - 1) // BLOCK):
        stop = min(vectors, (block + 1) * BLOCK)
        for group in range(groups):
            for vector in range(block * BLOCK, stop):
                for tap in range(taps):
                    for c in range(width):
                        apart[group, vector, tap * width + c] = mask[vector, tap, group * width + c]


@numba.njit(parallel=True, cache=True)
def _run_entries(mask: Array, bounds: Array, longest: int, entries: Array) -> None:
    groups, vectors, _ = mask.shape
    for at in numba.prange(groups * vectors):
        group, vector = at // vectors, at % vectors
        row = mask[group, vector]
        for piece in range(entries.shape[2]):
            start, stop = bounds[piece], bounds[piece + 1]
            skipped = np.int32(0)
            for flag in row[start:stop]:
                skipped += np.int32(flag)
            count = stop - start - skipped
            while start + longest <= stop:  # a filler for every `longest` skipped in a row, looked for from their end
                j = start + longest - 1
                while j >= start and row[j]:
                    j -= 1
                if j < start:
                    count += 1
                    start += longest
                else:
                    start = j + 1
            entries[group, vector, piece] = count
