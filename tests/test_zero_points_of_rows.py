"""Zero points of rows: codes, exact sums, what machines need for them, and who refuses them by name."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.accelerators.bit_slice import Panacea
from bitwright.accelerators.systolic import WeightStationary
from bitwright.api import export
from bitwright.errors import InputError
from bitwright.formats import Integer, PerChannel, PerToken, PerTokenRange, parse_granularity
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor
from bitwright.methods.integer import gemm
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.methods.products import accumulator_bound, integer_product, reference_product
from bitwright.methods.protocol import compose
from bitwright.networks.sites import Site
from toys import Calling, linear_view, network_of, normal, view_of

PLAIN = {"rotation": "none", "smoothing": "none", "w_rounding": "nearest", "bias_correction": False}
RANGES = {**PLAIN, "x_granularity": "token-range"}


def operand(bits=8):
    return OperandPlan(format=Integer(bits=bits, signed=False), granularity=PerTokenRange())


def weights(n=3, bits=8):
    return OperandPlan(format=Integer(bits=bits), granularity=PerChannel(), scale=torch.full((n, 1), 0.05))


class TestCodes:
    @settings(deadline=None, max_examples=40)
    @given(st.integers(2, 8), st.floats(-5, 5), st.integers(0, 99))
    def test_every_row_by_the_definition(self, bits, moved, seed):
        x = normal(4, 7, seed=seed) + moved
        x[0] = 0
        found = gemm.encode_x(linear_view(x, normal(3, 7)), SitePlan(x=operand(bits), w=weights()))
        top = 2**bits - 1
        for row, codes, scale, zero in zip(x, found.codes, found.scale, found.offsets, strict=True):
            low, high = min(float(row.min()), 0.0), max(float(row.max()), 0.0)
            assert float(scale) == pytest.approx((high - low) / top or 1.0)
            assert float(zero) == pytest.approx(-low / float(scale), abs=0.5001)
            assert int(codes.min()) >= 0
            assert int(codes.max()) <= top
            reals = (codes.float() - zero) * scale
            assert float((reals - row).abs().max()) <= 1.01 * float(scale)
        torch.testing.assert_close(found.dequantize(), (found.codes.float() - found.offsets) * found.scale)

    def test_a_row_on_one_side_of_zero_has_twice_the_codes(self):
        x = normal(50, 64).abs()
        x[:, 0] *= -1e-3
        plans = [dataclasses.replace(operand(), granularity=g, format=f) for g, f in (
            (PerTokenRange(), Integer(bits=8, signed=False)), (PerToken(), Integer(bits=8, narrow=True))
        )]  # fmt: skip
        view = linear_view(x, normal(3, 64))
        errors = [(gemm.encode_x(view, SitePlan(x=p, w=weights())).dequantize() - x).square().mean() for p in plans]
        assert float(errors[0]) < 0.4 * float(errors[1])

    def test_written_and_read(self):
        assert parse_granularity(str(PerTokenRange())) == PerTokenRange()
        assert PerTokenRange() != PerToken()


class TestProducts:
    @settings(deadline=None, max_examples=40)
    @given(st.sampled_from([2, 8, 12]), st.sampled_from([4, 8, 12]), st.integers(1, 70), st.integers(0, 99))
    def test_exact_sums_are_those_of_int64(self, x_bits, w_bits, k, seed):
        view = linear_view(3 * normal(2, 5, k, seed=seed) + 1, normal(3, k, seed=seed + 1), normal(3, seed=2))
        plan = SitePlan(x=operand(x_bits), w=weights(bits=w_bits))
        x, w = gemm.encode_x(view, plan), gemm.encode_w(view, plan)
        sums = torch.zeros(2, 5, 3, dtype=torch.int64)
        for i in range(k):  # one product of centred codes after the other
            sums += (x.codes[..., i : i + 1].long() - x.offsets.long()) * w.codes[:, i].long()
        assert torch.equal(reference_product(view, x, w), sums)
        assert torch.equal(integer_product(view, x, w).long(), sums)
        assert int(sums.abs().max()) <= accumulator_bound(k, x, w)
        torch.testing.assert_close(gemm.exact_gemm(view, x, w), gemm.fast_gemm(view, x, w))

    def test_largest_codes_do_not_overflow(self):
        """All of x's codes 255 below its zero point: a row from -1 to 0."""
        k = 600
        x = torch.full((2, k), -1.0)
        view = linear_view(x, torch.full((1, k), 100.0))
        plan = SitePlan(x=operand(), w=weights(1))
        codes, w = gemm.encode_x(view, plan), gemm.encode_w(view, plan)
        assert codes.offsets.flatten().tolist() == [255, 255]
        assert integer_product(view, codes, w).tolist() == [[-255 * 127 * k]] * 2

    def test_a_site_that_is_no_linear_layer_is_refused(self):
        view = view_of(F.conv1d, normal(2, 4, 9), normal(3, 4, 3))
        with pytest.raises(InputError, match="in linear layers, and this site is conv"):
            gemm.encode_x(view, SitePlan(x=operand(), w=weights()))


class Mixed(torch.nn.Module):
    """A layer of what has both signs, one of what has one, a convolution and a product of activations."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = torch.nn.Linear(12, 16), torch.nn.Linear(16, 12)
        self.conv = torch.nn.Conv1d(6, 6, 3, padding=1)

    def forward(self, x):
        y = self.second(self.first(x).relu())
        return self.conv(y) @ x.transpose(-1, -2)


class TestPlans:
    @pytest.fixture
    def made(self):
        network = network_of(Mixed(), normal(2, 6, 12))
        samples = [{"x": normal(2, 6, 12, seed=i)} for i in range(3)]
        return network, samples, compose("int8", RANGES).calibrate(network, samples)

    def test_linear_layers_of_both_signs_have_them(self, made):
        _, _, plan = made
        found = {name: (str(site.x.granularity), site.x_type) for name, site in plan.sites.items()}
        assert found["first"] == ("token-range", "uint8")
        assert found["second"] == ("token", "uint8")
        assert found["conv"] == ("token", "int8")
        assert len(found) == 4
        assert {kind for kind, _ in found.values()} == {"token", "token-range"}

    def test_a_stack_of_one_matrix_has_rows_without_and_runs(self):
        """Its weight is known beforehand, but it is a product of stacks and none of a layer's."""
        network = network_of(Calling(lambda m, x: torch.bmm(x, m.w), w=normal(1, 8, 5)), normal(1, 4, 8))
        samples = [{"input_0": normal(1, 4, 8, seed=1)}]
        plan = compose("int8", RANGES).calibrate(network, samples)
        assert [str(site.x.granularity) for site in plan.sites.values()] == ["token"]
        found = Executor(network, plan).run(samples[0])
        expected = torch.bmm(samples[0]["input_0"], normal(1, 8, 5))
        assert 0 < (found - expected).abs().max() < 0.05 * expected.abs().max()

    def test_runs_exactly_and_survives_its_file(self, made, tmp_path):
        network, samples, plan = made
        plan.save(tmp_path / "plan")
        loaded = Plan.load(tmp_path / "plan", network)
        first, again = (Executor(network, each).run(samples[0]) for each in (plan, loaded))
        assert torch.equal(first, again)
        assert Executor(network, plan).audit(samples[0]) == 0
        wanted = network.forward(samples[0]).detach()
        assert float((first - wanted).norm()) < 0.03 * float(wanted.norm())

    @pytest.mark.parametrize("method", ["int8-token+drift", "int8+apsq"])
    def test_methods_that_narrow_codes_or_sums_refuse_them(self, made, method):
        network, samples, _ = made
        with pytest.raises(InputError, match="zero points of their own; use x_granularity=token"):
            compose(method, RANGES).calibrate(network, samples)

    @pytest.mark.parametrize("form", ["onnx-qdq", "qonnx", "vectors"])
    def test_exports_refuse_them_by_name(self, made, tmp_path, form):
        network, _, plan = made
        with pytest.raises(InputError, match=r"of their own.*x_granularity=token"):
            export(network, tmp_path / "a.onnx", form, plan)

    @pytest.mark.parametrize("change", [{"zero_point": 3}, {"format": Integer(bits=8)}, {"scale": torch.tensor(1.0)}])
    def test_damaged_plans_are_refused(self, made, change):
        from bitwright.methods.plan_checks import check_plan

        _, _, plan = made
        site = plan.sites["first"]
        changed = dataclasses.replace(site, x=dataclasses.replace(site.x, **change))
        check_plan(plan)
        with pytest.raises(ValueError, match="sites/first/x"):
            check_plan(dataclasses.replace(plan, sites={"first": changed}))


class TestMachines:
    SITE = Site(name="a", op="linear", m=8, k=16, n=4, x_elements=128, w_elements=64)

    def work(self, granularity):
        fmt = Integer(bits=8, signed=granularity == PerToken())
        x = OperandPlan(format=fmt, granularity=granularity)
        return Execution(site=self.SITE, plan=SitePlan(x=x, w=weights(4)))

    def test_those_without_correctors_refuse_them(self):
        plan = self.work(PerTokenRange()).plan
        for machine in (WeightStationary(), Panacea()):
            assert machine.supports(plan) is not None
        assert "--set centring=true" in WeightStationary().supports(plan)
        assert WeightStationary(centring=True).supports(plan) is None

    def test_correctors_cost_area_and_energy(self):
        machine, plain = WeightStationary(centring=True), WeightStationary()
        assert machine.area().total_um2 > plain.area().total_um2
        uses = {each.name: count for each, count in machine.operand_uses(self.work(PerTokenRange()))}
        assert uses["compare with the least of a row"] == 128
        assert uses["correct for the zero point of a row"] == 32
        before = {each.name: count for each, count in machine.operand_uses(self.work(PerToken()))}
        assert set(uses) - set(before) == {"compare with the least of a row", "correct for the zero point of a row"}
        bits = [machine.job(self.work(each)).gemm.w_bits for each in (PerToken(), PerTokenRange())]
        assert float(bits[1] - bits[0]) == 32 / 16  # a sum of a column, int32
        bits = [machine.job(self.work(each)).gemm.x_bits for each in (PerToken(), PerTokenRange())]
        assert float(bits[1] - bits[0]) == 8 / 16  # the zero point of a row
        energies = [sum(machine.run(self.work(each)).energy_pj.values()) for each in (PerToken(), PerTokenRange())]
        assert energies[1] > energies[0]
