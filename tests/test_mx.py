"""Products of MX, NVFP4 and FP8 operands against rational numbers; the method `mx` from calibration to a saved plan."""

import dataclasses
import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bitwright.accelerators.machine import block_of
from bitwright.accelerators.precision_scalable import Lpa
from bitwright.accelerators.systolic import WeightStationary
from bitwright.errors import InputError
from bitwright.formats import BLOCK_FORMATS, E4M3, PerGroup, PerTensor
from bitwright.methods.execution import Execution
from bitwright.methods.mx import METHOD, products
from bitwright.methods.mx.encode import encode, weight_scales
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.protocol import compose
from bitwright.networks.sites import ConvGeometry, Site
from bitwright.networks.view import GemmView
from bitwright.testing import toy_networks

NAMES = [*BLOCK_FORMATS, "fp8"]
UNIT = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1)}
SHAPES = {
    "linear": ((3, 70), (5, 70), {}),
    "one row": ((1, 33), (4, 33), {}),
    "one column": ((2, 1, 40), (1, 40), {}),
    "K of 1": ((4, 1), (3, 1), {}),
    "whole blocks": ((2, 64), (3, 64), {}),
    "batch": ((2, 3, 35), (3, 35), {}),
    "attention": ((2, 3, 4, 37), (2, 3, 5, 37), {"lead": 2}),
    "conv1d": ((2, 6, 5), (3, 3, 5), {"stride": (2,), "padding": (1,), "dilation": (1,)}),
    "conv2d": ((1, 4, 4, 34), (2, 2, 2, 34), {"stride": (1, 2), "padding": (0, 1), "dilation": (2, 1)}),
    "grouped": ((2, 1, 4, 4, 3), (2, 2, 3, 3, 3), {"lead": 1, **UNIT, "padding": (1, 1)}),
    "depthwise": (
        (35, 1, 3, 3, 1),
        (35, 1, 2, 2, 1),
        {"lead": 1, **UNIT},
    ),
    "two filters each": (
        (3, 1, 3, 3, 1),
        (3, 2, 2, 2, 1),
        {"lead": 1, **UNIT},
    ),
}


def operand(tensor, name):
    """The plan of activations with these numbers."""
    if name == "fp8":
        return OperandPlan(format=E4M3, granularity=PerTensor(), scale=tensor.abs().max() / 448)
    fmt = BLOCK_FORMATS[name]
    return OperandPlan(
        format=fmt.element,
        granularity=PerGroup(fmt.size),
        scale_format=fmt.scale_format,
        tensor_scale=fmt.tensor_scale(tensor.abs().max()),
    )


def numbers(shape, seed, spread):
    """Values over many binades, zeros among them, and rows that are zero."""
    generator = torch.Generator().manual_seed(seed)
    found = torch.randn(shape, generator=generator)
    found = found * torch.exp2(torch.randint(-spread, spread + 1, shape, generator=generator))
    found[torch.rand(shape, generator=generator) < 0.1] = 0
    found[0] *= 2.0**-spread
    return found


def product_of(case, x_name, w_name, seed=0, spread=2):
    x_shape, w_shape, geometry = SHAPES[case]
    view = GemmView(op="linear", x=numbers(x_shape, seed, spread), w=numbers(w_shape, seed + 1, spread), **geometry)
    x, w = (encode(view, t, operand(t, name)) for t, name in ((view.x, x_name), (view.w, w_name)))
    return view, x, w


def nearest_float32(number):
    """A rational number rounded once, ties to even, as a float."""
    if number == 0:
        return 0.0
    exponent = max(math.frexp(float(number))[1] - 24, -149)
    return math.ldexp(round(number / Fraction(2) ** exponent), exponent)


@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_sums_are_exact(case, name):
    view, x, w = product_of(case, name, name)
    found = products.exact_sums(view, x, w)
    assert found.shape == view.output_shape
    expected = [nearest_float32(each) for each in products.reference_sums(view, x, w)]
    assert found.float().flatten().tolist() == expected


@pytest.mark.parametrize("case", ["linear", "attention", "conv2d", "depthwise"])
@pytest.mark.parametrize(
    ("x_name", "w_name"), [("mxfp8-e5m2", "mxfp8-e5m2"), ("mxfp8-e4m3", "mxfp4"), ("nvfp4", "mxint8")]
)
@pytest.mark.parametrize("spread", [12, 40])
def test_sums_over_many_binades_are_rounded_once(case, x_name, w_name, spread):
    view, x, w = product_of(case, x_name, w_name, seed=7, spread=spread)
    expected = [nearest_float32(each) for each in products.reference_sums(view, x, w)]
    assert products.exact_sums(view, x, w).float().flatten().tolist() == expected


def test_a_sum_that_cancels_but_for_its_lowest_bit():
    fmt = BLOCK_FORMATS["mxfp8-e5m2"]
    x = torch.zeros(1, 96)
    x[0, 0], x[0, 32], x[0, 64] = 2.0**60, -(2.0**60), 2.0**-60
    view = GemmView(op="linear", x=x, w=torch.ones(1, 96))
    plan = OperandPlan(format=fmt.element, granularity=PerGroup(32), scale_format=fmt.scale_format)
    found = products.exact_sums(view, encode(view, x, plan), encode(view, view.w, plan))
    assert found.item() == 2.0**-60


@given(st.integers(0, 10**6), st.sampled_from(["mxfp8-e4m3", "mxfp4", "nvfp4"]), st.integers(0, 30))
def test_sums_of_any_rows_are_exact(seed, name, spread):
    view, x, w = product_of("linear", name, name, seed=seed, spread=spread)
    expected = [nearest_float32(each) for each in products.reference_sums(view, x, w)]
    assert products.exact_sums(view, x, w).float().flatten().tolist() == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ["linear", "conv2d", "depthwise"])
def test_the_kernel_of_values_is_the_arithmetic_in_torch(case, name):
    _, x, _ = product_of(case, name, name, seed=3, spread=20)
    found, expected = products.reals_of(x), products.bounded(products.values_of(x))
    assert torch.equal(found.values, expected.values)
    assert torch.equal(found.lowest, expected.lowest)
    torch.testing.assert_close(found.squares, expected.squares)


def test_values_are_what_codes_and_scales_stand_for():
    for name in NAMES:
        view, x, _ = product_of("linear", name, name)
        step = x.tensor_scale if x.tensor_scale is not None else x.scale if name == "fp8" else 1
        torch.testing.assert_close((products.values_of(x) * step).float(), x.dequantize(), rtol=1e-6, atol=0)
        error = (x.dequantize() - view.x).abs().amax()
        assert error <= view.x.abs().amax() * {"fp8": 1 / 16}.get(name, 1 / 4)


def test_windows_are_parts_below_their_bound():
    values = numbers((4, 30), 1, 40).double()
    reals = products.bounded(values)
    parts = list(reals.windows(9))
    assert len(parts) > 5
    assert torch.equal(sum(parts), values)
    for index, part in enumerate(parts):
        unit = torch.exp2(reals.lowest + 9 * index).unsqueeze(-1)
        assert torch.equal((part / unit).round(), part / unit)
        assert ((part / unit).abs() < 2**9).all()


@pytest.mark.parametrize("name", BLOCK_FORMATS)
@pytest.mark.parametrize("case", ["linear", "conv2d", "grouped", "depthwise", "two filters each"])
def test_weights_have_at_rest_the_words_that_they_would_have_at_run_time(case, name):
    view, _, w = product_of(case, name, name)
    plan = operand(view.w, name)
    static = dataclasses.replace(plan, scale=weight_scales(view.w, view.lead, BLOCK_FORMATS[name], plan.tensor_scale))
    found = encode(view, view.w, static)
    assert torch.equal(found.codes, w.codes)
    assert torch.equal(found.scale, w.scale)


def test_blocks_of_single_channels_go_over_groups():
    view, x, _ = product_of("depthwise", "mxfp8-e4m3", "mxfp8-e4m3")
    scales, words = x.scale.squeeze(-1), view.across_groups(view.x)
    assert (scales[:32] == scales[0]).all()
    expected, per_block = BLOCK_FORMATS["mxfp8-e4m3"].encode(words)
    assert torch.equal(view.across_groups(x.codes), expected)
    assert torch.equal(scales[[0, 32]].movedim(0, -1), per_block)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", ["linear", "attention", "conv2d"])
def test_fast_products_are_close_and_rows_do_not_depend_on_their_batch(case, name):
    view, x, w = product_of(case, name, name)
    plan = SitePlan(x=operand(view.x, name), w=operand(view.w, name))
    exact, fast = METHOD.gemm(view, x, w, plan), METHOD.fast(view, x, w, plan)
    assert ((exact - fast).abs() / METHOD.step(view, x, w, plan)).max() <= 1
    if case == "linear":
        first = dataclasses.replace(view, x=view.x[:1])
        again = METHOD.gemm(first, encode(first, first.x, operand(view.x, name)), w, plan)
        assert torch.equal(again, exact[:1])


def test_a_plan_for_shapes_only_has_no_scale_of_the_tensor():
    view, _, _ = product_of("linear", "nvfp4", "nvfp4")
    for name in ("nvfp4", "fp8"):
        plan = dataclasses.replace(operand(view.x, name), tensor_scale=None, scale=None)
        with pytest.raises(InputError, match="no scale of its tensor"):
            encode(view, view.x, plan)


@pytest.mark.parametrize(
    ("accumulation", "sentence"),
    [("apsq", "are scaled in groups"), ("psum-block", "are scaled in groups"), ("narrow", "scales of their own")],
)
def test_sums_of_one_scale_refuse_blocks(accumulation, sentence):
    network, samples = toy_networks()["linear"]
    with pytest.raises(InputError, match=sentence):
        compose(f"mxint8+{accumulation}").calibrate(network, samples)


class TestMachines:
    SITE = Site(name="s", op="linear", m=8, k=70, n=6, x_elements=8 * 70, w_elements=70 * 6)

    def plan(self, name):
        one = operand(torch.ones(2, 2), name)
        return SitePlan(x=one, w=one)

    def test_arrays_of_integers_rescale_blocks_of_integers(self):
        assert WeightStationary().supports(self.plan("mxint8")) is None
        refused = WeightStationary(rescaling=False).supports(self.plan("mxint8"))
        assert "has a scale for every 32 elements" in refused

    @pytest.mark.parametrize("name", ["mxfp8-e4m3", "mxfp6-e2m3", "mxfp4", "nvfp4", "fp8"])
    def test_minifloats_have_no_multiplier(self, name):
        for machine in (WeightStationary(), WeightStationary(mac="float16"), Lpa()):
            assert "choose an accelerator made for that format" in machine.supports(self.plan(name))

    def test_scales_and_filled_blocks_are_moved(self):
        work = Execution(site=self.SITE, plan=self.plan("mxint8"))
        gemm = WeightStationary().job(work).gemm
        assert gemm.x_bits == gemm.w_bits == Fraction(3 * (32 * 8 + 8), 70)  # 70 elements lie in three whole blocks

    def test_blocks_of_a_convolution_go_along_channels_and_those_of_a_depthwise_one_along_groups(self):
        geometry = {"kernel": (3, 3), "stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)}
        pixels = {"input_size": (4, 4), "output_size": (4, 4)}
        dense = Site(
            name="c", op="conv2d", m=16, k=9 * 40, n=5, x_elements=16 * 40, w_elements=9 * 40 * 5,
            conv=ConvGeometry(**geometry, **pixels, channels=40),
        )  # fmt: skip
        depthwise = Site(
            name="d", op="conv2d", m=16, k=9, n=1, groups=64, x_elements=16 * 64, w_elements=9 * 64,
            conv=ConvGeometry(**geometry, **pixels, channels=64),
        )  # fmt: skip
        plan = self.plan("mxint8")
        bits = [WeightStationary().job(Execution(site=site, plan=plan)).gemm.x_bits for site in (dense, depthwise)]
        assert bits == [Fraction(2 * (32 * 8 + 8), 40), Fraction(8 * 33, 32)]
        assert [block_of(plan, site) for site in (dense, depthwise)] == [20, 1]  # of 32 and 8; every product its own
