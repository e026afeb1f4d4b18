"""Work of a bit-slice array, counted from skipped vectors: outer products per processing element and block.

A block is what the array works on at once: some rows of x (a few vectors of 4) by 4 columns of w on each processing
element, over one tile of k. A product of two slices of a weight vector and an activation vector is an outer product of
4 x 4, one step of an operator. How many of them are left after skipping follows from counts per k: those of both
high-order slices are the sum over k of (kept vectors of x in the block) x (kept vector of w or none), a matrix product.
"""

import dataclasses

import numpy as np
import torch
import torch.nn.functional as F

from bitwright.memory import IntArray
from bitwright.methods.vector_kernels import kept_in_blocks, run_entries
from bitwright.methods.vectors import VECTOR, VectorMasks


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocks:
    """Vectors that are kept (not skipped), per block; blocks of rows and tiles of k may end early.

    Attributes
    ----------
    both : IntArray
        [groups, k tiles, row blocks, vectors of w]: pairs of kept vectors of x and w at equal k.
    x_kept : IntArray
        [groups, k tiles, row blocks]: kept vectors of x.
    w_kept : IntArray
        [groups, k tiles, vectors of w]: kept vectors of w.
    x_vectors : IntArray
        [row blocks]: vectors of x in the block, kept or not.
    k_sizes : IntArray
        [k tiles].
    """

    both: IntArray
    x_kept: IntArray
    w_kept: IntArray
    x_vectors: IntArray
    k_sizes: IntArray

    @property
    def pairs(self) -> IntArray:
        """[k tiles, row blocks]: vectors of x times k, what each vector of w meets without skipping."""
        return self.k_sizes[:, None] * self.x_vectors


def count_blocks(masks: VectorMasks, *, tile_k: int, block_vectors: int) -> Blocks:
    """Kept vectors per tile of k and block of `block_vectors` vectors of x."""
    groups, vectors, k = masks.x.shape
    tiles = -(-k // tile_k)
    x = _by_tile(kept_in_blocks(masks.x, block_vectors), tile_k)
    w = _by_tile((~masks.w).to(torch.float32), tile_k)
    both = torch.bmm(x.flatten(0, 1), w.flatten(0, 1).transpose(1, 2))  # at most block_vectors * k: exact in float32
    blocks = x.shape[2]
    starts = np.arange(blocks) * block_vectors
    return Blocks(
        both=_integers(both).reshape(groups, tiles, blocks, -1),
        x_kept=_integers(x.sum(-1)),
        w_kept=_integers(w.sum(-1)),
        x_vectors=np.minimum(block_vectors, vectors - starts),
        k_sizes=np.minimum(tile_k, k - np.arange(tiles) * tile_k),
    )


def _by_tile(counts: torch.Tensor, tile_k: int) -> torch.Tensor:
    """[groups, rows, k] as [groups, k tiles, rows, tile_k], filled up with zeros."""
    groups, rows, k = counts.shape
    padded = F.pad(counts, (0, -k % tile_k)) if k % tile_k else counts
    return padded.view(groups, rows, -1, tile_k).transpose(1, 2).contiguous()


def _integers(counts: torch.Tensor) -> IntArray:
    return counts.to(torch.int64).numpy()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Stored:
    """An operand as it is stored: high-order slices run-length coded or raw, whichever is smaller, the others raw.

    Attributes
    ----------
    bits : IntArray
        [groups, row tiles, k tiles]: of each tile, all slices.
    entries : IntArray
        [groups, vectors, k tiles]: run-length entries that a decoder reads per stream; vectors where the tile is raw.
    """

    bits: IntArray
    entries: IntArray


def store(
    mask: torch.Tensor, *, rows: int, low_slices: int, high_slice: bool, tile_k: int, tile_rows: int, run_bits: int
) -> Stored:
    """Sizes of an operand's tiles from its mask [groups, vectors, k].

    Each vector row is a stream of its own within each tile of k. Whether a tile is raw is one bit, which is neglected.

    Parameters
    ----------
    rows : int
        Rows of the operand; its last vector may be filled up.
    low_slices : int
        Slices stored raw, 4 bits an element.
    high_slice : bool
        Whether there is a high-order slice to be skipped.
    tile_rows : int
        Rows of a tile: a multiple of 4, or all of them.
    """
    _, vectors, k = mask.shape
    entries: IntArray = run_entries(mask, tile_k, run_bits).numpy().astype(np.int64)
    k_sizes = np.minimum(tile_k, k - np.arange(entries.shape[2]) * tile_k)
    in_tile = -(-tile_rows // VECTOR)
    starts = np.arange(0, vectors, in_tile)
    elements = np.diff(np.append(starts * VECTOR, rows))[:, None] * k_sizes
    raw = np.broadcast_to(4 * elements, (len(mask), *elements.shape))
    coded = np.add.reduceat(entries, starts, axis=1) * (run_bits + 4 * VECTOR)
    is_raw = raw <= coded
    high = np.where(is_raw, raw, coded) if high_slice else 0
    return Stored(
        bits=high + low_slices * raw,
        entries=np.where(np.repeat(is_raw, np.diff(np.append(starts, vectors)), axis=1), k_sizes, entries),
    )
