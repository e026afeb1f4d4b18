"""AQS-GEMM: three ways to one product, zero points and splits, and the method on networks."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bitwright.errors import InputError
from bitwright.formats import Integer, PerTensor, Quantized, SlicedUnsigned, frequent_slice, slice_window
from bitwright.methods.aqs.bins import (
    centred,
    centred_zero_point,
    code_shares,
    dropped_mean,
    one_sided,
    skipped_share,
    sliced,
    widening,
)
from bitwright.methods.aqs.dbs import Step, ranked, wanted_split, within_budget
from bitwright.methods.aqs.reference import slice_product
from bitwright.methods.executor import Executor
from bitwright.methods.integer.observe import Ranges
from bitwright.methods.plan import OperandPlan
from bitwright.methods.plan_file import load_plan, save_plan
from bitwright.methods.products import integer_product, reference_product
from bitwright.methods.protocol import compose
from bitwright.methods.sensitivity import noise_sensitivity
from bitwright.networks.sites import Site
from bitwright.networks.trace import trace
from bitwright.testing import check_method
from bitwright.testing.networks import toy_networks
from toys import Calling, linear_view, network_of, normal, random_codes

seeds = st.integers(0, 2**31 - 1)
WIDTHS = (4, 7, 10, 13)


def operand(codes, fmt, zero_point=0):
    return Quantized(codes=codes, format=fmt, scale=torch.ones(()), zero_point=zero_point)


@st.composite
def products(draw):
    """x with a frequent bin and w with zero vectors, of any shape, zero point, split and width."""
    m, k, n = draw(st.integers(1, 9)), draw(st.integers(1, 12)), draw(st.integers(1, 9))
    split, zero_point, bits = draw(st.sampled_from((4, 5, 6))), draw(st.integers(0, 255)), draw(st.sampled_from(WIDTHS))
    generator = torch.Generator().manual_seed(draw(seeds))
    fmt = SlicedUnsigned(split=split)
    low, high = slice_window(frequent_slice(zero_point, split), split)
    frequent = torch.randint(low, high + 1, (m, k), generator=generator)
    anything = torch.randint(0, 256, (m, k), generator=generator)
    x = torch.where(torch.rand(m, k, generator=generator) < draw(st.sampled_from((0.0, 0.9, 1.0))), frequent, anything)
    x = (x >> (split - 4)) << (split - 4)
    w_format = Integer(bits=bits, narrow=draw(st.booleans()))
    w = random_codes(w_format, (n, k), draw(seeds))
    w = w * (torch.rand(n, k, generator=generator) < draw(st.sampled_from((0.1, 0.7, 1.0))))
    return x, w, fmt, w_format, zero_point


class TestThreeWays:
    @settings(max_examples=120, deadline=None)
    @given(products(), st.booleans(), st.booleans(), st.booleans())
    def test_slices_networks_and_plain_integers_agree(self, case, skip_x, skip_w, skip_single):
        x, w, fmt, w_format, zero_point = case
        view = linear_view(x.float(), w.float())
        quantized_x, quantized_w = operand(x, fmt, zero_point), operand(w, w_format)
        plain = reference_product(view, quantized_x, quantized_w)
        by_slices = slice_product(
            x,
            w,
            x_format=fmt,
            w_bits=w_format.bits,
            zero_point=zero_point,
            skip_x=skip_x,
            skip_w=skip_w,
            skip_single=skip_single,
        )
        assert torch.equal(torch.from_numpy(by_slices.product), plain)
        assert torch.equal(integer_product(view, quantized_x, quantized_w).long(), plain)

    @settings(max_examples=40, deadline=None)
    @given(st.sampled_from(WIDTHS), st.sampled_from(WIDTHS), st.booleans(), seeds)
    def test_signed_slices_on_both_sides(self, x_bits, w_bits, skip_x, seed):
        x = random_codes(Integer(bits=x_bits), (5, 7), seed)
        w = random_codes(Integer(bits=w_bits), (6, 7), seed + 1)
        found = slice_product(x, w, x_format=Integer(bits=x_bits), w_bits=w_bits, skip_x=skip_x, skip_w=not skip_x)
        assert torch.equal(torch.from_numpy(found.product), x @ w.t())

    def test_operation_counts_are_those_of_the_derivation(self):
        generator = torch.Generator().manual_seed(3)
        x = torch.where(torch.rand(16, 96, generator=generator) < 0.8, 168, 30)
        x = x.view(4, 4, 96)[:, :1].expand(4, 4, 96).reshape(16, 96)  # whole vectors
        w = torch.randint(-63, 64, (16, 96), generator=generator) * (
            torch.rand(4, 96, generator=generator) < 0.5
        ).repeat_interleave(4, 0)
        found = slice_product(x, w, x_format=Integer(bits=8, signed=False), w_bits=7, zero_point=168)
        x_kept = (x.view(4, 4, 96)[:, 0] != 168).sum(0)  # per k
        w_kept = ((w < -8) | (w > 7)).view(4, 4, 96).any(1).sum(0)
        assert found.executed[True, True] == int((x_kept * w_kept).sum())
        assert found.executed[False, True] == 4 * int(x_kept.sum())
        assert found.executed[True, False] == 4 * int(w_kept.sum())
        assert found.executed[False, False] == 4 * 4 * 96
        assert found.dense == 4 * found.executed[False, False]
        assert found.compensation_adds == 4 * (found.executed[True, True] + found.executed[False, True])


def seen_of(values):
    """Ranges of one site that saw these values."""
    site = Site(name="s", op="linear", m=1, k=len(values), n=1, x_elements=len(values), w_elements=1)
    low, high = values.min(), values.max()
    counts = torch.histc(values, 4096, float(low), float(high)).double()
    return Ranges(site=site, x_low=low, x_high=high, histogram=counts)


def plan_of(values):
    """An asymmetric 8-bit operand over the range of these values."""
    low, high = float(values.min()), float(values.max())
    scale = (high - low) / 255
    fmt = Integer(bits=8, signed=False)
    return OperandPlan(format=fmt, granularity=PerTensor(), scale=torch.tensor(scale), zero_point=round(-low / scale))


class TestZeroPoints:
    @given(st.integers(0, 255), st.sampled_from((4, 5, 6)))
    def test_the_centre_is_in_the_middle_of_the_same_bin_and_near(self, zero_point, split):
        moved = centred_zero_point(zero_point, split)
        low, high = slice_window(frequent_slice(zero_point, split), split)
        assert frequent_slice(moved, split) == frequent_slice(zero_point, split)
        assert moved - low == high + 1 - moved == 2 ** (split - 1)
        assert abs(moved - zero_point) <= 2 ** (split - 1)

    @given(st.integers(1, 254), st.integers(1, 254))
    def test_a_widened_range_holds_both_ends_and_no_less_would(self, old, new):
        factor = widening(old, new)
        assert factor * new >= old - 1e-9
        assert factor * (255 - new) >= 255 - old - 1e-9
        assert factor * new == pytest.approx(old) or factor * (255 - new) == pytest.approx(255 - old)

    def test_outliers_at_the_ends_are_kept_and_thin_ends_clipped(self):
        generator = torch.Generator().manual_seed(0)
        bulk = torch.randn(100_000, generator=generator).clamp(-3.9, 3.9)
        thin = torch.cat([bulk, torch.tensor([-4.0, 4.0])])
        heavy = torch.cat([bulk, torch.tensor([-4.0, 4.0]).repeat(2_000)])
        widened = {}
        for name, values in (("thin", thin), ("heavy", heavy)):
            before = sliced(plan_of(values), 4)
            after = centred(before, 4, seen_of(values))
            assert after.zero_point in (120, 136)  # from 128, as far to either
            widened[name] = float(after.scale / before.scale)
        assert widened["thin"] < 1.02
        assert widened["heavy"] == pytest.approx(128 / 120, abs=0.01)

    def test_one_sided_tensors_are_those_whose_zero_is_at_an_end(self):
        assert one_sided(0)
        assert one_sided(255)
        assert not one_sided(1)

    def test_shares_count_codes(self):
        values = torch.tensor([0.0, 0.0, 1.0, 255.0])
        shares = code_shares(seen_of(values), plan_of(values))
        assert shares.sum() == pytest.approx(1)
        assert shares[0] == pytest.approx(0.5)
        assert shares[255] == pytest.approx(0.25)

    def test_moving_to_the_centre_skips_what_the_derivation_says_on_normal_data(self):
        # sigma 4 codes around a zero point at the edge of a bin: half is lost before, P(|z| <= 8) = .954 is kept after
        values = torch.randn(200_000, generator=torch.Generator().manual_seed(0)) * 4
        values = torch.cat([values, torch.tensor([-128.0, 127.0])])
        before = sliced(dataclasses.replace(plan_of(values), zero_point=128), 4)
        seen = seen_of(values)
        after = dataclasses.replace(before, zero_point=centred_zero_point(128, 4))
        assert skipped_share(code_shares(seen, before), 128, 4) == pytest.approx(0.55, abs=0.02)
        assert skipped_share(code_shares(seen, after), after.zero_point, 4) == pytest.approx(0.952, abs=0.01)

    @pytest.mark.parametrize("split", [4, 5, 6])
    def test_dropped_bits_of_even_codes_have_the_derived_mean(self, split):
        assert dropped_mean(torch.full((256,), 1 / 256), split) == pytest.approx((2 ** (split - 4) - 1) / 2)


class TestSplits:
    def test_the_smallest_split_that_covers_enough(self):
        assert wanted_split({4: 0.95, 5: 0.99, 6: 1.0}, 0.9) == 4
        assert wanted_split({4: 0.5, 5: 0.9, 6: 1.0}, 0.9) == 5
        assert wanted_split({4: 0.1, 5: 0.2, 6: 0.3}, 0.9) == 6

    def test_a_second_step_never_comes_before_the_first(self):
        steps = [
            Step(site="a", split=5, gain=1, loss=1),
            Step(site="a", split=6, gain=9, loss=1),
            Step(site="b", split=5, gain=2, loss=1),
        ]
        assert [(step.site, step.split) for step in ranked(steps)] == [("b", 5), ("a", 5), ("a", 6)]

    @given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=30), st.integers(0, 24))
    def test_the_budget_is_kept_as_predicted_and_as_measured_and_no_next_step_fits(self, losses, budget):
        steps = [Step(site=str(i), split=5, gain=1, loss=predicted) for i, (predicted, _) in enumerate(losses)]
        totals = [[sum(pair[side] for pair in losses[:i]) for i in range(len(losses) + 1)] for side in (0, 1)]
        taken = within_budget(steps, lambda splits: 7 + totals[1][len(splits)], budget)
        assert list(taken) == [str(i) for i in range(len(taken))]
        assert all(total[len(taken)] <= budget for total in totals)
        if len(taken) < len(losses):
            assert any(total[len(taken) + 1] > budget for total in totals)


class TestMethod:
    def test_it_keeps_the_promises_of_methods(self):
        check_method("aqs")  # with smoothing

    def test_it_keeps_them_where_bits_are_dropped(self):
        check_method("aqs", options={"smoothing": "none", "dbs_budget": float("inf"), "dbs_coverage": 0.999})

    @pytest.mark.parametrize("options", [{"dbs_budget": float("inf"), "dbs_coverage": 0.999}, {"w_bits": 4}, {}])
    @pytest.mark.parametrize("name", ["linear", "conv", "attention"])
    def test_networks_compute_what_slices_compute(self, name, options):
        network, samples = toy_networks()[name]
        plan = compose("aqs", options).calibrate(network, samples)
        works = []
        Executor(network, plan, listeners=[works.append]).run(samples[0])
        assert works
        for work in works:
            if work.x.codes.dim() != 2 or work.w.codes.dim() != 2:
                continue
            fmt = work.x.format
            assert isinstance(fmt, SlicedUnsigned)
            assert not bool((work.x.codes.long() % 2 ** (fmt.split - 4)).any())
            found = slice_product(
                work.x.codes,
                work.w.codes,
                x_format=fmt,
                w_bits=work.w.format.bits,
                zero_point=work.x.zero_point,
            )
            view = linear_view(work.x.codes.float(), work.w.codes.float())
            assert torch.equal(torch.from_numpy(found.product), integer_product(view, work.x, work.w).long())

    def test_an_infinite_budget_takes_every_wanted_split_and_none_takes_none(self):
        network, samples = toy_networks()["conv"]
        blind = compose("aqs", {"dbs_budget": float("inf"), "dbs_coverage": 0.999}).calibrate(network, samples)
        off = compose("aqs", {"dbs": False}).calibrate(network, samples)
        assert {site.x.format.split for site in off.sites.values()} == {4}
        assert 6 in {site.x.format.split for site in blind.sites.values()}
        assert all(site.x.dropped_mean > 0 for site in blind.sites.values() if site.x.format.split > 4)

    @pytest.mark.parametrize(("split", "floor_db", "corrected_db"), [(5, 26.4, 28.9), (6, 18.5, 22.8)])
    def test_the_mean_of_dropped_bits_gains_what_was_derived(self, split, floor_db, corrected_db):
        values = torch.randn(200_000, generator=torch.Generator().manual_seed(1)) * 16
        fmt = SlicedUnsigned(split=split)
        codes = fmt.encode(values, 128)

        def sqnr_db(mean):
            x = Quantized(codes=codes, format=fmt, scale=torch.ones(()), zero_point=128, dropped_mean=mean)
            return float(10 * torch.log10(values.square().mean() / (x.dequantize() - values).square().mean()))

        assert sqnr_db(0.0) == pytest.approx(floor_db, abs=0.1)
        assert sqnr_db((2 ** (split - 4) - 1) / 2) == pytest.approx(corrected_db, abs=0.1)

    def test_zero_points_are_centred_unless_one_sided(self):
        network, samples = toy_networks()["conv"]
        moved = compose("aqs", {"dbs": False}).calibrate(network, samples)
        left = compose("aqs", {"dbs": False, "zpm": False}).calibrate(network, samples)
        for name, site in moved.sites.items():
            before = left.sites[name].x.zero_point
            if one_sided(before):
                assert site.x.zero_point == before
            elif site.x.zero_point != before:
                assert site.x.zero_point % 16 == 8
                assert abs(site.x.zero_point - before) < 24

    def test_plans_survive_the_file(self, tmp_path):
        network, samples = toy_networks()["conv"]
        plan = compose("aqs", {"dbs_budget": float("inf"), "dbs_coverage": 0.999}).calibrate(network, samples)
        save_plan(plan, tmp_path / "plan.safetensors")
        again = load_plan(tmp_path / "plan.safetensors", network)
        output, loaded = (Executor(network, each).run(samples[0]) for each in (plan, again))
        assert torch.equal(output, loaded)
        for name, site in plan.sites.items():
            assert again.sites[name].x.format == site.x.format
            assert again.sites[name].x.dropped_mean == site.x.dropped_mean

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"w_bits": 8}, "should be 4, 7, 10 or 13"),
            ({"x_bits": 7}, "x_bits"),
            ({"x_symmetric": True}, "x_symmetric"),
            ({"w_granularity": "group:32"}, "should be tensor or channel"),
            ({"dbs_coverage": 1.5}, "dbs_coverage"),
            ({"dbs_budget": -1}, "dbs_budget"),
            ({"sites": {"*": {"w_bits": 6}}}, "should be 4, 7, 10 or 13"),
        ],
    )
    def test_what_slices_cannot_hold_is_refused(self, options, said):
        with pytest.raises(InputError, match="option") as error:
            compose("aqs", options)
        assert said in str(error.value)


@pytest.mark.parametrize(
    "body",
    [
        lambda m, x: m.lstm(x)[0],
        lambda m, x: F.relu(F.hardswish(m.layer(x), inplace=True), inplace=True),
        torch.inference_mode()(lambda m, x: m.layer(x)),
    ],
    ids=["recurrent", "in place", "without gradients"],
)
def test_sensitivity_of_what_torch_cannot_differentiate(body):
    module = Calling(body, lstm=nn.LSTM(8, 4), layer=nn.Linear(8, 4))
    network = network_of(module, normal(6, 3, 8))
    found = noise_sensitivity(network, [network.example(None)], logits=False)
    assert found.keys() == {site.name for site in trace(network).sites}
    assert all(each > 0 for each in found.values())


def test_sensitivity_by_noise_is_that_by_gradients():
    """A linear layer adds |W|^2 of the noise's variance to the squared error, whichever way it is measured."""
    layer = nn.Linear(64, 96)
    x = normal(512, 64)
    bodies = (lambda m, x: m.layer(x), torch.inference_mode()(lambda m, x: m.layer(x)))
    expected = 512 * float(layer.weight.detach().square().sum() / layer(x).detach().square().sum())
    for body in bodies:
        network = network_of(Calling(body, layer=layer), x)
        (found,) = noise_sensitivity(network, [network.example(None)], logits=False).values()
        assert found == pytest.approx(expected, rel=0.05)
