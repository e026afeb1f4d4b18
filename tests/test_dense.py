"""Dense arrays: closed forms against a register-level simulation, published fold counts, and conservation."""

import dataclasses
import itertools
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bitwright import technology
from bitwright.accelerators.systolic import OutputStationary, Simd, WeightStationary
from bitwright.accelerators.systolic.dataflow import broadcast_cycles, fold_cycles
from bitwright.accelerators.systolic.register_level import output_stationary, simd, weight_stationary
from bitwright.accelerators.events import memory_prices, requantize_event, requantizer_area, requantizer_leakage
from bitwright.accelerators.protocol import Accelerator
from bitwright.accelerators.srams import sram_macros
from bitwright.accelerators.substrate import Substrate
from bitwright.errors import InputError
from bitwright.formats import Integer, PerTensor, Quantized
from bitwright.memory import Gemm, Tilings, best_mapping, score, tiling
from bitwright.memory.tiling import ORDERS
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.drift.rule import Drift
from bitwright.methods.execution import Execution
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan
from bitwright.networks.sites import Site

ARRAYS = (WeightStationary, OutputStationary, Simd)
SQUARE = {"rows": 32, "cols": 32, "objective": "latency"}


def operand(bits, *, signed=True):
    return OperandPlan(format=Integer(bits=bits, signed=signed), granularity=PerTensor())


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


def tilings(m, k, n):
    arrays = (np.array([value], dtype=np.int64) for value in (m, k, n, ORDERS.index("mnk"), 1))
    return Tilings(**dict(zip(("m", "k", "n", "order", "output_buffers"), arrays, strict=True)))


def int8_gemm(m, k, n, groups=1):
    return Gemm(m=m, k=k, n=n, groups=groups, x_bits=8, w_bits=8, y_bits=8, psum_bits=32)


small = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(*[st.integers(1, 300)] * 3, st.integers(1, 6))
machines = st.builds(
    lambda array, **parameters: array(**parameters),
    array=st.sampled_from(ARRAYS),
    rows=st.sampled_from([4, 16, 24]),
    cols=st.sampled_from([8, 16]),
    input_sram_kib=st.sampled_from([4, 16, 256]),
    weight_sram_kib=st.sampled_from([4, 128]),
    output_sram_kib=st.sampled_from([4, 128]),
    dram_bytes_per_cycle=st.sampled_from([1, 6.4, 128]),
)


class TestRegisterLevel:
    @settings(max_examples=60, deadline=None)
    @given(shape=st.tuples(small, small, small), size=st.tuples(st.integers(1, 5), st.integers(1, 5)), seed=seeds)
    @pytest.mark.parametrize(
        ("array", "simulate"),
        [(WeightStationary, weight_stationary), (OutputStationary, output_stationary), (Simd, simd)],
    )
    def test_the_product_is_exact_and_takes_the_closed_form_s_cycles(self, array, simulate, shape, size, seed):
        (m, k, n), (rows, cols) = shape, size
        random = np.random.default_rng(seed)
        x, w = random.integers(-128, 128, (m, k)), random.integers(-128, 128, (k, n))
        simulated = simulate(x=x, w=w, rows=rows, cols=cols)
        assert (simulated.product == x @ w).all()
        extents = (np.array([extent]) for extent in (m, k, n))
        cycles = array(rows=rows, cols=cols).compute_cycles(**dict(zip("mkn", extents, strict=True)))
        assert cycles.tolist() == [simulated.cycles]

    def test_one_multiplier_takes_one_cycle_to_load_or_drain_and_one_per_product(self):
        # 2 * 1 + 1 + T - 2 = T + 1
        x, w = np.array([[2], [3], [5]]), np.array([[7]])
        assert weight_stationary(x=x, w=w, rows=1, cols=1).cycles == 3 + 1
        assert output_stationary(x=x.T, w=np.array([[7], [1], [1]]), rows=1, cols=1).cycles == 3 + 1
        assert simd(x=x.T, w=np.array([[7], [1], [1]]), rows=1, cols=1).cycles == 3 + 1


class TestCycles:
    def test_weight_stationary_does_not_split_841_rows(self):
        # 576 / 32 = 18 folds by 128 / 32 = 4 folds, each 2 * 32 + 32 + 841 - 2 = 935 cycles.
        cost = WeightStationary(**SQUARE).run(work(841, 576, 128))
        assert cost.compute_cycles == 18 * 4 * 935 == 67320
        assert WeightStationary(**SQUARE).explain(work(841, 576, 128))["tile_m"] == 841

    def test_output_stationary_does_not_split_576_reductions(self):
        # ceil(841 / 32) = 27 by 4 folds, each 2 * 32 + 32 + 576 - 2 = 670 cycles.
        assert OutputStationary(**SQUARE).run(work(841, 576, 128)).compute_cycles == 27 * 4 * 670

    def test_the_default_arrays_have_24_rows(self):
        # 576 / 24 = 24 by 4 folds of 2 * 24 + 32 + 841 - 2 cycles; ceil(841 / 24) = 36 by 4 folds of as many with 576.
        assert WeightStationary(objective="latency").run(work(841, 576, 128)).compute_cycles == 24 * 4 * 919
        assert OutputStationary(objective="latency").run(work(841, 576, 128)).compute_cycles == 36 * 4 * 654

    def test_lanes_have_no_skew(self):
        # 36 by 4 folds, each 576 cycles of products and 24 of draining.
        assert Simd().run(work(841, 576, 128)).compute_cycles == 36 * 4 * (576 + 24)
        full = broadcast_cycles(on_rows=np.array([48]), on_cols=np.array([33]), stream=np.array([5]), rows=24, cols=32)
        assert full.tolist() == [2 * 2 * (5 + 24)]

    def test_folds_at_the_edge_take_as_long_as_full_ones(self):
        cycles = fold_cycles(on_rows=np.array([33]), on_cols=np.array([1]), stream=np.array([1]), rows=32, cols=32)
        assert cycles.tolist() == [2 * (64 + 32 + 1 - 2)]

    def test_equal_groups_multiply_compute_cycles(self):
        # A depthwise 3 x 3 convolution: one fold of 64 + 32 + 196 - 2 = 290 cycles per channel.
        assert WeightStationary(**SQUARE).run(work(196, 9, 1, groups=960)).compute_cycles == 960 * 290

    def test_starved_of_bandwidth_dram_sets_the_pace(self):
        slow = WeightStationary(dram_bytes_per_cycle=0.5)
        cost = slow.run(work(64, 64, 64))
        assert slow.explain(work(64, 64, 64))["bound"] == "memory"
        assert cost.cycles >= 2 * (cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"])

    def test_explain_and_run_tell_the_same(self):
        for array in ARRAYS:
            cost, told = array().run(work(100, 200, 300)), array().explain(work(100, 200, 300))
            assert (cost.cycles, cost.compute_cycles) == (told["cycles"], told["compute_cycles"])
            assert told["stall_cycles"] == told["cycles"] - told["compute_cycles"]
            assert told["utilization"] == 100 * 200 * 300 / (24 * 32 * told["cycles"])
            assert cost.traffic_bytes["dram_read"] == told["dram_read_bytes"]


class TestSramTraffic:
    # 10 x 9 x 7 on a 4 x 4 array: folds 3 along m, 3 along k, 2 along n.
    @pytest.mark.parametrize(
        ("tile", "w_reads", "psum_writes"),
        [((10, 9, 7), 1, 3), ((5, 9, 7), 2, 3), ((10, 5, 7), 1, 2 + 1)],
    )
    def test_weight_stationary(self, tile, w_reads, psum_writes):
        moved = WeightStationary(rows=4, cols=4).sram_elements(gemm=int8_gemm(10, 9, 7, 3), tilings=tilings(*tile))
        assert moved.x_read.tolist() == [3 * 10 * 9 * 2]
        assert moved.w_read.tolist() == [3 * 9 * 7 * w_reads]
        assert moved.psum_write.tolist() == [3 * 10 * 7 * psum_writes]
        assert moved.psum_read.tolist() == [3 * 10 * 7 * (psum_writes - 1)]

    @pytest.mark.parametrize(
        ("tile", "x_reads", "psum_writes"),
        [((10, 9, 7), 2, 1), ((10, 4, 7), 2, 3), ((10, 9, 3), 1 + 1 + 1, 1)],
    )
    def test_output_stationary(self, tile, x_reads, psum_writes):
        for array in (OutputStationary, Simd):
            moved = array(rows=4, cols=4).sram_elements(gemm=int8_gemm(10, 9, 7, 3), tilings=tilings(*tile))
            assert moved.x_read.tolist() == [3 * 10 * 9 * x_reads]
            assert moved.w_read.tolist() == [3 * 9 * 7 * 3]
            assert moved.psum_write.tolist() == [3 * 10 * 7 * psum_writes]
            assert moved.psum_read.tolist() == [3 * 10 * 7 * (psum_writes - 1)]

    def test_one_fold_moves_every_byte_once_through_each_sram(self):
        traffic_bytes = OutputStationary(rows=4, cols=4).run(work(4, 6, 4)).traffic_bytes
        assert traffic_bytes == {
            "dram_read": 24 + 24,
            "dram_write": 16,
            "sram_input_read": 24,
            "sram_input_write": 24,
            "sram_weight_read": 24,
            "sram_weight_write": 24,
            "sram_output_read": 16 * 4,  # drained as 32-bit sums
            "sram_output_write": 16 * 4,
        }

    def test_narrow_operands_move_fewer_bytes(self):
        plan = SitePlan(x=operand(4), w=operand(4))
        traffic_bytes = OutputStationary(rows=4, cols=4).run(work(4, 6, 4, plan=plan)).traffic_bytes
        assert (traffic_bytes["dram_read"], traffic_bytes["dram_write"]) == (12 + 12, 8)


class TestConservation:
    @settings(max_examples=80, deadline=None)
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
        machine = machine.model_copy(update={"objective": "latency"})  # else cycles may be traded for energy
        faster = machine.model_copy(update={"dram_bytes_per_cycle": 2 * machine.dram_bytes_per_cycle})
        m, k, n, groups = shape
        given_work = work(m, k, n, groups=groups)
        assert faster.run(given_work).cycles <= machine.run(given_work).cycles

    @settings(max_examples=40, deadline=None)
    @given(machine=machines, shape=shapes)
    def test_larger_srams_are_never_slower(self, machine, shape):
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
        for _ in range(12):
            machine = draw.choice([WeightStationary, OutputStationary, Simd])(objective=objective)
            gemm = int8_gemm(draw.randint(1, 900), draw.randint(1, 1800), draw.randint(1, 1500), draw.choice([1, 3]))

            def reached(gemm=gemm, machine=machine):
                found = best_mapping.__wrapped__(gemm=gemm, machine=machine)
                energy = machine.energy_pj(gemm=gemm, tilings=found.tilings())
                return float(score(machine, np.array([found.cycles]), energy)[0])

            best = reached()
            with monkeypatch.context() as patch:
                patch.setattr(tiling, "tile_sizes", lambda extent, unit: [*range(unit, extent, unit), extent])
                assert best <= reached() * (1 + 1e-12)

    def test_what_a_mapping_takes_is_what_is_charged(self):
        for machine in (WeightStationary(), OutputStationary(), Simd()):
            done = work(197, 768, 768)
            cost, found = machine.run(done), machine.mapping(done)
            leaked = machine.leakage_pj_per_cycle * found.cycles
            moved = machine.energy_pj(gemm=int8_gemm(197, 768, 768), tilings=found.tilings())[0]
            assert cost.total_energy_pj == pytest.approx(moved + leaked)


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

    def test_an_access_moves_one_word_of_the_port(self):
        # Ports: 4 rows x 8 bits, 4 columns x 8 bits, 4 columns x 32 bits.
        assert self.event("sram_input", "read").count == 24 * 8 / 32
        assert self.event("sram_weight", "write").count == 24 * 8 / 32
        assert self.event("sram_output", "read").count == 16 * 32 / 128
        assert self.event("sram_output", "write").price_pj == self.prices.sram(128 * 1024, 128).write_pj
        assert self.event("sram_input", "write").price_pj == self.prices.sram(256 * 1024, 32).write_pj

    def test_dram_is_priced_by_the_bit(self):
        assert self.event("dram", "read").count == 48 * 8
        assert self.event("dram", "read").price_pj == self.prices.price("dram").energy()

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
            "ppu",
            "sram_input",
            "sram_weight",
            "sram_output",
        }

    def test_every_finished_output_is_requantized_once(self):
        multiply, add, shift = (self.prices.price(f"{part}_int32") for part in ("multiply", "add", "shift"))
        event = self.event("ppu", "requantize")
        assert (event.count, event.unit) == (4 * 4, "operation")
        assert event.price_pj == pytest.approx(multiply.energy() + add.energy() + shift.energy())
        assert all(price.source in event.source for price in (multiply, add, shift))
        assert all(f"{part}_int32" in event.source for part in ("multiply", "add", "shift"))

    def test_a_column_has_a_requantizer_that_leaks(self):
        multiply, add, shift = (self.prices.price(f"{part}_int32") for part in ("multiply", "add", "shift"))
        assert self.machine.area().components_um2["ppu"] == pytest.approx(
            4 * (multiply.area() + add.area() + shift.area())
        )
        logic = self.prices.price("logic_leakage")
        leakage = self.event("leakage", "ppu")
        leakage_uw = 4 * ((multiply.area() + add.area()) * logic.leakage() + shift.leakage())
        assert leakage.price_pj == pytest.approx(leakage_uw / 500)
        assert logic.source in leakage.source

    def test_area_is_that_of_the_multipliers_and_srams(self):
        area = WeightStationary(**SQUARE).area()
        assert area.components_um2["mac_array"] == 1024 * self.prices.price("mac_int8").area()
        assert area.components_um2["sram_input"] == self.prices.sram(256 * 1024, 256).area_um2
        assert area.components_um2["sram_output"] == self.prices.sram(128 * 1024, 1024).area_um2
        assert all(area.sources[component] for component in area.components_um2)


class TestSramMacros:
    prices = technology.load(28)

    def test_ports_wider_than_any_macro_are_macros_side_by_side(self):
        wide = sram_macros(technology=self.prices, capacity_bytes=2**18, port_bits=2048)
        half = self.prices.sram(2**17, 1024)
        assert (wide.port_bits, wide.macros) == (2048, 2)
        assert (wide.read_pj, wide.area_um2) == (2 * half.read_pj, 2 * half.area_um2)

    def test_of_capacities_larger_than_any_macro_one_is_accessed(self):
        large = sram_macros(technology=self.prices, capacity_bytes=2**26, port_bits=256)
        macro = self.prices.sram(2**24, 256)
        assert (large.macros, large.read_pj, large.leakage_uw) == (4, macro.read_pj, 4 * macro.leakage_uw)

    def test_ports_are_narrowed_until_a_small_sram_has_32_rows(self):
        assert sram_macros(technology=self.prices, capacity_bytes=1024, port_bits=1024).port_bits == 1024 * 8 // 32


class TestSubstrate:
    def test_prices_are_those_of_the_node_and_the_user(self):
        assert Substrate().technology.price("dram") == technology.load(28).price("dram")
        assert Substrate(node_nm=45, dram_pj_per_bit=3).technology.price("dram").energy() == 3
        assert Substrate(node_nm=45).technology.price("mac_int8") == technology.load(45).price("mac_int8")

    def test_memory_prices_hold_the_ports_that_are_asked_for(self):
        found = memory_prices(Substrate(clock_mhz=100), {"sram_output": 1024, "sram_input": 64})
        assert {name: macros.port_bits for name, macros in found.srams.items()} == {
            "sram_output": 1024,
            "sram_input": 64,
        }
        assert found.clock_mhz == 100
        assert [name for name, _, _ in found.leaking] == ["sram_output", "sram_input"]

    def test_requantizers_grow_with_their_lanes_and_outputs(self):
        prices = technology.load(28)
        one, three = (requantizer_area(lanes, prices).total_um2 for lanes in (1, 3))
        assert three == pytest.approx(3 * one)
        assert requantizer_leakage(3, prices)[1] == pytest.approx(3 * requantizer_leakage(1, prices)[1])
        assert requantize_event(7, prices).energy_pj == pytest.approx(7 * requantize_event(1, prices).energy_pj)


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
        assert machine.parameters()["dram_bytes_per_cycle"] == 128
        assert machine.peak_macs_per_cycle == 24 * 32
        assert array(**machine.parameters()) == machine

    @pytest.mark.parametrize("array", ARRAYS)
    def test_multipliers_are_counted_in_4_bit_ones(self, array):
        assert array().multipliers_4b == 3072
        assert array(rows=3, cols=5, mac="int4").multipliers_4b == 15
        assert array(rows=3, cols=5, mac="int16").multipliers_4b == 15 * 16
        assert array(mac="float32").multipliers_4b is None

    def test_published_configurations(self):
        assert WeightStationary.native == OutputStationary.native == {"rows": 32}
        assert Simd.native == {}

    @pytest.mark.parametrize(("name", "value"), [("row", 16), ("rows", 0), ("clock_mhz", -1), ("mac", "int3")])
    def test_misspelt_and_impossible_ones_are_errors_that_name_them(self, name, value):
        with pytest.raises(ValidationError, match=name):
            WeightStationary(**{name: value})

    def test_every_parameter_tells_its_source(self):
        for array, (name, field) in itertools.product(ARRAYS, WeightStationary.model_fields.items()):
            assert array.model_fields[name].description, name
            assert field.description

    def test_an_sram_too_small_says_what_to_raise(self):
        with pytest.raises(InputError, match=r"output SRAM holds 1024 bytes.*need 4096 .*raise output_sram_kib to 4"):
            WeightStationary(output_sram_kib=1, **SQUARE).run(work(64, 64, 64))

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
