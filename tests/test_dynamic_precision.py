"""Split arrays: bit groups, latency forms and cuts against simulations and exhaustive search; what machines cost."""

import dataclasses
import io
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

from bitwright import registry, technology
from bitwright.accelerators.bit_slice import Panacea
from bitwright.accelerators.dynamic_precision import Drift, Drq, Seq, bit_group, reference
from bitwright.accelerators.dynamic_precision.circuits import entry_bits
from bitwright.accelerators.dynamic_precision.cut_kernels import NEVER, start
from bitwright.accelerators.dynamic_precision.latency import FORMS, fill_cycles, form_of, part_cycles
from bitwright.accelerators.dynamic_precision.placement import count
from bitwright.accelerators.dynamic_precision.reference import Product
from bitwright.accelerators.dynamic_precision.register_level import simulate
from bitwright.accelerators.dynamic_precision.scheduler import schedule
from bitwright.accelerators.dynamic_precision.tiles import spread
from bitwright.accelerators.dynamic_precision.walk import walk_of
from bitwright.accelerators.partial_sums import Apsq
from bitwright.accelerators.precision_scalable import Ant, BitFusion
from bitwright.accelerators.systolic import WeightStationary
from bitwright.accelerators.systolic.dataflow import OutputStationary, Timing
from bitwright.accelerators.systolic.dataflow import WeightStationary as WeightStationaryFolds
from bitwright.errors import InputError
from bitwright.formats import Integer, LogPosit, PerTensor, Quantized
from bitwright.memory import Gemm, Mapping
from bitwright.memory.tiling import ORDERS
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.classes import PAIRS, Classes
from bitwright.methods.drift.conversion import Conversion
from bitwright.methods.drift.rule import Drift as DriftRule
from bitwright.methods.drq.rule import Drq as DrqRule
from bitwright.methods.execution import Execution
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan
from bitwright.networks.sites import ConvGeometry, Site
from bitwright.reports.explanation import print_explanation
from bitwright.reports.parts import parts_picture
from bitwright.studies.explain import Explanation
from bitwright.studies.machines import footing
from bitwright.studies.simulate import SiteCost
from bitwright.testing import check_accelerator
from toys import OtherRule

DATAFLOWS = ("ws", "ws-double", "os")
"""Forms that the registers of the slow twin move by; the others are held against its plain formulas."""
APART = {"weight_loading": "exposed", "fold_pipelining": False}
SETTINGS = {
    "ws": APART,
    "ws-double": {},
    "os": {"dataflow": "os", "fold_pipelining": False},
    "os-double": {"dataflow": "os"},
    "ws-hidden": {"fold_pipelining": False},
    "ws-pipelined": {"weight_loading": "exposed"},
}
"""Of machines, by the form that they make."""
FORM = pytest.mark.parametrize("form", FORMS)
SIZES = ((32, 32), (24, 33))
MACHINES = [pytest.param(Drift, id="drift"), pytest.param(Seq, id="seq")]
SHARED = DriftRule(x_share=0.8, w_share=0.8)


def part(dataflow, m, k, n, rows, cols, fx=1, fw=1, runs=1):
    """Cycles of one part."""
    sides = {"m": m, "k": k, "n": n, "rows": rows, "cols": cols, "runs": runs}
    arrays = {name: np.array([value]) for name, value in sides.items()}
    return int(part_cycles(dataflow, **arrays, fx=fx, fw=fw)[0])


def cut(dataflow, size, products):
    """The scheduler's cuts of many products."""
    columns = np.array(products).T
    names = ("m_wide", "m_narrow", "n_wide", "n_narrow", "k", "runs")
    return schedule(dataflow, rows=size[0], cols=size[1], **dict(zip(names, columns, strict=True)))


def plan(x=8, w=8, signed=True, **rules):
    formats = Integer(bits=x, signed=signed), Integer(bits=w)
    operands = (OperandPlan(format=each, granularity=PerTensor()) for each in formats)
    return SitePlan(**dict(zip("xw", operands, strict=True)), **rules)


def work(m, k, n, *, groups=1, plan, x_elements=None, **operands):
    x_elements = groups * m * k if x_elements is None else x_elements
    site = Site(
        name="layer", op="linear", m=m, k=k, n=n, groups=groups, x_elements=x_elements, w_elements=groups * k * n
    )
    return Execution(site=site, plan=plan, **operands)


def quantized(rows, k, shifts):
    """An operand whose sub-tensors dropped so many bits; only that counts here."""
    return Quantized(
        codes=torch.zeros(rows, k, dtype=torch.int8), format=Integer(bits=8), scale=torch.ones(()), shifts=shifts
    )


def mixed(m_narrow, n_narrow, *, m, k, n):
    """Work of which so many rows and columns are narrow in each block of the reduction."""
    shifts = [torch.full((rows, len(m_narrow)), -1, dtype=torch.int8) for rows in (m, n)]
    for each, narrow in zip(shifts, (m_narrow, n_narrow), strict=True):
        for block, many in enumerate(narrow):
            each[:many, block] = 2
    return work(m, k, n, plan=plan(precision=DriftRule()), x=quantized(m, k, shifts[0]), w=quantized(n, k, shifts[1]))


def placed_of(machine, one):
    """Where the classes of a work run, under the mapping that the machine chooses."""
    return machine.placed(one, machine.ran(one).mapping)[0]


def classes_of(m, n, k, m_narrow, n_narrow):
    """Classes of one group, by block."""
    return Classes(
        m=m,
        n=n,
        k=np.array(k),
        m_narrow=np.array([m_narrow]),
        n_narrow=np.array([n_narrow]),
        x_narrow=0.5,
        w_narrow=0.5,
    )


def all_wide(classes):
    """The same rows and columns, none of them narrow."""
    nothing = np.zeros_like(classes.m_narrow)
    return dataclasses.replace(classes, m_narrow=nothing, n_narrow=nothing)


def event(cost, component, name):
    return next(each for each in cost.events if (each.component, each.name) == (component, name))


class TestBitGroup:
    @pytest.mark.parametrize(("x_bits", "w_bits"), PAIRS)
    @pytest.mark.parametrize("signed", [True, False])
    def test_multiplies_exactly(self, x_bits, w_bits, signed):
        """Every pair of operands, activations signed or not, from as many 4 by 4 products as there are digits."""
        low = -(2 ** (x_bits - 1)) if signed else 0
        for x, w in itertools.product(range(low, low + 2**x_bits), range(-(2 ** (w_bits - 1)), 2 ** (w_bits - 1))):
            assert bit_group.product(x, w, x_bits=x_bits, w_bits=w_bits) == (x * w, x_bits * w_bits // 16)

    @pytest.mark.parametrize(("x_bits", "w_bits"), PAIRS)
    def test_a_full_port_uses_every_multiplier(self, x_bits, w_bits):
        fx, fw = bit_group.per_port(x_bits), bit_group.per_port(w_bits)
        sums, used = bit_group.cycle([3] * fx, [[-5] * fw] * fx, x_bits=x_bits, w_bits=w_bits)
        assert (sums, used) == ([-15 * fx] * fw, 4)
        assert bit_group.macs_per_cycle(x_bits, w_bits) == fx * fw == 64 // (x_bits * w_bits)

    def test_a_wider_operand_does_not_pass(self):
        with pytest.raises(ValueError, match="16 is no 5-bit signed integer: 16 or 1 is wider than stated"):
            bit_group.product(16, 1, x_bits=4, w_bits=4)
        with pytest.raises(ValueError, match="wider than stated"):
            bit_group.product(256, 1, x_bits=8, w_bits=8)


class TestForms:
    def test_by_hand(self):
        # 600 x 100 on 24 x 32: 25 x 4 folds; of 4 by 4 bits 13 x 2; m, n over 9 x 4 or 5 x 2 folds of 600.
        assert part("ws", 200, 600, 100, 24, 32) == 100 * (2 * 24 + 32 + 200 - 2)
        assert part("ws", 200, 600, 100, 24, 32, 2, 2) == 26 * 278
        assert part("ws-double", 200, 600, 100, 24, 32) == 100 * 200
        assert part("ws-double", 7, 600, 100, 24, 32) == 100 * 24  # weights take longer than the stream
        assert part("os", 200, 600, 100, 24, 32) == 36 * (600 + 24 + 32 - 2)
        assert part("os", 200, 600, 100, 24, 32, 2, 2) == 10 * 654
        assert part("ws", 200, 600, 100, 24, 32, 1, 2) == 25 * 2 * 278
        assert part("os-double", 200, 600, 100, 24, 32) == 36 * 600
        assert part("os-double", 200, 10, 100, 24, 32) == 36 * 24  # sums take longer to leave than the stream
        assert part("ws-hidden", 200, 600, 100, 24, 32) == 100 * (200 + 54)
        assert part("ws-pipelined", 200, 600, 100, 24, 32) == 100 * (200 + 24)

    def test_streams_that_tiles_cut(self):
        # Three tiles fill and drain each fold three times; weights that come in meanwhile take 3 x 24 cycles.
        assert part("ws", 200, 600, 100, 24, 32, runs=3) == 100 * (200 + 3 * 78)
        assert part("os", 200, 600, 100, 24, 32, runs=3) == 36 * (600 + 3 * 54)
        assert part("ws-double", 200, 600, 100, 24, 32, runs=3) == 100 * 200
        assert part("ws-double", 200, 600, 100, 24, 32, runs=9) == 100 * 9 * 24
        assert part("os-double", 200, 600, 100, 24, 32, runs=9) == 36 * 600
        assert part("os-double", 200, 600, 100, 24, 32, runs=30) == 36 * 30 * 24
        assert part("ws-hidden", 200, 600, 100, 24, 32, runs=3) == 100 * (200 + 3 * 54)
        assert part("ws-pipelined", 200, 600, 100, 24, 32, runs=3) == 100 * (200 + 3 * 24)

    def test_filling_by_hand(self):
        # Once: 24 cycles of the first weights or last sums, 54 of skew, of those which folds do not take themselves.
        once = {"ws": 0, "os": 0, "ws-double": 78, "os-double": 78, "ws-hidden": 24, "ws-pipelined": 54}
        assert {form: fill_cycles(form, 24, 32) for form in FORMS} == once

    @FORM
    def test_ideals_make_the_form(self, form):
        assert {name: Drift(**given).form for name, given in SETTINGS.items()}[form] == form

    @FORM
    def test_nothing_takes_no_time_and_work_without_an_array_for_ever(self, form):
        assert part(form, 0, 9, 9, 4, 4) == part(form, 9, 9, 0, 0, 0) == 0
        assert part(form, 9, 9, 9, 0, 4) == part(form, 9, 9, 9, 4, 0) == NEVER

    @FORM
    @given(
        sides=st.tuples(*[st.integers(0, 400)] * 3, st.integers(0, 40), st.integers(0, 40)),
        ports=st.tuples(*[st.sampled_from((1, 2))] * 2),
        runs=st.integers(1, 5),
    )
    def test_twin(self, form, sides, ports, runs):
        expected = reference.latency(form, *sides, *ports, runs)
        assert part(form, *sides, *ports, runs) == (NEVER if expected == math.inf else expected)

    @given(
        sides=st.tuples(*[st.integers(1, 400)] * 3, *[st.integers(1, 40)] * 2),
        ports=st.tuples(*[st.sampled_from((1, 2))] * 2),
        hidden=st.booleans(),
        pipelined=st.booleans(),
    )
    def test_one_class_is_a_plain_array(self, sides, ports, hidden, pipelined):
        """The whole array at one pair of widths takes what the room of systolic arrays says of the same units."""
        (m, k, n, rows, cols), (fx, fw) = sides, ports
        timing = Timing(hidden=hidden, pipelined=pipelined)
        given = {"rows": rows, "cols": cols, "timing": timing, "product": Drift().job(work(1, 1, 1, plan=plan()))}
        given["product"] = given["product"].dataflows[0].product
        extents = {name: np.array([value]) for name, value in (("m", m), ("k", k), ("n", n))}
        resting = WeightStationaryFolds(**given, deep=fx, wide=fw)
        form = form_of("ws", timing)
        assert int(resting.cycles(**extents)[0]) == part(form, *sides, *ports)
        assert resting.fill_cycles == fill_cycles(form, rows, cols)
        sums, form = OutputStationary(**given), form_of("os", timing)
        assert int(sums.cycles(**extents)[0]) == part(form, *sides)
        assert sums.fill_cycles == fill_cycles(form, rows, cols)


class TestArray:
    """Closed forms against registers that move once per cycle."""

    @staticmethod
    def draw(random, shape, narrow, low, high):
        """Codes of which the narrow ones have 4 bits; `low` and `high` are of 8."""
        return np.where(narrow, random.integers(low // 16, high // 16, shape), random.integers(low, high, shape))

    @staticmethod
    def with_filling(dataflow, size, line, latencies):
        """Cycles of parts that have work, each filled and drained once as the form has it."""
        sides = itertools.product((line[0], size[0] - line[0]), (line[1], size[1] - line[1]))
        fills = [fill_cycles(dataflow, *each) for each in sides]
        return [cycles + fill if cycles else 0 for cycles, fill in zip(latencies, fills, strict=True)]

    def run(self, dataflow, seed, shape, size, shares, line=None):
        random = np.random.default_rng(seed)
        (m, k, n), (rows, cols) = shape, size
        x_narrow, w_narrow = (random.random(each) < share for each, share in zip((m, n), shares, strict=True))
        low = -128 * int(random.integers(2))
        x = self.draw(random, (m, k), x_narrow[:, None], low, low + 256)
        w = self.draw(random, (k, n), w_narrow, -128, 128)
        counts = [int((~x_narrow).sum()), int(x_narrow.sum()), int((~w_narrow).sum()), int(w_narrow.sum())]
        product = Product(*counts, k)
        random_line = [
            edge if not narrow else 0 if not wide else int(random.integers(1, edge))
            for edge, wide, narrow in ((rows, *counts[:2]), (cols, *counts[2:]))
        ]
        line = line or tuple(random_line)
        found = simulate(dataflow, x=x, w=w, x_narrow=x_narrow, w_narrow=w_narrow, size=size, line=line)
        assert (found.product == x @ w).all()
        latencies = reference.latencies(dataflow, size, product, line)
        assert [each.cycles for each in found.parts] == self.with_filling(dataflow, size, line, latencies)
        assert max(each.multipliers for each in found.parts) <= 4
        return found, product, line

    @pytest.mark.parametrize("dataflow", DATAFLOWS)
    @pytest.mark.parametrize("shares", [(0, 0), (0, 1), (1, 0), (1, 1)])
    @settings(max_examples=12, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(1, 9)] * 3),
        size=st.tuples(*[st.integers(1, 4)] * 2),
        seed=st.integers(0, 2**32),
    )
    def test_one_class_on_an_array_of_its_own(self, dataflow, shares, shape, size, seed):
        self.run(dataflow, seed, shape, size, shares)

    @pytest.mark.parametrize("dataflow", DATAFLOWS)
    @settings(max_examples=25, deadline=None)
    @given(
        shape=st.tuples(*[st.integers(1, 14)] * 3),
        size=st.tuples(*[st.integers(2, 6)] * 2),
        seed=st.integers(0, 2**32),
        shares=st.tuples(*[st.floats(0, 1)] * 2),
    )
    def test_four_classes_side_by_side(self, dataflow, shape, size, seed, shares):
        found, product, line = self.run(dataflow, seed, shape, size, shares)
        latencies = reference.latencies(dataflow, size, product, line)
        assert found.cycles == max(self.with_filling(dataflow, size, line, latencies))
        # What a machine charges: the longest part, and the filling of the whole array.
        assert max(latencies) <= found.cycles <= max(latencies) + fill_cycles(dataflow, *size)

    @pytest.mark.parametrize("dataflow", DATAFLOWS)
    def test_what_a_placed_product_does(self, dataflow):
        """The machine's counts of busy bit groups are the simulation's, where the scheduler cuts."""
        machine = Drift(rows=6, cols=5, **SETTINGS[dataflow])
        random = np.random.default_rng(1)
        for seed in range(8):
            shape = tuple(int(each) for each in random.integers(4, 16, 3))
            narrow = [int(np.random.default_rng(seed).integers(0, each + 1)) for each in (shape[0], shape[2])]
            placed = machine.place(classes_of(shape[0], shape[2], [shape[1]], narrow[:1], narrow[1:]))
            # As placed: a block that is sooner done wide has nothing narrow.
            marks = [
                np.arange(each) < int(many[0, 0])
                for each, many in ((shape[0], placed.classes.m_narrow), (shape[2], placed.classes.n_narrow))
            ]
            line = int(placed.rows[0, 0, 0]), int(placed.cols[0, 0, 0])
            ones = np.ones(shape[:2], dtype=np.int64), np.ones(shape[1:], dtype=np.int64)
            found = simulate(
                dataflow, x=ones[0], w=ones[1], x_narrow=marks[0], w_narrow=marks[1], size=(6, 5), line=line
            )
            counts = count(placed, machine.dataflow)
            assert counts.bit_group_cycles.tolist() == [each.busy for each in found.parts]
            cycles = placed.cycles[:, 0, 0].tolist()
            assert self.with_filling(dataflow, (6, 5), line, cycles) == [each.cycles for each in found.parts]
            assert placed.spent.tolist() == [[max(cycles)]]
            assert found.cycles <= max(cycles) + fill_cycles(dataflow, 6, 5)

    @FORM
    def test_folds_of_a_placed_product(self, form):
        """Exchanges of what rests: as many folds as parts have, each by its share of the array, in each run anew."""
        machine = Drift(rows=6, cols=5, **SETTINGS[form])
        placed = machine.place(classes_of(40, 30, [35, 35], [25, 20], [10, 20]))
        expected, again = 0.0, 0.0
        for at, (x_bits, w_bits) in enumerate(PAIRS):
            for block in range(2):
                wide_m, wide_n = 40 - placed.classes.m_narrow[0, block], 30 - placed.classes.n_narrow[0, block]
                m, n = wide_m if x_bits == 8 else 40 - wide_m, wide_n if w_bits == 8 else 30 - wide_n
                rows, cols = int(placed.rows[at, 0, block]), int(placed.cols[at, 0, block])
                inner = m if machine.dataflow == "os" else 35
                if m and n:
                    folds = math.ceil(inner / (rows * 8 // x_bits)) * math.ceil(n / (cols * 8 // w_bits))
                    expected += folds * rows * cols
                    again += (3, 1)[block] * folds * rows * cols
        assert count(placed, machine.dataflow).folds == expected
        assert count(placed, machine.dataflow, np.array([3, 1])).folds == again

    @pytest.mark.parametrize("machine", MACHINES)
    def test_sums_that_rest_are_exchanged_for_the_blocks_of_a_tile_only(self, machine):
        """8 blocks of 32 in several tiles along k, none of which cuts a block: as if there were no tiles."""
        one = work(48, 256, 96, plan=plan(precision=DriftRule(block=32, x_share=0.5, w_share=0.5)))
        small = machine(dataflow="os", rows=6, cols=8)
        mapping = dataclasses.replace(small.ran(one).mapping, tile_k=64)
        placed, expected = small.place(small.classes(one)), 0.0
        for at, (x_bits, w_bits) in enumerate(PAIRS):  # 24 rows and 48 columns of each class
            rows, cols = placed.rows[at], placed.cols[at]
            folds = np.ceil(24 * x_bits / (8 * rows)) * np.ceil(48 * w_bits / (8 * cols))
            expected += (folds * rows * cols).sum()
        counted = {what.name: count for what, count in small.measured(one, mapping).uses}
        assert counted["exchange what rests"] == expected / (6 * 8)


class TestScheduler:
    @staticmethod
    def random_products(seed, count):
        """GEMMs of drift.md's fifth check: shares of .02 to .99, m of 16 to 2048."""
        random = np.random.default_rng(seed)
        products = []
        for _ in range(count):
            m = int(random.choice([16, 64, 128, 197, 512, 2048]))
            k, n = (int(each) for each in random.choice([768, 1024, 3072, 4096], 2))
            x_share, w_share = random.uniform(0.02, 0.99, 2)
            m_narrow, n_narrow = int(m * x_share), int(n * w_share)
            products.append(Product(m - m_narrow, m_narrow, n - n_narrow, n_narrow, k))
        return products

    @staticmethod
    def exhaustive(dataflow, size, product):
        """Cycles of the best single column line, and of the best two, under every row line; over all lines at once."""
        row, col = np.arange(size[0] + 1)[:, None], np.arange(size[1] + 1)[None]
        k = np.array(product.k)
        four = [
            part_cycles(dataflow, m=np.array(m), k=k, n=np.array(n), rows=rows, cols=cols, fx=fx, fw=fw)
            for m, rows, fx in ((product.m_wide, row, 1), (product.m_narrow, size[0] - row, 2))
            for n, cols, fw in ((product.n_wide, col, 1), (product.n_narrow, size[1] - col, 2))
        ]
        above, below = np.maximum(*four[:2]), np.maximum(*four[2:])
        return np.maximum(above, below).min(), np.maximum(above.min(axis=1), below.min(axis=1)).min()

    @pytest.mark.parametrize("size", SIZES)
    @FORM
    def test_near_the_best_cuts(self, form, size):
        """Within 2.5 % of the best lines; a second column line would gain at most 5 % (drift.md: 4.5 %).

        That is drift.md's of its three forms; where only loading is hidden it would gain up to 7 %.
        """
        products = self.random_products(seed=0, count=250)
        cycles = cut(form, size, products).cycles.max(axis=1)
        best = np.array([self.exhaustive(form, size, product) for product in products])
        assert (cycles >= best[:, 0]).all()
        assert (cycles / best[:, 0]).max() < 1.025
        assert (cycles / best[:, 0]).mean() < 1.001
        assert (cycles / best[:, 1]).max() < (1.07 if form == "ws-hidden" else 1.05)

    def test_the_hardest_product_found(self):
        # Without steps along both cuts the scheduler stops 13.7 % above the best ones of 24 x 33 here.
        product = Product(119, 9, 940, 84, 768)
        cycles = cut("ws", (24, 33), [product]).cycles.max()
        assert cycles <= 1.025 * reference.best_line("ws", (24, 33), product)
        assert self.exhaustive("ws", (24, 33), product) == (
            reference.best_line("ws", (24, 33), product),
            reference.best_broken_line("ws", (24, 33), product),
        )

    @FORM
    @settings(max_examples=40, deadline=None)
    @given(
        size=st.tuples(*[st.integers(2, 34)] * 2),
        sides=st.tuples(*[st.integers(0, 300)] * 4, st.integers(1, 900), st.integers(1, 4)),
    )
    def test_twin(self, form, size, sides):
        product = Product(*sides)
        found = cut(form, size, [product, Product(1, 2, 3, 4, 5), product])
        line, tried = reference.greedy(form, size, product)
        for i in (0, 2):
            assert (found.rows[i], found.cols[i]) == line
            assert found.evaluations[i] == tried
            assert found.cycles[i].tolist() == reference.latencies(form, size, product, line)

    def test_starts_where_work_is_balanced(self):
        # 100 wide rows and 200 narrow ones, which are worth 100: half of 24 rows. 30 and 180: a quarter of 32 columns.
        assert (start(24, 100, 200), start(32, 30, 180)) == (12, 8)
        assert (start(24, 0, 5), start(24, 5, 0)) == (0, 24)
        assert (start(24, 1, 10_000), start(24, 10_000, 1)) == (1, 23)

    def test_a_large_product_takes_what_the_fluid_limit_says(self):
        # K (m + m' / 2) (n + n' / 2) / (R C), and each part all of it.
        product = Product(1200, 2400, 900, 5400, 48_000)
        found = cut("ws-double", (24, 32), [product])
        fluid = 48_000 * 2400 * 3600 / (24 * 32)
        assert (found.rows[0], found.cols[0]) == (12, 8)
        assert np.allclose(found.cycles[0], fluid, rtol=0.01)

    def test_one_class_of_rows_or_columns_has_the_whole_side(self):
        found = cut(
            "ws-double", (24, 32), [(9, 0, 5, 5, 7, 1), (0, 9, 5, 5, 7, 1), (9, 9, 0, 5, 7, 1), (9, 0, 5, 0, 7, 1)]
        )
        assert (found.rows.tolist()[:2], found.cols.tolist()[2:]) == ([24, 0], [0, 32])
        assert found.evaluations.tolist()[3] == 0
        assert min(found.evaluations.tolist()[:3]) > 0
        assert found.cycles[3].tolist() == [part("ws-double", 9, 7, 5, 24, 32), 0, 0, 0]


def resnet50():
    """GEMMs (m, k, n) of ResNet-50 at 224 pixels."""
    products, channels = [(112 * 112, 147, 64)], 64
    for width, blocks, side in ((64, 3, 56), (128, 4, 28), (256, 6, 14), (512, 3, 7)):
        for block in range(blocks):
            before = 2 * side if block == 0 and width > 64 else side
            products += [(before**2, channels, width), (side**2, 9 * width, width), (side**2, width, 4 * width)]
            products += [(side**2, channels, 4 * width)] * (block == 0)
            channels = 4 * width
    return [*products, (1, 2048, 1000)]


def transformer(layers, tokens, width, hidden, heads):
    """GEMMs (m, k, n) of a transformer's linear layers and attention products."""
    head = width // heads
    linear = [(tokens, width, 3 * width), (tokens, width, width), (tokens, width, hidden), (tokens, hidden, width)]
    return layers * (linear + heads * [(tokens, head, tokens), (tokens, tokens, head)])


class TestDerived:
    """Compute cycles (millions) that drift.md derives for 32 x 32 bit groups where 80 % of both operands are narrow.

    drift.md fills and drains each product of a network by itself, and each part by its own size.
    """

    @pytest.mark.parametrize(
        ("products", "int8", "drift"),
        [
            pytest.param(resnet50(), 4.07, 1.85, id="resnet50"),
            pytest.param(transformer(12, 197, 768, 3072, 12), 17.17, 6.74, id="vit-b"),
            pytest.param(transformer(12, 128, 768, 3072, 12), 10.94, 4.30, id="bert-base"),
            pytest.param(transformer(32, 2048, 4096, 16384, 32), 13959, 5274, id="opt-6.7b"),
        ],
    )
    def test_networks(self, products, int8, drift):
        m, k, n = np.array(products).T
        whole = {"rows": np.array(32), "cols": np.array(32)}
        wide = (part_cycles("ws-double", m=m, k=k, n=n, **whole, fx=1, fw=1) + fill_cycles("ws-double", 32, 32)).sum()
        m_narrow, n_narrow = (m * 0.8).astype(int), (n * 0.8).astype(int)
        split = cut("ws-double", (32, 32), np.stack([m - m_narrow, m_narrow, n - n_narrow, n_narrow, k, 0 * k + 1], 1))
        lines = itertools.product((split.rows, 32 - split.rows), (split.cols, 32 - split.cols))
        fills = np.stack([2 * rows + cols - 2 for rows, cols in lines], axis=1)
        filled = np.where(split.cycles > 0, split.cycles + fills, 0)
        places = 2 if int8 < 100 else 0
        assert round(wide / 1e6, places) == int8
        assert round(filled.max(axis=1).sum() / 1e6, places) == drift


class TestMachines:
    def test_registered(self):
        names = registry.names("bitwright.accelerators")
        for name, machine in (("drift", Drift), ("seq", Seq)):
            if name in names:
                assert registry.lookup("bitwright.accelerators", name) is machine

    @pytest.mark.parametrize("machine", MACHINES)
    def test_stands_on_the_common_substrate(self, machine):
        assert machine().multipliers_4b == BitFusion().multipliers_4b == WeightStationary().multipliers_4b == 3072
        assert machine().peak_macs_per_cycle == BitFusion().peak_macs_per_cycle == 768
        assert machine(**machine.native).multipliers_4b == 4096

    @pytest.mark.parametrize(
        "machine",
        [Drift, Seq(**APART), Drift(dataflow="os", recut="site", rows=5, cols=3)],
    )
    def test_conforms(self, machine):
        check_accelerator(machine)

    @pytest.mark.parametrize("timing", [{}, APART])
    @pytest.mark.parametrize("shape", [(200, 576, 128), (1024, 768, 3072), (5, 2048, 1000)])
    def test_at_8_bits_it_is_a_plain_array(self, timing, shape):
        """One class, weights that rest: BitFusion's cycles, traffic and multiplier energy."""
        given = {"objective": "latency", **timing}
        theirs = BitFusion(**given).run(work(*shape, plan=plan()))
        for machine in (Drift(overhead_percent=0, **given), Seq(**given)):
            ours = machine.run(work(*shape, plan=plan()))
            assert (ours.cycles, ours.compute_cycles) == (theirs.cycles, theirs.compute_cycles)
            assert ours.traffic_bytes == theirs.traffic_bytes
            assert ours.energy_pj["mac"] == pytest.approx(theirs.energy_pj["mac"])

    @pytest.mark.parametrize("machine", MACHINES)
    def test_of_one_narrow_precision(self, machine):
        # As many products per cycle as BitFusion, but two share a port, so that the array to fill is 24 by 32.
        for bits, folds in (((8, 4), 24 * 2), ((4, 8), 12 * 4), ((4, 4), 12 * 2)):
            one = work(200, 576, 128, plan=plan(*bits))
            assert machine(objective="latency").run(one).compute_cycles == folds * 200 + 78
            assert machine(objective="latency", **APART).run(one).compute_cycles == folds * 278

    def test_blocks_by_hand(self):
        """Two blocks of 100 along k, of which the scheduler sees other counts."""
        machine, m, n = Drift(), (40, 24), (64, 16)
        one = mixed(m, n, m=48, k=200, n=96)
        ran = machine.ran(one)
        found = placed_of(machine, one)
        products = [Product(48 - a, a, 96 - b, b, 100) for a, b in zip(m, n, strict=True)]
        lines = [reference.greedy("ws-double", (24, 32), product) for product in products]
        longest = [
            max(reference.latencies("ws-double", (24, 32), product, line))
            for product, (line, _) in zip(products, lines, strict=True)
        ]
        assert max(longest) < 15 * 48  # ceil(100 / 24) by 96 / 32 folds, were all of it wide
        assert lines[0][0] != lines[1][0]
        spent = [longest[0], longest[1] + 2 * 24 + 32 - 2]  # the cut moves: drained and filled
        waits = [16 * lines[0][1], max(0, 16 * lines[1][1] - spent[0])]
        assert ran.mapping.tile_m == 48
        assert found.spent.tolist() == [spent]
        assert found.exposed.tolist() == [waits]
        assert found.compute_cycles == sum(spent) + sum(waits)
        assert ran.cost.busy_cycles["array"] == found.compute_cycles + 78
        assert ran.cost.compute_cycles == found.compute_cycles + 78
        assert machine.classes(one).macs == {
            (8, 8): 100 * (8 * 32 + 24 * 80),
            (8, 4): 100 * (8 * 64 + 24 * 16),
            (4, 8): 100 * (40 * 32 + 24 * 80),
            (4, 4): 100 * (40 * 64 + 24 * 16),
        }

    @FORM
    def test_in_turn_by_hand(self, form):
        machine, one = Seq(**SETTINGS[form]), mixed((40, 24), (64, 16), m=48, k=200, n=96)
        found, cost = placed_of(machine, one), machine.run(one)
        sizes = [(8, 40, 32, 64), (24, 24, 80, 16)]
        expected = [
            sum(
                part(form, m, 100, n, 24, 32, fx, fw)
                for m, fx in ((m_wide, 1), (m_narrow, 2))
                for n, fw in ((n_wide, 1), (n_narrow, 2))
            )
            for m_wide, m_narrow, n_wide, n_narrow in sizes
        ]
        assert found.spent.tolist() == [expected]
        assert cost.busy_cycles["array"] == sum(expected) + fill_cycles(form, 24, 32)

    def test_equal_blocks_keep_their_cuts(self):
        found = placed_of(Drift(), mixed((40, 40, 24, 24), (64, 64, 16, 16), m=48, k=400, n=96))
        tried = found.evaluations[0].tolist()
        assert tried[1] == tried[3] == 0
        assert min(tried[0], tried[2]) > 1
        assert found.rows[0, 0, 0] == found.rows[0, 0, 1]
        # Nor is the array drained between them, as it is where the cut moves.
        longest = found.cycles.max(axis=0)[0].tolist()
        assert (longest[0], longest[2]) == (longest[1], longest[3])
        assert found.spent[0].tolist() == [longest[0], longest[0], longest[2] + 78, longest[2]]

    @settings(max_examples=60, deadline=None)
    @given(
        lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6),
        tile=st.tuples(*[st.integers(1, 12)] * 3),
        sides=st.tuples(*[st.integers(1, 5)] * 2),
        order=st.sampled_from(ORDERS),
        seed=st.integers(0, 99),
    )
    def test_a_walk_is_that_over_every_tile_and_its_blocks(self, lengths, tile, sides, order, seed):
        """Groups, tiles in order, and in each tile its blocks in turn: entries from others, stays and waits."""
        k, groups, random = sum(lengths), 2, np.random.default_rng(seed)
        gemm = Gemm(m=sides[0], k=k, n=sides[1], groups=groups, x_bits=8, w_bits=8, y_bits=8, psum_bits=32)
        sizes = dict(zip("mkn", (min(e, t) for e, t in zip((gemm.m, k, gemm.n), tile, strict=True)), strict=True))
        counts = {axis: -(-extent // sizes[axis]) for axis, extent in (("m", gemm.m), ("k", k), ("n", gemm.n))}
        starts = np.cumsum([0, *lengths])
        visited = []
        for group in range(groups):
            for place in itertools.product(*(range(counts[axis]) for axis in order)):
                at = place[order.index("k")]
                first, end = at * sizes["k"], min(k, (at + 1) * sizes["k"])
                visited += [(group, b) for b in range(len(lengths)) if starts[b] < end and starts[b + 1] > first]
        keys, shape = random.integers(0, 3, (1, groups, len(lengths))), (groups, len(lengths))
        spent, scheduling = random.integers(0, 500, shape), random.integers(0, 200, shape)
        entered, waited = np.zeros(shape, dtype=int), np.zeros(shape, dtype=int)
        stays = np.zeros(shape, dtype=int)
        for i, at in enumerate(visited):
            stays[at] += i == 0 or visited[i - 1] != at
        waited[visited[0]] = scheduling[visited[0]]
        for before, at in itertools.pairwise(visited):
            if keys[0][before] != keys[0][at]:
                entered[at] += 1
                waited[at] += max(0, scheduling[at] - spent[before] // stays[before])
        values = dict.fromkeys((field.name for field in dataclasses.fields(Mapping)), 1)
        mapping = Mapping(**{**values, **{f"tile_{axis}": size for axis, size in sizes.items()}, "order": order})
        walk = walk_of(np.array(lengths), gemm, mapping)
        differing = walk.differing(keys)
        assert [walk.stays.tolist()] * groups == stays.tolist()
        assert walk.entries(*differing).tolist() == entered.tolist()
        assert walk.waits(spent, scheduling, *differing).tolist() == waited.tolist()

    def test_tiles_that_come_back_to_a_block_drain_and_schedule_anew(self):
        """Cuts that move from each of 4 blocks to the next: 4 tiles of rows go over all of them, 15 moves in all."""
        one = classes_of(480, 960, [240] * 4, [400, 240] * 2, [640, 160] * 2)
        whole, cut = Drift().place(one), Drift().place(one, np.full(4, 4))
        for found, moves in ((whole, 3), (cut, 15)):
            assert (found.spent - found.cycles.max(axis=0)).sum() == 78 * moves
            tried = [reference.greedy("ws-double", (24, 32), product)[1] for product in self.halves(found, 4)]
            assert found.evaluations.sum() == sum(tried) * (moves + 1) // 4

    @staticmethod
    def halves(found, blocks):
        """The products of the blocks, as scheduled in one run or in several."""
        return [
            Product(
                480 - int(found.classes.m_narrow[0, block]),
                int(found.classes.m_narrow[0, block]),
                960 - int(found.classes.n_narrow[0, block]),
                int(found.classes.n_narrow[0, block]),
                240,
            )
            for block in range(blocks)
        ]

    @pytest.mark.parametrize(("form", "drained"), [("ws", 0), ("ws-double", 78), ("ws-hidden", 24), ("os-double", 78)])
    def test_where_the_cut_moves_the_array_is_drained(self, form, drained):
        found = Drift(**SETTINGS[form]).place(classes_of(480, 960, [240] * 3, [400, 240, 240], [640, 160, 160]))
        assert found.rows[0, 0, 0] != found.rows[0, 0, 1] == found.rows[0, 0, 2]
        assert (found.spent - found.cycles.max(axis=0)).tolist() == [[0, drained, 0]]

    @FORM
    @settings(max_examples=25, deadline=None)
    @given(
        sides=st.tuples(*[st.integers(1, 400)] * 3),
        shares=st.tuples(*[st.floats(0, 1)] * 2),
        size=st.sampled_from([(24, 32), (32, 32), (5, 3)]),
        recut=st.sampled_from(["block", "site"]),
        runs=st.integers(1, 4),
    )
    def test_never_slower_than_with_all_of_a_block_wide(self, form, sides, shares, size, recut, runs):
        """FINDINGS 13: with a quarter narrow it took 4.85 times as long as with nothing narrow."""
        m, k, n = sides
        classes = classes_of(m, n, [k], [round(m * shares[0])], [round(n * shares[1])])
        machine = Drift(rows=size[0], cols=size[1], recut=recut, **SETTINGS[form])
        found, wide = (machine.place(each, np.array([runs])) for each in (classes, all_wide(classes)))
        assert wide.spent.tolist() == [[part(form, m, k, n, *size, runs=runs)]]
        assert found.spent[0, 0] <= wide.spent[0, 0]

    def test_a_block_that_cuts_would_slow_is_all_wide(self):
        """24 of k fill all rows once, for 34 cycles in each of 5 folds of columns; a part has fewer of both."""
        found = Drift().place(classes_of(34, 145, [24], [8], [36]))
        product = Product(26, 8, 109, 36, 24)
        line, tried = reference.greedy("ws-double", (24, 32), product)
        assert max(reference.latencies("ws-double", (24, 32), product, line)) > 5 * 34
        assert found.spent.tolist() == [[5 * 34]]
        assert (found.classes.m_narrow.tolist(), found.classes.n_narrow.tolist()) == ([[0]], [[0]])
        assert found.evaluations.tolist() == [[tried]]  # the scheduler had to find that out
        assert count(found, "ws").bit_group_cycles.tolist() == [34 * 24 * 145, 0, 0, 0]

    @pytest.mark.parametrize("recut", ["block", "site"])
    @pytest.mark.parametrize("dataflow", ["ws", "os"])
    @settings(max_examples=40, deadline=None)
    @given(
        sides=st.tuples(*[st.integers(1, 400)] * 2),
        length=st.integers(1, 300),
        counts=st.lists(st.tuples(*[st.floats(0, 1)] * 2), min_size=1, max_size=5),
    )
    @example(sides=(12, 21), length=42, counts=[(8 / 12, 10 / 21), (2 / 12, 1.0)])
    @example(sides=(31, 31), length=30, counts=[(12 / 31, 14 / 31), (4 / 31, 9 / 31)])
    def test_never_slower_than_with_everything_wide(self, dataflow, recut, sides, length, counts):
        """Draining where the cut moves included: cutting and not cutting in turn may not cost what neither does."""
        m, n = sides
        m_narrow, n_narrow = ([round(side * each[i]) for each in counts] for i, side in enumerate(sides))
        classes = classes_of(m, n, [length] * len(counts), m_narrow, n_narrow)
        machine = Drift(dataflow=dataflow, recut=recut)
        assert machine.place(classes).spent.sum() <= machine.place(all_wide(classes)).spent.sum()

    @pytest.mark.parametrize("shape", [(128, 768, 768), (197, 768, 3072), (512, 512, 512)])
    def test_a_quarter_narrow_costs_no_more_cycles_than_nothing_narrow(self, shape):
        """FINDINGS 13 for whole products, whose scheduler is hidden but for the first block."""
        costs = [
            Drift(objective="latency").run(work(*shape, plan=plan(precision=DriftRule(x_share=share, w_share=share))))
            for share in (0, 0.25, 0.5, 1)
        ]
        waits = [
            placed_of(
                Drift(objective="latency"),
                work(*shape, plan=plan(precision=DriftRule(x_share=share, w_share=share))),
            ).exposed.sum()
            for share in (0, 0.25, 0.5, 1)
        ]
        assert waits[0] == waits[3] == 0
        for cost, wait in zip(costs, waits, strict=True):
            assert cost.compute_cycles - wait <= costs[0].compute_cycles
        assert costs[3].compute_cycles < 0.3 * costs[0].compute_cycles

    def test_cut_once_per_site(self):
        one = mixed((40, 32), (64, 48), m=48, k=200, n=96)
        found = placed_of(Drift(recut="site"), one)
        product = Product(12, 36, 40, 56, 100)  # the mean counts
        line, tried = reference.greedy("ws-double", (24, 32), product)
        assert found.evaluations.tolist() == [[tried, 0]]
        assert (found.rows[0] == line[0]).all()
        assert (found.cols[0] == line[1]).all()
        blocks = [Product(8, 40, 32, 64, 100), Product(16, 32, 48, 48, 100)]
        longest = [max(reference.latencies("ws-double", (24, 32), each, line)) for each in blocks]
        assert max(longest) < 15 * 48  # all of a block wide
        assert found.spent.tolist() == [longest]  # and no cut moves

    def test_a_free_scheduler_keeps_nobody_waiting(self):
        one = mixed((40, 24), (64, 16), m=48, k=200, n=96)
        machines = [Drift(scheduler_cycles_per_evaluation=each) for each in (0, 1000)]
        free, costly = (placed_of(machine, one) for machine in machines)
        assert free.exposed.sum() == 0
        assert (free.spent == costly.spent).all()
        cycles = [machine.run(one).busy_cycles["array"] for machine in machines]
        assert cycles == [free.spent.sum() + 78, costly.spent.sum() + costly.exposed.sum() + 78]
        assert costly.exposed.sum() > 0

    @settings(max_examples=30, deadline=None)
    @given(
        spent=st.lists(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), min_size=1, max_size=3),
        lengths=st.tuples(*[st.integers(1, 300)] * 3),
        sides=st.tuples(*[st.integers(1, 700)] * 2),
    )
    def test_tiles_add_up_to_the_schedule(self, spent, lengths, sides):
        one = work(sides[0], sum(lengths), sides[1], groups=len(spent), plan=plan())
        machine = Drift(rows=4, cols=4)
        tiles = spread(np.array(spent), np.array(lengths), machine.product(one), machine.ran(one).mapping)
        assert tiles.min() >= 0
        assert tiles.sum(axis=(1, 2, 3)).tolist() == [sum(each) for each in spent]

    @pytest.mark.parametrize("machine", MACHINES)
    def test_bytes_by_hand(self, machine):
        """40 of 48 rows and all of 96 columns narrow: x 4 or 8 bits, w 4, and 19 of a list entry per row and column."""
        cost = machine(objective="energy").run(mixed((40,), (96,), m=48, k=192, n=96))  # each byte once
        x, w = 192 * (40 * 4 + 8 * 8) / 8, 192 * 96 * 4 / 8
        lists = 19 * 48 / 8, 19 * 96 / 8
        exact = x + w + sum(lists) + 48 * 96
        assert exact <= cost.unique_bytes <= exact + 2
        assert cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"] == pytest.approx(exact, abs=4)
        assert cost.traffic_bytes["sram_input_write"] == pytest.approx(x, abs=4)
        assert cost.traffic_bytes["sram_weight_write"] == pytest.approx(w, abs=4)
        assert cost.traffic_bytes["dram_write"] == 48 * 96

    def test_words_by_hand(self):
        """48 x 192 x 96 in turn: 8 x 192 of 8 bits and 40 of 4, by columns of 4 bits, 64 to a fold."""
        cost = Seq().run(mixed((40,), (96,), m=48, k=192, n=96))
        assert cost.traffic_bytes["sram_input_read"] == 2 * 192 * (8 * 8 + 40 * 4) / 8
        assert cost.traffic_bytes["sram_weight_read"] == 2 * 192 * 96 * 4 / 8  # for wide and for narrow rows
        # 192 is 8 folds of 24 rows for wide x, 4 of 48 for narrow; the last sum of an output leaves with 8 bits.
        sums, outputs = 96 * (8 * 8 + 40 * 4), 96 * 48
        assert cost.traffic_bytes["sram_output_write"] == (sums - outputs) * 4 + outputs
        assert cost.traffic_bytes["sram_output_read"] == (sums - outputs) * 4 + outputs
        assert event(cost, "sum_adders", "accumulate").count == sums - outputs
        # Two folds of columns by 8 of the reduction for wide rows and 4 for narrow ones.
        assert event(cost, "registers", "exchange what rests").count == 2 * (8 + 4)
        register = technology.load(28).price("register_bit")
        assert event(cost, "registers", "exchange what rests").price_pj == pytest.approx(
            24 * 24 * 32 * 8 * register.energy()
        )

    def test_sums_that_rest_leave_once_per_block(self):
        for blocks in (1, 2, 4):
            one = mixed((40,) * blocks, (16,) * blocks, m=48, k=200, n=96)
            cost = Drift(dataflow="os", objective="energy").run(one)
            assert cost.traffic_bytes["sram_output_write"] == (blocks - 1) * 48 * 96 * 4 + 48 * 96
            # 48 rows by 96 columns, once for wide and once for narrow columns, unless these take several folds.
            assert cost.traffic_bytes["sram_input_read"] >= 2 * 200 * (40 * 4 + 8 * 8) / 8

    def test_events_by_hand(self):
        cost = Drift().run(mixed((40, 24), (64, 16), m=48, k=200, n=96))
        assert event(cost, "mac", "bit_group_a8w8").count == 100 * (8 * 32 + 24 * 80)
        assert event(cost, "mac", "bit_group_a8w4").count == 100 * (8 * 64 + 24 * 16) / 2
        assert event(cost, "mac", "bit_group_a4w8").count == 100 * (40 * 32 + 24 * 80) / 2
        assert event(cost, "mac", "bit_group_a4w4").count == 100 * (40 * 64 + 24 * 16) / 4
        assert event(cost, "index", "write").count == 2 * (48 + 96)
        assert event(cost, "index", "read").count == 2 * (2 * 48 + 96)
        assert event(cost, "deciders", "decide").count == event(cost, "requantizers", "requantize").count == 48 * 96
        placed = placed_of(Drift(), mixed((40, 24), (64, 16), m=48, k=200, n=96))
        assert event(cost, "scheduler", "step").count == 16 * placed.evaluations.sum()
        counts = count(placed, "ws")
        assert event(cost, "aligners", "shift").count == counts.psum_write.sum()
        assert event(cost, "sum_adders", "accumulate").count == counts.psum_write.sum() - 48 * 96
        assert event(cost, "registers", "exchange what rests").count == pytest.approx(counts.folds / (24 * 32))

    @pytest.mark.parametrize("machine", MACHINES)
    def test_codes_that_count_from_a_smallest_one(self, machine):
        """Entries hold 8 bits of it and 12 of the sum of 16 codes besides, two words of 19 bits and one of 1."""
        zero = mixed((40,) * 12, (16,) * 12, m=48, k=192, n=96)
        rule = DriftRule(conversion=Conversion.AFFINE)
        affine = dataclasses.replace(zero, plan=dataclasses.replace(zero.plan, precision=rule))
        plain, found = machine().run(zero), machine().run(affine)
        assert entry_bits(16, affine=False) == 19
        assert entry_bits(16, affine=True) == 19 + 8 + 12
        assert event(found, "index", "write").count == 3 * event(plain, "index", "write").count == 3 * 12 * (48 + 96)
        assert event(found, "bases", "base").count == 12 * (40 * 96 + 48 * 16)
        assert found.unique_bytes - plain.unique_bytes == pytest.approx(20 * 12 * (48 + 96) / 8, abs=2)
        assert not [each for each in plain.events if each.component == "bases"]

    @pytest.mark.parametrize("machine", MACHINES)
    def test_nothing_is_decided_or_listed_at_one_precision(self, machine):
        cost = machine().run(work(48, 200, 96, plan=plan()))
        assert {each.component for each in cost.events} == {
            *("mac", "registers", "sum_adders", "requantizers", "dram", "leakage"),
            *("sram_input", "sram_weight", "sram_output"),
        }

    def test_bit_groups_cost_four_multipliers_and_what_cutting_takes(self):
        plain, cuts = (Drift(overhead_percent=each) for each in (0, 10))
        price = plain.technology.price("pe_int4")
        assert plain.area().components_um2["bit_groups"] == pytest.approx(3072 * price.area())
        assert cuts.area().components_um2["bit_groups"] == pytest.approx(1.1 * 3072 * price.area())
        assert Seq().area().components_um2["bit_groups"] == plain.area().components_um2["bit_groups"]
        assert "scheduler" not in Seq().area().components_um2
        one = work(48, 200, 96, plan=plan())
        assert cuts.run(one).energy_pj["mac"] == pytest.approx(1.1 * plain.run(one).energy_pj["mac"])
        assert plain.run(one).energy_pj["mac"] == pytest.approx(BitFusion().run(one).energy_pj["mac"])

    @pytest.mark.parametrize(("machine", "edges", "weights"), [(Drift, 2, 1), (Seq, 1, 1), (Drq, 1, 4)])
    def test_what_the_ideals_and_the_sums_take_is_in_the_bill(self, machine, edges, weights):
        """Second registers of all that rests; adders, shifts and smallest codes for the sums of both edges."""
        area, prices = machine().area().components_um2, technology.load(28)
        bit = prices.price("register_bit").area()
        assert area["second_registers"] == pytest.approx(24 * 32 * weights * 8 * bit)  # of 8 bits by bit group
        assert machine(dataflow="os").area().components_um2["second_registers"] == pytest.approx(24 * 32 * 4 * 32 * bit)
        exposed = machine(weight_loading="exposed").area().components_um2
        assert set(area) - set(exposed) == {"second_registers"}
        sums = edges * 32 * 2  # columns, of two narrow weights each
        adder, shifter, wide = (prices.price(name).area() for name in ("add_int32", "shift_int32", "multiply_int16"))
        assert area["sum_adders"] == pytest.approx(sums * adder)
        if machine.gathers:
            assert area["aligners"] == pytest.approx(sums * shifter)
            assert area["bases"] == pytest.approx(sums * (wide + adder))
        assert ("scheduler" in area) == (machine is Drift)

    @pytest.mark.parametrize("machine", [*MACHINES, pytest.param(Drq, id="drq")])
    def test_everything_that_has_area_leaks(self, machine):
        cost = machine().run(work(48, 200, 96, plan=plan()))
        leaking = {each.name: each.count for each in cost.events if each.component == "leakage"}
        assert leaking == dict.fromkeys(machine().area().components_um2, cost.cycles)

    @pytest.mark.parametrize("machine", MACHINES)
    def test_more_narrow_rows_never_take_longer(self, machine):
        """Where products are large: as the fluid limit falls with the share of narrow rows, so do cycles and energy."""
        costs = []
        for share in (0, 0.25, 0.5, 0.75, 1):
            rule = DriftRule(x_share=share, w_share=0.5)
            cost = machine().run(work(2400, 2400, 3200, plan=plan(precision=rule)))
            fluid = 2400 * 2400 * (1 - share / 2) * 3200 * 0.75 / 768
            assert 1 <= cost.compute_cycles / fluid < 1.1  # 24 rows cannot be cut in any ratio
            costs.append(cost)
        for wide, narrow in itertools.pairwise(costs):
            assert narrow.compute_cycles < wide.compute_cycles
            assert narrow.energy_pj["mac"] < wide.energy_pj["mac"]
            assert narrow.unique_bytes < wide.unique_bytes

    @pytest.mark.parametrize("machine", MACHINES)
    def test_shapes_with_stated_shares(self, machine):
        one = work(512, 768, 3072, groups=2, plan=plan(precision=SHARED))
        assert machine().classes(one).m_narrow.tolist() == [[410], [410]]
        assert machine().classes(one).n_narrow.tolist() == [[2458], [2458]]
        assert [float(each.bits) for each in machine().stored(one)] == pytest.approx([8 * 0.2 + 4 * 0.8] * 2, abs=1e-5)
        cost = machine().run(work(512, 768, 3072, groups=2, plan=plan(precision=SHARED)))
        assert cost.macs_executed == cost.macs_dense == 2 * 512 * 768 * 3072
        assert cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"] >= cost.unique_bytes
        nothing = machine().run(work(512, 768, 3072, plan=plan(precision=DriftRule())))
        plain = machine().run(work(512, 768, 3072, plan=plan()))
        assert nothing.compute_cycles == plain.compute_cycles
        assert nothing.unique_bytes > plain.unique_bytes  # the lists

    @pytest.mark.parametrize(("precision", "cycles"), [(None, 4 * 512), (DrqRule(x_share=0.5), 1280)])
    def test_drq_streams_rows_of_the_classes_that_it_has(self, precision, cycles):
        """Wide waves take four cycles, narrow ones one; rows of classes without columns take none."""
        asked = plan() if precision is None else plan(precision=precision)
        machine, one = Drq(row_groups=1, objective="latency"), work(512, 768, 1024, plan=asked)
        folds = (768 // 48) * (1024 // 64)
        assert machine.place(machine.classes(one)).spent.tolist() == [[folds * cycles]]
        cost = machine.run(one)
        assert cost.busy_cycles["array"] == folds * cycles + 2 * 48 + 64 - 2

    @pytest.mark.parametrize("timing", [{}, APART])
    def test_the_split_saves_filling_and_draining(self, timing):
        """What drift.md warns of: in turn is as fast on large products, and slower on small ones.

        Where folds follow one another without draining, it is streams shorter than their weights take that remain.
        """
        large, small = (work(*shape, plan=plan(precision=SHARED)) for shape in ((2048, 4096, 4096), (128, 64, 128)))
        ratio = [
            placed[0].spent.sum() / placed[1].spent.sum()
            for placed in (
                [machine.place(machine.classes(each)) for machine in (Seq(**timing), Drift(**timing))]
                for each in (large, small)
            )
        ]
        assert 0.95 < ratio[0] < 1.02
        assert ratio[1] > 1.1

    def test_convolutions_by_position(self):
        """3 x 3 pixels of one channel, of which the middle one is narrow, by a 3 x 3 kernel with padding."""
        conv = ConvGeometry(
            kernel=(3, 3),
            stride=(1, 1),
            padding=(1, 1),
            dilation=(1, 1),
            channels=1,
            input_size=(3, 3),
            output_size=(3, 3),
        )
        site = Site(name="conv", op="conv2d", m=9, k=9, n=4, x_elements=9, w_elements=36, conv=conv)
        x_shifts = torch.full((1, 3, 3, 1), -1, dtype=torch.int8)
        x_shifts[0, 1, 1] = 1
        x = Quantized(codes=torch.zeros(1, 1, 3, 3), format=Integer(bits=8), scale=torch.ones(()), shifts=x_shifts)
        w = Quantized(
            codes=torch.zeros(4, 1, 3, 3),
            format=Integer(bits=8),
            scale=torch.ones(()),
            shifts=torch.full((4, 3, 3, 1), -1, dtype=torch.int8),
        )
        one = Execution(site=site, plan=plan(precision=DriftRule()), x=x, w=w)
        # Corners of the kernel read 4 pixels, edges 6, its middle 9; the rest is padding; one output reads the middle.
        assert Drift().classes(one).m_narrow.reshape(3, 3).tolist() == [[6, 4, 6], [4, 1, 4], [6, 4, 6]]
        assert placed_of(Drift(), one).spent.shape == (1, 9)
        assert float(Drift().stored(one)[0].bits) * 9 == pytest.approx(8 * 8 + 4, abs=1e-4)
        assert Drift().run(one).macs_executed == 9 * 9 * 4


class TestExplain:
    @pytest.mark.parametrize("machine", MACHINES)
    def test_figures(self, machine):
        one = mixed((40, 24), (64, 16), m=48, k=200, n=96)
        told, cost = machine().explain(one), machine().run(one)
        assert (told["cycles"], told["compute_cycles"]) == (cost.cycles, cost.compute_cycles)
        assert told["dram_read_bytes"] == cost.traffic_bytes["dram_read"]
        assert sum(value for key, value in told.items() if key.startswith("macs_a")) == pytest.approx(1)
        assert 0 < told["utilization"] <= told["array_utilization"] <= 1
        assert told["timeline"]["total_cycles"] + 78 == cost.compute_cycles  # the array is filled once

    def test_who_waits_for_whom(self):
        one = mixed((40, 24), (64, 16), m=48, k=200, n=96)
        found, told = placed_of(Drift(), one), Drift().explain(one)["timeline"]
        block = int(found.spent[0].argmax())
        assert told["block"] == block
        ends = [each["end"] for each in told["parts"].values()]
        assert ends == found.cycles[:, 0, block].tolist()
        assert told["cycles"] - max(ends) == (78 if block else 0)  # where the cut moves, the array is drained
        for name, total in told["totals"].items():
            assert total["cycles"] + total["waits"] == found.spent.sum(), name
        part = told["parts"]["a8w4"]
        macs = part["m"] * part["n"] * 100
        assert part["busy"] == pytest.approx(macs / (2 * part["rows"] * part["cols"] * part["end"]))

    def test_in_turn(self):
        told = Seq().explain(mixed((40,), (64,), m=48, k=200, n=96))["timeline"]
        times = [(each["start"], each["end"]) for each in told["parts"].values()]
        assert times[0][0] == 0
        assert all(before[1] == after[0] for before, after in itertools.pairwise(times))
        assert times[-1][1] == told["cycles"]

    def test_pictures(self):
        split, turn = (
            parts_picture(machine().explain(mixed((40,), (64,), m=48, k=200, n=96))["timeline"], 40)
            for machine in (Drift, Seq)
        )
        bars = [[line.split("|")[1] for line in lines if "|" in line] for lines in (split, turn)]
        assert [len(each) for each in bars] == [4, 4]
        assert all(len(bar) == 40 for bar in bars[0] + bars[1])
        assert all(bar.startswith("█") for bar in bars[0])
        assert any(bar == "█" * 40 for bar in bars[0])
        assert [bar.index("█") for bar in bars[1]] == sorted(bar.index("█") for bar in bars[1])
        assert not any("waits" in line for line in turn[:5])
        one = parts_picture(Drift().explain(work(48, 200, 96, plan=plan()))["timeline"])
        assert sum("no such rows or columns" in line for line in one) == 3

    def test_the_report_draws_the_parts(self):
        one, machine = mixed((40,), (64,), m=48, k=200, n=96), Drift()
        explanation = Explanation(
            network="a layer",
            method="drift",
            accelerator="drift",
            entry=SiteCost(site=one.site, plan=one.plan, cost=machine.run(one)),
            cycles={"busy": 1.0, "array": 1.0, "memory": 1.0},
            mapping=machine.explain(one),
            area=machine.area(),
            parameters=machine.parameters(),
            substrate=footing({"drift": machine}, "common"),
            input="no input",
            notes=(),
        )
        console = Console(file=io.StringIO(), width=200)
        print_explanation(explanation, console)
        text = console.file.getvalue()
        assert all(line in text for line in parts_picture(machine.explain(one)["timeline"]))
        assert "'parts'" not in text


class TestRefusals:
    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize(
        ("refused", "message"),
        [
            (FLOAT_SITE, "x is float32 and the array multiplies integers of 2 to 8 bits"),
            (plan(16), "x is int16 and the array multiplies integers of 2 to 8 bits"),
            (
                plan(precision=OtherRule(name="fractal")),
                r"its precision is chosen at run time \(fractal\) and the array has only these rules: static, drift",
            ),
            (plan(accumulation=PartialSums(kind=Kind.APSQ, tile=8)), r"its partial sums are quantized \(apsq\)"),
        ],
    )
    def test_plans(self, machine, refused, message):
        reason = machine().supports(refused)
        assert reason is not None
        with pytest.raises(InputError, match=f"layer cannot run on this array: {message}"):
            machine().run(work(4, 4, 4, plan=refused))

    def test_other_formats(self):
        operand = OperandPlan(format=LogPosit(n=8, es=1, rs=1), granularity=PerTensor())
        assert "x is lp8" in Drift().supports(SitePlan(x=operand, w=operand))

    @pytest.mark.parametrize("other", [WeightStationary, BitFusion, Ant, Panacea, Apsq])
    def test_other_machines_still_refuse_run_time_precision(self, other):
        assert other().supports(plan(precision=SHARED)) is not None

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"rows": 1}, "greater than or equal to 2"),
            ({"cols": 0}, "greater than or equal to 2"),
            ({"dataflow": "is"}, "'ws' or 'os'"),
            ({"dataflow": "ws-double"}, "'ws' or 'os'"),
            ({"weight_loading": "double"}, "'hidden' or 'exposed'"),
            ({"recut": "never"}, "'block' or 'site'"),
            ({"overhead_percent": -1}, "greater than or equal to 0"),
            ({"overhead_percent": math.inf}, "finite"),
            ({"scheduler_cycles_per_evaluation": -1}, "greater than or equal to 0"),
            ({"native": True}, "Extra inputs are not permitted"),
        ],
    )
    def test_parameters(self, parameters, message):
        with pytest.raises(ValidationError, match=message):
            Drift(**parameters)

    @pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
    def test_shares_that_are_none(self, share):
        rule = DriftRule(x_share=0.8, w_share=share)
        with pytest.raises(InputError, match=f"w_share of the precision rule is a share .* 0 to 1, and is {share}"):
            Drift().run(work(4, 4, 4, plan=plan(precision=rule)))

    @pytest.mark.parametrize("asked", [plan(), plan(precision=SHARED)])
    def test_srams_too_small_for_a_fold(self, asked):
        """A tile that does not fill the array runs all the same, and takes longer: a KiB holds 1,024 weights once."""
        one = work(512, 768, 3072, plan=asked)
        small, whole = Drift(weight_sram_kib=1), Drift()
        mapping = small.ran(one).mapping
        assert mapping.weight_buffers * mapping.tile_k * mapping.tile_n <= 1024
        assert small.run(one).cycles > whole.run(one).cycles
