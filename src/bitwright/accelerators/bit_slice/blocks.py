"""Work of a bit-slice array, counted from skipped vectors: outer products per processing element and block.

A block is what the array works on at once: some rows of x (a few vectors of 4) by 4 columns of w on each processing
element, over one tile of k, a piece of it after the other. A product of two slices of a weight vector and an activation
vector is an outer product of 4 x 4. Those of one vector of x, one of w and one kind of slices are a list; how many are
left after skipping follows from masks: those of both high-order slices are the sum over k of (kept vector of x) x (kept
vector of w), a matrix product. Operators of one kind work on one list at a time, so a list takes as many steps as it
fills them, the last one perhaps not wholly (found by RTL: `bitwright.circuits.arrays.SliceArray`).
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from bitwright.accelerators.bit_slice.pieces import Pieces
from bitwright.later import functional as F
from bitwright.later import torch
from bitwright.memory import IntArray
from bitwright.methods.vectors import VECTOR, VectorMasks

PAIRS_AT_ONCE = 1 << 22
"""Lists whose products are counted together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Blocks:
    """Vectors that are kept (not skipped); blocks of rows and pieces of k may end early.

    Attributes
    ----------
    both : IntArray
        [groups, pieces, row blocks, vectors of w]: pairs of kept vectors of x and w at equal k.
    both_steps : IntArray
        The same: steps of so many operators as they were counted for.
    x_vectors_kept : IntArray
        [groups, pieces, vectors of x]: kept ones of a vector's row.
    w_kept : IntArray
        [groups, pieces, vectors of w]: kept vectors of w.
    x_vectors : IntArray
        [row blocks]: vectors of x in the block, kept or not.
    k_sizes : IntArray
        [pieces].
    """

    both: IntArray
    both_steps: IntArray
    x_vectors_kept: IntArray
    w_kept: IntArray
    x_vectors: IntArray
    k_sizes: IntArray

    @property
    def pairs(self) -> IntArray:
        """[pieces, row blocks]: vectors of x times k, what each vector of w meets without skipping."""
        return self.k_sizes[:, None] * self.x_vectors

    @functools.cached_property
    def x_kept(self) -> IntArray:
        """[groups, pieces, row blocks]: kept vectors of x."""
        return self.of_blocks(self.x_vectors_kept)

    def of_blocks(self, of_vectors: IntArray) -> IntArray:
        """Sums over the vectors of x of each block, from [.., vectors of x]."""
        starts = np.cumsum(self.x_vectors) - self.x_vectors
        found: IntArray = np.add.reduceat(of_vectors, starts, axis=-1)
        return found


def count_blocks(masks: VectorMasks, *, pieces: Pieces, block_vectors: int, operators: int) -> Blocks:
    """Kept vectors per piece of k and block of `block_vectors` vectors of x, and steps of `operators` for pairs."""
    groups, vectors, _ = masks.x.shape
    x, w = (_by_piece((~mask).to(torch.float32), pieces) for mask in (masks.x, masks.w))
    both, both_steps = _pairs(x.flatten(0, 1), w.flatten(0, 1).transpose(1, 2), block_vectors, operators)
    starts = np.arange(0, vectors, block_vectors)
    shape = (groups, len(pieces.sizes), len(starts), -1)
    return Blocks(
        both=both.reshape(shape),
        both_steps=both_steps.reshape(shape),
        x_vectors_kept=_integers(x.sum(-1)),
        w_kept=_integers(w.sum(-1)),
        x_vectors=np.minimum(block_vectors, vectors - starts),
        k_sizes=pieces.sizes,
    )


def _pairs(x: torch.Tensor, w: torch.Tensor, block_vectors: int, operators: int) -> tuple[IntArray, IntArray]:
    """Pairs of kept vectors and steps for them [pieces, row blocks, vectors of w], of x [pieces, vectors, k] and w."""
    padded = F.pad(x, (0, 0, 0, -x.shape[1] % block_vectors))
    blocks = padded.unflatten(1, (-1, block_vectors))
    found = torch.empty(2, len(x), blocks.shape[1], w.shape[2], dtype=torch.int64)
    at_once = max(1, PAIRS_AT_ONCE // (len(x) * block_vectors * w.shape[2]))
    for start in range(0, blocks.shape[1], at_once):
        part = blocks[:, start : start + at_once]
        lists = torch.bmm(part.flatten(1, 2), w).unflatten(1, (-1, block_vectors))  # at most k: exact in float32
        found[0, :, start : start + at_once] = lists.sum(2).to(torch.int64)
        found[1, :, start : start + at_once] = (lists / operators).ceil_().sum(2).to(torch.int64)
    return found[0].numpy(), found[1].numpy()


def _by_piece(counts: torch.Tensor, pieces: Pieces) -> torch.Tensor:
    """[groups, rows, k] as [groups, pieces, rows, the longest piece], filled up with zeros."""
    within = np.arange(pieces.sizes.max())
    places = np.where(within < pieces.sizes[:, None], pieces.starts[:, None] + within, counts.shape[2])
    return F.pad(counts, (0, 1))[..., torch.from_numpy(places)].transpose(1, 2).contiguous()


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
        [groups, vectors, pieces]: run-length entries that a decoder reads per stream; vectors where the tile is raw.
    """

    bits: IntArray
    entries: IntArray


def store(
    mask: torch.Tensor, *, rows: int, low_slices: int, high_slice: bool, pieces: Pieces, tile_rows: int, run_bits: int
) -> Stored:
    """Sizes of an operand's tiles from its mask [groups, vectors, k].

    Each vector row is a stream of its own within each piece of k, with the number of its entries before it, as many
    bits as that takes. Whether a tile is raw is one bit, which is neglected.

    Parameters
    ----------
    rows : int
        Rows of the operand; its last vector may be filled up.
    low_slices : int
        Slices stored raw, 4 bits an element.
    high_slice : bool
        Whether there is a high-order slice to be skipped.
    pieces : Pieces
        Of k.
    tile_rows : int
        Rows of a tile: a multiple of 4, or all of them.
    """
    from bitwright.methods.vector_kernels import run_entries

    vectors = mask.shape[1]
    entries: IntArray = run_entries(mask, pieces.starts, run_bits).numpy().astype(np.int64)
    streams = entries * (run_bits + 4 * VECTOR) + count_bits(pieces.sizes)
    starts = np.arange(0, vectors, -(-tile_rows // VECTOR))
    of_tiles = np.diff(np.append(starts, vectors))
    elements = np.diff(np.append(starts * VECTOR, rows))[:, None] * pieces.of_tiles(pieces.sizes, 0)
    raw = np.broadcast_to(4 * elements, (len(mask), *elements.shape))
    coded = pieces.of_tiles(np.add.reduceat(streams, starts, axis=1), 2)
    is_raw = raw <= coded
    high = np.where(is_raw, raw, coded) if high_slice else 0
    of_pieces = np.diff(np.append(pieces.first, len(pieces.sizes)))
    each_raw = is_raw.repeat(of_tiles, axis=1).repeat(of_pieces, axis=2)
    return Stored(bits=high + low_slices * raw, entries=np.where(each_raw, pieces.sizes, entries))


def count_bits(largest: IntArray) -> IntArray:
    """Bits of a number of at most so many, element-wise.

    Examples
    --------
    >>> count_bits(np.array([1, 3, 4, 96])).tolist()
    [1, 2, 3, 7]
    """
    return np.frexp(largest.astype(np.float64))[1].astype(np.int64)
