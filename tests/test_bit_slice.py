"""Panacea and Sibia: closed forms against a simulation operator by operator, sizes against the coder, and limits."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.accelerators.bit_slice import Panacea, Sibia
from bitwright.accelerators.bit_slice.buffers import held, moved
from bitwright.accelerators.bit_slice.operator_level import Array, simulate_tile
from bitwright.accelerators.bit_slice.pieces import pieces_of
from bitwright.accelerators.bit_slice.products import dense_products
from bitwright.accelerators.bit_slice.schedule import ALONE, Stages, tile_cycles
from bitwright.accelerators.engine import ran_as
from bitwright.accelerators.srams import srams_of
from bitwright.accelerators.systolic.dataflow import Timing
from bitwright.errors import InputError
from bitwright.formats import Integer, PerChannel, PerTensor, PerToken, Quantized, SlicedUnsigned, run_length_entries
from bitwright.memory.reference import walk_costs
from bitwright.methods.aqs.reference import slice_product
from bitwright.methods.execution import MASKS, Execution
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan
from bitwright.methods.vectors import VectorMasks, skipped_window
from bitwright.networks.sites import Site
from bitwright.testing import check_accelerator
from toys import OtherRule, random_codes

seeds = st.integers(0, 2**31 - 1)
UINT8, INT7 = SlicedUnsigned(), Integer(bits=7)


def mostly(fmt, shape, seed, zero_point=0, share=0.8):
    """Codes of which whole vectors of four rows can often be skipped."""
    low, high = skipped_window(fmt, zero_point)
    generator = torch.Generator().manual_seed(seed)
    frequent = torch.randint(low, high + 1, shape, generator=generator)
    groups, rows, k = shape
    keep = (torch.rand(groups, -(-rows // 4), k, generator=generator) < share).repeat_interleave(4, 1)[:, :rows]
    codes = torch.where(keep, frequent, random_codes(fmt, shape, seed + 1))
    return codes >> fmt.dropped_bits << fmt.dropped_bits


def work_of(m, k, n, *, groups=1, seed=0, x_format=UINT8, w_bits=7, zero_point=100, shares=(0.8, 0.5)):
    """One product of random codes; for several groups, batched."""
    w_format = Integer(bits=w_bits)
    zero_point = 0 if x_format.signed else zero_point
    x = mostly(x_format, (groups, m, k), seed, zero_point, shares[0])
    w = mostly(w_format, (groups, n, k), seed + 7, 0, shares[1])
    x, w = (x[0], w[0]) if groups == 1 else (x, w.transpose(1, 2))
    site = Site(
        name="s", op="matmul", m=m, k=k, n=n, groups=groups, x_elements=groups * m * k, w_elements=groups * k * n
    )
    one = torch.ones(())
    return Execution(
        site=site,
        plan=SitePlan(
            x=OperandPlan(format=x_format, granularity=PerTensor(), scale=one, zero_point=zero_point),
            w=OperandPlan(format=w_format, granularity=PerTensor(), scale=one),
        ),
        x=Quantized(codes=x, format=x_format, scale=one, zero_point=zero_point),
        w=Quantized(codes=w, format=w_format, scale=one),
    )


def mapping_of(machine, work, tile_m, tile_k, tile_n, order="mkn"):
    """A mapping of our choice."""
    return dataclasses.replace(
        machine.ran(work).mapping,
        tile_m=tile_m,
        tile_k=tile_k,
        tile_n=tile_n,
        order=order,
        input_buffers=2,
        weight_buffers=2,
        output_buffers=2,
    )


def mapped(machine, work, tile_m, tile_k, tile_n):
    """What the machine counts under a mapping of our choice."""
    return machine.counted(work, mapping_of(machine, work, tile_m, tile_k, tile_n))


def measured(machine, work):
    """What the machine counts under its own mapping."""
    return machine.counted(work, machine.ran(work).mapping)


def pea_queues(machine, skipping, slicing):
    """Where a slice product goes on this machine, spelled out."""

    def panacea(w_high, x_high, w_skippable, x_skippable):
        if (w_high and w_skippable) or (x_high and x_skippable):
            return None
        dynamic = (w_high or x_high) if machine.dynamic_work == "high" else x_high
        return "dynamic" if dynamic else "static"

    def sibia(w_high, x_high, w_skippable, x_skippable):
        if (skipping == "w" and w_high and w_skippable) or (skipping == "x" and x_high and x_skippable):
            return None
        return "any"

    return panacea if isinstance(machine, Panacea) else sibia


def check_against_simulation(machine, work, tile_m, tile_k, tile_n):
    found = mapped(machine, work, tile_m, tile_k, tile_n)
    site, masks, slicing = work.site, work.masks, found.slicing
    is_panacea = isinstance(machine, Panacea)
    array = Array(
        peas=machine.peas,
        operators={"dynamic": machine.dynamic_operators, "static": machine.static_operators}
        if is_panacea
        else {"any": machine.operators},
        block_vectors=machine.block_rows // 4,
        run_bits=machine.run_bits,
        lanes=machine.ppu_lanes,
        x_slices=(False,) * slicing.x_low + (True,) * slicing.x_high,
        w_slices=(False,) * slicing.w_low + (True,) * slicing.w_high,
        most_k=min(machine.buffered_k, 2 * machine.buffered_k // max(slicing.x_slices, slicing.w_slices)),
        skips=tuple(found.products.skipping in ("both", side) for side in "xw"),
        queues=pea_queues(machine, found.products.skipping, slicing),
    )
    executed, written = 0, dict.fromkeys("xw", 0)
    for group in range(site.groups):
        for mt, m0 in enumerate(range(0, site.m, tile_m)):
            for kt, k0 in enumerate(range(0, site.k, tile_k)):
                for nt, n0 in enumerate(range(0, site.n, tile_n)):
                    rows, columns = min(tile_m, site.m - m0), min(tile_n, site.n - n0)
                    x = masks.x[group, m0 // 4 : -(-(m0 + rows) // 4), k0 : k0 + tile_k]
                    w = masks.w[group, n0 // 4 : -(-(n0 + columns) // 4), k0 : k0 + tile_k]
                    sizes = [
                        (coded_bits(mask, array.most_k), 4 * extent * mask.shape[1])
                        for mask, extent in ((x, rows), (w, columns))
                    ]
                    simulated = simulate_tile(
                        x.numpy(),
                        w.numpy(),
                        rows=rows,
                        columns=columns,
                        first_k=kt == 0,
                        raw=tuple(raw <= coded for coded, raw in sizes),
                        array=array,
                    )
                    assert simulated.cycles == found.tile_cycles[group, mt, kt, nt]
                    executed += sum(simulated.products.values())
                    written = {side: count + simulated.written[side] for side, count in written.items()}
                    stored = [min(size) if high else 0 for size, high in zip(sizes, (1, slicing.w_high), strict=True)]
                    assert found.x.bits[group, mt, kt] == stored[0] + slicing.x_low * sizes[0][1]
                    assert found.w.bits[group, nt, kt] == stored[1] + slicing.w_low * sizes[1][1]
    assert executed == found.products.executed
    events = {(each.component, each.name): each.count for each in machine.run(work).events}
    read = {side: events.get((f"{side}_slice_buffers", "read"), 0) for side in "xw"}
    assert read == {"x": executed, "w": executed}
    column_blocks = -(-site.n // machine.block_columns)
    words = moved(found.blocks, slicing, found.products, column_blocks=column_blocks)
    assert {"x": words.x_written, "w": words.w_written} == written


def coded_bits(mask, most_k):
    """Streams of vectors, cut into pieces of k: entries of 20 bits, and how many there are."""
    k, bits = mask.shape[1], 0
    count = -(-k // most_k)
    length = -(-k // count)
    for start in range(0, k, length):
        piece = mask[:, start : start + length]
        bits += 20 * int(run_length_entries(piece, 4).sum()) + len(piece) * len(f"{piece.shape[1]:b}")
    return bits


class TestTwins:
    @settings(max_examples=25, deadline=None)
    @given(st.data(), seeds)
    def test_panacea_takes_the_cycles_of_its_operators(self, data, seed):
        machine = Panacea(
            peas=data.draw(st.integers(1, 3)),
            dynamic_operators=data.draw(st.integers(1, 3)),
            static_operators=data.draw(st.integers(1, 3)),
            dynamic_work=data.draw(st.sampled_from(("high", "activation"))),
            tile_rows=4 * data.draw(st.integers(1, 2)),
            double_tile=data.draw(st.booleans()),
            skip_single_slice=data.draw(st.booleans()),
            ppu_lanes=data.draw(st.integers(1, 8)),
            buffered_k=data.draw(st.integers(2, 10)),
            fold_pipelining=False,
        )
        m, k, n = (data.draw(st.integers(1, top)) for top in (20, 9, 20))
        work = work_of(
            m,
            k,
            n,
            groups=data.draw(st.integers(1, 2)),
            seed=seed,
            x_format=SlicedUnsigned(split=data.draw(st.sampled_from((4, 5, 6)))),
            w_bits=data.draw(st.sampled_from((4, 7, 10))),
        )
        tile_m = min(m, machine.block_rows * data.draw(st.integers(1, 2)))
        tile_n = min(n, machine.block_columns * data.draw(st.integers(1, 2)))
        check_against_simulation(machine, work, tile_m, min(k, data.draw(st.integers(1, 9))), tile_n)

    @settings(max_examples=25, deadline=None)
    @given(st.data(), seeds)
    def test_sibia_takes_the_cycles_of_its_operators(self, data, seed):
        machine = Sibia(
            peas=data.draw(st.integers(1, 3)),
            operators=data.draw(st.integers(1, 5)),
            tile_rows=4 * data.draw(st.integers(1, 3)),
            ppu_lanes=data.draw(st.integers(1, 8)),
            buffered_k=data.draw(st.integers(2, 10)),
            fold_pipelining=False,
        )
        m, k, n = (data.draw(st.integers(1, top)) for top in (20, 9, 20))
        work = work_of(
            m,
            k,
            n,
            seed=seed,
            x_format=Integer(bits=data.draw(st.sampled_from((4, 7, 10)))),
            w_bits=data.draw(st.sampled_from((4, 7))),
            shares=(data.draw(st.sampled_from((0.1, 0.8))), 0.5),
        )
        tile_m = min(m, machine.block_rows * data.draw(st.integers(1, 2)))
        tile_n = min(n, machine.block_columns * data.draw(st.integers(1, 2)))
        check_against_simulation(machine, work, tile_m, min(k, data.draw(st.integers(1, 9))), tile_n)

    @pytest.mark.parametrize("split", [4, 5, 6])
    def test_what_is_executed_is_what_the_exact_product_executes(self, split):
        work = work_of(13, 21, 10, x_format=SlicedUnsigned(split=split), seed=split)
        by_slices = slice_product(
            work.x.codes, work.w.codes, x_format=work.x.format, w_bits=7, zero_point=work.x.zero_point
        )
        found = measured(Panacea(), work)
        assert by_slices.executed == {
            (True, True): found.products.high_high,
            (False, True): found.products.low_high,
            (True, False): found.products.high_low,
            (False, False): found.products.low_low,
        }
        assert by_slices.dense == dense_products(found.blocks, found.slicing)
        events = {(e.component, e.name): e.count for e in Panacea().run(work).events}
        assert events["compensation", "add_int16"] == by_slices.compensation_adds
        assert events["mac", "mac_int4"] == 16 * found.products.executed

    @pytest.mark.parametrize("skipping", ["x", "w"])
    def test_sibia_executes_what_its_exact_product_executes(self, skipping):
        work = work_of(13, 21, 10, x_format=INT7, shares=(0.9, 0.1) if skipping == "x" else (0.1, 0.9))
        by_slices = slice_product(
            work.x.codes, work.w.codes, x_format=INT7, w_bits=7, skip_x=skipping == "x", skip_w=skipping == "w"
        )
        found = measured(Sibia(), work)
        assert found.products.skipping == skipping
        assert sum(by_slices.executed.values()) == found.products.executed


def watch(tiles, *, hidden):
    """Cycles of blocks, ([(decode, compute) of each piece], output), in slots, clock by clock, tile after tile.

    In a slot the operators work on a piece and the decoders on the one after, a clock at least, while the
    post-processing unit works on the block before, which it must have taken when the last piece ends; without second
    accumulators it takes the block itself, and the operators wait.
    """
    slots = [
        (*piece, output if at == len(pieces) - 1 else None)
        for tile in tiles
        for pieces, output in tile
        for at, piece in enumerate(pieces)
    ]
    clock, left = 1, slots[0][0] - 1
    while left > 0:  # the first piece's vectors
        clock, left = clock + 1, left - 1
    writing = 0
    for i, (_, multiplying, output) in enumerate(slots):
        computing = multiplying
        decoding = slots[i + 1][0] if i + 1 < len(slots) else 0
        begun = False
        while computing or decoding or (writing and output is not None) or not begun:
            computing, decoding, writing = (max(0, each - 1) for each in (computing, decoding, writing))
            clock, begun = clock + 1, True
        if output is not None and hidden:
            writing = output
        elif output is not None:
            clock += output
    return clock + writing + 1  # the sum of the last product is there a clock later


def in_blocks(stages, pieces, group, tile, row, column):
    """A block of a tile of k as `watch` takes it."""
    first, last = pieces.first[tile], pieces.last[tile]
    slots = [
        tuple(int(each[group, at, row, column]) for each in (stages.decode, stages.compute))
        for at in range(first, last + 1)
    ]
    return slots, int(stages.output[group, tile, row, column])


ONE = pieces_of(1, tile_k=1, most=1)


class TestSchedule:
    """Tiles in time against a clock: those that are filled and drained by themselves, and those that follow."""

    @settings(max_examples=60, deadline=None)
    @given(
        rows=st.integers(1, 5),
        columns=st.integers(1, 4),
        row_blocks=st.integers(1, 5),
        column_blocks=st.integers(1, 4),
        hidden=st.booleans(),
        pipelined=st.booleans(),
        loops=st.sampled_from(("mkn", "mnk", "kmn", "knm", "nkm", "nmk")),
        most=st.integers(1, 7),
        seed=seeds,
    )
    def test_every_tile_takes_the_cycles_of_a_clock(
        self, rows, columns, row_blocks, column_blocks, hidden, pipelined, loops, most, seed
    ):
        random = np.random.default_rng(seed)
        pieces = pieces_of(12, tile_k=7, most=most)
        of_pieces, of_tiles = ((2, count, rows, columns) for count in (len(pieces.sizes), 2))
        stages = Stages(
            decode=random.integers(0, 10, of_pieces),
            compute=random.integers(0, 10, of_pieces),
            output=random.integers(1, 25, of_tiles),
        )
        timing = Timing(hidden=hidden, pipelined=pipelined)
        found, fill = tile_cycles(
            stages, pieces, row_blocks=row_blocks, column_blocks=column_blocks, timing=timing, loops=loops
        )
        assert found.shape == (2, -(-rows // row_blocks), 2, -(-columns // column_blocks))
        extents, tiles = dict(zip("mkn", found.shape[1:], strict=True)), []
        for group, *place in itertools.product(range(2), *(range(extents[axis]) for axis in loops)):
            i, k, j = (place[loops.index(axis)] for axis in "mkn")
            tiles.append(
                [
                    in_blocks(stages, pieces, group, k, row, column)
                    for column in range(j * column_blocks, min(columns, (j + 1) * column_blocks))
                    for row in range(i * row_blocks, min(rows, (i + 1) * row_blocks))
                ]
            )
            if not pipelined:
                assert found[group, i, k, j] == watch(tiles[-1:], hidden=hidden)
        if pipelined:  # one after another, however unequal
            assert found.sum() + fill == watch(tiles, hidden=hidden)
        else:
            assert fill == 0  # each tile by itself

    def test_by_hand(self):
        # Two blocks of 2 and 5 cycles, decoded in 3 and 4, written in 1 and 6.
        stages = Stages(
            **{
                name: np.array(each).reshape(1, 1, 2, 1)
                for name, each in (("decode", [3, 4]), ("compute", [2, 5]), ("output", [1, 6]))
            }
        )

        def cycles(**timing):
            return int(tile_cycles(stages, ONE, row_blocks=2, column_blocks=1, timing=Timing(**timing))[0].item())

        assert cycles(pipelined=False) == 3 + max(2, 4) + max(5, 1) + 6 + 1
        assert cycles(pipelined=False) == int(tile_cycles(stages, ONE, row_blocks=2, column_blocks=1)[0].item())
        assert cycles(hidden=False, pipelined=False) == 3 + (max(2, 4) + 1) + (5 + 6) + 1
        # Pipelined, the first decoding and the last output are paid once, and there is one tile only.
        assert cycles() == max(2, 4) + max(5, 1)
        assert cycles(hidden=False) == (max(2, 4) + 1) + (5 + 6)

    def test_pieces_by_hand(self):
        """A block of two pieces and one after it: outputs have until the second piece ends, and a slot a clock."""
        pieces = pieces_of(4, tile_k=4, most=2)
        stages = Stages(
            decode=np.array([[3, 4], [2, 0]]).reshape(1, 2, 2, 1),
            compute=np.array([[6, 0], [1, 0]]).reshape(1, 2, 2, 1),
            output=np.array([5, 1]).reshape(1, 1, 2, 1),
        )
        found, fill = tile_cycles(stages, pieces, row_blocks=2, column_blocks=1, timing=Timing())
        first, second = max(6, 2) + max(1, 4), max(max(0, 0, 1) + max(0, 1), 5)
        assert (int(found.item()), fill) == (first + second, 3 + 1 + 1)
        (alone, _) = tile_cycles(stages, pieces, row_blocks=2, column_blocks=1)
        assert alone.item() == 3 + first + second + 1 + 1

    def test_a_first_block_without_anything_to_decode_takes_a_clock(self):
        stages = Stages(**{name: np.zeros((1, 1, 1, 1), np.int64) for name in ("decode", "compute", "output")})
        (found, fill) = tile_cycles(stages, ONE, row_blocks=1, column_blocks=1, timing=Timing())
        assert (found.item(), fill) == (1, 1 + 0 + 1)

    def test_an_unequal_last_tile_waits_for_the_outputs_before(self):
        """Tiles of 8 and 1 rows' worth, a block each: decoded in 2, 5 and 1 cycles of work, written in 9 and 1."""
        stages = Stages(
            **{
                name: np.array(each).reshape(1, 1, 2, 1)
                for name, each in (("decode", [2, 2]), ("compute", [5, 1]), ("output", [9, 1]))
            }
        )
        found, fill = tile_cycles(stages, ONE, row_blocks=1, column_blocks=1, timing=Timing())
        assert found.reshape(-1).tolist() == [max(5, 2), max(1, 9)]
        assert fill == 2 + 1 + 1  # and a clock between the last product and its sum

    @pytest.mark.parametrize("bits", [7, 10, 13])
    def test_sums_are_merged_in_their_lanes(self, bits):
        """64 x 64 outputs a block, each with 2, 3 or 4 slices of x by 2 of w; 16 mergers in each of 16 elements."""
        work = nothing_skipped(work_of(256, 16, 64, x_format=Integer(bits=bits)))
        machine, kinds = Sibia(dram="hbm2", objective="latency"), 2 * (bits - 1) // 3
        cost = machine.run(work)
        merges = next(each.count for each in cost.events if each.component == "mergers")
        assert merges == 256 * 64 * kinds
        assert merges <= 16 * 16 * cost.busy_cycles["array"]
        prices = machine.technology
        one_um2 = prices.price("shift_int32").area() + prices.price("add_int32").area()
        assert machine.area().components_um2["mergers"] == pytest.approx(16 * 16 * one_um2)
        # a kind of operators more, in as many elements
        assert Panacea().area().components_um2["mergers"] == pytest.approx(2 * 16 * 16 * one_um2)

    def test_a_list_that_does_not_fill_its_operators_takes_a_whole_step(self):
        """5 of k by 4 and by 12 operators: 2 steps and 1 for each vector of x and kind, not 5 / 4 and 5 / 12."""
        work = nothing_skipped(work_of(8, 5, 4))
        found = mapped(Panacea(), work, 8, 5, 4)
        assert found.products.pea_cycles.tolist() == [[[[2 * 3 * 2]]]]
        work = nothing_skipped(work_of(8, 5, 4, x_format=INT7))
        assert mapped(Sibia(), work, 8, 5, 4).products.pea_cycles.tolist() == [[[[2 * 4 * 1]]]]

    @pytest.mark.parametrize("rows", [128, 129, 191, 192])
    def test_outputs_are_written_in_their_lanes(self, rows):
        """16 of k are too few to hide 64 columns' outputs: rows x 64 on 32 lanes, however many are in the last tile."""
        work = nothing_skipped(work_of(rows, 16, 64, x_format=INT7))
        cost = Sibia(dram="hbm2", objective="latency").run(work)
        assert cost.compute_cycles >= rows * 64 / 32
        more = Sibia(dram="hbm2", objective="latency").run(nothing_skipped(work_of(rows + 1, 16, 64, x_format=INT7)))
        assert more.compute_cycles >= (rows + 1) * 64 / 32
        assert Timing(pipelined=False) == ALONE

    @pytest.mark.parametrize("hidden", [True, False])
    @pytest.mark.parametrize("machine", [Panacea, Sibia])
    def test_many_equal_tiles_take_what_a_clock_says(self, machine, hidden):
        # Without anything to skip, one column of blocks, k in tiles: the second and later ones read sums back.
        machine = machine(weight_loading="hidden" if hidden else "exposed")
        work = nothing_skipped(work_of(128, 384, 64, x_format=UINT8 if isinstance(machine, Panacea) else INT7))
        found = mapped(machine, work, 128, 64, 64)
        loads = held(found.blocks, found.slicing, found.products.skipping)
        stages = machine._stages(found.gemm, found.products.pea_cycles, found.x, found.w, loads, found.pieces)
        tiles = [[in_blocks(stages, found.pieces, 0, k, row, 0) for row in (0, 1)] for k in range(6)]
        decoding = -(-2 * 16 * 64 // 12)  # raw: a vector per cycle and stream, of two slices into 12 banks
        assert tiles[0][0][0][0][0] == decoding
        assert tiles[0][0][1] == 64 * 64 // 32
        assert tiles[1][0][1] == 2 * 64 * 64 // 32
        clock = watch(tiles, hidden=hidden)
        assert found.fill_cycles == decoding + (2 * 64 * 64 // 32 if hidden else 0) + 1
        # Computing is longest, so that nothing but the fill shows.
        assert int(found.tile_cycles.sum()) + found.fill_cycles == clock

    def test_ideals_never_cost_more(self):
        work = nothing_skipped(work_of(1, 64, 64))
        together, alone = (mapped(Panacea(fold_pipelining=each), work, 1, 64, 64) for each in (True, False))
        assert together.tile_cycles.size == 1
        cycles = [int(each.tile_cycles.sum()) + each.fill_cycles for each in (together, alone)]
        # 64 cycles of decoding, 64 x 3 / 4 of multiplying, 2 of output, 1 until the last sum is there.
        assert cycles[1] == 64 + 48 + 2 + 1
        assert cycles[0] <= cycles[1]


class TestUnderAMapping:
    """Cycles and bytes of a mapping, against a walk over its tiles."""

    @settings(max_examples=25, deadline=None)
    @given(st.data(), seeds)
    def test_costs_are_those_of_a_walk(self, data, seed):
        machine = Panacea(
            peas=2,
            tile_rows=4,
            ppu_lanes=3,
            weight_loading=data.draw(st.sampled_from(("hidden", "exposed"))),
            fold_pipelining=data.draw(st.booleans()),
            dram_bytes_per_cycle=data.draw(st.sampled_from((1, 16))),
            sram_bank_bits=data.draw(st.sampled_from((16, 128))),
            input_sram_kib=1,
            weight_sram_kib=1,
            output_sram_kib=1,
        )
        m, k, n = (data.draw(st.integers(1, 24)) for _ in range(3))
        groups = data.draw(st.integers(1, 2))
        work = work_of(m, k, n, groups=groups, seed=seed)
        tile = tuple(data.draw(st.sampled_from((8, 16))) for _ in range(3))  # whole blocks of 8 x 8
        tile = tuple(min(extent, size) for extent, size in zip((m, k, n), tile, strict=True))
        order = data.draw(st.sampled_from(("mkn", "nkm", "knm", "mnk")))
        mapping, job = mapping_of(machine, work, *tile, order), machine.job(work)
        found, counted = job.measured(mapping), machine.counted(work, mapping)
        cost = ran_as(machine, job, mapping).cost
        compute = found.tiles.compute
        assert np.array_equal(compute, counted.tile_cycles)
        # Sums are written and read: of every tile of k 4 bytes, but finished ones 1.
        sums = groups * m * n * -(-k // tile[1])
        assert found.sums == sums
        walked = walk_costs(
            gemm=job.gemm,
            tile=tile,
            order=order,
            buffers=(2, 2, 2),
            costs=found.tiles,
            dram_bytes_per_cycle=machine.dram_bandwidth,
            fill_cycles=found.fill_cycles,
        )
        traffic = cost.traffic_bytes
        assert traffic["dram_read"] == walked.x_read + walked.w_read + walked.psum_read
        assert traffic["dram_write"] == walked.y_write + walked.psum_write
        outputs = groups * m * n
        through = 4 * (sums - outputs) + outputs
        assert traffic["sram_output_read"] == through + walked.psum_write
        assert traffic["sram_output_write"] == through + walked.psum_read
        ports = {name: sram.bits_per_cycle for name, sram in srams_of(machine).items()}
        filled = (
            sum(int(found.x_fill[place]) * visits for place, visits in walked.x_visits.items()),
            sum(int(found.w_fill[place]) * visits for place, visits in walked.w_visits.items()),
        )
        banks = max(
            -(-8 * moved // ports[name])
            for name, moved in (
                ("sram_input", found.x_read_bytes + filled[0]),
                ("sram_weight", found.w_read_bytes + filled[1]),
                ("sram_output", 2 * through + walked.psum_read + walked.psum_write),
            )
        )
        assert cost.busy_cycles["banks"] == banks
        assert cost.compute_cycles == max(banks, int(compute.sum())) + found.fill_cycles
        if banks <= compute.sum():
            assert cost.cycles == walked.cycles
        else:
            assert cost.cycles >= walked.cycles

    @settings(max_examples=25, deadline=None)
    @given(st.data(), seeds)
    def test_srams_are_read_once_per_block_of_the_other_side(self, data, seed):
        machine = Panacea(peas=2, tile_rows=4)  # blocks of 8 rows and of 8 columns
        m, k, n = (data.draw(st.integers(1, 40)) for _ in range(3))
        work = work_of(m, k, n, seed=seed)
        counted, cost = measured(machine, work), machine.run(work)
        assert cost.traffic_bytes["sram_input_read"] == -(-n // 8) * int(counted.x.bits.sum()) / 8
        assert cost.traffic_bytes["sram_weight_read"] == -(-m // 8) * int(counted.w.bits.sum()) / 8

    def test_scales_move_beside_slices(self):
        work = work_of(64, 64, 64)
        scaled = dataclasses.replace(
            work,
            plan=dataclasses.replace(
                work.plan,
                x=dataclasses.replace(work.plan.x, granularity=PerToken(), scale=torch.ones(64, 1)),
                w=dataclasses.replace(work.plan.w, granularity=PerChannel(), scale=torch.ones(64)),
            ),
        )
        plain, with_scales = (Panacea().run(each) for each in (work, scaled))
        assert with_scales.unique_bytes - plain.unique_bytes == 2 * 64 * 4  # a float32 of every row and of every column
        assert {each.name: each.count for each in with_scales.events}["quantize at run time"] == 64 * 64


def with_masks(work, x, w):
    """The same work with other masks than its codes have."""
    work = dataclasses.replace(work)
    masks = VectorMasks(x=x, w=w)
    assert work.memo(MASKS, lambda: masks) is work.masks is masks
    return work


def nothing_skipped(work):
    return with_masks(work, torch.zeros_like(work.masks.x), torch.zeros_like(work.masks.w))


class TestLimits:
    @pytest.mark.parametrize("hidden", ["hidden", "exposed"])
    def test_without_anything_to_skip_the_search_estimates_what_is_measured(self, hidden):
        # One tile of k, because the estimate does not know of sums that are read back.
        work = nothing_skipped(work_of(128, 96, 128, shares=(0.0, 0.0)))
        for parameters in ({}, {"double_tile": False}, {"dynamic_work": "activation"}):
            machine = Panacea(weight_loading=hidden, **parameters)
            found = mapped(machine, work, 128, 96, 128)
            (dataflow,) = machine.job(work).dataflows
            m, k, n = (np.array([extent]) for extent in (128, 96, 128))
            assert found.tile_cycles.sum() == dataflow.cycles(m=m, k=k, n=n)[0]
            assert found.products.executed == dense_products(found.blocks, found.slicing)
            alone = Panacea(weight_loading=hidden, fold_pipelining=False, **parameters)
            (dataflow,) = alone.job(work).dataflows
            assert mapped(alone, work, 128, 96, 128).tile_cycles.sum() == dataflow.cycles(m=m, k=k, n=n)[0]
            accesses = dataflow.accesses(m=m, k=k, n=n)
            rows = 128 // machine.block_rows
            assert [int(each[0]) for each in (accesses.x, accesses.w, accesses.sums)] == [
                2 * 128 * 96,
                rows * 96 * 128,
                128 * 128,
            ]

    def test_independent_masks_execute_the_derived_share(self):
        # (2 - rho_w)(2 - rho_x) / 4 of the slice products, up to sampling
        work = work_of(512, 512, 256, shares=(0.8, 0.5))
        found = measured(Panacea(), work)
        rho_x, rho_w = work.masks.x_rate, work.masks.w_rate
        share = found.products.executed / dense_products(found.blocks, found.slicing)
        assert share == pytest.approx((2 - rho_w) * (2 - rho_x) / 4, abs=0.002)

    def test_one_sided_skipping_executes_the_derived_share(self):
        work = work_of(64, 512, 256, x_format=INT7, shares=(0.8, 0.5))
        found = measured(Sibia(), work)
        rho = max(work.masks.x_rate, work.masks.w_rate)
        assert found.products.executed / dense_products(found.blocks, found.slicing) == pytest.approx((2 - rho) / 2)

    def test_the_notes_balance_of_operators(self):
        # time by that of all dense low-order products on one operator: max(3 - 2 rw - 2 rx + rw rx) / D, 1 / S)
        def share(rho_w, rho_x, **parameters):
            work = work_of(64, 2048, 64, seed=3)
            generator = torch.Generator().manual_seed(5)
            x = torch.rand(work.masks.x.shape, generator=generator) < rho_x
            w = torch.rand(work.masks.w.shape, generator=generator) < rho_w
            # in one tile of k, whose lists are so long that their last steps hardly count
            found = mapped(Panacea(buffered_k=2048, **parameters), with_masks(work, x, w), 64, 2048, 64)
            return float(found.products.pea_cycles.sum(1).mean()) / (16 * 2048)

        assert share(0, 0) == pytest.approx(0.750, abs=1e-3)
        assert share(0.5, 0.95) == pytest.approx(0.144, abs=0.004)
        assert share(0, 0, dynamic_operators=8, static_operators=4) == pytest.approx(0.375, abs=1e-3)
        assert share(0.5, 0.8, dynamic_operators=8, static_operators=4) == pytest.approx(0.250, abs=1e-3)

    def test_equal_multipliers(self):
        assert Panacea().multipliers_4b == Sibia().multipliers_4b == 3072
        assert Panacea().peak_macs_per_cycle == 768

    def test_more_to_skip_never_costs_more(self):
        costs = [Panacea().run(work_of(64, 256, 64, shares=(share, share))) for share in (0.0, 0.5, 1.0)]
        for before, after in itertools.pairwise(costs):
            assert after.cycles <= before.cycles
            assert after.total_energy_pj < before.total_energy_pj
            assert after.traffic_bytes["dram_read"] < before.traffic_bytes["dram_read"]


class TestBuffers:
    """Slices in front of the operators: what is held, written and read, at the prices of SRAM banks."""

    @pytest.mark.parametrize(("k", "x_bytes", "w_bytes"), [(96, 512, 512), (768, 4096, 512), (4096, 21846, 1366)])
    def test_banks_hold_both_halves_of_every_element(self, k, x_bytes, w_bytes):
        """2 slices of k by 16 vectors of x, or 1 of w, of 2 bytes each, in 12 banks, twice, of 512 bytes at least."""
        machine = Panacea(buffered_k=k)
        prices, area = machine.technology, machine.area().components_um2
        for side, needed in (("x", x_bytes), ("w", w_bytes)):
            bank = prices.sram(capacity_bytes=needed, width_bits=16)
            assert area[f"{side}_slice_buffers"] == pytest.approx(16 * 2 * 12 * bank.area_um2)
        masks = 2 * k * (16 + 16)  # a bit of each vector of x and of w
        assert area["slice_masks"] == pytest.approx(masks * prices.price("register_bit").area())

    def test_a_small_product_by_hand(self):
        """8 rows by 5 by 4 columns: 2 vectors of x and 1 of w at each k, of 2 slices, by 4 kinds of products."""
        machine = Panacea()
        events = {(each.component, each.name): each for each in machine.run(nothing_skipped(work_of(8, 5, 4))).events}
        written = {side: events[f"{side}_slice_buffers", "write"] for side in "xw"}
        read = {side: events[f"{side}_slice_buffers", "read"] for side in "xw"}
        assert (written["x"].count, written["w"].count) == (2 * 5 * 2, 5 * 2)
        assert read["x"].count == read["w"].count == 2 * 5 * 4
        assert events["slice_masks", "write"].count == 5 * (2 + 1)
        assert events["accumulators", "write"].count == events["mergers", "merge"].count == 8 * 4 * 4
        prices = machine.technology
        bank = prices.sram(capacity_bytes=512, width_bits=16)
        wires = 16 * prices.price("wire_bit_mm").energy() * 0.75 * (24 * bank.area_um2) ** 0.5 / 1000
        for each, price_pj in ((written, bank.write_pj), (read, bank.read_pj)):
            for side in "xw":
                assert each[side].energy_pj == pytest.approx(each[side].count * (price_pj + wires))
        register = prices.price("register_bit").energy()
        assert events["accumulators", "write"].price_pj == pytest.approx(32 * register)

    def test_what_is_skipped_is_neither_written_nor_read(self):
        work = work_of(8, 5, 4)
        all_skipped = with_masks(work, torch.ones_like(work.masks.x), torch.ones_like(work.masks.w))
        counts = {(each.component, each.name): each.count for each in Panacea().run(all_skipped).events}
        assert counts["x_slice_buffers", "write"] == 2 * 5
        assert counts["w_slice_buffers", "write"] == 5
        assert counts["x_slice_buffers", "read"] == 2 * 5

    def test_every_element_with_columns_has_a_copy_of_x(self):
        """20 columns are 5 vectors of w, in elements of their own; 72 rows are two blocks, for which w comes twice."""
        work = nothing_skipped(work_of(72, 5, 20))
        counts = {(each.component, each.name): each.count for each in Panacea().run(work).events}
        assert counts["x_slice_buffers", "write"] == 5 * (72 // 4) * 5 * 2
        assert counts["w_slice_buffers", "write"] == 2 * 5 * 5 * 2

    def test_operands_of_more_slices_come_in_shorter_pieces(self):
        for bits, longest in ((7, 96), (10, 64), (13, 48)):
            found = mapped(Sibia(), work_of(8, 200, 4, x_format=Integer(bits=bits)), 8, 200, 4)
            assert found.pieces.sizes.max() <= longest
            assert len(found.pieces.sizes) == -(-200 // longest)

    def test_a_bank_that_is_too_slow_names_its_lever(self):
        with pytest.raises(InputError, match="lower buffered_k or clock_mhz"):
            Panacea(buffered_k=4096, clock_mhz=1500, sram_bank_kib=0.5, sram_bank_bits=32).area()

    def test_pieces_are_even_and_within_tiles(self):
        for k, tile_k, most in itertools.product(range(1, 14), range(1, 14), range(1, 7)):
            pieces = pieces_of(k, tile_k=tile_k, most=most)
            assert pieces.sizes.sum() == k
            for tile, start in enumerate(range(0, k, tile_k)):
                sizes = pieces.sizes[pieces.first[tile] : pieces.last[tile] + 1].tolist()
                tile_size = min(tile_k, k - start)
                assert pieces.starts[pieces.first[tile]] == start
                assert sum(sizes) == tile_size
                assert len(sizes) == -(-tile_size // most)
                assert set(sizes[:-1]) <= {max(sizes)}
                assert max(sizes) == -(-tile_size // len(sizes))


class TestMachines:
    @pytest.mark.parametrize(
        "machine",
        [
            Panacea,
            Sibia,
            Panacea(dynamic_work="activation", double_tile=False),
            Panacea(weight_loading="exposed"),
            Sibia(fold_pipelining=False),
        ],
    )
    def test_they_keep_the_promises_of_accelerators(self, machine):
        check_accelerator(machine)

    @pytest.mark.parametrize(
        ("machine", "x", "w", "said"),
        [
            (Panacea(), Integer(bits=8, signed=False), Integer(bits=8), "w is int8"),
            (Panacea(), Integer(bits=7), Integer(bits=7), "x is int7"),
            (Sibia(), UINT8, Integer(bits=7), "x is uint8"),
            (Sibia(), Integer(bits=7), Integer(bits=8), "w is int8"),
        ],
    )
    def test_plans_without_slices_are_refused_with_the_way_out(self, machine, x, w, said):
        plan = SitePlan(
            x=OperandPlan(format=x, granularity=PerTensor()), w=OperandPlan(format=w, granularity=PerTensor())
        )
        reason = machine.supports(plan)
        assert said in reason
        assert "use method" in reason
        assert "method" in machine.supports(FLOAT_SITE)
        good = work_of(4, 4, 4, x_format=INT7 if isinstance(machine, Sibia) else UINT8)
        assert machine.supports(good.plan) is None
        for rule in ("precision", "accumulation"):
            assert machine.supports(dataclasses.replace(good.plan, **{rule: OtherRule(name="unknown")}))
        with pytest.raises(InputError, match="shapes only"):
            machine.run(dataclasses.replace(good, x=None, w=None))

    @pytest.mark.parametrize("small", [{"output_sram_kib": 8}, {"input_sram_kib": 1}, {"weight_sram_kib": 1}])
    @pytest.mark.parametrize("machine", [Panacea, Sibia])
    def test_srams_that_hold_no_block_are_worked_with_or_refused(self, machine, small):
        # 64 x 64 sums of 4 bytes are 16 KiB, 64 x 64 inputs or weights 4 KiB.
        work = work_of(128, 64, 128, x_format=UINT8 if machine is Panacea else INT7)
        try:
            cost = machine(**small).run(work)
        except InputError:
            return
        assert cost.macs_dense == 128 * 64 * 128

    def test_second_accumulators_are_in_the_area_where_outputs_leave_behind_the_next_block(self):
        # 32 bits for every output of a block: Panacea's 2 x 32 rows, Sibia's 64, by 16 x 4 columns.
        for machine in (Panacea, Sibia):
            hidden, exposed = (machine(weight_loading=how).area() for how in ("hidden", "exposed"))
            bits = 64 * 64 * 32
            register_um2 = machine().technology.price("register_bit").area()
            assert hidden.components_um2["second_registers"] == pytest.approx(bits * register_um2)
            assert hidden.components_um2["accumulators"] == pytest.approx(bits * register_um2)
            assert "second_registers" not in exposed.components_um2
            assert hidden.total_um2 - exposed.total_um2 == pytest.approx(bits * register_um2)
        half = Panacea(double_tile=False).area()
        assert 2 * half.components_um2["second_registers"] == pytest.approx(bits * register_um2)

    def test_without_them_operators_wait_for_every_output(self):
        work = nothing_skipped(work_of(128, 384, 64))
        hidden, exposed = (
            int(mapped(Panacea(weight_loading=how), work, 128, 384, 64).tile_cycles.sum())
            for how in ("hidden", "exposed")
        )
        assert exposed - hidden == 2 * 64 * 64 // 32

    def test_explanations_add_up(self):
        work = work_of(70, 40, 70)
        told = Panacea().explain(work)
        kinds = [told[f"products_w_{a}_x_{b}"] for a in ("high", "low") for b in ("high", "low")]
        assert sum(kinds) == told["products_executed"]
        assert told["x_vectors_skipped"] == pytest.approx(work.masks.x.double().mean().item())
        assert 0 < told["operators_busy"] <= 1
        assert told["cycles"] == Panacea().run(work).cycles

    def test_bytes_are_those_of_the_coder(self):
        work = work_of(64, 64, 64)
        cost = Panacea().run(work)
        streams = np.sum([coded_bits(mask, 96) for mask in (work.masks.x[0], work.masks.w[0])])
        assert cost.traffic_bytes["dram_read"] == pytest.approx((streams + 2 * 4 * 64 * 64) / 8, abs=2)
