"""Changes to a network that leave what it computes alone: batch norm folded, activations smoothed; and the record of
a forward pass that both are read from.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bitwright.networks.dataflow import record
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.smoothing import smoothing_factors, smoothing_groups
from toys import Calling, generator, network_of, normal


def norm(channels, **options):
    """A batch norm as training leaves it."""
    module = nn.BatchNorm2d(channels, **options)
    for i, tensor in enumerate((module.running_mean, module.weight, module.bias)):
        if tensor is not None:
            tensor.data.copy_(normal(channels, seed=10 + i))
    module.running_var.copy_(torch.rand(channels, generator=generator(13)) + 0.1)
    return module


IMAGE = normal(2, 3, 8, 8, seed=99)


def folded_norms(module):
    """How many batch norms folding removes, having checked that it changes nothing else."""
    network = network_of(module, IMAGE)
    before = copy.deepcopy(module.state_dict())
    folded = fold_batch_norm(network)
    with torch.no_grad():
        expected, output = network.forward({"x": IMAGE}), folded.forward({"x": IMAGE})
    torch.testing.assert_close(output, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    after = network.module.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)

    def count(m):
        return sum(isinstance(part, nn.BatchNorm2d) for part in m.modules())

    return count(network.module) - count(folded.module)


class Activated(nn.BatchNorm2d):
    """A batch norm that does more, as timm's do."""

    def forward(self, x):
        return super().forward(x).relu()


class OwnConv(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(normal(4, 3, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.weight)


def shared_conv():
    conv = nn.Conv2d(3, 3, 1)
    return nn.Sequential(conv, norm(3), conv, nn.ReLU())


def shared_norm():
    one = norm(3)
    return nn.Sequential(nn.Conv2d(3, 3, 1), one, nn.Conv2d(3, 3, 1), one)


def norm_with_two_names():
    conv, one = nn.Conv2d(3, 4, 3), norm(4)
    return Calling(lambda m, x: m.second(x), first=one, second=nn.Sequential(conv, one))


def tied_weights():
    first, second = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second, norm(3))


def branches(function):
    return Calling(function, conv=nn.Conv2d(3, 4, 3), norm=norm(4), other=nn.Conv2d(3, 4, 3))


class TestFold:
    @pytest.mark.parametrize(
        ("module", "folds"),
        [
            (nn.Sequential(nn.Conv2d(3, 4, 3), norm(4)), 1),
            (nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), norm(4), nn.ReLU(), nn.Conv2d(4, 2, 1), norm(2)), 2),
            (nn.Sequential(nn.Conv2d(3, 6, 3, groups=3, stride=2, padding=1), norm(6, eps=0.1)), 1),
            (nn.Sequential(nn.Conv2d(3, 4, 3), norm(4, affine=False)), 1),
            (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, padding_mode="circular"), norm(4), nn.ReLU(inplace=True)), 1),
            (norm_with_two_names(), 1),
            (tied_weights(), 0),
            (branches(lambda m, x: m.norm(m.conv(x)) + m.other(x)), 1),
            # and what must stay as it is
            (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), norm(4)), 0),
            (nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), norm(4)), 0),
            (nn.Sequential(nn.Conv2d(3, 4, 3), nn.SiLU(inplace=True), norm(4)), 0),
            (nn.Sequential(norm(3), nn.Conv2d(3, 4, 3)), 0),
            (nn.Sequential(nn.Conv2d(3, 4, 3), Activated(4)), 0),
            (nn.Sequential(OwnConv(), norm(4)), 0),
            (branches(lambda m, x: m.norm(y := m.conv(x)) + y), 0),
            (branches(lambda m, x: m.norm(m.conv(x).add_(m.other(x)))), 0),
            (branches(lambda m, x: (y := m.conv(x), m.norm(y))[0]), 0),
            (shared_conv(), 0),
            (shared_norm(), 0),
        ],
        ids=[
            "plain",
            "no bias",
            "depthwise",
            "not affine",
            "circular",
            "two names",
            "tied",
            "branch",
            "relu",
            "relu in place",
            "silu in place",
            "norm first",
            "activated",
            "own",
            "residual",
            "added in place",
            "output",
            "shared conv",
            "shared norm",
        ],
    )
    def test_folds(self, module, folds):
        assert folded_norms(module) == folds

    def test_overwritten_pixels(self):
        def overwrite(m, x):
            y = m.conv(x)
            y[:, :, 0] = 1.0
            return m.norm(y)

        assert folded_norms(branches(overwrite)) == 0

    def test_by_hand(self):
        """gamma 2, beta 3, mean 5, variance 16 - epsilon: y = (x - 5) / 4 * 2 + 3, so w' = w / 2, b' = b / 2 + 1/2."""
        conv, one = nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1, eps=0.5)
        for tensor, value in ((conv.weight, 7.0), (conv.bias, 11.0), (one.weight, 2.0), (one.bias, 3.0)):
            nn.init.constant_(tensor, value)
        one.running_mean.fill_(5.0)
        one.running_var.fill_(15.5)
        folded = fold_batch_norm(network_of(nn.Sequential(conv, one), normal(1, 1, 2, 2))).module
        assert (folded[0].weight.item(), folded[0].bias.item()) == (3.5, 6.0)
        assert isinstance(folded[1], nn.Identity)
        assert (conv.weight.item(), conv.bias.item()) == (7.0, 11.0)

    def test_a_training_norm_stays(self):
        network = network_of(nn.Sequential(nn.Conv2d(3, 4, 3), norm(4)), IMAGE)
        network.module[1].train()
        assert isinstance(fold_batch_norm(network).module[1], nn.BatchNorm2d)

    def test_nothing_to_fold_copies_nothing(self):
        network = network_of(nn.Linear(3, 4), normal(2, 3))
        assert fold_batch_norm(network) is network


def names(groups):
    return sorted(group.sites for group in groups)


def groups_of(module, *inputs):
    network = network_of(module, *inputs)
    return smoothing_groups(network, network.example(None))


def check_unchanged(network, groups=None, *, tolerance=2e-5):
    """Random factors through every group leave the output alone, and move every group's input by exactly them."""
    batch = network.example(None)
    groups = smoothing_groups(network, batch) if groups is None else groups
    with torch.no_grad():
        expected = network.forward(batch)
        before = record(network, batch)
        for i, group in enumerate(groups):
            s = group.tie(torch.rand(group.channels, generator=generator(i)) * 4 + 0.25)
            group.apply(s)
            after = record(network, batch)
            for name in group.sites:
                torch.testing.assert_close(
                    after.sites[name].x * s, before.sites[name].x, rtol=1e-3, atol=1e-4 * float(s.max())
                )
            before = after
        output = network.forward(batch)
    torch.testing.assert_close(output, expected, rtol=0, atol=tolerance * float(expected.abs().max()))
    return groups


class Gated(nn.Module):
    """RMS norm and SwiGLU with given activation."""

    def __init__(self, activation=F.silu):
        super().__init__()
        self.gain = nn.Parameter(torch.rand(6, generator=generator(3)) + 0.5)
        self.gate, self.up, self.down = nn.Linear(6, 10), nn.Linear(6, 10), nn.Linear(10, 6)
        self.activation = activation

    def forward(self, x):
        h = self.gain * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5))
        return x + self.down(self.activation(self.gate(h)) * self.up(h))


def chain(*middle, tail=None):
    return nn.Sequential(nn.Linear(6, 8), *middle, tail or nn.Linear(8, 4))


X = normal(2, 5, 6)


class TestSmoothing:
    @pytest.mark.parametrize(
        ("module", "expected"),
        [
            (nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 4)), [("1",)]),
            (nn.Sequential(nn.RMSNorm(6), nn.Linear(6, 4)), [("1",)]),
            (nn.Sequential(nn.LayerNorm(6, bias=False), nn.Linear(6, 4)), [("1",)]),
            (chain(), [("1",)]),
            (chain(nn.ReLU()), [("2",)]),
            (chain(nn.ReLU(), nn.Dropout(0.5), nn.Unflatten(1, (5, 1)), nn.Flatten(1, 2)), [("5",)]),
            (Gated(), [("down",), ("gate", "up")]),
            (Gated(F.relu), [("down",), ("gate", "up")]),
            # where the factors have nowhere to go
            (nn.Sequential(nn.Linear(6, 4)), []),
            (nn.Sequential(nn.LayerNorm(6, elementwise_affine=False), nn.Linear(6, 4)), []),
            (chain(nn.GELU()), []),
            (chain(nn.SiLU(inplace=True)), []),
            (chain(nn.Hardswish(inplace=True)), []),
            (chain(nn.Flatten(1), tail=nn.Linear(40, 3)), []),
        ],
        ids=[
            "layer norm",
            "rms norm",
            "no bias",
            "linear",
            "relu",
            "reshapes",
            "gated",
            "gated relu",
            "input",
            "no gain",
            "gelu",
            "silu in place",
            "hardswish in place",
            "channels move",
        ],
    )
    def test_plain_modules(self, module, expected):
        network = network_of(module, X)
        assert names(check_unchanged(network)) == expected

    def test_a_residual_reader_forbids(self):
        layers = {"norm": nn.LayerNorm(6), "layer": nn.Linear(6, 6)}
        assert groups_of(Calling(lambda m, x: m.layer(m.norm(x)) + x, **layers), X)
        assert groups_of(Calling(lambda m, x: m.layer(y := m.norm(x)) + y, **layers), X) == []

    def test_an_output_that_is_also_read_forbids(self):
        layers = {"norm": nn.LayerNorm(6), "layer": nn.Linear(6, 6)}
        assert groups_of(Calling(lambda m, x: (y := m.norm(x), m.layer(y))[0], **layers), X) == []

    def test_a_norm_that_serves_twice_forbids(self):
        layers = {"norm": nn.LayerNorm(6), "layer": nn.Linear(6, 6), "last": nn.Linear(6, 6)}
        module = Calling(lambda m, x: m.last(m.norm(m.layer(m.norm(x)))), **layers)
        assert check_unchanged(network_of(module, X)) == []

    def test_a_layer_that_serves_twice_forbids(self):
        layers = {"norm": nn.LayerNorm(6), "layer": nn.Linear(6, 6)}
        module = Calling(lambda m, x: m.layer(m.norm(m.layer(x))), **layers)
        assert check_unchanged(network_of(module, X)) == []

    def test_one_weight_under_two_names_forbids(self):
        module = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 6, bias=False), nn.ReLU(), nn.Linear(6, 6, bias=False))
        module[3].weight = module[1].weight
        assert check_unchanged(network_of(module, X)) == []

    def test_a_square_weight_used_the_other_way_round(self):
        module = Calling(lambda m, x: m.last(x @ m.first), first=normal(6, 6), last=nn.Linear(6, 6))
        assert check_unchanged(network_of(module, X)) == []
        module = Calling(
            lambda m, x: torch.addmm(m.bias, m.norm(x), m.w), norm=nn.LayerNorm(6), w=normal(6, 6), bias=normal(6)
        )
        (group,) = check_unchanged(network_of(module, X[0]))
        assert group.readers[0][1] == 0

    def test_a_part_of_a_parameter_forbids(self):
        module = Calling(lambda m, x: F.linear(m.norm(x), m.w[:6]), norm=nn.LayerNorm(6), w=normal(12, 6))
        assert check_unchanged(network_of(module, X)) == []

    def test_a_bias_that_is_no_vector_forbids(self):
        module = Calling(
            lambda m, x: m.last(torch.addmm(m.bias, x, m.w.t())),
            w=normal(6, 6),
            bias=normal(1, 6),
            last=nn.Linear(6, 6),
        )
        assert check_unchanged(network_of(module, X[0])) == []

    @pytest.mark.parametrize(("heads", "shared"), [(4, 4), (4, 2), (4, 1)])
    @pytest.mark.parametrize("by_name", [False, True])
    def test_through_attention(self, heads, shared, by_name):
        size = 3

        def attend(m, x):
            q, k, v = (layer(x).view(2, 5, -1, size).transpose(1, 2) for layer in (m.q, m.k, m.v))
            if by_name:
                y = F.scaled_dot_product_attention(query=q, key=k, value=v, enable_gqa=True)
            else:
                y = F.scaled_dot_product_attention(q, k, v, enable_gqa=True)
            return m.o(y.transpose(1, 2).reshape(2, 5, heads * size))

        width = (heads * size, shared * size, shared * size)
        layers = {name: nn.Linear(6, n) for name, n in zip("qkv", width, strict=True)}
        (group,) = check_unchanged(network_of(Calling(attend, **layers, o=nn.Linear(heads * size, 6)), X))
        assert (group.sites, group.repeats, group.head) == (("o",), heads // shared, size)
        assert [p.shape[0] for p in group.sources] == [shared * size] * 2

    def test_ties_factors_of_shared_heads(self):
        def attend(m, x):
            q, v = m.q(x).view(1, 5, 4, 2).transpose(1, 2), m.v(x).view(1, 5, 2, 2).transpose(1, 2)
            return m.o(F.scaled_dot_product_attention(q, v, v, enable_gqa=True).transpose(1, 2).reshape(1, 5, 8))

        layers = {"q": nn.Linear(6, 8), "v": nn.Linear(6, 4), "o": nn.Linear(8, 6)}
        assert groups_of(Calling(attend, **layers), X[:1]) == []  # the values are keys, too

        def attend_own(m, x):
            q, k, v = (layer(x).view(1, 5, -1, 2).transpose(1, 2) for layer in (m.q, m.k, m.v))
            return m.o(F.scaled_dot_product_attention(q, k, v, enable_gqa=True).transpose(1, 2).reshape(1, 5, 8))

        (group,) = groups_of(Calling(attend_own, **layers, k=nn.Linear(6, 4)), X[:1])
        # heads 0 and 1 share value head 0, heads 2 and 3 share value head 1: the larger of each pair of channels
        tied = group.tie(torch.tensor([1.0, 2.0, 3.0, 1.0, 5.0, 5.0, 4.0, 6.0]))
        assert tied.tolist() == [3, 2, 3, 2, 5, 6, 5, 6]

    def test_weight_peaks(self):
        module = Gated()
        group = next(g for g in groups_of(module, X) if len(g.sites) == 2)
        expected = [
            max(float(w.detach()[:, j].abs().max()) for w in (module.gate.weight, module.up.weight)) for j in range(6)
        ]
        assert group.weight_peaks().tolist() == expected

    @pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0])
    def test_factors(self, strength):
        x, w = [4.0, 0.0, 9.0, 1e-30, 2.0], [2.0, 3.0, 0.0, 1.0, 0.5]
        s = smoothing_factors(torch.tensor(x), torch.tensor(w), strength).tolist()
        for j, (peak, weight) in enumerate(zip(x, w, strict=True)):
            formula = peak**strength / weight ** (1 - strength) if peak and weight else 1.0
            assert s[j] == pytest.approx(min(max(formula, 1e-5), 1e5), rel=1e-5)


class TestHuggingFace:
    """Groups expected by hand from the architectures' definitions."""

    IDS = torch.tensor([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])

    def check(self, module, expected):
        transformers = pytest.importorskip("transformers")
        assert transformers
        field = "logits" if hasattr(module, "lm_head") else "last_hidden_state"
        for parameter in module.parameters():  # as trained: no gain is 1, no bias 0
            parameter.data.add_(0.2 * normal(*parameter.shape, seed=parameter.numel()))
        network = network_of(Calling(lambda m, ids: m.body(input_ids=ids)[field], body=module), self.IDS)
        found = check_unchanged(network, tolerance=2e-4)
        assert names(found) == sorted(tuple(f"body.{site}" for site in sites) for sites in expected)
        return found

    @pytest.mark.parametrize("shared", [4, 2])
    @pytest.mark.parametrize("tied", [False, True])
    def test_llama(self, shared, tied):
        transformers = pytest.importorskip("transformers")
        config = transformers.LlamaConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, vocab_size=11,
            num_key_value_heads=shared, tie_word_embeddings=tied, use_cache=False,
        )  # fmt: skip
        expected = [] if tied else [("lm_head",)]
        for layer in ("model.layers.0", "model.layers.1"):
            attention, mlp = f"{layer}.self_attn", f"{layer}.mlp"
            expected += [tuple(f"{attention}.{p}_proj" for p in "qkv"), (f"{attention}.o_proj",)]
            expected += [(f"{mlp}.gate_proj", f"{mlp}.up_proj"), (f"{mlp}.down_proj",)]
        found = self.check(transformers.LlamaForCausalLM(config).eval(), expected)
        assert {group.repeats for group in found if group.sites[0].endswith("o_proj")} == {4 // shared}

    def test_opt(self):
        transformers = pytest.importorskip("transformers")
        config = transformers.OPTConfig(
            hidden_size=16, ffn_dim=24, num_hidden_layers=1, num_attention_heads=2, vocab_size=11,
            word_embed_proj_dim=16, use_cache=False,
        )  # fmt: skip
        layer = "model.decoder.layers.0"
        attention = f"{layer}.self_attn"
        expected = [
            tuple(sorted(f"{attention}.{p}_proj" for p in "qkv")), (f"{attention}.out_proj",), (f"{layer}.fc1",),
            (f"{layer}.fc2",),
        ]  # fmt: skip
        found = check_unchanged(self.network(transformers.OPTForCausalLM(config).eval()), tolerance=2e-4)
        assert [tuple(sorted(s.removeprefix("body.") for s in g.sites)) for g in found if len(g.sites) > 1] == expected[
            :1
        ]
        assert sorted(s for g in found for s in g.sites) == sorted(f"body.{s}" for sites in expected for s in sites)

    def network(self, module):
        for parameter in module.parameters():
            parameter.data.add_(0.2 * normal(*parameter.shape, seed=parameter.numel()))
        return network_of(Calling(lambda m, ids: m.body(input_ids=ids).logits, body=module), self.IDS)

    def test_gpt2(self):
        transformers = pytest.importorskip("transformers")
        config = transformers.GPT2Config(n_embd=16, n_layer=1, n_head=2, vocab_size=11, n_positions=8, use_cache=False)
        block = "transformer.h.0"
        # GELU and the split of one joint projection end the other chains; the head is tied to the embedding
        self.check(transformers.GPT2LMHeadModel(config).eval(), [(f"{block}.attn.c_attn",), (f"{block}.mlp.c_fc",)])

    def test_bert(self):
        transformers = pytest.importorskip("transformers")
        config = transformers.BertConfig(
            hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, vocab_size=11
        )
        # norms come after the residual sums and are read by the next sum, so only the values remain
        self.check(
            transformers.BertModel(config, add_pooling_layer=False).eval(),
            [("encoder.layer.0.attention.output.dense",)],
        )


class TestDataflow:
    def test_producers_and_readers(self):
        module = nn.Sequential(nn.Linear(6, 6), nn.ReLU())
        flow = record(network_of(module, X), {"x": X})
        hidden = flow.outputs["0"]
        assert flow.site_of[id(hidden)] == "0"
        assert flow.producer[id(hidden)].path == "0"
        assert [(n.function, n.path) for n in flow.readers_of(hidden)] == [(F.relu, "1")]

    def test_asking_for_a_shape_reads_nothing(self):
        def flatten(m, x):
            y = m.layer(x)
            return y.view(y.shape[0], y.size(1) * y.dim() * 2) if y.dtype.is_floating_point else y

        module = Calling(flatten, layer=nn.Linear(6, 6))
        flow = record(network_of(module, X), {"x": X})
        assert [n.function.__name__ for n in flow.readers_of(flow.outputs["layer"])] == ["view"]

    def test_a_call_that_does_nothing_is_no_step(self):
        module = Calling(lambda m, x: m.layer(x).contiguous().float().relu(), layer=nn.Linear(6, 6))
        flow = record(network_of(module, X), {"x": X})
        assert [n.function.__name__ for n in flow.readers_of(flow.outputs["layer"])] == ["relu"]
