"""The one engine that costs every machine: bill x activity.

A machine hands over a job: a product, the dataflows that it may take, and where values decide, what its tiles take. The
engine maps the product, times it, counts what SRAMs and DRAM move, and prices every use. Ours, the same for all:
elements are packed into full words; a sum that finishes an output is requantized as it leaves the array and lies in the
output SRAM at its own width, every other sum as a partial one, which is read back once and added to the next, in lanes
that add a sum per cycle each; an SRAM that cannot move a
tile's words in the array's cycles makes the array wait; a requantizer is one 32-bit multiplication (the scale), one
addition (bias, rounding) and one shift; leakage is charged for every cycle; control and wiring of the array are not
modelled, nor the energy that DRAM spends in the background.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Sequence
from collections.abc import Mapping as Dictionary

import numpy as np

from bitwright.accelerators.bill import Component, Use, use
from bitwright.accelerators.circuits import Circuit, Part, Priced, listed, priced
from bitwright.accelerators.cost import Area, Cost, Event
from bitwright.accelerators.dataflow import Dataflow
from bitwright.accelerators.srams import CACHED_MACHINES, SRAMS, Sram, srams_of
from bitwright.accelerators.substrate import Substrate
from bitwright.memory import (
    Bits,
    Buffers,
    FloatArray,
    Gemm,
    IntArray,
    Mapping,
    Objective,
    TileCosts,
    Tilings,
    Timeline,
    Traffic,
    best_mapping,
    timeline,
    traffic,
)

BITS_PER_BYTE = 8
CACHED_COSTS = 4096
PARTIAL_SUMS = "partial sums"
OUTPUT = ("sram_output_read", "sram_output_write")
REQUANTIZERS, RESCALERS, SUM_ADDERS, VECTOR = "requantizers", "rescalers", "sum_adders", "vector_unit"
MULTIPLY, ADD, SHIFT = "multiply_int32", "add_int32", "shift_int32"
REQUANTIZER = Circuit(
    name="requantizer",
    parts=(
        Part(event=MULTIPLY, count=1, what="scale"),
        Part(event=ADD, count=1, what="bias and rounding"),
        Part(event=SHIFT, count=1, what="to the output's width"),
    ),
)
RESCALER = Circuit(
    name="rescaler of block sums",
    parts=(
        Part(event=MULTIPLY, count=1, what="scale of the block"),
        Part(event=SHIFT, count=1, what="to the exponent of the blocks before"),
    ),
)
SUM_ADDER = Circuit(name="adder of a partial sum", parts=(Part(event=ADD, count=1, what="to the sum before"),))
LANE = "mac_float16"


class Billed(Substrate):
    """A substrate with a bill."""

    @property
    def requantizer_lanes(self) -> int:
        """Outputs that are requantized per cycle."""
        raise NotImplementedError

    @property
    def sum_lanes(self) -> int:
        """Sums that leave the array per cycle, in the mode with most."""
        return self.requantizer_lanes

    @property
    def rescaler_lanes(self) -> int:
        """Sums of blocks that are rescaled per cycle; 0: scales cannot change along the reduction."""
        return 0

    def components(self) -> Sequence[Component]:
        """What it has beside SRAMs, requantizers, rescalers and the vector unit."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What a product takes under a mapping where values decide.

    Attributes
    ----------
    tiles : TileCosts
        Cycles of the array and bytes of DRAM, tile by tile.
    fill_cycles : int
        Of the array, once.
    x_fill, w_fill : IntArray
        Bytes of tiles as the SRAMs hold them, of the shapes of `tiles.x_bytes` and `tiles.w_bytes`.
    x_read_bytes, w_read_bytes : float
        From SRAM into the array.
    sums : int
        Sums that leave the array.
    uses : sequence of (Use, float)
        What works, how often.
    macs_executed : int
        Multiply-accumulates that are not skipped.
    unique_bytes : int
        Of distinct operands and outputs as stored.
    """

    tiles: TileCosts
    fill_cycles: int
    x_fill: IntArray
    w_fill: IntArray
    x_read_bytes: float
    w_read_bytes: float
    sums: int
    uses: Sequence[tuple[Use, float]]
    macs_executed: int
    unique_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One product for a machine.

    Attributes
    ----------
    gemm : Gemm
        The product.
    dataflows : tuple of Dataflow
        Ways in which the array may work on it; the best is taken.
    uses : tuple of (Use, int)
        What works however the product is mapped.
    measured : callable or None
        What it takes under a mapping, where values decide; None: what the dataflow says.
    """

    gemm: Gemm
    dataflows: tuple[Dataflow, ...]
    uses: tuple[tuple[Use, int], ...] = ()
    measured: Callable[[Mapping], Measured] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Books:
    """What the engine needs of a machine's bill: all components, memories, common uses, leakage."""

    components: tuple[Component, ...]
    srams: Dictionary[str, Sram]
    dram_pj_per_bit: float
    dram_source: str
    accumulate: Use
    requantize: Use
    leaking: tuple[tuple[str, float, str], ...]
    leakage_pj_per_cycle: float


@functools.lru_cache(maxsize=CACHED_MACHINES)
def books_of(machine: Billed) -> Books:
    """The books of a machine.

    Raises
    ------
    InputError, MissingPriceError
        If the node, a price or an SRAM bank is unknown, or a bank is too slow.
    """
    prices = machine.technology
    requantizer, adder = (priced(circuit, prices, "parts") for circuit in (REQUANTIZER, SUM_ADDER))
    rescaler, lane = rescaler_of(machine), listed(LANE, prices)
    components = (
        *machine.components(),
        Component(name=REQUANTIZERS, count=machine.requantizer_lanes, circuit=requantizer),
        *(
            [Component(name=RESCALERS, count=machine.rescaler_lanes, circuit=rescaler)]
            if machine.rescaler_lanes
            else []
        ),
        Component(name=SUM_ADDERS, count=machine.sum_lanes, circuit=adder),
        Component(name=VECTOR, count=machine.vector_lanes, circuit=lane),
    )
    srams = srams_of(machine)
    dram_pj, dram_source = machine.dram_price
    logic = prices.price("logic_leakage").source
    leaking = (
        *(
            (each.name, each.count * each.circuit.leakage_uw, f"{each.circuit.area_source}; {logic}")
            for each in components
        ),
        *((name, sram.leakage_uw, sram.source) for name, sram in srams.items()),
    )
    return Books(
        components=components,
        srams=srams,
        dram_pj_per_bit=dram_pj,
        dram_source=dram_source,
        accumulate=use(SUM_ADDERS, "accumulate", "operation", adder),
        requantize=use(REQUANTIZERS, "requantize", "operation", requantizer),
        leaking=leaking,
        leakage_pj_per_cycle=sum(leakage_uw for _, leakage_uw, _ in leaking) / machine.clock_mhz,
    )


def rescaler_of(machine: Billed) -> Priced:
    """One rescaler at the machine's node."""
    return priced(RESCALER, machine.technology, "parts")


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

    def compute_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of the array for a tile, waiting for SRAMs included, element-wise."""
        return np.maximum(self.dataflow.cycles(m=m, k=k, n=n), self.bank_cycles(m=m, k=k, n=n))

    def bank_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles in which the SRAM that is busiest moves a tile's words, element-wise.

        Sums go out and come back; of a tile with all of the reduction, the finished ones at their own width.
        """
        gemm, moved = self.gemm, self.dataflow.accesses(m=m, k=k, n=n)
        finished = np.where(k == gemm.k, m * n, 0)
        sum_bits = (moved.sums - finished) * float(self.dataflow.sum_bits) + finished * float(gemm.y_bits)
        bits = (moved.x * float(gemm.x_bits), moved.w * float(gemm.w_bits), 2 * sum_bits)
        cycles = [
            np.ceil(each / self.books.srams[name].array_bits_per_cycle) for name, each in zip(SRAMS, bits, strict=True)
        ]
        busiest: IntArray = np.maximum.reduce(cycles).astype(np.int64)
        return busiest

    def energy_pj(self, *, gemm: Gemm, tilings: Tilings, moved: Traffic) -> FloatArray:  # noqa: ARG002
        """Energy but for leakage, in pJ [candidates]."""
        energy = (moved.dram_read + moved.dram_write) * (BITS_PER_BYTE * self.books.dram_pj_per_bit)
        sram = self.sram_bytes(tilings=tilings, moved=moved)
        for name, each in self.books.srams.items():
            read_pj, write_pj = each.pj_per_byte
            energy = energy + sram[f"{name}_read"] * read_pj + sram[f"{name}_write"] * write_pj
        for what, count in self.work(tilings):
            energy = energy + count * what.price_pj
        return energy

    def sram_bytes(self, *, tilings: Tilings, moved: Traffic) -> dict[str, FloatArray]:
        """Bytes by SRAM and direction (`sram_input_read`, ...), all groups [candidates]."""
        gemm, kinds = self.gemm, tilings.kinds(self.gemm)
        each = self.dataflow.accesses(m=kinds.m, k=kinds.k, n=kinds.n)
        x, w, sums = (gemm.groups * kinds.total(elements) for elements in (each.x, each.w, each.sums))
        return {
            "sram_input_read": x * _bytes_of(gemm.x_bits),
            "sram_input_write": moved.x_fill + _staying(gemm),
            "sram_weight_read": w * _bytes_of(gemm.w_bits),
            "sram_weight_write": moved.w_fill.astype(np.float64),
            **_output_bytes(gemm, self.dataflow.sum_bits, sums, moved.psum_read, moved.psum_write),
        }

    def work(self, tilings: Tilings) -> list[tuple[Use, IntArray | int]]:
        """How often circuits work, all groups [candidates]."""
        gemm, kinds = self.gemm, tilings.kinds(self.gemm)
        tile = {"m": kinds.m, "k": kinds.k, "n": kinds.n}
        sums = gemm.groups * kinds.total(self.dataflow.accesses(**tile).sums)
        return [
            *((what, gemm.groups * kinds.total(count)) for what, count in self.dataflow.uses(**tile)),
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
        If not even the smallest tile fits the SRAMs.
    """
    return _run(machine, job) if job.measured is None else _best(machine, job)


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
    mapping = best_mapping(gemm=job.gemm, machine=at_work)
    cost = _static(at_work, mapping) if job.measured is None else _by_values(at_work, mapping, job.measured(mapping))
    spilled = mapping.dram_psum_write_bytes > 0
    return Ran(mapping=mapping, dataflow=dataflow, cost=cost, spilled=spilled)


def ran_as(machine: Billed, job: Job, mapping: Mapping) -> Ran:
    """The cost of a job whose values decide, under a given mapping, of which tiles, order and buffers count."""
    assert job.measured is not None
    at_work = AtWork(machine=machine, dataflow=job.dataflows[0], gemm=job.gemm, uses=job.uses)
    cost = _by_values(at_work, mapping, job.measured(mapping))
    return Ran(mapping=mapping, dataflow=at_work.dataflow, cost=cost, spilled=mapping.dram_psum_write_bytes > 0)


def _static(at_work: AtWork, mapping: Mapping) -> Cost:
    gemm, tilings = at_work.gemm, mapping.tilings()
    moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=at_work.dram_bytes_per_cycle)
    kinds = tilings.kinds(gemm)
    tile = {"m": kinds.m, "k": kinds.k, "n": kinds.n}
    array, banks = (
        gemm.groups * int(kinds.total(cycles)[0])
        for cycles in (at_work.dataflow.cycles(**tile), at_work.bank_cycles(**tile))
    )
    return cost_of(
        at_work,
        cycles=mapping.cycles,
        compute_cycles=mapping.compute_cycles,
        busy={"array": array + at_work.fill_cycles, "banks": banks, "dram": mapping.dram_cycles},
        dram=_dram_bytes(mapping),
        sram={name: float(each[0]) for name, each in at_work.sram_bytes(tilings=tilings, moved=moved).items()},
        finished=_finished(gemm),
        uses=[(what, float(np.asarray(count).reshape(-1)[0])) for what, count in at_work.work(tilings)],
        macs_executed=gemm.macs,
        unique_bytes=gemm.unique_bytes,
    )


def _by_values(at_work: AtWork, mapping: Mapping, measured: Measured) -> Cost:
    gemm, tiles = at_work.gemm, measured.tiles
    array, banks = int(tiles.compute.sum()), _bank_cycles(at_work, measured)
    if banks > array:  # tiles wait for SRAMs in proportion
        tiles = dataclasses.replace(tiles, compute=_stretched(tiles.compute, banks))
    line = timeline(
        gemm=gemm,
        mapping=mapping,
        costs=tiles,
        dram_bytes_per_cycle=at_work.dram_bytes_per_cycle,
        fill_cycles=measured.fill_cycles,
    )
    sram = {
        "sram_input_read": measured.x_read_bytes,
        "sram_input_write": float((line.x_visits * measured.x_fill).sum()) * (not gemm.x_on_chip) + _staying(gemm),
        "sram_weight_read": measured.w_read_bytes,
        "sram_weight_write": float((line.w_visits * measured.w_fill).sum()),
        **_output_bytes(gemm, at_work.dataflow.sum_bits, measured.sums, line.psum_read_bytes, line.psum_write_bytes),
    }
    return cost_of(
        at_work,
        cycles=line.cycles,
        compute_cycles=line.compute_cycles,
        busy={"array": array + measured.fill_cycles, "banks": banks, "dram": line.dram_cycles},
        dram=_dram_bytes(line),
        sram={name: float(np.asarray(each)) for name, each in sram.items()},
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


def _bank_cycles(at_work: AtWork, measured: Measured) -> int:
    gemm, outputs = at_work.gemm, _outputs(at_work.gemm)
    sums = 2 * (measured.sums - outputs) * _bytes_of(at_work.dataflow.sum_bits) + 2 * outputs * _bytes_of(gemm.y_bits)
    moved = dict(zip(SRAMS, (measured.x_read_bytes, measured.w_read_bytes, sums), strict=True))
    srams = at_work.books.srams
    return max(math.ceil(BITS_PER_BYTE * moved[name] / srams[name].array_bits_per_cycle) for name in SRAMS)


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
            *_use_events(uses),
            *_sram_events(books, sram, psums),
            *_dram_events(books, dram),
            *leakage_events(books, cycles, at_work.machine.clock_mhz),
        ),
    )


def _use_events(uses: Iterable[tuple[Use, float]]) -> list[Event]:
    """Uses as events, those of one kind together."""
    counts: dict[Use, float] = {}
    for what, count in uses:
        counts[what] = counts.get(what, 0) + count
    return [
        Event(
            component=what.component,
            name=what.name,
            count=count,
            unit=what.unit,
            price_pj=what.price_pj,
            source=what.source,
        )
        for what, count in counts.items()
        if count
    ]


def _sram_events(books: Books, sram: Dictionary[str, float], psums: Dictionary[str, float]) -> list[Event]:
    """Words of all SRAMs; those of partial sums apart."""
    events = []
    for component, each in books.srams.items():
        for direction, price_pj in (("read", each.read_pj), ("write", each.write_pj)):
            partial = psums.get(f"{component}_{direction}", 0.0)
            for name, moved in (
                (direction, sram[f"{component}_{direction}"] - partial),
                (f"{direction} {PARTIAL_SUMS}", partial),
            ):
                if moved or name == direction:
                    count = moved * BITS_PER_BYTE / each.word_bits
                    events.append(
                        Event(
                            component=component,
                            name=name,
                            count=count,
                            unit="word",
                            price_pj=price_pj,
                            source=each.source,
                        )
                    )
    return events


def _dram_events(books: Books, dram: Dictionary[str, int]) -> list[Event]:
    """Bits of DRAM; those of partial sums apart."""
    counts = {
        "read": dram["read"] - dram["psum_read"],
        "write": dram["write"] - dram["psum_write"],
        f"read {PARTIAL_SUMS}": dram["psum_read"],
        f"write {PARTIAL_SUMS}": dram["psum_write"],
    }
    return [
        Event(
            component="dram",
            name=name,
            count=count * BITS_PER_BYTE,
            unit="bit",
            price_pj=books.dram_pj_per_bit,
            source=books.dram_source,
        )
        for name, count in counts.items()
        if count or name in ("read", "write")
    ]


def leakage_events(books: Books, cycles: int, clock_mhz: float) -> list[Event]:
    """Leakage of every part for so many cycles; 1 uW at 1 MHz is 1 pJ per cycle."""
    return [
        Event(
            component="leakage",
            name=name,
            count=cycles,
            unit="cycle",
            price_pj=leakage_uw / clock_mhz,
            source=source,
        )
        for name, leakage_uw, source in books.leaking
    ]


def partial_sum_pj(cost: Cost) -> float:
    """Energy of moving partial sums between the array, the output SRAM and DRAM, in pJ."""
    return sum(event.energy_pj for event in cost.events if event.name.endswith(PARTIAL_SUMS))


def area_of(machine: Billed) -> Area:
    """Silicon area by component; control and wiring are not modelled."""
    books = books_of(machine)
    return Area(
        components_um2={
            **{each.name: each.count * each.circuit.area_um2 for each in books.components},
            **{name: sram.area_um2 for name, sram in books.srams.items()},
        },
        sources={
            **{each.name: each.circuit.area_source for each in books.components},
            **{name: sram.source for name, sram in books.srams.items()},
        },
    )
