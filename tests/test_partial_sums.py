"""Quantized partial sums: kernels and torch's loop against Python's integers, schedules, rules, and what is refused."""

import dataclasses
import json
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.errors import InputError
from bitwright.formats import Rounding, Saturation
from bitwright.methods.apsq import vnni
from bitwright.methods.apsq.reference import quantize, reference_sums
from bitwright.methods.apsq.rule import Kind, PartialSums, Phase
from bitwright.methods.apsq.sums import fast_sums, sums
from bitwright.methods.executor import Executor
from bitwright.methods.plan import Plan, SitePlan, same_plan
from bitwright.methods.plan_file import plan_from, plan_record
from bitwright.methods.products import reference_product
from bitwright.methods.protocol import compose
from toys import (
    batched_product,
    columns_of,
    conv_product,
    from_rows,
    generator,
    im2col,
    linear_view,
    network_of,
    normal,
    quantized,
    random_codes,
)

SHAPES = st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(1, 11))


def scales_of(exponents):
    return torch.tensor([2.0**e for e in exponents])


def rule_of(kind="apsq", *, tile=8, tiles=8, seed=0, top=7, **others):
    """A rule with random shifts below `top`."""
    if kind == "block":
        return PartialSums(kind=Kind.BLOCK, tile=tile, **others)
    shifts = torch.randint(0, top, (2, tiles), generator=generator(seed)).tolist()
    return PartialSums(
        kind=Kind(kind), tile=tile, tile_scales=scales_of(shifts[0]), sum_scales=scales_of(shifts[1]), **others
    )


def operands(m, k, n, *, seed=0, bits=8, zero_point=0, signed=True):
    x = quantized(None, bits=bits, signed=signed, zero_point=zero_point)
    x = quantized(random_codes(x.format, (m, k), seed), bits=bits, signed=signed, zero_point=zero_point)
    w = quantized(None, bits=8)
    return x, quantized(random_codes(w.format, (n, k), seed + 1), bits=8)


def expected(x, w, rule):
    centred = (x.codes.to(torch.int64) - x.zero_point).tolist()
    offsets = None if rule.centres is None else (rule.centres - x.zero_point).tolist()
    return torch.tensor(reference_sums(centred, w.codes.to(torch.int64).tolist(), rule, offsets))


def without_bytes():
    """As on processors that do not multiply bytes."""
    return mock.patch.object(vnni, "available", return_value=False)


def both(view, x, w, rule):
    """Sums by the kernel that this machine takes and by the one that carries integers in floats."""
    with without_bytes():
        floats = sums(view, x, w, rule)
    assert floats.is_floating_point() or rule.tiles(view.k) == 1 or view.depthwise  # which no matrix is made of
    return sums(view, x, w, rule), floats


@st.composite
def rules(draw):
    kind = draw(st.sampled_from(["apsq", "psq", "block"]))
    others = {
        "bits": draw(st.sampled_from([4, 6, 8, 16, 32])),
        "rounding": draw(st.sampled_from([Rounding.HALF_UP, Rounding.FLOOR])),
        "saturation": draw(st.sampled_from([Saturation.CLIP, Saturation.CLIP, Saturation.WRAP])),
    }
    if kind == "apsq":
        others |= {"group_size": draw(st.integers(1, 5)), "phase": draw(st.sampled_from(list(Phase)))}
    if kind == "block":
        others |= {"block": draw(st.integers(1, 6)), "saturation": Saturation.CLIP}
    top = 1 if others["bits"] == 32 else 8
    tile = draw(st.sampled_from([1, 3, 8, 12, 16]))
    return rule_of(kind, tile=tile, tiles=draw(st.integers(1, 40)), seed=draw(st.integers(0, 99)), top=top, **others)


class TestTwins:
    @settings(max_examples=150, deadline=None)
    @given(SHAPES, rules(), st.integers(0, 99), st.sampled_from([(True, 0), (False, 0), (False, 131), (False, 255)]))
    def test_linear(self, shape, rule, seed, kind):
        """Centred on the zero point, or on any code of each channel."""
        signed, zero_point = kind
        x, w = operands(*shape, seed=seed, signed=signed, zero_point=zero_point)
        if seed % 2:
            rule = dataclasses.replace(rule, centres=random_codes(x.format, (shape[1],), seed).int())
        view = linear_view(x.codes.float(), w.codes.float())
        right = expected(x, w, rule)
        for found in both(view, x, w, rule):
            assert torch.equal(found.to(torch.int64), right)
        assert torch.equal(fast_sums(view, x, w, rule).to(torch.int64), right)

    @settings(max_examples=30, deadline=None)
    @given(rules(), st.integers(0, 99))
    def test_attention(self, rule, seed):
        x = quantized(random_codes(quantized(None, bits=8).format, (2, 3, 5, 9), seed), bits=8)
        w = quantized(random_codes(quantized(None, bits=8).format, (2, 3, 9, 4), seed + 1), bits=8)
        for found in both(*batched_product(x, w), rule):
            for i in range(2):
                for j in range(3):
                    head = quantized(x.codes[i, j], bits=8), quantized(w.codes[i, j].t(), bits=8)
                    assert torch.equal(found[i, j].to(torch.int64), expected(*head, rule))

    @pytest.mark.parametrize("spatial", [1, 2, 3])
    @settings(max_examples=30, deadline=None)
    @given(rules(), st.sampled_from([1, 2, 4]), st.integers(0, 99), st.sampled_from([1, 2]))
    def test_convolutions(self, spatial, rule, groups, seed, stride):
        """Groups of 4 channels: plain, grouped, depthwise; padding is the zero point, whatever they are centred on."""
        size, kernel = ((7,), (5, 6), (3, 2, 4))[spatial - 1], ((5,), (3, 2), (2, 1, 3))[spatial - 1]
        geometry = {"padding": (1,) * spatial, "stride": (stride, 1, 1)[:spatial], "dilation": (1,) * spatial}
        x = quantized(None, bits=8, signed=False)
        x = quantized(random_codes(x.format, (2, 4, *size), seed), bits=8, signed=False, zero_point=77)
        filters = 4 if groups == 4 else 6
        w = quantized(random_codes(quantized(None, bits=8).format, (filters, 4 // groups, *kernel), seed), bits=8)
        if seed % 2:
            rule = dataclasses.replace(rule, centres=random_codes(x.format, (4,), seed).int())
        view, *laid_out = conv_product(x, w, groups=groups, **geometry)
        found, floats = both(view, *laid_out, rule)
        assert torch.equal(found.double(), floats.double())
        taps, right = w.codes[0, 0].numel(), []
        rows = im2col(x.codes, kernel, groups=groups, **geometry, value=77)
        for group, columns in enumerate(columns_of(w.codes, groups)):
            part = quantized(rows[group], bits=8, signed=False, zero_point=77), quantized(columns, bits=8)
            middle = None if rule.centres is None else rule.centres.chunk(groups)[group].repeat(taps)
            right.append(expected(*part, dataclasses.replace(rule, centres=middle)))
        assert torch.equal(view.result(found).long(), from_rows(torch.stack(right), 2, view.output_size))

    def test_reduced_precision_outside_does_not_reach_in(self):
        """Loops in torch multiply integers, whatever autocast says."""
        rule = rule_of(saturation=Saturation.WRAP, bits=16)
        x, w = operands(40, 64, 24)
        view = linear_view(x.codes.float(), w.codes.float())
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(sums(view, x, w, rule).long(), expected(x, w, rule))

    def test_blocks_of_a_very_long_reduction(self):
        x, w = operands(1, 5400, 2)
        rule = PartialSums(kind=Kind.BLOCK, tile=1, bits=4)
        assert sums(linear_view(x.codes.float(), w.codes.float()), x, w, rule).dtype == torch.float64

    def test_wide_outputs_cross_the_kernel_blocks(self):
        rule = rule_of(tile=8, tiles=7, group_size=2)
        x, w = operands(3, 50, 531)
        for found in both(linear_view(x.codes.float(), w.codes.float()), x, w, rule):
            assert torch.equal(found.long(), expected(x, w, rule))

    def test_wide_tiles_and_float64(self):
        """Sums of 16-bit registers with large scales leave float32's integers."""
        rule = PartialSums(
            kind=Kind.APSQ,
            tile=200,
            bits=16,
            group_size=2,
            tile_scales=scales_of([6] * 4),
            sum_scales=scales_of([9] * 4),
        )
        x, w = operands(4, 700, 9)
        found, floats = both(linear_view(x.codes.float(), w.codes.float()), x, w, rule)
        assert floats.dtype == torch.float64
        assert torch.equal(floats.long(), expected(x, w, rule))
        assert torch.equal(found.long(), expected(x, w, rule))


@pytest.mark.skipif(not vnni.available(), reason="the processor does not multiply bytes")
class TestBytes:
    """What the kernel for bytes takes, and that it is right where its blocks, fours and 31 bits end."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.tuples(st.integers(1, 13), st.integers(1, 70), st.sampled_from([1, 15, 16, 17, 31, 32, 33, 64, 65])),
        rules().filter(lambda rule: rule.kind is not Kind.BLOCK and rule.saturation is Saturation.CLIP),
        st.sampled_from([2, 4, 8]),
        st.booleans(),
        st.integers(0, 255),
        st.sampled_from(["drawn", "all lowest", "lowest by highest"]),
        st.sampled_from([torch.int64, torch.float32, torch.uint8]),
    )
    def test_twins(self, shape, rule, bits, signed, zero_point, codes, dtype):
        fmt = quantized(None, bits=bits, signed=signed).format
        zero_point = fmt.low + zero_point % 2**bits
        x, w = operands(*shape, bits=bits, signed=signed, zero_point=zero_point)
        if codes != "drawn":
            x.codes[:] = fmt.low if codes == "all lowest" else fmt.high
            w.codes[:] = -128
        dtype = torch.int8 if dtype == torch.uint8 and signed else dtype
        stored = dataclasses.replace(x, codes=x.codes.to(dtype))
        view = linear_view(x.codes.float(), w.codes.float())
        found = sums(view, stored, w, rule)
        if rule.bits < 32:  # wider ones may leave 31 bits
            assert found.dtype == torch.int32
        assert torch.equal(found.long(), expected(x, w, rule))

    @pytest.mark.parametrize(("k", "dtype"), [(32000, torch.int32), (40000, torch.float64)])
    def test_accumulators_of_31_bits(self, k, dtype):
        """Sums of one tile below and above 2^30, quantized to 16 bits with a scale of 2^15."""
        x = quantized(torch.zeros(1, k, dtype=torch.uint8), bits=8, signed=False, zero_point=255)
        for code in (-128, 127):
            w = quantized(torch.full((2, k), code, dtype=torch.int8), bits=8)
            rule = PartialSums(kind=Kind.APSQ, tile=k, bits=16, tile_scales=scales_of([15]), sum_scales=scales_of([15]))
            found = sums(linear_view(x.codes.float(), w.codes.float()), x, w, rule)
            assert found.dtype == dtype
            assert torch.equal(found.long(), expected(x, w, rule))

    def test_limits_beyond_31_bits(self):
        """A register of 32 bits by a scale of 8 holds more than any sum here: nothing saturates."""
        rule = rule_of(bits=32, tile=8, top=1)
        rule = dataclasses.replace(rule, tile_scales=8 * rule.tile_scales, sum_scales=8 * rule.sum_scales)
        x, w = operands(3, 50, 4)
        found = sums(linear_view(x.codes.float(), w.codes.float()), x, w, rule)
        assert found.dtype == torch.int32
        assert torch.equal(found.long(), expected(x, w, rule))

    @pytest.mark.parametrize("n", [5, 32, 40])
    @pytest.mark.parametrize("k", [24, 30])
    @pytest.mark.parametrize("layout", ["columns apart", "rows apart", "neither"])
    def test_weights_however_they_lie(self, n, k, layout):
        """Contiguous along k, along n, or along neither; never where a word of memory begins."""
        x = quantized(random_codes(quantized(None, bits=8).format, (2, 7, k), 0).to(torch.int8), bits=8)
        codes = random_codes(x.format, (2, k, n), 1).to(torch.int8)
        memory = torch.zeros(4 * codes.numel() + 1, dtype=torch.int8)[1:]
        strides = {"columns apart": (k * n, 1, k), "rows apart": (k * n, n, 1), "neither": (2 * k * n, 2 * n, 2)}
        lying = memory.as_strided(codes.shape, strides[layout]).copy_(codes)
        rule = rule_of(tile=8, group_size=2)
        found = sums(*batched_product(x, quantized(lying, bits=8)), rule)
        for i in range(2):
            group = quantized(x.codes[i], bits=8), quantized(codes[i].t(), bits=8)
            assert torch.equal(found[i].long(), expected(*group, rule))

    @pytest.mark.parametrize(
        ("operand", "rule"),
        [
            ({"bits": 9}, {}),
            ({"zero_point": 300, "signed": False}, {}),
            ({}, {"saturation": Saturation.WRAP}),
            ({}, {"kind": "block"}),
        ],
    )
    def test_what_it_leaves_to_floats(self, operand, rule):
        x, w = operands(3, 20, 4, **operand)
        found = sums(linear_view(x.codes.float(), w.codes.float()), x, w, rule_of(**rule))
        assert found.is_floating_point()
        assert torch.equal(found.long(), expected(x, w, rule_of(**rule)))

    def test_unsigned_weights_are_left_to_floats(self):
        x, _ = operands(3, 20, 4)
        w = quantized(torch.full((4, 20), 255), bits=8, signed=False)
        found = sums(linear_view(x.codes.float(), w.codes.float()), x, w, rule_of())
        assert found.is_floating_point()
        assert torch.equal(found.long(), expected(x, w, rule_of()))

    def test_many_threads_and_blocks(self):
        """Every column and row of a product that is many blocks high and wide is written once."""
        x, w = operands(130, 40, 200)
        rule = rule_of(tile=8, group_size=2)
        found, floats = both(linear_view(x.codes.float(), w.codes.float()), x, w, rule)
        assert torch.equal(found.float(), floats)


class TestArithmetic:
    def test_registers_wide_enough_add_exactly(self):
        x, w = operands(6, 100, 7)
        view = linear_view(x.codes, w.codes)
        exact = reference_product(view, x, w)
        for kind in ("apsq", "psq"):
            rule = rule_of(kind, bits=32, top=1)
            assert torch.equal(sums(view, x, w, rule).long(), exact)

    def test_one_group_of_all_tiles_is_psq_and_a_last_quantization(self):
        """In the phase of the figure no step but the last quantizes the running sum."""
        x, w = operands(6, 64, 7)
        view = linear_view(x.codes.float(), w.codes.float())
        scales = {"tile_scales": scales_of([5] * 8), "sum_scales": scales_of([9] * 8)}
        grouped = PartialSums(kind=Kind.APSQ, tile=8, group_size=8, phase=Phase.TAIL, **scales)
        alone = PartialSums(
            kind=Kind.PSQ, tile=8, tile_scales=scales_of([5] * 7 + [0]), sum_scales=scales_of([0] * 8), bits=32
        )
        # the last tile is added exactly before the running sum is quantized
        alone_sums = sum(
            sums(linear_view(x.codes[:, i : i + 8].float(), w.codes[:, i : i + 8].float()), part(x, i), part(w, i), one)
            for i, one in ((i, last(8 if i < 56 else 32, 5 if i < 56 else 0)) for i in range(0, 64, 8))
        )
        right = ((alone_sums + 2**8).long() >> 9).clamp(-128, 127) << 9
        assert torch.equal(sums(view, x, w, grouped).long(), right)
        assert alone.additive(8).sum() == 0

    def test_quantize_by_hand(self):
        rule = rule_of(bits=4)
        assert [quantize(v, 2, rule) for v in (5, 6, -6, -7, 100, -100)] == [1, 2, -1, -2, 7, -8]
        floor = rule_of(bits=4, rounding=Rounding.FLOOR)
        assert [quantize(v, 2, floor) for v in (5, 7, -1, -5)] == [1, 1, -1, -2]
        wrap = rule_of(bits=4, saturation=Saturation.WRAP)
        assert [quantize(v, 0, wrap) for v in (7, 8, 9, -9)] == [7, -8, -7, 7]

    @pytest.mark.parametrize(
        ("phase", "gs", "steps"),
        [("head", 1, "11111"), ("head", 2, "10101"), ("head", 3, "10011"), ("tail", 2, "01011"), ("tail", 4, "00011")],
    )
    def test_schedule(self, phase, gs, steps):
        rule = rule_of(group_size=gs, phase=Phase(phase))
        assert "".join(map(str, rule.additive(5).astype(int))) == steps

    def test_noise_falls_by_three_decibels_per_doubling_of_the_group(self):
        """Derived from uniform noise: error ~ np^2 / (2 gs), so +3 dB per doubling; held within 1 dB at np = 96."""
        g = generator(3)
        x = quantized((30 * torch.randn(64, 768, generator=g)).round().clamp(-128, 127).long(), bits=8)
        w = quantized((30 * torch.randn(32, 768, generator=g)).round().clamp(-128, 127).long(), bits=8)
        view = linear_view(x.codes.float(), w.codes.float())
        exact = reference_product(view, x, w).double()
        tiles = torch.stack([exact_tile(x, w, i) for i in range(96)])
        fit = [scales_for(v.abs().amax((1, 2))) for v in (tiles, tiles.cumsum(0))]
        found = []
        for gs in (1, 2, 4):
            rule = PartialSums(kind=Kind.APSQ, tile=8, group_size=gs, tile_scales=fit[0], sum_scales=fit[1])
            noise = (sums(view, x, w, rule).double() - exact).square().mean()
            found.append(10 * np.log10(float(exact.square().mean() / noise)))
        assert np.diff(found) == pytest.approx([3, 3], abs=1)


def part(operand, i):
    return dataclasses.replace(operand, codes=operand.codes[:, i : i + 8])


def last(bits, shift):
    return PartialSums(kind=Kind.PSQ, tile=8, bits=bits, tile_scales=scales_of([shift]), sum_scales=scales_of([shift]))


def exact_tile(x, w, i):
    return x.codes[:, 8 * i : 8 * i + 8].double() @ w.codes[:, 8 * i : 8 * i + 8].double().t()


def scales_for(peaks):
    return torch.tensor([2.0 ** max(0, int(np.ceil(np.log2(float(peak) / 127)))) for peak in peaks])


class TestRules:
    @settings(max_examples=30, deadline=None)
    @given(rules())
    def test_round_trip(self, rule):
        plan, tensors = Plan(method="int8", sites={"a": SitePlan(accumulation=rule)}), {}
        again = plan_from(json.loads(json.dumps(plan_record(plan, tensors))), tensors).sites["a"].accumulation
        assert same_plan(again, rule)
        assert again.additive(9).tolist() == rule.additive(9).tolist()
        if rule.kind is not Kind.BLOCK:
            assert again.scales(9).tolist() == rule.scales(9).tolist()

    @pytest.mark.parametrize(
        ("options", "scales", "said"),
        [
            ({"tile": 8, "group_size": 0}, [1.0], "group_size of partial sums is 0; it is at least 1"),
            ({"tile": 0}, [1.0], "tile of partial sums is 0"),
            ({"tile": 8, "bits": 7}, [1.0], "partial sums of 7 bits are not stored; choose 4, 6, 8, 16, 32"),
            ({"tile": 8}, [1.0, 3.0], r"scales\[1\] is 3, and shifters scale by powers of two that are at least 1"),
            ({"tile": 8}, [0.5], r"scales\[0\] is 0.5"),
            ({"tile": 8, "rounding": Rounding.HALF_EVEN}, [1.0], "a shifter rounds half_up or floor, not half_even"),
        ],
    )
    def test_what_cannot_be_followed(self, options, scales, said):
        scales = torch.tensor(scales)
        with pytest.raises(ValueError, match=said):
            PartialSums(kind=Kind.APSQ, tile_scales=scales, sum_scales=scales, **options)

    def test_an_accumulator_that_could_overflow(self):
        rule = rule_of(bits=32, top=1)
        x, w = quantized(torch.zeros(1, 70000), bits=8, signed=False), quantized(torch.zeros(1, 70000), bits=8)
        with pytest.raises(InputError, match="overflows an accumulator of 32 bits; use fewer partial-sum bits"):
            sums(linear_view(x.codes, w.codes), x, w, rule)

    def test_shapes_only_have_no_scales(self):
        x, w = operands(1, 8, 1)
        with pytest.raises(InputError, match="calibrate on samples"):
            sums(linear_view(x.codes.float(), w.codes.float()), x, w, PartialSums(kind=Kind.APSQ, tile=8))

    @pytest.mark.parametrize("centres", [torch.zeros(9), torch.full((8,), 200)])
    def test_centres_of_another_site(self, centres):
        x, w = operands(2, 8, 3)
        rule = dataclasses.replace(rule_of(), centres=centres.int())
        with pytest.raises(InputError, match=r"x has 8 channels of int8, and partial sums are centred on . codes from"):
            sums(linear_view(x.codes.float(), w.codes.float()), x, w, rule)

    def test_longer_reductions_continue_with_the_last_scale(self):
        rule = PartialSums(
            kind=Kind.APSQ, tile=8, group_size=2, tile_scales=scales_of([1, 2]), sum_scales=scales_of([3, 4])
        )
        assert rule.scales(5).tolist() == [8, 4, 16, 4, 16]


class TestCalibration:
    """One layer of 5 tiles; x has rare large values, which the least squared error clips and the largest does not."""

    @staticmethod
    def calibrated(**options):
        x = normal(40, 20)
        x[0] *= 8
        torch.manual_seed(0)
        network = network_of(torch.nn.Sequential(torch.nn.Linear(20, 6, bias=False)), x)
        options = {"smoothing": "none", "rotation": "none", "psum_tile": 4, "psum_bits": 4} | options
        return network, compose("int8+apsq", options).calibrate(network, [{"input_0": x}])

    def test_least_squared_error(self):
        """Twin: every candidate of every step by hand, on sums of the very codes."""
        network, plan = self.calibrated()
        found, codes = plan.site("0").accumulation, []

        def hear(work):
            codes.append((work.x.codes.double(), work.w.codes.double()))

        Executor(network, plan, listeners=(hear,)).run(network.example(None))
        x, w = codes[0][0] - found.centres, codes[0][1]
        tiles = torch.stack([x[:, i : i + 4] @ w[:, i : i + 4].t() for i in range(0, 20, 4)])
        for stored, scales in ((tiles, found.tile_scales), (tiles.cumsum(0), found.sum_scales)):
            for v, scale in zip(stored, scales, strict=True):
                fitting = next(2.0**e for e in range(40) if v.abs().max() <= 7 * 2.0**e)
                tried = [max(1.0, fitting / 2**i) for i in range(5)]
                errors = [float((((v / a + 0.5).floor().clamp(-8, 7) * a - v) ** 2).sum()) for a in tried]
                assert float(scale) == tried[errors.index(min(errors))]

    def test_what_wraps_around_always_fits(self):
        largest = self.calibrated(psum_calibrator="max")[1].site("0").accumulation
        wrapping = self.calibrated(psum_saturation="wrap")[1].site("0").accumulation
        clipping = self.calibrated()[1].site("0").accumulation
        assert wrapping.sum_scales.equal(largest.sum_scales)
        assert (clipping.sum_scales < largest.sum_scales).any()


class TestEngine:
    """What networks run is what the engine's banks, shifters and muxes compute."""

    @settings(max_examples=60, deadline=None)
    @given(
        st.integers(1, 60), st.integers(1, 4), st.sampled_from(list(Phase)), st.sampled_from([4, 8]), st.integers(0, 99)
    )
    def test_the_engine_computes_what_networks_run(self, k, gs, phase, bits, seed):
        from bitwright.accelerators.partial_sums.rae import simulate

        rule = rule_of(tile=4, tiles=-(-k // 4), seed=seed, bits=bits, group_size=gs, phase=phase)
        x, w = operands(3, k, 5, seed=seed, signed=False, zero_point=90)
        tiles = [(x.codes[:, i : i + 4].long() - 90) @ w.codes[:, i : i + 4].long().t() for i in range(0, k, 4)]
        exponents = [int(scale).bit_length() - 1 for scale in rule.scales(len(tiles))]
        found = simulate(torch.stack(tiles).numpy(), exponents, group_size=gs, phase=str(phase), bits=bits)
        view = linear_view(x.codes.float(), w.codes.float())
        assert torch.equal(torch.from_numpy(np.asarray(found.output)), sums(view, x, w, rule).long())
