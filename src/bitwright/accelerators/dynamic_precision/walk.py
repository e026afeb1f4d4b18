"""In which order tiles visit the blocks of a product's reduction: what has to be done anew whenever a block is entered.

Tiles of rows and of columns come back to the blocks that others have been at. Ours: nothing is remembered of a block
between two visits, so that each has its own schedule, and its own draining where the array was cut otherwise before.
"""

import dataclasses
import math

import numpy as np

from bitwright.memory import BoolArray, Gemm, IntArray, Mapping
from bitwright.memory.tiling import AXES


@dataclasses.dataclass(frozen=True, kw_only=True)
class Walk:
    """Which block follows which within a group, and how often; groups are outside of all loops.

    Attributes
    ----------
    before, after : IntArray
        Blocks that follow one another [steps].
    times : IntArray
        How often they do [steps].
    blocks : int
        How many there are.

    Examples
    --------
    >>> in_turn(blocks=3, times=2).stays.tolist()
    [2, 2, 2]
    """

    before: IntArray
    after: IntArray
    times: IntArray
    blocks: int

    @property
    def stays(self) -> IntArray:
        """How often the array comes to each block from another, or first of all [blocks]."""
        found = np.bincount(self.after, self.times * (self.before != self.after), self.blocks).astype(np.int64)
        found[0] += 1
        return found

    def entries(self, changed: BoolArray, between_groups: BoolArray) -> IntArray:
        """How often each block is entered from one that is not like it [groups, blocks].

        Parameters
        ----------
        changed : BoolArray
            Whether the blocks of each step differ [groups, steps].
        between_groups : BoolArray
            Whether a group's first block differs from the last one of the group before [groups - 1].
        """
        found = np.zeros((len(changed), self.blocks), dtype=np.int64)
        np.add.at(found.T, self.after, (changed * self.times).T)
        found[1:, 0] += between_groups
        return found

    def differing(self, keys: IntArray) -> tuple[BoolArray, BoolArray]:
        """Where blocks that follow one another differ in any of `keys` [keys, groups, blocks], as `entries` asks."""
        changed: BoolArray = (keys[:, :, self.before] != keys[:, :, self.after]).any(axis=0)
        between: BoolArray = (keys[:, 1:, 0] != keys[:, :-1, -1]).any(axis=0)
        return changed, between

    def waits(self, spent: IntArray, scheduling: IntArray, changed: BoolArray, between: BoolArray) -> IntArray:
        """Cycles that blocks wait for their schedules [groups, blocks]: what the stay before does not hide.

        Ours: the scheduler works on the next block while the array works on this one; nothing hides the first.

        Parameters
        ----------
        spent : IntArray
            Cycles of each block, all stays [groups, blocks].
        scheduling : IntArray
            Cycles of the scheduler for each stay at a block that is not like the one before [groups, blocks].
        changed, between : BoolArray
            Which are not, as `entries` has them.

        Examples
        --------
        >>> walk = in_turn(blocks=3, times=1)
        >>> spent, scheduling = np.array([[100, 10, 50]]), np.array([[30, 40, 40]])
        >>> walk.waits(spent, scheduling, np.full((1, 3), True), np.full(0, True)).tolist()
        [[30, 0, 30]]
        """
        hidden = spent // self.stays
        each = np.maximum(0, scheduling[:, self.after] - hidden[:, self.before]) * changed * self.times
        found = np.zeros_like(spent)
        np.add.at(found.T, self.after, each.T)
        found[1:, 0] += np.maximum(0, scheduling[1:, 0] - hidden[:-1, -1]) * between
        found[0, 0] += scheduling[0, 0]
        return found


def in_turn(*, blocks: int, times: int) -> Walk:
    """All blocks one after another, so often.

    Examples
    --------
    >>> walk = in_turn(blocks=3, times=2)
    >>> walk.before.tolist(), walk.after.tolist(), walk.times.tolist()
    ([2, 0, 1], [0, 1, 2], [1, 2, 2])
    """
    after = np.arange(blocks)
    return Walk(
        before=np.roll(after, 1),
        after=after,
        times=np.where(after == 0, times - 1, times),
        blocks=blocks,
    )


def walk_of(lengths: IntArray, gemm: Gemm, mapping: Mapping) -> Walk:
    """The walk of a mapping over blocks of such lengths along k [blocks].

    A tile goes over its blocks in turn. Tiles of k follow one another once for each tile of the loops outside; each is
    visited again at once for those of the loops inside.
    """
    counts = {
        axis: -(-extent // tile)
        for axis, extent, tile in zip(
            AXES, (gemm.m, gemm.k, gemm.n), (mapping.tile_m, mapping.tile_k, mapping.tile_n), strict=True
        )
    }
    place = mapping.order.index("k")
    loops = (mapping.order[:place], mapping.order[place + 1 :])
    outside, inside = (math.prod(counts[axis] for axis in axes) for axes in loops)
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    tile_starts = np.arange(0, gemm.k, mapping.tile_k)
    tile_ends = np.minimum(gemm.k, tile_starts + mapping.tile_k)
    first, last = (np.searchsorted(starts, edges, side="right") - 1 for edges in (tile_starts, tile_ends - 1))
    blocks = np.arange(1, len(lengths))
    borders = starts[1:] % mapping.tile_k == 0  # also of tiles
    return Walk(
        before=np.concatenate([blocks - 1, last, [len(lengths) - 1]]),
        after=np.concatenate([blocks, first, [0]]),
        times=np.concatenate(
            [np.where(borders, outside, outside * inside), np.full(len(first), outside * (inside - 1)), [outside - 1]]
        ),
        blocks=len(lengths),
    )
