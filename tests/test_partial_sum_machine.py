"""The APSQ array: closed forms against a walk of every step, counts by hand, the spill, prices, and the RAE."""

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bitwright import technology
from bitwright.accelerators.bill import Use
from bitwright.accelerators.engine import AtWork
from bitwright.accelerators.events import partial_sum_pj
from bitwright.accelerators.partial_sums import Apsq, ApsqInputStationary, ApsqOutputStationary
from bitwright.accelerators.partial_sums.accumulation import Stored, stored_by
from bitwright.accelerators.partial_sums.dataflow import InnerProducts
from bitwright.accelerators.partial_sums.published import Grid, accesses_of
from bitwright.accelerators.partial_sums.rae import simulate
from bitwright.accelerators.partial_sums.reference import walk
from bitwright.accelerators.protocol import Accelerator
from bitwright.accelerators.srams import SRAMS, srams_of
from bitwright.accelerators.systolic import OutputStationary
from bitwright.accelerators.systolic.dataflow import Timing
from bitwright.errors import InputError
from bitwright.formats import Integer, PerTensor
from bitwright.memory.reference import Words, walk_costs
from bitwright.memory.tiling import ORDERS, candidates
from bitwright.memory.timeline import TileCosts
from bitwright.methods.apsq.rule import Kind, PartialSums, Phase
from bitwright.methods.drift.rule import Drift
from bitwright.methods.execution import Execution
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan
from bitwright.methods.rules import EXACT
from bitwright.networks.load import load
from bitwright.networks.sites import Site
from bitwright.studies.conservation import check_site
from bitwright.studies.simulate import simulate as simulate_network
from bitwright.tasks.calibrate import calibrate_method
from bitwright.testing import check_accelerator
from toys import OtherRule

DATAFLOWS = ("is", "ws", "os")
ORDER = {"is": "mkn", "ws": "nkm", "os": "mnk"}
VARIANTS = ("mapped", "published")
PRICES = technology.load(28)
TIMINGS = [Timing(hidden=hidden, pipelined=pipelined) for hidden in (True, False) for pipelined in (True, False)]
SMALL_SRAMS = {"input_sram_kib": 1, "weight_sram_kib": 1, "output_sram_kib": 1}


def operand(bits, *, signed=True, zero_point=0):
    return OperandPlan(format=Integer(bits=bits, signed=signed), granularity=PerTensor(), zero_point=zero_point)


INT8 = SitePlan(x=operand(8), w=operand(8))


def apsq(group_size=1, *, tile=8, bits=8, phase="head"):
    rule = PartialSums(kind=Kind.APSQ, tile=tile, bits=bits, group_size=group_size, phase=Phase(phase))
    return dataclasses.replace(INT8, accumulation=rule)


def psq(*, tile=8, bits=8):
    return dataclasses.replace(INT8, accumulation=PartialSums(kind=Kind.PSQ, tile=tile, bits=bits))


def block(size, *, tile=8, bits=8):
    rule = PartialSums(kind=Kind.BLOCK, tile=tile, bits=bits, block=size)
    return dataclasses.replace(INT8, accumulation=rule)


def work(m, k, n, *, groups=1, plan=INT8, x_elements=None, w_elements=None, static_weight=True):
    site = Site(
        name="layer",
        op="linear",
        m=m,
        k=k,
        n=n,
        groups=groups,
        x_elements=groups * m * k if x_elements is None else x_elements,
        w_elements=groups * k * n if w_elements is None else w_elements,
        static_weight=static_weight,
    )
    return Execution(site=site, plan=plan)


def events_of(cost, component, name):
    return [each for each in cost.events if (each.component, each.name) == (component, name)]


def event(cost, component, name):
    (found,) = events_of(cost, component, name)
    return found


stored_sums = st.builds(
    Stored,
    rule=st.just("apsq"),
    bits=st.just(Fraction(8)),
    group_size=st.sampled_from((None, 1, 2, 3, 4)),
    phase=st.sampled_from(("head", "tail")),
)
ONE = Use(component="mac", name="mac_int8", unit="operation", price_pj=1.0, source="a test")
OTHER = Use(component="registers", name="exchange", unit="fold", price_pj=1.0, source="a test")


def inner_products(grid, rests, timing=None, depth=5, stored=()):
    return InnerProducts(
        rests=rests,
        po=grid.po,
        pci=grid.pci,
        pco=grid.pco,
        depth=depth,
        timing=timing or Timing(),
        sum_bits=32,
        product=ONE,
        exchange=OTHER,
        stored=stored,
    )


def whole(grid):
    """A product as a single tile."""
    return {axis: np.array([getattr(grid, axis)]) for axis in "mkn"}


def watch(grid, rests, timing, depth):
    """Cycles of a tile, and how often what rests is exchanged, step by step."""
    clock = exchanges = 0
    held = None
    counts = {"m": grid.row_tiles, "k": grid.psum_tiles, "n": grid.column_tiles}
    order = ORDER[rests]
    for indices in itertools.product(*(range(counts[axis]) for axis in order)):
        place = dict(zip(order, indices, strict=True))
        resting = {"is": ("m", "k"), "ws": ("k", "n"), "os": ("m", "n")}[rests]
        now = tuple(place[axis] for axis in resting)
        if now != held:
            held = now
            exchanges += 1
            if not timing.hidden and rests != "os":
                clock += 1  # loaded in the open; sums at rest are loaded with nothing
            if not timing.pipelined:
                clock += depth  # the pipeline has run empty
        clock += 1
    return clock, exchanges


@dataclasses.dataclass
class Walked:
    """What a mapped product moves, tile by tile and step by step: bytes by memory, work by circuit, cycles."""

    traffic: dict
    cycles: int
    compute_cycles: int
    macs: int = 0
    exchanges: int = 0
    sums: int = 0


def walk_mapped(machine, given_work, tile, order, buffers):
    """The twin of the engine on this array: every tile of the mapping, and in it every step of the array."""
    gemm, stored = machine.product(given_work), machine.stored(given_work)
    sum_bits = machine.psum_bits if machine.dataflow == "os" else stored.bits
    timing = Timing(hidden=machine.weight_loading == "hidden", pipelined=machine.fold_pipelining)
    ports = {name: sram.bits_per_cycle for name, sram in srams_of(machine).items()}
    m_sizes, k_sizes, n_sizes = (
        [min(size, extent - start) for start in range(0, extent, size)]
        for extent, size in zip((gemm.m, gemm.k, gemm.n), tile, strict=True)
    )
    shape = (gemm.groups, len(m_sizes), len(k_sizes), len(n_sizes))
    costs = TileCosts(
        compute=np.zeros(shape, dtype=np.int64),
        x_bytes=np.zeros(shape[:3], dtype=np.int64),
        w_bytes=np.zeros((gemm.groups, *shape[2:]), dtype=np.int64),
    )
    of_array = {}
    found = Walked(
        traffic=dict.fromkeys((f"{name}_{way}" for name in SRAMS for way in ("read", "write")), 0),
        cycles=0,
        compute_cycles=0,
    )
    for place in np.ndindex(*shape):
        group, i, j, column = place
        m, k, n = m_sizes[i], k_sizes[j], n_sizes[column]
        grid = Grid(m=m, k=k, n=n, po=machine.po, pci=machine.pci, pco=machine.pco)
        steps = walk(grid, ORDER[machine.dataflow], None, stored)
        clock, exchanges = watch(grid, machine.dataflow, timing, machine.fill_cycles)
        sums = steps.psum_write + m * n
        found.macs += m * k * n
        found.exchanges += exchanges
        found.sums += sums
        found.traffic["sram_input_read"] += steps.x_read * gemm.x_bits / 8
        found.traffic["sram_weight_read"] += steps.w_read * gemm.w_bits / 8
        finished = m * n * (k / gemm.k)  # tiles of k have shares
        out = 2 * (sums - finished) * sum_bits + 2 * finished * gemm.y_bits
        bits = (steps.x_read * gemm.x_bits, steps.w_read * gemm.w_bits, out)
        waits = (math.ceil(float(each) / ports[name]) for name, each in zip(SRAMS, bits, strict=True))
        costs.compute[place] = max(clock, *waits)
        of_array[place] = [float(each) for each in bits]
        costs.x_bytes[group, i, j] = math.ceil(m * k * gemm.x_bits * gemm.x_share / 8)
        costs.w_bytes[group, j, column] = math.ceil(k * n * gemm.w_bits * gemm.w_share / 8)
    fill = machine.fill_cycles * timing.pipelined + (timing.hidden and machine.dataflow != "os")
    moved = walk_costs(
        gemm=gemm,
        tile=tile,
        order=order,
        buffers=buffers,
        costs=costs,
        dram_bytes_per_cycle=machine.dram_bandwidth,
        fill_cycles=fill,
        words=Words(widths=tuple(ports[name] for name in SRAMS), of_array=of_array),
    )
    for (_, i, j), visits in moved.x_visits.items():
        found.traffic["sram_input_write"] += visits * math.ceil(m_sizes[i] * k_sizes[j] * gemm.x_bits / 8)
    for (_, j, column), visits in moved.w_visits.items():
        found.traffic["sram_weight_write"] += visits * math.ceil(k_sizes[j] * n_sizes[column] * gemm.w_bits / 8)
    outputs = gemm.groups * gemm.m * gemm.n
    through = (found.sums - outputs) * sum_bits / 8 + outputs * gemm.y_bits / 8
    found.traffic["sram_output_read"] = through + moved.psum_write
    found.traffic["sram_output_write"] = through + moved.psum_read
    found.traffic["dram_read"] = moved.x_read + moved.w_read + moved.psum_read
    found.traffic["dram_write"] = moved.psum_write + moved.y_write
    found.cycles, found.compute_cycles = moved.cycles, moved.compute_cycles
    return found


def energy_of(machine, given_work, walked):
    """Energy of what was walked but for the RAE's, at the prices of the machine's events."""
    outputs = given_work.site.groups * given_work.site.m * given_work.site.n
    leakage = sum(each.price_pj for each in machine.run(work(8, 8, 8)).events if each.component == "leakage")
    energy = walked.cycles * leakage
    energy += 8 * (walked.traffic["dram_read"] + walked.traffic["dram_write"]) * machine.dram_price[0]
    for name, sram in srams_of(machine).items():
        read_pj, write_pj = sram.pj_per_byte
        energy += float(walked.traffic[f"{name}_read"]) * read_pj + float(walked.traffic[f"{name}_write"]) * write_pj
    energy += walked.macs * PRICES.price("mac_int8").energy()
    energy += walked.exchanges * machine.resting_bits * PRICES.price("register_bit").energy()
    energy += (walked.sums - outputs) * PRICES.price("add_int32").energy()
    return energy + outputs * sum(PRICES.price(f"{name}_int32").energy() for name in ("multiply", "add", "shift"))


class TestTwins:
    @settings(max_examples=80, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(1, 12)] * 3),
        array=st.tuples(*[st.integers(1, 4)] * 3),
        capacity=st.integers(1, 150),
        stored=stored_sums,
        rests=st.sampled_from(DATAFLOWS),
    )
    def test_closed_forms_are_what_a_walk_of_every_step_counts(self, shape, array, capacity, stored, rests):
        grid = Grid(**dict(zip("mkn", shape, strict=True)), **dict(zip(("po", "pci", "pco"), array, strict=True)))
        found = accesses_of(grid, rests, capacity)
        # Only where inputs rest does published counting read weights again.
        walked = walk(grid, found.order, capacity if rests == "is" else None, stored)
        assert found.order == ORDER[rests]
        assert walked.steps == grid.steps
        assert (walked.x_read, walked.w_read, walked.w_dram) == (found.x_read, found.w_read, found.w_dram)
        assert walked.psum_read == walked.psum_write == found.stored
        assert walked.live == found.live_outputs * stored.live_tiles(grid.psum_tiles)
        outputs = grid.m * grid.n
        assert walked.quantized == (outputs * grid.psum_tiles if rests != "os" else 0)
        of_a_tile = inner_products(grid, rests).accesses(**whole(grid))
        assert (int(of_a_tile.x[0]), int(of_a_tile.w[0])) == (walked.x_read, walked.w_read)
        assert int(of_a_tile.sums[0]) - outputs == walked.psum_write

    @settings(max_examples=80, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(1, 12)] * 3),
        array=st.tuples(*[st.integers(1, 4)] * 3),
        depth=st.integers(1, 6),
        rests=st.sampled_from(DATAFLOWS),
        timing=st.sampled_from(TIMINGS),
    )
    def test_cycles_and_work_are_those_of_every_step(self, shape, array, depth, rests, timing):
        grid = Grid(**dict(zip("mkn", shape, strict=True)), **dict(zip(("po", "pci", "pco"), array, strict=True)))
        shift = dataclasses.replace(OTHER, component="rae")
        dataflow = inner_products(grid, rests, timing, depth, stored=((shift, 2),))
        cycles, exchanges = watch(grid, rests, timing, depth)
        assert int(dataflow.cycles(**whole(grid))[0]) == cycles
        uses = {use.component: int(count[0]) for use, count in dataflow.uses(**whole(grid))}
        sums = 0 if rests == "os" else grid.m * grid.n * grid.psum_tiles
        assert uses == {"mac": math.prod(shape), "registers": exchanges, **({"rae": 2 * sums} if sums else {})}

    @settings(max_examples=40, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(1, 40)] * 3),
        groups=st.integers(1, 3),
        dataflow=st.sampled_from(DATAFLOWS),
        timing=st.sampled_from(TIMINGS),
        plan=st.sampled_from((INT8, apsq(2, tile=2), block(32, tile=2))),
        kib=st.sampled_from((1, 8)),
        bank_bits=st.sampled_from((128, 16)),
        share=st.floats(0.3, 1),
    )
    def test_a_mapped_machine_charges_for_what_is_walked(
        self, shape, groups, dataflow, timing, plan, kib, bank_bits, share
    ):
        machine = Apsq(
            po=3,
            pci=2,
            pco=4,
            dataflow=dataflow,
            weight_loading="hidden" if timing.hidden else "exposed",
            fold_pipelining=timing.pipelined,
            input_sram_kib=kib,
            weight_sram_kib=kib,
            output_sram_kib=kib,
            sram_bank_bits=bank_bits,
            dram_bytes_per_cycle=3,
        )
        distinct = max(1, int(share * groups * shape[0] * shape[1]))
        given_work = work(*shape, groups=groups, plan=plan, x_elements=distinct)
        ran = machine.ran(given_work)
        mapping, cost = ran.mapping, ran.cost
        tile = (mapping.tile_m, mapping.tile_k, mapping.tile_n)
        walked = walk_mapped(machine, given_work, tile, mapping.order, mapping.buffers)
        assert cost.traffic_bytes == pytest.approx({name: float(each) for name, each in walked.traffic.items()})
        assert (cost.cycles, cost.compute_cycles) == (walked.cycles, walked.compute_cycles)
        energy = cost.total_energy_pj - cost.energy_pj.get("rae", 0)
        assert energy == pytest.approx(energy_of(machine, given_work, walked))
        assert ran.spilled == (mapping.dram_psum_write_bytes > 0)

    @pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
    @pytest.mark.parametrize("dataflow", DATAFLOWS)
    def test_no_other_mapping_is_better_by_the_walk(self, objective, dataflow):
        machine = Apsq(
            po=4, pci=8, pco=4, dataflow=dataflow, objective=objective, dram_bytes_per_cycle=4, **SMALL_SRAMS
        )
        given_work = work(29, 41, 23)
        mapped = AtWork(machine=machine, dataflow=machine.inner_products(given_work), gemm=machine.product(given_work))
        tilings = candidates(gemm=mapped.gemm, buffers=machine.buffers, unit=mapped.tile_unit)
        scores = []
        for i in range(len(tilings)):
            tile = (int(tilings.m[i]), int(tilings.k[i]), int(tilings.n[i]))
            buffers = tuple(
                int(each[i]) for each in (tilings.input_buffers, tilings.weight_buffers, tilings.output_buffers)
            )
            walked = walk_mapped(machine, given_work, tile, ORDERS[int(tilings.order[i])], buffers)
            energy = energy_of(machine, given_work, walked)
            scores.append({"latency": walked.cycles, "energy": energy, "edp": energy * walked.cycles}[objective])
        cost = machine.run(given_work)
        found = {"latency": cost.cycles, "energy": cost.total_energy_pj, "edp": cost.total_energy_pj * cost.cycles}
        assert len(scores) > 50
        assert found[objective] == pytest.approx(min(scores))

    @settings(max_examples=30, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(1, 60)] * 3),
        groups=st.integers(1, 3),
        dataflow=st.sampled_from(DATAFLOWS),
        plan=st.sampled_from((INT8, apsq(2, tile=2), psq(tile=2), block(32, tile=2))),
        through=st.booleans(),
    )
    def test_published_counting_charges_for_what_is_walked(self, shape, groups, dataflow, plan, through):
        machine = Apsq(
            po=3, pci=2, pco=4, dataflow=dataflow, variant="published", spill_through_sram=through, **SMALL_SRAMS
        )
        given_work = work(*shape, groups=groups, plan=plan)
        cost, moved, stored = machine.run(given_work), machine.moved(given_work), machine.stored(given_work)
        walked = walk(moved.grid, ORDER[dataflow], 1024 if dataflow == "is" else None, stored)
        live_bytes = float(walked.live * stored.bits / 8)
        spills = live_bytes > 1024
        outputs = groups * shape[0] * shape[2]
        sums = math.ceil(groups * walked.psum_write * stored.bits / 8)
        on_chip = sums if through or not spills else 0
        assert (moved.live_bytes, moved.spills) == (live_bytes, spills)
        assert cost.traffic_bytes == {
            "dram_read": groups * (shape[0] * shape[1] + walked.w_dram) + sums * spills,
            "dram_write": outputs + sums * spills,
            "sram_input_read": groups * walked.x_read,
            "sram_input_write": 0,
            "sram_weight_read": groups * walked.w_read,
            "sram_weight_write": 0,
            "sram_output_read": on_chip,
            "sram_output_write": on_chip + outputs,
        }
        assert cost.compute_cycles == groups * walked.steps + machine.fill_cycles
        if walked.psum_write:
            assert event(cost, "sum_adders", "accumulate").count == groups * walked.psum_write


class TestCountsByHand:
    # 10 x 20 by 20 x 6 on 4 lines of 3 elements of 8 products: nm = 3, np = 3, no = 2.
    grid = Grid(m=10, k=20, n=6, po=4, pci=8, pco=3)

    def test_tiles(self):
        assert (self.grid.row_tiles, self.grid.psum_tiles, self.grid.column_tiles) == (3, 3, 2)
        assert self.grid.steps == 18

    @pytest.mark.parametrize(
        ("rests", "x_read", "w_read", "stored", "live"),
        [
            ("is", 10 * 20, 20 * 6 * 3, 2 * 60, 4 * 6),  # the third step finishes an output
            ("ws", 10 * 20 * 2, 20 * 6, 2 * 60, 10 * 3),
            ("os", 10 * 20 * 2, 20 * 6 * 3, 0, 0),
        ],
    )
    def test_accesses(self, rests, x_read, w_read, stored, live):
        found = accesses_of(self.grid, rests, 2**17)
        assert (found.x_read, found.w_read, found.stored, found.live_outputs) == (x_read, w_read, stored, live)
        of_a_tile = inner_products(self.grid, rests).accesses(**whole(self.grid))
        assert (int(of_a_tile.x[0]), int(of_a_tile.w[0]), int(of_a_tile.sums[0])) == (x_read, w_read, stored + 60)

    def test_weights_that_do_not_fit_pass_again_where_inputs_rest(self):
        assert [accesses_of(self.grid, "is", capacity).w_dram for capacity in (120, 119)] == [120, 120 * 3]
        assert {accesses_of(self.grid, rests, 1).w_dram for rests in ("ws", "os")} == {120}

    @pytest.mark.parametrize(("rests", "exchanges"), [("is", 9), ("ws", 6), ("os", 6)])
    def test_cycles(self, rests, exchanges):
        # 18 steps; in the open a cycle to load what rests, by themselves five stages each.
        def cycles(**timing):
            return int(inner_products(self.grid, rests, Timing(**timing)).cycles(**whole(self.grid))[0])

        loads = exchanges if rests != "os" else 0
        assert cycles() == 18
        assert cycles(hidden=False) == 18 + loads
        assert cycles(pipelined=False) == 18 + 5 * exchanges
        assert cycles(hidden=False, pipelined=False) == 18 + 5 * exchanges + loads

    def test_narrow_products_hold_no_more_than_they_have(self):
        depthwise = Grid(m=100, k=9, n=1, po=16, pci=8, pco=8)
        assert accesses_of(depthwise, "ws", 1).live_outputs == 100

    @pytest.mark.parametrize(
        ("tiles", "group", "phase", "live"),
        [
            (1, 4, "head", 0),  # an output that is finished at once is never stored
            (96, 1, "head", 1),
            (96, 4, "head", 4),
            (96, 4, "tail", 4),
            (4, 4, "tail", 3),  # three lone tiles, and the fourth finishes
            (6, 4, "tail", 3),  # the running sum of the first four, then one more
            (6, 4, "head", 4),
            (96, None, "head", 95),
        ],
    )
    def test_live_partial_sums(self, tiles, group, phase, live):
        stored = Stored(rule="apsq", bits=Fraction(8), group_size=group, phase=phase)
        assert stored.live_tiles(tiles) == live

    @pytest.mark.parametrize(
        ("plan", "bits"), [(INT8, 32), (apsq(bits=6), 6), (psq(bits=4), 4), (block(32), Fraction(33, 4))]
    )
    def test_width_of_what_is_stored(self, plan, bits):
        assert stored_by(plan.accumulation, 32).bits == bits

    @pytest.mark.parametrize(
        ("plan", "kept"), [(INT8, 32), (apsq(3), 24), (psq(), 11 * 8), (block(32), Fraction(33, 4))]
    )
    def test_what_an_unfinished_output_keeps(self, plan, kept):
        # 96 products are 12 tiles of 8, of which the last is not stored.
        for dataflow in DATAFLOWS:
            gemm = Apsq(dataflow=dataflow).product(work(96, 96, 40, plan=plan))
            assert gemm.psum_bits == (32 if dataflow == "os" else kept)

    def test_pixels_that_a_convolution_reads_twice_come_once_from_dram(self):
        # Everything fits, so that all distinct bytes are read once however the product is cut.
        for variant in VARIANTS:
            machine = Apsq(po=4, pci=8, pco=3, variant=variant, objective="energy")
            cost = machine.run(work(10, 20, 6, x_elements=70))
            assert cost.traffic_bytes["dram_read"] == 70 + 120
            assert cost.traffic_bytes["sram_input_write"] == (200 if variant == "mapped" else 0)
            assert cost.unique_bytes == 70 + 120 + 60


class TestVariants:
    wide = work(2048, 256, 64)  # x is twice the 256 KiB of its SRAM

    def test_published_accesses_are_those_of_the_array_alone(self):
        cost = Apsq(variant="published").run(self.wide)
        x, w, y = 2048 * 256, 256 * 64, 2048 * 64
        assert cost.traffic_bytes["dram_read"] == x + w
        assert cost.traffic_bytes["dram_write"] == y
        assert cost.traffic_bytes["sram_input_read"] == 8 * x  # in 8 tiles of columns
        assert cost.traffic_bytes["sram_input_write"] == cost.traffic_bytes["sram_weight_write"] == 0
        assert cost.traffic_bytes["sram_output_read"] == 31 * y * 4
        assert cost.traffic_bytes["sram_output_write"] == 31 * y * 4 + y

    def test_mapped_transfers_from_dram_are_written_into_srams(self):
        machine = Apsq()
        cost, told = machine.run(self.wide), machine.explain(self.wide)
        x, w, y = 2048 * 256, 256 * 64, 2048 * 64
        traffic = cost.traffic_bytes
        assert traffic["sram_input_write"] + traffic["sram_weight_write"] == traffic["dram_read"] >= x + w
        assert traffic["sram_input_read"] == 8 * x
        assert traffic["sram_weight_read"] == -(-2048 // told["tile_m"]) * w
        assert traffic["sram_output_read"] == traffic["sram_output_write"] == 31 * y * 4 + y  # nothing spills

    def test_published_weights_are_read_again_where_inputs_rest(self):
        # 512 x 512 weights, 256 KiB, in an SRAM of 128 KiB; 100 rows are 9 tiles of 12.
        machine = Apsq(dataflow="is", variant="published")
        assert machine.run(work(100, 512, 512)).traffic_bytes["dram_read"] == 100 * 512 + 9 * 512 * 512
        assert Apsq(dataflow="os", variant="published").run(work(100, 512, 512)).traffic_bytes["dram_read"] == (
            100 * 512 + 512 * 512
        )

    def test_mapped_weights_are_not(self):
        # All 100 rows fit, 50 KiB, so that weights can pass under them once.
        for dataflow in DATAFLOWS:
            cost = Apsq(dataflow=dataflow, objective="energy").run(work(100, 512, 512))
            assert cost.traffic_bytes["dram_read"] == 100 * 512 + 512 * 512

    def test_dataflows_have_names_of_their_own(self):
        for named, dataflow in ((ApsqInputStationary(), "is"), (ApsqOutputStationary(), "os")):
            assert named.run(self.wide) == Apsq(dataflow=dataflow).run(self.wide)


class TestOneMapping:
    def test_the_same_dram_bytes_as_any_array_whose_sums_rest(self):
        # FINDINGS 6. 256 KiB hold 256 rows of 1,024 bytes, which the array waits for: inputs pass once, weights (a byte
        # and 1/1,024 of a scale of 4 bytes each) with each of 16 tiles of rows.
        network = load("gemm:4096x1024x1024")
        machines = {each.__name__: each(objective="energy") for each in (ApsqOutputStationary, OutputStationary)}
        found = simulate_network(network, calibrate_method(network, "int8-sym"), machines)
        weights = 1024 * 1024 + 4 * 1024
        for name in machines:
            traffic = found[name].cost.traffic_bytes
            assert traffic["dram_read"] == 4096 * 1024 + 16 * weights, name
            assert traffic["dram_write"] == 4096 * 1024, name

    def test_it_takes_as_many_steps_however_sums_are_stored(self):
        for dataflow in DATAFLOWS:
            costs = [Apsq(dataflow=dataflow).run(work(768, 768, 64, plan=plan)) for plan in (INT8, apsq(), psq())]
            fill = 4 + (dataflow != "os")  # five stages, and the first load of what rests
            assert {cost.compute_cycles for cost in costs} == {64 * 96 * 8 + fill}


class TestNarrowSums:
    def test_they_let_larger_tiles_fit(self):
        # 8,192 x 8 outputs in 128 KiB: 256 KiB of exact sums, 64 KiB of a byte each, of which two fit, 128 KiB of two.
        given_work = work(8192, 16, 8)
        for group, fits, buffers in ((None, False, None), (1, True, 2), (2, True, 1), (3, False, None)):
            plan = INT8 if group is None else apsq(group)
            # 48 products are 6 tiles: as many partial sums live as the group has.
            own = dataclasses.replace(given_work, site=dataclasses.replace(given_work.site, k=48), plan=plan)
            machine = Apsq(input_sram_kib=1024)
            tilings = candidates(gemm=machine.product(own), buffers=machine.buffers, unit=(12, 8, 8))
            whole_output = (tilings.m == 8192) & (tilings.n == 8)
            assert whole_output.any() == fits
            if fits:
                assert set(tilings.output_buffers[whole_output].tolist()) == {buffers}

    def test_larger_tiles_move_fewer_bytes(self):
        # k is too long for inputs or weights to stay whole.
        machine = Apsq(objective="energy")
        wide, narrow = (machine.ran(work(4096, 4096, 4096, plan=plan)) for plan in (INT8, apsq()))
        assert wide.mapping.tile_m * wide.mapping.tile_n < narrow.mapping.tile_m * narrow.mapping.tile_n
        for way in ("dram_read", "dram_write"):
            assert narrow.cost.traffic_bytes[way] < wide.cost.traffic_bytes[way]

    @settings(max_examples=30, deadline=None)
    @given(
        shape=st.tuples(st.integers(1, 600), st.integers(9, 600), st.integers(1, 600)),
        groups=st.integers(1, 3),
        dataflow=st.sampled_from(DATAFLOWS),
        plan=st.sampled_from((apsq(), apsq(4), apsq(2, bits=16), apsq(4, bits=4), block(32))),
        kib=st.sampled_from((1, 4, 128)),
        objective=st.sampled_from(("latency", "energy", "edp")),
    )
    def test_they_never_cost_more_than_what_the_rae_takes(self, shape, groups, dataflow, plan, kib, objective):
        # An output keeps at most 32 bits; of more than one tile, so that something is stored. Of a small SRAM 24 bits
        # are cheaper than the RAE, which works once for a sum at most.
        srams = {"input_sram_kib": kib, "weight_sram_kib": kib, "output_sram_kib": kib}
        machine = Apsq(dataflow=dataflow, objective=objective, **srams)
        wide, narrow = (machine.run(work(*shape, groups=groups, plan=each)) for each in (INT8, plan))
        stored = sum(event.count for event in wide.events if event.component == "sum_adders")
        rae_pj = stored * sum(event.price_pj for event in narrow.events if event.component == "rae")
        scores = [
            {"latency": cost.cycles, "energy": energy, "edp": cost.cycles * energy}[objective]
            for cost, energy in ((narrow, narrow.total_energy_pj), (wide, wide.total_energy_pj + rae_pj))
        ]
        assert scores[0] <= scores[1] * (1 + 1e-12)

    @settings(max_examples=30, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(1, 600)] * 3),
        dataflow=st.sampled_from(DATAFLOWS),
        bits=st.sampled_from((8, 16, 24)),
        kib=st.sampled_from((1, 4, 128)),
    )
    def test_nor_do_exact_ones_of_fewer_bits(self, shape, dataflow, bits, kib):
        srams = {"input_sram_kib": kib, "weight_sram_kib": kib, "output_sram_kib": kib}
        for objective in ("latency", "energy"):
            narrow, wide = (
                Apsq(dataflow=dataflow, psum_bits=each, objective=objective, **srams).run(work(*shape))
                for each in (bits, 32)
            )
            if objective == "latency":
                assert narrow.cycles <= wide.cycles
            else:
                assert narrow.total_energy_pj <= wide.total_energy_pj * (1 + 1e-12)

    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("shape", [(128, 768, 768), (4096, 576, 64), (1, 64, 64), (197, 64, 197)])
    def test_they_save_where_sums_are_stored(self, variant, shape):
        for dataflow in DATAFLOWS:
            machine = Apsq(dataflow=dataflow, variant=variant)
            wide, narrow = (machine.run(work(*shape, plan=plan)) for plan in (INT8, apsq()))
            if dataflow == "os":
                assert narrow == wide
                assert partial_sum_pj(wide) == 0
            else:
                assert narrow.total_energy_pj < wide.total_energy_pj
                assert narrow.cycles <= wide.cycles
                assert partial_sum_pj(narrow) == pytest.approx(partial_sum_pj(wide) / 4)

    def test_energy_falls_with_every_bit(self):
        machine = Apsq()
        energies = [machine.run(work(128, 768, 768, plan=apsq(bits=bits))).total_energy_pj for bits in (4, 6, 8, 16)]
        assert energies == sorted(energies)
        assert len(set(energies)) == 4

    def test_larger_groups_never_score_better(self):
        # They store as often and keep more, so that fewer tiles fit.
        for dataflow, shape in itertools.product(DATAFLOWS, ((512, 512, 64), (8192, 64, 8), (4096, 1024, 1024))):
            costs = [Apsq(dataflow=dataflow).run(work(*shape, plan=apsq(group))) for group in (1, 2, 3, 4)]
            edp = [cost.cycles * cost.total_energy_pj for cost in costs]
            assert all(before <= after * (1 + 1e-12) for before, after in itertools.pairwise(edp))
            if dataflow == "os":
                assert len(set(edp)) == 1


class TestConstants:
    """Of centred codes: one per output and tile of the reduction, which moves with the weights."""

    @pytest.mark.parametrize(
        ("pci", "k", "w_bits", "constants", "bits"),
        [
            (8, 64, 8, 8, 19),  # 8 bits by 8 bits, eight of them: three more
            (16, 64, 8, 4, 20),
            (8, 64, 4, 8, 15),
            (8, 4, 8, 1, 18),  # a tile of four
            (8, 1, 8, 1, 16),
        ],
    )
    def test_bits_of_weights_by_hand(self, pci, k, w_bits, constants, bits):
        # 16 outputs
        plan = dataclasses.replace(apsq(tile=pci), x=operand(8, signed=False, zero_point=100), w=operand(w_bits))
        for dataflow in ("is", "ws"):
            machine = Apsq(pci=pci, dataflow=dataflow)
            cost = machine.run(work(24, k, 16, plan=plan))
            weights = (16 * k * w_bits + 16 * constants * bits) / 8
            assert cost.unique_bytes == 24 * k + math.ceil(weights) + 24 * 16
            assert machine.product(work(24, k, 16, plan=plan)).w_bits == w_bits + Fraction(constants * bits, k)

    def test_a_constant_is_that_wide(self):
        # 255 or -128 by -128, eight times, lies within 19 bits and not within 18.
        for code in (255, -128):
            assert -(2**18) <= 8 * code * -128 < 2**18
        assert 8 * 255 * -128 < -(2**17)

    def test_they_are_added_to_every_sum(self):
        machine = Apsq()
        plain, centred = (
            machine.run(work(24, 64, 16, plan=dataclasses.replace(apsq(), x=operand(8, zero_point=zero))))
            for zero in (0, 3)
        )
        sums = 24 * 16 * 8
        assert event(centred, "rae", "add_int32").count - event(plain, "rae", "add_int32").count == sums
        assert event(centred, "rae", "shift_int32").count == event(plain, "rae", "shift_int32").count

    def test_centres_do_as_a_zero_point(self):
        centres = dataclasses.replace(apsq().accumulation, centres=torch.zeros(64, dtype=torch.int32))
        by_centres = dataclasses.replace(INT8, accumulation=centres)
        by_zero_point = dataclasses.replace(apsq(), x=operand(8, zero_point=3))
        both = dataclasses.replace(by_centres, x=operand(8, zero_point=3))
        given_work = work(24, 64, 16)
        costs = [Apsq().run(dataclasses.replace(given_work, plan=plan)) for plan in (by_centres, by_zero_point, both)]
        assert costs[0] == costs[1] == costs[2]

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_who_has_none(self, variant):
        centred = dataclasses.replace(apsq(), x=operand(8, zero_point=3))
        exact = dataclasses.replace(centred, accumulation=EXACT)
        unique = 24 * 64 + 64 * 16 + 24 * 16
        machine = Apsq(variant=variant)
        assert machine.run(work(24, 64, 16, plan=apsq())).unique_bytes == unique
        assert machine.run(work(24, 64, 16, plan=exact)).unique_bytes == unique
        assert Apsq(dataflow="os", variant=variant).run(work(24, 64, 16, plan=centred)).unique_bytes == unique
        # Weights that are made at run time have no constants beforehand: their sums are taken as they come.
        moving = machine.run(work(24, 64, 16, plan=centred, static_weight=False))
        assert moving.unique_bytes == unique
        assert event(moving, "operands", "add to meet a zero point").count == 64 * 16
        constants = 16 * 19 if variant == "mapped" else 0  # published figures do not seem to count them
        assert machine.run(work(24, 64, 16, plan=centred)).unique_bytes == unique + constants

    def test_a_last_tile_that_is_shorter_has_a_whole_constant(self):
        plan = dataclasses.replace(apsq(), x=operand(8, signed=False, zero_point=100))
        # 20 products are 3 tiles: 3 constants of 19 bits for each of 16 outputs.
        assert Apsq().run(work(24, 20, 16, plan=plan)).unique_bytes == 24 * 20 + 20 * 16 + 3 * 16 * 19 // 8 + 24 * 16


class TestSpill:
    """The cliff of published counting, and a mapping that walks round it."""

    def test_what_just_fits_and_what_just_does_not(self):
        # Weight-stationary: 4 bytes x 8 columns x m in 128 KiB: 4,096 rows. Input-stationary: 4 x 12 rows x n.
        for dataflow, fits, spills in (("ws", (4096, 16, 8), (4097, 16, 8)), ("is", (12, 16, 2730), (12, 16, 2731))):
            machine = Apsq(dataflow=dataflow, variant="published")
            assert machine.explain(work(*fits))["spill"] is False
            assert machine.explain(work(*spills))["spill"] is True
            before, after = machine.run(work(*fits)), machine.run(work(*spills))
            assert before.traffic_bytes["dram_write"] == fits[0] * fits[2]
            outputs = spills[0] * spills[2]
            assert after.traffic_bytes["dram_write"] == outputs + 4 * outputs
            assert after.traffic_bytes["dram_read"] == spills[0] * 16 + 16 * spills[2] + 4 * outputs
            mapped = Apsq(dataflow=dataflow, objective="energy")
            for shape in (fits, spills):
                cost = mapped.run(work(*shape))
                assert mapped.explain(work(*shape))["spill"] is False
                assert cost.traffic_bytes["dram_write"] == shape[0] * shape[2]
                assert cost.traffic_bytes["dram_read"] == shape[0] * 16 + 16 * shape[2]

    def test_quantized_sums_fit_where_exact_ones_do_not(self):
        given_work, machine = work(8192, 64, 8), Apsq(variant="published")
        assert machine.moved(given_work).spills
        for group, spills in ((1, False), (2, False), (3, True)):  # 64 KiB each, in 128
            moved = machine.moved(dataclasses.replace(given_work, plan=apsq(group)))
            assert (moved.live_bytes, moved.spills) == (group * 65536, spills)

    def test_lone_tiles_spill_for_being_many(self):
        # 64 / 8 tiles, of which 7 are stored: 7 bytes an output, more than the 4 of an exact sum.
        machine = Apsq(variant="published")
        moved = machine.moved(work(4000, 64, 8, plan=psq()))
        assert moved.live_bytes == 7 * 4000 * 8
        assert moved.spills
        assert not machine.moved(work(4000, 64, 8)).spills

    def test_groups_matter_by_the_spill_alone(self):
        for dataflow in DATAFLOWS:
            machine = Apsq(dataflow=dataflow, variant="published")
            costs = [machine.run(work(512, 512, 64, plan=apsq(group))) for group in (1, 2, 3, 4)]
            assert all(cost == costs[0] for cost in costs)
        costs = [Apsq(variant="published").run(work(8192, 64, 8, plan=apsq(group))) for group in (1, 2, 3, 4)]
        assert costs[0] == costs[1]
        assert costs[2] == costs[3]
        assert costs[2].energy_pj["dram"] > costs[1].energy_pj["dram"]

    def test_spilled_sums_pass_the_sram_or_not(self):
        given_work, sums = work(4097, 16, 8), 4097 * 8 * 4
        through, around = (
            Apsq(variant="published", spill_through_sram=passes).run(given_work) for passes in (True, False)
        )
        assert through.traffic_bytes["dram_write"] == around.traffic_bytes["dram_write"]
        assert through.traffic_bytes["sram_output_write"] - around.traffic_bytes["sram_output_write"] == sums
        assert through.traffic_bytes["sram_output_read"] == sums
        assert around.traffic_bytes["sram_output_read"] == 0

    def test_groups_of_a_site_live_one_after_the_other(self):
        assert Apsq(variant="published").moved(work(4096, 16, 8, groups=5)).live_bytes == 128 * 1024

    def test_a_mapping_spills_where_that_is_less_than_reading_again(self):
        # 1 KiB of narrow sums at a time: 16 x 64 of them, beside 64 columns of half a reduction of weights.
        machine = Apsq(
            input_sram_kib=4, weight_sram_kib=8, output_sram_kib=1, dram_bytes_per_cycle=4, objective="energy"
        )
        given_work = work(256, 256, 256, plan=apsq())
        ran = machine.ran(given_work)
        mapping = ran.mapping
        walked = walk_mapped(
            machine, given_work, (mapping.tile_m, mapping.tile_k, mapping.tile_n), mapping.order, mapping.buffers
        )
        assert ran.spilled
        assert machine.explain(given_work)["spill"] is True
        sums = 256 * 256 * (-(-256 // mapping.tile_k) - 1)  # bytes, each way, of every tile of k but the last
        assert event(ran.cost, "dram", "write partial sums").count == 8 * sums
        assert event(ran.cost, "dram", "read partial sums").count == 8 * sums
        assert ran.cost.traffic_bytes["dram_write"] == 256 * 256 + sums
        assert ran.cost.traffic_bytes == pytest.approx({name: float(each) for name, each in walked.traffic.items()})
        assert ran.cost.cycles == walked.cycles


class TestEnergy:
    def test_it_is_the_sum_of_counts_by_prices(self):
        machine = Apsq(po=4, pci=8, pco=3)
        cost, told = machine.run(work(10, 20, 6, plan=apsq(2))), machine.explain(work(10, 20, 6, plan=apsq(2)))
        outputs, stored = 60, 120
        rows = -(-10 // told["tile_m"])
        assert told["tile_k"] % 8 == 0 or told["tile_k"] == 20
        assert event(cost, "mac", "mac_int8").count == 10 * 20 * 6
        assert event(cost, "rae", "add_int32").count == outputs + stored  # rounding
        assert event(cost, "sum_adders", "accumulate").count == stored
        assert event(cost, "requantizers", "requantize").count == outputs
        assert event(cost, "registers", "exchange what rests").count == rows * 3 * 2
        # Banks of 16 bytes a word.
        assert event(cost, "sram_input", "read").count == 2 * 200 / 16
        assert event(cost, "sram_weight", "read").count == rows * 120 / 16
        for way in ("read", "write"):
            assert event(cost, "sram_output", way).count == outputs / 16
            assert event(cost, "sram_output", f"{way} partial sums").count == stored / 16
        assert event(cost, "dram", "read").count == 8 * cost.traffic_bytes["dram_read"]
        assert cost.total_energy_pj == pytest.approx(sum(each.count * each.price_pj for each in cost.events))
        for component, part in (("mac", "mac_int8"), ("rae", "shift_int32"), ("rae", "add_int32")):
            assert event(cost, component, part).price_pj == PRICES.price(part).energy()
        register = PRICES.price("register_bit").energy()
        assert event(cost, "registers", "exchange what rests").price_pj == pytest.approx(8 * 3 * 8 * register)

    @pytest.mark.parametrize("variant", VARIANTS)
    def test_sums_are_shifted_to_be_stored_and_when_they_are_read_back(self, variant):
        cost = Apsq(po=4, pci=8, pco=3, variant=variant).run(work(10, 20, 6, plan=apsq(2)))
        walked = walk(Grid(m=10, k=20, n=6, po=4, pci=8, pco=3), "nkm", None, stored_by(apsq(2).accumulation, 32))
        assert (walked.quantized, walked.psum_read) == (180, 120)
        assert event(cost, "rae", "shift_int32").count == 180 + 120

    def test_an_exact_sum_that_is_read_back_is_added(self):
        cost = Apsq(po=4, pci=8, pco=3).run(work(10, 20, 6))
        assert event(cost, "sum_adders", "accumulate").count == 120
        assert event(cost, "sum_adders", "accumulate").price_pj == PRICES.price("add_int32").energy()
        assert "rae" not in cost.energy_pj
        assert event(cost, "sram_output", "read partial sums").count == 120 * 4 / 16

    def test_finding_an_exponent_takes_a_comparison(self):
        plain, dynamic = (Apsq(variant="published").run(work(64, 64, 64, plan=plan)) for plan in (apsq(), block(32)))
        more = event(dynamic, "rae", "add_int32").count - event(plain, "rae", "add_int32").count
        assert more == 64 * 64 * 8
        assert dynamic.traffic_bytes["sram_output_write"] - plain.traffic_bytes["sram_output_write"] == (
            64 * 64 * 7 * 0.25 / 8
        )

    def test_int16_sums_are_a_machine_of_16_bits(self):
        cost = Apsq(psum_bits=16, po=4, pci=8, pco=3).run(work(10, 20, 6))
        assert event(cost, "sram_output", "read partial sums").count == 120 * 2 / 16

    def test_leakage_is_charged_for_every_cycle(self):
        machine = Apsq()
        cost = machine.run(work(64, 64, 64))
        rae = event(cost, "leakage", "rae")
        logic = PRICES.price("logic_leakage").leakage()
        lane_um2 = 5 * PRICES.price("shift_int32").area() + 3 * PRICES.price("add_int32").area()
        assert (rae.count, rae.price_pj) == (cost.cycles, pytest.approx(96 * lane_um2 * logic / 500))
        names = {each.name for each in cost.events if each.component == "leakage"}
        assert names == {
            *("mac_array", "rae", "second_registers", "requantizers", "sum_adders", "operands", "vector_unit"),
            *SRAMS,
        }


class TestCycles:
    def test_one_step_per_cycle(self):
        # Default array: nm = 8, np = 12, no = 5; multiplier, three levels of adders, RAE, and the first weights.
        assert Apsq().run(work(96, 96, 40, groups=3)).compute_cycles == 3 * 8 * 12 * 5 + 4 + 1
        assert Apsq(pci=1).fill_cycles == 1
        assert Apsq(pci=9).fill_cycles == 5

    def test_weights_in_the_open_take_a_cycle_each(self):
        # 12 x 5 tiles of weights for every tile of rows that the mapping cuts.
        machine = Apsq(weight_loading="exposed")
        told = machine.explain(work(96, 96, 40))
        assert told["tile_m"] % 12 == 0
        assert told["compute_cycles"] == 8 * 12 * 5 + 12 * 5 * -(-96 // told["tile_m"]) + 4

    def test_published_first_operands_and_last_outputs_are_exposed(self):
        # 12 x 8 inputs and 8 x 8 weights are 160 bytes, 2 cycles; 12 x 8 outputs are 96 bytes, 1 cycle.
        machine = Apsq(variant="published", dram_bytes_per_cycle=128)
        cost = machine.run(work(96, 96, 40))
        assert cost.compute_cycles == 8 * 12 * 5 + 4
        assert cost.cycles == cost.compute_cycles + 3
        assert machine.explain(work(96, 96, 40))["bound"] == "array"

    def test_starved_of_bandwidth_dram_sets_the_pace(self):
        # Half a byte per cycle, 3 x 4,096 bytes.
        for variant in VARIANTS:
            slow = Apsq(dram_bytes_per_cycle=0.5, variant=variant, objective="energy")
            cost = slow.run(work(64, 64, 64))
            assert cost.busy_cycles["dram"] == 2 * 3 * 64 * 64
            assert slow.explain(work(64, 64, 64))["bound"] == "dram"
            assert cost.cycles >= cost.busy_cycles["dram"]
        assert Apsq(dram_bytes_per_cycle=0.5, variant="published").run(work(64, 64, 64)).cycles == 2 * 3 * 64 * 64

    def test_explain_and_run_tell_the_same(self):
        for dataflow, variant in itertools.product(DATAFLOWS, VARIANTS):
            machine, given_work = Apsq(dataflow=dataflow, variant=variant), work(8192, 64, 20, groups=2)
            cost, told = machine.run(given_work), machine.explain(given_work)
            assert (told["cycles"], told["compute_cycles"]) == (cost.cycles, cost.compute_cycles)
            assert (told["nm"], told["np"], told["no"]) == (683, 8, 3)
            assert told["psum_energy_share"] == partial_sum_pj(cost) / cost.total_energy_pj
            assert (told["live_psum_tiles"], told["psum_bits"]) == (0 if dataflow == "os" else 1, 32)
            assert told["spill"] is (dataflow == "ws" and variant == "published")
            assert told["dram_read_bytes"] == cost.traffic_bytes["dram_read"]
            assert (told["dataflow"], told["variant"]) == (dataflow, variant)


class TestSupports:
    @pytest.mark.parametrize(
        "plan",
        [
            INT8,
            apsq(4),
            apsq(3, phase="tail", bits=4),
            psq(),
            block(16),
            SitePlan(x=operand(8, signed=False), w=operand(4)),
        ],
    )
    def test_plans_that_run(self, plan):
        for dataflow in DATAFLOWS:
            machine = Apsq(dataflow=dataflow)
            assert machine.supports(plan) is None
            assert machine.run(work(8, 80, 8, plan=plan)).macs_executed == 8 * 80 * 8

    @pytest.mark.parametrize(
        ("plan", "reason"),
        [
            (
                apsq(tile=16),
                "after every 16 products and a processing element adds 8; --set apsq.pci=16 builds such an array, "
                "or calibrate again with --option psum_tile=8",
            ),
            (psq(tile=4), "after every 4 products"),
            (block(32, tile=32), "--set apsq.pci=32"),
            (apsq(5), "5 partial sums of an output are added at once and the RAE has 4 banks; .*group_size=4 or less"),
            (FLOAT_SITE, "x is float32 and the array multiplies int8"),
            (SitePlan(x=operand(8), w=operand(16)), "w is int16 and the array multiplies int8; use a method of 8 bits"),
            (dataclasses.replace(INT8, precision=Drift()), "run time .*drift"),
            (
                dataclasses.replace(INT8, accumulation=OtherRule(name="wrap12")),
                "wrap12 and the array knows exact, apsq, psq",
            ),
        ],
    )
    def test_plans_that_do_not_and_what_would_help(self, plan, reason):
        assert Apsq().supports(plan) is not None
        with pytest.raises(InputError, match=f"layer cannot run on this array: .*{reason}"):
            Apsq().run(work(8, 8, 8, plan=plan))

    def test_the_lever_works(self):
        assert Apsq(pci=16).supports(apsq(tile=16)) is None


class TestMachine:
    @pytest.mark.parametrize(
        "machine",
        [
            Apsq,
            ApsqInputStationary,
            ApsqOutputStationary,
            Apsq(dataflow="is", **SMALL_SRAMS),
            Apsq(dataflow="os", input_sram_kib=1, weight_sram_kib=1, dram_bytes_per_cycle=3),
            Apsq(variant="published", output_sram_kib=1, spill_through_sram=False, po=3, pci=5, pco=7),
            Apsq(weight_loading="exposed", fold_pipelining=False, **SMALL_SRAMS),
        ],
    )
    def test_it_keeps_the_promises_of_accelerators(self, machine):
        check_accelerator(machine)

    @settings(max_examples=50, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(1, 300)] * 3, st.integers(1, 4)),
        plan=st.sampled_from((INT8, apsq(), apsq(3), psq(), block(32))),
        dataflow=st.sampled_from(DATAFLOWS),
        variant=st.sampled_from(VARIANTS),
        kib=st.sampled_from((1, 4, 128)),
        share=st.floats(0.01, 1),
    )
    def test_conservation(self, shape, plan, dataflow, variant, kib, share):
        m, k, n, groups = shape
        machine = Apsq(dataflow=dataflow, variant=variant, input_sram_kib=kib, weight_sram_kib=kib, output_sram_kib=kib)
        given_work = work(m, k, n, groups=groups, plan=plan, x_elements=max(1, int(share * groups * m * k)))
        cost = machine.run(given_work)
        check_site("apsq", given_work.site, cost)
        assert cost.compute_cycles * machine.peak_macs_per_cycle >= cost.macs_dense
        assert cost.cycles * machine.dram_bandwidth >= (
            cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"]
        )

    def test_parameters(self):
        machine = Apsq()
        assert isinstance(machine, Accelerator)
        assert (machine.po, machine.pci, machine.pco) == (12, 8, 8)
        assert (machine.dataflow, machine.variant) == ("ws", "mapped")
        assert machine.multipliers_4b == 3072
        assert machine.peak_macs_per_cycle == 768
        native = Apsq(**Apsq.native)
        assert (native.po, native.pci, native.pco) == (16, 8, 8)
        assert (native.input_sram_kib, native.weight_sram_kib, native.output_sram_kib) == (256, 128, 256)
        assert all(field.description for field in Apsq.model_fields.values())
        with pytest.raises(ValidationError, match="dataflow"):
            Apsq(dataflow="rs")
        for gone in ("fair", "tiled"):
            with pytest.raises(ValidationError, match="variant"):
                Apsq(variant=gone)

    def test_area_of_the_engine(self):
        for machine in (Apsq(), Apsq(**Apsq.native)):
            area, lanes = machine.area(), machine.po * machine.pco
            adder, shifter = (PRICES.price(f"{name}_int32").area() for name in ("add", "shift"))
            # One of a lane's four adders is there without the engine too.
            assert area.components_um2["rae"] == pytest.approx(lanes * (3 * adder + 5 * shifter))
            assert area.components_um2["sum_adders"] == pytest.approx(lanes * adder)
            share = area.components_um2["rae"] / (area.total_um2 - area.components_um2["rae"])
            assert 0.02 < share < 0.08  # published: 3.21 % of an accelerator that is not known in detail
        lane = 4 * adder + 5 * shifter
        assert lane == pytest.approx(675, rel=0.25)  # published: 86,410 um2 in all, if there are 128 lanes

    @pytest.mark.parametrize(("dataflow", "bits"), [("is", 12 * 8 * 8), ("ws", 8 * 8 * 8), ("os", 12 * 8 * 32)])
    def test_area_of_second_registers_for_what_rests(self, dataflow, bits):
        hidden, exposed = (Apsq(dataflow=dataflow, weight_loading=how).area() for how in ("hidden", "exposed"))
        assert hidden.components_um2["second_registers"] == pytest.approx(bits * PRICES.price("register_bit").area())
        if dataflow == "os":  # sums leave behind the stream in any case, so that what is exposed takes as long
            assert exposed == hidden
            product = work(37, 200, 65)
            costs = [Apsq(dataflow="os", weight_loading=how).run(product) for how in ("hidden", "exposed")]
            assert costs[0] == costs[1]
            return
        assert "second_registers" not in exposed.components_um2
        assert hidden.total_um2 - exposed.total_um2 == pytest.approx(hidden.components_um2["second_registers"])


def recurrence(tiles, exponents, group_size, phase, bits):
    """Grouped additive partial-sum quantization of one output as it is defined, in plain integers."""

    def quantize(value, exponent):
        half = 2**exponent // 2
        return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, (value + half) // 2**exponent))

    pending = []
    for i, (tile, exponent) in enumerate(zip(tiles, exponents, strict=True)):
        adds = i % group_size == (0 if phase == "head" else group_size - 1)
        if adds or i == len(tiles) - 1:
            code = quantize(tile + sum(c * 2**e for c, e in pending), exponent)
            pending = []
        else:
            code = quantize(tile, exponent)
        pending.append((code, exponent))
    return code * 2**exponent


class TestEngine:
    @settings(max_examples=120, deadline=None)
    @given(
        tiles=st.lists(st.tuples(st.integers(-(2**17), 2**17), st.integers(0, 12)), min_size=1, max_size=20),
        group_size=st.integers(1, 4),
        phase=st.sampled_from(("head", "tail")),
        bits=st.sampled_from((4, 6, 8, 16)),
    )
    def test_it_computes_the_recurrence(self, tiles, group_size, phase, bits):
        sums, exponents = zip(*tiles, strict=True)
        expected = recurrence(sums, exponents, group_size, phase, bits)
        assert simulate(sums, exponents, group_size=group_size, phase=phase, bits=bits).output == expected

    @pytest.mark.parametrize("group_size", [1, 2, 3, 4])
    def test_outputs_side_by_side(self, group_size):
        random = np.random.default_rng(group_size)
        sums, exponents = random.integers(-5000, 5000, (11, 3, 2)), random.integers(3, 9, 11).tolist()
        found = simulate(sums, exponents, group_size=group_size).output
        for place in np.ndindex(3, 2):
            own = [int(tile[place]) for tile in sums]
            assert found[place] == recurrence(own, exponents, group_size, "tail", 8)

    def test_by_hand(self):
        # Rounded half up: 5 / 2 = 3, -5 / 2 = -2; -2 * 2 + 4 = 0; saturated at both ends.
        assert [int(s.code) for s in simulate([5, 5], [1, 1], group_size=2, phase="tail").steps] == [3, 6]
        assert [int(s.code) for s in simulate([-5, 4], [1, 1], group_size=1).steps] == [-2, 0]
        assert simulate([1000], [0], group_size=1).output == 127
        assert simulate([-1000], [0], group_size=1).output == -128
        assert simulate([-1000], [0], group_size=1, bits=4).output == -8

    @pytest.mark.parametrize(
        ("phase", "s2", "banks"),
        [
            ("tail", [0, 0, 1, 0, 0, 1, 0, 1], [0, 1, 0, 1, 2, 0, 1, None]),
            ("head", [1, 0, 0, 1, 0, 0, 1, 1], [0, 1, 2, 0, 1, 2, 0, None]),
        ],
    )
    def test_schedule_of_groups_of_three(self, phase, s2, banks):
        steps = simulate(range(8), [0] * 8, group_size=3, phase=phase).steps
        assert [step.s2 for step in steps] == s2  # the last tile adds whatever is stored
        assert [step.bank for step in steps] == banks
        assert [step.counter for step in steps[:4]] == ([0, 1, 2, 0] if phase == "tail" else [2, 0, 1, 2])

    def test_one_tile_is_quantized_once(self):
        assert simulate([77], [2], group_size=4).output == 76

    def test_banks_hold_as_many_as_the_machine_says_live(self):
        for group_size in (1, 2, 3, 4):
            for phase in ("head", "tail"):
                for tiles in range(1, 14):
                    steps = simulate([1] * tiles, [0] * tiles, group_size=group_size, phase=phase).steps
                    most = max((step.bank + 1 for step in steps if step.bank is not None), default=0)
                    stored = Stored(rule="apsq", bits=Fraction(8), group_size=group_size, phase=phase)
                    assert most == stored.live_tiles(tiles)

    @pytest.mark.parametrize(
        ("tiles", "exponents", "group_size", "said"),
        [
            ([1, 2], [0, 0], 5, "group_size is 5, but the engine has 4 banks"),
            ([1, 2], [0, 0], 0, "group_size is 0"),
            ([1, 2], [0], 1, "1 exponents"),
            ([1, 2], [0, -1], 1, "an exponent is -1"),
        ],
    )
    def test_what_the_engine_cannot_do(self, tiles, exponents, group_size, said):
        with pytest.raises(ValueError, match=said):
            simulate(tiles, exponents, group_size=group_size)


def test_exact_sums_are_the_default():
    assert stored_by(EXACT, 32) == Stored(rule="exact", bits=Fraction(32))
