"""Tiles, loop orders, DRAM traffic and pipelined cycles, against a walk over every tile and cases worked by hand."""

import dataclasses
import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitwright.errors import InputError
from bitwright.memory import Buffers, Gemm, Tilings, best_mapping, traffic
from bitwright.memory.gemm import finest, packed_bytes
from bitwright.memory.pipeline import pipelined_cycles
from bitwright.memory.reference import walk
from bitwright.memory.search import total_compute_cycles
from bitwright.memory.tiling import ORDERS, candidates, tile_sizes

AMPLE = Buffers(input_bytes=10**6, weight_bytes=10**6, output_bytes=10**6)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Toy:
    """A machine of one multiplier row: a tile takes `startup` cycles and then one cycle per `speed` products."""

    buffers: Buffers = AMPLE
    tile_unit: tuple[int, int, int] = (1, 1, 1)
    unit_divides: bool = True
    dram_bytes_per_cycle: float = 1
    objective: str = "latency"
    leakage_pj_per_cycle: float = 0
    fill_cycles: int = 0
    startup: int = 0
    speed: int = 1
    sram_bits_per_cycle: tuple[float, float, float] = (math.inf, math.inf, math.inf)

    def array_cycles(self, *, m, k, n):
        return self.startup + -(-m * k * n // self.speed)

    def array_bits(self, *, m, k, n):
        return 8.0 * m * k, 4.0 * k * n, 64.0 * m * n

    def energy_pj(self, *, gemm, kinds, moved):
        return (moved.dram_read + moved.dram_write).astype(float)


def int8_gemm(m, k, n, groups=1, **changes):
    return dataclasses.replace(
        Gemm(m=m, k=k, n=n, groups=groups, x_bits=8, w_bits=8, y_bits=8, psum_bits=32), **changes
    )


def one(*, m, k, n, order="mkn", buffers=(2, 2, 2)):
    arrays = (np.array([value], dtype=np.int64) for value in (m, k, n, ORDERS.index(order), *buffers))
    names = ("m", "k", "n", "order", "input_buffers", "weight_buffers", "output_buffers")
    return Tilings(**dict(zip(names, arrays, strict=True)))


extents = st.integers(1, 11)


@st.composite
def gemms(draw, largest_group=5):
    m, k, n, groups = draw(extents), draw(extents), draw(extents), draw(st.integers(1, largest_group))
    return Gemm(
        m=m,
        k=k,
        n=n,
        groups=groups,
        x_bits=draw(st.sampled_from([4, 8, 32])),
        w_bits=draw(st.sampled_from([2, 4, 8])),
        y_bits=draw(st.sampled_from([4, 8])),
        psum_bits=draw(st.sampled_from([16, 32])),
        x_distinct=draw(st.none() | st.integers(1, groups * m * k)),
        w_distinct=draw(st.none() | st.integers(1, groups * k * n)),
    )


machines = st.builds(
    Toy,
    dram_bytes_per_cycle=st.sampled_from([0.3, 1, 2.5, 7, 64]),
    startup=st.integers(0, 20),
    fill_cycles=st.sampled_from([0, 7]),
    speed=st.integers(1, 9),
    sram_bits_per_cycle=st.sampled_from([(math.inf,) * 3, (16.0, 16.0, 64.0), (3.0, 200.0, 90.0), (200.0, 5.0, 7.0)]),
    objective=st.sampled_from(["latency", "energy", "edp"]),
    leakage_pj_per_cycle=st.sampled_from([0, 0.5, 8]),
)


def judged(machine, cycles, moved):
    """What a toy's objective minimizes: a byte of DRAM takes a picojoule."""
    energy = moved + machine.leakage_pj_per_cycle * cycles
    return {"latency": (cycles, energy), "energy": (energy, cycles), "edp": (energy * cycles, cycles)}[
        machine.objective
    ]


class TestTwin:
    @settings(max_examples=300, deadline=None)
    @given(gemm=gemms(), machine=machines, data=st.data())
    def test_closed_forms_equal_a_walk_over_every_tile(self, gemm, machine, data):
        tile = tuple(data.draw(st.integers(1, extent)) for extent in (gemm.m, gemm.k, gemm.n))
        order = data.draw(st.sampled_from(ORDERS))
        buffers = data.draw(st.tuples(*[st.sampled_from([1, 2])] * 3))
        tilings = one(m=tile[0], k=tile[1], n=tile[2], order=order, buffers=buffers)
        walked = walk(gemm=gemm, tile=tile, order=order, buffers=buffers, machine=machine)
        moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=machine.dram_bytes_per_cycle)
        assert pipelined_cycles(gemm=gemm, tilings=tilings, machine=machine).tolist() == [walked.cycles]
        assert total_compute_cycles(gemm=gemm, kinds=tilings.kinds(gemm), machine=machine).tolist() == [
            walked.compute_cycles
        ]
        for name in ("x_read", "w_read", "psum_read", "psum_write", "y_write", "dram_cycles"):
            assert getattr(moved, name).tolist() == [getattr(walked, name)], name

    @pytest.mark.parametrize("order", ORDERS)
    @pytest.mark.parametrize("groups", [1, 2, 4])
    def test_one_two_four_and_six_tiles_in_every_order(self, order, groups):
        gemm, machine = int8_gemm(11, 11, 11, groups), Toy(startup=3, speed=7, dram_bytes_per_cycle=2)
        for tile in itertools.product((11, 6, 3, 2), repeat=3):  # 1, 2, 4 and 6 tiles, the last one smaller
            tilings = one(m=tile[0], k=tile[1], n=tile[2], order=order)
            expected = walk(gemm=gemm, tile=tile, order=order, buffers=(2, 2, 2), machine=machine).cycles
            assert pipelined_cycles(gemm=gemm, tilings=tilings, machine=machine).tolist() == [expected]

    @settings(max_examples=25, deadline=None)
    @given(gemm=gemms(largest_group=2), machine=machines)
    def test_the_search_finds_what_walking_every_candidate_finds(self, gemm, machine):
        machine = dataclasses.replace(machine, tile_unit=(3, 2, 3))
        tilings = candidates(gemm=gemm, buffers=machine.buffers, unit=machine.tile_unit)
        walked = [
            walk(
                gemm=gemm,
                tile=(int(tilings.m[i]), int(tilings.k[i]), int(tilings.n[i])),
                order=ORDERS[tilings.order[i]],
                buffers=(
                    int(tilings.input_buffers[i]),
                    int(tilings.weight_buffers[i]),
                    int(tilings.output_buffers[i]),
                ),
                machine=machine,
            )
            for i in range(len(tilings))
        ]
        best = best_mapping(gemm=gemm, machine=machine)
        assert judged(machine, best.cycles, best.dram_read_bytes + best.dram_write_bytes) == min(
            judged(machine, each.cycles, each.x_read + each.w_read + each.psum_read + each.psum_write + each.y_write)
            for each in walked
        )


class TestPipelineByHand:
    # Two tiles of 2 x 2 x 2 along m, one byte per cycle: x 4, w 4, y 4 bytes each; w stays.
    gemm = int8_gemm(4, 2, 2)

    def cycles(self, *, compute, buffers=(2, 2, 2)):
        machine = Toy(startup=compute, speed=10**9)  # compute + 1 cycles a tile
        tilings = one(m=2, k=2, n=2, buffers=buffers)
        return int(pipelined_cycles(gemm=self.gemm, tilings=tilings, machine=machine)[0])

    def test_a_busy_array_hides_transfers_between_first_read_and_last_write(self):
        assert self.cycles(compute=9) == (4 + 4) + 10 + 10 + 4

    def test_a_fast_array_waits_for_the_next_input_and_the_previous_output(self):
        assert self.cycles(compute=1) == (4 + 4) + 4 + 4 + 4

    def test_one_output_buffer_makes_the_array_wait_for_every_output(self):
        assert self.cycles(compute=9, buffers=(2, 2, 1)) == (4 + 4) + (10 + 4) + (10 + 4)

    def test_one_buffer_of_an_operand_makes_the_array_wait_for_its_tiles_where_they_change(self):
        assert self.cycles(compute=9, buffers=(1, 2, 2)) == (4 + 4) + 10 + 4 + 10 + 4
        assert self.cycles(compute=9, buffers=(2, 1, 2)) == (4 + 4) + 10 + 10 + 4  # w stays

    @pytest.mark.parametrize(
        ("widths", "cycles"),
        [
            # The array takes 10 cycles a tile and moves 32 bits of x, 16 of w and 256 of sums; x comes in 4 bytes.
            ((8.0, 16.0, 64.0), (4 + 4) + 10 + 10 + 4),  # 32 + 32 bits of x while the first tile is at work: 8 cycles
            ((4.0, 16.0, 64.0), (8 + 4) + 16 + 10 + 4),  # 8 cycles before, 64 bits in 16, and 32 bits in 8
            ((16.0, 2.0, 64.0), (4 + 16) + 10 + 10 + 4),  # w comes once: 32 bits in 16 cycles, then 16 in 8
            ((16.0, 16.0, 20.0), (4 + 4) + 13 + 13 + 4),  # 256 bits of sums in 13; outputs leave with them
        ],
    )
    def test_an_sram_moves_the_words_of_the_array_and_of_dram(self, widths, cycles):
        machine = Toy(startup=9, speed=10**9, sram_bits_per_cycle=widths)
        assert pipelined_cycles(gemm=self.gemm, tilings=one(m=2, k=2, n=2), machine=machine).tolist() == [cycles]

    def test_a_convolution_fills_its_sram_with_more_than_dram_moves(self):
        """A ninth of x is distinct: 2 bytes of DRAM, but 18 bytes of fill for each of two tiles, 8 bits a cycle."""
        gemm = int8_gemm(4, 9, 2, x_distinct=4)
        machine = Toy(startup=9, speed=10**9, sram_bits_per_cycle=(8.0, math.inf, math.inf))
        first, words = 18 + 18, 18 + 18  # x and w before; the array's words of x and the next tile's fill
        cycles = pipelined_cycles(gemm=gemm, tilings=one(m=2, k=9, n=2), machine=machine)
        assert cycles.tolist() == [first + words + 18 + 4]

    def test_filling_and_draining_the_array_is_paid_once(self):
        machine = Toy(startup=9, speed=10**9, fill_cycles=13)
        tilings = one(m=2, k=2, n=2)
        cycles = pipelined_cycles(gemm=self.gemm, tilings=tilings, machine=machine)
        assert cycles.tolist() == [13 + (4 + 4) + 10 + 10 + 4]
        kinds = tilings.kinds(self.gemm)
        assert total_compute_cycles(gemm=self.gemm, kinds=kinds, machine=machine).tolist() == [13 + 10 + 10]

    def test_each_transfer_takes_whole_cycles(self):
        # 3 bytes per cycle: 4 bytes take 2 cycles, x and w are two transfers.
        machine = Toy(startup=9, speed=10**9, dram_bytes_per_cycle=3)
        tilings = one(m=2, k=2, n=2)
        assert pipelined_cycles(gemm=self.gemm, tilings=tilings, machine=machine).tolist() == [2 + 2 + 10 + 10 + 2]

    def test_thousands_of_groups_cost_as_many_times_the_same(self):
        # 10 cycles hide 8 bytes read and 4 written per group: first read, then 4,000 tiles, then the last write.
        gemm = int8_gemm(2, 2, 2, 4000)
        machine = Toy(startup=19, speed=10**9)
        cycles = pipelined_cycles(gemm=gemm, tilings=one(m=2, k=2, n=2), machine=machine)
        assert cycles.tolist() == [8 + 4000 * 20 + 4]


class TestTrafficByHand:
    gemm = int8_gemm(4, 6, 8)  # x 24, w 48, y 32 elements

    def moved(self, **tiling):
        return traffic(gemm=self.gemm, tilings=one(**tiling), dram_bytes_per_cycle=1)

    def test_one_tile_moves_everything_once(self):
        moved = self.moved(m=4, k=6, n=8)
        assert (moved.dram_read.tolist(), moved.dram_write.tolist()) == ([24 + 48], [32])

    def test_reduction_innermost_reads_x_per_column_tile_and_w_per_row_tile(self):
        moved = self.moved(m=2, k=2, n=4, order="mnk")
        assert (moved.x_read.tolist(), moved.w_read.tolist()) == ([24 * 2], [48 * 2])
        assert moved.psum_write.tolist() == [0]

    def test_reduction_outermost_spills_and_reads_back_partial_sums(self):
        moved = self.moved(m=2, k=2, n=4, order="kmn")  # three tiles of k: out after the first and second, back twice
        assert (moved.psum_write.tolist(), moved.psum_read.tolist()) == ([32 * 4 * 2], [32 * 4 * 2])
        assert moved.x_read.tolist() == [24]  # n innermost: a tile of x stays
        assert moved.w_read.tolist() == [48 * 2]

    def test_an_output_that_is_one_tile_never_spills(self):
        assert self.moved(m=4, k=2, n=8, order="kmn").psum_write.tolist() == [0]

    def test_a_convolution_reads_each_pixel_once_and_fills_its_sram_with_columns(self):
        gemm = int8_gemm(4, 9, 2, x_distinct=12)  # a third of 36 elements
        moved = traffic(gemm=gemm, tilings=one(m=4, k=9, n=2), dram_bytes_per_cycle=1)
        assert (moved.x_read.tolist(), moved.x_fill.tolist()) == ([12], [36])

    def test_sub_byte_elements_are_packed_into_whole_bytes_per_tile(self):
        gemm = int8_gemm(3, 1, 1, x_bits=4)
        assert traffic(gemm=gemm, tilings=one(m=3, k=1, n=1), dram_bytes_per_cycle=1).x_read.tolist() == [2]
        assert traffic(gemm=gemm, tilings=one(m=1, k=1, n=1), dram_bytes_per_cycle=1).x_read.tolist() == [3]


class TestProperties:
    @settings(max_examples=100, deadline=None)
    @given(gemm=gemms(), machine=machines)
    def test_dram_moves_at_least_the_unique_bytes(self, gemm, machine):
        best = best_mapping(gemm=gemm, machine=machine)
        assert best.dram_read_bytes + best.dram_write_bytes >= gemm.unique_bytes
        assert best.cycles >= max(best.compute_cycles, best.dram_cycles)
        assert best.stall_cycles == best.cycles - best.compute_cycles

    @settings(max_examples=60, deadline=None)
    @given(gemm=gemms(), machine=machines)
    def test_doubling_the_bandwidth_is_never_slower(self, gemm, machine):
        machine = dataclasses.replace(machine, objective="latency")
        faster = dataclasses.replace(machine, dram_bytes_per_cycle=2 * machine.dram_bytes_per_cycle)
        assert best_mapping(gemm=gemm, machine=faster).cycles <= best_mapping(gemm=gemm, machine=machine).cycles

    @settings(max_examples=60, deadline=None)
    @given(gemm=gemms(), machine=machines)
    def test_every_objective_gets_what_it_asks_for(self, gemm, machine):
        found = {
            objective: best_mapping(gemm=gemm, machine=dataclasses.replace(machine, objective=objective))
            for objective in ("latency", "energy", "edp")
        }
        for objective in found:
            asked = dataclasses.replace(machine, objective=objective)
            reached = {
                name: judged(asked, each.cycles, each.dram_read_bytes + each.dram_write_bytes)
                for name, each in found.items()
            }
            assert reached[objective] == min(reached.values())

    @settings(max_examples=60, deadline=None)
    @given(gemm=gemms(), sizes=st.tuples(*[st.integers(64, 400)] * 3))
    def test_as_many_tiles_fit_each_sram_as_there_are_buffers(self, gemm, sizes):
        buffers = Buffers(input_bytes=sizes[0], weight_bytes=sizes[1], output_bytes=sizes[2])
        best = best_mapping(gemm=gemm, machine=Toy(buffers=buffers))
        x, w = best.tile_m * best.tile_k * gemm.x_bits, best.tile_k * best.tile_n * gemm.w_bits
        assert math.ceil(x / 8) * best.input_buffers <= buffers.input_bytes
        assert math.ceil(w / 8) * best.weight_buffers <= buffers.weight_bytes
        sums = math.ceil(best.tile_m * best.tile_n * gemm.psum_bits / 8)
        assert sums * best.output_buffers <= buffers.output_bytes

    def test_the_result_does_not_depend_on_what_was_asked_before(self):
        gemm, machine = int8_gemm(11, 7, 5, 3), Toy(startup=4)
        first = best_mapping(gemm=gemm, machine=machine)
        best_mapping.cache_clear()
        assert best_mapping(gemm=gemm, machine=machine) == first


class TestCandidates:
    @given(extent=st.integers(1, 5000), unit=st.integers(1, 40))
    def test_sizes_are_the_smallest_of_every_number_of_tiles(self, extent, unit):
        smallest = {}
        for size in [*range(unit, extent, unit), extent]:
            smallest.setdefault(-(-extent // size), size)
        assert tile_sizes(extent=extent, unit=unit) == sorted(smallest.values())

    def test_loop_orders_that_make_no_difference_are_left_out(self):
        grid = {"buffers": AMPLE, "unit": (4, 4, 4)}
        assert len(candidates(gemm=int8_gemm(4, 4, 4), **grid)) == 1
        # Tiles of 4 or 8 along m and k: neither split 1 order, one split 1 each, both split 2.
        assert len(candidates(gemm=int8_gemm(8, 8, 4), **grid)) == 1 + 1 + 1 + 2
        # All three split: 6 orders; each of three pairs 2; each of three alone 1; none 1.
        assert len(candidates(gemm=int8_gemm(8, 8, 8), **grid)) == 6 + 3 * 2 + 3 + 1

    @staticmethod
    def tiles(gemm, unit=(4, 4, 4), **sizes):
        """Extents (m, k, n) of all candidates in SRAMs of these sizes, otherwise ample."""
        buffers = dataclasses.replace(AMPLE, **sizes)
        found = candidates(gemm=gemm, buffers=buffers, unit=unit)
        return set(zip(found.m.tolist(), found.k.tolist(), found.n.tolist(), strict=True))

    def test_rows_are_cut_evenly_too_so_that_two_equal_products_in_one_are_as_good(self):
        # 206 rows in units of 24: two tiles of 120, of which the last has 86, or of 103 each, as of two such products.
        rows = {each[0] for each in self.tiles(int8_gemm(206, 24, 32), unit=(24, 24, 32))}
        assert {120, 103} <= rows
        assert min(rows) == 24

    @pytest.mark.parametrize("name", ["input_bytes", "weight_bytes"])
    def test_an_operands_sram_holds_one_tile_or_two(self, name):
        axes = slice(0, 2) if name == "input_bytes" else slice(1, 3)
        for size, held in ((63, False), (64, True)):
            found = self.tiles(int8_gemm(8, 8, 8), **{name: size})
            assert ((8, 8) in {each[axes] for each in found}) is held, size

    @pytest.mark.parametrize("size", [127, 128])
    def test_there_are_two_buffers_where_two_tiles_fit(self, size):
        buffers = dataclasses.replace(AMPLE, input_bytes=size)
        found = candidates(gemm=int8_gemm(8, 8, 8), buffers=buffers, unit=(8, 8, 8))
        whole = (found.m == 8) & (found.k == 8)
        assert set(found.input_buffers[whole].tolist()) == {size // 64}
        assert set(found.weight_buffers[whole].tolist()) == {2}

    @pytest.mark.parametrize(
        ("sizes", "smallest"),
        [
            # A unit of 8 x 8 x 8 of a product of 64 x 64 x 64: two tiles of operands are 128 bytes, one of sums 256.
            ({}, (8, 8, 8)),
            ({"input_bytes": 128}, (8, 8, 8)),
            ({"input_bytes": 127}, (4, 8, 8)),  # rows first: 2 x 4 x 8
            ({"input_bytes": 17}, (1, 8, 8)),
            ({"output_bytes": 255}, (4, 8, 8)),
            ({"output_bytes": 31}, (1, 8, 4)),  # one row of 8 sums is 32 bytes: columns next
            ({"output_bytes": 4}, (1, 8, 1)),
            ({"weight_bytes": 127}, (1, 8, 4)),  # rows do not help, and are halved all the same
            ({"input_bytes": 15}, (1, 4, 1)),  # neither rows nor columns are enough: the depth last
            ({"weight_bytes": 2}, (1, 1, 1)),
        ],
    )
    def test_a_unit_that_does_not_fit_is_halved_until_two_do(self, sizes, smallest):
        found = self.tiles(int8_gemm(64, 64, 64), unit=(8, 8, 8), **sizes)
        assert tuple(min(each[axis] for each in found) for axis in range(3)) == smallest
        for axis, unit in enumerate(smallest[1:], 1):  # rows are cut evenly besides
            assert all(each[axis] % unit == 0 for each in found)

    @pytest.mark.parametrize(("memory", "capacity", "needed"), [("input", 1, 2), ("weight", 1, 2), ("output", 3, 4)])
    def test_an_sram_too_small_for_one_element_is_named_with_demand_capacity_and_lever(self, memory, capacity, needed):
        machine = Toy(tile_unit=(64, 64, 64), buffers=dataclasses.replace(AMPLE, **{f"{memory}_bytes": capacity}))
        message = (
            rf"{memory} SRAM holds {capacity} bytes.*needs {needed} at the smallest tile \(1 x 1 x 1, m x k x n\) of a "
            rf"product of 100 x 100 x 100; raise {memory}_sram_kib to 1 or"
        )
        with pytest.raises(InputError, match=message):
            best_mapping(gemm=int8_gemm(100, 100, 100, x_bits=16, w_bits=16), machine=machine)

    def test_what_to_raise_an_sram_to_is_in_whole_kib(self):
        # Sums of 16,384 + 1 bits: one is 2,049 bytes.
        machine = Toy(buffers=dataclasses.replace(AMPLE, output_bytes=2048))
        with pytest.raises(InputError, match=r"needs 2049 .*raise output_sram_kib to 3"):
            best_mapping(gemm=int8_gemm(2, 2, 2, psum_bits=8 * 2048 + 1), machine=machine)


class TestShares:
    @settings(max_examples=200, deadline=None)
    @given(
        elements=st.integers(0, 2**58),
        bits=st.fractions(Fraction(1, 64), 32, max_denominator=2**20),
        share=st.fractions(0, 1, max_denominator=2**20),
    )
    @example(elements=10000001 * 900000, bits=8 + Fraction(32, 10000001), share=Fraction(1))
    def test_bytes_of_huge_operands_are_exact(self, elements, bits, share):
        """Elements by numerators exceed 64 bits where bytes do not: 9e12 weights of 8 bits and a share of scales."""
        exact = math.ceil(elements * finest(bits * share) / 8)
        assert int(packed_bytes(np.array([elements]), bits, share)[0]) == exact

    def test_a_tile_that_is_far_too_large_does_not_fit(self):
        gemm = int8_gemm(1, 10000001, 900000, w_bits=8 + Fraction(32, 10000001))
        tilings = candidates(
            gemm=gemm, buffers=Buffers(input_bytes=2**24, weight_bytes=2**17, output_bytes=2**22), unit=(24, 24, 32)
        )
        assert max(int(k) * int(n) for k, n in zip(tilings.k, tilings.n, strict=True)) <= 2**17

    def test_more_distinct_elements_than_elements_count_as_all(self):
        # A 1 x 1 convolution of stride 2 has more pixels than it reads.
        assert int8_gemm(4, 4, 4, x_distinct=64).x_share == 1
        assert int8_gemm(4, 4, 4, x_distinct=64).unique_bytes == 3 * 16

    def test_shares_with_large_denominators_are_rounded_up(self):
        gemm = int8_gemm(2**20 + 7, 3, 1, x_distinct=2**20 + 9)
        exact = (2**20 + 9) / (3 * (2**20 + 7))
        assert exact <= gemm.x_share <= exact + 2**-20
        assert gemm.x_share.denominator <= 2**20
