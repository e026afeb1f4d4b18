"""Weights rounded by second-order error and on blocks' outputs, biases corrected, widths searched: for all methods."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bitwright.formats import (
    AdaptivFloat,
    Flint,
    Integer,
    LogPosit,
    PerChannel,
    PerGroup,
    PerTensor,
    Posit,
    PowerOfTwo,
    RegimeRule,
    Rounding,
)
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.plan import OperandPlan, Plan
from bitwright.methods.plan_file import load_plan, save_plan
from bitwright.methods.protocol import compose
from bitwright.methods.refine import moments, reconstruction, wide
from bitwright.methods.refine.moments import Moments, observe_moments
from bitwright.methods.refine.reconstruction import choice_of, inverse_soft, soft
from bitwright.methods.refine.refine import Refiner, can_choose
from bitwright.methods.refine.second_order import (
    curvature,
    damped,
    ldlq,
    nearest,
    second_order,
    slow_gptq,
    unit_upper,
    values_of,
)
from bitwright.methods.refine.targets import find_targets
from bitwright.networks.sites import Site
from bitwright.networks.trace import observe
from toys import Calling, network_of, normal

FORMATS = [
    Integer(bits=4, narrow=True),
    Integer(bits=8),
    LogPosit(n=4, es=1, rs=3),
    LogPosit(n=8, es=2, rs=7),
    PowerOfTwo(bits=4, signed=True),
    Flint(bits=4, signed=True),
    AdaptivFloat(bits=4, exponent_bits=2),
    AdaptivFloat(bits=8, exponent_bits=3),
    Posit(n=8, es=1),
]


def correlated(k, rows=64, seed=0):
    return normal(rows, k, seed=seed).double() @ normal(k, k, seed=seed + 1).double() / k**0.5


def problem(groups, n, k, fmt, seed):
    """A weight, its scales by its rows, the format's values, and a positive definite H; float64."""
    w = normal(groups, n, k, seed=seed).double()
    values = values_of(fmt)
    scale = (w.abs().amax(-1, keepdim=True) / values.max()).expand_as(w).contiguous()
    x = torch.stack([correlated(k, seed=seed + 7 * group) for group in range(groups)])
    return w, scale, values, damped(x.transpose(1, 2) @ x / x.shape[1])


def proxy(w, q, hessian):
    error = w - q
    return ((error @ hessian) * error).sum(-1)


class TestSecondOrder:
    @pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
    def test_values_are_what_words_stand_for(self, fmt):
        expected = fmt.decode(fmt.table().to(torch.int32)) if isinstance(fmt, Integer) else fmt.table()
        expected = expected.double()
        assert values_of(fmt).tolist() == sorted(set(expected[expected.isfinite()].tolist()))

    def test_words_beyond_rs_are_no_values(self):
        """With a terminator, rs = 2 ends what can be encoded at 2^.5, though words stand for 2 and 4."""
        fmt = LogPosit(n=4, es=0, rs=2, rule=RegimeRule.TERMINATED)
        values = values_of(fmt)
        assert values.max() == pytest.approx(2**0.5)
        assert torch.equal(fmt.decode(fmt.encode(values.float())), values.float())

    @settings(max_examples=20, deadline=None)
    @given(st.integers(1, 5), st.integers(1, 9), st.sampled_from(FORMATS[::2]), st.integers(0, 99))
    def test_feedback_is_gptq(self, n, k, fmt, seed):
        """LDLQ equals the textbook's updates by the inverse of H, code by code."""
        w, scale, values, hessian = problem(2, n, k, fmt, seed)
        found = ldlq(w, scale, values, curvature(hessian, w.dtype))
        for group in range(2):
            arrays = (each[group].numpy() for each in (w, scale))
            expected = slow_gptq(*arrays, values.numpy(), hessian[group].numpy())
            assert np.allclose(found[group].numpy(), expected, rtol=1e-12, atol=0)

    def test_blocks_make_no_difference(self, monkeypatch):
        w, scale, values, hessian = problem(1, 6, 50, Integer(bits=4, narrow=True), 3)
        whole = ldlq(w, scale, values, curvature(hessian, w.dtype))
        monkeypatch.setattr("bitwright.methods.refine.second_order.BLOCK", 7)
        assert torch.equal(ldlq(w, scale, values, curvature(hessian, w.dtype)), whole)

    def test_factor(self):
        *_, hessian = problem(3, 1, 12, Integer(bits=4), 5)
        u = unit_upper(hessian)
        assert torch.equal(u, u.triu())
        assert torch.allclose(u.diagonal(dim1=1, dim2=2), torch.ones(3, 12).double())
        inverse = torch.linalg.inv(u)
        d = inverse @ hessian @ inverse.transpose(1, 2)
        assert torch.allclose(d, torch.diag_embed(d.diagonal(dim1=1, dim2=2)), atol=1e-9)

    @settings(max_examples=20, deadline=None)
    @given(st.sampled_from(FORMATS), st.integers(0, 99), st.sampled_from([1, 2, 3]))
    def test_never_worse_than_the_nearest_row_by_row(self, fmt, seed, groups):
        w, scale, values, hessian = problem(groups, 5, 12, fmt, seed)
        found = second_order(w, scale, values, curvature(hessian, w.dtype))
        least = proxy(w, nearest(w, scale, values), hessian)
        assert (proxy(w, found, hessian) <= least * (1 + 1e-9) + 1e-15).all()
        assert torch.isin(torch.bucketize(found / scale, values - 1e-9), torch.arange(len(values) + 1)).all()

    def test_two_weights_that_the_nearest_codes_get_wrong(self):
        """x always has both channels equal, so only the sum counts: .4 + .4 is 1 + 0, not 0 + 0."""
        w = torch.tensor([[[0.4, 0.4]]], dtype=torch.float64)
        values, hessian = torch.arange(-2, 3).double(), damped(torch.ones(1, 2, 2).double())
        assert nearest(w, torch.ones_like(w), values).tolist() == [[[0.0, 0.0]]]
        assert sorted(second_order(w, torch.ones_like(w), values, curvature(hessian, w.dtype)).flatten().tolist()) == [
            0.0,
            1.0,
        ]

    def test_nothing_correlated_is_the_nearest(self):
        w, scale, values, _ = problem(1, 4, 8, Integer(bits=4, narrow=True), 1)
        diagonal = torch.diag(torch.arange(1.0, 9.0).double()).unsqueeze(0)
        assert torch.equal(second_order(w, scale, values, curvature(diagonal, w.dtype)), nearest(w, scale, values))


def rows_by_unfold(conv, x):
    """Rows [groups, rows, K] with channels inside, by torch's unfold."""
    patches = nn.functional.unfold(x, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
    patches = patches.transpose(1, 2).reshape(-1, conv.groups, x.shape[1] // conv.groups, conv.weight[0, 0].numel())
    return patches.permute(1, 0, 3, 2).flatten(2)


class TestMoments:
    @pytest.mark.parametrize(
        "layer",
        [
            nn.Conv2d(4, 6, 3, padding=1, stride=2),
            nn.Conv2d(4, 8, 3, padding=1, groups=4),
            nn.Conv2d(4, 6, (1, 3), groups=2, dilation=2),
        ],
    )
    def test_of_convolutions(self, layer):
        x = normal(3, 4, 9, 8)
        network = network_of(layer, x)
        (found,) = observe_moments(network, [{"input_0": x}], ["conv2d"]).values()
        rows = rows_by_unfold(layer, x).double()
        assert found.count == rows.shape[1]
        assert torch.allclose(found.mean_product(centred=False), rows.transpose(1, 2) @ rows / rows.shape[1], atol=1e-5)
        centred = rows - rows.mean(1, keepdim=True)
        mean = rows.mean(1)
        expected = centred.transpose(1, 2) @ centred / rows.shape[1]
        expected = expected + moments.KEPT_MEAN * mean.unsqueeze(-1) * mean.unsqueeze(-2)
        assert torch.allclose(found.mean_product(centred=True), expected, atol=1e-5)

    def test_of_linear_layers_that_share_an_input(self):
        a, b = nn.Linear(6, 4), nn.Linear(6, 3)
        x = [{"input_0": normal(5, 7, 6, seed=seed)} for seed in range(2)]
        network = network_of(Calling(lambda m, x: m.a(x).sum() + m.b(x).sum(), a=a, b=b), x[0]["input_0"])
        found = observe_moments(network, x, ["a", "b"])
        assert found["a"] is found["b"]
        rows = torch.cat([batch["input_0"].flatten(0, 1) for batch in x]).double()
        assert torch.allclose(found["a"].mean_product(centred=False), rows.t() @ rows / len(rows), atol=1e-5)

    def test_rows_are_taken_evenly(self, monkeypatch):
        monkeypatch.setattr("bitwright.methods.refine.moments.ROWS", 20)
        monkeypatch.setattr("bitwright.methods.refine.moments.ROWS_BY_K", 0)
        layer, x = nn.Conv2d(4, 6, 3), normal(3, 4, 9, 8)
        (found,) = observe_moments(network_of(layer, x), [{"input_0": x}], ["conv2d"]).values()
        rows = rows_by_unfold(layer, x)[:, :: -(-3 * 42 // 20)].double()
        assert found.count == rows.shape[1] <= 20
        assert torch.allclose(found.mean_product(centred=False), rows.transpose(1, 2) @ rows / rows.shape[1], atol=1e-5)


class TestCodes:
    @pytest.mark.parametrize("granularity", [PerTensor(), PerChannel(), PerGroup(8)], ids=str)
    @pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
    def test_values_on_the_grid_have_their_own_codes(self, fmt, granularity):
        """encode(value * scale) is the code of the value, at scales that are no powers of two."""
        values = values_of(fmt).float()
        scale = {PerTensor: torch.tensor(0.0137), PerChannel: normal(5, 1).abs() * 0.01 + 1e-3}
        if isinstance(granularity, PerGroup):
            if not isinstance(fmt, Integer):
                return  # only integers have groups
            scale[PerGroup] = normal(5, -(-len(values) // 8)).abs() * 0.01 + 1e-3
        of = scale[type(granularity)]
        spread = of.repeat_interleave(8, -1)[:, : len(values)] if isinstance(granularity, PerGroup) else of
        reals = (values * spread).float()
        codes = fmt.encode(reals / spread)
        assert torch.equal(fmt.decode(codes), values.expand_as(reals))

    def test_who_can_choose(self):
        scale = torch.ones(())
        plan = OperandPlan(format=Integer(bits=4), granularity=PerTensor(), scale=scale)
        assert can_choose(plan)
        assert not can_choose(dataclasses.replace(plan, scale=None))
        assert not can_choose(dataclasses.replace(plan, format=Integer(bits=4, rounding=Rounding.FLOOR)))


def small(seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 8)]
    return network_of(nn.Sequential(*layers), normal(64, 24))


def mixing(seed):
    """Inputs whose channels depend on each other."""
    return normal(64, 24, seed=seed) @ normal(24, 24, seed=99) / 5


SAMPLES = [{"input_0": mixing(seed)} for seed in range(4)]


def error_of(network, plan, batch):
    with torch.no_grad():
        wanted = network.forward(batch)
    return float((Executor(network, plan).run(batch) - wanted).square().sum() / wanted.square().sum())


class TestMethods:
    @pytest.mark.parametrize(
        "method",
        [
            "w4a8",
            "int8",
            "aqs-w4",
            "ant-w4a8",
            "af4",
            "lp4",
            "mxfp4",
            "nvfp4",
            "mixed",
            "int8+apsq",
            "int8+drift",
            "int8+drq",
        ],
    )
    def test_every_method_runs_through_it_and_keeps_its_plan(self, method, tmp_path):
        network = small()
        options = {"w_granularity": "channel"} if method == "w4a8" else {}
        plan = compose(method, options).calibrate(network, SAMPLES)
        held = {"input_0": mixing(77)}
        output = Executor(network, plan).run(held)
        save_plan(plan, tmp_path / "plan")
        assert torch.equal(Executor(network, load_plan(tmp_path / "plan", network)).run(held), output)
        plain = compose(method, {**options, "w_rounding": "nearest", "bias_correction": False})
        before = plain.calibrate(network, SAMPLES)
        assert not before.weights
        assert error_of(network, plan, held) < 1.25 * error_of(network, before, held)

    @pytest.mark.parametrize("method", ["w4a8", "aqs-w4", "ant-w4a8", "af4", "lp4", "mxfp4", "nvfp4", "mxint8"])
    def test_codes_are_the_chosen_ones(self, method):
        """What execution makes of the plan's weights decodes to these very weights."""
        network = small()
        plan = compose(method, {"bias_correction": False}).calibrate(network, SAMPLES)
        heard = []
        Executor(network, plan, listeners=[heard.append]).run(SAMPLES[0])
        chosen = {name for name in plan.weights if name.endswith("weight")}
        assert chosen
        for work in heard:
            if f"{work.site.name}.weight" in chosen:
                assert torch.allclose(work.w.dequantize(), plan.weights[f"{work.site.name}.weight"], rtol=1e-6, atol=0)

    def test_second_order_loses_less_than_the_nearest_codes(self):
        network, held = small(), {"input_0": mixing(77)}
        errors = {}
        for how in ("nearest", "second-order"):
            options = {"w_rounding": how, "bias_correction": False, "w_bits": 4, "ends": "same"}
            errors[how] = error_of(network, compose("int8", options).calibrate(network, SAMPLES), held)
        assert errors["second-order"] < 0.8 * errors["nearest"]

    def test_means_are_restored(self):
        """On samples that are all seen, every layer's output has the float network's channel means."""
        network = small()
        batch = {"input_0": torch.cat([each["input_0"] for each in SAMPLES])}
        plan = compose("int8", {"w_bits": 4, "ends": "same", "smoothing": "none"}).calibrate(network, [batch])
        assert {"0.bias", "2.bias", "4.bias"} <= set(plan.weights)
        with torch.no_grad():
            wanted = network.forward(batch).mean(0)
        uncorrected = {name: values for name, values in plan.weights.items() if name.endswith("weight")}
        moved = {}
        for name, weights in (("yes", plan.weights), ("no", uncorrected)):
            output = Executor(network, dataclasses.replace(plan, weights=weights)).run(batch)
            moved[name] = float((output.mean(0) - wanted).abs().max())
        assert moved["yes"] < moved["no"] / 3

    def test_options_of_single_sites(self):
        sites = {"2": {"w_rounding": "nearest", "bias_correction": False}}
        plan = compose("w4a8", {"w_granularity": "channel", "sites": sites}).calibrate(small(), SAMPLES)
        assert "0.weight" in plan.weights
        assert not {"2.weight", "2.bias"} & set(plan.weights)

    def test_narrow_codes_are_left_uncorrected_where_the_rule_says_so(self):
        network = small()
        rows = compose("drift-rows", {"delta": 0.1}).calibrate(network, SAMPLES)
        static = compose("int8").calibrate(network, SAMPLES)
        assert rows.weights.keys() == static.weights.keys()
        assert all(torch.equal(values, static.weights[name]) for name, values in rows.weights.items())


class TestTargets:
    def test_weights_that_serve_twice_or_are_computed_stay(self):
        layer, own = nn.Linear(8, 8), nn.Linear(8, 8)
        normed = nn.utils.parametrizations.weight_norm(nn.Linear(8, 8))

        def forward(m, x):
            return m.own(m.normed(m.layer(m.layer(x)))) + (x @ m.other) + m.seen(x) + m.seen.weight.sum()

        module = Calling(forward, layer=layer, own=own, normed=normed, other=normal(8, 8), seen=nn.Linear(8, 8))
        assert set(find_targets(network_of(module, normal(4, 8)))) == {"own", "other"}

    def test_rows_and_places(self):
        """A weight that is read transposed comes back where it was."""
        network = network_of(Calling(lambda m, x: x @ m.other, other=normal(8, 6)), normal(4, 8))
        (target,) = find_targets(network).values()
        parameter = network.module.other
        rows = target.rows(target.view(parameter.detach()))
        assert torch.equal(rows[0], parameter.detach().t())
        assert torch.equal(target.placed(rows, parameter), parameter)
        assert torch.equal(target.placed(rows + 1, parameter), parameter.detach() + 1)


class TestReconstruction:
    def test_rectified_sigmoid(self):
        h = torch.tensor([0.0, 0.2, 0.5, 0.8, 1.0])
        assert torch.allclose(soft(inverse_soft(h)), h, atol=1e-6)
        assert soft(torch.tensor([-9.0, 9.0])).tolist() == [0.0, 1.0]

    def test_neighbours(self):
        """The chosen value and the next one on the side of the real weight, within the grid."""
        w, values = torch.tensor([0.3, 1.2, 5.0, -0.4, 0.3]), torch.arange(-2, 3).double()
        q = torch.tensor([0.0, 2.0, 2.0, 0.0, 1.0])
        choice = choice_of(w, q, torch.ones(5), values)
        assert choice.low.tolist() == [0.0, 1.0, 2.0, -1.0, 0.0]
        assert choice.high.tolist() == [1.0, 2.0, 2.0, 0.0, 1.0]
        high = torch.where(choice.start > 0.5, choice.high, choice.low)
        assert torch.equal(high, q)

    def test_exponent_is_annealed(self):
        found = [reconstruction.exponent(share) for share in (0.0, 0.5, 1.0)]
        assert found == pytest.approx([20.0, 11.0, 2.0], abs=1e-5)

    def test_blocks_learn(self, monkeypatch):
        monkeypatch.setattr(reconstruction, "STEPS", 100)
        torch.manual_seed(1)
        blocks = [nn.Sequential(nn.Linear(24, 24), nn.ReLU(), nn.Linear(24, 24)) for _ in range(3)]
        for name, values in nn.Sequential(*blocks).named_parameters():
            values.data.mul_(3 if name.endswith("weight") else 1)
        network = network_of(nn.Sequential(*blocks), normal(64, 24))
        held, errors = {"input_0": mixing(77)}, {}
        for how in ("second-order", "reconstruction"):
            options = {"w_rounding": how, "w_bits": 3, "ends": "same", "smoothing": "none"}
            plan = compose("int8", options).calibrate(network, SAMPLES)
            errors[how] = error_of(network, plan, held)
            heard = []
            Executor(network, plan, listeners=[heard.append]).run(held)
            for work in heard:
                weight = plan.weights[f"{work.site.name}.weight"]
                assert torch.allclose(work.w.dequantize(), weight, rtol=1e-6, atol=0)
        assert errors["reconstruction"] < errors["second-order"]


class TestWide:
    def sites(self):
        shape = {"op": "linear", "k": 1, "n": 1, "x_elements": 1, "w_elements": 1}
        return [Site(name=name, m=m, **shape) for name, m in (("a", 1), ("b", 8), ("c", 1))]

    def test_kinds(self):
        assert wide.kinds_of(self.sites(), lambda name: name != "c") == {"first": ["a"]}

    def test_a_kind_that_is_worth_its_time_stays_wide(self):
        """Loss 1 falls to .2 with a wide, to .99 with c: only a pays for a tenth more time."""
        narrow = OperandPlan(format=Integer(bits=4), granularity=PerTensor(), scale=torch.ones(()))
        broad = dataclasses.replace(narrow, format=Integer(bits=8))
        x = dataclasses.replace(narrow, format=Integer(bits=8))
        from bitwright.methods.plan import SitePlan

        plan = Plan(method="toy", sites={name: SitePlan(x=x, w=narrow) for name in "abc"})

        def loss(plan, weights):
            assert ("a.weight" in weights) == (plan.sites["a"].w_bits == 4)
            return (0.2 if plan.sites["a"].w_bits == 8 else 1.0) * (0.99 if plan.sites["c"].w_bits == 8 else 1.0)

        found = wide.widened(
            plan,
            {f"{name}.weight": torch.zeros(1) for name in "abc"},
            kinds=wide.kinds_of(self.sites(), lambda name: True),
            operands=dict.fromkeys("abc", broad),
            parameters={name: f"{name}.weight" for name in "abc"},
            sites=self.sites(),
            loss=loss,
        )
        assert found.wide == {"a"}
        assert wide.multiplier_time(found.plan, self.sites()) == 8 * (8 + 9 * 4)
        assert [found.plan.sites[name].w_bits for name in "abc"] == [8, 4, 4]
        assert "first" in found.plan.notes[-1]


def test_nothing_to_do_without_numbers_or_biases():
    network = network_of(nn.Linear(8, 4, bias=False), normal(16, 8))
    samples = [{"input_0": normal(16, 8, seed=seed)} for seed in range(3)]
    assert not compose("int8").calibrate(network, samples).weights
    from bitwright.networks.load import load

    assert not compose("w4a8", {"w_granularity": "channel"}).calibrate(load("gemm:8x16x4"), []).weights


def test_one_sample_judges_itself():
    network = network_of(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8)), normal(1, 8))
    plan = compose("w4a8", {"w_granularity": "channel"}).calibrate(network, [{"input_0": normal(1, 8)}])
    assert Executor(network, plan).run({"input_0": normal(1, 8)}).isfinite().all()


def test_the_float_network_is_the_aim():
    """Means come from weights before they were rounded."""
    network = small()
    plan = compose("w4a8", {"w_granularity": "channel"}).calibrate(network, SAMPLES)
    refiner = Refiner(network, SAMPLES, plan, compose("w4a8"), compose("w4a8").methods[0][2])
    aims = refiner.trial.reference[1][0]
    expected = {}

    def watch(site, view):
        y = view.float_result()
        expected[site.name] = y.reshape(-1, y.shape[-1]).mean(0)
        return y

    observe(prepare(network, dataclasses.replace(plan, weights={})), SAMPLES[0], watch)
    assert all(torch.equal(aims[name], expected[name]) for name in aims)
    assert isinstance(observe_moments(network, SAMPLES, ["0"])["0"], Moments)


def test_moments_beyond_float32_leave_the_nearest_codes():
    """x of 1e20 has squares that float32 has no number for."""
    network = network_of(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4)), normal(8, 16))
    samples = [{"x": normal(8, 16, seed=i) * 1e20} for i in range(3)]
    options = {"smoothing": "none", "bias_correction": False, "rotation": "none"}
    found, nearest = (
        compose("int8", {**options, "w_rounding": rounding}).calibrate(network, samples)
        for rounding in ("second-order", "nearest")
    )
    assert not found.weights
    assert found.sites.keys() == nearest.sites.keys()


def test_two_parameters_of_one_memory_stay():
    """A weight that becomes another would change the other layer's, too."""
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = nn.Parameter(first.weight.data)
    network = network_of(nn.Sequential(first, nn.ReLU(), second, nn.Linear(8, 4)), normal(4, 8))
    assert {target.parameter for target in find_targets(network).values()} == {"3.weight"}
