"""Encoder and decoder of run-length coded slice vectors: one vector, or one entry, per clock.

The code is that of `bitwright.formats.run_length_encode`: an entry is a run, how many skipped vectors stand before a
stored one, and the slices of that one; a run that is full ends in a filler, a stored vector that equals a skipped one;
skipped vectors at the end need no entry. Panacea stores high-order vectors run-length coded (arXiv 2412.10059); layout
and circuits are ours. The decoder does not write skipped vectors out: it says at which place its vector stands, which
is what operators need that skip the others. Packing entries into words of memory is neither circuit's.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pydantic

from bitwright.circuits.circuit import Circuit, Integers, Port, Ports, Values
from bitwright.circuits.slice_operator import PANACEA
from bitwright.settings import OURS, RECOLLECTED, about


class RunLength(Circuit):
    """What encoder and decoder have in common: how entries look."""

    source: ClassVar[str] = "Panacea (arXiv 2412.10059) for run-length coded vectors; layout and circuit are ours"
    configurations: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "runs of 4 bits": {},
        "runs of 3 bits": {"run_bits": 3},
        "runs of 8 bits": {"run_bits": 8},
    }

    vector: int = pydantic.Field(4, ge=1, le=8, description="slices in a vector", json_schema_extra=about(RECOLLECTED))
    slice_bits: int = pydantic.Field(
        4, ge=1, le=8, description="width of a slice", json_schema_extra=about(PANACEA, unit="bits")
    )
    run_bits: int = pydantic.Field(
        4, ge=1, le=8, description="width of a run", json_schema_extra=about(RECOLLECTED, unit="bits")
    )

    def controls(self, clocks: int, streams: int) -> dict[str, Integers]:
        """One stream of vectors in every clock; zeros are skipped."""
        nothing = np.zeros((clocks, streams), np.int64)
        return {"valid": nothing + 1, "first": nothing, "r": nothing}

    def _steering(self) -> tuple[Port, ...]:
        return (
            Port(name="r", bits=self.slice_bits, what="the slice that skipped vectors are full of"),
            Port(name="valid", bits=1, what="there is one in this clock"),
            Port(name="first", bits=1, what="a new stream begins with this clock"),
        )

    def _slices(self, name: str, what: str) -> Port:
        return Port(name=name, bits=self.slice_bits, lanes=self.vector, what=what)


class RunLengthEncoder(RunLength):
    """A comparison with r, a counter of the run, and the entry's register."""

    name: ClassVar[str] = "run-length-encoder"
    summary: ClassVar[str] = "run-length encoder of slice vectors, a vector per clock (Panacea's)"
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"vector": 1, "run_bits": 2},
        {"vector": 2, "slice_bits": 2, "run_bits": 1},
    )

    def ports(self) -> Ports:
        """Slices as bit patterns, signed or not."""
        run = Port(name="run", bits=self.run_bits, what="skipped vectors before it")
        stored = Port(name="stored", bits=1, what="there is an entry, of the clock before")
        inputs = (self._slices("slices", "a vector"), *self._steering())
        return Ports(inputs=inputs, outputs=(stored, run, self._slices("entry", "its slices")))

    def model(self, inputs: Values) -> dict[str, Integers]:
        """An entry a clock after its vector; the last one is held."""
        slices, valid = inputs["slices"], inputs["valid"].astype(bool)
        skipped = (slices == inputs["r"][..., None]).all(-1)
        full = (1 << self.run_bits) - 1
        run, held_run = np.zeros_like(inputs["r"][0]), np.zeros_like(inputs["r"][0])
        held, stored = np.zeros_like(slices[0]), np.zeros_like(run)
        found = {
            "stored": np.zeros_like(inputs["r"]),
            "run": np.zeros_like(inputs["r"]),
            "entry": np.zeros_like(slices),
        }
        for clock in range(len(slices)):
            found["stored"][clock], found["run"][clock], found["entry"][clock] = stored, held_run, held
            run = np.where(inputs["first"][clock], 0, run)
            stores = valid[clock] & (~skipped[clock] | (run == full))
            held_run = np.where(stores, run, held_run)
            held = np.where(stores[:, None], slices[clock], held)
            run = np.where(stores, 0, run + (valid[clock] & skipped[clock]))
            stored = stores.astype(np.int64)
        return found

    def build(self, m: Any, io: Any) -> None:
        """As `model`."""
        from amaranth.hdl import Cat, Mux, Signal

        run, before = Signal(self.run_bits, name="counted"), Signal(self.run_bits, name="before")
        skipped, stores = Signal(name="skipped"), Signal(name="stores")
        stored = Signal(name="has_entry")
        held_run = Signal(self.run_bits, name="held_run", reset_less=True)
        held = [Signal(self.slice_bits, name=f"held{lane}", reset_less=True) for lane in range(self.vector)]
        m.d.comb += [
            skipped.eq(Cat(each == io.r for each in io.slices).all()),
            before.eq(Mux(io.first, 0, run)),
            stores.eq(io.valid & (~skipped | before.all())),
            io.stored.eq(stored),
            io.run.eq(held_run),
            *[out.eq(each) for out, each in zip(io.entry, held, strict=True)],
        ]
        m.d.sync += [stored.eq(stores), run.eq(Mux(stores, 0, before + (io.valid & skipped)))]
        with m.If(stores):
            m.d.sync += [held_run.eq(before), *[each.eq(x) for each, x in zip(held, io.slices, strict=True)]]


class RunLengthDecoder(RunLength):
    """An adder that counts places, a comparison with r, and the vector's register."""

    name: ClassVar[str] = "run-length-decoder"
    summary: ClassVar[str] = "run-length decoder of slice vectors, an entry per clock (Panacea's)"
    small: ClassVar[tuple[Mapping[str, Any], ...]] = (
        {"vector": 1, "run_bits": 2, "place_bits": 3},
        {"vector": 2, "slice_bits": 2, "run_bits": 3, "place_bits": 2},
    )

    place_bits: int = pydantic.Field(
        10,
        ge=1,
        le=16,
        description="width of a vector's place in its stream, which wraps",
        json_schema_extra=about(OURS, unit="bits"),
    )

    def ports(self) -> Ports:
        """Slices as bit patterns, signed or not."""
        run = Port(name="run", bits=self.run_bits, what="skipped vectors before it")
        kept = Port(name="kept", bits=1, what="there is a vector that is no filler, of the clock before")
        place = Port(name="place", bits=self.place_bits, what="where it stands, from 0")
        inputs = (run, self._slices("entry", "slices of an entry"), *self._steering())
        return Ports(inputs=inputs, outputs=(kept, place, self._slices("slices", "its slices")))

    def model(self, inputs: Values) -> dict[str, Integers]:
        """A vector a clock after its entry; the last one is held."""
        entry, valid = inputs["entry"], inputs["valid"].astype(bool)
        keeps = valid & ~(entry == inputs["r"][..., None]).all(-1)
        places = 1 << self.place_bits
        place, kept, held = (
            np.full_like(inputs["r"][0], places - 1),
            np.zeros_like(inputs["r"][0]),
            np.zeros_like(entry[0]),
        )
        found = {
            "kept": np.zeros_like(inputs["r"]),
            "place": np.zeros_like(inputs["r"]),
            "slices": np.zeros_like(entry),
        }
        for clock in range(len(entry)):
            found["kept"][clock], found["place"][clock], found["slices"][clock] = kept, place, held
            place = np.where(inputs["first"][clock], places - 1, place)
            place = (place + np.where(valid[clock], inputs["run"][clock] + 1, 0)) % places
            held = np.where(keeps[clock, :, None], entry[clock], held)
            kept = keeps[clock].astype(np.int64)
        return found

    def build(self, m: Any, io: Any) -> None:
        """The place before a stream is -1, so that every entry moves it on by its run and 1."""
        from amaranth.hdl import Cat, Mux, Signal

        start = (1 << self.place_bits) - 1
        place = Signal(self.place_bits, name="counted", init=start)
        kept, keeps = Signal(name="has_vector"), Signal(name="keeps")
        held = [Signal(self.slice_bits, name=f"held{lane}", reset_less=True) for lane in range(self.vector)]
        before = Mux(io.first, start, place)
        m.d.comb += [
            keeps.eq(io.valid & ~Cat(each == io.r for each in io.entry).all()),
            io.kept.eq(kept),
            io.place.eq(place),
            *[out.eq(each) for out, each in zip(io.slices, held, strict=True)],
        ]
        m.d.sync += kept.eq(keeps)
        with m.If(io.valid | io.first):
            m.d.sync += place.eq(before + Mux(io.valid, io.run, 0) + io.valid)
        with m.If(keeps):
            m.d.sync += [each.eq(x) for each, x in zip(held, io.entry, strict=True)]
