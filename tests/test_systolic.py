"""Systolic arrays: closed forms against registers, published fold counts, scales along k, banks, DRAM, conservation."""

import dataclasses
import itertools
import math
import random
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import nn

from bitwright import registry, technology
from bitwright.accelerators.bill import Use
from bitwright.accelerators.books import OPERAND_LANE, REQUANTIZER, RESCALER, SUM_ADDER, books_of
from bitwright.accelerators.circuits import priced
from bitwright.accelerators.engine import AtWork
from bitwright.accelerators.machine import scale_bits, w_length, x_length
from bitwright.accelerators.protocol import Accelerator
from bitwright.accelerators.srams import sram_of, srams_of
from bitwright.accelerators.substrate import Substrate
from bitwright.accelerators.systolic import OutputStationary, Simd, WeightStationary, dataflow
from bitwright.accelerators.systolic.dataflow import Broadcast, Timing
from bitwright.accelerators.systolic.register_level import output_stationary, simd, weight_stationary
from bitwright.errors import InputError
from bitwright.formats import Integer, PerChannel, PerGroup, PerTensor, PerToken, Quantized
from bitwright.memory import Gemm, Tilings, best_mapping, score, tiling, traffic
from bitwright.memory.reference import walk
from bitwright.memory.search import total_compute_cycles
from bitwright.memory.tiling import ORDERS
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.drift.rule import Drift
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan
from bitwright.methods.protocol import compose
from bitwright.networks.sites import ConvGeometry, Site
from toys import network_of

ARRAYS = (WeightStationary, OutputStationary, Simd)
SQUARE = {"rows": 32, "cols": 32, "objective": "latency"}
IDEALS = [*itertools.product([False, True], repeat=2)]
"""Whether what rests is exchanged behind the stream, and whether folds follow one another."""
PUBLISHED = {"weight_loading": "exposed", "fold_pipelining": False}
"""Folds filled and drained one by one, as SCALE-Sim has them."""
TENSOR = PerTensor()
MAC = Use(component="mac", name="mac_int8", unit="operation", price_pj=1.0, source="ours")
MACHINES = {name: registry.lookup("bitwright.accelerators", name) for name in registry.names("bitwright.accelerators")}


def operand(bits, granularity=TENSOR, *, signed=True):
    return OperandPlan(format=Integer(bits=bits, signed=signed), granularity=granularity)


INT8 = SitePlan(x=operand(8), w=operand(8))


def work(m, k, n, *, groups=1, plan=INT8, x_elements=None, w_elements=None):
    site = Site(
        name="layer",
        op="linear",
        m=m,
        k=k,
        n=n,
        groups=groups,
        x_elements=groups * m * k if x_elements is None else x_elements,
        w_elements=groups * k * n if w_elements is None else w_elements,
    )
    return Execution(site=site, plan=plan)


def at_work(machine, given_work):
    """A machine at work on a product, as the search for its mapping sees it."""
    job = machine.job(given_work)
    return AtWork(machine=machine, dataflow=job.dataflows[0], gemm=job.gemm, uses=job.uses)


def tilings(m, k, n):
    arrays = (np.array([value], dtype=np.int64) for value in (m, k, n, ORDERS.index("mnk"), 2, 2, 1))
    names = ("m", "k", "n", "order", "input_buffers", "weight_buffers", "output_buffers")
    return Tilings(**dict(zip(names, arrays, strict=True)))


def int8_gemm(m, k, n, groups=1):
    return Gemm(m=m, k=k, n=n, groups=groups, x_bits=8, w_bits=8, y_bits=8, psum_bits=32)


small = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(*[st.integers(1, 300)] * 3, st.integers(1, 6))
timings = {
    "weight_loading": st.sampled_from(["hidden", "exposed"]),
    "fold_pipelining": st.booleans(),
}
machines = st.builds(
    lambda array, **parameters: array(**parameters),
    array=st.sampled_from(ARRAYS),
    rows=st.sampled_from([4, 16, 24]),
    cols=st.sampled_from([8, 16]),
    **timings,
    input_sram_kib=st.sampled_from([4, 16, 256]),
    weight_sram_kib=st.sampled_from([4, 128]),
    output_sram_kib=st.sampled_from([4, 128]),
    dram_bytes_per_cycle=st.sampled_from([1, 6.4, 128]),
)


@st.composite
def tiled(draw, largest=9):
    """A product, the extents of its tiles, and how many elements of k share a scale (0: all); no tile cuts them."""
    shape = m, k, n = tuple(draw(st.integers(1, largest)) for _ in range(3))
    block = draw(st.integers(0, k - 1))
    tile_k = draw(st.integers(1, k)) if not block else min(k, block * draw(st.integers(1, -(-k // block))))
    return shape, (draw(st.integers(1, m)), tile_k, draw(st.integers(1, n))), block


def folds(kind, **parameters):
    return kind(product=MAC, **parameters)


def total(gemm, tile, each):
    """The sum over all tiles of what `each` gives for their extents."""
    kinds = tilings(*tile).kinds(gemm)
    return int(kinds.total(each(m=kinds.m, k=kinds.k, n=kinds.n))[0])


def closed_cycles(flow, gemm, tile):
    return flow.fill_cycles + total(gemm, tile, flow.cycles)


def last(extent, tile):
    """The size of the last tile of an axis."""
    return extent - (-(-extent // tile) - 1) * tile


class TestRegisterLevel:
    """The closed forms of all arrays with every combination of timing ideals, over tiles that follow one another."""

    def simulated(self, simulate, case, size, seed, **timing):
        (m, k, n), tile, block = case
        rng = np.random.default_rng(seed)
        x, w = rng.integers(-128, 128, (m, k)), rng.integers(-128, 128, (k, n))
        found = simulate(x=x, w=w, rows=size[0], cols=size[1], tile=tile, block=block, **timing)
        assert (found.product == x @ w).all()
        return found

    @settings(max_examples=30, deadline=None)
    @given(case=tiled(), size=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=seeds)
    @pytest.mark.parametrize(("hidden", "pipelined"), IDEALS)
    def test_weight_stationary(self, hidden, pipelined, case, size, seed):
        found = self.simulated(weight_stationary, case, size, seed, hidden=hidden, pipelined=pipelined)
        flow = folds(
            dataflow.WeightStationary,
            rows=size[0],
            cols=size[1],
            block=case[2],
            timing=Timing(hidden=hidden, pipelined=pipelined),
        )
        # A slot is as long as loading the next weights takes; behind the last fold of all, nothing is loaded.
        unused = max(0, size[0] - last(case[0][0], case[1][0])) if hidden and pipelined else 0
        assert closed_cycles(flow, int8_gemm(*case[0]), case[1]) == found.cycles + unused

    @settings(max_examples=30, deadline=None)
    @given(case=tiled(), size=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=seeds)
    @pytest.mark.parametrize(("hidden", "pipelined"), IDEALS)
    def test_output_stationary(self, hidden, pipelined, case, size, seed):
        found = self.simulated(output_stationary, case, size, seed, pipelined=pipelined)
        flow = folds(
            dataflow.OutputStationary,
            rows=size[0],
            cols=size[1],
            block=case[2],
            timing=Timing(hidden=hidden, pipelined=pipelined),
        )
        # SCALE-Sim does not count how the last sums leave.
        until = found.cycles if pipelined else found.product_cycles
        assert closed_cycles(flow, int8_gemm(*case[0]), case[1]) == until

    @settings(max_examples=30, deadline=None)
    @given(case=tiled(), size=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=seeds)
    @pytest.mark.parametrize(("hidden", "pipelined"), IDEALS)
    def test_lanes(self, hidden, pipelined, case, size, seed):
        found = self.simulated(simd, case, size, seed, pipelined=pipelined)
        flow = folds(
            Broadcast,
            rows=size[0],
            cols=size[1],
            block=case[2],
            timing=Timing(hidden=hidden, pipelined=pipelined),
        )
        assert closed_cycles(flow, int8_gemm(*case[0]), case[1]) == found.cycles

    @settings(max_examples=30, deadline=None)
    @given(case=tiled(), size=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=seeds)
    @pytest.mark.parametrize(
        ("kind", "simulate"),
        [
            (dataflow.WeightStationary, weight_stationary),
            (dataflow.OutputStationary, output_stationary),
            (Broadcast, simd),
        ],
    )
    def test_what_crosses_the_edges_and_what_is_exchanged(self, kind, simulate, case, size, seed):
        found = self.simulated(simulate, case, size, seed)
        exchange, rescale = (dataclasses.replace(MAC, name=name) for name in ("exchange", "rescale"))
        flow = folds(kind, rows=size[0], cols=size[1], block=case[2], exchange=exchange, rescale=rescale)
        gemm, tile = int8_gemm(*case[0]), case[1]
        counted = {
            name: total(gemm, tile, lambda name=name, **extents: getattr(flow.accesses(**extents), name))
            for name in ("x", "w", "sums")
        }
        assert counted == {"x": found.x_read, "w": found.w_read, "sums": found.sums}
        uses = {
            what: total(gemm, tile, lambda what=what, **extents: dict(flow.uses(**extents)).get(what, 0 * extents["m"]))
            for what in (MAC, exchange, rescale)
        }
        assert uses == {MAC: gemm.macs, exchange: found.folds, rescale: found.sums if case[2] else 0}

    @pytest.mark.parametrize(("hidden", "pipelined"), IDEALS)
    def test_one_multiplier_takes_a_cycle_to_load_one_per_product_and_one_to_drain(self, hidden, pipelined):
        x, w, one = np.array([[2], [3], [5]]), np.array([[7]]), {"rows": 1, "cols": 1}
        assert weight_stationary(x=x, w=w, hidden=hidden, pipelined=pipelined, **one).cycles == 1 + 3
        for simulate in (output_stationary, simd):
            found = simulate(x=x.T, w=np.array([[7], [1], [1]]), pipelined=pipelined, **one)
            assert (found.cycles, found.product_cycles, found.product.tolist()) == (3 + 1, 3, [[2 * 7 + 3 + 5]])

    def test_folds_of_one_multiplier_by_hand(self):
        # Three folds of four products each, whatever is stationary.
        x, w, one = np.ones((4, 3), dtype=np.int64), np.ones((3, 1), dtype=np.int64), {"rows": 1, "cols": 1}
        taken = {
            (hidden, pipelined): weight_stationary(x=x, w=w, hidden=hidden, pipelined=pipelined, **one).cycles
            for hidden, pipelined in IDEALS
        }
        assert taken == {
            (False, False): 3 * (1 + 4),
            (False, True): 3 * (1 + 4),
            (True, False): 1 + 3 * 4,  # no skew: nothing to drain but what the last product took with it
            (True, True): 1 + 3 * 4,
        }
        x, w = np.ones((3, 4), dtype=np.int64), np.ones((4, 1), dtype=np.int64)
        assert simd(x=x, w=w, **one).cycles == 3 * (4 + 1)
        assert simd(x=x, w=w, pipelined=True, **one).cycles == 3 * 4 + 1


class TestCycles:
    def test_weight_stationary_does_not_split_841_rows(self):
        # 576 / 32 = 18 folds by 128 / 32 = 4 folds, each 2 * 32 + 32 + 841 - 2 = 935 cycles.
        array = WeightStationary(**SQUARE, **PUBLISHED)
        assert array.run(work(841, 576, 128)).compute_cycles == 18 * 4 * 935 == 67320
        assert array.explain(work(841, 576, 128))["tile_m"] == 841

    def test_output_stationary_does_not_split_576_reductions(self):
        # ceil(841 / 32) = 27 by 4 folds, each 32 + 32 + 576 - 2 = 638 cycles, the last sums' way out not counted.
        assert OutputStationary(**SQUARE, **PUBLISHED).run(work(841, 576, 128)).compute_cycles == 27 * 4 * 638

    @pytest.mark.parametrize(
        ("ideals", "weight", "output", "lanes"),
        [
            # 24 by 4 folds of 841; ceil(841 / 24) = 36 by 4 folds of 576. Loading, or draining, takes 24 cycles, the
            # skew of 24 rows and 32 columns 54.
            ({}, 24 + 54 + 96 * 841, 54 + 24 + 144 * 576, 24 + 144 * 576),
            ({"fold_pipelining": False}, 24 + 96 * (841 + 54), 144 * (576 + 54), 144 * (576 + 24)),
            ({"weight_loading": "exposed"}, 54 + 96 * (841 + 24), 54 + 24 + 144 * 576, 24 + 144 * 576),
            (PUBLISHED, 96 * (841 + 54 + 24), 144 * (576 + 54), 144 * (576 + 24)),
        ],
    )
    def test_the_default_arrays_have_24_rows(self, ideals, weight, output, lanes):
        # No tile cuts the stream: with SRAMs of 1 MiB all of an operand is one.
        ample = {"input_sram_kib": 1024, "weight_sram_kib": 1024, "output_sram_kib": 1024}
        for array, expected in ((WeightStationary, weight), (OutputStationary, output), (Simd, lanes)):
            machine = array(objective="energy", **ample, **ideals)
            assert machine.run(work(841, 576, 128)).compute_cycles == expected, array

    def test_streams_shorter_than_the_array_wait_for_what_rests(self):
        # 5 rows on 24: 24 cycles load the weights of each of 3 folds; 5 elements of k: 24 cycles drain the sums.
        extents = {name: np.array([extent]) for name, extent in zip("mkn", (5, 72, 32), strict=True)}
        grid = {"rows": 24, "cols": 32}
        assert folds(dataflow.WeightStationary, **grid).cycles(**extents).tolist() == [3 * 24]
        exposed = folds(dataflow.WeightStationary, timing=Timing(hidden=False), **grid)
        assert exposed.cycles(**extents).tolist() == [3 * (5 + 24)]
        extents = {name: np.array([extent]) for name, extent in zip("mkn", (72, 5, 32), strict=True)}
        for kind in (dataflow.OutputStationary, Broadcast):
            assert folds(kind, **grid).cycles(**extents).tolist() == [3 * 24]

    def test_folds_at_the_edge_take_as_long_as_full_ones(self):
        flow = folds(dataflow.WeightStationary, rows=32, cols=32, timing=Timing(hidden=False, pipelined=False))
        extents = {name: np.array([extent]) for name, extent in zip("mkn", (1, 33, 1), strict=True)}
        assert flow.cycles(**extents).tolist() == [2 * (64 + 32 + 1 - 2)]

    def test_equal_groups_multiply_folds_and_fill_once(self):
        # A depthwise 3 x 3 convolution: one fold per channel, by itself of 64 + 32 + 196 - 2 = 290 cycles, else 196.
        done = work(196, 9, 1, groups=960)
        assert WeightStationary(**SQUARE, **PUBLISHED).run(done).compute_cycles == 960 * 290
        assert WeightStationary(**SQUARE).run(done).compute_cycles == 32 + 62 + 960 * 196

    def test_starved_of_bandwidth_dram_sets_the_pace(self):
        slow = WeightStationary(dram_bytes_per_cycle=0.5)
        cost = slow.run(work(64, 64, 64))
        assert slow.explain(work(64, 64, 64))["bound"] == cost.bound == "dram"
        assert cost.cycles >= 2 * (cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"])

    @pytest.mark.parametrize("array", ARRAYS)
    def test_a_site_takes_what_a_walk_over_its_tiles_says(self, array):
        for done in (work(100, 200, 300), work(7, 1000, 90, groups=3), work(300, 70, 40, x_elements=5000)):
            machine = array(weight_sram_kib=8, input_sram_kib=16)
            ran = machine.ran(done)
            mapping = ran.mapping
            busy = at_work(machine, done)
            walked = walk(
                gemm=busy.gemm,
                tile=(mapping.tile_m, mapping.tile_k, mapping.tile_n),
                order=mapping.order,
                buffers=mapping.buffers,
                machine=busy,
            )
            assert ran.cost.cycles == walked.cycles
            assert ran.cost.compute_cycles == walked.compute_cycles
            assert ran.cost.busy_cycles["dram"] == walked.dram_cycles
            assert ran.cost.traffic_bytes["dram_read"] == walked.x_read + walked.w_read + walked.psum_read
            assert ran.cost.traffic_bytes["dram_write"] == walked.y_write + walked.psum_write

    def test_explain_and_run_tell_the_same(self):
        for array in ARRAYS:
            cost, told = array().run(work(100, 200, 300)), array().explain(work(100, 200, 300))
            assert (cost.cycles, cost.compute_cycles) == (told["cycles"], told["compute_cycles"])
            assert told["stall_cycles"] == told["cycles"] - told["compute_cycles"]
            assert told["utilization"] == 100 * 200 * 300 / (24 * 32 * told["cycles"])
            assert told["array_utilization"] == 100 * 200 * 300 / (24 * 32 * told["compute_cycles"])
            assert cost.traffic_bytes["dram_read"] == told["dram_read_bytes"]
            busy = {"array": told["array_cycles"], "banks": told["bank_cycles"], "dram": told["dram_cycles"]}
            assert cost.busy_cycles == busy
            assert told["bound"] == max(busy, key=busy.get)


class TestSramTraffic:
    """Elements of 10 x 9 x 7 on a 4 x 4 array: folds 3 along m, 3 along k, 2 along n."""

    done = work(10, 9, 7, groups=3)

    def moved(self, array, tile):
        busy = at_work(array(rows=4, cols=4), self.done)
        cut = tilings(*tile)
        crossing = traffic(gemm=busy.gemm, tilings=cut, dram_bytes_per_cycle=1)
        kinds = cut.kinds(busy.gemm)
        accesses = busy.dataflow.accesses(m=kinds.m, k=kinds.k, n=kinds.n)
        sram = busy.sram_bytes(kinds=kinds, accesses=accesses, moved=crossing)
        assert sram["sram_input_write"].tolist() == crossing.x_read.tolist()
        assert sram["sram_weight_write"].tolist() == crossing.w_read.tolist()
        return {name: each.tolist() for name, each in sram.items()}

    @pytest.mark.parametrize(
        ("tile", "w_reads", "sums"), [((10, 9, 7), 1, 3), ((5, 9, 7), 2, 3), ((10, 5, 7), 1, 2 + 1)]
    )
    def test_weight_stationary(self, tile, w_reads, sums):
        moved = self.moved(WeightStationary, tile)
        assert moved["sram_input_read"] == [3 * 10 * 9 * 2]
        assert moved["sram_weight_read"] == [3 * 9 * 7 * w_reads]
        # All sums but the last are 32 bits, written and read back; the last one leaves at 8.
        once = 3 * 10 * 7 * (4 * (sums - 1) + 1)
        assert moved["sram_output_write"] == moved["sram_output_read"] == [once]

    @pytest.mark.parametrize(
        ("tile", "x_reads", "sums"), [((10, 9, 7), 2, 1), ((10, 4, 7), 2, 3), ((10, 9, 3), 1 + 1 + 1, 1)]
    )
    def test_output_stationary(self, tile, x_reads, sums):
        for array in (OutputStationary, Simd):
            moved = self.moved(array, tile)
            assert moved["sram_input_read"] == [3 * 10 * 9 * x_reads]
            assert moved["sram_weight_read"] == [3 * 9 * 7 * 3]
            once = 3 * 10 * 7 * (4 * (sums - 1) + 1)
            assert moved["sram_output_write"] == moved["sram_output_read"] == [once]

    def test_one_fold_moves_every_byte_once_through_each_sram(self):
        traffic_bytes = OutputStationary(rows=4, cols=4).run(work(4, 6, 4)).traffic_bytes
        assert traffic_bytes == {
            "dram_read": 24 + 24,
            "dram_write": 16,
            "sram_input_read": 24,
            "sram_input_write": 24,
            "sram_weight_read": 24,
            "sram_weight_write": 24,
            "sram_output_read": 16,  # requantized on their way
            "sram_output_write": 16,
        }

    def test_narrow_operands_move_fewer_bytes(self):
        plan = SitePlan(x=operand(4), w=operand(4))
        traffic_bytes = OutputStationary(rows=4, cols=4).run(work(4, 6, 4, plan=plan)).traffic_bytes
        assert (traffic_bytes["dram_read"], traffic_bytes["dram_write"]) == (12 + 12, 8)


class Scaled(nn.Module):
    """A depthwise and a dense convolution, a linear layer and a product of two activations."""

    def __init__(self):
        super().__init__()
        self.deep = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.dense = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.linear = nn.Linear(16, 24)

    def forward(self, x):
        tokens = self.linear(self.dense(self.deep(x)).flatten(2).transpose(1, 2))
        heads = tokens.unflatten(-1, (4, 6)).transpose(1, 2)
        return heads @ heads.transpose(-1, -2)


class TestScalesInMemory:
    @pytest.mark.parametrize("recipe", ["int8", "int8-token", "w4a8"])
    def test_as_many_as_the_codes_that_were_made_have(self, recipe):
        """Of 2 images of 8 channels and 16 x 16 pixels; both images' heads bring those that are known offline."""
        batch, works = {"input_0": torch.randn(2, 8, 16, 16, generator=torch.Generator().manual_seed(0))}, []
        network = network_of(Scaled(), batch["input_0"])
        plan = compose(recipe, {"smoothing": "none", "ends": "same"}).calibrate(network, [batch])
        Executor(network, plan, listeners=[works.append]).run(batch)
        assert len(works) == 4
        for each in works:
            site, sides = each.site, ((each.plan.x, each.x, x_length), (each.plan.w, each.w, w_length))
            for (planned, codes, length), elements in zip(sides, (site.x_elements, site.w_elements), strict=True):
                scales = elements * scale_bits(planned, length=length(site, planned)) / 32
                times = 2 if isinstance(planned.granularity, PerChannel) and not site.static_weight else 1
                assert scales == (0 if isinstance(planned.granularity, PerTensor) else times * codes.scale.numel())

    @pytest.mark.parametrize(
        ("granularity", "static", "expected"),
        [
            (PerChannel(), True, 4 * 128),  # a scale per column of each product
            (PerChannel(), False, 4),  # known offline of keys: one per head
            (PerToken(), False, 4 * 128),  # found at run time: per column
            (PerGroup(16), False, 4 * 128 * 4),
            (PerTensor(), False, 0),
        ],
    )
    def test_of_keys_by_hand(self, granularity, static, expected):
        """4 heads of 64 x 128 keys of 8 bits are read once, with so many scales of 4 bytes."""
        one = work(32, 64, 128, groups=4, plan=SitePlan(x=operand(8), w=operand(8, granularity)))
        one = dataclasses.replace(one, site=dataclasses.replace(one.site, static_weight=static))
        moved = WeightStationary().run(one).traffic_bytes["dram_read"]
        assert moved == pytest.approx(4 * (32 * 64 + 64 * 128) + 4 * expected, abs=4)

    @pytest.mark.parametrize(
        ("granularity", "expected"), [(PerToken(), 2), (PerGroup(4), 2 * 256 * 2), (PerTensor(), 0)]
    )
    def test_of_a_convolution_by_hand(self, granularity, expected):
        """Two images of 16 x 16 pixels and 8 channels: a scale each, or one per block of the channels of a pixel."""
        geometry = ConvGeometry(
            kernel=(3, 3),
            stride=(1, 1),
            padding=(1, 1),
            dilation=(1, 1),
            channels=8,
            input_size=(16, 16),
            output_size=(16, 16),
        )
        one = work(512, 72, 32, x_elements=2 * 256 * 8, plan=SitePlan(x=operand(8, granularity), w=operand(8)))
        one = dataclasses.replace(one, site=dataclasses.replace(one.site, conv=geometry))
        moved = WeightStationary(rescaling=True).run(one).traffic_bytes["dram_read"]
        assert moved == pytest.approx(2 * 256 * 8 + 72 * 32 + 4 * expected, abs=4)


class TestScalesAlongK:
    """256 x 1024 x 256 of x in 8 bits with one scale, and w in 4 bits with scales of 32 bits.

    x is 262,144 bytes, half of an SRAM of 512 KiB, and is read once; so is w, in 8 tiles of 32 columns.
    """

    room: ClassVar = {"input_sram_kib": 512}

    bandwidth = 17.07 * 1000 / 500  # bytes per cycle of lpddr4 at 500 MHz

    @staticmethod
    def done(granularity):
        return work(256, 1024, 256, plan=SitePlan(x=operand(8), w=operand(4, granularity)))

    @pytest.mark.parametrize(
        ("granularity", "w_bytes", "k_folds", "rescaled"),
        [
            # Scales: 256 x 128, 32, 8 or 1 of 4 bytes. A block is a fold of its own, cut by the 24 rows.
            (PerGroup(8), 131072 + 131072, 128, 128),
            (PerGroup(32), 131072 + 32768, 32 * 2, 32 * 2),
            (PerGroup(128), 131072 + 8192, 8 * 6, 8 * 6),
            (PerChannel(), 131072 + 1024, 43, 0),
        ],
    )
    def test_weight_stationary(self, granularity, w_bytes, k_folds, rescaled):
        cost = WeightStationary(**self.room).run(self.done(granularity))
        self.check(cost, w_bytes, folds=8 * k_folds, fold_cycles=256, sums=k_folds, rescaled=rescaled)

    @pytest.mark.parametrize(
        ("granularity", "w_bytes", "streams", "stream_cycles", "rescaled"),
        [
            # 11 by 8 folds; a block shorter than 24 waits for the sums of the one before.
            (PerGroup(8), 131072 + 131072, 128, 24, 128),
            (PerGroup(32), 131072 + 32768, 32, 32, 32),
            (PerGroup(128), 131072 + 8192, 8, 128, 8),
            (PerChannel(), 131072 + 1024, 1, 1024, 0),
        ],
    )
    def test_output_stationary(self, granularity, w_bytes, streams, stream_cycles, rescaled):
        cost = OutputStationary(**self.room).run(self.done(granularity))
        self.check(cost, w_bytes, folds=11 * 8 * streams, fold_cycles=stream_cycles, sums=streams, rescaled=rescaled)

    def check(self, cost, w_bytes, *, folds, fold_cycles, sums, rescaled):
        assert cost.traffic_bytes["dram_read"] == 262144 + w_bytes
        assert cost.traffic_bytes["dram_write"] == 65536
        assert cost.compute_cycles == 24 + 54 + folds * fold_cycles
        first_read = math.ceil(262144 / self.bandwidth) + math.ceil(w_bytes / 8 / self.bandwidth)
        assert cost.cycles == first_read + cost.compute_cycles + math.ceil(65536 / 8 / self.bandwidth)
        counts = {(event.component, event.name): event.count for event in cost.events}
        assert counts["registers", "exchange what rests"] == folds
        assert counts.get(("rescalers", "rescale"), 0) == 65536 * rescaled
        assert counts.get(("sum_adders", "accumulate"), 0) == 65536 * (sums - 1)
        assert counts["requantizers", "requantize"] == 65536
        assert counts["mac", "mac_int8"] == 256 * 1024 * 256
        partial = 65536 * (sums - 1) * 32 / 128
        assert counts.get(("sram_output", "write partial sums"), 0) == partial
        assert counts["sram_output", "write"] == 65536 * 8 / 128

    def test_four_granularities_have_four_costs(self):
        for array in ARRAYS:
            granularities = (PerGroup(8), PerGroup(32), PerGroup(128), PerChannel())
            costs = [array(**self.room).run(self.done(each)) for each in granularities]
            energies = [cost.total_energy_pj for cost in costs]
            assert energies == sorted(set(energies), reverse=True)
            assert [cost.cycles for cost in costs] == sorted({cost.cycles for cost in costs}, reverse=True)

    def test_blocks_of_both_operands_end_where_either_does(self):
        # Scales of x change after 12 elements, of w after 8: after each 4 one of them may; folds of up to 4.
        plan = SitePlan(x=operand(8, PerGroup(12)), w=operand(4, PerGroup(8)))
        assert WeightStationary().job(work(64, 48, 32, plan=plan)).dataflows[0].block == 4
        cost = OutputStationary().run(work(24, 48, 32, plan=plan))
        assert cost.compute_cycles == 24 + 54 + 12 * 24
        # 4 scales of 32 bits in each row of x, 6 in each column of w.
        assert cost.traffic_bytes["dram_read"] == 24 * (48 + 4 * 4) + 32 * (24 + 6 * 4)

    def test_a_block_that_is_the_whole_reduction_changes_no_scale_along_it(self):
        plan = SitePlan(x=operand(8), w=operand(4, PerGroup(64)))
        array = OutputStationary()
        assert array.job(work(24, 64, 32, plan=plan)).dataflows[0].block == 0
        cost = array.run(work(24, 64, 32, plan=plan))
        assert not any(event.component == "rescalers" for event in cost.events)
        channel = array.run(work(24, 64, 32, plan=SitePlan(x=operand(8), w=operand(4, PerChannel()))))
        assert (cost.cycles, cost.total_energy_pj) == (channel.cycles, channel.total_energy_pj)

    def test_scales_found_at_run_time_cost_their_quantization(self):
        for granularity, quantized in ((PerToken(), 24 * 64), (PerGroup(16), 24 * 64), (PerTensor(), 0)):
            plan = SitePlan(x=operand(8, granularity), w=operand(8))
            cost = OutputStationary().run(work(24, 64, 32, plan=plan))
            found = [event.count for event in cost.events if event.name == "quantize at run time"]
            assert found == [quantized] * bool(quantized)

    def test_machines_without_rescalers_refuse_and_say_why(self):
        plan = self.done(PerGroup(8)).plan
        plain = [kind() for kind in MACHINES.values() if kind().refusal(plan) is None and not kind().rescaler_lanes]
        assert {"bitfusion", "ant"} <= {registry.name_of("bitwright.accelerators", type(each)) for each in plain}
        for machine in (*plain, *(array(rescaling=False) for array in ARRAYS)):
            reason = machine.supports(plan)
            assert "w has a scale for every 8 elements of the reduction" in reason
            assert machine.rescaling_lever in reason
            with pytest.raises(InputError, match="w has a scale for every 8 elements of the reduction"):
                machine.run(self.done(PerGroup(8)))
            assert machine.supports(SitePlan(x=operand(8), w=operand(4, PerChannel()))) is None

    def test_machines_without_rescalers_name_both_operands(self):
        plan = SitePlan(x=operand(8, PerGroup(16)), w=operand(4, PerGroup(8)))
        reason = Simd(rescaling=False).supports(plan)
        assert "x has a scale for every 16 elements of the reduction and w has a scale for every 8" in reason

    @pytest.mark.parametrize("name", ["bitfusion", "ant"])
    def test_rescalers_can_be_added_and_are_in_the_bill(self, name):
        plain, able = MACHINES[name](), MACHINES[name](rescaling=True)
        assert able.supports(self.done(PerGroup(8)).plan) is None
        assert "rescalers" not in plain.area().components_um2
        lanes = able.requantizer_lanes
        area_um2 = able.area().components_um2["rescalers"]
        assert area_um2 == pytest.approx(lanes * priced(RESCALER, able.technology, "parts").area_um2)
        cost = able.run(self.done(PerGroup(128)))
        assert next(each.count for each in cost.events if each.component == "rescalers") >= 65536 * 8


class TestConservation:
    @settings(max_examples=40, deadline=None)
    @given(machine=machines, shape=shapes, data=st.data())
    def test_on_random_shapes_and_machines(self, machine, shape, data):
        m, k, n, groups = shape
        x_elements = data.draw(st.integers(1, 2 * groups * m * k))
        cost = machine.run(work(m, k, n, groups=groups, x_elements=x_elements))
        assert cost.macs_executed + cost.macs_skipped == cost.macs_dense == m * k * n * groups
        assert cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"] >= cost.unique_bytes
        distinct = min(x_elements, groups * m * k)
        assert cost.unique_bytes == distinct + groups * (k * n + m * n)
        assert cost.cycles >= cost.compute_cycles
        assert cost.compute_cycles * machine.peak_macs_per_cycle >= cost.macs_dense
        assert cost.total_energy_pj == pytest.approx(sum(event.count * event.price_pj for event in cost.events))
        assert all(event.source and event.count >= 0 for event in cost.events)

    @settings(max_examples=40, deadline=None)
    @given(machine=machines, shape=shapes)
    def test_doubling_the_bandwidth_is_never_slower(self, machine, shape):
        # Else cycles may be traded for energy, and where banks are few, DRAM takes words from the array.
        ample = {"input_sram_kib": 256, "weight_sram_kib": 128, "output_sram_kib": 128}
        machine = machine.model_copy(update={"objective": "latency", **ample})
        faster = machine.model_copy(update={"dram_bytes_per_cycle": 2 * machine.dram_bytes_per_cycle})
        m, k, n, groups = shape
        given_work = work(m, k, n, groups=groups)
        assert faster.run(given_work).cycles <= machine.run(given_work).cycles

    @settings(max_examples=40, deadline=None)
    @given(machine=machines, shape=shapes)
    def test_larger_srams_are_never_slower(self, machine, shape):
        # All of these hold a tile that fills the array, so that both choose among multiples of the same one.
        machine = machine.model_copy(update={"objective": "latency"})
        larger = machine.model_copy(
            update={
                name: 2 * getattr(machine, name) for name in ("input_sram_kib", "weight_sram_kib", "output_sram_kib")
            }
        )
        m, k, n, groups = shape
        given_work = work(m, k, n, groups=groups)
        assert larger.run(given_work).cycles <= machine.run(given_work).cycles


class TestMapping:
    @pytest.mark.parametrize("objective", ["latency", "energy", "edp"])
    def test_no_multiple_of_the_array_beats_the_smallest_of_its_number_of_tiles(self, objective, monkeypatch):
        draw = random.Random(objective)  # noqa: S311
        for _ in range(8):
            kind = draw.choice([WeightStationary, OutputStationary, Simd])
            machine = kind(objective=objective, weight_loading=draw.choice(["hidden", "exposed"]))
            shape = draw.randint(1, 900), draw.randint(1, 1800), draw.randint(1, 1500)
            busy = at_work(machine, work(*shape, groups=draw.choice([1, 3])))

            def reached(busy=busy):
                found = best_mapping.__wrapped__(gemm=busy.gemm, machine=busy)
                moved = traffic(gemm=busy.gemm, tilings=found.tilings(), dram_bytes_per_cycle=busy.dram_bytes_per_cycle)
                energy = busy.energy_pj(gemm=busy.gemm, kinds=found.tilings().kinds(busy.gemm), moved=moved)
                return float(score(busy, np.array([found.cycles]), energy)[0])

            best = reached()
            with monkeypatch.context() as patch:
                patch.setattr(tiling, "tile_sizes", lambda extent, unit: [*range(unit, extent, unit), extent])
                # A larger tile leaves a smaller last one, whose last write is seen: 0.0065 % of 200 products at worst.
                assert best <= reached() * (1 + 1e-4)

    @pytest.mark.parametrize("array", ARRAYS)
    def test_what_a_mapping_takes_is_what_is_charged(self, array):
        for plan in (INT8, SitePlan(x=operand(8, PerToken()), w=operand(4, PerGroup(32)))):
            done = work(197, 768, 768, plan=plan)
            machine = array()
            busy, ran = at_work(machine, done), machine.ran(done)
            cut = ran.mapping.tilings()
            moved = traffic(gemm=busy.gemm, tilings=cut, dram_bytes_per_cycle=busy.dram_bytes_per_cycle)
            leaked = busy.leakage_pj_per_cycle * ran.mapping.cycles
            asked = busy.energy_pj(gemm=busy.gemm, kinds=cut.kinds(busy.gemm), moved=moved)[0]
            assert ran.cost.total_energy_pj == pytest.approx(asked + leaked)


class TestEnergyAndArea:
    machine = OutputStationary(rows=4, cols=4)
    cost = machine.run(work(4, 6, 4))
    prices = technology.load(28)

    def event(self, component, name):
        return next(each for each in self.cost.events if (each.component, each.name) == (component, name))

    def test_each_multiply_accumulate_costs_the_built_multiplier(self):
        mac = self.event("mac", "mac_int8")
        assert (mac.count, mac.unit, mac.price_pj) == (96, "operation", self.prices.price("mac_int8").energy())
        narrow = self.machine.run(work(4, 6, 4, plan=SitePlan(x=operand(4), w=operand(4))))
        assert narrow.energy_pj["mac"] == self.cost.energy_pj["mac"]

    def test_an_access_moves_one_word_of_a_bank(self):
        # Words of 128 bits, whatever the array's port: 24 elements of 8 bits, 16 finished sums of 8.
        assert self.event("sram_input", "read").count == 24 * 8 / 128
        assert self.event("sram_weight", "write").count == 24 * 8 / 128
        assert self.event("sram_output", "read").count == 16 * 8 / 128
        # 64 banks of 2 KiB in a square; the word travels 3/4 of a side.
        bank = self.prices.sram(2048, 128)
        wires = 128 * self.prices.price("wire_bit_mm").energy() * 0.75 * math.sqrt(64 * bank.area_um2) / 1000
        assert self.event("sram_output", "write").price_pj == pytest.approx(bank.write_pj + wires)
        assert self.event("sram_weight", "read").price_pj == pytest.approx(bank.read_pj + wires)
        assert self.event("sram_input", "read").price_pj == pytest.approx(bank.read_pj + wires * math.sqrt(2))

    def test_dram_is_priced_by_the_bit(self):
        assert self.event("dram", "read").count == 48 * 8
        assert self.event("dram", "read").price_pj == 14
        assert self.event("dram", "write").source == technology.dram("lpddr4").source

    def test_the_price_of_dram_can_be_given(self):
        cheap = OutputStationary(rows=4, cols=4, dram_pj_per_bit=2.5).run(work(4, 6, 4))
        assert cheap.energy_pj["dram"] == 2.5 * 8 * (48 + 16)
        assert "user" in next(event.source for event in cheap.events if event.component == "dram")

    def test_leakage_is_power_by_clock_for_every_cycle(self):
        leakage = self.event("leakage", "mac_array")
        assert (leakage.count, leakage.unit) == (self.cost.cycles, "cycle")
        assert leakage.price_pj == 16 * self.prices.price("mac_int8").leakage() / 500
        assert {each.name for each in self.cost.events if each.component == "leakage"} == {
            "mac_array",
            "second_registers",
            "requantizers",
            "rescalers",
            "sum_adders",
            "operands",
            "vector_unit",
            "sram_input",
            "sram_weight",
            "sram_output",
        }
        leaked = sum(each.price_pj for each in self.cost.events if each.component == "leakage")
        assert leaked == pytest.approx(books_of(self.machine).leakage_pj_per_cycle)

    def test_every_finished_output_is_requantized_once(self):
        multiply, add, shift = (self.prices.price(f"{part}_int32") for part in ("multiply", "add", "shift"))
        event = self.event("requantizers", "requantize")
        assert (event.count, event.unit) == (4 * 4, "operation")
        assert event.price_pj == pytest.approx(multiply.energy() + add.energy() + shift.energy())
        assert all(price.source in event.source for price in (multiply, add, shift))
        assert all(f"{part}_int32" in event.source for part in ("multiply", "add", "shift"))

    def test_a_column_has_a_requantizer_that_leaks(self):
        multiply, add, shift = (self.prices.price(f"{part}_int32") for part in ("multiply", "add", "shift"))
        area_um2 = multiply.area() + add.area() + shift.area()
        assert self.machine.area().components_um2["requantizers"] == pytest.approx(4 * area_um2)
        logic = self.prices.price("logic_leakage")
        leakage = self.event("leakage", "requantizers")
        assert leakage.price_pj == pytest.approx(4 * area_um2 * logic.leakage() / 500)
        assert logic.source in leakage.source

    def test_all_but_an_output_s_first_sum_are_added(self):
        # Two tiles of k on 4 rows, or two folds, make two sums of each output; 9 elements of k three.
        cost = WeightStationary(rows=4, cols=4).run(work(4, 9, 4))
        event = next(each for each in cost.events if each.component == "sum_adders")
        assert (event.count, event.price_pj) == (16 * 2, self.prices.price("add_int32").energy())
        assert not any(each.component == "sum_adders" for each in self.cost.events)

    @pytest.mark.parametrize(("array", "bits"), [(WeightStationary, 8), (OutputStationary, 32), (Simd, 32)])
    def test_what_rests_is_shifted_through_all_rows_once_per_fold(self, array, bits):
        machine = array(rows=4, cols=4)
        event = next(each for each in machine.run(work(4, 4, 12)).events if each.component == "registers")
        bit = self.prices.price("register_bit")
        assert event.count == 3
        assert event.price_pj == pytest.approx(4 * 4 * 4 * bits * bit.energy())
        area_um2 = machine.area().components_um2["second_registers"]
        assert area_um2 == pytest.approx(4 * 4 * bits * bit.area())

    def test_weights_that_are_loaded_in_the_open_have_no_second_register(self):
        assert "second_registers" not in WeightStationary(weight_loading="exposed").area().components_um2

    def test_area_is_that_of_the_bill(self):
        area = WeightStationary(**SQUARE).area()
        parts = {"requantizers": REQUANTIZER, "rescalers": RESCALER, "sum_adders": SUM_ADDER, "operands": OPERAND_LANE}
        bank = self.prices.sram(2048, 128)
        assert area.components_um2 == pytest.approx(
            {
                "mac_array": 1024 * self.prices.price("mac_int8").area(),
                "second_registers": 1024 * 8 * self.prices.price("register_bit").area(),
                **{name: 32 * priced(each, self.prices, "parts").area_um2 for name, each in parts.items()},
                "vector_unit": 32 * self.prices.price("mac_float16").area(),
                "sram_input": 128 * bank.area_um2,
                "sram_weight": 64 * bank.area_um2,
                "sram_output": 64 * bank.area_um2,
            }
        )
        assert all(area.sources[component] for component in area.components_um2)


class TestBanks:
    prices = technology.load(28)

    def test_srams_are_banks_of_one_geometry(self):
        found = srams_of(Substrate())
        bank = self.prices.sram(2048, 128)
        assert {name: (sram.banks, sram.word_bits) for name, sram in found.items()} == {
            "sram_input": (128, 128),
            "sram_weight": (64, 128),
            "sram_output": (64, 128),
        }
        for sram in found.values():
            assert sram.area_um2 == pytest.approx(sram.banks * bank.area_um2)
            assert sram.leakage_uw == pytest.approx(sram.banks * bank.leakage_uw)

    def test_equal_bytes_cost_equal_energy_on_all_machines(self):
        common = srams_of(Substrate())
        for name, kind in MACHINES.items():
            assert srams_of(kind()) == common, name
        for array in ARRAYS:  # however wide their ports
            for size in ({"rows": 4, "cols": 4}, {"rows": 128, "cols": 96}, {"mac": "int16"}):
                assert srams_of(array(**size)) == common

    def test_equal_bytes_cost_equal_energy_as_charged(self):
        # A product that every machine takes whose costs are known from shapes.
        done, seen = work(64, 96, 64), {}
        for kind in MACHINES.values():
            machine = kind()
            if machine.needs_codes or machine.supports(INT8) is not None:
                continue
            cost = machine.run(done)
            for component in ("sram_input", "sram_weight", "sram_output"):
                for direction in ("read", "write"):
                    energy = sum(
                        event.energy_pj
                        for event in cost.events
                        if event.component == component and event.name.startswith(direction)
                    )
                    moved = cost.traffic_bytes[f"{component}_{direction}"]
                    seen.setdefault((component, direction), []).append(energy / moved)
        for each, energies in seen.items():
            assert len(energies) >= 8, each
            assert energies == pytest.approx([energies[0]] * len(energies)), each

    def test_a_small_sram_is_one_bank_of_at_least_32_words(self):
        # 1 KiB of 128-bit words has 64 of them; of 512 bits only 16, so that words are 256 bits.
        assert (sram_of(Substrate(), 1024).banks, sram_of(Substrate(), 1024).word_bits) == (1, 128)
        assert sram_of(Substrate(sram_bank_bits=512), 1024).word_bits == 256

    def test_a_capacity_between_banks_takes_one_more(self):
        assert sram_of(Substrate(sram_bank_kib=3), 16 * 1024).banks == 6

    @pytest.mark.parametrize("rate", [1, 256, 9999])
    def test_all_banks_are_there_for_the_array_and_dram(self, rate):
        assert sram_of(Substrate(dram_bytes_per_cycle=rate), 131072).bits_per_cycle == 64 * 128

    def test_an_array_waits_for_an_sram_that_is_narrower_than_its_demand(self):
        # One bank of 128 bits each. One fold of 24 x 1024 x 32: w moves 1024 x 32 bytes.
        done, extents = work(24, 1024, 32), {"m": np.array([24]), "k": np.array([1024]), "n": np.array([32])}
        kinds = tilings(24, 1024, 32).kinds(int8_gemm(24, 1024, 32))
        srams = {"dram_bytes_per_cycle": 1, "clock_mhz": 100}
        waits = {}
        for kib, bits in ((2, 128), (128, 128), (128, 256), (128, 512)):
            waiting = at_work(OutputStationary(sram_bank_kib=kib, sram_bank_bits=bits, **srams), done)
            assert waiting.array_cycles(**extents).tolist() == [1024]
            total = total_compute_cycles(gemm=waiting.gemm, kinds=kinds, machine=waiting)
            waits[kib, bits] = (total - waiting.fill_cycles).tolist()
        demand = 1024 * 32 * 8
        assert waits == {
            (2, 128): [1024],  # 64 banks
            (128, 128): [demand / 128],
            (128, 256): [1024],  # 32 columns of 8 bits are 256 per cycle
            (128, 512): [1024],
        }

    def test_waiting_for_srams_is_told_apart_from_working(self):
        # DRAM is so fast that the weights' bank of 128 bits is all that counts: it is filled and read in 2,048 cycles.
        narrow = OutputStationary(sram_bank_kib=128, dram_bytes_per_cycle=1024, clock_mhz=100, objective="energy")
        cost = narrow.run(work(24, 1024, 32))
        assert cost.busy_cycles["array"] == 24 + 54 + 1024
        assert cost.busy_cycles["banks"] == 2 * 1024 * 32 * 8 / 128
        assert cost.compute_cycles == 24 + 54 + 1024 * 32 * 8 / 128
        assert cost.bound == "banks"
        assert cost.cycles > cost.busy_cycles["banks"]

    def test_an_array_waits_for_its_partial_sums(self):
        # 43 folds of k make 43 sums of each output; all but the last are 32 bits, written and read back.
        machine = WeightStationary(sram_bank_kib=128, dram_bytes_per_cycle=1, clock_mhz=100)
        cost = machine.run(work(256, 1024, 32))
        assert cost.busy_cycles["banks"] >= 256 * 32 * 42 * 2 * 32 / 128 > 10 * 43 * 256
        assert cost.compute_cycles == 24 + 54 + cost.busy_cycles["banks"]
        assert WeightStationary().run(work(256, 1024, 32)).compute_cycles == 24 + 54 + 43 * 256

    @pytest.mark.parametrize("parameters", [{"clock_mhz": 5000}, {"sram_bank_kib": 256, "clock_mhz": 500}])
    def test_a_bank_slower_than_the_clock_is_an_error_that_names_the_lever(self, parameters):
        for kind in MACHINES.values():
            lever = "lower (sram_bank_kib|buffered_k) or clock_mhz"  # of a bit-slice array's own buffers, too
            with pytest.raises(InputError, match=rf"takes \d.\d\d ns and a cycle .*{lever}"):
                kind(**parameters).area()

    def test_what_the_lever_says_helps(self):
        for parameters in ({"sram_bank_kib": 256, "clock_mhz": 400}, {"sram_bank_kib": 64, "clock_mhz": 500}):
            assert OutputStationary(**parameters).run(work(8, 8, 8)).cycles > 0

    def test_words_wider_than_any_bank_are_an_error_that_names_the_parameter(self):
        with pytest.raises(InputError, match=r"sram_bank_bits is 2048, .*up to 1024 bits"):
            OutputStationary(sram_bank_bits=2048, sram_bank_kib=64, clock_mhz=100).area()


class TestDram:
    @pytest.mark.parametrize("name", ["lpddr4", "lpddr5", "ddr4", "gddr5", "gddr6", "hbm2", "hbm2e", "hbm3"])
    @pytest.mark.parametrize("clock_mhz", [250, 500, 800])
    def test_bandwidth_and_energy_are_those_of_the_technology(self, name, clock_mhz):
        known = technology.dram(name)
        machine = OutputStationary(dram=name, clock_mhz=clock_mhz)
        assert machine.dram_bandwidth == known.gb_per_s * 1000 / clock_mhz
        cost = machine.run(work(8, 8, 8))
        assert cost.energy_pj["dram"] == pytest.approx(8 * 3 * 64 * known.pj_per_bit)
        assert next(each.source for each in cost.events if each.component == "dram") == known.source

    def test_all_technologies_are_tried_here(self):
        assert set(technology.drams()) == {"lpddr4", "lpddr5", "ddr4", "gddr5", "gddr6", "hbm2", "hbm2e", "hbm3"}

    def test_gigabytes_per_second_by_the_clock_by_hand(self):
        # 6,400 MT/s of 32 bits are 25.6 GB/s, at 500 MHz 51.2 bytes per cycle.
        assert Substrate(dram="lpddr5").dram_bandwidth == pytest.approx(6400e6 * 4 / 500e6)
        assert Substrate(dram="hbm2").dram_bandwidth == pytest.approx(2e9 * 128 / 500e6)

    def test_a_faster_one_is_faster_where_dram_is_the_limit(self):
        # A language model that decodes; the array takes 64 weights per cycle, DRAM 34, 51 or 512 bytes.
        done = work(1, 4096, 4096)
        taken = [WeightStationary(dram=name, cols=64).run(done) for name in ("lpddr4", "lpddr5", "hbm2")]
        assert [cost.bound for cost in taken] == ["dram", "dram", "array"]
        assert taken[0].cycles > taken[1].cycles > taken[2].cycles

    @pytest.mark.parametrize("name", ["lpdr4", "hbm9", ""])
    def test_an_unknown_one_is_refused_with_the_choices(self, name):
        with pytest.raises(ValidationError, match=r"dram\n.*is none of lpddr4, lpddr5, ddr4, .*hbm3"):
            OutputStationary(dram=name)

    def test_what_the_user_gives_replaces_the_technology_s(self):
        machine = OutputStationary(dram="hbm3", dram_pj_per_bit=2.5, dram_bytes_per_cycle=3)
        assert machine.dram_bandwidth == 3
        cost = machine.run(work(8, 8, 8))
        assert cost.energy_pj["dram"] == 2.5 * 8 * 3 * 64
        assert cost.busy_cycles["dram"] == 3 * math.ceil(64 / 3)
        assert all("user" in each.source for each in cost.events if each.component == "dram")
        # One of them leaves the other.
        assert OutputStationary(dram="hbm3", dram_pj_per_bit=2.5).dram_bandwidth == 819.2 * 1000 / 500
        assert OutputStationary(dram="hbm3", dram_bytes_per_cycle=3).dram_price[0] == 4

    @pytest.mark.parametrize("name", ["dram_bytes_per_cycle", "dram_pj_per_bit"])
    @pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
    def test_what_the_user_gives_is_positive_and_finite(self, name, value):
        with pytest.raises(ValidationError, match=name):
            OutputStationary(**{name: value})


class TestSubstrate:
    def test_prices_are_those_of_the_node(self):
        assert Substrate().technology.price("mac_int8") == technology.load(28).price("mac_int8")
        assert Substrate(node_nm=45).technology.price("mac_int8") == technology.load(45).price("mac_int8")

    def test_leakage_per_cycle_is_power_by_clock(self):
        slow, fast = (books_of(OutputStationary(clock_mhz=clock_mhz)) for clock_mhz in (100, 500))
        assert slow.leakage_pj_per_cycle == pytest.approx(5 * fast.leakage_pj_per_cycle)
        assert fast.leakage_pj_per_cycle == pytest.approx(sum(uw for _, uw, _ in fast.leaking) / 500)

    def test_requantizers_grow_with_the_columns(self):
        narrow, wide = (OutputStationary(cols=cols).area().components_um2 for cols in (8, 24))
        for name in ("requantizers", "rescalers", "sum_adders", "mac_array", "second_registers"):
            assert wide[name] == pytest.approx(3 * narrow[name])
        for name in ("vector_unit", "sram_input", "sram_weight", "sram_output"):
            assert wide[name] == narrow[name]


class TestSupports:
    @pytest.mark.parametrize(
        ("plan", "mac"),
        [
            (INT8, "int8"),
            (SitePlan(x=operand(8, signed=False), w=operand(8)), "int8"),
            (SitePlan(x=operand(4), w=operand(2)), "int8"),
            (SitePlan(x=operand(16), w=operand(8)), "int16"),
            (FLOAT_SITE, "float32"),
            (SitePlan(w=operand(4)), "float32"),
            (INT8, "float16"),
        ],
    )
    def test_operands_that_fit(self, plan, mac):
        for array in ARRAYS:
            assert array(mac=mac).supports(plan) is None
            assert array(mac=mac).run(work(8, 8, 8, plan=plan)).macs_executed == 512

    @pytest.mark.parametrize(
        ("plan", "mac", "reason"),
        [
            (FLOAT_SITE, "int8", "x is float32 and the array multiplies int8; --set mac=float32 builds a float array"),
            (FLOAT_SITE, "float16", "x is float32 and the array multiplies float16"),
            (SitePlan(x=operand(8), w=operand(16)), "int8", "w is int16 .* --set mac=int16 builds an int16 array"),
            (INT8, "int4", "x is int8 .* --set mac=int8"),
            (
                SitePlan(x=operand(8), w=operand(8), accumulation=PartialSums(kind=Kind.APSQ, tile=8)),
                "int8",
                "partial sums .*apsq",
            ),
            (SitePlan(x=operand(8), w=operand(8), precision=Drift()), "int8", "run time .*drift"),
        ],
    )
    def test_operands_that_do_not_fit_and_what_would(self, plan, mac, reason):
        machine = WeightStationary(mac=mac)
        assert machine.supports(plan) is not None
        with pytest.raises(InputError, match=f"layer cannot run on this array: .*{reason}"):
            machine.run(work(8, 8, 8, plan=plan))

    def test_a_float_array_moves_float_outputs(self):
        cost = WeightStationary(mac="float32").run(work(8, 8, 8, plan=FLOAT_SITE))
        assert cost.traffic_bytes["dram_write"] == 64 * 4
        assert cost.events[0].name == "mac_float32"


class TestParameters:
    @pytest.mark.parametrize("array", ARRAYS)
    def test_arrays_are_accelerators(self, array):
        machine = array()
        assert isinstance(machine, Accelerator)
        assert machine.dram_bandwidth == 17.07 * 1000 / 500
        assert machine.peak_macs_per_cycle == 24 * 32
        assert array(**machine.parameters()) == machine

    @pytest.mark.parametrize("array", ARRAYS)
    def test_multipliers_are_counted_in_4_bit_ones(self, array):
        assert array().multipliers_4b == 3072
        assert array(rows=3, cols=5, mac="int4").multipliers_4b == 15
        assert array(rows=3, cols=5, mac="int16").multipliers_4b == 15 * 16
        assert array(mac="float32").multipliers_4b is None

    def test_published_configurations(self):
        artifact = {"rows": 32, "dram_bytes_per_cycle": 128, **PUBLISHED}
        assert WeightStationary.native == OutputStationary.native == artifact
        assert Simd.native == {}
        for array in ARRAYS:
            assert array(**array.native).area().total_um2 > 0

    @pytest.mark.parametrize(("name", "value"), [("row", 16), ("rows", 0), ("clock_mhz", -1), ("mac", "int3")])
    def test_misspelt_and_impossible_ones_are_errors_that_name_them(self, name, value):
        with pytest.raises(ValidationError, match=name):
            WeightStationary(**{name: value})

    def test_every_parameter_tells_its_source(self):
        for array, (name, field) in itertools.product(ARRAYS, WeightStationary.model_fields.items()):
            assert array.model_fields[name].description, name
            assert field.description

    def test_an_sram_too_small_for_a_fold_halves_it(self):
        # A fold's sums are 32 x 32 x 4 = 4096 bytes: 8 rows of them fit 1024; the array works all the same.
        small = OutputStationary(output_sram_kib=1, **SQUARE)
        told = small.explain(work(64, 64, 64))
        assert (told["tile_m"], told["tile_n"]) == (8, 32)
        # 8 by 2 folds of 64, where 2 by 2 fill the array.
        assert small.run(work(64, 64, 64)).busy_cycles["array"] == 94 + 16 * 64
        assert OutputStationary(**SQUARE).run(work(64, 64, 64)).compute_cycles == 94 + 4 * 64

    def test_an_unknown_node_is_an_error(self):
        with pytest.raises(InputError, match="17"):
            WeightStationary(node_nm=17).run(work(8, 8, 8))


class TestCaching:
    def test_costs_do_not_depend_on_operand_values(self):
        codes = Quantized(codes=torch.ones(8, 8), format=Integer(bits=8), scale=torch.ones(()))
        plain = work(8, 8, 8)
        assert WeightStationary().run(dataclasses.replace(plain, x=codes, w=codes)) is WeightStationary().run(plain)

    def test_dataflows_with_equal_parameters_are_not_confused(self):
        shape = work(841, 576, 128)
        assert WeightStationary().run(shape).compute_cycles != OutputStationary().run(shape).compute_cycles
