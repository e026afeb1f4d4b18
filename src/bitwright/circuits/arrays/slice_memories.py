"""Memories around a bit-slice array, and what goes through their ports: streams, the elements' buffers, sums."""

import dataclasses
import itertools
from typing import Any

from bitwright.circuits.arrays.slice_element import SUM_BITS, VECTOR
from bitwright.circuits.arrays.slice_streams import SLICE_BITS, Block, Buffer, Operands, Streams, packed
from bitwright.circuits.circuit import Integers


@dataclasses.dataclass(kw_only=True)
class Memories:
    """What is stored, and how much was moved.

    Attributes
    ----------
    operands, blocks, streams
        The product, its pieces in the order in which they run, and their streams.
    buffers : list of Buffer
        Both halves.
    banks : int
        Of a half, for each side.
    stored, product : array
        Sums, and what they are at full scale without the zero point's share [m, n].
    written, read : dict
        Vectors that went into the elements' buffers and out of them, of x and of w.
    cycles, finished : int
        So far.
    """

    operands: Operands
    blocks: list[Block]
    streams: list[Streams]
    buffers: list[Buffer]
    banks: int
    stored: Integers
    product: Integers
    written: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys("xw", 0))
    read: dict[str, int] = dataclasses.field(default_factory=lambda: dict.fromkeys("xw", 0))
    cycles: int = 0
    finished: int = 0

    def clock(self, io: Any, context: Any, at: int) -> bool:
        """One clock: hear what is at the ports, put what the control asks for; whether all has left."""
        if at == 0:
            context.set(io.blocks, len(self.blocks))
            context.set(io.r, self.operands.skipped["x"])
            context.set(io.dropped, self.operands.split - 4)
        self._store(context, io)
        if context.get(io.decoding) < len(self.blocks):
            self._put(context, io)
        if context.get(io.computing) < len(self.blocks):
            self._fetch(context, io)
        if context.get(io.reads) or context.get(io.leaves):
            self._leave(context, io)
        self.cycles = at + 1
        return self.finished == self.product.size

    def _store(self, context: Any, io: Any) -> None:
        """Put the vectors that decoders have into buffers: x's into those of all elements that have columns."""
        number = context.get(io.arriving)
        for side in "xw":
            for row, decoder in enumerate(io.decoders[side]):
                if context.get(decoder.kept):
                    slices = [context.get(each) for each in decoder.slices]
                    self.buffers[number % 2][side][-1, row, context.get(decoder.place)] = slices
                    self.written[side] += self.blocks[number].w_vectors if side == "x" else 1

    def _put(self, context: Any, io: Any) -> None:
        """Put the next entries; before the first ones load slices of low order, and describe the piece."""
        number, entry, words = context.get(io.decoding), context.get(io.entry), []
        streams = self.streams[number]
        if entry == 0:
            block = self.blocks[number]
            loaded = self.operands.load(block, self.buffers[number % 2])
            for side, copies in (("x", block.w_vectors), ("w", 1)):
                self.written[side] += copies * loaded[side].low
            context.set(io.loads, max(-(-each.largest // self.banks) for each in loaded.values()))
            _describe(context, io, block, streams)
        for side in "xw":
            for row in range(len(io.decoders[side])):
                stream = streams[side][row] if row < len(streams[side]) else []
                run, vector = stream[entry] if entry < len(stream) else (0, [])
                words.append(packed(vector, SLICE_BITS) | run << (VECTOR * SLICE_BITS))
        context.set(io.entries, packed(words, len(io.entries) // len(words)))

    def _fetch(self, context: Any, io: Any) -> None:
        """Give operators the slices that their control asks for."""
        buffer, word, at = self.buffers[context.get(io.computing) % 2], 0, 0
        for pea, teams in enumerate(io.teams):
            for of in teams:
                x: list[int] = []
                w: list[int] = []
                if context.get(of.active):
                    kind = of.kinds[context.get(of.at)]
                    for valid, pick in of.picks:
                        if context.get(valid):
                            slices = self.operands.slices(kind, pea, context.get(pick), buffer)
                            x += slices[0]
                            w += slices[1]
                self.read["x"] += len(x) // VECTOR
                self.read["w"] += len(w) // VECTOR
                size = SLICE_BITS * VECTOR * len(of.picks)
                word |= (packed(x, SLICE_BITS) | packed(w, SLICE_BITS) << size) << at
                at += 2 * size
        context.set(io.slices, word)

    def _leave(self, context: Any, io: Any) -> None:
        """Read stored sums, and write those that leave."""
        block, group, lanes = self.blocks[context.get(io.leaving)], context.get(io.group), len(io.sum)
        places = list(itertools.product(range(block.m.start, block.m.stop), range(block.n.start, block.n.stop)))
        here = places[group * lanes : (group + 1) * lanes]
        bias = self.operands.bias
        context.set(io.sums_in, packed([int(self.stored[i, j]) for i, j in here], SUM_BITS))
        context.set(io.bias, packed([int(bias[j]) for _, j in here], SUM_BITS))
        if context.get(io.leaves):
            for lane, (i, j) in enumerate(here):
                self.stored[i, j] = context.get(io.sum[lane])
                self.product[i, j] = context.get(io.y[lane])
                self.finished += block.ends


def _describe(context: Any, io: Any, block: Block, streams: Streams) -> None:
    """Tell the control how large a piece is, and how long its streams are."""
    for name, extent in (("rows", block.m), ("columns", block.n), ("length", block.k)):
        context.set(getattr(io, name), extent.stop - extent.start)
    context.set(io.again, int(block.k_pieces[0].start > 0))
    context.set(io.begins, int(block.first))
    context.set(io.ends, int(block.last))
    for side in "xw":
        lengths = [len(stream) for stream in streams[side]]
        for row, port in enumerate(io.lengths[side]):
            context.set(port, lengths[row] if row < len(lengths) else 0)
