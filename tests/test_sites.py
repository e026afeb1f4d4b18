"""Sites: every product that the mode intercepts, what it is called, its shape, and what is left over in a trace."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bitwright.errors import InputError
from bitwright.networks.calls import Call
from bitwright.networks.mode import SiteMode
from bitwright.networks.sites import ConvGeometry
from bitwright.networks.trace import trace
from toys import Calling, network_of, normal, sites_of


def describe(found):
    return [(s.name, s.op, s.groups, s.m, s.k, s.n) for s, _ in found]


def check_unchanged(module, *inputs, tolerance=1e-5):
    """The mode gives what torch gives; the sites, for further checks."""
    expected = module(*inputs)
    output, found = sites_of(module, *inputs)
    assert output.shape == expected.shape
    assert output.dtype == expected.dtype
    torch.testing.assert_close(output, expected, rtol=tolerance, atol=tolerance, equal_nan=True)
    return found


A, B3, C3 = normal(5, 7), normal(3, 5, 7, seed=1), normal(3, 7, 4, seed=2)
W = normal(7, 4, seed=3)
PRODUCTS = {
    "linear": (lambda m, x: F.linear(x, m.w.t()), (B3,), (1, 15, 7, 4)),
    "linear by name": (lambda m, x: F.linear(input=x, weight=m.w.t()), (B3,), (1, 15, 7, 4)),
    "linear of one vector": (lambda m, x: F.linear(x, m.w.t()), (A[0],), (1, 1, 7, 4)),
    "mm": (lambda m, x: torch.mm(x, m.w), (A,), (1, 5, 7, 4)),
    "mm by name": (lambda m, x: torch.mm(x, mat2=m.w), (A,), (1, 5, 7, 4)),
    "Tensor.mm": (lambda m, x: x.mm(m.w), (A,), (1, 5, 7, 4)),
    "matmul": (lambda m, x: torch.matmul(x, m.w), (B3,), (1, 15, 7, 4)),
    "matmul by name": (lambda m, x: torch.matmul(input=x, other=m.w), (B3,), (1, 15, 7, 4)),
    "Tensor.matmul": (lambda m, x: x.matmul(m.w), (A,), (1, 5, 7, 4)),
    "@": (lambda m, x: x @ m.w, (B3,), (1, 15, 7, 4)),
    "__rmatmul__": (lambda m, x: m.w.__rmatmul__(x), (A,), (1, 5, 7, 4)),
    "addmm": (lambda m, x: torch.addmm(m.b, x, m.w), (A,), (1, 5, 7, 4)),
    "addmm by name": (lambda m, x: torch.addmm(m.b, mat1=x, mat2=m.w), (A,), (1, 5, 7, 4)),
    "addmm of a half": (lambda m, x: torch.addmm(m.b, x, m.w, beta=0.5), (A,), (1, 5, 7, 4)),
    "addmm of nothing": (lambda m, x: torch.addmm(m.b * math.nan, x, m.w, beta=0), (A,), (1, 5, 7, 4)),
    "Tensor.addmm": (lambda m, x: m.b.addmm(x, m.w), (A,), (1, 5, 7, 4)),
}
BATCHED = {
    "bmm": (torch.bmm, (B3, C3), (3, 5, 7, 4)),
    "bmm by name": (lambda x, w: torch.bmm(x, mat2=w), (B3, C3), (3, 5, 7, 4)),
    "Tensor.bmm": (lambda x, w: x.bmm(w), (B3, C3), (3, 5, 7, 4)),
    "matmul": (torch.matmul, (B3, C3), (3, 5, 7, 4)),
    "x broadcast": (torch.matmul, (A, C3), (3, 5, 7, 4)),
    "both broadcast": (torch.matmul, (normal(2, 1, 5, 7), C3), (6, 5, 7, 4)),
    "baddbmm": (lambda x, w: torch.baddbmm(x[..., :4], x, w), (B3, C3), (3, 5, 7, 4)),
    "baddbmm by name": (lambda x, w: torch.baddbmm(x[..., :4], batch1=x, batch2=w), (B3, C3), (3, 5, 7, 4)),
    "baddbmm of a third": (lambda x, w: torch.baddbmm(x[:, :1, :4], x, w, beta=1 / 3), (B3, C3), (3, 5, 7, 4)),
    "Tensor.baddbmm": (lambda x, w: x[..., :4].baddbmm(x, w), (B3, C3), (3, 5, 7, 4)),
}


class TestProducts:
    @pytest.mark.parametrize("case", PRODUCTS)
    def test_with_a_weight(self, case):
        function, inputs, shape = PRODUCTS[case]
        ((site, call),) = check_unchanged(Calling(function, w=W, b=normal(4)), *inputs)
        assert (site.groups, site.m, site.k, site.n) == shape
        assert (site.name, site.op, site.static_weight) == ("w", "linear", True)
        assert (site.x_elements, site.w_elements) == (shape[1] * 7, 28)
        assert call.layout == "linear"
        assert torch.equal(call.w, W.t())

    @pytest.mark.parametrize("case", BATCHED)
    def test_of_activations(self, case):
        function, inputs, (groups, m, k, n) = BATCHED[case]
        ((site, call),) = check_unchanged(Calling(lambda _, *given: function(*given)), *inputs)
        assert (site.name, site.op, site.static_weight) == ("matmul", "matmul", False)
        assert (site.groups, site.m, site.k, site.n) == (groups, m, k, n)
        assert site.macs == groups * m * k * n
        assert site.y_elements == groups * m * n
        assert call.layout == "batched"

    def test_what_broadcasting_repeats_is_stored_once(self):
        ((site, _),) = check_unchanged(Calling(lambda m, x: x @ m.experts, experts=C3), normal(6, 1, 5, 7))
        assert (site.groups, site.m, site.k, site.n) == (18, 5, 7, 4)
        assert (site.x_elements, site.w_elements) == (6 * 5 * 7, 3 * 7 * 4)
        assert (site.name, site.static_weight) == ("experts", True)

    def test_activations_as_a_matrix(self):
        ((site, call),) = check_unchanged(Calling(lambda _, x, w: x @ w), B3, W)
        assert (site.op, site.static_weight, call.layout) == ("matmul", False, "linear")

    @pytest.mark.parametrize(
        "function",
        [
            lambda a, b: a[:, :1] @ b[:1],  # nothing to reduce, as in rotary position tables
            lambda a, b: a @ b[:, 0],
            lambda a, b: torch.addmm(b[0], a, b, alpha=2),
            lambda a, b: (a * 10).long() @ (b * 10).long(),
            lambda a, b: torch.mm(a, b, out=torch.empty(5, 4)),
            lambda a, b: torch.einsum("mk,kn->mn", a, b),
        ],
        ids=["outer", "vector", "scaled", "integers", "out", "einsum"],
    )
    def test_no_sites(self, function):
        assert check_unchanged(Calling(lambda _, a, b: function(a, b)), A, W) == []


class TestConvolution:
    @settings(max_examples=60)
    @given(
        batch=st.integers(1, 2),
        groups=st.integers(1, 3),
        per_group=st.tuples(st.integers(1, 2), st.integers(1, 2)),
        size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
        kernel=st.tuples(st.integers(1, 3), st.integers(1, 3)),
        stride=st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3)),
        padding=st.integers(0, 2) | st.tuples(st.integers(0, 2), st.integers(0, 2)) | st.just("valid"),
        dilation=st.integers(1, 2) | st.tuples(st.integers(1, 2), st.integers(1, 2)),
        bias=st.booleans(),
    )
    def test_any_geometry(self, *, batch, groups, per_group, size, kernel, stride, padding, dilation, bias):
        channels, filters = groups * per_group[0], groups * per_group[1]
        module = nn.Conv2d(channels, filters, kernel, stride, padding, dilation, groups, bias)
        ((site, _),) = check_unchanged(module, normal(batch, channels, *size))
        pixels = module(torch.zeros(1, channels, *size)).shape[2:]
        assert (site.op, site.groups, site.static_weight) == ("conv2d", groups, True)
        assert (site.m, site.k) == (batch * pixels.numel(), per_group[0] * kernel[0] * kernel[1])
        assert (site.n, site.w_elements) == (per_group[1], module.weight.numel())
        assert site.conv.output_size == tuple(pixels)

    @settings(max_examples=40)
    @given(
        size=st.tuples(st.integers(3, 8), st.integers(3, 8)),
        kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
        dilation=st.integers(1, 3),
    )
    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
    def test_same_padding(self, size, kernel, dilation):
        ((site, _),) = check_unchanged(nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation), normal(1, 2, *size))
        assert site.m == size[0] * size[1]
        assert site.conv.output_size == size

    def test_by_hand(self):
        module = nn.Sequential(nn.Conv2d(6, 4, (3, 5), (2, 1), (1, 2), groups=2))
        ((site, _),) = check_unchanged(module, normal(2, 6, 9, 11))
        assert (site.name, site.op, site.groups, site.m, site.k, site.n) == ("0", "conv2d", 2, 2 * 5 * 11, 45, 2)
        assert (site.x_elements, site.w_elements, site.macs) == (2 * 6 * 9 * 11, 180, 2 * 110 * 45 * 2)
        assert site.conv == ConvGeometry(
            kernel=(3, 5),
            stride=(2, 1),
            padding=(1, 2),
            dilation=(1, 1),
            channels=6,
            input_size=(9, 11),
            output_size=(5, 11),
        )

    def test_pixels_that_a_long_stride_leaves_out_need_no_traffic(self):
        ((site, _),) = check_unchanged(nn.Conv2d(1, 1, 1, stride=4), normal(1, 1, 8, 8))
        assert (site.m, site.x_elements) == (4, 4)


def sdpa(**options):
    return Calling(lambda _, q, k, v, *mask: F.scaled_dot_product_attention(q, k, v, *mask, **options))


Q, K, V = normal(2, 4, 5, 8), normal(2, 4, 6, 8, seed=1), normal(2, 4, 6, 3, seed=2)


class TestAttention:
    @pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}, {"scale": 2.0, "is_causal": True}])
    def test_options(self, options):
        found = check_unchanged(sdpa(**options), Q, K, V)
        assert describe(found) == [("qk", "attention_qk", 8, 5, 8, 6), ("pv", "attention_pv", 8, 5, 6, 3)]
        assert [s.static_weight for s, _ in found] == [False, False]
        assert [(s.x_elements, s.w_elements) for s, _ in found] == [(320, 384), (240, 144)]

    @pytest.mark.parametrize("tokens", [(5, 6), (6, 5), (1, 6), (5, 5)])
    def test_causal(self, tokens):
        m, t = tokens
        check_unchanged(
            sdpa(is_causal=True), normal(1, 2, m, 4), normal(1, 2, t, 4, seed=1), normal(1, 2, t, 4, seed=2)
        )

    @pytest.mark.parametrize("shape", [(5, 6), (2, 1, 5, 6), (2, 4, 5, 6), (1, 1, 1, 6)])
    def test_masks(self, shape):
        floating = normal(*shape, seed=7)
        check_unchanged(sdpa(), Q, K, V, floating)
        check_unchanged(sdpa(), Q, K, V, floating > 0.5)
        check_unchanged(sdpa(), Q, K, V, floating.masked_fill(floating > 0.5, -math.inf))
        check_unchanged(sdpa(), Q, K, V, floating.masked_fill(floating > 0.5, torch.finfo(torch.float32).min))

    @pytest.mark.parametrize("mask", [torch.zeros(5, 6).bool(), torch.full((5, 6), -math.inf)], ids=["bool", "float"])
    def test_a_row_that_sees_nothing_is_zero(self, mask):
        mask = mask.clone()
        mask[1:] = True if mask.dtype == torch.bool else 0.0
        check_unchanged(sdpa(), Q, K, V, mask)
        output, _ = sites_of(sdpa(), Q, K, V, mask)
        assert not output[:, :, 0].any()

    def test_nan_is_not_hidden_by_a_mask(self):
        broken = Q.clone()
        broken[0, 0, 2, 0] = math.nan
        output, _ = sites_of(sdpa(), broken, K, V, torch.ones(5, 6).bool())
        assert output[0, 0, 2].isnan().all()
        assert output.isnan().sum() == 3

    @pytest.mark.parametrize("offset", [1e5, -1e5])
    def test_large_scores_do_not_overflow(self, offset):
        check_unchanged(sdpa(), Q * 1e4, K, V)
        check_unchanged(sdpa(), Q.double(), K.double(), V.double(), torch.full((5, 6), offset).double())

    @pytest.mark.parametrize(("heads", "shared"), [((4, 2), 2), ((6, 1), 6), ((3, 3), 1)])
    def test_grouped_queries(self, heads, shared):
        inputs = normal(2, heads[0], 5, 8), normal(2, heads[1], 6, 8, seed=1), normal(2, heads[1], 6, 8, seed=2)
        found = check_unchanged(sdpa(enable_gqa=True), *inputs)
        assert [(s.groups, s.m, s.k, s.n) for s, _ in found] == [(2 * heads[0], 5, 8, 6), (2 * heads[0], 5, 6, 8)]
        assert [s.w_elements for s, _ in found] == [2 * heads[1] * 48] * 2
        assert [call.shared for _, call in found] == [shared] * 2

    def test_without_heads(self):
        found = check_unchanged(sdpa(), Q[:, 0], K[:, 0], V[:, 0])
        assert [(s.groups, s.m, s.k, s.n) for s, _ in found] == [(2, 5, 8, 6), (2, 5, 6, 3)]

    def test_dropout_is_refused(self):
        with pytest.raises(InputError, match=r"dropout 0\.1 is random"):
            sites_of(sdpa(dropout_p=0.1), Q, K, V)

    @settings(max_examples=25)
    @given(
        heads=st.integers(1, 3), m=st.integers(1, 6), t=st.integers(1, 6), size=st.integers(2, 5), causal=st.booleans()
    )
    def test_any_shape(self, *, heads, m, t, size, causal):
        batch = 1 + m % 2
        inputs = (normal(batch, heads, n, size, seed=n) for n in (m, t, t))
        check_unchanged(sdpa(is_causal=causal), *inputs)

    @pytest.mark.parametrize("need_weights", [False, True])
    def test_multi_head_attention(self, need_weights):
        module = nn.MultiheadAttention(8, 2, batch_first=True).eval()
        wrapped = Calling(lambda m, x: m.attention(x, x, x, need_weights=need_weights)[0], attention=module)
        found = check_unchanged(wrapped, normal(3, 5, 8))
        shapes = [(s.groups, s.m, s.k, s.n) for s, _ in found]
        assert shapes == [(1, 15, 8, 24), (6, 5, 4, 5), (6, 5, 5, 4), (1, 15, 8, 8)]
        names = [s.name for s, _ in found]
        assert (names[0], names[3]) == ("attention:in_proj", "attention.out_proj")
        middle = ["attention:matmul", "attention:matmul#2"] if need_weights else ["attention:qk", "attention:pv"]
        assert names[1:3] == middle

    @pytest.mark.parametrize("norm_first", [False, True])
    def test_transformer_encoder_layer(self, norm_first):
        module = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first).eval()
        with torch.no_grad():  # where torch would take its fused path
            found = check_unchanged(module, normal(3, 5, 8))
        assert [s.name for s, _ in found] == [
            "self_attn:in_proj", "self_attn:qk", "self_attn:pv", "self_attn.out_proj", "linear1", "linear2",
        ]  # fmt: skip
        assert sum(s.macs for s, _ in found) == 15 * 8 * (24 + 8 + 16 + 16) + 2 * 6 * 25 * 4


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.tied = nn.Linear(4, 4, bias=False)
        self.tied.weight = self.layer.weight

    def forward(self, x):
        return self.tied(self.layer(self.layer(x)))


class Fragile(nn.Module):
    """Catches what its part raises, as some networks do to try a second way."""

    def __init__(self):
        super().__init__()
        self.part = nn.Linear(4, 4)
        self.other = nn.Linear(3, 4)

    def forward(self, x):
        try:
            return self.part(x[:, :3])
        except RuntimeError:
            return self.other(x[:, :3])


class Conv1D(nn.Module):
    """GPT-2's own linear layer."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(normal(4, 6)), nn.Parameter(normal(6))

    def forward(self, x):
        return torch.addmm(self.bias, x.view(-1, 4), self.weight).view(*x.shape[:-1], 6)


def hooks_left():
    hooks = nn.modules.module
    return len(hooks._global_forward_hooks) + len(hooks._global_forward_pre_hooks)


class TestMode:
    def test_names_of_modules_that_run_twice_or_share_weights(self):
        found = check_unchanged(Twice(), normal(2, 4))
        assert [s.name for s, _ in found] == ["layer", "layer#2", "tied"]
        found = check_unchanged(Twice(), normal(2, 4))  # counting begins anew
        assert [s.name for s, _ in found] == ["layer", "layer#2", "tied"]

    def test_names_of_paths_and_parameters(self):
        block = nn.Sequential(nn.Linear(4, 4), Conv1D())
        module = nn.ModuleDict({"blocks": nn.ModuleList([block])})
        wrapped = Calling(lambda m, x: m.body["blocks"][0](x) @ m.head.t(), body=module, head=normal(3, 6))
        assert [s.name for s, _ in check_unchanged(wrapped, normal(2, 4))] == [
            "body.blocks.0.0", "body.blocks.0.1", "head",
        ]  # fmt: skip

    def test_a_parameter_that_is_not_the_networks(self):
        stray = nn.Parameter(normal(3, 4))
        ((site, _),) = check_unchanged(Calling(lambda _, x: F.linear(x, stray)), normal(2, 4))
        assert site.name == "linear"

    def test_an_exception_that_the_network_catches(self):
        found = check_unchanged(Fragile(), normal(2, 4))
        assert [s.name for s, _ in found] == ["part", "other"]

    def test_an_exception_leaves_nothing_behind(self):
        def fail(site, call):
            raise ZeroDivisionError(site.name)

        before, fast = hooks_left(), torch.backends.mha.get_fastpath_enabled()
        with pytest.raises(ZeroDivisionError, match="layer"):
            sites_of(Twice(), normal(2, 4), handler=fail)
        assert (hooks_left(), torch.backends.mha.get_fastpath_enabled()) == (before, fast)
        assert [s.name for s, _ in check_unchanged(Twice(), normal(2, 4))] == ["layer", "layer#2", "tied"]

    @pytest.mark.parametrize("enabled", [False, True])
    def test_the_fused_path_is_as_before(self, enabled):
        torch.backends.mha.set_fastpath_enabled(enabled)
        try:
            sites_of(nn.Linear(2, 2), normal(1, 2))
            assert torch.backends.mha.get_fastpath_enabled() is enabled
        finally:
            torch.backends.mha.set_fastpath_enabled(True)

    def test_one_mode_serves_many_passes(self):
        module, seen = Twice(), []
        mode = SiteMode(module, lambda site, call: (seen.append(site.name), call.float_result())[1])
        for _ in range(2):
            with mode:
                module(normal(2, 4))
        assert seen == ["layer", "layer#2", "tied"] * 2

    def test_modes_nest(self):
        inner = nn.Linear(4, 2)

        def distil(site, call):
            output, found = sites_of(inner, call.x)
            assert [(s.name, s.m, s.k, s.n) for s, _ in found] == [("linear", 2, 4, 2)]
            return call.float_result() + 0 * output.sum()

        _, found = sites_of(Twice(), normal(2, 4), handler=distil)
        assert [s.name for s, _ in found] == ["layer", "layer#2", "tied"]
        assert hooks_left() == 0

    def test_the_handler_computes(self):
        module = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        output, _ = sites_of(module, normal(2, 4), handler=lambda site, call: call.float_result() * 0 - 1)
        assert torch.equal(output, torch.zeros(2, 4))

    def test_gradients_flow(self):
        module = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 8), Conv1D_of(8))
        attention = Calling(
            lambda m, x: F.scaled_dot_product_attention(*[m.body(x)[None, None]] * 3), body=module
        ).double()
        x = normal(3, 2, 4, 4).double()
        expected = torch.autograd.grad(attention(x).square().sum(), list(attention.parameters()))
        with SiteMode(attention, lambda site, call: call.float_result()):
            output = attention(x)
        found = torch.autograd.grad(output.square().sum(), list(attention.parameters()))
        assert len(found) == 6
        for ours, torchs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, torchs, rtol=1e-9, atol=1e-9)

    def test_shapes_without_numbers_give_the_same_sites(self):
        module = nn.ModuleList([nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), Conv1D_of(8), Twice()])
        wrapped = Calling(lambda m, x: m.body[2](m.body[1](m.body[0](x))[..., :4]), body=module.eval())
        real = trace(network_of(wrapped, normal(3, 5, 8))).sites
        meta = trace(network_of(wrapped.to("meta"), torch.empty(3, 5, 8, device="meta"))).sites
        assert len(real) == 10
        assert meta == real


def Conv1D_of(width):  # noqa: N802
    module = Conv1D()
    module.weight, module.bias = nn.Parameter(normal(width, width)), nn.Parameter(normal(width))
    module.forward = lambda x: torch.addmm(module.bias, x.reshape(-1, width), module.weight).view(x.shape)
    return module


def product_in(function, *inputs, **parameters):
    return trace(network_of(Calling(function, **parameters), *inputs))


LSTM = Calling(lambda m, x: m.body(x)[0], body=nn.LSTM(4, 6))


class TestTrace:
    @pytest.mark.parametrize(
        ("function", "inputs", "name", "macs", "reason"),
        [
            (nn.Conv3d(2, 3, 2), (normal(1, 2, 4, 5, 6),), "convolution", 3 * 3 * 4 * 5 * 16, "3-D convolution"),
            (nn.Conv1d(4, 6, 3, groups=2), (normal(1, 4, 9),), "convolution", 6 * 7 * 2 * 3, "1-D convolution"),
            (nn.ConvTranspose2d(3, 5, 2), (normal(1, 3, 4, 4),), "convolution", 16 * 3 * 5 * 4, "transposed"),
            (nn.Conv2d(2, 3, 3), (normal(2, 5, 5),), "convolution", 9 * 3 * 18, "without a batch axis"),
            (lambda a, b: torch.einsum("mk,kn->mn", a, b), (A, W), "bmm", 140, "product inside einsum"),
            (lambda a, b: torch.addmm(b[0], a, b, alpha=2.0), (A, W), "addmm", 140, "product inside addmm"),
            (lambda a, b: a[:, :1] @ b[:1], (A, W), "mm", 20, "outer product"),
            (nn.Linear(1, 6), (normal(5, 1),), "addmm", 30, "outer product"),
            (lambda a, b: a @ b[:, 0], (A, W), "mv", 35, "product with a vector"),
            (lambda a, b: a[0] @ b[:, 0], (A, W), "dot", 7, "product with a vector"),
            (lambda a, b: torch.addmv(b[0, 0], a, b[:, 0]), (A, W), "addmv", 35, "product with a vector"),
            (nn.Bilinear(7, 4, 3), (A, W[:5]), "trilinear", 5 * 7 * 4 * 3, "bilinear"),
            (LSTM, (normal(3, 2, 4),), "mkldnn_rnn_layer", 3 * 2 * 4 * 6 * (4 + 6), "recurrent layer"),
        ],
        ids=[
            "conv3d",
            "conv1d",
            "transposed",
            "unbatched",
            "einsum",
            "scaled",
            "outer",
            "k=1",
            "mv",
            "dot",
            "addmv",
            "bilinear",
            "lstm",
        ],
    )
    def test_products_that_are_no_sites_are_counted(self, function, inputs, name, macs, reason):
        module = function if isinstance(function, nn.Module) else Calling(lambda _, *given: function(*given))
        found = trace(network_of(module, *inputs))
        assert found.sites == ()
        (other,) = [o for o in found.others if o.macs]
        assert (other.name, other.calls, other.macs) == (name, 1, macs)
        assert reason in other.reason

    def test_the_rest_is_counted(self):
        module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4), nn.ReLU(), nn.Softmax(-1))
        found = trace(network_of(module, normal(5, 4)))
        assert found.macs == 2 * 5 * 24
        assert [(o.name, o.calls, o.elements, o.macs, o.reason) for o in found.others] == [
            ("relu", 2, 50, 0, ""),
            ("softmax", 1, 20, 0, ""),
        ]

    @pytest.mark.parametrize(
        ("module", "inputs"),
        [
            (nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.Conv2d(8, 6, 1)), (normal(2, 4, 7, 7),)),
            (nn.Sequential(nn.Conv1d(2, 4, 3), nn.ConvTranspose1d(4, 2, 2), nn.Linear(8, 3)), (normal(2, 2, 9),)),
            (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (normal(2, 5, 8),)),
            (nn.GRU(4, 6), (normal(3, 2, 4),)),
            (Twice(), (normal(2, 4),)),
            (Calling(lambda _, a, b: torch.einsum("mk,kn->mn", a, b) @ b.t()), (A, W)),
        ],
        ids=["conv", "transposed", "encoder", "recurrent", "tied", "einsum"],
    )
    def test_nothing_is_lost(self, module, inputs):
        """Sites and others together are what torch counts by itself."""
        first = isinstance(module, nn.GRU)
        network = network_of(Calling(lambda m, *x: m.body(*x)[0] if first else m.body(*x), body=module), *inputs)
        found = trace(network)
        counter = FlopCounterMode(display=False)
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            with torch.no_grad(), counter, torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
                network.forward(network.example(None))
        finally:
            torch.backends.mha.set_fastpath_enabled(True)
        assert counter.get_total_flops() > 0
        assert 2 * (found.macs + sum(o.macs for o in found.others)) == counter.get_total_flops()


class TestHuggingFace:
    def test_gpt2(self):
        transformers = pytest.importorskip("transformers")
        config = transformers.GPT2Config(n_layer=1, n_embd=8, n_head=2, n_positions=16, vocab_size=11)
        module = transformers.GPT2LMHeadModel(config).eval()
        wrapped = Calling(lambda m, ids: m.model(ids, use_cache=False).logits, model=module)
        with torch.no_grad():
            found = check_unchanged(wrapped, torch.arange(6).view(2, 3))
        block = "model.transformer.h.0"
        assert [(s.name, s.groups, s.m, s.k, s.n, s.static_weight) for s, _ in found] == [
            (f"{block}.attn.c_attn", 1, 6, 8, 24, True),
            (f"{block}.attn:qk", 4, 3, 4, 3, False),
            (f"{block}.attn:pv", 4, 3, 3, 4, False),
            (f"{block}.attn.c_proj", 1, 6, 8, 8, True),
            (f"{block}.mlp.c_fc", 1, 6, 8, 32, True),
            (f"{block}.mlp.c_proj", 1, 6, 32, 8, True),
            ("model.lm_head", 1, 6, 8, 11, True),
        ]


@given(beta=st.sampled_from([0.0, 1.0, -2.5]), bias_2d=st.booleans())
def test_bias_of_a_call(beta, bias_2d):
    bias = normal(5, 4) if bias_2d else normal(4)
    module = Calling(lambda m, x: torch.addmm(m.b, x, m.w, beta=beta), w=W, b=bias)
    ((_, call),) = check_unchanged(module, A)
    expected = 0 if beta == 0 else beta * bias
    torch.testing.assert_close(call.add_bias(torch.zeros(5, 4)), torch.zeros(5, 4) + expected)


def test_adding_a_bias_in_place_needs_no_gradient():
    bias = nn.Parameter(normal(4))
    y = torch.zeros(2, 4)
    assert Call(layout="linear", op="linear", x=A, w=W, bias=bias).add_bias(y).requires_grad
    assert not y.any()
