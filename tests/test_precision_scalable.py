"""Packed arrays: modes against a register-level simulation, published rates and areas, conservation, refusals."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bitwright import registry, technology
from bitwright.accelerators.systolic import WeightStationary
from bitwright.accelerators.precision_scalable import AdaptivFloatArray, Ant, BitFusion, Lpa, compute_area_um2
from bitwright.accelerators.circuits import Circuit, Part, priced
from bitwright.accelerators.precision_scalable.modes import packed_width
from bitwright.accelerators.precision_scalable.reference import digits, product_of_digits, simulate
from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import InputError, MissingPriceError
from bitwright.formats import AdaptivFloat, Flint, Integer, LogPosit, PerTensor, Posit, PowerOfTwo
from bitwright.memory import Gemm, Tilings
from bitwright.memory.tiling import ORDERS
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.drift.rule import Drift
from bitwright.methods.execution import Execution
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan
from bitwright.networks.sites import Site
from bitwright.studies.machines import build_accelerators, footing
from bitwright.testing import check_accelerator

NAMES = {"lpa": Lpa, "ant": Ant, "bitfusion": BitFusion, "adaptivfloat": AdaptivFloatArray}
DIGITS = {Lpa: 8, Ant: 4, BitFusion: 2, AdaptivFloatArray: 8}  # bits that a part of a PE multiplies by as many
MODES = [
    (array, x_bits, w_bits)
    for array in NAMES.values()
    for x_bits, w_bits in itertools.product(array.widths, array.widths)
]


def lp(bits):
    return LogPosit(n=bits, es=min(1, bits - 2), rs=1)


def af(bits):
    return AdaptivFloat(bits=bits, exponent_bits=min(3, bits - 1))


def integer(bits):
    return Integer(bits=bits)


FORMATS = {Lpa: lp, Ant: integer, BitFusion: integer, AdaptivFloatArray: af}
ALL = [pytest.param(array, id=name) for name, array in NAMES.items()]


def plan(x, w, **rules):
    operands = (OperandPlan(format=each, granularity=PerTensor()) for each in (x, w))
    return SitePlan(**dict(zip("xw", operands, strict=True)), **rules)


def plan_of(array, x_bits, w_bits):
    return plan(FORMATS[array](x_bits), FORMATS[array](w_bits))


def work(m, k, n, *, plan, groups=1, x_elements=None):
    x_elements = groups * m * k if x_elements is None else x_elements
    site = Site(
        name="layer", op="linear", m=m, k=k, n=n, groups=groups, x_elements=x_elements, w_elements=groups * k * n
    )
    return Execution(site=site, plan=plan)


def whole(m, k, n):
    """A product in a single tile."""
    arrays = (np.array([value], dtype=np.int64) for value in (m, k, n, ORDERS.index("mnk"), 1))
    return Tilings(**dict(zip(("m", "k", "n", "order", "output_buffers"), arrays, strict=True)))


def gemm(m, k, n, mode, groups=1):
    return Gemm(m=m, k=k, n=n, groups=groups, x_bits=mode.x_bits, w_bits=mode.w_bits, y_bits=mode.x_bits, psum_bits=32)


def event(cost, component, name):
    return next(each for each in cost.events if (each.component, each.name) == (component, name))


small = st.integers(1, 9)
shapes = st.tuples(*[st.integers(1, 300)] * 3, st.integers(1, 6))


class TestTwin:
    """Closed forms against registers that move once per cycle."""

    @pytest.mark.parametrize(("array", "x_bits", "w_bits"), MODES)
    @settings(max_examples=12, deadline=None)
    @given(shape=st.tuples(small, small, small), size=st.tuples(*[st.integers(1, 2)] * 2), seed=st.integers(0, 2**32))
    def test_products_cycles_and_counts(self, array, x_bits, w_bits, shape, size, seed):
        m, k, n = shape
        machine = array(rows=2 * size[0], cols=2 * size[1])
        mode, random = machine.mode(x_bits, w_bits), np.random.default_rng(seed)
        x = random.integers(-(2 ** (x_bits - 1)), 2 ** (x_bits - 1), (m, k))
        w = random.integers(-(2 ** (w_bits - 1)), 2 ** (w_bits - 1), (k, n))
        found = simulate(x=x, w=w, mode=mode, digit_bits=DIGITS[array])
        assert (found.product == x @ w).all()
        extents = (np.array([extent]) for extent in shape)
        assert mode.compute_cycles(**dict(zip("mkn", extents, strict=True))).tolist() == [found.cycles]
        product = gemm(m, k, n, mode)
        assert mode.pe_cycles(product) == found.pe_cycles
        words = mode.words(gemm=product, tilings=whole(m, k, n), word_bits=8)
        if mode.deep == 1:
            assert [each.tolist() for each in words] == [[found.x_enters], [found.w_enters]]

    @pytest.mark.parametrize(("array", "x_bits", "w_bits"), MODES)
    def test_a_full_unit_uses_all_that_it_has(self, array, x_bits, w_bits):
        """Lanes, 4-bit multipliers and bricks are all busy and never asked for more."""
        mode = array(rows=2, cols=2).mode(x_bits, w_bits)
        k, n = mode.rows * mode.deep, mode.cols * mode.wide
        x, w = np.ones((3, k), dtype=np.int64), np.ones((k, n), dtype=np.int64)
        found = simulate(x=x, w=w, mode=mode, digit_bits=DIGITS[array])
        if array is Lpa:
            assert mode.wide * w_bits == 8
        else:
            per_pe = {Ant: 1, BitFusion: 4, AdaptivFloatArray: 1}[array]
            assert found.digit_products == per_pe * mode.fused

    def test_bricks_multiply_exactly(self):
        for x_bits, w_bits in itertools.product((2, 4, 8), (2, 4, 8)):
            mode = BitFusion().mode(x_bits, w_bits)
            step = 1 if x_bits + w_bits < 16 else 7  # 8 by 8 bits: every seventh, and both ends
            for x in {*range(-(2 ** (x_bits - 1)), 2 ** (x_bits - 1), step), 2 ** (x_bits - 1) - 1}:
                for w in range(-(2 ** (w_bits - 1)), 2 ** (w_bits - 1)):
                    product, bricks = product_of_digits(x, w, mode=mode, digit_bits=2)
                    assert product == x * w
                    assert bricks == x_bits * w_bits // 4

    def test_digits_are_unsigned_but_for_the_last(self):
        for value in range(-128, 128):
            found = digits(value, bits=8, digit_bits=2)
            assert sum(digit << 2 * i for i, digit in enumerate(found)) == value
            assert all(0 <= digit < 4 for digit in found[:-1])
            assert -2 <= found[-1] < 2

    def test_one_unit_by_hand(self):
        # Two folds of four 2-bit weights each: one cycle to load, five products, no skew.
        mode = Lpa(rows=1, cols=1).mode(8, 2)
        x, w = np.ones((5, 1), dtype=np.int64), np.ones((1, 7), dtype=np.int64)
        found = simulate(x=x, w=w, mode=mode, digit_bits=8)
        assert (found.cycles, found.pe_cycles, found.x_enters, found.w_enters) == (2 * (1 + 5), 2 * 5, 2 * 5, 2)


class TestModes:
    @pytest.mark.parametrize(
        ("array", "rates"),
        [
            # 64 PEs: products per cycle by widths of x and w.
            (Lpa, {(8, 8): 64, (8, 4): 128, (8, 2): 256, (4, 4): 128, (2, 2): 256, (2, 8): 64}),
            (Ant, {(8, 8): 16, (8, 4): 32, (4, 8): 32, (4, 4): 64}),
            (BitFusion, {(8, 8): 16, (8, 4): 32, (4, 4): 64, (8, 2): 64, (4, 2): 128, (2, 4): 128, (2, 2): 256}),
            (AdaptivFloatArray, {(8, 8): 64}),
        ],
    )
    def test_rates(self, array, rates):
        machine = array(rows=8, cols=8)
        assert {widths: machine.mode(*widths).macs_per_cycle for widths in rates} == rates
        for widths, rate in rates.items():
            assert machine.mode(*widths).products_per_pe_cycle * 64 == rate

    def test_bitfusion_is_a_quarter_of_a_fusion_unit(self):
        # Sharma et al., ISCA 2018: a unit of 16 bricks makes 1, 2, 4, 4, 16 products per cycle.
        for widths, products in (((8, 8), 1), ((8, 4), 2), ((4, 4), 4), ((8, 2), 4), ((2, 2), 16)):
            assert 4 * BitFusion().mode(*widths).products_per_pe_cycle == products

    @pytest.mark.parametrize("array", ALL)
    def test_all_make_as_many_8_bit_products_on_the_common_substrate(self, array):
        machine = array()
        assert machine.peak_macs_per_cycle == WeightStationary().peak_macs_per_cycle == 768
        assert machine.multipliers_4b == WeightStationary().multipliers_4b == 3072
        eight = machine.mode(8, 8)
        assert (eight.rows, eight.cols) == (24, 32)

    @pytest.mark.parametrize("array", ALL)
    def test_at_8_bits_they_take_a_plain_arrays_cycles(self, array):
        # 576 / 24 = 24 by 128 / 32 = 4 folds of 2 * 24 + 32 + 200 - 2 cycles.
        assert self.cycles(array, 8, 8) == 24 * 4 * 278

    def test_packed_weights_fold_less_often(self):
        # 128 columns are 4, 2 and 1 folds of 32 PEs with 1, 2 and 4 weights each; a fold takes as long.
        cycles = [self.cycles(Lpa, 8, bits) for bits in (8, 5, 4, 3, 2)]
        assert cycles == [24 * folds * 278 for folds in (4, 4, 2, 2, 1)]

    def test_the_activation_of_lpa_takes_the_full_width(self):
        assert {self.cycles(Lpa, x_bits, 4) for x_bits in (2, 4, 8)} == {24 * 2 * 278}

    def test_narrow_operands_use_more_rows_and_columns_of_4_bit_pes(self):
        # 4 by 4 bits: 48 rows, 64 columns; 576 / 48 = 12, 128 / 64 = 2 folds of 2 * 48 + 64 + 200 - 2.
        assert self.cycles(Ant, 4, 4) == self.cycles(BitFusion, 4, 4) == 12 * 2 * 358
        # 8 by 4 bits: 24 rows, 64 columns.
        assert self.cycles(Ant, 8, 4) == 24 * 2 * (2 * 24 + 64 + 200 - 2)
        # 2 by 2 bits of BitFusion: 96 k and 128 n per fold of 48 by 64 PEs.
        assert self.cycles(BitFusion, 2, 2) == 6 * 358

    def cycles(self, array, x_bits, w_bits):
        """Of 200 x 576 x 128, whose sums fit the output SRAM so that m is not cut."""
        machine = array(objective="latency")
        return machine.run(work(200, 576, 128, plan=plan_of(array, x_bits, w_bits))).compute_cycles

    def test_adaptivfloat_has_one_speed(self):
        costs = [AdaptivFloatArray().run(work(50, 60, 70, plan=plan_of(AdaptivFloatArray, b, b))) for b in (4, 8)]
        assert costs[0] == costs[1]

    @pytest.mark.parametrize("bits", range(2, 9))
    def test_a_width_takes_the_next_packed_one(self, bits):
        widths = {2: (2, 4, 8), 3: (4, 4, 8), 4: (4, 4, 8)}.get(bits, (8, 8, 8))
        assert packed_width(bits, (2, 4, 8)) == widths[0]
        assert packed_width(bits, (4, 8)) == widths[1]
        assert packed_width(bits, (8,)) == widths[2]

    def test_nothing_wider_than_the_widest(self):
        with pytest.raises(ValueError, match="9 bits do not fit 8"):
            packed_width(9, (2, 4, 8))

    @pytest.mark.parametrize(("array", "x_bits", "w_bits"), MODES)
    def test_narrower_is_never_slower_on_whole_folds(self, array, x_bits, w_bits):
        machine = array(objective="latency")
        wide = machine.run(work(96, 192, 256, plan=plan_of(array, 8, 8)))
        narrow = machine.run(work(96, 192, 256, plan=plan_of(array, x_bits, w_bits)))
        assert narrow.compute_cycles <= wide.compute_cycles
        assert narrow.total_energy_pj <= wide.total_energy_pj


class TestTraffic:
    @pytest.mark.parametrize(("array", "x_bits", "w_bits"), MODES)
    def test_elements_take_their_packed_width_everywhere(self, array, x_bits, w_bits):
        machine = array(rows=8, cols=8)
        cost = machine.run(work(4, 8, 8, plan=plan_of(array, x_bits, w_bits)))
        mode = machine.mode(x_bits, w_bits)
        folds_of_n, folds_of_k = -(-8 // (mode.cols * mode.wide)), -(-8 // (mode.rows * mode.deep))
        x, w, outputs = 4 * 8 * x_bits / 8, 8 * 8 * w_bits / 8, 4 * 8
        assert cost.traffic_bytes == {
            "dram_read": x + w,
            "dram_write": outputs * x_bits / 8,
            "sram_input_read": x * folds_of_n,
            "sram_input_write": x,
            "sram_weight_read": w,
            "sram_weight_write": w,
            "sram_output_read": outputs * 4 * folds_of_k,
            "sram_output_write": outputs * 4 * folds_of_k,
        }
        assert cost.unique_bytes == x + w + outputs * x_bits / 8

    def test_three_bits_take_four(self):
        three, four = (Lpa().run(work(40, 50, 60, plan=plan_of(Lpa, bits, bits))) for bits in (3, 4))
        assert three == four
        assert Ant().run(work(9, 9, 9, plan=plan(Flint(bits=3), Integer(bits=2)))) == Ant().run(
            work(9, 9, 9, plan=plan_of(Ant, 4, 4))
        )


class TestEnergyAndArea:
    prices = technology.load(28)

    def test_a_pe_is_charged_for_every_cycle_that_it_works(self):
        # 10 x 9 x 7, four weights side by side: 10 * 9 * 2 PE cycles; 8-bit ones of ANT: 10 * 9 * 7 products of 4 PEs.
        lpa = Lpa(rows=4, cols=4).run(work(10, 9, 7, groups=3, plan=plan_of(Lpa, 8, 2)))
        assert event(lpa, "mac", "pe").count == 3 * 10 * 9 * 2
        ant = Ant(rows=4, cols=4).run(work(10, 9, 7, groups=3, plan=plan_of(Ant, 8, 8)))
        assert event(ant, "mac", "pe").count == 3 * 10 * 9 * 7 * 4
        two = BitFusion(rows=4, cols=4).run(work(10, 9, 7, plan=plan_of(BitFusion, 2, 2)))
        assert event(two, "mac", "pe").count == 10 * 5 * 4
        assert event(lpa, "mac", "pe").price_pj == pytest.approx(188.8 * self.prices.price("logic_energy").energy())

    def test_words_are_decoded_where_they_enter_and_outputs_encoded(self):
        # LPA, 10 x 9 x 7 on 4 x 4 PEs: n is one fold at 2 bits, two at 8; a word holds four 2-bit weights.
        for w_bits, folds, words in ((2, 1, 9 * 2), (8, 2, 9 * 7)):
            cost = Lpa(rows=4, cols=4).run(work(10, 9, 7, plan=plan_of(Lpa, 8, w_bits)))
            assert event(cost, "decode", "x").count == 10 * 9 * folds
            assert event(cost, "decode", "w").count == words
            assert event(cost, "encode", "y").count == 10 * 7
        # ANT: an 8-bit integer is two 4-bit words, and 4 columns of PEs are 2 of units: 4 folds of n.
        cost = Ant(rows=4, cols=4).run(work(10, 9, 7, plan=plan_of(Ant, 8, 8)))
        assert event(cost, "decode", "x").count == 2 * 10 * 9 * 4
        assert event(cost, "decode", "w").count == 2 * 9 * 7
        assert {each.component for each in BitFusion().run(work(8, 8, 8, plan=plan_of(BitFusion, 8, 8))).events} == {
            *("mac", "ppu", "sram_input", "sram_weight", "sram_output", "dram", "leakage")
        }

    @pytest.mark.parametrize(
        ("array", "pe", "count"),
        [
            (Lpa, "pe_lpa", 64),
            (Ant, "pe_int4", 64),
            (BitFusion, "pe_int4", 64),
            (AdaptivFloatArray, "pe_adaptivfloat8", 64),
        ],
    )
    def test_native_areas_are_published_ones(self, array, pe, count):
        machine = array(**array.native)
        area, price = machine.area(), self.prices.price(pe)
        assert area.components_um2["pe_array"] == count * price.area()
        assert price.source in area.sources["pe_array"]
        assert all(area.sources[part] for part in area.components_um2)

    @pytest.mark.parametrize(
        ("array", "charted_mm2", "within"),
        # LPA's poster, read off within 0.3 %; decoders of ANT, by parts, are ours.
        [(Lpa, 0.01208, 0.003), (Ant, 0.00511, 0.06), (BitFusion, 0.00509, 0.003), (AdaptivFloatArray, 0.02336, 0.003)],
    )
    def test_compute_areas_are_near_the_charted_ones(self, array, charted_mm2, within):
        assert compute_area_um2(array(**array.native)) == pytest.approx(1e6 * charted_mm2, rel=within)

    def test_decoders_of_lpa_are_in_its_published_area_alone(self):
        by_area, by_parts = (Lpa(priced_by=by).area().components_um2 for by in ("area", "parts"))
        assert "decoders" not in by_area
        adder, shifter = self.prices.price("add_int8"), self.prices.price("shift_int8")
        assert by_parts["decoders"] == pytest.approx((24 + 32) * (3 * adder.area() + 2 * shifter.area()))
        assert Ant().area().components_um2["decoders"] == pytest.approx((48 + 64) * (adder.area() + shifter.area()) / 2)
        assert "encoders" not in BitFusion().area().components_um2

    def test_parts_add_up(self):
        parts = (Part(event="add_int8", count=2, what="sums"), Part(event="register_bit", count=0.5, what="half"))
        circuit = Circuit(name="toy", parts=parts)
        adder, register = self.prices.price("add_int8"), self.prices.price("register_bit")
        area = 2 * adder.area() + register.area() / 2
        summed = priced(circuit, self.prices, "parts")
        assert summed.area_um2 == pytest.approx(area)
        assert summed.energy_pj == pytest.approx(2 * adder.energy() + register.energy() / 2)
        by_area = priced(circuit, self.prices, "area")
        assert by_area.energy_pj == pytest.approx(area * self.prices.price("logic_energy").energy())
        assert (
            by_area.leakage_uw
            == summed.leakage_uw
            == pytest.approx(area * self.prices.price("logic_leakage").leakage())
        )
        for source in (summed.area_source, summed.energy_source, by_area.energy_source):
            assert adder.source in source
            assert "2 add_int8 (sums)" in source

    def test_parts_burn_more_than_a_synthesis_says(self):
        """Why parts are not the default: an 8-bit multiply-accumulate unit of such parts."""
        parts = (("multiply_int8", 1), ("add_int32", 1), ("register_bit", 48))
        unit = Circuit(name="mac", parts=tuple(Part(event=name, count=count, what="it") for name, count in parts))
        summed, mac = priced(unit, self.prices, "parts"), self.prices.price("mac_int8")
        assert summed.energy_pj / mac.energy() == pytest.approx(2.7, abs=0.05)
        assert summed.area_um2 / mac.area() == pytest.approx(1, abs=0.2)
        assert priced(unit, self.prices, "area").energy_pj == pytest.approx(mac.energy(), rel=0.2)

    @pytest.mark.parametrize("array", ALL)
    def test_explain_shows_both_ways(self, array):
        told = array(**array.native).explain(work(64, 64, 64, plan=plan_of(array, 8, 8)))
        for by in ("area", "parts"):
            figures = priced(array.pe, self.prices, by)
            assert told[f"pe_um2_by_{by}"] == figures.area_um2
            assert told[f"pe_pj_by_{by}"] == figures.energy_pj
        assert 0 < told["utilization"] <= told["array_utilization"] <= 1
        cost = array(**array.native).run(work(64, 64, 64, plan=plan_of(array, 8, 8)))
        assert (told["cycles"], told["compute_cycles"]) == (cost.cycles, cost.compute_cycles)
        assert told["pe_cycles"] == event(cost, "mac", "pe").count

    def test_a_node_without_published_areas_says_which_is_missing(self):
        with pytest.raises(MissingPriceError, match="'pe_lpa'"):
            Lpa(node_nm=45).area()
        with pytest.raises(MissingPriceError, match="'pe_int4'"):
            Ant(node_nm=45).run(work(8, 8, 8, plan=plan_of(Ant, 8, 8)))
        machine = Lpa(node_nm=45, priced_by="parts")
        assert machine.area().total_um2 > Lpa(priced_by="parts").area().total_um2
        told = machine.explain(work(8, 8, 8, plan=plan_of(Lpa, 8, 8)))
        assert "pe_um2_by_area" not in told
        assert "decoder_um2_by_area" in told


class TestConservation:
    @settings(max_examples=60, deadline=None)
    @given(choice=st.sampled_from(MODES), shape=shapes, data=st.data())
    def test_on_random_shapes_and_machines(self, choice, shape, data):
        array, x_bits, w_bits = choice
        machine = array(
            rows=data.draw(st.sampled_from([4, 8, 24])),
            cols=data.draw(st.sampled_from([4, 16])),
            input_sram_kib=data.draw(st.sampled_from([16, 256])),
            output_sram_kib=data.draw(st.sampled_from([16, 128])),
            dram_bytes_per_cycle=data.draw(st.sampled_from([1, 6.4, 128])),
        )
        m, k, n, groups = shape
        x_elements = data.draw(st.integers(1, 2 * groups * m * k))
        plan = plan_of(array, x_bits, w_bits)
        cost = machine.run(work(m, k, n, groups=groups, plan=plan, x_elements=x_elements))
        assert cost.macs_executed == cost.macs_dense == m * k * n * groups
        assert cost.macs_skipped == 0
        assert cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"] >= cost.unique_bytes
        assert cost.cycles >= cost.compute_cycles
        mode = machine.mode(x_bits, w_bits)
        assert cost.compute_cycles * mode.macs_per_cycle >= cost.macs_dense
        assert event(cost, "mac", "pe").count * mode.products_per_pe_cycle >= cost.macs_dense
        assert event(cost, "mac", "pe").count <= cost.compute_cycles * machine.rows * machine.cols
        assert cost.total_energy_pj == pytest.approx(sum(each.count * each.price_pj for each in cost.events))
        assert all(each.source and each.count >= 0 for each in cost.events)

    @pytest.mark.parametrize("array", ALL)
    def test_the_kit(self, array):
        check_accelerator(array)
        check_accelerator(array(rows=4, cols=6, priced_by="parts"))


class TestSupports:
    @pytest.mark.parametrize(
        ("array", "x", "w"),
        [
            *((Lpa, lp(x), lp(w)) for x, w in ((2, 2), (8, 3), (5, 8))),
            *((AdaptivFloatArray, af(x), af(w)) for x, w in ((8, 8), (4, 6))),
            *((BitFusion, Integer(bits=x, signed=False), integer(w)) for x, w in ((8, 8), (2, 7))),
            (Ant, Integer(bits=8, signed=False), Flint(bits=4)),
            (Ant, PowerOfTwo(bits=4, signed=False), PowerOfTwo(bits=4)),
            (Ant, Flint(bits=4, signed=False), integer(4)),
            (Ant, integer(8), integer(8)),
        ],
    )
    def test_operands_that_it_multiplies(self, array, x, w):
        assert array().supports(plan(x, w)) is None
        assert array().run(work(8, 8, 8, plan=plan(x, w))).macs_executed == 512

    @pytest.mark.parametrize(
        ("array", "plan", "reason"),
        [
            (Lpa, FLOAT_SITE, "x is float32 and the array multiplies log posits of 2 to 8 bits; use the method lpq"),
            (Lpa, plan(integer(8), integer(8)), "x is int8 .* log posits"),
            (Lpa, plan(lp(8), LogPosit(n=9, es=1, rs=3)), "w is lp9 "),
            (Lpa, plan(Posit(n=8, es=1), lp(8)), "x is posit8 "),
            (Ant, plan(lp(8), lp(8)), "x is lp8 and the array multiplies integers .* powers of two and flints"),
            (Ant, plan(integer(8), Flint(bits=6)), "w is flint6 .* use the method ant with 4 or 8 bits"),
            (Ant, plan(Integer(bits=9), integer(8)), "x is int9 "),
            (BitFusion, plan(integer(8), Flint(bits=4)), "w is flint4 and the array multiplies integers of 2 to 8"),
            (BitFusion, plan(Integer(bits=16), integer(8)), "x is int16 .* of 8 bits or less"),
            (AdaptivFloatArray, plan(af(8), integer(8)), "w is int8 .* use the method adaptivfloat"),
            (AdaptivFloatArray, FLOAT_SITE, "x is float32 "),
            *(
                (
                    array,
                    plan(FORMATS[array](8), FORMATS[array](8), accumulation=PartialSums(kind=Kind.APSQ, tile=8)),
                    "sums .*apsq.*; leave",
                )
                for array in NAMES.values()
            ),
            *(
                (array, plan(FORMATS[array](8), FORMATS[array](8), precision=Drift()), "run time .*drift.*;")
                for array in NAMES.values()
            ),
        ],
    )
    def test_operands_that_it_does_not_and_what_would_help(self, array, plan, reason):
        assert "\n" not in array().supports(plan)
        with pytest.raises(InputError, match=f"layer cannot run on this array: .*{reason}"):
            array().run(work(8, 8, 8, plan=plan))


class TestParameters:
    @pytest.mark.parametrize("name", NAMES)
    def test_they_are_registered(self, name):
        assert registry.lookup("bitwright.accelerators", name) is NAMES[name]
        machine = NAMES[name]()
        assert isinstance(machine, Accelerator)
        assert type(machine)(**machine.parameters()) == machine

    def test_native_is_8_by_8_with_the_memory_of_the_ant_artifact(self):
        machines = build_accelerators(NAMES, substrate="native")
        for machine in machines.values():
            found = machine.parameters()
            assert (found["rows"], found["cols"], found["clock_mhz"]) == (8, 8, 500)
            srams = [found[f"{memory}_sram_kib"] for memory in ("input", "weight", "output")]
            assert srams == [256, 128, 128]
        assert set(footing(machines, "native").differences["lpa"]) == {"rows", "cols"}

    def test_ports_are_as_wide_as_what_flows(self):
        # Common: 24 rows and 32 columns of 8-bit words, or 48 and 64 of 4-bit ones; sums of 32 bits.
        assert Lpa().ports == {"sram_input": 192, "sram_weight": 256, "sram_output": 32 * 4 * 32}
        assert Ant().ports == {"sram_input": 192, "sram_weight": 256, "sram_output": 64 * 32}
        assert BitFusion().ports == {"sram_input": 192, "sram_weight": 256, "sram_output": 64 * 2 * 32}
        assert AdaptivFloatArray().ports == {"sram_input": 192, "sram_weight": 256, "sram_output": 32 * 32}

    @pytest.mark.parametrize("array", ALL)
    def test_every_parameter_tells_its_source(self, array):
        assert all(field.description for field in array.model_fields.values())

    @pytest.mark.parametrize(
        ("array", "name", "value"),
        [(Ant, "rows", 7), (BitFusion, "cols", 3), (Lpa, "rows", 0), (Lpa, "row", 8), (Ant, "priced_by", "guess")],
    )
    def test_impossible_ones_are_errors_that_name_them(self, array, name, value):
        with pytest.raises(ValidationError, match=name):
            array(**{name: value})
