"""Small arrays in RTL with their control: tiles of real layers, bit for bit, in as many clocks as dataflows say.

`layers.npz` holds tiles of MiniLM's `encoder.layer.3.intermediate.dense`, calibrated on 4 sentences, as several methods
have them: rows of x, columns of w, and what belongs to them; as `dbs` EfficientNet-Lite0's `_conv_head`, which `aqs`
cuts at 6 on 4 pictures, where most activation vectors are skipped.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from bitwright.accelerators.bill import Use
from bitwright.accelerators.bit_slice import Panacea
from bitwright.accelerators.bit_slice.buffers import moved
from bitwright.accelerators.dynamic_precision.latency import fill_cycles, part_cycles
from bitwright.accelerators.partial_sums.dataflow import InnerProducts
from bitwright.accelerators.systolic import dataflow, register_level
from bitwright.accelerators.systolic.dataflow import Timing
from bitwright.circuits.arrays import (
    CutArray,
    InnerProductArray,
    OutputStationaryArray,
    Schedule,
    SliceArray,
    WeightStationaryArray,
)
from bitwright.formats import Integer, PerTensor, Quantized, SlicedUnsigned
from bitwright.methods.apsq.reference import reference_sums
from bitwright.methods.apsq.rule import Kind, PartialSums, Phase
from bitwright.methods.drift.conversion import Narrowing, narrow_rows
from bitwright.methods.execution import Execution
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.networks.sites import Site

pytest.importorskip("amaranth", reason="RTL needs amaranth: pip install 'bitwright[rtl]'")

MAC = Use(component="mac", name="mac_int8", unit="operation", price_pj=1.0, source="of no account")
SIZE = {"rows": 4, "cols": 4}
IDEALS = [(hidden, pipelined) for hidden in (False, True) for pipelined in (False, True)]
SHAPES = [(16, 21, 10), (3, 10, 6)]
"""Rows, reductions and columns: longer streams than an array has rows, and shorter ones; edges that do not fill it."""


@pytest.fixture(scope="module")
def layers():
    with np.load(Path(__file__).parent / "layers.npz", allow_pickle=False) as file:
        return {name: file[name].astype(np.int64) for name in file.files}


def closed(flow, m, k, n):
    return flow.fill_cycles + int(flow.cycles(m=np.array([m]), k=np.array([k]), n=np.array([n]))[0])


class TestSystolic:
    """Exact W8A8: unsigned codes of x with a zero point, whose share is a constant of each column."""

    @pytest.mark.parametrize(("m", "k", "n"), SHAPES)
    @pytest.mark.parametrize(("hidden", "pipelined"), IDEALS)
    def test_weights_rest(self, layers, hidden, pipelined, m, k, n):
        x, w = layers["int8_x"][:m, :k], layers["int8_w"][:k, :n]
        ideals = {"hidden": hidden, "pipelined": pipelined}
        ran = WeightStationaryArray(**SIZE, **ideals, x_signed=x.min() < 0).run(x, w)
        assert ran.product.tolist() == (x @ w).tolist()
        assert ran.cycles == register_level.weight_stationary(x=x, w=w, **SIZE, **ideals).cycles
        flow = dataflow.WeightStationary(**SIZE, product=MAC, timing=Timing(**ideals))
        unused = max(0, 4 - m) if hidden and pipelined else 0  # behind the last fold, no weights are loaded
        assert closed(flow, m, k, n) == ran.cycles + unused

    @pytest.mark.parametrize(("m", "k", "n"), [(10, 21, 9), (6, 3, 10)])
    @pytest.mark.parametrize("pipelined", [False, True])
    def test_sums_rest(self, layers, pipelined, m, k, n):
        x, w = layers["int8_x"][:m, :k], layers["int8_w"][:k, :n]
        ran = OutputStationaryArray(**SIZE, pipelined=pipelined, x_signed=x.min() < 0).run(x, w)
        assert ran.product.tolist() == (x @ w).tolist()
        told = register_level.output_stationary(x=x, w=w, **SIZE, pipelined=pipelined)
        assert (ran.cycles, ran.product_cycles) == (told.cycles, told.product_cycles)
        flow = dataflow.OutputStationary(**SIZE, product=MAC, timing=Timing(pipelined=pipelined))
        # SCALE-Sim does not count how the last sums leave
        assert closed(flow, m, k, n) == (ran.cycles if pipelined else ran.product_cycles)


TILE = 4
"""Products of a partial sum."""


def apsq_rule(x, w, *, group_size, phase):
    """Exponents that just hold the largest sums of a tile, and of all tiles so far."""
    tiles = [x[:, at : at + TILE] @ w[at : at + TILE] for at in range(0, len(w), TILE)]
    running = np.cumsum(tiles, axis=0)

    def scales(sums):
        largest = [max(128, int(np.abs(each).max())) for each in sums]
        return torch.tensor([2.0 ** (each - 1).bit_length() / 128 for each in largest])

    return PartialSums(
        kind=Kind.APSQ,
        tile=TILE,
        bits=8,
        group_size=group_size,
        phase=phase,
        tile_scales=scales(tiles),
        sum_scales=scales(running),
    )


class TestPartialSums:
    """APSQ: codes are centred on their zero point by a constant per tile and column."""

    @pytest.mark.parametrize("rests", ["ws", "is"])
    @pytest.mark.parametrize(
        ("hidden", "pipelined", "group_size", "phase"),
        [
            (True, True, 1, Phase.HEAD),
            (False, True, 2, Phase.TAIL),
            (True, False, 3, Phase.HEAD),
            (False, False, 4, Phase.TAIL),
        ],
    )
    def test_sums_and_cycles(self, layers, rests, hidden, pipelined, group_size, phase):
        m, k, n = 5, 20, 5
        zero_point = int(layers["int8_zero_point"])
        x, w = layers["int8_x"][:m, :k], layers["int8_w"][:k, :n]
        rule = apsq_rule(x - zero_point, w, group_size=group_size, phase=phase)
        tiles = rule.tiles(k)
        exponents = [int(scale).bit_length() - 1 for scale in rule.scales(tiles)]
        constants = -zero_point * w.reshape(tiles, TILE, n).sum(1)
        array = InnerProductArray(
            rests=rests, po=2, pci=TILE, pco=2, hidden=hidden, pipelined=pipelined, x_signed=x.min() < 0
        )
        head = phase is Phase.HEAD
        schedule = Schedule(exponents=exponents, group_size=group_size, head=head, constants=constants)
        ran = array.run(x, w, schedule)
        assert min(exponents) > 0
        assert ran.product.tolist() == reference_sums((x - zero_point).tolist(), w.T.tolist(), rule)
        flow = InnerProducts(
            rests=rests,
            po=2,
            pci=TILE,
            pco=2,
            depth=array.depth - 1,
            timing=Timing(hidden=hidden, pipelined=pipelined),
            sum_bits=8,
            product=MAC,
            exchange=MAC,
        )
        assert closed(flow, m, k, n) == ran.cycles


class TestCuts:
    """Drift: a block of the reduction, whose rows and columns the method makes narrow."""

    def test_four_classes_at_once(self, layers):
        m, k, n = 22, 13, 12
        operands = []
        for codes, zero_point, delta in (
            (layers["int8_x"][:m, :k], int(layers["int8_zero_point"]), 2.4),
            (layers["int8_w"][:k, :n].T, 0, 2.0),
        ):
            centred = torch.from_numpy(np.clip(codes - zero_point, -128, 127))
            operand = Quantized(codes=centred, format=Integer(bits=8), scale=torch.ones(1))
            operands.append(narrow_rows(operand, Narrowing(delta=delta)))
        x, w = (operand.codes.numpy().astype(np.int64) for operand in operands)
        x_shifts, w_shifts = (operand.shifts[:, 0].numpy().astype(np.int64) for operand in operands)
        ran = CutArray(rows=4, cols=4, row_line=2, col_line=2).run(x, w.T, x_shifts, w_shifts)
        assert ran.product.tolist() == (x @ w.T).tolist()
        for spent, (narrow_x, narrow_w) in zip(ran.cycles, [(0, 0), (0, 1), (1, 0), (1, 1)], strict=True):
            sizes = {"m": ((x_shifts >= 0) == narrow_x).sum(), "k": k, "n": ((w_shifts >= 0) == narrow_w).sum()}
            assert sizes["m"] >= 2  # a stream as long as a part has rows: nothing waits behind the last fold
            assert sizes["n"] > 0
            sizes |= {"rows": 2, "cols": 2}
            told = part_cycles(
                "ws-double",
                **{name: np.array([size]) for name, size in sizes.items()},
                fx=1 + narrow_x,
                fw=1 + narrow_w,
            )
            assert spent == told[0] + fill_cycles("ws-double", 2, 2)


def sliced(x, w, *, split, zero_point):
    """A product as Panacea's machine gets it."""
    (m, k), n = x.shape, w.shape[1]
    of_x, of_w = SlicedUnsigned(split=split), Integer(bits=7)
    one = torch.ones(())
    return Execution(
        site=Site(name="s", op="linear", m=m, k=k, n=n, groups=1, x_elements=m * k, w_elements=k * n),
        plan=SitePlan(
            x=OperandPlan(format=of_x, granularity=PerTensor(), scale=one, zero_point=zero_point),
            w=OperandPlan(format=of_w, granularity=PerTensor(), scale=one),
        ),
        x=Quantized(codes=torch.from_numpy(x.astype(np.uint8)), format=of_x, scale=one, zero_point=zero_point),
        w=Quantized(codes=torch.from_numpy(w.T.astype(np.int8).copy()), format=of_w, scale=one),
    )


class TestSlices:
    """Panacea: the exact product without its zero point, however much is skipped, in the machine's cycles."""

    @pytest.mark.parametrize(
        ("tile", "hidden", "loops", "piece_k", "skips"),
        [
            ("dbs", True, "mkn", 3, 0.5),  # few products of high order: static operators are the slower ones
            ("aqs", True, "kmn", 8, 0.0),  # a piece is a whole tile of k
            ("aqs", False, "nkm", 6, 0.0),  # hardly anything is skipped: tiles are stored raw
        ],
    )
    def test_sums_cycles_and_buffers(self, layers, tile, hidden, loops, piece_k, skips):
        m, k, n = 10, 12, 10
        x, w = layers[f"{tile}_x"][:m, :k], layers[f"{tile}_w"][:k, :n]
        split, zero_point = int(layers.get(f"{tile}_split", 4)), int(layers[f"{tile}_zero_point"])
        size = {"peas": 2, "vectors": 2, "lanes": 3, "dynamic": 2, "static": 3}
        array = SliceArray(**size, tile=(8, 8, 8), piece_k=piece_k, loops=loops, hidden=hidden)
        ran = array.run(x, w, split=split, zero_point=zero_point)
        assert ran.product.tolist() == ((x - zero_point) @ w).tolist()
        machine = Panacea(
            peas=2,
            dynamic_operators=2,
            static_operators=3,
            tile_rows=8,
            double_tile=False,
            ppu_lanes=3,
            buffered_k=piece_k,
            weight_loading="hidden" if hidden else "exposed",
        )
        work = sliced(x, w, split=split, zero_point=zero_point)
        mapping = dataclasses.replace(
            machine.ran(work).mapping,
            tile_m=8,
            tile_k=8,
            tile_n=8,
            order=loops,
            input_buffers=2,
            weight_buffers=2,
            output_buffers=2,
        )
        told = machine.counted(work, mapping)
        assert told.masks.x_rate >= skips
        assert told.compensates
        assert int(told.tile_cycles.sum()) + told.fill_cycles == ran.cycles
        words = moved(told.blocks, told.slicing, told.products, column_blocks=2)
        assert ran.read == {"x": words.x_read, "w": words.w_read}
        assert ran.written == {"x": words.x_written, "w": words.w_written}

    def test_a_first_block_without_anything_to_decode_takes_its_loads(self):
        """All vectors of high order are skipped: no entries, 2 x 3 and 3 vectors of low order into 2 banks."""
        x, w = np.full((8, 3), 100), np.full((3, 4), 5)
        size = {"peas": 1, "dynamic": 1, "static": 1}
        array = SliceArray(**size, vectors=2, lanes=4, tile=(8, 3, 4), piece_k=8)
        ran = array.run(x, w, split=4, zero_point=104)
        assert ran.product.tolist() == ((x - 104) @ w).tolist()
        machine = Panacea(
            peas=1, dynamic_operators=1, static_operators=1, tile_rows=8, double_tile=False, ppu_lanes=4, buffered_k=8
        )
        work = sliced(x, w, split=4, zero_point=104)
        told = machine.counted(work, machine.ran(work).mapping)
        assert told.fill_cycles == 3 + 8 + 1  # loads, 32 outputs in 4 lanes, and a clock until the last sum is there
        assert int(told.tile_cycles.sum()) + told.fill_cycles == ran.cycles == 3 + 2 * 3 + 8 + 1
