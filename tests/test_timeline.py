"""The timeline of tiles that differ: against a walk over every tile, the closed forms, and cases worked by hand."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.test_memory import Toy, gemms, int8_gemm
from tests.test_memory import machines as any_machines

from bitwright.memory import Mapping, TileCosts, best_mapping, timeline, traffic
from bitwright.memory.pipeline import pipelined_cycles
from bitwright.memory.reference import uniform_costs, walk_costs
from bitwright.memory.search import total_compute_cycles
from bitwright.memory.tiling import ORDERS

machines = any_machines.map(lambda one: dataclasses.replace(one, sram_bits_per_cycle=(math.inf,) * 3))
"""Whose SRAMs keep pace: where values decide, the engine stretches tiles that wait for theirs."""
TOTALS = (
    "cycles",
    "compute_cycles",
    "dram_cycles",
    "x_read_bytes",
    "w_read_bytes",
    "psum_read_bytes",
    "psum_write_bytes",
    "y_write_bytes",
)


def mapped(*, tile, order="mkn", buffers=(2, 2, 2)):
    """A mapping whose figures are wrong, so that nothing can rest on them."""
    chosen = {
        "tile_m": tile[0],
        "tile_k": tile[1],
        "tile_n": tile[2],
        "order": order,
        **dict(zip(("input_buffers", "weight_buffers", "output_buffers"), buffers, strict=True)),
    }
    figures = {field.name for field in dataclasses.fields(Mapping)} - chosen.keys()
    return Mapping(**chosen, **dict.fromkeys(figures, -1))


def tile_of(mapping):
    return mapping.tile_m, mapping.tile_k, mapping.tile_n


def totals(found):
    return {name: getattr(found, name) for name in TOTALS}


def walked_totals(walked):
    return {name: getattr(walked, name.removesuffix("_bytes")) for name in TOTALS}


def visits(counted):
    return dict(np.ndenumerate(counted))


def random_costs(gemm, tile, seed):
    """Costs from nothing to more than what hides a transfer: tiles may be skipped, or compressed to no byte at all."""
    random = np.random.default_rng(seed)
    m, k, n = (-(-extent // size) for extent, size in zip((gemm.m, gemm.k, gemm.n), tile, strict=True))
    return TileCosts(
        compute=random.integers(0, 60, (gemm.groups, m, k, n)),
        x_bytes=random.integers(0, 40, (gemm.groups, m, k)),
        w_bytes=random.integers(0, 40, (gemm.groups, k, n)),
    )


def assert_equals_walk(gemm, mapping, costs, bandwidth, *, fill_cycles=0, **options):
    machine = {"dram_bytes_per_cycle": bandwidth, "fill_cycles": fill_cycles}
    found = timeline(gemm=gemm, mapping=mapping, costs=costs, **machine, **options)
    walked = walk_costs(
        gemm=gemm,
        tile=tile_of(mapping),
        order=mapping.order,
        buffers=mapping.buffers,
        costs=costs,
        **machine,
    )
    assert totals(found) == walked_totals(walked)
    assert visits(found.x_visits) == walked.x_visits
    assert visits(found.w_visits) == walked.w_visits


def of_machine(gemm, mapping, costs, machine):
    return timeline(
        gemm=gemm,
        mapping=mapping,
        costs=costs,
        dram_bytes_per_cycle=machine.dram_bytes_per_cycle,
        fill_cycles=machine.fill_cycles,
    )


@st.composite
def cases(draw):
    """A product of up to three groups, and any mapping of it."""
    gemm = draw(gemms(largest_group=3))
    tile = tuple(draw(st.integers(1, extent)) for extent in (gemm.m, gemm.k, gemm.n))
    buffers = draw(st.tuples(*[st.sampled_from([1, 2])] * 3))
    mapping = mapped(tile=tile, order=draw(st.sampled_from(ORDERS)), buffers=buffers)
    return gemm, mapping


bandwidths = st.sampled_from([0.3, 1, 2.5, 7, 64])
seeds = st.integers(0, 2**32 - 1)


class TestTwin:
    @settings(max_examples=200, deadline=None)
    @given(
        case=cases(),
        bandwidth=bandwidths,
        seed=seeds,
        block_tiles=st.integers(1, 40),
        fill_cycles=st.sampled_from([0, 1, 78]),
    )
    def test_any_costs_and_blocks_equal_a_walk_over_every_tile(self, case, bandwidth, seed, block_tiles, fill_cycles):
        gemm, mapping = case
        costs = random_costs(gemm, tile_of(mapping), seed)
        assert_equals_walk(gemm, mapping, costs, bandwidth, fill_cycles=fill_cycles)
        assert_equals_walk(gemm, mapping, costs, bandwidth, fill_cycles=fill_cycles, block_tiles=block_tiles)

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("groups", [1, 2, 3])
    @pytest.mark.parametrize("buffers", [(2, 2, 2), (2, 2, 1), (1, 2, 2), (2, 1, 1)])
    def test_one_two_and_three_tiles_in_every_order(self, order, groups, buffers):
        gemm = int8_gemm(5, 5, 5, groups)
        for seed, tile in enumerate(itertools.product((5, 3, 2), repeat=3)):  # 1, 2 and 3 tiles, the last one smaller
            mapping = mapped(tile=tile, order=order, buffers=buffers)
            assert_equals_walk(gemm, mapping, random_costs(gemm, tile, seed), 2.5)


class TestUniformTiles:
    @settings(max_examples=200, deadline=None)
    @given(case=cases(), machine=machines)
    def test_they_take_what_the_closed_forms_say(self, case, machine):
        gemm, mapping = case
        bandwidth = machine.dram_bytes_per_cycle
        costs = uniform_costs(gemm=gemm, tile=tile_of(mapping), machine=machine)
        found = of_machine(gemm, mapping, costs, machine)
        tilings = mapping.tilings()
        moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=bandwidth)
        assert totals(found) == {
            "cycles": pipelined_cycles(gemm=gemm, tilings=tilings, machine=machine)[0],
            "compute_cycles": total_compute_cycles(gemm=gemm, kinds=tilings.kinds(gemm), machine=machine)[0],
            "dram_cycles": moved.dram_cycles[0],
            **{name: getattr(moved, name.removesuffix("_bytes"))[0] for name in TOTALS if name.endswith("_bytes")},
        }

    @settings(max_examples=60, deadline=None)
    @given(gemm=gemms(), machine=machines)
    def test_they_take_what_their_best_mapping_says(self, gemm, machine):
        best = best_mapping(gemm=gemm, machine=machine)
        costs = uniform_costs(gemm=gemm, tile=tile_of(best), machine=machine)
        found = of_machine(gemm, best, costs, machine)
        for name in TOTALS:
            assert getattr(found, name) == getattr(best, f"dram_{name}" if name.endswith("_bytes") else name), name
        for name in ("stall_cycles", "dram_read_bytes", "dram_write_bytes", "bound"):
            assert getattr(found, name) == getattr(best, name), name

    def test_visits_charge_fills_that_dram_does_not_hold(self):
        # Columns of a convolution: DRAM holds a third of the elements that fill the SRAM.
        gemm = int8_gemm(5, 6, 7, 2, x_distinct=2 * 5 * 6 // 3)
        mapping, machine = mapped(tile=(2, 4, 3), order="nkm"), Toy()
        costs = uniform_costs(gemm=gemm, tile=tile_of(mapping), machine=machine)
        fills = uniform_costs(gemm=dataclasses.replace(gemm, x_distinct=None), tile=tile_of(mapping), machine=machine)
        found = timeline(gemm=gemm, mapping=mapping, costs=costs, dram_bytes_per_cycle=1)
        moved = traffic(gemm=gemm, tilings=mapping.tilings(), dram_bytes_per_cycle=1)
        assert (found.x_visits * fills.x_bytes).sum() == moved.x_fill[0]
        assert (found.w_visits * fills.w_bytes).sum() == moved.w_fill[0]


class TestByHand:
    # Three tiles of 2 x 2 x 2 along m, one byte per cycle; w stays, outputs are 4 bytes each.
    gemm = int8_gemm(6, 2, 2)
    costs = TileCosts(
        compute=np.array([9, 2, 5]).reshape(1, 3, 1, 1),
        x_bytes=np.array([1, 3, 8]).reshape(1, 3, 1),
        w_bytes=np.array([6]).reshape(1, 1, 1),
    )

    def found(self, **options):
        mapping = mapped(tile=(2, 2, 2), **options)
        return timeline(gemm=self.gemm, mapping=mapping, costs=self.costs, dram_bytes_per_cycle=1)

    def test_each_tile_hides_its_own_neighbours_transfers(self):
        # First read 1 + 6; 9 hides reading 3; 2 waits for writing 4 and reading 8; 5 hides writing 4; last write 4.
        assert self.found().cycles == 7 + 9 + 12 + 5 + 4

    def test_filling_and_draining_the_array_is_paid_once(self):
        # Before the first of three tiles and after the last: neither hides a transfer.
        mapping = mapped(tile=(2, 2, 2))
        found = timeline(gemm=self.gemm, mapping=mapping, costs=self.costs, dram_bytes_per_cycle=1, fill_cycles=11)
        assert found.cycles == self.found().cycles + 11
        assert found.compute_cycles == 16 + 11
        assert found.dram_cycles == self.found().dram_cycles

    def test_one_output_buffer_makes_the_array_wait_for_every_output(self):
        # 9 hides reading 3, 2 waits for reading 8, 5 reads nothing; 4 written after each.
        assert self.found(buffers=(2, 2, 1)).cycles == 7 + (9 + 4) + (8 + 4) + (5 + 4)

    def test_totals_and_what_follows_from_them(self):
        found = self.found()
        assert (found.compute_cycles, found.stall_cycles) == (16, 37 - 16)
        assert (found.x_read_bytes, found.w_read_bytes, found.y_write_bytes) == (12, 6, 12)
        assert (found.dram_read_bytes, found.dram_write_bytes, found.dram_cycles) == (18, 12, 30)
        assert found.bound == "memory"

    def test_partial_sums_leave_and_return_between_tiles_that_were_skipped(self):
        # Two tiles along k, outside of two along m; x 1 byte each, w none; partial sums 16 bytes, outputs 4.
        gemm = int8_gemm(4, 4, 2)
        costs = TileCosts(
            compute=np.zeros((1, 2, 2, 1), dtype=np.int64),
            x_bytes=np.ones((1, 2, 2), dtype=np.int64),
            w_bytes=np.zeros((1, 2, 1), dtype=np.int64),
        )
        found = timeline(gemm=gemm, mapping=mapped(tile=(2, 2, 2), order="kmn"), costs=costs, dram_bytes_per_cycle=1)
        assert (found.psum_write_bytes, found.psum_read_bytes, found.y_write_bytes) == (32, 32, 8)
        assert found.cycles == found.dram_cycles == 4 + 32 + 32 + 8
        assert (found.x_visits.tolist(), found.w_visits.tolist()) == ([[[1, 1], [1, 1]]], [[[1], [1]]])

    def test_costs_of_another_mapping_are_refused(self):
        with pytest.raises(AssertionError, match=r"costs of \(1, 3, 1, 1\) tiles, but the mapping has \(1, 2, 1, 1\)"):
            timeline(gemm=self.gemm, mapping=mapped(tile=(3, 2, 2)), costs=self.costs, dram_bytes_per_cycle=1)
