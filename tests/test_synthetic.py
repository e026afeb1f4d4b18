"""Synthetic operands: what they are drawn from, that equal sites share them, and that every result says so."""

import csv
import dataclasses
import json
import math
from typing import ClassVar

import pytest
import torch
from tests.test_studies import Honest, NeedsCodes
from tests.toys import Calling, generator, network_of
from torch.nn import functional as F
from typer.testing import CliRunner

from bitwright.cli.main import app
from bitwright.errors import InputError
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor, composition_of
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan, same_plan
from bitwright.methods.plan_file import load_plan, save_plan
from bitwright.methods.rules import SubTensors
from bitwright.networks import convnets
from bitwright.networks.catalogue import DISTRIBUTIONS
from bitwright.networks.load import load
from bitwright.networks.network import InputShape
from bitwright.networks.rectified import Rectified
from bitwright.networks.synthetic import draw, synthetic_calls, synthetic_sites, with_distribution
from bitwright.networks.trace import example_batch, observe, trace
from bitwright.studies.inputs import simulation_input
from bitwright.studies.simulate import Costing, simulate
from bitwright.tasks.calibrate import SHAPES, calibrate_method

RUNNER = CliRunner()
WORKLOAD = """
name: mixture
layers:
  - {name: conv, op: conv2d, batch: 2, channels: 8, height: 9, width: 7, filters: 4, kernel: 3, stride: 2, padding: 1,
     groups: 2}
  - {name: fc, op: gemm, m: 5, k: 8, n: 6}
  - {name: grouped, op: linear, m: 5, k: 8, n: 6, groups: 3}
  - {name: matmul, op: matmul, m: 5, k: 8, n: 6}
  - {name: qk, op: attention_qk, m: 5, k: 8, n: 6, groups: 2}
  - {name: pv, op: attention_pv, m: 5, k: 6, n: 8, groups: 2}
  - {name: fc2, op: linear, m: 5, k: 8, n: 6}
"""
WORKLOAD_SHAPES = {  # x [*groups, *rows, *size, channels], w [*groups, columns, *kernel, channels]
    "conv": ((2, 2, 9, 7, 4), (2, 2, 3, 3, 4)),
    "fc": ((5, 8), (6, 8)),
    "grouped": ((3, 5, 8), (3, 6, 8)),
    "matmul": ((5, 8), (6, 8)),
    "qk": ((1, 2, 5, 8), (1, 2, 6, 8)),
    "pv": ((1, 2, 5, 6), (1, 2, 8, 6)),
    "fc2": ((5, 8), (6, 8)),
}


def drawn(kind, *shape, seed=0, axis=-1):
    return draw(kind, shape, generator=generator(seed), axis=axis)


def on_meta(function, *shapes, distribution="gaussian", seed=0, **parameters):
    """A network with shapes only and synthetic operands, of a function of its inputs and parameters."""
    with torch.device("meta"):
        made = {
            name: value if isinstance(value, torch.nn.Module) else torch.empty(*value)
            for name, value in parameters.items()
        }
        network = network_of(Calling(function, **made), *(torch.empty(*shape) for shape in shapes))
    return with_distribution(network, distribution, seed)


def resnet(distribution="laplace", **settings):
    return load("resnet18", shape=InputShape(image_size=32), distribution=distribution, **settings)


def calls_of(network):
    batch = {} if network.module is None else example_batch(network)
    return list(synthetic_calls(network, batch))


def kinds(network):
    return [each.kind for each in synthetic_sites(network, example_batch(network))]


def plan_of(network, method="int8", **options):
    return calibrate_method(network, method, options=options)


@pytest.fixture
def workload(tmp_path):
    (tmp_path / "mixture.yaml").write_text(WORKLOAD)
    return load(str(tmp_path / "mixture.yaml"), distribution="gaussian")


class TestDistributions:
    @pytest.mark.parametrize(
        ("kind", "mean", "mean_magnitude", "mean_square", "fourth_moment"),
        [
            ("gaussian", 0, math.sqrt(2 / math.pi), 1, 3),
            ("laplace", 0, math.sqrt(1 / 2), 1, 6),
            ("one-sided", 1 / math.sqrt(2 * math.pi), 1 / math.sqrt(2 * math.pi), 1 / 2, 3 / 2),
        ],
    )
    def test_moments(self, kind, mean, mean_magnitude, mean_square, fourth_moment):
        x = drawn(kind, 1000, 1000).double()
        assert x.mean() == pytest.approx(mean, abs=0.005)
        assert x.abs().mean() == pytest.approx(mean_magnitude, rel=0.005)
        assert x.square().mean() == pytest.approx(mean_square, rel=0.005)
        assert x.pow(4).mean() == pytest.approx(fourth_moment, rel=0.03)

    def test_one_sided_is_half_zero(self):
        x = drawn("one-sided", 1000, 100)
        assert x.min() == 0
        assert (x == 0).double().mean() == pytest.approx(0.5, abs=0.01)

    @pytest.mark.parametrize(("channels", "outliers"), [(300, 3), (40, 1), (1, 1)])
    def test_outliers_are_a_share_of_the_channels(self, channels, outliers):
        for axis, shape in ((-1, (2000, channels)), (1, (20, channels, 10, 10))):
            deviation = drawn("outliers", *shape, axis=axis).movedim(axis, 0).flatten(1).std(dim=1)
            large = deviation[deviation > 5]
            assert len(large) == outliers
            assert large.tolist() == pytest.approx([20] * outliers, rel=0.1)
            assert all(0.9 < value < 1.1 for value in deviation[deviation < 5])

    def test_exponentials_are_those_of_gaussian_scores(self):
        x = drawn("exponentials", 2, 3, 50, 400)
        assert torch.equal(x.amax(-1), torch.ones(2, 3, 50))
        assert x.min() > 0
        assert x.log().std(-1).mean() == pytest.approx(1, rel=0.01)
        assert not torch.equal(x[0, 0], x[1, 2])

    def test_causal_exponentials_see_nothing_later(self):
        x = drawn("causal exponentials", 2, 8, 8)
        assert torch.equal(x > 0, torch.ones(2, 8, 8).tril() > 0)
        assert torch.equal(x.amax(-1), torch.ones(2, 8))

    @pytest.mark.parametrize("kind", DISTRIBUTIONS)
    def test_the_seed_decides(self, kind):
        first, again, other = (drawn(kind, 16, 16, seed=seed) for seed in (1, 1, 2))
        assert torch.equal(first, again)
        assert not torch.equal(first, other)
        assert first.dtype == torch.float32


class TestRectified:
    @pytest.mark.parametrize(
        ("expected", "function"),
        [
            (True, F.relu),
            (True, F.relu6),
            (True, torch.relu),
            (True, lambda x: x.relu_()),
            (True, torch.nn.ReLU(inplace=True)),
            (True, torch.nn.ReLU6()),
            (True, torch.nn.Hardtanh(0, 1)),
            (False, torch.nn.Hardtanh()),
            (True, lambda x: x.clamp(min=0)),
            (True, lambda x: torch.clamp_min(x, 0)),
            (False, lambda x: x.clamp(max=0)),
            (False, torch.nn.functional.leaky_relu),
            (False, lambda x: x),
            (True, lambda x: F.max_pool2d(F.relu(x), 2)),
            (True, lambda x: F.relu(x).transpose(2, 3).reshape(1, 4, 8, 8).contiguous()),
            (True, lambda x: F.dropout(F.relu(x), training=False)),
            (True, lambda x: F.relu(x).chunk(2, dim=2)[1]),
            (True, lambda x: torch.cat([F.relu(x), F.relu6(x)], dim=2)),
            (False, lambda x: torch.cat([F.relu(x), x], dim=2)),
            (False, lambda x: F.avg_pool2d(F.relu(x), 2)),
            (False, lambda x: F.relu(x) - 1),
            (False, lambda x: F.relu(x).sub_(1)),
            (True, lambda x: F.relu(x - 1)),
        ],
    )
    def test_what_a_relu_made(self, expected, function):
        network = on_meta(lambda self, x: F.conv2d(function(x + 0), self.w), (1, 4, 8, 8), w=(4, 4, 1, 1))
        assert kinds(network) == ["one-sided" if expected else "gaussian"]

    def test_changes_in_place_end_it(self):
        def run(self, x):
            y = F.relu(x)
            first = F.linear(y, self.w)
            y[0] = -1
            return first, F.linear(y, self.w)

        assert kinds(on_meta(run, (4, 8), w=(8, 8))) == ["one-sided", "gaussian"]

    def test_without_tensors(self):
        seen = Rectified()
        seen.watch(torch.relu, (), {}, None)
        assert torch.ones(1) not in seen

    def test_resnet(self):
        network = resnet("outliers")
        found = dict(zip([site.name for site in trace(network).sites], kinds(network), strict=True))
        assert {name for name, kind in found.items() if kind == "outliers"} == {"conv1", "fc"}  # fc reads an average
        assert set(found.values()) == {"outliers", "one-sided"}


class TestCalls:
    def test_workload_sites_keep_their_shapes(self, workload):
        views = calls_of(workload)
        assert [site for site, _, _ in views] == list(workload.sites)
        for site, view, _ in views:
            assert (tuple(view.x.shape), tuple(view.w.shape)) == WORKLOAD_SHAPES[site.name]
            assert view.site(site.name) == site
            assert (view.weight is None) == (site.name in {"matmul", "qk", "pv"})
            assert view.bias is None
            assert view.x.device.type == view.w.device.type == "cpu"
        assert [(site.name, same) for site, _, same in views if same] == [("fc2", "fc")]

    def test_module_sites_keep_their_shapes(self):
        def run(self, x, image, query, key):
            y = torch.addmm(self.bias, x, self.w)
            z = F.conv2d(image, self.filters, self.filters[:, 0, 0, 0], stride=2, padding="valid", groups=2)
            shared = F.scaled_dot_product_attention(query, key, key, is_causal=True, enable_gqa=True)
            return y @ y.t(), z, shared, torch.matmul(query, key[:, :1].transpose(2, 3))

        network = on_meta(
            run, (6, 8), (1, 4, 9, 9), (2, 4, 3, 8), (2, 2, 3, 8), w=(8, 10), bias=(10,), filters=(6, 2, 3, 3)
        )
        views = calls_of(network)
        assert [site for site, _, _ in views] == list(trace(network).sites)
        assert all(view.site(site.name) == site for site, view, _ in views)
        for site, view, _ in views:
            real = view.result(view.product(view.x, view.w))
            assert view.float_result().shape == real.shape
            assert view.float_result().is_meta
            assert view.x.isfinite().all(), site
        parts = {site.op: view for site, view, _ in views}
        assert torch.equal(parts["attention_pv"].x > 0, torch.ones(2, 4, 3, 3).tril() > 0)
        keys = parts["attention_qk"].w
        assert torch.equal(keys[:, 0], keys[:, 1])  # two query heads share them
        assert not torch.equal(keys[:, 1], keys[:, 2])

    def test_the_left_operand_of_pv_has_no_choice(self, workload):
        for distribution in DISTRIBUTIONS:
            network = dataclasses.replace(workload, distribution=distribution)
            x = next(view.x for site, view, _ in calls_of(network) if site.name == "pv")
            assert torch.equal(x.amax(-1), torch.ones(1, 2, 5))

    def test_equal_sites_share_their_tensors(self):
        first = {}
        for site, view, same in calls_of(resnet()):
            first.setdefault(same or site.name, view)
            assert view is first[same or site.name]
        assert list(first)[1] == "layer1.0.conv1"
        assert len(first) == 12  # of 21: four equal 3x3 convolutions in the first stage, three in the others

    def test_a_tensor_is_drawn_once_and_let_go(self, workload, monkeypatch):
        count = []
        monkeypatch.setattr("bitwright.networks.synthetic.draw", lambda *a, **k: count.append(a) or draw(*a, **k))
        for _ in calls_of(workload):
            pass
        assert len(count) == 2 * 6

    def test_the_seed_and_the_distribution_decide(self):
        def x_of(**settings):
            return calls_of(load("gemm:8x16x8", **settings))[0][1].x

        x = x_of(distribution="laplace")
        assert torch.equal(x, x_of(distribution="laplace", seed=0))
        assert not torch.equal(x, x_of(distribution="laplace", seed=1))
        assert not torch.equal(x, x_of(distribution="gaussian"))

    def test_parameters_are_gaussian_whatever_x_is(self):
        gaussian, other = (calls_of(load("gemm:8x16x8", distribution=d))[0][1] for d in ("gaussian", "one-sided"))
        assert torch.equal(gaussian.w, other.w)
        assert other.x.min() == 0

    def test_observing_hands_over_every_site(self, workload):
        found = []
        observe(workload, {}, lambda site, view: found.append((site, view.x.shape)) or view.float_result())
        assert [site.name for site, _ in found] == list(WORKLOAD_SHAPES)
        observe(resnet(), example_batch(resnet()), lambda site, view: found.append(site) or view.float_result())
        assert len(found) == 7 + 21


class TestLoad:
    def test_it_says_so(self):
        network = load("gemm:4x4x4", distribution="laplace", seed=3)
        assert network.notes == (
            "operands are synthetic (laplace, seed 3): "
            "skip rates and costs that depend on values are not this network's",
        )
        assert simulation_input(network) == (None, "synthetic operands (laplace, seed 3) of the given sizes")
        assert simulation_input(resnet())[1] == "synthetic operands (laplace, seed 0): pixel_values 1x3x32x32"

    def test_without_it_nothing_changes(self):
        network = load("gemm:4x4x4")
        assert (network.distribution, network.notes) == ("", ())
        assert simulation_input(network) == (None, "the given sizes")
        assert plan_of(network).calibrated_on == SHAPES
        assert plan_of(network).site("gemm").x.scale is None

    def test_unknown_distribution(self):
        with pytest.raises(InputError, match=r"unknown distribution 'laplce'\. Did you mean 'laplace'"):
            load("resnet18", distribution="laplce")

    def test_a_network_with_numbers_has_its_own(self, tmp_path):
        from safetensors.torch import save_file

        save_file(convnets.MobileNetV2().state_dict(), tmp_path / "w.safetensors")
        with pytest.raises(InputError, match=r"mobilenetv2 has numbers of its own.*; leave --distribution out\.$"):
            load("mobilenetv2", weights=tmp_path / "w.safetensors", distribution="gaussian")


class TestPlans:
    def test_calibrated_on_synthetic_operands(self):
        network = load("gemm:64x96x32", distribution="gaussian", seed=5)
        plan = plan_of(network)
        assert plan.calibrated_on == "synthetic operands (gaussian, seed 5)"
        assert plan.notes == network.notes
        ((_, view, _),) = calls_of(network)
        low, high = float(view.x.min()), float(view.x.max())
        assert float(plan.site("gemm").x.scale) == pytest.approx((high - low) / 255, rel=1e-5)
        assert plan_of(network, "float").calibrated_on == "nothing"

    def test_one_sided_activations_start_at_code_0(self):
        assert plan_of(load("gemm:64x96x32", distribution="one-sided")).site("gemm").x.zero_point == 0
        assert plan_of(load("gemm:64x96x32", distribution="one-sided"), "int8-token").site("gemm").x_type == "uint8"

    def test_a_plan_for_other_operands_is_refused(self, tmp_path):
        network, other = (load("gemm:8x8x8", distribution=name) for name in ("gaussian", "laplace"))
        save_plan(plan_of(network), tmp_path / "p")
        assert load_plan(tmp_path / "p", network).calibrated_on == plan_of(network).calibrated_on
        says = r"it has synthetic operands \(laplace, seed 0\) instead of synthetic operands \(gaussian, seed 0\)"
        with pytest.raises(InputError, match=says):
            load_plan(tmp_path / "p", other)
        with pytest.raises(InputError, match=r"it has synthetic operands \(laplace, seed 0\) instead of no synthetic"):
            simulate(other, plan_of(load("gemm:8x8x8")), {"toy": Honest()})

    def test_plans_are_compared_by_value(self):
        network = load("gemm:8x8x8", distribution="gaussian")
        plan, again = plan_of(network).site("gemm"), plan_of(network).site("gemm")
        assert same_plan(plan, again)
        assert same_plan(FLOAT_SITE, SitePlan())
        assert not same_plan(plan, FLOAT_SITE)
        for changed in (
            dataclasses.replace(plan, x=dataclasses.replace(plan.x, zero_point=plan.x.zero_point + 1)),
            dataclasses.replace(plan, x=dataclasses.replace(plan.x, scale=plan.x.scale * 2)),
            dataclasses.replace(plan, x=dataclasses.replace(plan.x, scale=None)),
            dataclasses.replace(plan, w=OperandPlan(format=plan.x.format, granularity=plan.w.granularity)),
            dataclasses.replace(plan, accumulation=PartialSums(kind=Kind.PSQ, tile=8)),
            dataclasses.replace(plan, precision=SubTensors(block=1)),
            dataclasses.replace(
                plan,
                accumulation=PartialSums(
                    kind=Kind.PSQ,
                    tile=8,
                    tile_scales=torch.ones(1),
                    sum_scales=torch.ones(1),
                    centres=torch.ones(4, dtype=torch.int32),
                ),
            ),
        ):
            assert not same_plan(plan, changed)
            assert same_plan(changed, dataclasses.replace(changed))


class Listening(NeedsCodes):
    """Keeps what it was asked to cost."""

    heard: ClassVar[list[Execution]] = []

    def run(self, work):
        self.heard.append(work)
        return super().run(work)


@pytest.fixture
def machine():
    Listening.heard.clear()
    return Listening()


def hear(network, plan):
    heard = []
    Executor(network, plan, listeners=[heard.append], prepared=True).hear()
    return heard


class TestHearing:
    def test_the_codes_of_every_site(self, workload):
        plan = plan_of(workload)
        encoder = composition_of(plan).encoder()
        for work, (site, view, _) in zip(hear(workload, plan), calls_of(workload), strict=True):
            assert work.site == site
            assert work.plan is plan.site(site.name)
            assert (tuple(work.x.codes.shape), tuple(work.w.codes.shape)) == WORKLOAD_SHAPES[site.name]
            assert torch.equal(work.x.codes, encoder.encode_x(view, work.plan).codes)
            assert torch.equal(work.w.codes, encoder.encode_w(view, work.plan).codes)
            assert work.same_as == ("fc" if site.name == "fc2" else "")

    def test_equal_sites_share_one_encoding(self, monkeypatch):
        network = resnet()
        plan = plan_of(network)
        encoder, count = composition_of(plan).encoder(), []
        encode_x = type(encoder).encode_x
        monkeypatch.setattr(
            type(encoder), "encode_x", lambda self, view, plan: count.append(view) or encode_x(self, view, plan)
        )
        works = {work.site.name: work for work in hear(network, plan)}
        assert len(count) == 12
        assert len(works) == 21
        for work in works.values():
            if work.same_as:
                assert work.x is works[work.same_as].x
                assert work.w is works[work.same_as].w

    def test_equal_sites_with_other_plans_are_not_the_same(self):
        network = resnet()
        plan = plan_of(network, sites={"layer1.0.conv2": {"x_bits": 7}, "layer1.1.conv2": {"x_bits": 7}})
        works = {work.site.name: work for work in hear(network, plan)}
        assert works["layer1.0.conv2"].same_as == ""
        assert works["layer1.1.conv1"].same_as == "layer1.0.conv1"
        assert works["layer1.1.conv2"].same_as == "layer1.0.conv2"
        assert works["layer1.1.conv2"].x.format.bits == 7

    def test_float_sites_have_no_codes(self):
        works = hear(resnet(), plan_of(resnet(), "float"))
        assert len(works) == 21
        assert all(work.x is work.w is None for work in works)

    def test_a_site_that_was_never_calibrated(self, workload):
        plan = plan_of(workload)
        short = dataclasses.replace(plan, sites={"fc": plan.sites["fc"]})
        with pytest.raises(InputError, match="'conv' is not in the plan"):
            hear(workload, short)


class TestCosts:
    def test_a_machine_that_needs_codes_hears_them(self, machine):
        network = load("gemm:64x96x32", distribution="laplace")
        found = simulate(network, plan_of(network), {"toy": machine})["toy"]
        assert found.refusal is None
        assert found.notes == network.notes
        (work,) = machine.heard
        assert (tuple(work.x.codes.shape), tuple(work.w.codes.shape)) == ((64, 96), (32, 96))
        assert work.x.codes.unique().numel() > 100

    def test_without_synthetic_operands_it_says_what_to_do(self, machine):
        network = load("gemm:64x96x32")
        found = simulate(network, plan_of(network), {"toy": machine})["toy"]
        assert found.refusal.endswith("load a network with weights, or give --distribution for synthetic operands")
        assert machine.heard == []

    def test_equal_sites_are_costed_once(self, machine):
        network = resnet()
        found = simulate(network, plan_of(network), {"toy": machine})["toy"]
        assert len(machine.heard) == 12
        assert len(found.sites) == 21
        assert [entry.site for entry in found.sites] == list(trace(network).sites)
        assert found.cost.macs_dense == found.macs
        by_name = {entry.site.name: entry for entry in found.sites}
        assert by_name["layer4.1.conv2"].cost is by_name["layer4.0.conv2"].cost

    def test_costs_are_those_of_shapes_on_a_machine_that_looks_at_no_values(self):
        plain, synthetic = load("resnet18", shape=InputShape(image_size=32)), resnet()
        costs = [simulate(network, plan_of(network), {"toy": Honest()})["toy"].cost for network in (plain, synthetic)]
        assert costs[0] == costs[1]

    @pytest.mark.parametrize("change", ["plan", "shape", "nobody"])
    def test_what_is_not_equal_is_costed_anew(self, machine, change):
        network = load("gemm:8x8x8", distribution="gaussian")
        (work,) = hear(network, plan_of(network))
        costing = Costing("toy", machine)
        costing(work)
        later = dataclasses.replace(work, site=dataclasses.replace(work.site, name="later"), same_as="gemm")
        costing(later)
        assert len(machine.heard) == 1
        plan = dataclasses.replace(work.plan, x=dataclasses.replace(work.plan.x, zero_point=1))
        third = dataclasses.replace(later, site=dataclasses.replace(work.site, name="third"))
        costing(
            {
                "plan": dataclasses.replace(third, plan=plan),
                "shape": dataclasses.replace(third, site=dataclasses.replace(third.site, m=9, x_elements=72)),
                "nobody": dataclasses.replace(third, same_as="nothing"),
            }[change]
        )
        assert len(machine.heard) == 2
        assert costing.error is None
        assert len(costing.sites) == 3

    def test_steps_of_a_scan_are_one_entry(self, machine):
        """What runs again under the same name and shape is costed and counted again, and is one site."""
        network = load("gemm:8x8x8", distribution="gaussian")
        (work,) = hear(network, plan_of(network))
        costing = Costing("toy", machine)
        for step in (work, work, dataclasses.replace(work, runs=3)):
            costing(step)
        assert len(machine.heard) == 3
        (entry,) = costing.sites
        assert entry.site == dataclasses.replace(work.site, count=5)
        once = Honest().run(work)
        assert entry.cost.macs_dense == 5 * once.macs_dense == 5 * 8 * 8 * 8
        assert entry.cost.cycles == 5 * once.cycles
        assert {e.name: e.count for e in entry.cost.events} == {e.name: 5 * e.count for e in once.events}


LABEL = "operands are synthetic (laplace, seed 3)"
INPUT = "synthetic operands (laplace, seed 3)"
GIVEN = ("--distribution", "laplace", "--seed", "3")


class TestCommandLine:
    """Whoever reads any output sees that the operands are synthetic."""

    @pytest.mark.parametrize(
        "arguments",
        [
            ("simulate", "gemm:8x16x8"),
            ("simulate", "resnet18", "--image-size", "32", "-a", "systolic-ws,systolic-os"),
            ("simulate", "gemm:8x16x8", "--method", "float"),
            ("compare", "gemm:8x16x8,gemm:4x4x4", "-m", "int8,float", "-a", "systolic-ws"),
            ("explain", "gemm:8x16x8", "--site", "gemm"),
            ("explain", "resnet18", "--image-size", "32", "--site", "layer1.1.conv2"),
        ],
    )
    def test_every_output_says_so(self, arguments):
        for form in ((), ("--json",)):
            result = RUNNER.invoke(app, [*arguments, *GIVEN, *form])
            nothing_costed = "float" in arguments and arguments[0] == "simulate"
            assert result.exit_code == (2 if nothing_costed else 0), result.output
            assert LABEL in result.stdout
            assert INPUT in result.stdout

    def test_files_say_so_in_every_row(self, tmp_path):
        files = [tmp_path / "c.csv", tmp_path / "c.json"]
        out = [part for file in files for part in ("--out", str(file))]
        arguments = ["compare", "gemm:8x16x8", "-m", "int8,int8-sym", "-a", "systolic-ws", *GIVEN, *out]
        result = RUNNER.invoke(app, arguments)
        assert result.exit_code == 0, result.output
        with files[0].open(newline="") as file:
            rows = list(csv.DictReader(file))
        record = json.loads(files[1].read_text())
        assert len(rows) == len(record["rows"]) == 2
        assert all(row["input"].startswith(INPUT) for row in (*rows, *record["rows"]))
        assert any(note.startswith(LABEL) for note in record["notes"])

    def test_the_same_seed_gives_the_same_result(self, tmp_path):
        def result(seed):
            arguments = ["simulate", "gemm:8x16x8", "--distribution", "outliers", "--seed", seed, "--json"]
            kept = ["--save-plan", str(tmp_path / seed), "--overwrite"]
            found = json.loads(RUNNER.invoke(app, [*arguments, *kept]).stdout)
            return {key: value for key, value in found.items() if key != "provenance"}

        assert result("1") == result("1")
        assert result("1")["input"] != result("2")["input"]

    def test_help_names_the_distributions(self):
        shown = RUNNER.invoke(app, ["simulate", "--help"], env={"COLUMNS": "200"}).stdout
        assert all(name in shown for name in DISTRIBUTIONS)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["simulate", "gemm:8x8x8", "--distribution", "gausian"], "Did you mean 'gaussian'"),
            (["compare", "gemm:8x8x8", "--distribution", "normal"], "Known: gaussian, laplace, one-sided, outliers."),
            (["evaluate", "gemm:8x8x8", "--distribution", "gaussian"], "No such option"),
        ],
    )
    def test_bad_input(self, arguments, message):
        result = RUNNER.invoke(app, arguments)
        assert result.exit_code == 2
        assert result.stdout == ""
        assert message in result.stderr
