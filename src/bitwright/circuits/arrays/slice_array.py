"""Panacea's array with its control: run-length coded slices, lists of products that are left, compensation, output.

Elements (`slice_element`) have a vector of w each and share the vectors of x of a block. While they work on a block,
decoders expand the next one, an entry per clock and stream, and the block before leaves from second accumulators, some
outputs per clock. The next slot begins when all three are done; without second accumulators, elements wait until their
own block has left. Sums of the tiles of k before are read back first, on the same port. SRAMs are outside: streams as
they are stored, low-order slices, and what holds decoded slices of the block at work and of the next one. Closed form:
`bitwright.accelerators.bit_slice.schedule` and `products`; slow twin:
`bitwright.accelerators.bit_slice.operator_level`.
"""

import dataclasses
import itertools
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from bitwright.circuits.arrays.bench import Ran, parts, simulate
from bitwright.circuits.arrays.slice_element import SUM_BITS, VECTOR, Masks, element, kinds, team
from bitwright.circuits.arrays.slice_streams import SLICE_BITS, Block, Decoded, Operands, Streams, entries, packed
from bitwright.circuits.circuit import Integers, place
from bitwright.circuits.run_length import RunLengthDecoder
from bitwright.formats import frequent_slice

COUNT_BITS = 12
OUTPUT_BITS = 48


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceArray:
    """Processing elements along n, vectors of rows along m.

    Attributes
    ----------
    peas : int
        Elements, 4 columns of w each.
    dynamic, static : int
        Operators of each kind in an element.
    vectors : int
        Vectors of 4 rows in a block.
    lanes : int
        Outputs that leave per clock.
    tile : tuple of int
        Rows, reductions and columns of a tile: whole blocks.
    loops : str
        Order of tiles, outermost first.
    w_bits : int
        4, 7, 10 or 13.
    run_bits : int
        Of a run-length entry.
    hidden : bool
        There are second accumulators.
    """

    peas: int
    dynamic: int
    static: int
    vectors: int
    lanes: int
    tile: tuple[int, int, int]
    loops: str = "mkn"
    w_bits: int = 7
    run_bits: int = 4
    hidden: bool = True

    def run(self, x: Integers, w: Integers, *, split: int, zero_point: int) -> Ran:
        """(x - zero point) by w: unsigned codes x [m, k] without the bits that the split drops, signed w [k, n]."""
        (m_size, k_size), n_size = x.shape, w.shape[1]
        operands = Operands(x=x, w=w, split=split, zero_point=zero_point, w_bits=self.w_bits)
        blocks = list(self._blocks(m_size, k_size, n_size))
        streams = [entries(block, operands, run_bits=self.run_bits) for block in blocks]
        module, io = self.built(len(operands.w_slices), self.tile[1])
        buffers = [operands.empty(self.vectors, self.peas, self.tile[1]) for _ in range(2)]
        stored = np.zeros((m_size, n_size), np.int64)
        product = np.zeros((m_size, n_size), np.int64)
        cycles, finished = 0, 0
        bias = -(zero_point - (frequent_slice(zero_point, split) << split)) * w.sum(0)

        def clock(context: Any, at: int) -> bool:
            nonlocal cycles, finished
            if at == 0:
                context.set(io.blocks, len(blocks))
                context.set(io.r, frequent_slice(zero_point, split))
                context.set(io.dropped, split - 4)
            self._decode(context, io, blocks, streams, buffers)
            number = context.get(io.computing)
            if number < len(blocks):
                self._fetch(context, io, blocks[number], operands, buffers[number % 2])
            if context.get(io.reads) or context.get(io.leaves):
                block = blocks[context.get(io.leaving)]
                places = list(itertools.product(range(block.m.start, block.m.stop), range(block.n.start, block.n.stop)))
                group = context.get(io.group)
                here = places[group * self.lanes : (group + 1) * self.lanes]
                context.set(io.sums_in, packed([int(stored[i, j]) for i, j in here], SUM_BITS))
                context.set(io.bias, packed([int(bias[j]) for _, j in here], SUM_BITS))
                if context.get(io.leaves):
                    for lane, (i, j) in enumerate(here):
                        stored[i, j] = context.get(io.sum[lane])
                        product[i, j] = context.get(io.y[lane])
                        finished += block.ends
            cycles = at + 1
            return finished == product.size

        simulate(module, clock)
        return Ran(product=product, cycles=cycles, product_cycles=cycles)

    def _blocks(self, m: int, k: int, n: int) -> Iterator[Block]:
        """In the order in which they run: tiles as `loops` says, then columns outside and rows inside."""
        sizes = dict(zip("mkn", self.tile, strict=True))
        extents = {"m": m, "k": k, "n": n}
        tiles = {axis: list(parts(extents[axis], sizes[axis])) for axis in "mkn"}
        for chosen in itertools.product(*(tiles[axis] for axis in self.loops)):
            of = dict(zip(self.loops, chosen, strict=True))
            for columns in parts(of["n"].stop - of["n"].start, VECTOR * self.peas):
                for rows in parts(of["m"].stop - of["m"].start, VECTOR * self.vectors):
                    yield Block(
                        m=slice(of["m"].start + rows.start, of["m"].start + rows.stop),
                        k=of["k"],
                        n=slice(of["n"].start + columns.start, of["n"].start + columns.stop),
                        x_tile=of["m"],
                        w_tile=of["n"],
                        ends=of["k"].stop == k,
                    )

    def _decode(
        self, context: Any, io: Any, blocks: list[Block], streams: list[Streams], buffers: list[Decoded]
    ) -> None:
        """Store the vectors that decoders have, and put the next entries."""
        bank = buffers[context.get(io.arriving) % 2]
        for side in "xw":
            for row, decoder in enumerate(io.decoders[side]):
                if context.get(decoder.kept):
                    bank[side][row, context.get(decoder.place)] = [context.get(each) for each in decoder.slices]
        number = context.get(io.decoding)
        if number < len(blocks):
            entry = context.get(io.entry)
            if entry == 0:
                _describe(context, io, blocks[number], streams[number])
            words = []
            for side, count in (("x", self.vectors), ("w", self.peas)):
                for row in range(count):
                    stream = streams[number][side][row] if row < len(streams[number][side]) else []
                    run, vector = stream[entry] if entry < len(stream) else (0, [])
                    words.append(packed(vector, SLICE_BITS) | run << (VECTOR * SLICE_BITS))
            context.set(io.entries, packed(words, VECTOR * SLICE_BITS + self.run_bits))

    def _fetch(self, context: Any, io: Any, block: Block, operands: Operands, bank: Decoded) -> None:
        """Give operators the slices that their control asks for."""
        word, at = 0, 0
        for pea, teams in enumerate(io.teams):
            for of in teams:
                x: list[int] = []
                w: list[int] = []
                if context.get(of.active):
                    kind = of.kinds[context.get(of.at)]
                    for valid, pick in of.picks:
                        if context.get(valid):
                            slices = operands.slices(block, kind, pea, context.get(pick), bank)
                            x += slices[0]
                            w += slices[1]
                size = SLICE_BITS * VECTOR * len(of.picks)
                word |= (packed(x, SLICE_BITS) | packed(w, SLICE_BITS) << size) << at
                at += 2 * size
        context.set(io.slices, word)

    def built(self, w_slices: int, longest: int) -> tuple[Any, Any]:
        """The array in a module of Amaranth's, for tiles of so many k, and its ports."""
        from amaranth.hdl import Cat, Module, Signal, signed

        m, banks = Module(), 2 if self.hidden else 1
        io = types.SimpleNamespace(
            blocks=Signal(COUNT_BITS, name="blocks"),
            r=Signal(SLICE_BITS, name="r"),
            dropped=Signal(2, name="dropped"),
            rows=Signal(COUNT_BITS, name="rows"),
            columns=Signal(COUNT_BITS, name="columns"),
            length=Signal(COUNT_BITS, name="length"),
            again=Signal(name="again"),
            sums_in=Signal(SUM_BITS * self.lanes, name="sums_in"),
            bias=Signal(SUM_BITS * self.lanes, name="bias"),
            sum=[Signal(signed(SUM_BITS), name=f"sum{at}") for at in range(self.lanes)],
            y=[Signal(signed(OUTPUT_BITS), name=f"y{at}") for at in range(self.lanes)],
        )
        slot = self._slots(m, io)
        masks = self._decoders(m, io, slot, longest)
        io.teams, io.elements = [], []
        bank = slot.computing[0] if self.hidden else Signal(1, name="only_bank")
        for pea in range(self.peas):
            known = Masks(x=masks.x, w=masks.w[pea], rows=masks.rows, here=masks.here[pea])
            teams = [
                team(
                    m,
                    f"pea{pea}_{name}",
                    kinds(self.vectors, w_slices, dynamic=name == "dynamic"),
                    known,
                    size=size,
                    w_slices=w_slices,
                    fresh=slot.fresh,
                )
                for name, size in (("dynamic", self.dynamic), ("static", self.static))
            ]
            io.teams.append(teams)
            io.elements.append(
                element(m, f"pea{pea}", teams, w_slices=w_slices, fresh=slot.fresh, bank=bank, banks=banks, r=io.r)
            )
        ports = [port for each in io.elements for unit in each.operators for port in (*unit.x, *unit.w)]
        io.slices = Signal(SLICE_BITS * len(ports), name="slices")
        m.d.comb += Cat(*ports).eq(io.slices)
        done = [each.done for teams in io.teams for each in teams]
        computed = done[0]
        for each in done[1:]:
            computed = computed & each
        m.d.comb += slot.computed.eq(computed)
        self._output(m, io, slot)
        return m, io

    def _slots(self, m: Any, io: Any) -> types.SimpleNamespace:
        """Which blocks are decoded, multiplied and written in this clock, and when the next ones are."""
        from amaranth.hdl import Signal

        slot = types.SimpleNamespace(
            **{name: Signal(name=name) for name in ("decoded", "computed", "written", "fresh", "swap", "writes")},
            **{name: Signal(COUNT_BITS, name=name) for name in ("decoding", "computing", "leaving")},
            computes=Signal(name="computes"),
        )
        io.decoding, io.computing = slot.decoding, slot.computing
        io.arriving = Signal(COUNT_BITS, name="arriving")
        io.entry = Signal(COUNT_BITS, name="entry")
        m.d.sync += [io.arriving.eq(slot.decoding), slot.fresh.eq(slot.swap), io.entry.eq(io.entry + 1)]
        # without second accumulators the block itself leaves in a second part of the slot
        second = Signal(name="second_part")
        both = slot.decoded & slot.computed
        if self.hidden:
            m.d.comb += slot.swap.eq(both & slot.written)
        else:
            begins = Signal(name="begins_to_leave")
            m.d.comb += [
                begins.eq(~second & both & slot.computes),
                slot.swap.eq((second & slot.written) | (~second & both & ~slot.computes)),
            ]
            with m.If(begins):
                m.d.sync += second.eq(1)
        slot.second, slot.begins = second, (slot.swap if self.hidden else begins)
        with m.If(slot.swap):
            m.d.sync += [
                second.eq(0),
                slot.decoding.eq(slot.decoding + (slot.decoding != io.blocks)),
                slot.computing.eq(slot.decoding),
                slot.computes.eq(slot.decoding != io.blocks),
                slot.leaving.eq(slot.computing),
                slot.writes.eq(slot.computes),
                io.entry.eq(0),
            ]
        return slot

    def _decoders(self, m: Any, io: Any, slot: types.SimpleNamespace, longest: int) -> types.SimpleNamespace:
        """Streams of the next block, and masks of the one at work, which are whole in its first clock."""
        from amaranth.hdl import Cat, Mux, Signal

        io.decoders, io.lengths = {"x": [], "w": []}, {"x": [], "w": []}
        found = types.SimpleNamespace(x=[], w=[], rows=[], here=[])
        more = []
        for side, count in (("x", self.vectors), ("w", self.peas)):
            for row in range(count):
                name = f"{side}{row}"
                cell = RunLengthDecoder(run_bits=self.run_bits, place_bits=max(1, (longest - 1).bit_length()))
                decoder = place(m, cell, f"decoder_{name}")
                length = Signal(COUNT_BITS, name=f"entries_{name}")
                lives = slot.decoding != io.blocks
                m.d.comb += [
                    decoder.r.eq(io.r if side == "x" else 0),
                    decoder.valid.eq(lives & (io.entry < length)),
                    decoder.first.eq(lives & (io.entry == 0)),
                ]
                more.append(lives & (length > io.entry + 1))
                coming, held = Signal(longest, name=f"coming_{name}"), Signal(longest, name=f"held_{name}")
                now = Signal(longest, name=f"mask_{name}")
                arrived = coming | Mux(decoder.kept, 1 << decoder.place, 0)[:longest]
                m.d.comb += now.eq(Mux(slot.fresh, arrived, held))
                m.d.sync += [held.eq(now), coming.eq(Mux(slot.fresh, 0, arrived))]
                io.decoders[side].append(decoder)
                io.lengths[side].append(length)
                getattr(found, side).append(now)
        ports = [port for side in "xw" for each in io.decoders[side] for port in (*each.entry, each.run)]
        io.entries = Signal(sum(len(port) for port in ports), name="entries")
        m.d.comb += Cat(*ports).eq(io.entries)
        m.d.comb += slot.decoded.eq(~Cat(*more).any())
        slot.sizes = _follow(m, slot, {name: getattr(io, name) for name in ("rows", "columns", "length", "again")})
        every = Signal(longest, name="every_k")
        m.d.comb += every.eq(((1 << slot.sizes["length"]) - 1)[:longest])
        found.rows = [Mux(slot.computes & (slot.sizes["rows"] > VECTOR * row), every, 0) for row in range(self.vectors)]
        found.here = [slot.sizes["columns"] > VECTOR * pea for pea in range(self.peas)]
        return found

    def _output(self, m: Any, io: Any, slot: types.SimpleNamespace) -> None:
        """Groups of outputs: read back in a clock and written in the next, or written only; data a clock later."""
        from amaranth.hdl import Array, Mux, Signal, signed

        if self.hidden:
            sizes, number, works = _follow(m, slot, slot.sizes, "leaving"), slot.leaving, slot.writes
        else:
            sizes, number, works = slot.sizes, slot.computing, slot.second
        group, odd, over = Signal(COUNT_BITS, name="next_group"), Signal(name="odd"), Signal(name="all_left")
        groups = Signal(COUNT_BITS, name="groups")
        goes, last = Signal(name="goes"), Signal(name="last_group")
        writes = odd | ~sizes["again"]
        m.d.comb += [
            groups.eq((sizes["rows"] * sizes["columns"] + self.lanes - 1) // self.lanes),
            goes.eq(works & ~over),
            last.eq(goes & writes & (group == groups - 1)),
            slot.written.eq(~works | over | last),
        ]
        with m.If(goes):
            m.d.sync += [odd.eq(~writes), group.eq(group + writes), over.eq(last)]
        with m.If(slot.begins):
            m.d.sync += [odd.eq(0), group.eq(0), over.eq(0)]
        io.group, io.leaving = Signal(COUNT_BITS, name="group"), Signal(COUNT_BITS, name="leaving_block")
        io.reads, io.leaves, again = Signal(name="reads"), Signal(name="leaves"), Signal(name="adds_stored")
        columns, bank = Signal(COUNT_BITS, name="leaving_columns"), Signal(name="leaving_bank")
        m.d.sync += [
            io.group.eq(group),
            io.leaving.eq(number),
            io.reads.eq(goes & ~writes),
            io.leaves.eq(goes & writes),
            again.eq(sizes["again"]),
            columns.eq(sizes["columns"]),
            bank.eq(number[0] if self.hidden else 0),
        ]
        totals = [
            Array(each.sums[b][v][at] for each in io.elements for v in range(self.vectors) for at in range(VECTOR**2))
            for b in range(2 if self.hidden else 1)
        ]
        for lane in range(self.lanes):
            output = io.group * self.lanes + lane
            row, column = output // columns, output % columns
            at = (column // VECTOR * self.vectors + row // VECTOR) * VECTOR**2 + row % VECTOR * VECTOR + column % VECTOR
            held = Signal(signed(SUM_BITS), name=f"read{lane}")
            stored, bias = (each.word_select(lane, SUM_BITS).as_signed() for each in (io.sums_in, io.bias))
            with m.If(io.reads):
                m.d.sync += held.eq(stored)
            index = Signal(2 * COUNT_BITS, name=f"output{lane}")
            m.d.comb += [
                index.eq(at),
                io.sum[lane].eq(Array(each[index] for each in totals)[bank] + Mux(again, held, 0)),
                io.y[lane].eq((io.sum[lane] << io.dropped) + bias),
            ]


def _describe(context: Any, io: Any, block: Block, streams: Streams) -> None:
    """Tell the control how large a block is, and how long its streams are."""
    for name, extent in (("rows", block.m), ("columns", block.n), ("length", block.k)):
        context.set(getattr(io, name), extent.stop - extent.start)
    context.set(io.again, int(block.k.start > 0))
    for side in "xw":
        lengths = [len(stream) for stream in streams[side]]
        for row, port in enumerate(io.lengths[side]):
            context.set(port, lengths[row] if row < len(lengths) else 0)


def _follow(m: Any, slot: Any, of: dict[str, Any], name: str = "computing") -> dict[str, Any]:
    """What is known of a block, a slot later."""
    from amaranth.hdl import Signal

    found: dict[str, Any] = {}
    for what, value in of.items():
        found[what] = Signal.like(value, name=f"{name}_{what}")
        with m.If(slot.swap):
            m.d.sync += found[what].eq(value)
    return found
