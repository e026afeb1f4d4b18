"""Circuits of BitFusion, Drift, DRQ and Eyeriss against this project's own integers: modes, decisions, cuts."""

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.accelerators.dynamic_precision import bit_group as arithmetic
from bitwright.accelerators.dynamic_precision import reference, scheduler
from bitwright.accelerators.precision_scalable.modes import fusing_mode
from bitwright.circuits import (
    BitGroup,
    CutScheduler,
    DrqElement,
    DrqMask,
    EyerissElement,
    FusionUnit,
    PrecisionDecider,
)
from bitwright.circuits.cut_scheduler import DIVIDE, FOLDS, INSERT, JUDGE, LOAD
from bitwright.circuits.equality import compare, random
from bitwright.circuits.precision_decider import DIVIDE as DIVIDE_SUM
from bitwright.circuits.precision_decider import GATHER, MEAN_STEPS, MEASURE
from bitwright.errors import InputError
from bitwright.formats import Integer, Quantized
from bitwright.methods.drift.conversion import Conversion, Narrowing, narrow_rows
from bitwright.methods.drq import regions

seeds = st.integers(0, 2**31 - 1)
WIDTHS = (2, 4, 8)


def require_rtl():
    for needed in ("amaranth", "pyosys"):
        pytest.importorskip(needed, reason=f"RTL needs {needed}: pip install 'bitwright[rtl]'")


def drawn(generator, bits, signed, shape):
    low = -(1 << (bits - 1)) if signed else 0
    return generator.integers(low, low + (1 << bits), shape)


def still(inputs, clocks=2):
    """The same inputs in every clock."""
    return {name: np.repeat(values[None], clocks, 0) for name, values in inputs.items()}


class TestFusionUnit:
    @pytest.mark.parametrize(("x_bits", "w_bits"), [*itertools.product(WIDTHS, WIDTHS)])
    @pytest.mark.parametrize("widest", [4, 8])
    def test_a_mode_adds_as_many_products_as_the_machine_counts(self, widest, x_bits, w_bits):
        """Element e of lane f of x meets element f of lane e of w; what lies elsewhere is not multiplied."""
        if max(x_bits, w_bits) > widest:
            return
        generator, unit = np.random.default_rng(x_bits + w_bits), FusionUnit(widest=widest)
        of_x, of_w, streams = widest // x_bits, widest // w_bits, 200
        pes = widest // 4  # of the machine `bitfusion` along each side
        mode = fusing_mode(rows=pes, cols=pes, x_bits=x_bits, w_bits=w_bits, pe_bits=4)
        assert of_x * of_w == mode.macs_per_cycle
        for signed in itertools.product((0, 1), repeat=2):
            lanes = {name: generator.integers(0, 1 << widest, (streams, unit.side)) for name in "xw"}
            x = drawn(generator, x_bits, signed[0], (streams, of_w, of_x))
            w = drawn(generator, w_bits, signed[1], (streams, of_x, of_w))
            for name, codes, bits in (("x", x, x_bits), ("w", w, w_bits)):
                patterns = (codes & ((1 << bits) - 1)) << bits * np.arange(codes.shape[2])
                lanes[name][:, : codes.shape[1]] = patterns.sum(2)
            inputs = {**lanes, "clear": np.ones(streams, int)}
            for name, bits, sign in (("x", x_bits, signed[0]), ("w", w_bits, signed[1])):
                inputs |= {f"{name}_width": np.full(streams, bits.bit_length() - 2)}
                inputs |= {f"{name}_signed": np.full(streams, sign)}
            found = unit.model(still(inputs))["sum"]
            assert found[1].tolist() == (x * w.transpose(0, 2, 1)).sum((1, 2)).tolist()

    def test_every_word_of_four_bricks_in_rtl(self):
        """2^20 words of operands, widths and signs."""
        require_rtl()
        unit, word = FusionUnit(widest=4, sum_bits=10), np.arange(1 << 20)
        inputs = {"clear": np.ones_like(word)}
        for at, name in enumerate("xw"):
            own = word >> 10 * at
            inputs[name] = np.stack([own & 15, own >> 4 & 15], 1)
            inputs |= {f"{name}_width": own >> 8 & 1, f"{name}_signed": own >> 9 & 1}
        found = compare(unit, still(inputs))
        assert (found.compared, found.wrong) == (2 << 20, 0), found.first

    def test_a_layer_in_the_widest_mode(self):
        x, w = np.array([[200], [3]]), np.array([[-128], [5]])
        fed = FusionUnit().feed(x, w, np.array([[1], [0]]))
        assert FusionUnit().model(still({name: each[0] for name, each in fed.items()}))["sum"][1] == 200 * -128
        with pytest.raises(InputError, match=r"codes of x are .* 200, and the fusion unit takes 4 bits"):
            FusionUnit(widest=4).feed(x, w, x)


def pattern(values, bits):
    """Elements side by side in a word."""
    return sum((value & ((1 << bits) - 1)) << bits * at for at, value in enumerate(values))


class TestBitGroup:
    @pytest.mark.parametrize(("x_bits", "w_bits"), [*itertools.product((8, 4), (8, 4))])
    @pytest.mark.parametrize(("x_signed", "w_signed"), [*itertools.product((0, 1), (0, 1))])
    @given(seeds)
    @settings(max_examples=10)
    def test_a_cycle_is_the_machines(self, x_bits, w_bits, x_signed, w_signed, seed):
        generator = np.random.default_rng(seed)
        by_k, by_n = arithmetic.per_port(x_bits), arithmetic.per_port(w_bits)
        x = drawn(generator, x_bits, x_signed, by_k).tolist()
        w = drawn(generator, w_bits, w_signed, (by_k, by_n)).tolist()
        carried = generator.integers(-(2**30), 2**30, 2)
        word = sum(pattern(row, w_bits) << 8 * at for at, row in enumerate(w))
        side = generator.integers(2, size=2)
        inputs = {
            "x_west": [0, 0, pattern(x, x_bits) * (1 - side[0]), 0],
            "x_east": [0, 0, pattern(x, x_bits) * side[0], 0],
            "from_east": [side[0]] * 4,
            "from_below": [side[1]] * 4,
            "begins": [0, 0, 0, 1],
            "w": [word, 0, 0, 0],
            "load": [1, 0, 0, 0],
            "take": [0, 0, 1, 0],
            **{f"x_{name}": [value] * 4 for name, value in (("narrow", x_bits == 4), ("signed", x_signed))},
            **{f"w_{name}": [value] * 4 for name, value in (("narrow", w_bits == 4), ("signed", w_signed))},
        }
        inputs = {name: np.array(values, np.int64)[:, None] for name, values in inputs.items()}
        for name, here in (("sum_above", not side[1]), ("sum_below", side[1])):
            inputs[name] = np.tile(carried * here, (4, 1, 1))
        found = BitGroup().model(inputs)
        added, used = arithmetic.cycle(x, w, x_bits=x_bits, w_bits=w_bits)
        assert used == arithmetic.MULTIPLIERS
        assert (found["sum"][3, 0] - carried).tolist() == [*added, *[0] * (2 - by_n)]
        assert found["x_out"][3, 0] == pattern(x, x_bits)

    def test_all_pairs_of_bytes_in_rtl(self):
        """Every x by every first byte of weights, in all modes and signs."""
        require_rtl()
        unit, pairs = BitGroup(cuts=False, sum_bits=20), np.arange(1 << 16)
        second, modes = np.random.default_rng(0).integers(0, 256, len(pairs)), np.arange(16)
        flags = ("x_narrow", "w_narrow", "x_signed", "w_signed")
        inputs = {
            "x": pairs & 255,
            "w": pairs >> 8 | second << 8,
            "sum_in": np.zeros((len(pairs), 2), np.int64),
            "load": np.ones_like(pairs),
            "take": np.ones_like(pairs),
        }
        inputs = {name: np.repeat(each[None], len(modes) + 3, 0) for name, each in inputs.items()}
        mode = np.concatenate([[0, 0], modes, [0]])[:, None] * np.ones_like(pairs)
        found = compare(unit, {**inputs, **{name: mode >> at & 1 for at, name in enumerate(flags)}})
        assert (found.compared, found.wrong) == (19 << 16, 0), found.first


def decided(unit, c, least, *, signed, affine):
    """What the decider says of sub-tensors c [streams, count]."""
    streams, count = c.shape
    phases = [GATHER] * count + [DIVIDE_SUM] * MEAN_STEPS + [MEASURE] * count + [0]
    phase = np.array(phases)[:, None] * np.ones(streams, np.int64)
    first = np.diff(phase, axis=0, prepend=0) != 0
    codes = np.zeros_like(phase)
    codes[:count], codes[count + MEAN_STEPS : -1] = c.T, c.T
    constants = {"count": count, "least": least, "is_signed": signed, "affine": affine}
    inputs = {name: np.full_like(phase, value) for name, value in constants.items()}
    return {
        name: each[-1] for name, each in unit.model({**inputs, "phase": phase, "first": first * 1, "c": codes}).items()
    }


class TestPrecisionDecider:
    def test_by_hand(self):
        """-40, 0, 0, 20: 60 takes 3 bits; the mean is -5, and |c + 5| are 35, 5, 5, 25, so 70: 2.1875 steps each."""
        for least, narrow in ((16 * 70 // 8, 1), (16 * 70 // 8 + 1, 0)):
            found = decided(PrecisionDecider(), np.array([[-40, 0, 0, 20]]), least, signed=1, affine=0)
            assert (found["narrow"][0], found["shift"][0], found["smallest"][0]) == (narrow, 3, -40)

    @given(
        seeds, st.sampled_from((1, 7, 32, 100)), st.sampled_from((0.0, 0.5, 0.7, 1.0, 1.3)), st.sampled_from(Conversion)
    )
    @settings(max_examples=15)
    def test_decisions_are_the_methods(self, seed, count, delta, conversion):
        generator, rows = np.random.default_rng(seed), 64
        signed, zero_point = bool(generator.integers(2)), 0
        if not signed:
            zero_point = int(generator.choice([0, 3, 128, 250]))
        fmt = Integer(bits=8, signed=signed)
        spread = generator.choice([1, 3, 10, 30, 80], (rows, 1))
        codes = np.rint(generator.laplace(generator.integers(-9, 9, (rows, 1)), spread, (rows, count)) + zero_point)
        codes = np.clip(codes, fmt.low, fmt.high).astype(np.int64)
        operand = Quantized(codes=torch.from_numpy(codes), format=fmt, scale=torch.ones(1), zero_point=zero_point)
        told = narrow_rows(operand, Narrowing(delta=delta, conversion=conversion)).shifts[:, 0].numpy()
        affine = conversion is Conversion.AFFINE
        found = decided(
            PrecisionDecider(),
            codes - zero_point,
            math.ceil(16 * delta * count),
            signed=int(not affine and (signed or zero_point > 0)),
            affine=int(affine),
        )
        assert np.where(found["narrow"] == 1, found["shift"], -1).tolist() == told.tolist()
        assert (found["smallest"] == (codes - zero_point).min(1)).all()

    def test_whole_sub_tensors_in_rtl(self):
        """Phases as they follow one another, where the generic streams have them at random."""
        require_rtl()
        unit, generator, shape = PrecisionDecider(), np.random.default_rng(0), (230, 64)
        inputs = {**random(unit, cases=shape[0] * shape[1], clocks=shape[0]), **unit.controls(*shape)}
        inputs["c"] = np.clip(np.rint(generator.laplace(0, generator.choice([2, 9, 40], shape[1]), shape)), -256, 255)
        inputs["c"] = inputs["c"].astype(np.int64)
        inputs["affine"] = generator.integers(2, size=shape[1]) * np.ones(shape, np.int64)
        found = unit.model(inputs)
        assert 0.1 < found["narrow"].mean() < 0.9
        assert compare(unit, inputs).wrong == 0


@functools.cache
def clocks_of_a_candidate(size_bits):
    part = [LOAD, *[DIVIDE] * size_bits, FOLDS, INSERT]
    return [*part * 4, JUDGE]


def judged(unit, form, size, product, lines):
    """The best four latencies of an array's cuts, after each of them."""
    phases = clocks_of_a_candidate(unit.size_bits)
    columns = {name: [] for name in ("phase", "first", "along", "across", "length", "rows", "cols")}
    columns |= {"rows_pair": [], "cols_pair": []}
    for at, (row, col) in enumerate(lines):
        parts = [
            (m, n, r, c, x_pair, w_pair)
            for m, r, x_pair in ((product.m_wide, row, 0), (product.m_narrow, size[0] - row, 1))
            for n, c, w_pair in ((product.n_wide, col, 0), (product.n_narrow, size[1] - col, 1))
        ]
        for clock, phase in enumerate(phases):
            part = min(3, clock // (unit.size_bits + 3))
            m, n, r, c, x_pair, w_pair = parts[part]
            along, length = (product.k, m) if form == "ws-double" else (m, product.k)
            first = at == 0 if phase == JUDGE else part == 0
            values = (phase, first, along, n, length, r, c, x_pair, w_pair)
            for name, value in zip(columns, values, strict=True):
                columns[name].append(value)
    for values in columns.values():
        values.append(0)
    found = unit.model({name: np.array(values, np.int64)[:, None] for name, values in columns.items()})
    return found["cycles"][len(phases) :: len(phases), 0].tolist()


class TestCutScheduler:
    @given(seeds, st.sampled_from(("ws-double", "os-double")))
    @settings(max_examples=10)
    def test_greedy_steps_keep_what_the_scheduler_keeps(self, seed, form):
        """From its start to its cuts and back: the best of all that are tried is never lost."""
        generator, size = np.random.default_rng(seed), (24, 32)
        sizes = [int(generator.choice([0, *generator.integers(1, 2000, 3)])) for _ in range(4)]
        product = reference.Product(*sizes, k=int(generator.integers(1, 3000)))
        line, _ = reference.greedy(form, size, product)
        start = tuple(
            reference.first_line(*axis)
            for axis in (
                (size[0], product.m_wide, product.m_narrow),
                (size[1], product.n_wide, product.n_narrow),
            )
        )
        lines = [start, line, *((int(r), int(c)) for r, c in generator.integers(0, (25, 33), (3, 2))), line]
        ranks = [sorted(reference.latencies(form, size, product, each), reverse=True) for each in lines]
        never = (1 << 48) - 1
        told = [[never if each == math.inf else each for each in min(ranks[: at + 1])] for at in range(len(lines))]
        assert judged(CutScheduler(), form, size, product, lines) == told
        arrays = [np.array([each]) for each in product[:5]]
        names = ("m_wide", "m_narrow", "n_wide", "n_narrow", "k")
        cuts = scheduler.schedule(form, rows=size[0], cols=size[1], **dict(zip(names, arrays, strict=True)))
        if all(part < never for part in told[1]):
            assert sorted(cuts.cycles[0].tolist(), reverse=True) == ranks[1]

    def test_candidates_in_rtl(self):
        require_rtl()
        unit, shape = CutScheduler(), (800, 64)
        inputs = {**random(unit, cases=shape[0] * shape[1], clocks=shape[0]), **unit.controls(*shape)}
        assert len(np.unique(unit.model(inputs)["cycles"])) > 200
        assert compare(unit, inputs).wrong == 0


class TestDrq:
    def test_all_products_by_digits_and_narrow(self):
        """Wide by wide in four steps; narrow by narrow in one: the method's codes."""
        codes = torch.arange(-128, 128)
        operand = Quantized(codes=codes, format=Integer(bits=8), scale=torch.ones(1))
        told = regions.dropped(operand).numpy()
        x, w = (each.ravel() for each in np.meshgrid(codes.numpy(), codes.numpy()))
        narrow = dict(zip(codes.tolist(), (told // 16).tolist(), strict=True))
        of_x = np.array([narrow[each] for each in x.tolist()])
        clocks = 7
        put = {name: np.zeros((clocks, len(x)), np.int64) for name in ("narrow", "x_high", "w_high", "first", "load")}
        put["load"][0] = 1
        for clock, (x_high, w_high) in enumerate(itertools.product((0, 1), repeat=2), start=1):
            put["x_high"][clock], put["w_high"][clock], put["first"][clock] = x_high, w_high, clock == 1
        put["narrow"][5:], put["first"][5:] = 1, 1
        words = np.repeat((x & 255)[None], clocks, 0)
        words[5:] = of_x & 15
        inputs = {
            **put,
            "x": words,
            "w": np.repeat(w[None], clocks, 0),
            "x_signed": np.ones_like(words),
            "passes": np.zeros_like(words),
            "sum_in": np.full_like(words, 1000),
        }
        found = DrqElement().model(inputs)["sum"]
        assert (found[5] == 1000 + x * w).all()
        assert (found[6] == 1000 + told[x + 128] * told[w + 128]).all()
        require_rtl()
        agreement = compare(DrqElement(), inputs)
        assert (agreement.compared, agreement.wrong) == (clocks << 16, 0), agreement.first

    def test_unsigned_x(self):
        """253 by -7, digit by digit."""
        steps = [[0, 0], [1, 0], [0, 1], [1, 1], [0, 0]]
        inputs = {"x": 253, "x_signed": 0, "narrow": 0, "passes": 0, "w": -7, "load": 1, "sum_in": 0}
        inputs = {name: np.full((6, 1), value) for name, value in inputs.items()}
        inputs |= {
            name: np.array([0, *(s[at] for s in steps)])[:, None] for at, name in enumerate(("x_high", "w_high"))
        }
        inputs["first"] = np.array([0, 1, 0, 0, 0, 0])[:, None]
        assert DrqElement().model(inputs)["sum"][5].tolist() == [253 * -7]

    @given(seeds, st.sampled_from((1, 9, 16, 64)), st.floats(0, 40))
    @settings(max_examples=40)
    def test_masks_and_codes_are_the_methods(self, seed, count, threshold):
        generator = np.random.default_rng(seed)
        signed = bool(generator.integers(2))
        zero_point = 0 if signed else int(generator.choice([0, 40, 200]))
        fmt = Integer(bits=8, signed=signed)
        codes = generator.laplace(zero_point, generator.choice([2, 20, 60], (64, 1)), (64, count)).round()
        codes = np.clip(codes, fmt.low, fmt.high).astype(np.int64)
        threshold = float(np.float32(threshold))
        operand = Quantized(codes=torch.from_numpy(codes), format=fmt, scale=torch.ones(1), zero_point=zero_point)
        told = regions.narrow_rows(operand, threshold, count)
        low, high = (-7, 7) if signed or zero_point else (0, 15)
        low, high = max(low, -((zero_point - fmt.low) // 16)), min(high, (fmt.high - zero_point) // 16)
        c = codes.T - zero_point
        clocks = np.arange(2 * count)[:, None] * np.ones(64, np.int64)
        least = math.ceil(np.float32(threshold) * np.float32(count))
        constants = {"least": least, "low": low, "high": high}
        found = DrqMask().model(
            {
                "c": np.concatenate([c, c]),
                "first": (clocks == 0) * 1,
                "gather": (clocks < count) * 1,
                **{name: np.full_like(clocks, value) for name, value in constants.items()},
            }
        )
        mask = found["narrow"][count] == 1
        assert mask.tolist() == (told.shifts[:, 0] >= 0).tolist()
        made = np.where(mask, found["code"][count:] * 16, c).T + zero_point
        assert made.tolist() == told.codes.tolist()

    def test_every_code_and_its_limits_in_rtl(self):
        require_rtl()
        word = np.arange(1 << 17)
        inputs = {"c": (word & 511) - 256, "low": (word >> 9 & 15) - 8, "high": word >> 13}
        inputs |= {name: np.ones_like(word) for name in ("first", "gather", "least")}
        assert compare(DrqMask(), still(inputs)).wrong == 0


def test_a_row_of_a_filter_slides_over_pixels():
    """Eyeriss' primitive: each sum of a row is a window's, on top of what the element below has."""
    generator, taps, pixels = np.random.default_rng(0), 3, 10
    x, w = generator.integers(-(2**15), 2**15, pixels), generator.integers(-(2**15), 2**15, taps)
    below = generator.integers(-(2**20), 2**20, pixels - taps + 1)
    rows = [
        {
            "x": x[at],
            "x_write": at < pixels,
            "x_to": at % 12,
            "w": w[at % taps],
            "w_write": at < taps,
            "w_to": at % taps,
        }
        for at in range(pixels)
    ]
    rows += [
        {"x_at": at + tap, "w_at": tap, "sum_at": at, "sum_write": 1, "enters": tap == 0, "sum_in": below[at]}
        for at in range(pixels - taps + 1)
        for tap in range(taps)
    ]
    ports = EyerissElement().ports().inputs
    inputs = {port.name: np.array([row.get(port.name, 0) for row in rows], np.int64)[:, None] for port in ports}
    found = EyerissElement().model(inputs)["sum"][pixels + taps - 1 :: taps, 0]
    assert found.tolist() == (np.correlate(x, w, "valid") + below).tolist()
