"""One footing: what must hold over random shapes on all machines, on the common substrate and as published."""

import dataclasses

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitwright import technology
from bitwright.accelerators.dynamic_precision.tiles import shared
from bitwright.accelerators.srams import srams_of
from bitwright.errors import InputError
from bitwright.formats import AdaptivFloat, Integer, LogPosit, PerGroup, PerTensor, PerToken
from bitwright.methods.execution import Execution
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.networks.sites import Site
from bitwright.studies.machines import accelerator_names, build_accelerators

VALUES = {"panacea", "sibia"}
"""Machines whose costs depend on values: `tests/test_bit_slice.py` has theirs."""
NAMES = [name for name in accelerator_names() if name not in VALUES]
FORMATS = {"lpa": LogPosit(n=8, es=2, rs=3), "adaptivfloat": AdaptivFloat(bits=8)}
SUBSTRATES = ("common", "native")
INT8 = Integer(bits=8)
ROUNDING = 1e-9


def plan_of(name):
    number = FORMATS.get(name, INT8)
    operand = OperandPlan(format=number, granularity=PerTensor())
    return SitePlan(x=operand, w=operand)


def work(name, m, k, n, groups=1):
    site = Site(
        name="s", op="linear", m=m, k=k, n=n, groups=groups, x_elements=groups * m * k, w_elements=groups * k * n
    )
    return Execution(site=site, plan=plan_of(name))


def machine_of(name, substrate, **parameters):
    return build_accelerators([name], parameters, substrate)[name]


extents = st.tuples(st.integers(1, 700), st.integers(1, 1500), st.integers(1, 1500), st.sampled_from((1, 3)))


@pytest.mark.parametrize("substrate", SUBSTRATES)
@pytest.mark.parametrize("name", NAMES)
class TestMonotone:
    @settings(max_examples=20, deadline=None)
    @given(shape=extents, objective=st.sampled_from(("latency", "energy")))
    def test_twice_the_rows_take_at_most_twice_what_is_asked_for_least(self, name, substrate, shape, objective):
        m, k, n, groups = shape
        machine = machine_of(name, substrate, objective=objective)
        one, two = (machine.run(work(name, rows, k, n, groups)) for rows in (m, 2 * m))
        figure = {"latency": lambda cost: cost.cycles, "energy": lambda cost: cost.total_energy_pj}[objective]
        assert figure(two) <= 2.002 * figure(one)  # cuts are of whole rows: .07 % was the worst of 500

    @settings(max_examples=20, deadline=None)
    @given(shape=extents, objective=st.sampled_from(("latency", "energy")))
    def test_half_the_columns_are_never_dearer(self, name, substrate, shape, objective):
        m, k, n, groups = shape
        machine = machine_of(name, substrate, objective=objective)
        whole, half = (machine.run(work(name, m, k, columns, groups)) for columns in (2 * n, n))
        figure = {"latency": lambda cost: cost.cycles, "energy": lambda cost: cost.total_energy_pj}[objective]
        assert figure(half) <= figure(whole) * (1 + ROUNDING)


def convolution(name, m, k, n, groups):
    """Work of which a ninth of x is distinct, as of windows of 3 x 3."""
    whole = work(name, m, k, n, groups)
    return dataclasses.replace(whole, site=dataclasses.replace(whole.site, x_elements=-(-groups * m * k // 9)))


@pytest.mark.parametrize("name", NAMES)
class TestMemories:
    @settings(max_examples=20, deadline=None)
    @given(shape=extents, of=st.sampled_from((work, convolution)), kib=st.sampled_from((16, 256)))
    @example(shape=(4096, 1024, 1024, 1), of=work, kib=256)
    @example(shape=(3136, 576, 8, 1), of=convolution, kib=16)
    def test_faster_dram_is_never_slower(self, name, shape, of, kib):
        drams = ("lpddr4", "hbm2", "hbm3")
        machines = [
            machine_of(name, "common", objective="latency", input_sram_kib=kib, dram=each)
            for each in sorted(drams, key=lambda each: technology.dram(each).gb_per_s)
        ]
        cycles = [machine.run(of(name, *shape)).cycles for machine in machines]
        assert cycles == sorted(cycles, reverse=True)

    @settings(max_examples=20, deadline=None)
    @given(shape=extents, of=st.sampled_from((work, convolution)), kib=st.sampled_from((8, 64, 256)))
    @example(shape=(3136, 576, 8, 1), of=convolution, kib=16)
    def test_no_sram_moves_more_than_its_banks_can(self, name, shape, of, kib):
        """What is read and written, DRAM's share and a convolution's columns included."""
        sizes = {f"{each}_sram_kib": kib for each in ("input", "weight", "output")}
        machine = machine_of(name, "common", objective="latency", dram="hbm3", **sizes)
        cost = machine.run(of(name, *shape))
        for component, sram in srams_of(machine).items():
            moved = cost.traffic_bytes[f"{component}_read"] + cost.traffic_bytes[f"{component}_write"]
            assert 8 * moved <= sram.bits_per_cycle * cost.cycles * (1 + ROUNDING)


def narrow(name, bits, block):
    """A plan of so many bits, with scales of w along the reduction if there is a block."""
    numbers = {"lpa": (LogPosit(n=8, es=2, rs=3), LogPosit(n=bits, es=0, rs=1))}
    floats = (AdaptivFloat(bits=8), AdaptivFloat(bits=max(4, bits)))
    x, w = {**numbers, "adaptivfloat": floats}.get(name, (Integer(bits=bits), Integer(bits=bits)))
    return SitePlan(
        x=OperandPlan(format=x, granularity=PerTensor()),
        w=OperandPlan(format=w, granularity=PerGroup(block) if block else PerTensor()),
    )


@pytest.mark.parametrize("name", NAMES)
class TestLanes:
    """What is added, rescaled and requantized has a lane in the bill, which takes one per cycle."""

    @settings(max_examples=25, deadline=None)
    @given(shape=extents, bits=st.sampled_from((2, 4, 8)), block=st.sampled_from((0, 8, 32)))
    @example(shape=(4096, 96, 4096, 1), bits=2, block=0)
    @example(shape=(4096, 24, 4096, 1), bits=4, block=0)
    @example(shape=(4096, 256, 512, 1), bits=2, block=32)
    @example(shape=(4096, 9, 1, 32), bits=8, block=0)
    @example(shape=(4800, 16, 6400, 1), bits=4, block=0)
    def test_no_lane_takes_more_than_one_per_cycle(self, name, shape, bits, block):
        for parameters in ({"dataflow": "os"}, {}) if name in ("drift", "seq", "drq") else ({},):
            more = {"rescaling": True} if "rescaling" in machine_of(name, "common").parameters() else {}
            machine = machine_of(name, "common", dram="hbm3", **parameters, **more)
            one = dataclasses.replace(work(name, *shape), plan=narrow(name, bits, block))
            if machine.supports(one.plan) is not None:
                return
            cost = machine.run(one)
            lanes = {
                "requantizers": machine.requantizer_lanes,
                "rescalers": machine.rescaler_lanes,
                "sum_adders": machine.sum_lanes,
            }
            for event in cost.events:
                assert event.count <= lanes.get(event.component, np.inf) * cost.busy_cycles["array"], event


HOMES = {
    "mac": {"mac_array", "pe_array", "bit_groups"},
    "registers": {"mac_array", "pe_array", "bit_groups"},  # what rests is shifted through the units' own
    "decode": {"decoders", "pe_array"},  # published areas of elements may hold them
    "encode": {"encoders"},
}
"""Where circuits stand whose work has another name than they have; all else has its own."""


@pytest.mark.parametrize("name", accelerator_names())
class TestBills:
    def test_what_takes_energy_has_area_and_leaks(self, name):
        """Scales found at run time, sums that meet a zero point and all that a product takes."""
        machine = machine_of(name, "common")
        area = machine.area().components_um2
        lane = sum(
            count * machine.technology.price(event).area()
            for event, count in (("multiply_int32", 1), ("add_int32", 2), ("shift_int32", 1))
        )
        assert area["operands"] == pytest.approx(machine.requantizer_lanes * lane)
        if name in VALUES:  # `tests/test_bit_slice.py` has theirs
            return
        plan = plan_of(name)
        x = dataclasses.replace(plan.x, granularity=PerToken())
        cost = machine.run(dataclasses.replace(work(name, 100, 200, 300), plan=dataclasses.replace(plan, x=x)))
        leaking = {event.name for event in cost.events if event.component == "leakage"}
        assert leaking == set(area)
        working = {event.component for event in cost.events} - {"leakage", "dram"}
        assert "operands" in working
        for component in working:
            assert HOMES.get(component, {component}) & set(area), component


class TestEqualBytes:
    def test_cost_equal_energy_on_all_machines(self):
        prices = {tuple(sram.pj_per_byte for sram in srams_of(machine_of(name, "common")).values()) for name in NAMES}
        assert len(prices) == 1

    @pytest.mark.parametrize("name", NAMES)
    def test_every_word_is_charged_at_the_banks_price(self, name):
        machine = machine_of(name, "common")
        cost = machine.run(work(name, 100, 200, 300))
        for component, sram in srams_of(machine).items():
            for direction, price in (("read", sram.read_pj), ("write", sram.write_pj)):
                events = [e for e in cost.events if e.component == component and e.name.split()[0] == direction]
                assert {event.price_pj for event in events} == {price}
                moved = sum(event.count for event in events) * sram.word_bits / 8
                assert moved == pytest.approx(cost.traffic_bytes[f"{component}_{direction}"])


class TestDecode:
    """A vector by a matrix, as language models decode: DRAM is what everybody waits for."""

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(("k", "n", "groups"), [(4096, 4096, 1), (4096, 11008, 1), (2049, 128, 32)])
    def test_within_a_tenth_of_dram(self, name, k, n, groups):
        machine = machine_of(name, "common")
        cost = machine.run(work(name, 1, k, n, groups))
        moved = cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"]
        assert cost.cycles <= 1.1 * moved / machine.dram_bandwidth

    @pytest.mark.parametrize("name", NAMES)
    def test_weights_are_read_once(self, name):
        cost = machine_of(name, "common").run(work(name, 1, 4096, 4096))
        assert cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"] <= 1.01 * cost.unique_bytes


class TestIdeals:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_machine_states_the_same(self, name):
        common = machine_of("systolic-ws", "common").parameters()
        own = machine_of(name, "common").parameters()
        shared = ("dram", "sram_bank_kib", "sram_bank_bits", "vector_lanes")
        timed = () if name == "eyeriss" else ("weight_loading", "fold_pipelining")  # part of its utilization
        for parameter in (*shared, *timed, "activations", "clock_mhz", "node_nm", "objective", "psum_bits"):
            assert own[parameter] == common[parameter], parameter

    @pytest.mark.parametrize("name", [name for name in NAMES if name != "eyeriss"])
    def test_ideals_never_make_slower(self, name):
        ideal = machine_of(name, "common", objective="latency")
        slow = machine_of(name, "common", objective="latency", weight_loading="exposed", fold_pipelining=False)
        for shape in ((1, 64, 64, 1), (100, 200, 300, 1), (37, 1000, 65, 2)):
            assert ideal.run(work(name, *shape)).cycles <= slow.run(work(name, *shape)).cycles


class TestLarge:
    @pytest.mark.parametrize("name", NAMES)
    def test_products_of_a_trillion_elements_cost_what_they_take(self, name):
        machine = machine_of(name, "common")
        cost = machine.run(work(name, 10**6, 10**6, 10**6))
        peak = machine.peak_macs_per_cycle
        assert 1 <= cost.compute_cycles * peak / 10**18 < 1.3
        assert cost.cycles < 1.1 * cost.compute_cycles
        assert all(event.count >= 0 for event in cost.events)

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize(
        ("shape", "parameters", "said"),
        [
            (
                (10**12, 10**6, 10**5),
                {},
                "has 1e.23 multiply-accumulates, and at most 1.15e.18 are counted; take a smaller",
            ),
            (
                (8, 8, 8),
                {"dram_bytes_per_cycle": 1e-30},
                "parameter dram_bytes_per_cycle of .* is 1e-30, but it is beyond what is computed with",
            ),
        ],
    )
    def test_what_does_not_fit_in_64_bits_is_one_sentence(self, name, shape, parameters, said):
        with pytest.raises(InputError, match=said):
            machine_of(name, "common", **parameters).run(work(name, *shape))

    def test_tiles_of_huge_products_share_cycles_without_overflow(self):
        whole, areas = np.array([[10**13]]), np.cumsum(np.full(4, 10**10))
        assert shared(whole, areas).tolist() == [[[25 * 10**11, 5 * 10**12, 75 * 10**11, 10**13]]]
