"""What SRAMs of a bit-slice array hold: slices of a product's operands, and run-length coded streams of tiles."""

import dataclasses
import functools
from typing import Any

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
Buffer = dict[str, Integers]
"""Slices of a piece [orders, vectors, k, 4] of x and of w, those that were decoded as bit patterns."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """What an array works on at once, a piece of k: its place in the product, and the tiles that it is part of.

    `first` and `last` say whether it is so of its tile of k, `ends` whether that is the last one.
    """

    m: slice
    k: slice
    n: slice
    x_tile: slice
    w_tile: slice
    k_pieces: list[slice]
    ends: bool

    @property
    def w_vectors(self) -> int:
        """Of the block, an element's each."""
        return -(-(self.n.stop - self.n.start) // VECTOR)

    @property
    def first(self) -> bool:
        """Of its tile of k."""
        return self.k == self.k_pieces[0]

    @property
    def last(self) -> bool:
        """Of its tile of k."""
        return self.k == self.k_pieces[-1]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """Vectors of a piece that go into buffers: of low order, and of all orders the most that one buffer takes."""

    low: int
    largest: int


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

    def empty(self, x_vectors: int, w_vectors: int, length: int) -> Buffer:
        """Half of all buffers."""
        return {
            "x": np.zeros((2, x_vectors, length, VECTOR), np.int64),
            "w": np.zeros((len(self.w_slices), w_vectors, length, VECTOR), np.int64),
        }

    def load(self, block: Block, buffer: Buffer) -> dict[str, Loaded]:
        """Put slices of low order into buffers; what goes into them of all orders, by side."""
        loaded, length = {}, block.k.stop - block.k.start
        for side, slices, rows, high in (
            ("x", self.x_slices, block.m, True),
            ("w", self.w_slices, block.n, len(self.w_slices) > 1),
        ):
            vectors = slice(rows.start // VECTOR, -(-rows.stop // VECTOR))
            count, low = vectors.stop - vectors.start, slices[:-1] if high else slices
            for order, of in enumerate(low):
                buffer[side][order, :count, :length] = of[vectors, :, block.k].transpose(0, 2, 1)
            kept = (slices[-1][vectors, :, block.k] != self.skipped[side]).any(1).sum(1) * high
            taken = kept + len(low) * length
            loaded[side] = Loaded(
                low=count * len(low) * length, largest=int(taken.sum() if side == "x" else taken.max())
            )
        return loaded

    @property
    def bias(self) -> Integers:
        """What is added to sums of every column, for the zero point but for what skipped vectors stand for."""
        return -(self.zero_point - (self.skipped["x"] << self.split)) * self.w.sum(0)

    @property
    def skipped(self) -> dict[str, int]:
        """The slice that vectors of high order are full of which are skipped."""
        return {"x": frequent_slice(self.zero_point, self.split), "w": 0}

    def slices(self, kind: Kind, pea: int, k: int, buffer: Buffer) -> tuple[list[int], list[int]]:
        """A vector of x and one of w, as the buffers hold them."""
        x, w = buffer["x"][kind.x_order, kind.vector, k], buffer["w"][kind.w_order, pea, k]
        if kind.w_order and kind.w_order == len(self.w_slices) - 1:
            w = w - ((w & 8) << 1)
        return x.tolist(), w.tolist()


def entries(block: Block, operands: Operands, *, run_bits: int) -> Streams:
    """Streams of the vectors of a block, of x and of w: coded where their tile is smaller so, otherwise raw."""
    sides = {
        "x": (operands.x_slices[1], block.m, block.x_tile),
        "w": (operands.w_slices[-1], block.n, block.w_tile),
    }
    found = {}
    for side, (high, rows, tile) in sides.items():
        vectors = high[tile.start // VECTOR : -(-tile.stop // VECTOR)]

        def streams(piece: slice, vectors: Integers = vectors, skipped: int = operands.skipped[side]) -> list[Any]:
            return [run_length_encode(torch.from_numpy(each[:, piece].T.copy()), skipped, run_bits) for each in vectors]

        coded_bits = raw_bits = 0
        for piece in block.k_pieces:
            length = piece.stop - piece.start
            coded_bits += sum(each.bits + length.bit_length() for each in streams(piece))
            raw_bits += SLICE_BITS * (tile.stop - tile.start) * length
        first = (rows.start - tile.start) // VECTOR
        chosen = range(first, first + -(-(rows.stop - rows.start) // VECTOR))
        if raw_bits <= coded_bits:
            found[side] = [[(0, vector.tolist()) for vector in (vectors[at][:, block.k] & NIBBLE).T] for at in chosen]
        else:
            coded = streams(block.k)
            found[side] = [_unpacked(coded[at].data, coded[at].entries, run_bits) for at in chosen]
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
