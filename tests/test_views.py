"""Every way to write a product is a site of the right shape, and its exact result is the product of its integers."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bitwright.methods.executor import Executor
from bitwright.methods.protocol import compose
from bitwright.networks.network import Network
from bitwright.networks.ownership import part_of, plain_name
from bitwright.networks.siblings import family_of
from bitwright.networks.sites import OFFLINE
from bitwright.networks.trace import trace
from toys import Calling, generator, network_of, normal


def whole(*shape, seed=0):
    """Integers up to 127 in magnitude, one of which is reached in every last axis: their int8 codes are themselves."""
    found = torch.randint(-20, 21, shape, generator=generator(seed)).float()
    found[..., 0] = 127
    return found


def weight(*shape, seed=1):
    """The same for weights [N, ...]: every output channel reaches 127."""
    found = torch.randint(-20, 21, shape, generator=generator(seed)).float()
    found.flatten(1)[:, 0] = 127
    return found


def scripted(make, *arguments):
    """A module of TorchScript, which torch warns of."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make(*arguments)


def exact(network):
    plan = compose("int8-sym", {"smoothing": "none"}).calibrate(network, [network.example(None)])
    return Executor(network, plan), plan


def conv(kind, *arguments, seed=3, **options):
    module = kind(*arguments, **options)
    with torch.no_grad():
        module.weight.copy_(weight(*module.weight.shape, seed=seed))
        if module.bias is not None:
            module.bias.copy_(torch.arange(len(module.bias)).float())
    return module


def turned(kind, *arguments, **options):
    """A transposed convolution, every channel of whose result reaches 127: columns are (output channel, tap)."""
    module = kind(*arguments, **options)
    with torch.no_grad():
        values = torch.randint(-20, 21, module.weight.shape, generator=generator(7)).float()
        values[:: max(1, len(values) // module.groups)] = 127
        module.weight.copy_(values)
        module.bias.copy_(torch.arange(len(module.bias)).float())
    return module


X, W = whole(4, 6), weight(5, 6)
FORMS = {  # name -> module, inputs, (groups, m, k, n) of its site
    "linear": (Calling(lambda s, x: F.linear(x, s.w), w=W), [whole(2, 3, 6)], (1, 6, 6, 5)),
    "linear, a vector of weights": (Calling(lambda s, x: F.linear(x, s.w[0]), w=W), [X], (1, 4, 6, 1)),
    "matmul": (Calling(lambda s, x: x @ s.w.t(), w=W), [X], (1, 4, 6, 5)),
    "matmul, weight first": (Calling(lambda s, x: s.w @ x.transpose(-1, -2), w=W), [whole(2, 3, 6)], (1, 6, 6, 5)),
    "a stack of weights first": (Calling(lambda s, x: s.w @ x.t(), w=whole(2, 3, 6)), [X], (1, 4, 6, 6)),
    "stacks, weights first": (Calling(lambda s, x: s.w @ x.mT, w=whole(2, 3, 6)), [whole(2, 4, 6)], (2, 4, 6, 3)),
    "a stack of weights by a vector": (Calling(lambda s, x: s.w @ x, w=whole(2, 3, 6)), [whole(6)], (1, 1, 6, 6)),
    "addmm, weight first": (
        Calling(lambda s, x: torch.addmm(s.b, s.w, x.t(), alpha=2), w=W, b=whole(5, 1)),
        [X],
        (1, 4, 6, 5),
    ),
    "matmul by keyword": (Calling(lambda s, x: torch.matmul(x, other=s.w.t()), w=W), [X], (1, 4, 6, 5)),
    "mm into memory": (Calling(lambda s, x: torch.mm(x, s.w.t(), out=torch.empty(0)), w=W), [X], (1, 4, 6, 5)),
    "mv": (Calling(lambda s, x: torch.mv(s.w, x), w=W), [whole(6)], (1, 1, 6, 5)),
    "dot": (Calling(lambda s, x: torch.dot(x, s.w).reshape(1), w=whole(6, seed=4)), [whole(6)], (1, 1, 6, 1)),
    "bmm": (Calling(lambda s, x, y: torch.bmm(x, mat2=y)), [whole(2, 3, 6), whole(2, 4, 6).mT], (2, 3, 6, 4)),
    "addmm": (
        Calling(lambda s, x: torch.addmm(s.b, x, s.w.t(), beta=0.5, alpha=2), w=W, b=torch.arange(5.0) * 4),
        [X],
        (1, 4, 6, 5),
    ),
    "addmm_": (Calling(lambda s, x: x.new_ones(4, 5).addmm_(x, s.w.t(), alpha=-1), w=W), [X], (1, 4, 6, 5)),
    "addmv": (Calling(lambda s, x: torch.addmv(s.b, s.w, x, alpha=4), w=W, b=torch.ones(5)), [whole(6)], (1, 1, 6, 5)),
    "baddbmm": (
        Calling(lambda s, x, y: torch.baddbmm(torch.ones(4), batch1=x, batch2=y, alpha=0.25)),
        [whole(2, 3, 6), whole(2, 4, 6).mT],
        (2, 3, 6, 4),
    ),
    "addbmm": (
        Calling(lambda s, x, y: torch.addbmm(torch.ones(3, 4), x, y)),
        [whole(2, 3, 6), whole(2, 4, 6).mT],
        (1, 3, 12, 4),
    ),
    "einsum": (
        Calling(lambda s, x: torch.einsum("bsd,dhk->bhsk", x, s.w), w=W.t().reshape(6, 5, 1)),
        [whole(2, 3, 6)],
        (1, 6, 6, 5),
    ),
    "einsum of an ellipsis": (
        Calling(lambda s, x, y: torch.einsum("...qd,...kd->...kq", x, y)),
        [whole(2, 3, 6), whole(2, 4, 6)],
        (2, 3, 6, 4),
    ),
    "einsum without arrow": (Calling(lambda s, x: torch.einsum("ij,kj", x, s.w), w=W), [X], (1, 4, 6, 5)),
    "tensordot": (
        Calling(lambda s, x: torch.tensordot(x, s.w, dims=([1, 2], [2, 1])), w=W.reshape(5, 3, 2).mT.contiguous().mT),
        [whole(4, 6).reshape(4, 2, 3)],
        (1, 4, 6, 5),
    ),
    "inner": (Calling(lambda s, x: torch.inner(x, s.w), w=W), [whole(2, 3, 6)], (1, 6, 6, 5)),
    "conv_tbc": (
        Calling(lambda s, x: torch.conv_tbc(x, s.w, s.b, 1), w=weight(5, 12).t().reshape(3, 4, 5), b=torch.ones(5)),
        [whole(7, 2, 4)],
        (1, 14, 12, 5),
    ),
    "conv1d": (conv(nn.Conv1d, 4, 5, 3, padding=1), [whole(2, 4, 7)], (1, 14, 12, 5)),
    "conv1d, depthwise": (conv(nn.Conv1d, 4, 4, 3, groups=4), [whole(2, 4, 7)], (4, 10, 3, 1)),
    "conv2d, same": (conv(nn.Conv2d, 3, 5, 3, padding="same", dilation=2), [whole(2, 3, 7, 6)], (1, 84, 27, 5)),
    "conv2d": (conv(nn.Conv2d, 3, 5, (2, 3), stride=2, padding=(1, 0)), [whole(2, 3, 6, 7)], (1, 24, 18, 5)),
    "conv2d, unbatched": (conv(nn.Conv2d, 3, 5, 3), [whole(3, 6, 7)], (1, 20, 27, 5)),
    "conv2d, groups": (conv(nn.Conv2d, 4, 6, 3, groups=2, dilation=2), [whole(1, 4, 7, 8)], (2, 12, 18, 3)),
    "conv3d": (conv(nn.Conv3d, 2, 5, (1, 2, 3), padding=1), [whole(1, 2, 3, 4, 5)], (1, 125, 12, 5)),
    "conv3d, depthwise": (conv(nn.Conv3d, 3, 3, 2, groups=3), [whole(1, 3, 3, 4, 5)], (3, 24, 8, 1)),
    "conv_transpose1d": (turned(nn.ConvTranspose1d, 4, 5, 3, 2, 1, 1), [whole(2, 4, 6)], (1, 12, 4, 15)),
    "conv_transpose2d": (
        turned(nn.ConvTranspose2d, 4, 6, 3, 2, 1, 1, groups=2, dilation=2),
        [whole(2, 4, 5, 3)],
        (2, 30, 2, 27),
    ),
    "conv_transpose3d": (turned(nn.ConvTranspose3d, 4, 5, 2, 2), [whole(1, 4, 2, 3, 2)], (1, 12, 4, 40)),
    "conv_transpose2d, unbatched": (turned(nn.ConvTranspose2d, 4, 5, 3), [whole(4, 5, 3)], (1, 15, 4, 45)),
    "traced": (scripted(torch.jit.trace, conv(nn.Linear, 6, 5), X), [X], (1, 4, 6, 5)),
    "scripted": (scripted(torch.jit.script, conv(nn.Conv2d, 3, 5, 3)), [whole(1, 3, 5, 5)], (1, 9, 27, 5)),
    "vmapped": (Calling(lambda s, x: torch.vmap(s.l)(x), l=conv(nn.Linear, 6, 5)), [whole(3, 2, 6)], (1, 6, 6, 5)),
}


class TestForms:
    @pytest.mark.parametrize("name", FORMS)
    def test_exact_results_are_the_products_of_the_integers(self, name):
        module, inputs, shape = FORMS[name]
        network = network_of(module, *inputs)
        (site,) = trace(network).sites
        assert (site.groups, site.m, site.k, site.n) == shape
        executor, _ = exact(network)
        with torch.no_grad():
            expected = network.forward(network.example(None))
        assert torch.equal(executor.run(network.example(None)), expected)
        assert executor.audit(network.example(None)) == 0

    @pytest.mark.filterwarnings("ignore")  # torch's own, of its compiler
    def test_exported_and_compiled_modules(self):
        layer = conv(nn.Linear, 6, 5)
        exported = scripted(torch.export.export, layer, (X,)).module()
        network = Network(
            name="exported",
            kind="tensor",
            module=exported,
            run=lambda module, batch: module(batch["x"]),
            example=lambda shape: {"x": X},
        )
        for found in (network, network_of(torch.compile(layer), X)):
            (site,) = scripted(trace, found).sites
            assert (site.m, site.k, site.n) == (4, 6, 5)
            executor, _ = exact(found)
            assert torch.equal(executor.run(found.example(None)), layer(X))

    def test_scaled_products_of_8_bit_floats(self):
        def scaled(s, x):
            a, b = x.to(torch.float8_e4m3fn), s.w.to(torch.float8_e4m3fn)
            return torch._scaled_mm(a, b.t(), torch.tensor(2.0), torch.tensor(0.5), out_dtype=torch.float32)

        network = network_of(Calling(scaled, w=normal(32, 16, seed=1)), normal(16, 16))
        (site,) = trace(network).sites
        assert (site.m, site.k, site.n, site.static_weight) == (16, 16, 32, True)
        executor, _ = exact(network)
        expected = network.forward(network.example(None)).detach()
        assert float((executor.run(network.example(None)) - expected).norm() / expected.norm()) < 0.05

    def test_autocast_multiplies_what_was_cast(self):
        def cast(s, x):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                return s.l(x).float()

        network = network_of(Calling(cast, l=conv(nn.Linear, 6, 5)), X)
        (site,) = trace(network).sites
        assert site.static_weight
        executor, _ = exact(network)
        assert executor.audit(network.example(None)) == 0
        assert torch.equal(executor.run(network.example(None)), network.forward(network.example(None)))

    def test_nothing_to_reduce_is_listed(self):
        traced = trace(network_of(Calling(lambda s, x: x[:, None] @ x[None]), whole(6)))
        assert not traced.sites
        assert [(each.macs, each.reason) for each in traced.others if each.macs] == [
            (36, "outer product, nothing to reduce")
        ]

    @pytest.mark.parametrize(
        ("function", "macs", "reason"),
        [
            (lambda s, x: (x.long() @ x.long().t()).float(), 96, "integers"),
            (lambda s, x: (torch.complex(x, x) @ torch.complex(x, x).t()).abs(), 96, "complex"),
            (lambda s, x: torch.fft.fft(x[:, :4]).real, 2 * 16 * 2, "Fourier"),
            (lambda s, x: torch.linalg.inv(x[:, :4] + 300 * torch.eye(4)), 64, "solver"),
        ],
    )
    def test_other_products_are_listed_with_a_reason(self, function, macs, reason):
        others = [each for each in trace(network_of(Calling(function), X)).others if each.reason]
        assert [each.macs for each in others] == [macs]
        assert reason in others[0].reason
        assert others[0].lost


class TestAttention:
    @pytest.mark.parametrize("mask", [None, torch.zeros(5, 5), torch.ones(5, 5).tril().bool()])
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
    def test_every_mask_and_type(self, mask, dtype):
        q = normal(2, 4, 5, 8).to(dtype)
        network = network_of(Calling(lambda s, q: F.scaled_dot_product_attention(q, q, q, attn_mask=mask)), q)
        names = {site.op: (site.groups, site.m, site.k, site.n) for site in trace(network).sites}
        assert names == {"attention_qk": (8, 5, 8, 5), "attention_pv": (8, 5, 5, 8)}
        output = exact(network)[0].run(network.example(None))
        assert output.dtype == dtype
        expected = network.forward(network.example(None)).double()
        assert float((output.double() - expected).norm() / expected.norm()) < 0.05

    def test_flex_attention(self):
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        mask = create_block_mask(lambda b, h, i, j: i >= j, None, None, 8, 8, device="cpu")

        def attend(s, q, k):
            return flex_attention(q, k, k, lambda score, b, h, i, j: score + (i - j) * 0.1, mask, enable_gqa=True)

        network = network_of(Calling(attend), normal(2, 4, 8, 16), normal(2, 2, 8, 16, seed=1))
        assert [site.op for site in trace(network).sites] == ["attention_qk", "attention_pv"]
        q, k = (network.example(None)[name] for name in ("input_0", "input_1"))
        keys = k.repeat_interleave(2, 1)
        at = torch.arange(8)
        scores = (q @ keys.mT / 4 + (at[:, None] - at) * 0.1).masked_fill(at[:, None] < at, -math.inf)
        found = exact(network)[0].run(network.example(None))
        expected = scores.softmax(-1) @ keys
        assert float((found - expected).norm() / expected.norm()) < 0.05

    def test_copied_heads_are_read_once(self):
        """What eager grouped-query attention repeats for its query heads lies in memory once."""

        def repeated(s, q, k):
            keys = k[:, :, None].expand(2, 2, 3, 5, 8).reshape(2, 6, 5, 8)
            return q @ keys.transpose(-1, -2)

        (site,) = trace(network_of(Calling(repeated), normal(2, 6, 4, 8), normal(2, 2, 5, 8))).sites
        assert (site.groups, site.w_elements) == (12, 2 * 2 * 5 * 8)


class TestRecurrent:
    def test_steps_are_one_site(self):
        lstm = nn.LSTM(6, 8, 2, batch_first=True, bidirectional=True).eval()
        network = network_of(Calling(lambda s, x: s.l(x)[0], l=lstm), normal(2, 20, 6))
        found = {site.name: (site.m, site.k, site.n, site.count) for site in trace(network).sites}
        assert found["l:weight_ih_l0"] == (40, 6, 32, 1)
        assert found["l:weight_hh_l0_reverse"] == (2, 8, 32, 20)
        assert found["l:weight_ih_l1"] == (40, 16, 32, 1)
        assert len(found) == 8

    @pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
    def test_wide_codes_are_as_good_as_float(self, kind):
        layer = kind(6, 8).eval()
        network = network_of(Calling(lambda s, x: s.l(x)[0], l=layer), normal(20, 2, 6))
        plan = compose("int", {"x_bits": 16, "w_bits": 16}).calibrate(network, [network.example(None)])
        found, expected = (
            Executor(network, plan).run(network.example(None)),
            network.forward(network.example(None)).detach(),
        )
        assert float((found - expected).norm() / expected.norm()) < 1e-3

    def test_traced_layers(self):
        layer = scripted(torch.jit.trace, nn.LSTM(6, 8), normal(20, 2, 6))
        network = network_of(Calling(lambda s, x: s.l(x)[0], l=layer), normal(20, 2, 6))
        assert [(site.m, site.k, site.n, site.count) for site in trace(network).sites] == [
            (40, 6, 32, 1),
            (2, 8, 32, 20),
        ]
        found, expected = exact(network)[0].run(network.example(None)), network.forward(network.example(None)).detach()
        assert float((found - expected).norm() / expected.norm()) < 0.05

    def test_a_loop_is_one_site(self):
        def scan(s, x):
            return torch.stack([(x[:, t] @ s.a).sum() for t in range(100)])

        (site,) = trace(network_of(Calling(scan, a=normal(8, 8)), normal(2, 100, 8))).sites
        assert (site.m, site.count, site.macs) == (2, 100, 100 * 2 * 8 * 8)

    def test_thousands_of_runs_of_a_cell_are_few_sites(self):
        def scan(s, x):
            h = x.new_zeros(2, 8)
            for t in range(x.shape[1]):
                h = s.cell(x[:, t], h)
            return h

        found = trace(network_of(Calling(scan, cell=nn.RNNCell(8, 8)), normal(2, 1000, 8))).sites
        assert len(found) == 128
        assert sum(site.count for site in found) == 2000


class TestWeights:
    def test_parts_are_named_by_what_is_sliced(self):
        w = torch.zeros(8, 4, 6)
        views = [w[3], w[3].t(), w[2:4], w[:, 1], w[:, 1:3], w[..., 2], w[5, 1:], w.flatten(1), w.permute(2, 0, 1)]
        assert [part_of(view, w) for view in views] == [
            *("[3]", "[3]", "[2:4]", "[:,1]", "[:,1:3]", "[:,:,2]", "[5,1:4]", "", "")
        ]

    def test_names_of_recomputed_weights(self):
        assert plain_name("a.parametrizations.weight.original1") == "a.weight"
        assert plain_name("a.weight_v") == "a.weight"

    @pytest.mark.parametrize(
        "layer",
        [
            nn.utils.parametrizations.weight_norm(nn.Linear(6, 5)),
            nn.utils.parametrizations.spectral_norm(nn.Linear(6, 5)),
            Calling(lambda s, x: F.linear(x, (s.w - s.w.mean()) / s.w.std()), w=normal(5, 6)),
        ],
        ids=["weight norm", "spectral norm", "standardised"],
    )
    def test_recomputed_weights_are_weights(self, layer):
        network = network_of(Calling(lambda s, x: s.l(x), l=layer), X)
        (site,) = trace(network).sites
        assert site.static_weight
        plan = compose("int8").calibrate(network, [network.example(None)])
        (operand,) = [plan.sites[site.name].w]
        assert operand.scale is not None
        assert operand.scale.numel() == 5  # one per channel, as weights have

    def test_old_weight_norm_can_be_copied(self):
        with pytest.warns(FutureWarning):
            layer = nn.utils.weight_norm(nn.Conv1d(4, 4, 3))
        network = network_of(layer, normal(2, 4, 8))
        assert trace(network.copy()).sites[0].static_weight

    def test_what_is_known_offline_is_no_site(self):
        network = network_of(Calling(lambda s, x: x @ (s.a @ s.b), a=normal(6, 4), b=normal(4, 5)), X)
        traced = trace(network)
        assert [(site.k, site.n, site.static_weight) for site in traced.sites] == [(6, 5, True)]
        assert [(each.macs, each.reason, each.lost) for each in traced.others if each.macs] == [(120, OFFLINE, False)]

    def test_a_buffer_that_the_network_writes_is_no_weight(self):
        class Stateful(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("state", torch.zeros(6, 5))

            def forward(self, x):
                self.state.copy_(x[:, :5])
                return x @ self.state

        (site,) = trace(network_of(Stateful(), whole(6, 6))).sites
        assert not site.static_weight


class Routed(nn.Module):
    """Tokens go to the expert that a gate chooses; `grouped` multiplies by slices of one parameter."""

    def __init__(self, *, grouped):
        super().__init__()
        self.grouped = grouped
        self.w = nn.Parameter(normal(8, 16, 16, seed=2))
        self.experts = nn.ModuleList(nn.Linear(16, 16, bias=False) for _ in range(8))
        with torch.no_grad():
            for expert, weights in zip(self.experts, self.w, strict=True):
                expert.weight.copy_(weights.t())

    def forward(self, x, chosen):
        order = chosen.argsort(stable=True)
        if self.grouped:
            stops = torch.bincount(chosen, minlength=8).cumsum(0).to(torch.int32)
            return F.grouped_mm(x[order], self.w, offs=stops)[order.argsort()]
        y = torch.zeros_like(x)
        for expert in chosen.unique().tolist():
            y[chosen == expert] = self.experts[expert](x[chosen == expert])
        return y


class TestExperts:
    def test_families(self):
        assert family_of("layers.0.experts:w[3]") == family_of("layers.0.experts:w[7]") == "layers.0.experts:w[*]"
        assert family_of("layers.0.experts.3.up") == "layers.0.experts.*.up"
        assert family_of("head") is None

    @pytest.mark.parametrize("grouped", [True, False])
    @pytest.mark.parametrize("method", ["int8", "aqs", "lp8", "ant8", "int8+apsq", "int8+psum-block"])
    def test_experts_that_no_sample_reached(self, grouped, method):
        module, x = Routed(grouped=grouped).eval(), normal(64, 16)
        inputs = {"x": x, "chosen": torch.arange(64) % 3}
        network = Network(
            name="routed",
            kind="tensor",
            module=module,
            run=lambda module, batch: module(**batch),
            example=lambda shape: inputs,
        )
        plan = compose(method).calibrate(network, [inputs])
        assert any("did not reach 5 experts" in note for note in plan.notes)
        everywhere = {"x": x, "chosen": torch.arange(64) % 8}
        executor = Executor(network, plan)
        assert executor.audit(everywhere) == 0
        output, expected = executor.run(everywhere), network.forward(everywhere).detach()
        for expert in range(8):
            mine = everywhere["chosen"] == expert
            loss = float((output[mine] - expected[mine]).norm() / expected[mine].norm())
            assert loss < 0.25, f"expert {expert} loses {loss}"

    def test_their_weights_have_their_own_scales(self):
        module = Routed(grouped=True).eval()
        with torch.no_grad():
            module.w.mul_(torch.logspace(-2, 2, 8).view(-1, 1, 1))
        inputs = {"x": normal(8, 16), "chosen": torch.zeros(8, dtype=torch.long)}
        network = Network(
            name="routed",
            kind="tensor",
            module=module,
            run=lambda module, batch: module(**batch),
            example=lambda shape: inputs,
        )
        plan = compose("int8").calibrate(network, [inputs])
        for expert in range(8):
            largest = module.w[expert].t().abs().amax(1)
            assert torch.allclose(plan.sites[f"w[{expert}]"].w.scale.flatten(), largest / 127)
