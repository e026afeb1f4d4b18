"""The integer method: scales against NumPy, exact against fast, and both against slow products in Python's integers."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn

from bitwright.errors import InputError
from bitwright.formats import Integer, PerChannel, PerGroup, PerTensor, PerToken, Rounding, Saturation
from bitwright.methods.executor import Executor
from bitwright.methods.integer.options import RECIPES, IntegerOptions
from bitwright.methods.integer.scales import affine, clipped_range, symmetric_scale, weight_peaks
from bitwright.methods.protocol import compose
from bitwright.networks.trace import trace
from bitwright.testing.networks import TOYS, shape_only, toy_networks
from toys import Calling, generator, network_of, normal

SIMPLE = {"smoothing": "none", "ends": "same"}
reals = st.floats(-1e6, 1e6, width=32)


def planned(network, samples, recipe="int8", **options):
    return compose(recipe, {**SIMPLE, **options}).calibrate(network, samples)


def executed(network, plan, batch, *, exact=True):
    """Output and works of one batch."""
    works = []
    executor = Executor(network, plan, exact=exact, listeners=[works.append])
    return executor.run(batch), {work.site.name: work for work in works}


def one_layer(*, x, w, bias=None, **options):
    """The work, the output and the plan of a network of one linear layer."""
    layer = nn.Linear(w.shape[1], w.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(w)
    if bias is not None:
        layer.bias = nn.Parameter(bias)
    network = network_of(nn.Sequential(layer), x)
    plan = planned(network, [{"x": x}], w_rounding="nearest", bias_correction=False, **options)
    output, works = executed(network, plan, {"x": x})
    return works["0"], output, plan.site("0")


class TestScales:
    @given(low=reals, high=reals, bits=st.integers(2, 16))
    def test_affine(self, low, high, bits):
        assume(low <= high)
        fmt = Integer(bits=bits, signed=False)
        scale, zero_point = affine(low, high, fmt, symmetric=False)
        low, high = min(low, 0.0), max(high, 0.0)
        expected = np.float32((high - low) / (2**bits - 1)) if high > low else np.float32(1)
        assert float(scale) == pytest.approx(max(float(expected), np.finfo(np.float32).tiny), rel=1e-6)
        assert zero_point == np.clip(np.rint(-low / np.float64(scale)), 0, 2**bits - 1)
        assert 0 <= zero_point <= 2**bits - 1
        # the ends of the range are at most half a step away from what their codes mean
        for end in (low, high, 0.0):
            code = float(fmt.encode(torch.tensor([end]) / scale, zero_point))
            assert abs((code - zero_point) * float(scale) - end) <= float(scale) * (0.5 + 2 ** (bits - 23))

    @given(low=reals, high=reals, bits=st.integers(2, 16))
    def test_symmetric(self, low, high, bits):
        assume(low <= high)
        scale, zero_point = affine(low, high, Integer(bits=bits, narrow=True), symmetric=True)
        peak = max(-low, high, 0.0)
        expected = peak / (2 ** (bits - 1) - 1) if peak else 1.0
        assert zero_point == 0
        assert float(scale) == pytest.approx(max(expected, float(np.finfo(np.float32).tiny)), rel=1e-6)

    @pytest.mark.parametrize(
        ("low", "high", "scale", "zero_point"),
        [(0, 255, 1, 0), (-255, 0, 1, 255), (3, 51, 0.2, 0), (-51, -3, 0.2, 255), (-1, 3, 4 / 255, 64), (0, 0, 1, 0)],
    )
    def test_affine_by_hand(self, low, high, scale, zero_point):
        found, zero = affine(low, high, Integer(bits=8, signed=False), symmetric=False)
        assert float(found) == pytest.approx(scale, rel=1e-6)
        assert zero == zero_point

    def test_zero_is_exact(self):
        for low, high in ((-0.37, 9.1), (0.5, 2), (-7, -3)):
            fmt = Integer(bits=8, signed=False)
            scale, zero_point = affine(low, high, fmt, symmetric=False)
            assert (fmt.encode(torch.zeros(1) / scale, zero_point) - zero_point) * scale == 0

    def test_peaks_too_small_for_a_scale(self):
        """What is denormal still gets a scale that can be divided by."""
        x = torch.tensor([[1e-44, 0.0, -1e-44], [0.0, 0.0, 0.0], [127.0, 0.0, 1.0]])
        scale = symmetric_scale(x.abs().amax(1, keepdim=True), Integer(bits=8))
        assert bool((x / scale).isfinite().all())
        assert scale[1:].tolist() == [[1.0], [1.0]]
        scale, _ = affine(-1e-44, 1e-44, Integer(bits=8, signed=False), symmetric=False)
        assert bool((x[:2] / scale).isfinite().all())

    @pytest.mark.parametrize("bits", [3, 4, 8])
    def test_least_error_is_no_worse_than_min_max(self, bits):
        fmt = Integer(bits=bits, narrow=True)
        w = normal(20, 300) * torch.rand(20, 1, generator=generator(1))
        w[::2, 0] = 3 * w[::2].abs().amax(1)  # one outlier, three times the next

        def error(peaks):
            scale = symmetric_scale(peaks, fmt)
            return (fmt.encode(w / scale) * scale - w).square().sum(1)

        plain, best = error(weight_peaks(w, fmt, "minmax", 100)), error(weight_peaks(w, fmt, "mse", 100))
        assert bool((best <= plain).all())
        if bits < 8:  # the outliers are worth clipping where codes are few
            assert bool((best[::2] < plain[::2]).all())

    @pytest.mark.parametrize("percentile", [60, 99, 99.9, 100])
    def test_percentile_of_weights(self, percentile):
        w = normal(7, 500)
        kept = weight_peaks(w, Integer(bits=8), "percentile", percentile)
        expected = np.percentile(np.abs(w.numpy()), percentile, axis=1, method="inverted_cdf", keepdims=True)
        assert kept.tolist() == expected.tolist()

    def test_percentile_of_a_row_of_zeros(self):
        w = torch.zeros(2, 100)
        w[0, 3] = -5.0
        assert weight_peaks(w, Integer(bits=8), "percentile", 90).tolist() == [[5.0], [0.0]]

    @pytest.mark.parametrize("symmetric", [False, True])
    @pytest.mark.parametrize("shift", [0.0, 4.0, -9.0])
    def test_clipped_ranges(self, shift, symmetric):
        x = normal(20000) + shift
        x[0] = shift + 40
        low, high = float(x.min()), float(x.max())
        histogram, bin_width = torch.histc(x, 4096, low, high), (high - low) / 4096
        fmt = Integer(bits=4, signed=symmetric, narrow=symmetric)

        def error(low, high):
            scale, zero_point = affine(low, high, fmt, symmetric=symmetric)
            return float(((fmt.encode(x / scale, zero_point) - zero_point) * scale - x).square().sum())

        chosen = clipped_range(histogram, low, high, fmt, calibrator="mse", percentile=99, symmetric=symmetric)
        assert error(*chosen) <= error(low, high)
        for percentile in (90, 99.9):
            kept = clipped_range(
                histogram, low, high, fmt, calibrator="percentile", percentile=percentile, symmetric=symmetric
            )
            limit = max(-kept[0], kept[1])
            assert limit == pytest.approx(np.percentile(np.abs(x.numpy()), percentile), abs=2 * bin_width)


def slow_codes(x, scale, zero_point, low, high):
    """NumPy: codes of x (float32 division, as the machine's quantizer does)."""
    quotient = np.asarray(x, np.float32) / np.asarray(scale, np.float32)
    return np.clip(np.rint(quotient) + zero_point, low, high).astype(np.int64)


def slow_linear(x, w):
    """Rows by rows in Python's integers."""
    return [[sum(int(a) * int(b) for a, b in zip(row, column, strict=True)) for column in w] for row in x]


class TestSlowTwin:
    """Scales from the formulas in float64, codes by NumPy, sums in Python's integers, then scale and bias."""

    @pytest.mark.parametrize(("x_bits", "w_bits"), [(8, 8), (7, 7), (4, 3), (2, 2), (12, 10), (16, 16)])
    @pytest.mark.parametrize("symmetric", [False, True])
    @pytest.mark.parametrize("granularity", ["channel", "tensor"])
    def test_linear(self, x_bits, w_bits, symmetric, granularity):
        x, w, bias = normal(9, 33), normal(5, 33, seed=1), normal(5, seed=2)
        work, output, _ = one_layer(
            x=x, w=w, bias=bias, x_bits=x_bits, w_bits=w_bits, x_symmetric=symmetric, w_granularity=granularity
        )
        low, high = float(x.min()), float(x.max())
        top = 2 ** (x_bits - 1) - 1 if symmetric else 2**x_bits - 1
        scale = np.float32(max(-low, high) / top if symmetric else (high - low) / top)
        zero_point = 0 if symmetric else int(np.rint(-low / float(scale)))
        x_codes = slow_codes(x, scale, zero_point, -top if symmetric else 0, top)
        w_top = 2 ** (w_bits - 1) - 1
        peaks = w.abs().amax(1, keepdim=True) if granularity == "channel" else w.abs().max().expand(5, 1)
        w_scale = (peaks / w_top).numpy()
        w_codes = slow_codes(w, w_scale, 0, -w_top, w_top)
        assert work.x.codes.tolist() == x_codes.tolist()
        assert work.w.codes.tolist() == w_codes.tolist()
        assert work.x.zero_point == zero_point
        sums = np.array(slow_linear(x_codes - zero_point, w_codes), dtype=object)
        expected = sums.astype(np.float64) * float(scale) * w_scale[:, 0].astype(np.float64) + bias.numpy()
        np.testing.assert_allclose(output.numpy(), expected, rtol=2e-6, atol=2e-6)

    @pytest.mark.parametrize("size", [1, 7, 16, 32, 33, 40])
    def test_groups_with_a_remainder(self, size):
        x, w = normal(4, 33), normal(3, 33, seed=1)
        work, output, plan = one_layer(x=x, w=w, w_bits=4, w_granularity=f"group:{size}")
        assert plan.w.granularity == PerGroup(size)
        expected = np.zeros((4, 3))
        x_codes = np.array(work.x.codes.tolist()) - work.x.zero_point
        for group, start in enumerate(range(0, 33, size)):
            part = w[:, start : start + size]
            scale = (part.abs().amax(1) / 7).numpy()
            codes = slow_codes(part, scale[:, None], 0, -7, 7)
            assert work.w.codes[:, start : start + size].tolist() == codes.tolist()
            assert work.w.scale[:, group].tolist() == scale.tolist()
            expected += np.array(slow_linear(x_codes[:, start : start + size], codes)) * scale.astype(np.float64)
        np.testing.assert_allclose(output.numpy(), expected * float(work.x.scale), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("positive", [False, True])
    def test_tokens(self, positive):
        x, w = normal(6, 10) * torch.logspace(-2, 3, 6)[:, None], normal(3, 10, seed=1)
        x = x.abs() if positive else x
        x[2] = 0
        work, output, plan = one_layer(x=x, w=w, x_granularity="token")
        assert plan.x.scale is None
        top = 255 if positive else 127  # what is never negative in calibration is unsigned
        peaks = x.abs().amax(1, keepdim=True)
        scale = torch.where(peaks > 0, peaks / top, torch.ones(()))
        codes = slow_codes(x, scale, 0, 0 if positive else -top, top)
        assert work.x.codes.tolist() == codes.tolist()
        assert work.x.scale.tolist() == scale.tolist()
        sums = np.array(slow_linear(codes, work.w.codes.tolist()))
        np.testing.assert_allclose(
            output.numpy(), sums * scale.double().numpy() * work.w.scale.double().numpy().T, rtol=1e-6
        )

    def test_tokens_are_scaled_by_themselves(self):
        """A token's output does not depend on its neighbours."""
        x, w = normal(6, 10), normal(3, 10, seed=1)
        _, together, _ = one_layer(x=x, w=w, x_granularity="token")
        x[1:] *= 1000
        _, with_giants, _ = one_layer(x=x, w=w, x_granularity="token")
        assert torch.equal(together[0], with_giants[0])

    def test_convolution(self):
        x, layer = normal(2, 4, 7, 6), nn.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), groups=2)
        network = network_of(nn.Sequential(layer), x)
        output, works = executed(network, planned(network, [{"x": x}]), {"x": x})
        work = works["0"]
        # as torch lays them out: channels of both groups behind images, filters of both in front
        codes = work.x.codes.movedim(-1, 2).transpose(0, 1).flatten(1, 2)
        centred = np.pad(
            np.array(codes.tolist()) - work.x.zero_point, ((0, 0), (0, 0), (1, 1), (0, 0))
        )  # real zero is where the padding is
        weight = np.array(work.w.codes.movedim(-1, 2).flatten(0, 1).tolist()).astype(int)
        assert weight.shape == layer.weight.shape
        assert work.w.scale.shape == (2, 3, 1, 1, 1)
        scales = layer.weight.detach().abs().amax((1, 2, 3)) / 127
        expected = np.zeros(output.shape)
        for b, n, i, j in itertools.product(*map(range, output.shape)):
            channels = slice(0, 2) if n < 3 else slice(2, 4)
            patch = centred[b, channels, 2 * i : 2 * i + 3, j : j + 2]
            expected[b, n, i, j] = int((patch * weight[n]).sum()) * float(work.x.scale) * float(scales[n])
        with torch.no_grad():
            expected += layer.bias.view(1, -1, 1, 1).numpy()
        np.testing.assert_allclose(output.numpy(), expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("recipe", ["int8", "int8-token"])
    def test_attention(self, recipe):
        q, k, v = normal(2, 3, 5, 4), normal(2, 3, 6, 4, seed=1), normal(2, 3, 6, 4, seed=2)
        k[:, 1] *= 50  # a head of its own range
        module = Calling(lambda _, q, k, v: F.scaled_dot_product_attention(q, k, v))
        network, batch = network_of(module, q, k, v), {"q": q, "k": k, "v": v}
        plan = planned(network, [batch], recipe)
        _, works = executed(network, plan, batch)
        keys, peak = works["qk"].w, k.abs()
        if recipe == "int8":
            assert plan.site("qk").w.granularity == PerChannel()
            assert keys.scale.reshape(-1).tolist() == (peak.amax((0, 2, 3)) / 127).tolist()
        else:
            assert plan.site("qk").w.granularity == PerToken()
            assert torch.equal(keys.scale, (peak.amax(-1) / 127).unsqueeze(-1))
        expected = slow_codes(k, keys.scale, 0, -127, 127)
        assert keys.codes.tolist() == expected.tolist()

    def test_16_bits_do_not_overflow(self):
        """10,000 products of codes near 2**15 by 2**15 add up to 2**43."""
        x, w = torch.full((1, 10000), 3.0), torch.full((2, 10000), 0.5)
        x[0, 0], w[0, 1], w[1] = 2.999, -0.4999, -0.5
        work, output, _ = one_layer(x=x, w=w, x_bits=16, w_bits=16)
        sums = slow_linear(work.x.codes.tolist(), work.w.codes.tolist())
        assert abs(sums[0][1]) > 2**43
        scale = float(work.x.scale) * work.w.scale.double().numpy()[:, 0]
        np.testing.assert_allclose(output.numpy()[0], np.array(sums[0], float) * scale, rtol=2e-7)


RECIPE_NAMES = sorted(RECIPES)
VARIANTS = {
    "smoothing": {"smoothing": 0.5},
    "search": {"smoothing": "search"},
    "both8": {"ends": "both8", "x_bits": 4, "w_bits": 4},
    "float ends": {"ends": "float"},
    "percentile": {"calibrator": "percentile", "percentile": 99.0, "w_calibrator": "percentile"},
    "mse": {"calibrator": "mse", "w_calibrator": "mse"},
    "no attention": {"attention": False},
    "one scale": {"w_granularity": "tensor"},
    "small groups": {"w_granularity": "group:5", "w_bits": 4},
    "wrap": {"saturation": "wrap"},
    "floor": {"rounding": "floor"},
    "wide": {"x_bits": 16, "w_bits": 8},
    "sites": {"sites": {"*": {"x_bits": 6}, "*o": {"x_granularity": "token"}, "s*": {"w_granularity": "tensor"}}},
}


def without_matches(options, names):
    """Globs that match something, so that one set of options fits every toy."""
    import fnmatch

    globs = {g: o for g, o in options.get("sites", {}).items() if fnmatch.filter(names, g)}
    return {**options, "sites": globs} if globs else options


class TestExactIsFast:
    @pytest.mark.parametrize("toy", TOYS)
    @pytest.mark.parametrize("recipe", RECIPE_NAMES)
    def test_recipes(self, recipe, toy):
        network, samples = toy_networks()[toy]
        plan = compose(recipe).calibrate(network, samples)
        exact, works = executed(network, plan, samples[0])
        fast, fast_works = executed(network, plan, samples[0], exact=False)
        assert Executor(network, plan).audit(samples[0]) == 0
        if recipe == "w4a8":  # sums of groups are added up in float32, in another order
            torch.testing.assert_close(fast, exact, rtol=1e-4, atol=1e-4)
            return
        assert torch.equal(fast, exact)
        for name, work in works.items():
            assert torch.equal(work.x.codes, fast_works[name].x.codes)

    @pytest.mark.parametrize("toy", TOYS)
    @pytest.mark.parametrize("variant", VARIANTS)
    def test_options(self, variant, toy):
        network, samples = toy_networks()[toy]
        names = [site.name for site in trace(network).sites]
        options = without_matches(VARIANTS[variant], names)
        plan = compose("int8", options).calibrate(network, samples)
        executor = Executor(network, plan)
        steps = executor.audit(samples[0])
        assert steps == 0 or variant == "wide"  # 16-bit codes leave float32's 24 bits, which is what exact is for
        assert set(executor.off_by) == {name for name, site in plan.sites.items() if site.quantized}

    @pytest.mark.parametrize("toy", TOYS)
    def test_more_bits_are_closer_to_float(self, toy):
        network, samples = toy_networks()[toy]
        with torch.no_grad():
            expected = network.forward(samples[0])
        errors = []
        for bits in (4, 8, 12, 16):
            output, _ = executed(network, planned(network, samples, x_bits=bits, w_bits=bits), samples[0])
            errors.append(float((output - expected).square().mean().sqrt() / expected.square().mean().sqrt()))
        assert all(later < earlier / 8 for earlier, later in itertools.pairwise(errors))  # 16 in theory
        assert errors[-1] < 1e-3


class TestRules:
    def bits(self, plan):
        return {name: (site.x_bits, site.w_bits) for name, site in plan.sites.items()}

    def test_ends(self):
        network, samples = toy_networks()["linear"]
        found = {
            ends: self.bits(planned(network, samples, x_bits=4, w_bits=3, ends=ends))
            for ends in ("same", "head8", "both8", "float")
        }
        assert found == {
            "same": {"first": (4, 3), "last": (4, 3)},
            "head8": {"first": (4, 3), "last": (8, 8)},
            "both8": {"first": (8, 8), "last": (8, 8)},
            "float": {"first": (32, 32), "last": (32, 32)},
        }

    def test_ends_do_not_narrow(self):
        network, samples = toy_networks()["linear"]
        assert self.bits(planned(network, samples, x_bits=12, w_bits=10, ends="both8"))["last"] == (12, 10)

    def test_attention_can_stay_float(self):
        network, samples = toy_networks()["attention"]
        plan = planned(network, samples, attention=False)
        assert [name for name, site in plan.sites.items() if not site.quantized] == ["qk", "pv"]

    def test_sites_override_and_later_globs_win(self):
        network, samples = toy_networks()["attention"]
        sites = {"*": {"w_bits": 6}, "?": {"w_bits": 5}, "up": {"x_bits": 9, "w_granularity": "group:4"}}
        plan = planned(network, samples, sites=sites)
        assert self.bits(plan) == {
            "q": (8, 5), "kv": (8, 6), "qk": (8, 8), "pv": (8, 8), "o": (8, 5), "up": (9, 6), "down": (8, 6),
        }  # fmt: skip
        assert plan.site("up").w.granularity == PerGroup(4)
        assert plan.site("q").w.granularity == PerChannel()

    def test_groups_are_for_linear_layers(self):
        network, samples = toy_networks()["conv"]
        plan = planned(network, samples, w_granularity="group:4")
        found = {name: site.w.granularity for name, site in plan.sites.items()}
        assert found == {**dict.fromkeys(("stem", "depthwise", "point", "grouped"), PerChannel()), "head": PerGroup(4)}

    @pytest.mark.parametrize("toy", TOYS)
    @pytest.mark.parametrize("recipe", RECIPE_NAMES)
    def test_shapes_get_the_formats_that_numbers_get(self, recipe, toy):
        network, samples = toy_networks()[toy]
        searched = {"wide": "none"} if compose(recipe).methods[0][2].wide == "search" else {}
        real, shapes = (
            compose(recipe, {"smoothing": "none", **searched}).calibrate(n, s)
            for n, s in ((network, samples), (shape_only(network), []))
        )
        assert list(real.sites) == list(shapes.sites)
        for name, site in shapes.sites.items():
            for ours, theirs in ((site.x, real.sites[name].x), (site.w, real.sites[name].w)):
                assert ours.granularity == theirs.granularity
                if recipe != "int8-token":  # where data decides the sign, signed is assumed
                    assert ours.format == theirs.format

    def test_wrapping_needs_every_code(self):
        work, _, plan = one_layer(x=normal(3, 4), w=normal(2, 4), saturation="wrap", rounding="floor")
        assert plan.w.format == Integer(bits=8, rounding=Rounding.FLOOR, saturation=Saturation.WRAP)
        assert float(work.w.scale.max()) == pytest.approx(float(normal(2, 4).abs().max()) / 127)

    def test_a_constant_or_zero_activation(self):
        for value in (0.0, 3.0, -2.5):
            x, w = torch.full((2, 4), value), normal(3, 4)
            for symmetric, calibrator in itertools.product((False, True), ("minmax", "mse", "percentile")):
                _, output, _ = one_layer(x=x, w=w, x_symmetric=symmetric, calibrator=calibrator)
                torch.testing.assert_close(output, x @ w.t(), rtol=0.02, atol=0.02)

    def test_4_bit_groups_on_the_grid_of_the_weights_are_refused(self):
        network, samples = toy_networks()["linear"]
        network = dataclasses.replace(network, weight_grid=8)
        for options in ({"w_granularity": "group:8", "w_bits": 4}, {"w_granularity": "group:4", "w_bits": 3}):
            with pytest.raises(InputError, match="would look lossless"):
                planned(network, samples, **options)
            with pytest.raises(InputError, match="would look lossless"):
                planned(network, samples, sites={"first": options})
        planned(network, samples, w_granularity="group:16", w_bits=4)
        planned(network, samples, w_granularity="group:8", w_bits=5)


class TestWeightsThatAreNotParameters:
    """Standardised or normalised weights are computed in every pass: they are scaled as activations are."""

    @pytest.mark.parametrize("recipe", ["int8", "int8-token", "int8-sym"])
    @pytest.mark.parametrize("kind", ["linear", "conv", "grouped", "matrix"])
    def test_computed_weights(self, kind, recipe):
        layers = {
            "linear": lambda m, x: F.linear(x, m.w * 2, m.b),
            "conv": lambda m, x: F.conv2d(x, m.w * 2, m.b, padding=1),
            "grouped": lambda m, x: F.conv2d(x, m.w * 2, m.b, groups=3),
            "matrix": lambda m, x: x @ (m.w * 2).t(),
        }
        w = {"linear": normal(5, 6), "conv": normal(5, 6, 3, 3), "grouped": normal(6, 2, 3, 2), "matrix": normal(5, 6)}
        x = normal(2, 6, 8, 8) if kind in ("conv", "grouped") else normal(4, 6)
        module = Calling(layers[kind], w=w[kind], b=normal(len(w[kind])))
        network = network_of(module, x)
        plan = planned(network, [{"x": x}], recipe)
        output, _ = executed(network, plan, {"x": x})
        with torch.no_grad():
            expected = module(x)
        assert float((output - expected).abs().max()) < 0.03 * float(expected.abs().max())
        assert Executor(network, plan).audit({"x": x}) == 0

    def test_experts(self):
        """A stack of weights that broadcasts over the batch, whose size may change."""
        module = Calling(
            lambda m, x: x @ m.experts, experts=normal(3, 6, 4) * torch.tensor([1.0, 9, 0.1]).view(3, 1, 1)
        )
        x = normal(2, 3, 5, 6)
        network = network_of(module, x)
        plan = planned(network, [{"x": x}])
        peaks = module.experts.detach().abs().amax(1)  # of every expert's columns
        assert torch.equal(plan.site("experts").w.scale, (peaks / 127).view(1, 3, 4, 1))
        for batch in (x, x[:1], torch.cat([x, x])):
            output, _ = executed(network, plan, {"x": batch})
            with torch.no_grad():
                expected = module(batch)
            assert float((output - expected).abs().max()) < 0.03 * float(expected.abs().max())

    def test_an_expert_without_tokens(self):
        module = Calling(lambda m, x: torch.cat([m.a(x[:0]), m.b(x)]), a=nn.Linear(4, 3), b=nn.Linear(4, 3))
        network = network_of(module, normal(5, 4))
        output, works = executed(network, planned(network, [{"x": normal(5, 4)}]), {"x": normal(5, 4)})
        assert (output.shape, list(works)) == ((5, 3), ["b"])

    def test_another_part_of_a_parameter(self):
        """Rows of a table that are looked at one after another are sites of their own; each needs to be calibrated."""
        module = Calling(lambda m, x, start: F.linear(x, m.table[int(start) : int(start) + 3]), table=normal(6, 4))
        x = normal(2, 4)
        network = network_of(module, x, torch.tensor(0))
        samples = [{"x": x, "start": torch.tensor(start)} for start in (0, 1)]
        plan = planned(network, samples, w_granularity="tensor")
        assert {name: float(site.w.scale) for name, site in plan.sites.items()} == {
            f"table[{start}:{start + 3}]": float(module.table[start : start + 3].detach().abs().max() / 127)
            for start in (0, 1)
        }
        executor = Executor(network, plan)
        for start in (0, 1, 0):
            output = executor.run({"x": x, "start": torch.tensor(start)})
            expected = F.linear(x, module.table[start : start + 3]).detach()
            assert float((output - expected).abs().max()) < 0.3
        with pytest.raises(InputError, match=r"site 'table\[2:5\]' is not in the plan"):
            executor.run({"x": x, "start": torch.tensor(2)})

    def test_lengths_that_differ_between_batches(self):
        module = Calling(lambda _, a, b: F.softmax(a @ b, -1) @ b.mT)
        batches = [{"a": normal(1, n, 5, 4), "b": normal(1, n, 4, n, seed=1)} for n in (3, 2)]
        network = network_of(module, *batches[0].values())
        plan = planned(network, batches)
        for batch in batches:
            executed(network, plan, batch)

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
    def test_networks_of_other_types(self, dtype):
        module = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.ReLU(), nn.Linear(6, 3)).to(dtype)
        x = normal(4, 6).to(dtype)
        network = network_of(module, x)
        output, _ = executed(network, planned(network, [{"x": x}]), {"x": x})
        assert output.dtype == dtype
        torch.testing.assert_close(output, module(x).detach(), rtol=0.1, atol=0.1)


class TestRefusals:
    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
    def test_weights(self, bad):
        network, samples = toy_networks()["conv"]
        network.module.point.weight.data[3, 2] = bad
        with pytest.raises(InputError, match="the weight of point holds NaN or infinity"):
            planned(network, samples)

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
    @pytest.mark.parametrize(("toy", "site"), [("linear", "first"), ("conv", "stem"), ("attention", "q")])
    def test_activations(self, toy, site, bad):
        network, samples = toy_networks()[toy]
        plan = planned(network, samples)
        broken = {"x": samples[0]["x"].clone()}
        broken["x"].view(-1)[5] = bad
        with pytest.raises(InputError, match=f"^x of {site} holds NaN or infinity on the calibration samples"):
            planned(network, [samples[1], broken])
        for exact in (True, False):
            with pytest.raises(InputError, match=f"^x of {site} holds NaN or infinity; quantized"):
                executed(network, plan, broken, exact=exact)
        executed(network, plan, samples[0])

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_the_other_operand_of_a_product(self, bad):
        a, b = normal(2, 5, 4), normal(2, 4, 3)
        network = network_of(Calling(lambda _, a, b: a @ b), a, b)
        plan = planned(network, [{"a": a, "b": b}])
        b = b.clone()
        b[1, 2, 0] = bad
        with pytest.raises(InputError, match=r"^w of matmul holds NaN or infinity"):
            executed(network, plan, {"a": a, "b": b})
        with pytest.raises(InputError, match=r"^w of matmul holds NaN or infinity on the calibration samples"):
            planned(network, [{"a": a, "b": b}])

    def test_a_site_that_was_never_calibrated(self):
        def forward(m, x):
            return m.a(x) if x.shape[0] == 1 else m.b(x)

        network = network_of(Calling(forward, a=nn.Linear(4, 3), b=nn.Linear(4, 3)), normal(1, 4))
        plan = planned(network, [{"x": normal(1, 4)}])
        with pytest.raises(InputError, match="site 'b' is not in the plan"):
            executed(network, plan, {"x": normal(2, 4)})

    def test_a_glob_that_matches_nothing(self):
        network, samples = toy_networks()["linear"]
        for case, data in ((network, samples), (shape_only(network), [])):
            with pytest.raises(InputError, match=r"'layer\.\*' matches no site; sites are named like last, first"):
                planned(case, data, sites={"layer.*": {"x_bits": 4}})

    def test_no_samples(self):
        with pytest.raises(InputError, match="at least one batch"):
            planned(toy_networks()["linear"][0], [])

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"x_bits": 1}, r"option x_bits of int8 is 1, but it should be an integer from 2 to 16"),
            ({"w_bits": 17}, r"option w_bits of int8 is 17, but it should be an integer from 2 to 16"),
            (
                {"x_granularity": "channel"},
                "x_granularity of int8 is 'channel', but it should be tensor, token, token-range or group:SIZE",
            ),
            ({"w_granularity": "token"}, "should be tensor, channel or group:SIZE"),
            ({"w_granularity": "group:0"}, "should be tensor, channel or group:SIZE"),
            ({"smoothing": 1.5}, "should be search, none or a number from 0 to 1"),
            ({"calibrator": "max"}, "option calibrator of int8 is 'max', but it should be minmax, percentile or mse"),
            ({"percentile": 50}, "should be a number above 50 and of at most 100"),
            ({"sites": {"*": {"ends": "same"}}}, "'ends' is no option of a single site"),
            ({"sites": {"*": {"x_bit": 4}}}, "'x_bit' is no option of a single site"),
            ({"sites": {"*": {"x_bits": 40}}}, r"option x_bits of \* is 40, but it should be an integer from 2 to 16"),
            ({"xbits": 8}, r"unknown option of int8 'xbits'\. Did you mean 'x_bits'"),
        ],
    )
    def test_options(self, options, message):
        with pytest.raises(InputError, match=message) as error:
            compose("int8", options)
        assert "\n" not in str(error.value)

    def test_options_do_not_change(self):
        with pytest.raises(ValueError, match="frozen"):
            IntegerOptions().x_bits = 4

    def test_per_tensor_is_the_default(self):
        _, _, plan = one_layer(x=normal(3, 4), w=normal(2, 4))
        assert (plan.x.granularity, plan.w.granularity) == (PerTensor(), PerChannel())
        assert (plan.x.format.name, plan.w.format.name) == ("uint8", "int8")
