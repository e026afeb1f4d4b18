"""Pieces of the reduction: as many k of a block as the elements' buffers of slices hold.

Ours: a tile of k is cut into as few pieces as fit, equally long but the last; sums of a block stay in their
accumulators from piece to piece, and streams are cut where pieces end, so that each piece can be decoded by itself.
"""

import dataclasses
import functools

import numpy as np

from bitwright.memory import IntArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pieces:
    """How k is cut.

    Attributes
    ----------
    sizes : IntArray
        [pieces].
    first : IntArray
        [tiles of k]: the first piece of each.
    """

    sizes: IntArray
    first: IntArray

    @functools.cached_property
    def starts(self) -> IntArray:
        """[pieces]."""
        return np.cumsum(self.sizes) - self.sizes

    @property
    def last(self) -> IntArray:
        """[tiles of k]: the last piece of each."""
        return np.append(self.first[1:], len(self.sizes)) - 1

    def of_tiles(self, of_pieces: IntArray, axis: int) -> IntArray:
        """Sums over the pieces of each tile along an axis."""
        found: IntArray = np.add.reduceat(of_pieces, self.first, axis=axis)
        return found


def piece_of(k: IntArray, most: int) -> tuple[IntArray, IntArray]:
    """How many pieces of at most so many k tiles of so many k are cut into, and how long all but the last are.

    Examples
    --------
    >>> [int(each) for each in piece_of(np.int64(200), 96)]  # 67, 67, 66
    [3, 67]
    """
    count = -(-k // most)
    return count, -(-k // count)


def pieces_of(k: int, *, tile_k: int, most: int) -> Pieces:
    """The pieces of all tiles of k.

    Examples
    --------
    >>> pieces_of(10, tile_k=6, most=4).sizes.tolist()
    [3, 3, 4]
    """
    tiles = np.minimum(tile_k, k - np.arange(0, k, tile_k))
    counts, lengths = piece_of(tiles, most)
    first = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(first, counts)
    length = np.repeat(lengths, counts)
    return Pieces(sizes=np.minimum(length, np.repeat(tiles, counts) - within * length), first=first)
