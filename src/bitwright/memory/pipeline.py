"""Cycles of a sequence of buffered tiles, exactly, without walking it.

While the array works on tile i, DRAM writes back what tile i - 1 left and reads what tile i + 1 needs: cycles = first
read + sum over i of max(compute i, write i - 1 + read i + 1) + last write; what filling and draining the array takes
once is part of the last tile's compute. What has a single buffer, x, w or the outputs with their partial sums, the
array waits for instead. A tile's place along an axis matters only as first, last but one, last, or any other, so each
candidate is a weighted sum over at most 4 x 4 x 4 tiles of 3 groups. Twin: `bitwright.memory.reference`.
"""

import dataclasses

import numpy as np

from bitwright.memory.gemm import BoolArray, Gemm, IntArray, packed_bytes
from bitwright.memory.machine import TiledMachine
from bitwright.memory.tiling import ORDER_AXES, ORDER_POSITIONS, Tilings
from bitwright.memory.traffic import transfer_cycles


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sequence:
    """Tile sequences, one per entry [entries]; extents, tiles and counts are [entries, axis]."""

    gemm: Gemm
    tiles: IntArray
    counts: IntArray
    order: IntArray

    def steps(self) -> IntArray:
        """Length of each sequence, all groups."""
        return self.gemm.groups * np.prod(self.counts, axis=1, dtype=np.int64)

    def at(self, step: IntArray) -> "_Step":
        """What stands at `step` of each sequence; steps outside of it give meaningless but harmless values."""
        by_position = np.take_along_axis(self.counts, ORDER_AXES[self.order], axis=1)
        rest, inner = np.divmod(step, by_position[:, 2])
        rest, middle = np.divmod(rest, by_position[:, 1])
        group, outer = np.divmod(rest, by_position[:, 0])
        index = np.take_along_axis(np.stack([outer, middle, inner], axis=1), ORDER_POSITIONS[self.order], axis=1)
        extents = np.array([self.gemm.m, self.gemm.k, self.gemm.n], dtype=np.int64)
        last = extents - (self.counts - 1) * self.tiles
        size = np.where(index == self.counts - 1, last, self.tiles)
        return _Step(group=group, index=index, size=size, reduced=index[:, 1] == self.counts[:, 1] - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Step:
    """A tile: its group [entries], indices and sizes [entries, axis], and whether it completes its reduction."""

    group: IntArray
    index: IntArray
    size: IntArray
    reduced: BoolArray

    def differs(self, other: "_Step", axes: tuple[int, int]) -> BoolArray:
        """Whether the operand with these two axes changes between the two tiles."""
        changed: BoolArray = self.group != other.group
        for axis in axes:
            changed = changed | (self.index[:, axis] != other.index[:, axis])
        return changed


def pipelined_cycles(*, gemm: Gemm, tilings: Tilings, machine: TiledMachine) -> IntArray:
    """Cycles from the first DRAM read to the last DRAM write of every candidate, over all groups."""
    candidate, step, weight = _representatives(gemm, tilings)
    chosen = tilings.select(candidate)
    sequence = _Sequence(
        gemm=gemm,
        tiles=np.stack([chosen.m, chosen.k, chosen.n], axis=1),
        counts=np.stack(chosen.counts(gemm), axis=1),
        order=chosen.order,
    )
    before, now, after = (sequence.at(step + offset) for offset in (-1, 0, 1))
    inputs = (chosen.input_buffers, chosen.weight_buffers)
    first, last = step == 0, step == sequence.steps() - 1
    bandwidth = machine.dram_bytes_per_cycle
    compute = machine.compute_cycles(m=now.size[:, 0], k=now.size[:, 1], n=now.size[:, 2]) + machine.fill_cycles * last
    operands = [np.where(last, 0, each) for each in _operand_cycles(gemm, now, after, bandwidth)]
    hidden, exposed = (
        sum(np.where(buffers == count, each, 0) for buffers, each in zip(inputs, operands, strict=True))
        for count in (2, 1)
    )
    read_back = np.where(last, 0, _read_back_cycles(gemm, now, after, bandwidth))
    write_before = np.where(first, 0, _write_cycles(gemm, before, now, bandwidth))
    write_now = _write_cycles(gemm, now, after, bandwidth)
    overlapped = np.maximum(compute, hidden + read_back + write_before) + np.where(last, write_now, 0)
    waiting = np.maximum(compute, hidden) + read_back + write_now
    slot = exposed + np.where(chosen.output_buffers == 2, overlapped, waiting)
    starts = np.flatnonzero(np.diff(candidate, prepend=-1))
    cycles: IntArray = np.add.reduceat(weight * slot, starts)
    first_x, first_w = first_read_cycles(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=bandwidth)
    return cycles + first_x + first_w


def first_read_cycles(*, gemm: Gemm, tilings: Tilings, dram_bytes_per_cycle: float) -> tuple[IntArray, IntArray]:
    """Cycles before the array can start: x and w of the first tile."""
    x = packed_bytes(tilings.m * tilings.k, gemm.x_bits, gemm.x_share)
    w = packed_bytes(tilings.k * tilings.n, gemm.w_bits, gemm.w_share)
    return transfer_cycles(x, dram_bytes_per_cycle), transfer_cycles(w, dram_bytes_per_cycle)


def last_write_cycles(*, gemm: Gemm, tilings: Tilings, dram_bytes_per_cycle: float) -> IntArray:
    """Cycles after the array is done: the last output tile."""
    m_count, _, n_count = tilings.counts(gemm)
    elements = (gemm.m - (m_count - 1) * tilings.m) * (gemm.n - (n_count - 1) * tilings.n)
    return transfer_cycles(packed_bytes(elements, gemm.y_dram_bits), dram_bytes_per_cycle)


def _operand_cycles(gemm: Gemm, before: _Step, now: _Step, bandwidth: float) -> tuple[IntArray, IntArray]:
    """Cycles to read x and w of `now`, where `before` did not use them."""
    m, k, n = now.size[:, 0], now.size[:, 1], now.size[:, 2]
    x = transfer_cycles(packed_bytes(m * k, gemm.x_bits, gemm.x_share), bandwidth)
    w = transfer_cycles(packed_bytes(k * n, gemm.w_bits, gemm.w_share), bandwidth)
    return x * now.differs(before, (0, 1)), w * now.differs(before, (1, 2))


def _read_back_cycles(gemm: Gemm, before: _Step, now: _Step, bandwidth: float) -> IntArray:
    """Cycles to read back the partial sums of `now`: its output tile was begun earlier and has left since."""
    psum = transfer_cycles(packed_bytes(now.size[:, 0] * now.size[:, 2], gemm.psum_bits), bandwidth)
    return psum * (now.differs(before, (0, 2)) & (now.index[:, 1] > 0))


def _write_cycles(gemm: Gemm, now: _Step, after: _Step, bandwidth: float) -> IntArray:
    """Cycles to write the output tile of `now` if `after` works on another one; finished ones are narrower."""
    elements = now.size[:, 0] * now.size[:, 2]
    psum = transfer_cycles(packed_bytes(elements, gemm.psum_bits), bandwidth)
    y = transfer_cycles(packed_bytes(elements, gemm.y_dram_bits), bandwidth)
    return np.where(now.reduced, y, psum) * now.differs(after, (0, 2))


def _representatives(gemm: Gemm, tilings: Tilings) -> tuple[IntArray, IntArray, IntArray]:
    """(candidate, step, weight) [entries], by candidate: tiles that stand for all that behave like them."""
    counts = np.stack(tilings.counts(gemm), axis=1)
    counts = np.take_along_axis(counts, ORDER_AXES[tilings.order], axis=1)
    group, group_weight = _groups(gemm.groups)
    step = group[None, :]
    weight = np.broadcast_to(group_weight, (len(tilings), len(group)))
    for position in range(3):
        index, index_weight = _places(counts[:, position])
        step = (step * counts[:, position, None])[:, :, None] + index[:, None, :]
        weight = weight[:, :, None] * index_weight[:, None, :]
        step, weight = step.reshape(len(tilings), -1), weight.reshape(len(tilings), -1)
    candidate, entry = np.nonzero(weight)
    return candidate, step[candidate, entry], weight[candidate, entry]


def _places(count: IntArray) -> tuple[IntArray, IntArray]:
    """Index and weight [candidates, 4] of the first, a middle, the last but one and the last iteration of a loop."""
    one = np.ones_like(count)
    index = np.stack([0 * one, one, count - 2, count - 1], axis=1)
    weight = np.stack([one, np.maximum(count - 3, 0), count >= 3, count >= 2], axis=1)
    return index, weight.astype(np.int64)


def _groups(groups: int) -> tuple[IntArray, IntArray]:
    """Index and weight of the first, a middle and the last group."""
    index, weight = np.array([0, 1, groups - 1]), np.array([1, max(groups - 2, 0), int(groups >= 2)])
    return index[weight > 0], weight[weight > 0]
