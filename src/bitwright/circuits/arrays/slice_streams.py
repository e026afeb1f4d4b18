"""What SRAMs of a bit-slice array hold: slices of a product's operands, and run-length coded streams of tiles."""

import dataclasses
import functools

import numpy as np
import torch

from bitwright.circuits.arrays.slice_element import VECTOR, Kind
from bitwright.circuits.circuit import Integers
from bitwright.formats import frequent_slice, run_length_encode, signed_slices, unsigned_slices

SLICE_BITS = 4
NIBBLE = 15

Entries = list[tuple[int, list[int]]]
"""Runs, and slices of stored vectors as bit patterns."""
Streams = dict[str, list[Entries]]
"""Of the vectors of a block, of x and of w."""
Decoded = dict[str, Integers]
"""Slices of high order, as bit patterns [vectors, k, 4], of x and of w."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """What an array works on at once: its place in the product, and the tiles of both operands that it is part of.

    `ends` says that it is of the last tile of k.
    """

    m: slice
    k: slice
    n: slice
    x_tile: slice
    w_tile: slice
    ends: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operands:
    """Unsigned codes x [m, k] cut at `split`, signed codes w [k, n] of `w_bits`."""

    x: Integers
    w: Integers
    split: int
    zero_point: int
    w_bits: int

    @functools.cached_property
    def x_slices(self) -> tuple[Integers, Integers]:
        """Low- and high-order [vectors, 4, k]; rows that only fill up a vector are full of the skipped slice."""
        padding = frequent_slice(self.zero_point, self.split) << self.split
        codes = _filled_up(self.x, padding)
        high, low = (each.numpy().astype(np.int64) for each in unsigned_slices(torch.from_numpy(codes), self.split))
        return _vectors(low), _vectors(high)

    @functools.cached_property
    def w_slices(self) -> list[Integers]:
        """From the lowest order on [vectors, 4, k]."""
        codes = _filled_up(self.w.T, 0)
        return [_vectors(each.numpy().astype(np.int64)) for each in signed_slices(torch.from_numpy(codes), self.w_bits)]

    def empty(self, x_vectors: int, w_vectors: int, length: int) -> Decoded:
        """What holds decoded slices of a block, as bit patterns."""
        return {
            side: np.zeros((count, length, VECTOR), np.int64) for side, count in (("x", x_vectors), ("w", w_vectors))
        }

    def slices(self, block: Block, kind: Kind, pea: int, k: int, decoded: Decoded) -> tuple[list[int], list[int]]:
        """A vector of x and one of w: of high order as they were decoded, of low order as they are stored."""
        at, x_row, w_row = block.k.start + k, block.m.start // VECTOR + kind.vector, block.n.start // VECTOR + pea
        x = decoded["x"][kind.vector, k] if kind.x_order else self.x_slices[0][x_row, :, at]
        if kind.w_order and kind.w_order == len(self.w_slices) - 1:
            w = decoded["w"][pea, k]
            w = w - ((w & 8) << 1)
        else:
            w = self.w_slices[kind.w_order][w_row, :, at]
        return x.tolist(), w.tolist()


def entries(block: Block, operands: Operands, *, run_bits: int) -> Streams:
    """Streams of the vectors of a block, of x and of w: coded where their tile is smaller so, otherwise raw."""
    sides = {
        "x": (operands.x_slices[1], block.m, block.x_tile, frequent_slice(operands.zero_point, operands.split)),
        "w": (operands.w_slices[-1], block.n, block.w_tile, 0),
    }
    found = {}
    for side, (high, rows, tile, skipped) in sides.items():
        vectors = high[tile.start // VECTOR : -(-tile.stop // VECTOR), :, block.k]
        streams = [run_length_encode(torch.from_numpy(each.T.copy()), skipped, run_bits) for each in vectors]
        raw_bits = SLICE_BITS * (tile.stop - tile.start) * (block.k.stop - block.k.start)
        first = (rows.start - tile.start) // VECTOR
        chosen = range(first, first + -(-(rows.stop - rows.start) // VECTOR))
        if raw_bits <= sum(each.bits for each in streams):
            found[side] = [[(0, vector.tolist()) for vector in (vectors[at] & NIBBLE).T] for at in chosen]
        else:
            found[side] = [_unpacked(streams[at].data, streams[at].entries, run_bits) for at in chosen]
    return found


def packed(values: list[int], bits: int) -> int:
    """Values of so many bits, signed or not, as a word, the first one lowest."""
    return sum((each & ((1 << bits) - 1)) << (bits * at) for at, each in enumerate(values))


def _unpacked(data: bytes, count: int, run_bits: int) -> Entries:
    """Entries of a stream, whose bits come most significant first."""
    width = run_bits + SLICE_BITS * VECTOR
    bits = np.unpackbits(np.frombuffer(data, np.uint8))[: count * width].reshape(count, width).astype(np.int64)
    found = []
    for entry in bits:
        slices = entry[run_bits:].reshape(VECTOR, SLICE_BITS) @ [8, 4, 2, 1]
        found.append((int("".join(map(str, entry[:run_bits])), 2), slices.tolist()))
    return found


def _filled_up(codes: Integers, padding: int) -> Integers:
    """Whole vectors of rows."""
    return np.pad(codes, ((0, -len(codes) % VECTOR), (0, 0)), constant_values=padding)


def _vectors(rows: Integers) -> Integers:
    return rows.reshape(-1, VECTOR, rows.shape[1])
