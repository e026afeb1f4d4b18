"""Cycles of a sequence of buffered tiles, exactly, without walking it.

While the array works on tile i, DRAM writes back what tile i - 1 left and reads what tile i + 1 needs: cycles = first
read + sum over i of max(compute i, write i - 1 + read i + 1, words i) + last write; what filling and draining the array
takes once is part of the last tile's compute. Words are those of the busiest SRAM: the array's for tile i, and what
DRAM fills and takes meanwhile, elements of x as the product has them however few of them crossed DRAM. What has a
single buffer, x, w or the outputs with their partial sums, the array waits for instead, at the pace of DRAM or of its
SRAM, whichever is slower. A tile's place along an axis matters only as first, last but one, last, or any other, so each
candidate is a weighted sum over at most 4 x 4 x 4 tiles of 3 groups. Twin: `bitwright.memory.reference`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from bitwright.memory.gemm import BITS_PER_BYTE, BoolArray, FloatArray, Gemm, IntArray, packed_bytes
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
    x_single, w_single, y_single = (
        buffers == 1 for buffers in (chosen.input_buffers, chosen.weight_buffers, chosen.output_buffers)
    )
    first, last = step == 0, step == sequence.steps() - 1
    x, w = (each.where(~last) for each in _operands(gemm, now, after, machine))
    back = _read_back(gemm, now, after, machine).where(~last)
    left, leaves = _written(gemm, before, now, machine).where(~first), _written(gemm, now, after, machine)
    of_array = machine.array_bits(m=now.size[:, 0], k=now.size[:, 1], n=now.size[:, 2])
    moved = (
        of_array[0] + np.where(x_single, 0, x.bits) + np.where(y_single, 0, left.kept_bits),
        of_array[1] + np.where(w_single, 0, w.bits),
        of_array[2] + np.where(y_single, 0, back.bits + left.bits),
    )
    compute = machine.array_cycles(m=now.size[:, 0], k=now.size[:, 1], n=now.size[:, 2])
    compute = np.maximum(compute, port_cycles(of_array, machine)) + machine.fill_cycles * last
    dram = np.where(x_single, 0, x.dram) + np.where(w_single, 0, w.dram) + np.where(y_single, 0, back.dram + left.dram)
    slot = np.maximum(np.maximum(compute, dram), port_cycles(moved, machine))
    slot += np.where(x_single, x.alone, 0) + np.where(w_single, w.alone, 0)
    slot += np.where(y_single, back.alone + leaves.alone, np.where(last, leaves.alone, 0))
    starts = np.flatnonzero(np.diff(candidate, prepend=-1))
    cycles: IntArray = np.add.reduceat(weight * slot, starts)
    first_x, first_w = first_read_cycles(gemm=gemm, tilings=tilings, machine=machine)
    return cycles + first_x + first_w


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Move:
    """A transfer of each entry [entries]: cycles of DRAM, bits through its SRAM, cycles if nothing else moves.

    `kept_bits` are those of finished outputs that move to the SRAM of x, to stay there.
    """

    dram: IntArray
    bits: FloatArray
    alone: IntArray
    kept_bits: FloatArray | float = 0.0

    def where(self, happens: BoolArray) -> "_Move":
        """Nothing where it does not happen."""
        return _Move(
            dram=self.dram * happens,
            bits=self.bits * happens,
            alone=self.alone * happens,
            kept_bits=self.kept_bits * happens,
        )


def _moved(dram_bytes: IntArray, bits: FloatArray, machine: TiledMachine, sram: int) -> _Move:
    """A transfer through one of the three SRAMs, which goes at the pace of the slower side."""
    dram = transfer_cycles(dram_bytes, machine.dram_bytes_per_cycle)
    words = np.ceil(bits / machine.sram_bits_per_cycle[sram]).astype(np.int64)
    return _Move(dram=dram, bits=bits, alone=np.maximum(dram, words))


def port_cycles(bits: Sequence[FloatArray], machine: TiledMachine) -> IntArray:
    """Cycles in which the busiest of the three SRAMs moves so many bits each, element-wise."""
    each = [np.ceil(moved / width) for moved, width in zip(bits, machine.sram_bits_per_cycle, strict=True)]
    busiest: IntArray = np.maximum.reduce(each).astype(np.int64)
    return busiest


def first_read_cycles(*, gemm: Gemm, tilings: Tilings, machine: TiledMachine) -> tuple[IntArray, IntArray]:
    """Cycles before the array can start: x and w of the first tile."""
    return (
        _x(gemm, tilings.m * tilings.k, machine).alone,
        _w(gemm, tilings.k * tilings.n, machine).alone,
    )


def _x(gemm: Gemm, elements: IntArray, machine: TiledMachine) -> _Move:
    """A tile of x of so many elements from DRAM."""
    bits = packed_bytes(elements, gemm.x_bits) * float(BITS_PER_BYTE * (not gemm.x_on_chip))
    return _moved(packed_bytes(elements, gemm.x_bits, gemm.x_share), bits, machine, 0)


def _w(gemm: Gemm, elements: IntArray, machine: TiledMachine) -> _Move:
    """A tile of w of so many elements from DRAM."""
    bits = packed_bytes(elements, gemm.w_bits) * float(BITS_PER_BYTE)
    return _moved(packed_bytes(elements, gemm.w_bits, gemm.w_share), bits, machine, 1)


def last_write_cycles(*, gemm: Gemm, tilings: Tilings, dram_bytes_per_cycle: float) -> IntArray:
    """Cycles after the array is done: the last output tile."""
    m_count, _, n_count = tilings.counts(gemm)
    elements = (gemm.m - (m_count - 1) * tilings.m) * (gemm.n - (n_count - 1) * tilings.n)
    return transfer_cycles(packed_bytes(elements, gemm.y_dram_bits), dram_bytes_per_cycle)


def _operands(gemm: Gemm, before: _Step, now: _Step, machine: TiledMachine) -> tuple[_Move, _Move]:
    """Reads of x and w of `now`, where `before` did not use them."""
    m, k, n = now.size[:, 0], now.size[:, 1], now.size[:, 2]
    x, w = _x(gemm, m * k, machine), _w(gemm, k * n, machine)
    return x.where(now.differs(before, (0, 1))), w.where(now.differs(before, (1, 2)))


def _read_back(gemm: Gemm, before: _Step, now: _Step, machine: TiledMachine) -> _Move:
    """The partial sums of `now` read back: its output tile was begun earlier and has left since."""
    psum = packed_bytes(now.size[:, 0] * now.size[:, 2], gemm.psum_bits)
    read = _moved(psum, psum * float(BITS_PER_BYTE), machine, 2)
    return read.where(now.differs(before, (0, 2)) & (now.index[:, 1] > 0))


def _written(gemm: Gemm, now: _Step, after: _Step, machine: TiledMachine) -> _Move:
    """The output tile of `now` written if `after` works on another one; finished ones are narrower.

    These are among the words of the array; those that stay on chip move to the SRAM of x.
    """
    elements = now.size[:, 0] * now.size[:, 2]
    psum, y = packed_bytes(elements, gemm.psum_bits), packed_bytes(elements, gemm.y_dram_bits)
    sums = _moved(np.where(now.reduced, y, psum), np.where(now.reduced, 0.0, psum * BITS_PER_BYTE), machine, 2)
    kept = now.reduced * elements * float(gemm.y_bits * gemm.y_on_chip)
    words = np.ceil(kept / machine.sram_bits_per_cycle[0]).astype(np.int64)
    written = dataclasses.replace(sums, alone=np.maximum(sums.alone, words), kept_bits=kept)
    return written.where(now.differs(after, (0, 2)))


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
