"""The reconfigurable engine (RAE) of APSQ: partial sums that are stored in few bits, and added again in groups.

As drawn in the authors' architecture figure (arXiv 2505.03748, DAC 2025): a tile's sum meets an adder, a shifter to the
tile's power of two and a quantizer, and is stored in one of four banks; each bank is read through a shifter of its own
into A = bank 0 + bank 1, B = bank 2 + bank 3, C = A + (bank 2, or B by s1); s0 picks bank 0, A or C by the group's
size, and s2 lets that, or 0, into the adder when a counter has reached the group's size less one. Ours, as in
`bitwright.accelerators.partial_sums.rae`: rounding half up and saturation to all codes; a flag for every bank that
holds something; the last tile adds whatever is stored; a counter that begins at 0 (as drawn) or, by `head`, at the end
of a group. Ours here: lanes share the control, and the finished sum is stored too and read through bank 0's shifter.
Banks are registers of the lane, for one output at a time, or lie outside, where every output has words of its own.
"""

import types
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values, Words
from bitwright.circuits.feeding import centred, length, neighbours
from bitwright.circuits.multiply_accumulate import LENGTH, wrapped
from bitwright.errors import InputError
from bitwright.settings import OURS, RECOLLECTED, about

APSQ = "APSQ, arXiv 2505.03748"
BANKS = 4
PER_TILE = 8
"""Products of a tile of a layer that is fed, the recollected Pci."""
TILES = 16
"""Of a sum, where energy is measured; ours."""


class Rae(Circuit):
    """Lanes of an adder, a quantizer, four banks with shifters and their tree, and one control."""

    name: ClassVar[str] = "rae"
    summary: ClassVar[str] = "engine that stores partial sums in few bits and adds them in groups (APSQ's RAE)"
    source: ClassVar[str] = "APSQ (arXiv 2505.03748), the authors' figure; rounding, flags and widths are ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "8 lanes, banks outside": {},
        "1 lane, banks outside": {"lanes": 1},
        "1 lane, banks are registers": {"lanes": 1, "banks": "registers"},
        "2 lanes, sums of 6 bits": {"lanes": 2, "bits": 6, "banks": "registers"},
    }
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"lanes": 1, "banks": "registers", "tile_bits": 5, "sum_bits": 7, "bits": 3, "exponent_bits": 3},
        {"lanes": 2, "banks": "registers", "tile_bits": 4, "sum_bits": 4, "bits": 2, "exponent_bits": 2},
        {"lanes": 1, "tile_bits": 3, "sum_bits": 5, "bits": 2, "exponent_bits": 2},
    )

    lanes: int = pydantic.Field(
        8,
        ge=1,
        le=64,
        description="partial sums per clock: as a line has outputs",
        json_schema_extra=about(RECOLLECTED),
    )
    banks: Literal["outside", "registers"] = pydantic.Field(
        "outside", description="where stored sums lie", json_schema_extra=about(OURS)
    )
    bits: int = pydantic.Field(
        8, ge=2, le=16, description="width of a stored sum", json_schema_extra=about(APSQ, unit="bits")
    )
    tile_bits: int = pydantic.Field(
        19,
        ge=2,
        le=32,
        description="width of a tile's sum: 19 bits hold 8 products of a centred 8-bit code by an int8 one",
        json_schema_extra=about(OURS, unit="bits"),
    )
    sum_bits: int = pydantic.Field(
        32,
        ge=2,
        le=40,
        description="width of a sum at full scale, which wraps",
        json_schema_extra=about(OURS, unit="bits"),
    )
    exponent_bits: int = pydantic.Field(
        5, ge=1, le=5, description="width of an exponent", json_schema_extra=about(OURS, unit="bits")
    )

    def ports(self) -> Ports:
        """A step adds a tile of every lane; its exponent and what steers it are of all lanes."""
        inputs = [
            Port(name="tile", bits=self.tile_bits, signed=True, lanes=self.lanes, what="exact sums of a tile"),
            Port(name="exponent", bits=self.exponent_bits, what="the power of two that their codes count in"),
            Port(name="group", bits=2, what="tiles of a group, less one"),
            Port(name="head", bits=1, what="the first tile ends a group"),
            Port(name="first", bits=1, what="nothing is stored yet"),
            Port(name="last", bits=1, what="all that is stored is added"),
        ]
        if self.banks == "outside":
            inputs.append(Port(name="next", bits=1, what="the tile is done for all outputs: control goes on"))
            inputs += [
                Port(name=f"bank{at}", bits=self.bits, signed=True, lanes=self.lanes, what=f"words of bank {at}")
                for at in range(BANKS)
            ]
        code = Port(name="code", bits=self.bits, signed=True, lanes=self.lanes, what="what is stored")
        bank = Port(name="bank", bits=BANKS, what="where it is stored, a bit per bank; none if all are full")
        total = Port(
            name="sum", bits=self.sum_bits, signed=True, lanes=self.lanes, what="bank 0 at full scale: the finished sum"
        )
        return Ports(inputs=tuple(inputs), outputs=(code, bank, total))

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """Groups of two over `TILES` tiles, `LENGTH` outputs after one another where banks lie outside."""
        step = np.arange(clocks) // (LENGTH if self.banks == "outside" else 1) % TILES
        found = {
            "exponent": np.full(clocks, min(8, (1 << self.exponent_bits) - 1)),
            "group": np.ones(clocks, np.int64),
            "head": np.ones(clocks, np.int64),
            "first": (step == 0).astype(np.int64),
            "last": (step == TILES - 1).astype(np.int64),
        }
        if self.banks == "outside":
            found["next"] = (np.arange(clocks) % LENGTH == LENGTH - 1).astype(np.int64)
        return {name: np.repeat(values[:, None], streams, 1) for name, values in found.items()}

    def feed_words(self, x: Words, w: Words, begins: Integers) -> dict[str, Integers]:
        """Sums of tiles of `PER_TILE` products, output after output, in groups of two; lanes are the next outputs.

        The exponent just holds the largest running sum, as calibration would choose it for all tiles.

        Raises
        ------
        InputError
            Banks that lie outside, or operands that are no integers.
        """
        if self.banks == "outside":
            raise InputError(f"{self.name} reads again what it stores, in banks outside; set banks=registers")
        k = length(begins)
        outputs = len(begins) // k
        products = (centred(x, self.name) * centred(w, self.name))[: outputs * k].reshape(outputs, k)
        tiles = -(-k // PER_TILE)
        sums = np.pad(products, ((0, 0), (0, tiles * PER_TILE - k))).reshape(outputs, tiles, PER_TILE).sum(-1)
        largest = int(np.abs(np.cumsum(sums, 1)).max())
        exponent = max(0, largest.bit_length() - (self.bits - 1))
        step = np.tile(np.arange(tiles), outputs)[:, None]
        starts = (step == 0).astype(np.int64)
        return {
            "tile": neighbours(sums.reshape(-1, 1), starts, self.lanes),
            "exponent": np.full_like(step, exponent),
            "group": np.ones_like(step),
            "head": np.ones_like(step),
            "first": starts,
            "last": (step == tiles - 1).astype(np.int64),
        }

    def model(self, inputs: Values) -> dict[str, Integers]:
        """Codes in the clock of their tiles; banks that are registers hold them from the next one on."""
        tile = inputs["tile"]
        clocks, streams, lanes = tile.shape
        words = np.zeros((BANKS, streams, lanes), np.int64)
        shifts, valid = np.zeros((BANKS, streams), np.int64), np.zeros((BANKS, streams), bool)
        counter, one_hot = np.zeros(streams, np.int64), np.arange(BANKS)[:, None]
        found = {"code": np.zeros_like(tile), "bank": np.zeros((clocks, streams), np.int64), "sum": np.zeros_like(tile)}
        for clock in range(clocks):
            now = {name: values[clock] for name, values in inputs.items()}
            if self.banks == "outside":
                words = np.stack([now[f"bank{at}"] for at in range(BANKS)])
            first, group = now["first"] == 1, now["group"]
            count = np.where(first, np.where(now["head"], group, 0), counter)
            adds = (now["last"] == 1) | (count == group)
            begins = adds | first
            written = np.where(begins, one_hot == 0, ~valid & (one_hot == (~valid).argmax(0)))
            read = np.where(valid, 1, 0)[..., None] * (words << shifts[..., None])
            total = tile[clock] + np.where(adds & ~first, 1, 0)[:, None] * _tree(read, group[:, None])
            code = self._quantized(wrapped(total, self.sum_bits), now["exponent"][:, None])
            found["code"][clock], found["sum"][clock] = code, wrapped(read[0], self.sum_bits)
            found["bank"][clock] = (written << one_hot).sum(0)
            goes = now["next"] == 1 if self.banks == "outside" else np.ones(streams, bool)
            words = np.where(written[..., None], code, words)
            shifts = np.where(goes & written, now["exponent"], shifts)
            valid = np.where(goes, written | (valid & ~begins), valid)
            counter = np.where(goes, np.where(adds, 0, (count + 1) % BANKS), counter)
        return found

    def _quantized(self, sums: Integers, exponent: Integers) -> Integers:
        """In units of 2^exponent, rounded half up and saturated."""
        rounded = (sums + ((np.int64(1) << exponent) >> 1)) >> exponent
        return np.clip(rounded, -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)

    def build(self, m: Any, io: Any) -> None:
        """One control, and the lanes."""
        from amaranth.hdl import Signal

        control = self._control(m, io)
        for lane in range(self.lanes):
            if self.banks == "outside":
                words = [getattr(io, f"bank{at}")[lane] for at in range(BANKS)]
            else:
                words = [Signal(self.bits, name=f"word{at}_{lane}", reset_less=True) for at in range(BANKS)]
                for at, word in enumerate(words):
                    with m.If(control.written[at]):
                        m.d.sync += word.eq(io.code[lane])
            self._lane(m, io, control, words, lane)

    def _control(self, m: Any, io: Any) -> Any:
        """Counter, flags and exponents of the banks, and what the lanes do by them."""
        from amaranth.hdl import Mux, Signal

        goes = io.next if self.banks == "outside" else 1
        counter, valid = Signal(2, name="counter"), Signal(BANKS, name="valid")
        count, adds, begins = Signal(2, name="count"), Signal(name="s2"), Signal(name="begins")
        written, add = Signal(BANKS, name="written"), Signal(name="add")
        shifts = [Signal(self.exponent_bits, name=f"shift{at}", reset_less=True) for at in range(BANKS)]
        free = ~valid & (valid + 1)  # the lowest flag that is 0
        m.d.comb += [
            count.eq(Mux(io.first, Mux(io.head, io.group, 0), counter)),
            adds.eq(io.last | (count == io.group)),
            add.eq(adds & ~io.first),
            begins.eq(adds | io.first),
            written.eq(Mux(begins, 1, free)),
            io.bank.eq(written),
        ]
        with m.If(goes):
            m.d.sync += [valid.eq(Mux(begins, 1, valid | written)), counter.eq(Mux(adds, 0, count + 1))]
            for at, shift in enumerate(shifts):
                with m.If(written[at]):
                    m.d.sync += shift.eq(io.exponent)
        return types.SimpleNamespace(valid=valid, shifts=shifts, written=written, add=add)

    def _lane(self, m: Any, io: Any, control: Any, words: list[Any], lane: int) -> None:
        """Read, add, quantize."""
        from amaranth.hdl import Cat, Const, Mux, Signal, signed

        def wide(name: str, value: Any) -> Any:
            signal = Signal(signed(self.sum_bits), name=f"{name}_{lane}")
            m.d.comb += signal.eq(value)
            return signal

        read = [
            wide(f"read{at}", Mux(control.valid[at], word, 0).as_signed() << shift)
            for at, (word, shift) in enumerate(zip(words, control.shifts, strict=True))
        ]
        adder_a, adder_b = wide("a", read[0] + read[1]), wide("b", read[2] + read[3])
        adder_c = wide("c", adder_a + Mux(io.group[0], adder_b, read[2]))
        picked = Mux(io.group[1], adder_c, Mux(io.group[0], adder_a, read[0]))
        total = wide("total", io.tile[lane] + Mux(control.add, picked, 0))

        shifted = Signal(signed(self.sum_bits + 1), name=f"shifted_{lane}")  # with the bit below, which rounds
        m.d.comb += shifted.eq(Cat(Const(0, 1), total).as_signed() >> io.exponent)
        high, most = shifted[self.bits :], (1 << (self.bits - 1)) - 1
        low, sign = shifted[1 : self.bits + 1], shifted[-1]
        fits = high.all() | ~high.any()
        up = shifted[0] & (low != most)
        ends = Cat((~sign).replicate(self.bits - 1), sign)
        m.d.comb += [io.code[lane].eq(Mux(fits, low + up, ends)), io.sum[lane].eq(read[0])]


def _tree(read: Integers, group: Integers) -> Integers:
    """What s0 picks of banks [4, streams, lanes] for groups [streams, 1]."""
    a = read[0] + read[1]
    c = a + np.where(group == 3, read[2] + read[3], read[2])
    return np.where(group == 0, read[0], np.where(group == 1, a, c))
