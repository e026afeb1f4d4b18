"""Panacea's array with its control: run-length coded slices, lists of products that are left, compensation, output.

Elements (`slice_element`) have a vector of w each and share the vectors of x of a block. They work on a block piece by
piece of its tile of k. While they work on one, decoders expand the next one, an entry per clock and stream, and the
block before leaves from second accumulators, some outputs per clock. The next slot begins when both halves of the
buffers are done with, and after a block's last piece, when the block before has left; without second accumulators,
elements wait until their own block has left. Sums of the tiles of k before are read back first, on the same port.
Memories are outside: streams as they are stored, and the elements' buffers, which hold slices of the piece at work and
of the next one, and whose banks, as many for a side as an element has operators, take a vector a clock each. Closed
form: `bitwright.accelerators.bit_slice.schedule`, `products` and `buffers`; slow twin:
`bitwright.accelerators.bit_slice.operator_level`.
"""

import dataclasses
import functools
import itertools
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from bitwright.circuits.arrays.bench import Ran, parts, simulate
from bitwright.circuits.arrays.slice_element import SUM_BITS, VECTOR, Masks, element, kinds, team
from bitwright.circuits.arrays.slice_memories import Memories
from bitwright.circuits.arrays.slice_streams import SLICE_BITS, Block, Operands, entries
from bitwright.circuits.circuit import Integers, place
from bitwright.circuits.run_length import RunLengthDecoder

COUNT_BITS = 12
OUTPUT_BITS = 48


@dataclasses.dataclass(frozen=True, kw_only=True)
class RanSlices(Ran):
    """Also vectors that went into the elements' buffers, and that operators read of them, of x and of w."""

    written: dict[str, int]
    read: dict[str, int]


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
    piece_k : int
        k that buffers hold at most.
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
    piece_k: int
    loops: str = "mkn"
    w_bits: int = 7
    run_bits: int = 4
    hidden: bool = True

    def run(self, x: Integers, w: Integers, *, split: int, zero_point: int) -> RanSlices:
        """(x - zero point) by w: unsigned codes x [m, k] without the bits that the split drops, signed w [k, n]."""
        (m_size, k_size), n_size = x.shape, w.shape[1]
        operands = Operands(x=x, w=w, split=split, zero_point=zero_point, w_bits=self.w_bits)
        blocks = list(self._blocks(m_size, k_size, n_size))
        streams = [entries(block, operands, run_bits=self.run_bits) for block in blocks]
        longest = max(block.k.stop - block.k.start for block in blocks)
        module, io = self.built(len(operands.w_slices), longest)
        memories = Memories(
            operands=operands,
            blocks=blocks,
            streams=streams,
            buffers=[operands.empty(self.vectors, self.peas, longest) for _ in range(2)],
            banks=self.dynamic + self.static,
            stored=np.zeros((m_size, n_size), np.int64),
            product=np.zeros((m_size, n_size), np.int64),
        )
        simulate(module, functools.partial(memories.clock, io))
        return RanSlices(
            product=memories.product,
            cycles=memories.cycles,
            product_cycles=memories.cycles,
            written=memories.written,
            read=memories.read,
        )

    def _blocks(self, m: int, k: int, n: int) -> Iterator[Block]:
        """In the order in which they run: tiles as `loops` says, then columns, rows and pieces of k, these inside."""
        sizes = dict(zip("mkn", self.tile, strict=True))
        extents = {"m": m, "k": k, "n": n}
        tiles = {axis: list(parts(extents[axis], sizes[axis])) for axis in "mkn"}
        for chosen in itertools.product(*(tiles[axis] for axis in self.loops)):
            of = dict(zip(self.loops, chosen, strict=True))
            count = -(-(of["k"].stop - of["k"].start) // self.piece_k)
            pieces = [
                slice(of["k"].start + piece.start, of["k"].start + piece.stop)
                for piece in parts(of["k"].stop - of["k"].start, -(-(of["k"].stop - of["k"].start) // count))
            ]
            for columns in parts(of["n"].stop - of["n"].start, VECTOR * self.peas):
                for rows in parts(of["m"].stop - of["m"].start, VECTOR * self.vectors):
                    for piece in pieces:
                        yield Block(
                            m=slice(of["m"].start + rows.start, of["m"].start + rows.stop),
                            k=piece,
                            n=slice(of["n"].start + columns.start, of["n"].start + columns.stop),
                            x_tile=of["m"],
                            w_tile=of["n"],
                            k_pieces=pieces,
                            ends=of["k"].stop == k,
                        )

    def built(self, w_slices: int, longest: int) -> tuple[Any, Any]:
        """The array in a module of Amaranth's, for pieces of so many k, and its ports."""
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
            begins=Signal(name="first_piece"),
            ends=Signal(name="last_piece"),
            loads=Signal(COUNT_BITS, name="loads"),
            sums_in=Signal(SUM_BITS * self.lanes, name="sums_in"),
            bias=Signal(SUM_BITS * self.lanes, name="bias"),
            sum=[Signal(signed(SUM_BITS), name=f"sum{at}") for at in range(self.lanes)],
            y=[Signal(signed(OUTPUT_BITS), name=f"y{at}") for at in range(self.lanes)],
        )
        slot = self._slots(m, io)
        masks = self._decoders(m, io, slot, longest)
        io.teams, io.elements = [], []
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
                element(
                    m,
                    f"pea{pea}",
                    teams,
                    w_slices=w_slices,
                    fresh=slot.fresh,
                    begins=slot.fresh & slot.sizes["begins"],
                    bank=slot.bank,
                    banks=banks,
                    r=io.r,
                )
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
        """Which pieces are decoded and multiplied, and which block is written in this clock, and when the next are."""
        from amaranth.hdl import Signal

        slot = types.SimpleNamespace(
            **{name: Signal(name=name) for name in ("decoded", "computed", "written", "fresh", "swap", "writes")},
            **{name: Signal(COUNT_BITS, name=name) for name in ("decoding", "computing", "leaving")},
            computes=Signal(name="computes"),
            bank=Signal(name="bank"),
            left_bank=Signal(name="left_bank"),
            sizes={},
        )
        io.decoding, io.computing = slot.decoding, slot.computing
        io.arriving = Signal(COUNT_BITS, name="arriving")
        io.entry = Signal(COUNT_BITS, name="entry")
        m.d.sync += [io.arriving.eq(slot.decoding), slot.fresh.eq(slot.swap), io.entry.eq(io.entry + 1)]
        # without second accumulators the block itself leaves in a second part of the slot
        second = Signal(name="second_part")
        both = slot.decoded & slot.computed
        slot.sizes = _follow(
            m, slot.swap, {name: getattr(io, name) for name in ("rows", "columns", "length", "again", "begins", "ends")}
        )
        ends = slot.sizes["ends"]
        slot.second, slot.begins = second, Signal(name="begins_to_leave")
        if self.hidden:
            m.d.comb += [slot.swap.eq(both & (slot.written | ~ends)), slot.begins.eq(slot.swap & ends)]
        else:
            m.d.comb += [
                slot.begins.eq(~second & both & slot.computes & ends),
                slot.swap.eq((second & slot.written) | (~second & both & ~(slot.computes & ends))),
            ]
            with m.If(slot.begins):
                m.d.sync += second.eq(1)
        with m.If(slot.swap):
            m.d.sync += [
                second.eq(0),
                slot.decoding.eq(slot.decoding + (slot.decoding != io.blocks)),
                slot.computing.eq(slot.decoding),
                slot.computes.eq(slot.decoding != io.blocks),
                io.entry.eq(0),
            ]
        if self.hidden:
            with m.If(slot.begins):
                m.d.sync += [
                    slot.leaving.eq(slot.computing),
                    slot.writes.eq(slot.computes),
                    slot.bank.eq(~slot.bank),
                    slot.left_bank.eq(slot.bank),
                ]
        return slot

    def _decoders(self, m: Any, io: Any, slot: types.SimpleNamespace, longest: int) -> types.SimpleNamespace:
        """Streams of the next piece, and masks of the one at work, which are whole in its first clock."""
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
        more.append((slot.decoding != io.blocks) & (io.loads > io.entry + 1))  # banks take what they have room for
        m.d.comb += slot.decoded.eq(~Cat(*more).any())
        every = Signal(longest, name="every_k")
        m.d.comb += every.eq(((1 << slot.sizes["length"]) - 1)[:longest])
        found.rows = [Mux(slot.computes & (slot.sizes["rows"] > VECTOR * row), every, 0) for row in range(self.vectors)]
        found.here = [slot.sizes["columns"] > VECTOR * pea for pea in range(self.peas)]
        return found

    def _output(self, m: Any, io: Any, slot: types.SimpleNamespace) -> None:
        """Groups of outputs: read back in a clock and written in the next, or written only; data a clock later."""
        from amaranth.hdl import Array, Mux, Signal, signed

        if self.hidden:
            sizes, number, works = _follow(m, slot.begins, slot.sizes, "leaving"), slot.leaving, slot.writes
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
            bank.eq(slot.left_bank),
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


def _follow(m: Any, swap: Any, of: dict[str, Any], name: str = "computing") -> dict[str, Any]:
    """What is known of a piece, or of a block, a slot later."""
    from amaranth.hdl import Signal

    found: dict[str, Any] = {}
    for what, value in of.items():
        found[what] = Signal.like(value, name=f"{name}_{what}")
        with m.If(swap):
            m.d.sync += found[what].eq(value)
    return found
