"""The method `mx`: blocks at run time and beforehand, and float32 sums as rational numbers have them."""

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bitwright.formats import BLOCK_FORMATS, E4M3
from bitwright.methods.executor import Executor
from bitwright.methods.mx.method import block_format, encode
from bitwright.methods.mx.products import _looped, running_sums
from bitwright.methods.mx.reference import running_sum, to_float32
from bitwright.methods.plan import FLOAT_SITE
from bitwright.methods.plan_file import load_plan, save_plan
from bitwright.methods.protocol import compose
from bitwright.networks.load import load
from bitwright.networks.parsers import Known, parse
from bitwright.networks.trace import example_batch

NAMES = [*BLOCK_FORMATS, "fp8-e4m3", "fp8-e5m2"]


def short(shape, seed, bits=6):
    """Numbers of few significant bits over many binades, zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    mantissa = torch.randint(-(2**bits), 2**bits, shape, generator=generator).float()
    return torch.ldexp(mantissa, torch.randint(-20, 12, shape, generator=generator))


def view_of(func, *args, **kwargs):
    return parse(func, args, kwargs, lambda _: Known())


class TestSums:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(1, 9), st.integers(2, 70), st.integers(1, 9), st.integers(0, 10**6))
    def test_linear(self, m, k, n, seed):
        x, w = short((m, k), seed), short((n, k), seed + 1)
        found = running_sums(view_of(F.linear, x, w), x, w)
        right = [[running_sum(row, column) for column in w.tolist()] for row in x.tolist()]
        assert torch.equal(found.double(), torch.tensor(right, dtype=torch.float64))

    def test_more_columns_and_rows_than_a_tile(self):
        x, w = short((131, 33), 1), short((260, 33), 2)
        view = view_of(F.linear, x, w)
        found = running_sums(view, x, w)
        assert torch.equal(found, _looped(view, x, w))
        for r, c in ((0, 0), (130, 259), (64, 128), (63, 127), (129, 255)):
            assert float(found[r, c]) == running_sum(x[r].tolist(), w[c].tolist())

    def test_attention(self):
        x, w = short((2, 3, 5, 40), 3), short((2, 3, 40, 7), 4)
        view = view_of(torch.matmul, x, w)
        found = running_sums(view, view.x, view.w)
        for i, j, r, c in ((0, 0, 0, 0), (1, 2, 4, 6), (0, 2, 3, 1)):
            assert float(found[i, j, r, c]) == running_sum(x[i, j, r].tolist(), w[i, j, :, c].tolist())

    @pytest.mark.parametrize("groups", [1, 2])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_convolution(self, groups, stride):
        """In the order of taps, row by row, and channels within each; padding adds zeros."""
        x, w = short((2, 4, 5, 6), 5), short((6, 4 // groups, 3, 2), 6)
        view = view_of(F.conv2d, x, w, None, stride, 1, 1, groups)
        found = view.result(running_sums(view, view.x, view.w))
        padded = F.pad(x, (1, 1, 1, 1))
        assert found.shape == F.conv2d(x, w, None, stride, 1, 1, groups).shape
        for image, n, y, z in ((0, 0, 0, 0), (1, 5, 1, 2), (1, 2, 2, 0)):
            first = n // (6 // groups) * (4 // groups)
            window = padded[
                image, first : first + 4 // groups, y * stride : y * stride + 3, z * stride : z * stride + 2
            ]
            order = window.permute(1, 2, 0).flatten().tolist(), w[n].permute(1, 2, 0).flatten().tolist()
            assert float(found[image, n, y, z]) == running_sum(*order)

    @pytest.mark.parametrize("shape", [(1, 2, 1), (1, 64, 1), (4, 2, 3)])
    def test_threads_and_batches_change_nothing(self, shape):
        m, k, n = shape
        x, w = short((m * 9, k), 7), short((n, k), 8)
        before = torch.get_num_threads()
        results = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(running_sums(view_of(F.linear, x, w), x, w))
        torch.set_num_threads(before)
        assert torch.equal(*results)
        assert torch.equal(results[0][:1], running_sums(view_of(F.linear, x[:1], w), x[:1], w))

    def test_rounding_of_the_twin(self):
        generator = torch.Generator().manual_seed(0)
        for value in torch.randn(200, dtype=torch.float64, generator=generator).mul(1e-3).tolist():
            assert float(to_float32(Fraction(value))) == float(torch.tensor(value, dtype=torch.float64).float())


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3)
        self.depthwise = nn.Conv2d(32, 32, 3, groups=32)
        self.point = nn.Conv2d(32, 40, 1)
        self.head = nn.Linear(40, 7)
        self.example_inputs = (torch.randn(2, 3, 9, 9, generator=torch.Generator().manual_seed(1)),)

    def forward(self, x):
        return self.head(F.relu(self.point(F.relu(self.depthwise(F.relu(self.stem(x)))))).mean((2, 3)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return load(Small())


def plain(name, network, **options):
    options = {"w_format": name, "x_format": name, "rotation": "none", "w_rounding": "nearest", **options}
    batch = example_batch(network)
    return compose("mx", options).calibrate(network, [batch]), batch


class TestMethod:
    @pytest.mark.parametrize("name", NAMES)
    def test_a_network_is_that_of_its_own_decoded_operands(self, name, network):
        """Every site multiplies what blocks stand for; torch adds in another order."""
        plan, batch = plain(name, network, bias_correction=False)
        exact = Executor(network, plan).run(batch)
        fast = Executor(network, plan, exact=False).run(batch)
        assert torch.allclose(exact, fast, rtol=1e-4, atol=1e-5)
        assert not torch.equal(exact, network.forward(batch))

    @pytest.mark.parametrize("name", NAMES)
    def test_plans_come_back(self, name, network, tmp_path):
        plan, batch = plain(name, network)
        save_plan(plan, tmp_path / "plan.safetensors")
        again = load_plan(tmp_path / "plan.safetensors", network)
        assert torch.equal(Executor(network, again).run(batch), Executor(network, plan).run(batch))
        assert again.sites.keys() == plan.sites.keys()

    @pytest.mark.parametrize("name", list(BLOCK_FORMATS))
    def test_thin_groups_stay_float(self, name, network):
        plan, _ = plain(name, network)
        thin = {"stem", "depthwise"}
        assert {site for site, each in plan.sites.items() if each == FLOAT_SITE} == thin
        assert plan.sites["point"].x.scale is None
        assert plan.sites["point"].w.scale.shape == (40, 1, 1, 32 // BLOCK_FORMATS[name].size)

    @pytest.mark.parametrize("name", list(BLOCK_FORMATS))
    def test_operands_are_the_format_s(self, name, network):
        plan, _ = plain(name, network)
        head, x = plan.sites["head"], torch.randn(3, 40)
        found = encode(x, head.x)
        block = BLOCK_FORMATS[name]
        words, scales = block.encode(x, head.x.tensor_scale)
        assert block_format(head.x) == block
        assert torch.equal(found.codes, words)
        assert torch.equal(found.scale, scales)
        steps = scales if head.x.tensor_scale is None else scales * head.x.tensor_scale
        decoded = block.element.decode(words) * steps.repeat_interleave(block.size, -1)[:, :40]
        assert torch.equal(found.dequantize(), decoded)

    def test_scales_of_whole_tensors(self, network):
        plan, batch = plain("fp8-e4m3", network)
        largest = float(network.module.head.weight.detach().abs().max())
        assert float(plan.sites["head"].w.scale) == pytest.approx(largest / E4M3.largest)
        assert plan.sites["head"].x.scale.numel() == 1
        assert Executor(network, plan).run(batch).isfinite().all()

    @pytest.mark.parametrize("name", ["mxfp4", "nvfp4", "mxfp8-e4m3"])
    def test_second_order_rounding_and_rotation_apply(self, name, network):
        """Weights stay values of the format by the plan's scales, and outputs come nearer to float."""
        nearest, batch = plain(name, network, bias_correction=False)
        better, _ = plain(name, network, bias_correction=False, w_rounding="second-order")
        goal = network.forward(batch)
        errors = [(Executor(network, plan).run(batch) - goal).square().mean() for plan in (better, nearest)]
        assert errors[0] <= errors[1]
        turned, _ = plain(name, network, rotation="all")
        assert Executor(network, turned).run(batch).isfinite().all()

    def test_shapes_only(self):
        plan = compose("mxfp4", {}).calibrate(load("gemm:64x96x32"), [])
        (site,) = plan.sites.values()
        assert site.x.encoding.bits_per_element(rows=64, k=96) == 4 + 8 / 32
        assert site.w.scale is None
