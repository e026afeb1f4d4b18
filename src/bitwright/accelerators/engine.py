"""The one engine that costs every machine: bill x activity.

A machine hands over a job: a product, the dataflows that it may take, and where values decide, what its tiles take. The
engine maps the product, times it, counts what SRAMs and DRAM move, and prices every use. Ours, the same for all:
elements are packed into full words; a sum that finishes an output is requantized as it leaves the array and lies in the
output SRAM at its own width, every other sum as a partial one, which is read back once and added to the next; lanes
take a sum per cycle each, and there are as many as the bill says: an array that makes more sums in a tile than those
that add, rescale or requantize take waits, and so it does for an SRAM that cannot move a tile's words and DRAM's in
time; leakage is charged for every cycle; not modelled is the energy that DRAM spends in the background.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable
from collections.abc import Mapping as Dictionary

import numpy as np

from bitwright.accelerators.bill import Use
from bitwright.accelerators.books import Billed, Books, books_of
from bitwright.accelerators.cost import Cost
from bitwright.accelerators.dataflow import Accesses, Dataflow
from bitwright.accelerators.events import BITS_PER_BYTE, dram_events, leakage_events, sram_events, use_events
from bitwright.accelerators.job import Job, Measured
from bitwright.accelerators.srams import SRAMS
from bitwright.errors import InputError
from bitwright.memory import (
    Bits,
    Buffers,
    FloatArray,
    Gemm,
    IntArray,
    Kinds,
    Mapping,
    Objective,
    TileCosts,
    Timeline,
    Traffic,
    best_mapping,
    timeline,
    traffic,
)

CACHED_COSTS = 4096
MOST_TILES = 2 * 10**7
"""Of a product whose values decide: a gigabyte of counts."""
MOST_COUNTED = 2**60
"""Multiply-accumulates, and cycles of DRAM if each moved what is widest: larger counts would not fit in 64 bits."""
OUTPUT = ("sram_output_read", "sram_output_write")


@dataclasses.dataclass(frozen=True, kw_only=True)
class AtWork:
    """A machine with a dataflow at work on a product, as the search for a mapping sees it."""

    machine: Billed
    dataflow: Dataflow
    gemm: Gemm
    uses: tuple[tuple[Use, int], ...] = ()

    @functools.cached_property
    def books(self) -> Books:
        """Of the machine."""
        return books_of(self.machine)

    @property
    def buffers(self) -> Buffers:
        """SRAM capacities, of the input SRAM what other activations leave."""
        whole = self.machine.buffers
        return dataclasses.replace(whole, input_bytes=whole.input_bytes - self.gemm.kept_bytes)

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """Of the dataflow."""
        return self.dataflow.tile_unit

    @property
    def unit_divides(self) -> bool:
        """Of the dataflow."""
        return self.dataflow.unit_divides

    @property
    def dram_bytes_per_cycle(self) -> float:
        """DRAM bandwidth."""
        return self.machine.dram_bandwidth

    @property
    def objective(self) -> Objective:
        """Of the machine."""
        return self.machine.objective

    @property
    def leakage_pj_per_cycle(self) -> float:
        """Of everything."""
        return self.books.leakage_pj_per_cycle

    @property
    def fill_cycles(self) -> int:
        """Of the dataflow."""
        return self.dataflow.fill_cycles

    @property
    def sram_bits_per_cycle(self) -> tuple[float, float, float]:
        """Of all banks."""
        x, w, outputs = (self.books.srams[name].bits_per_cycle for name in SRAMS)
        return x, w, outputs

    def array_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Of the dataflow, and of the lanes that its sums leave through, element-wise."""
        sums = self.dataflow.accesses(m=m, k=k, n=n).sums
        lanes = self.lane_cycles(sums, m * n * (k / self.gemm.k)).astype(np.int64)
        return np.maximum(self.dataflow.cycles(m=m, k=k, n=n), lanes)

    def lane_cycles(self, sums: IntArray | int, finished: FloatArray | int) -> FloatArray:
        """Cycles in which the busiest lanes take so many sums, of which so many are finished, element-wise.

        Tiles of k have shares of the finished ones.
        """
        machine = self.machine
        leaving = np.ceil(np.divide(sums, machine.sum_lanes))
        if rescales := self.dataflow.rescales:
            leaving = np.maximum(leaving, np.ceil(np.multiply(sums, rescales) / machine.rescaler_lanes))
        return np.maximum(leaving, np.ceil(np.divide(finished, machine.requantizer_lanes)))

    def array_bits(self, *, m: IntArray, k: IntArray, n: IntArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Bits between the array and the SRAMs for a tile, element-wise.

        Sums go out and come back; the finished ones at their own width, of which tiles of k have shares.
        """
        gemm, moved = self.gemm, self.dataflow.accesses(m=m, k=k, n=n)
        finished = m * n * (k / gemm.k)
        sum_bits = (moved.sums - finished) * float(self.dataflow.sum_bits) + finished * float(gemm.y_bits)
        return moved.x * float(gemm.x_bits), moved.w * float(gemm.w_bits), 2 * sum_bits

    def energy_pj(self, *, gemm: Gemm, kinds: Kinds, moved: Traffic) -> FloatArray:  # noqa: ARG002
        """Energy but for leakage, in pJ [candidates]."""
        energy = (moved.dram_read + moved.dram_write) * (BITS_PER_BYTE * self.books.dram_pj_per_bit)
        accesses = self.dataflow.accesses(m=kinds.m, k=kinds.k, n=kinds.n)
        sram = self.sram_bytes(kinds=kinds, accesses=accesses, moved=moved)
        for name, each in self.books.srams.items():
            read_pj, write_pj = each.pj_per_byte
            energy = energy + sram[f"{name}_read"] * read_pj + sram[f"{name}_write"] * write_pj
        for what, count in self.work(kinds, accesses):
            energy = energy + count * what.price_pj
        return energy

    def sram_bytes(self, *, kinds: Kinds, accesses: Accesses, moved: Traffic) -> dict[str, FloatArray]:
        """Bytes by SRAM and direction (`sram_input_read`, ...), all groups [candidates]."""
        gemm = self.gemm
        x, w, sums = (gemm.groups * kinds.total(each) for each in (accesses.x, accesses.w, accesses.sums))
        return {
            "sram_input_read": x * _bytes_of(gemm.x_bits),
            "sram_input_write": moved.x_fill + _staying(gemm),
            "sram_weight_read": w * _bytes_of(gemm.w_bits),
            "sram_weight_write": moved.w_fill.astype(np.float64),
            **_output_bytes(gemm, self.dataflow.sum_bits, sums, moved.psum_read, moved.psum_write),
        }

    def work(self, kinds: Kinds, accesses: Accesses) -> list[tuple[Use, IntArray | int]]:
        """How often circuits work, all groups [candidates]."""
        gemm = self.gemm
        sums = gemm.groups * kinds.total(accesses.sums)
        uses = self.dataflow.uses(m=kinds.m, k=kinds.k, n=kinds.n)
        return [
            *((what, gemm.groups * kinds.total(count)) for what, count in uses),
            *self.uses,
            *((what, sums - _outputs(gemm)) for what in (self.books.accumulate, *self.dataflow.read_back)),
            (self.books.requantize, _outputs(gemm)),
        ]


def _bytes_of(bits: Bits) -> float:
    return float(bits) / BITS_PER_BYTE


def _staying(gemm: Gemm) -> float:
    """Bytes of outputs that move to the input SRAM, to stay there."""
    return _outputs(gemm) * _bytes_of(gemm.y_bits) * gemm.y_on_chip


def _finished(gemm: Gemm) -> dict[str, float]:
    """Bytes of finished outputs in the output SRAM, once each way."""
    return dict.fromkeys(OUTPUT, _outputs(gemm) * _bytes_of(gemm.y_bits))


def _outputs(gemm: Gemm) -> int:
    return gemm.groups * gemm.m * gemm.n


def _output_bytes(
    gemm: Gemm, sum_bits: Bits, sums: IntArray | int, psum_read: IntArray | int, psum_write: IntArray | int
) -> dict[str, FloatArray]:
    """Bytes of the output SRAM: finished outputs once each way, other sums too, and what passes on to DRAM and back."""
    outputs = _outputs(gemm)
    partial, finished = np.asarray(sums - outputs) * _bytes_of(sum_bits), outputs * _bytes_of(gemm.y_bits)
    return {
        "sram_output_read": partial + finished + psum_write,
        "sram_output_write": partial + finished + psum_read,
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ran:
    """How a job ran: its mapping and dataflow, what it cost, and how long each resource was busy.

    Attributes
    ----------
    mapping : Mapping
        Tiles, order and buffers; its own figures are those of the dataflow, whatever values decide.
    dataflow : Dataflow
        The one that was taken.
    cost : Cost
        Of everything.
    spilled : bool
        Whether partial sums cross DRAM.
    """

    mapping: Mapping
    dataflow: Dataflow
    cost: Cost
    spilled: bool


def run(machine: Billed, job: Job) -> Ran:
    """Cost a job in the best of its ways.

    Raises
    ------
    InputError
        If not even the smallest tile fits the SRAMs, values decide what more tiles take than memory holds, or counts
        would not fit in 64 bits.
    """
    _check_counts(job.gemm, machine.dram_bandwidth)
    return _run(machine, job) if job.measured is None else _best(machine, job)


def _check_counts(gemm: Gemm, dram_bytes_per_cycle: float) -> None:
    product = f"a product of {gemm.m} x {gemm.k} x {gemm.n} in {gemm.groups} groups"
    if gemm.macs > MOST_COUNTED:
        raise InputError(
            f"{product} has {gemm.macs:.3g} multiply-accumulates, and at most {MOST_COUNTED:.3g} are counted; take a "
            "smaller one"
        )
    widest = max(gemm.x_bits, gemm.w_bits, gemm.y_bits, gemm.psum_bits)
    if gemm.macs * _bytes_of(widest) / dram_bytes_per_cycle > MOST_COUNTED:
        raise InputError(
            f"{product} at {dram_bytes_per_cycle:g} bytes of DRAM per cycle may take more than {MOST_COUNTED:.3g} "
            "cycles, which are not counted; raise dram_bytes_per_cycle, lower clock_mhz or take a smaller product"
        )


@functools.lru_cache(maxsize=CACHED_COSTS)
def _run(machine: Billed, job: Job) -> Ran:
    return _best(machine, job)


def _best(machine: Billed, job: Job) -> Ran:
    ways = [_ran(machine, job, dataflow) for dataflow in job.dataflows]
    return ways[0] if len(ways) == 1 else min(ways, key=lambda way: _score(machine, way.cost))


def _score(machine: Billed, cost: Cost) -> tuple[float, float]:
    """What the objective minimizes, then energy."""
    energy = cost.total_energy_pj
    scores = {"latency": float(cost.cycles), "energy": energy, "edp": cost.cycles * energy}
    return scores[machine.objective], energy


def _ran(machine: Billed, job: Job, dataflow: Dataflow) -> Ran:
    at_work = AtWork(machine=machine, dataflow=dataflow, gemm=job.gemm, uses=job.uses)
    return _under(at_work, job, best_mapping(gemm=job.gemm, machine=at_work))


def ran_as(machine: Billed, job: Job, mapping: Mapping) -> Ran:
    """The cost of a job whose values decide, under a given mapping, of which tiles, order and buffers count."""
    assert job.measured is not None
    return _under(AtWork(machine=machine, dataflow=job.dataflows[0], gemm=job.gemm, uses=job.uses), job, mapping)


def _under(at_work: AtWork, job: Job, mapping: Mapping) -> Ran:
    if job.measured is None:
        cost = _static(at_work, mapping)
    elif mapping.tiles <= MOST_TILES:
        cost = _by_values(at_work, mapping, job.measured(mapping))
    else:
        raise InputError(
            f"a product of {job.gemm.m} x {job.gemm.k} x {job.gemm.n} in {job.gemm.groups} groups takes "
            f"{mapping.tiles:,} tiles, and where values decide at most {MOST_TILES:,} are counted; raise the SRAMs' "
            "KiB or take a smaller product"
        )
    spilled = mapping.dram_psum_write_bytes > 0
    return Ran(mapping=mapping, dataflow=at_work.dataflow, cost=cost, spilled=spilled)


def _static(at_work: AtWork, mapping: Mapping) -> Cost:
    gemm, tilings = at_work.gemm, mapping.tilings()
    kinds = tilings.kinds(gemm)
    moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=at_work.dram_bytes_per_cycle, kinds=kinds)
    tile = {"m": kinds.m, "k": kinds.k, "n": kinds.n}
    accesses = at_work.dataflow.accesses(**tile)
    sram = at_work.sram_bytes(kinds=kinds, accesses=accesses, moved=moved)
    array = gemm.groups * int(kinds.total(at_work.array_cycles(**tile))[0])
    return cost_of(
        at_work,
        cycles=mapping.cycles,
        compute_cycles=mapping.compute_cycles,
        busy={"array": array + at_work.fill_cycles, "banks": mapping.port_cycles, "dram": mapping.dram_cycles},
        dram=_dram_bytes(mapping),
        sram={name: float(each[0]) for name, each in sram.items()},
        finished=_finished(gemm),
        uses=[(what, float(np.asarray(count).reshape(-1)[0])) for what, count in at_work.work(kinds, accesses)],
        macs_executed=gemm.macs,
        unique_bytes=gemm.unique_bytes,
    )


def _by_values(at_work: AtWork, mapping: Mapping, measured: Measured) -> Cost:
    gemm, line = at_work.gemm, _line(at_work, mapping, measured, measured.tiles)
    outputs = _output_bytes(gemm, at_work.dataflow.sum_bits, measured.sums, line.psum_read_bytes, line.psum_write_bytes)
    sram = {
        "sram_input_read": float(measured.x_read_bytes),
        "sram_input_write": float((line.x_visits * measured.x_fill).sum()) * (not gemm.x_on_chip) + _staying(gemm),
        "sram_weight_read": float(measured.w_read_bytes),
        "sram_weight_write": float((line.w_visits * measured.w_fill).sum()),
        **{name: float(moved) for name, moved in outputs.items()},
    }
    made, banks = int(measured.tiles.compute.sum()), _bank_cycles(at_work, sram)
    lanes = int(at_work.lane_cycles(measured.sums, _outputs(gemm)))
    array = max(made, lanes - measured.fill_cycles)  # sums leave while the array drains, too
    if max(array, banks) > made:  # tiles wait for lanes and SRAMs in proportion
        tiles = dataclasses.replace(measured.tiles, compute=_stretched(measured.tiles.compute, max(array, banks)))
        line = _line(at_work, mapping, measured, tiles)
    return cost_of(
        at_work,
        cycles=line.cycles,
        compute_cycles=line.compute_cycles,
        busy={"array": array + measured.fill_cycles, "banks": banks, "dram": line.dram_cycles},
        dram=_dram_bytes(line),
        sram=sram,
        finished=_finished(gemm),
        uses=[
            *measured.uses,
            *at_work.uses,
            (at_work.books.accumulate, measured.sums - _outputs(gemm)),
            (at_work.books.requantize, _outputs(gemm)),
        ],
        macs_executed=measured.macs_executed,
        unique_bytes=measured.unique_bytes,
    )


def _line(at_work: AtWork, mapping: Mapping, measured: Measured, tiles: TileCosts) -> Timeline:
    return timeline(
        gemm=at_work.gemm,
        mapping=mapping,
        costs=tiles,
        dram_bytes_per_cycle=at_work.dram_bytes_per_cycle,
        fill_cycles=measured.fill_cycles,
    )


def _bank_cycles(at_work: AtWork, sram: Dictionary[str, float]) -> int:
    """Cycles in which the busiest SRAM moves all of its words, of `sram` bytes by direction."""
    moved = {name: sram[f"{name}_read"] + sram[f"{name}_write"] for name in SRAMS}
    srams = at_work.books.srams
    return max(math.ceil(BITS_PER_BYTE * moved[name] / srams[name].bits_per_cycle) for name in SRAMS)


def _stretched(compute: IntArray, total: int) -> IntArray:
    """Cycles in proportion that add up to `total`."""
    done = np.cumsum(compute.reshape(-1))
    share = done.astype(np.float64) / done[-1]
    return np.diff(np.rint(share * total).astype(np.int64), prepend=0).reshape(compute.shape)


def _dram_bytes(of: Mapping | Timeline) -> dict[str, int]:
    """Bytes by direction; partial sums apart."""
    if isinstance(of, Mapping):
        psums = of.dram_psum_read_bytes, of.dram_psum_write_bytes
    else:
        psums = of.psum_read_bytes, of.psum_write_bytes
    return {
        "read": of.dram_read_bytes,
        "write": of.dram_write_bytes,
        "psum_read": psums[0],
        "psum_write": psums[1],
    }


def cost_of(
    at_work: AtWork,
    *,
    cycles: int,
    compute_cycles: int,
    busy: Dictionary[str, int],
    dram: Dictionary[str, int],
    sram: Dictionary[str, float],
    finished: Dictionary[str, float],
    uses: Iterable[tuple[Use, float]],
    macs_executed: int,
    unique_bytes: int,
) -> Cost:
    """The cost of what was counted; of the output SRAM all but `finished` bytes are partial sums'."""
    gemm, books = at_work.gemm, at_work.books
    psums = {name: sram[name] - finished.get(name, 0.0) for name in OUTPUT}
    return Cost(
        cycles=cycles,
        compute_cycles=compute_cycles,
        busy_cycles=dict(busy),
        macs_dense=gemm.macs,
        macs_executed=macs_executed,
        macs_skipped=gemm.macs - macs_executed,
        traffic_bytes={"dram_read": dram["read"], "dram_write": dram["write"], **sram},
        unique_bytes=unique_bytes,
        events=(
            *use_events(uses),
            *sram_events(books, sram, psums),
            *dram_events(books, dram),
            *leakage_events(books, cycles, at_work.machine.clock_mhz),
        ),
    )
