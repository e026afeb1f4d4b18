"""Rotations of what sites read, and scales of first tokens: the same network in float, the stated integers when run."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bitwright.errors import InputError
from bitwright.formats import Integer, PerPosition, parse_granularity
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.integer import gemm
from bitwright.methods.integer.observe import observe_ranges
from bitwright.methods.integer.scales import same_zero_point
from bitwright.methods.integer.smooth import beginnings
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.methods.protocol import compose
from bitwright.networks import hadamard, paley
from bitwright.networks.rotated_sites import Rotation, Where
from bitwright.networks.rotation import rotation_groups, stream_matrix
from bitwright.networks.smoothing import untie
from bitwright.networks.trace import trace
from toys import generator, linear_view, network_of, normal


def outliers(channels, *, at=3, times=60.0):
    """Weights of a norm whose output has one channel far larger than the others."""
    gain = torch.ones(channels)
    gain[at] = times
    return gain


class TestHadamard:
    @settings(deadline=None, max_examples=40)
    @given(st.integers(1, 96), st.integers(1, 5))
    def test_kernel_is_the_product_with_the_whole_matrix(self, width, rows):
        x = normal(rows, width, seed=width)
        expected = (x.double() @ hadamard.matrix(width)).float()
        torch.testing.assert_close(hadamard.rotated(x), expected, rtol=0, atol=2e-6)

    @settings(deadline=None, max_examples=40)
    @given(st.sampled_from([2, 12, 20, 24, 28, 36, 52, 60, 144, 240, 384]), st.integers(1, 3), st.booleans())
    def test_kernel_is_the_product_with_the_whole_matrix_of_any_order(self, block, blocks, signs):
        x = normal(3, block * blocks, seed=block)
        expected = (x.double() @ hadamard.matrix(block * blocks, block, signs=signs)).float()
        torch.testing.assert_close(hadamard.rotated(x, block, signs=signs), expected, rtol=0, atol=2e-6)
        other = hadamard.rotated(x, block, signs=not signs)  # those of 2 channels are not flipped
        assert block == 2 or (other - expected).norm() > 0.1 * expected.norm()

    @pytest.mark.parametrize("order", [2, *paley.FIELDS])
    def test_paleys_matrices_are_hadamards(self, order):
        found = paley.signs(order)
        assert torch.equal(found @ found.T, order * torch.eye(order, dtype=torch.int64))
        assert torch.equal(found.abs(), torch.ones(order, order, dtype=torch.int64))
        assert torch.equal(found, found.T)

    @pytest.mark.parametrize("order", [order for order, (_, power) in paley.FIELDS.items() if power == 1])
    def test_entries_are_squares_of_the_field(self, order):
        """Entry i, j behind the border: whether i - j is a square, by all squares there are."""
        prime, _ = paley.FIELDS[order]
        squares = {i * i % prime for i in range(1, prime)}
        found = paley.conference(order)[1:, 1:]
        for i in range(prime):
            for j in range(prime):
                assert found[i, j] == (0 if i == j else 1 if (i - j) % prime in squares else -1)

    @given(st.integers(1, 4096))
    @settings(deadline=None, max_examples=80)
    def test_the_largest_order_divides_the_width_and_is_a_product_of_known_ones(self, width):
        order = paley.largest_order(width)
        factors = paley.factors(order)
        assert math.prod(factors) == order
        assert set(factors) <= {2, *paley.FIELDS}
        assert width % order == 0
        assert order % hadamard.block_of(width) == 0
        larger = [each for each in range(order + 1, width + 1) if width % each == 0 and paley.factors(each)]
        assert larger == []

    def test_the_widths_of_language_models_are_rotated_whole(self):
        assert [paley.largest_order(width) for width in (384, 576, 768, 960, 1536, 3072, 4096, 14336)] == [
            384, 576, 768, 960, 1536, 3072, 4096, 14336,
        ]  # fmt: skip

    @pytest.mark.parametrize("block", [2, 12, 20, 36, 48, 144])
    def test_additions_are_those_of_the_kernel(self, block):
        """Numbers that count what was added to reach them: each addition of the written-out algorithm."""
        additions = 0

        def add(one, other):
            nonlocal additions
            additions += 1
            return one + other

        y, left = [float(each) for each in normal(block, seed=1)], block
        wanted = torch.tensor(y, dtype=torch.float64) @ hadamard.matrix(block, block) * block**0.5
        for factor in paley.factors(block):
            left //= factor
            for start in range(block):
                if start // left % factor:
                    continue
                at = [start + left * i for i in range(factor)]
                v, half = [y[i] for i in at], factor // 2
                p = [add(v[i], v[half + i]) for i in range(half)]
                d = [add(v[i], -v[half + i]) for i in range(half)]
                made = p + d
                if factor != 2:
                    s = paley.conference(factor).tolist()
                    made = d + [-each for each in p]
                    for i in range(half):
                        for k in range(half):
                            if s[i][k]:
                                made[i] = add(made[i], s[i][k] * p[k])
                                made[half + i] = add(made[half + i], s[i][k] * d[k])
                for i, value in zip(at, made, strict=True):
                    y[i] = value
        torch.testing.assert_close(torch.tensor(y, dtype=torch.float64), wanted)
        assert additions == block * hadamard.additions(block)

    @pytest.mark.parametrize("block", [4, 64, 256, 1024])
    def test_a_mean_is_spread_evenly_where_signs_are_flipped(self, block):
        """Blocks of even powers: the sequence is bent, so all channels of a constant's transform are as large."""
        x = torch.ones(1, block)
        assert float(hadamard.rotated(x, block).abs().max()) == pytest.approx(block**0.5)
        torch.testing.assert_close(hadamard.rotated(x, block, signs=True).abs(), x)

    @pytest.mark.parametrize("width", [1, 2, 12, 24, 64])
    def test_matrix_is_orthogonal_and_its_own_inverse(self, width):
        found = hadamard.matrix(width)
        assert torch.allclose(found @ found.T, torch.eye(width, dtype=torch.float64))
        assert torch.equal(found, found.T)

    @settings(deadline=None, max_examples=30)
    @given(st.sampled_from([(2, 2), (6, 2), (8, 8), (24, 8), (48, 48), (120, 60), (144, 144)]), st.integers(0, 99))
    def test_fixed_point_sums_are_exact_integers(self, sizes, seed):
        width, block = sizes
        x, step, limit = normal(3, width, seed=seed), 2.0**-7, 2**11 - 1
        codes = (x.double() / step).round().clamp(-limit, limit).long()
        signs = (hadamard.matrix(block, block, signs=True) * block**0.5).round().long()
        sums = (codes.view(3, -1, block) @ signs).view(3, width)
        found = hadamard.rotated_fixed(x, step, limit, block, signs=True)
        assert torch.equal(found, (sums.double() * (step / block**0.5)).float())

    @pytest.mark.parametrize("block", [16, 48])
    def test_a_row_does_not_depend_on_the_rows_around_it(self, block):
        x = normal(37, 48)
        whole = hadamard.rotated(x, block)
        assert all(torch.equal(hadamard.rotated(x[i : i + 1], block)[0], whole[i]) for i in range(37))
        assert torch.equal(hadamard.rotated(x.t().contiguous().t(), block), whole)

    @pytest.mark.parametrize(("block", "signs"), [(8, False), (24, False), (12, True)])
    def test_gradient_is_that_of_the_product_with_the_matrix(self, block, signs):
        x = normal(4, 24).requires_grad_()
        wanted = normal(4, 24, seed=1)
        (hadamard.rotated(x, block, signs=signs) * wanted).sum().backward()
        expected = wanted.double() @ hadamard.matrix(24, block, signs=signs).T
        torch.testing.assert_close(x.grad, expected.float(), rtol=0, atol=1e-6)

    def test_stream_matrix_is_orthogonal_and_keeps_the_mean(self):
        q = stream_matrix(30)
        assert torch.allclose(q @ q.T, torch.eye(30, dtype=torch.float64))
        assert torch.allclose(q.sum(1), torch.ones(30, dtype=torch.float64))


class WrittenOut(nn.Module):
    """A norm by root mean square as transformers write it."""

    def __init__(self, channels):
        super().__init__()
        self.weight = nn.Parameter(normal(channels, seed=5).abs() + 0.5)

    def forward(self, x):
        dtype = x.dtype
        x = x.to(torch.float32)
        x = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * x.to(dtype)


def layer_norm(channels):
    module = nn.LayerNorm(channels)
    module.weight.data, module.bias.data = normal(channels, seed=6), normal(channels, seed=7)
    return module


def rms_norm(channels):
    module = nn.RMSNorm(channels)
    module.weight.data = normal(channels, seed=6)
    return module


class Blocks(nn.Module):
    """Two residual blocks with attention of shared heads, as language models and vision transformers have them."""

    def __init__(self, norm, *, channels=24, bias=True, tied=False):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(11, channels)
        self.places = nn.Embedding(16, channels)
        self.norms = nn.ModuleList(norm(channels) for _ in range(5))
        self.q = nn.ModuleList(nn.Linear(channels, 16, bias=bias) for _ in range(2))
        self.k = nn.ModuleList(nn.Linear(channels, 8, bias=bias) for _ in range(2))
        self.v = nn.ModuleList(nn.Linear(channels, 8, bias=bias) for _ in range(2))
        self.o = nn.ModuleList(nn.Linear(16, channels, bias=bias) for _ in range(2))
        self.up = nn.ModuleList(nn.Linear(channels, 32, bias=bias) for _ in range(2))
        self.down = nn.ModuleList(nn.Linear(32, channels, bias=bias) for _ in range(2))
        self.head = nn.Linear(channels, 11, bias=bias)
        if tied:
            self.head.weight = self.table.weight

    def forward(self, x):
        h = self.table(x) + self.places(torch.arange(x.shape[1]))
        for i in range(2):
            n = self.norms[2 * i](h)
            q, k, v = (part[i](n).view(*n.shape[:2], -1, 4).transpose(1, 2) for part in (self.q, self.k, self.v))
            k, v = (each.repeat_interleave(2, dim=1) for each in (k, v))
            a = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            h = h + self.o[i](a.transpose(1, 2).reshape(*n.shape[:2], -1))
            h = h + self.down[i](F.gelu(self.up[i](self.norms[2 * i + 1](h))))
        return self.head(self.norms[4](h))


def network_site(network):
    """The name of its first site."""
    return trace(network).sites[0].name


def tokens(batch=2, count=9, seed=0):
    return torch.randint(0, 11, (batch, count), generator=generator(seed))


def rotated_everywhere(network):
    """The network with all of its rotations, and these."""
    work = network.copy()
    untie(work.module)
    groups = rotation_groups(work, {"x": tokens()})
    rotations = {site: Rotation(where=group.where) for group in groups for site in group.sites}
    return prepare(network, Plan(method="int", rotations=rotations)), groups


def places(groups):
    return {site: str(group.where) for group in groups for site in group.sites}


class TestGroups:
    @pytest.mark.parametrize("norm", [WrittenOut, rms_norm, layer_norm])
    @pytest.mark.parametrize("tied", [False, True])
    def test_a_stream_is_rotated_offline_and_the_network_is_the_same(self, norm, tied):
        network = network_of(Blocks(norm, tied=tied), tokens())
        turned, groups = rotated_everywhere(network)
        where = places(groups)
        assert {where[name] for name in ("q.0", "k.1", "v.0", "up.1", "head")} == {"stream"}
        assert {where[f"o.{i}"] for i in range(2)} == {"heads"}
        assert {where[f"down.{i}"] for i in range(2)} == {"run-time"}
        with torch.no_grad():
            torch.testing.assert_close(turned.forward({"x": tokens()}), network.forward({"x": tokens()}))
        assert not torch.allclose(turned.module.table.weight, network.module.table.weight)

    def test_what_sites_read_is_really_rotated(self):
        network = network_of(Blocks(rms_norm), tokens())
        turned, _ = rotated_everywhere(network)
        plain, moved = observe_ranges(network, [{"x": tokens()}]), observe_ranges(turned, [{"x": tokens()}])
        assert list(plain) == list(moved)
        changed = {name for name in plain if plain[name].x_range != moved[name].x_range}
        assert {"q.0", "o.0", "down.1", "head"} <= changed

    def test_a_bias_of_a_norm_needs_a_bias_to_go_to(self):
        network = network_of(Blocks(layer_norm, bias=False), tokens())
        turned, groups = rotated_everywhere(network)
        assert set(places(groups).values()) == {"heads", "run-time"}
        with torch.no_grad():
            torch.testing.assert_close(turned.forward({"x": tokens()}), network.forward({"x": tokens()}))

    def test_a_gain_inside_the_stream_is_not_rotated_through(self):
        class After(nn.Module):  # the norm is behind the addition, as BERT has it
            def __init__(self):
                super().__init__()
                self.table, self.norm = nn.Embedding(11, 24), layer_norm(24)
                self.up, self.down = nn.Linear(24, 32), nn.Linear(32, 24)

            def forward(self, x):
                h = self.norm(self.table(x))
                return self.norm(h + self.down(self.up(h).relu()))

        turned, groups = rotated_everywhere(network := network_of(After(), tokens()))
        assert places(groups) == {"up": "run-time", "down": "run-time"}
        with torch.no_grad():
            torch.testing.assert_close(turned.forward({"x": tokens()}), network.forward({"x": tokens()}))

    @pytest.mark.parametrize("leak", ["output", "multiplied", "concatenated", "sliced"])
    def test_a_stream_that_something_else_reads_stays(self, leak):
        class Leaking(Blocks):
            def forward(self, x):
                h = self.table(x)
                y = h + self.down[0](self.up[0](self.norms[0](h)).relu())
                if leak == "output":
                    return y
                if leak == "multiplied":
                    y = y * y
                elif leak == "concatenated":
                    y = torch.cat([y, h], -1)[..., : y.shape[-1]]
                else:
                    y = y[..., 1:].sum(-1, keepdim=True) + y
                return self.head(self.norms[4](y))

        network = network_of(Leaking(rms_norm), tokens())
        turned, groups = rotated_everywhere(network)
        assert Where.STREAM not in {group.where for group in groups}
        with torch.no_grad():
            torch.testing.assert_close(turned.forward({"x": tokens()}), network.forward({"x": tokens()}))

    def test_weights_used_twice_or_computed_stay(self):
        class Twice(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.scale = nn.Linear(8, 8), nn.Parameter(torch.ones(8))

            def forward(self, x):
                return F.linear(self.a(self.a(x)), self.a.weight * self.scale)

        network = network_of(Twice(), normal(3, 8))
        assert rotation_groups(network, {"x": normal(3, 8)}) == []

    def test_a_copy_rotates_by_itself(self):
        network = network_of(Blocks(rms_norm), tokens())
        turned, _ = rotated_everywhere(network)
        again = turned.copy()
        with torch.no_grad():
            before = turned.forward({"x": tokens()})
            for parameter in turned.module.parameters():
                parameter.zero_()
            assert torch.equal(again.forward({"x": tokens()}), before)


class TestHandedOut:
    def test_a_hidden_state_that_is_handed_out_beside_what_is_judged_stays(self):
        class Hidden(Blocks):
            def forward(self, x):
                h = self.table(x)
                h = h + self.down[0](self.up[0](self.norms[0](h)).relu())
                return {"logits": self.head(self.norms[4](h)), "hidden": (h,)}

        network = network_of(Hidden(rms_norm), tokens())
        network = dataclasses.replace(network, run=lambda module, batch: module(*batch.values())["logits"])
        turned, groups = rotated_everywhere(network)
        assert Where.STREAM not in {group.where for group in groups}
        with torch.no_grad():
            found, expected = (each.module(tokens())["hidden"][0] for each in (turned, network))
        torch.testing.assert_close(found, expected)

    def test_a_plan_of_other_places_is_refused(self):
        network = network_of(Blocks(rms_norm), tokens())
        plan = Plan(method="int", rotations={"o.0": Rotation(where=Where.RUN_TIME)})
        with pytest.raises(InputError, match=r"rotates what o\.0 of .* calibrate it anew"):
            prepare(network, plan)

    def test_another_way_with_other_inputs_is_seen_on_the_samples(self):
        class Branching(Blocks):
            def forward(self, x):
                return self.table(x)[..., :11] if x.shape[1] > 12 else super().forward(x)

        network = network_of(Branching(rms_norm), tokens())
        batches = [{"x": tokens(count=14, seed=i)} for i in range(3)]
        plan = compose("int8", {"rotation": "all", "smoothing": "none"}).calibrate(network, batches)
        assert plan.rotations == {}
        assert any("nothing was found that can be rotated" in note for note in plan.notes)

    @pytest.mark.parametrize("rotation", ["search", "all", "offline"])
    def test_another_way_on_a_later_sample_is_seen(self, rotation):
        class Branch(nn.Module):
            def __init__(self):
                super().__init__()
                torch.manual_seed(0)
                self.a, self.b = nn.Linear(8, 16), nn.Linear(16, 4)

            def forward(self, x):
                h = F.relu(self.a(x))
                return F.linear(h, self.b.weight, self.b.bias) if float(x[0, 0]) > 5 else self.b(h)

        hot = normal(3, 8)
        hot[0, 0] = 6
        samples = [{"x": x} for x in (normal(3, 8, seed=1), hot, normal(3, 8, seed=3))]
        plan = compose("int8", {"rotation": rotation}).calibrate(network_of(Branch(), normal(3, 8)), samples)
        assert plan.rotations == {}

    def test_inputs_that_are_not_cut_alike_stay_whole(self):
        """A language model's positions [tokens] and mask [batch, 1, tokens, tokens] beside its tokens."""
        network = network_of(nn.Linear(4, 4), normal(2, 4))
        network = dataclasses.replace(network, kind="language")
        whole = {"tokens": tokens(2, 200), "positions": torch.arange(200), "mask": torch.ones(2, 1, 200, 200)}
        assert beginnings(network, [whole], 128) == [whole]
        square = {"tokens": tokens(2, 200), "mask": torch.ones(200, 200)}
        assert beginnings(network, [square], 128) == [square]
        assert beginnings(network, [{"tokens": tokens(2, 200)}], 128)[0]["tokens"].shape == (2, 128)


class TestRunTime:
    def test_under_inference_mode(self):
        network = network_of(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4)), normal(2, 8))
        plan = Plan(method="int", rotations=dict.fromkeys(("0", "1"), Rotation(where=Where.RUN_TIME)))
        with torch.inference_mode():
            found = prepare(network, plan).module(normal(2, 8))
            torch.testing.assert_close(found, network.module(normal(2, 8)))

    def test_gradients_reach_what_was_rotated_without_them_before(self):
        network = network_of(nn.Linear(8, 4), normal(2, 8))
        plan = Plan(method="int", rotations={network_site(network): Rotation(where=Where.RUN_TIME)})
        module, x = prepare(network, plan).module, normal(2, 8).requires_grad_()
        with torch.no_grad():
            module(x)
        module(x).sum().backward()
        torch.testing.assert_close(x.grad, network.module.weight.sum(0).expand(2, 8))

    def test_machines_see_the_additions_once_for_all_that_read_them(self):
        class Shared(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(24, 5), nn.Linear(24, 7)

            def forward(self, x):
                return torch.cat([self.a(x), self.b(x)], -1)

        network = network_of(Shared(), normal(6, 24))
        plan = Plan(method="int", rotations=dict.fromkeys(("a", "b"), Rotation(where=Where.RUN_TIME)))
        found = [each for each in trace(prepare(network, plan)).others if each.name == hadamard.ROTATE]
        assert [(each.calls, each.elements, each.work, each.reason) for each in found] == [(1, 144, 144 * 3, "")]

    def test_what_is_changed_in_place_is_rotated_anew(self):
        layer = nn.Linear(8, 8, bias=False)

        class Changing(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = layer, nn.Linear(8, 8, bias=False)

            def forward(self, x):
                x = x.clone()
                first = self.a(x)
                x.mul_(2)
                return first, self.b(x)

        module = Changing()
        x, expected = normal(2, 8), None
        with torch.no_grad():
            expected = module(x)
            from bitwright.networks.online import rotate_at_run_time

            for each in (module.a, module.b):
                each.weight.copy_(each.weight @ hadamard.matrix(8).float())
            rotate_at_run_time([module.a, module.b], bits=0, step=0.0)
            for found, wanted in zip(module(x), expected, strict=True):
                torch.testing.assert_close(found, wanted)

    def test_plan_is_executed_exactly_and_survives_its_file(self, tmp_path):
        network = network_of(Blocks(rms_norm), tokens())
        options = {"rotation": "all", "rotation_bits": 16, "smoothing": "none"}
        plan = compose("int8", options).calibrate(network, [{"x": tokens(seed=i)} for i in range(3)])
        assert {each.bits for each in plan.rotations.values() if each.at_run_time} == {16}
        assert all(each.step > 0 for each in plan.rotations.values() if each.at_run_time)
        plan.save(tmp_path / "plan")
        loaded = Plan.load(tmp_path / "plan", network)
        assert loaded.rotations == plan.rotations
        first, second = (Executor(network, each).run({"x": tokens(seed=9)}) for each in (plan, loaded))
        assert torch.equal(first, second)
        assert Executor(network, plan).audit({"x": tokens(seed=9)}) == 0

    @pytest.mark.parametrize(("block", "signs"), [(0, False), (8, False), (24, True)])
    def test_blocks_and_signs_are_stated_and_charged(self, block, signs):
        network = network_of(nn.Linear(24, 5), normal(6, 24))
        site = network_site(network)
        plan = Plan(method="int", rotations={site: Rotation(where=Where.RUN_TIME, block=block, signs=signs)})
        turned = prepare(network, plan)
        with torch.no_grad():
            torch.testing.assert_close(turned.module(normal(6, 24)), network.module(normal(6, 24)))
        expected = network.module.weight.double() @ hadamard.matrix(24, block, signs=signs)
        torch.testing.assert_close(turned.module.weight, expected.float())
        (found,) = [each for each in trace(turned).others if each.name == hadamard.ROTATE]
        assert found.work == 144 * (3 if block != 24 else 6 + 1)  # half of 12, and a level of pairs

    def test_a_plan_that_states_no_block_is_rotated_as_it_was(self):
        """Of versions before 4: powers of two, no flipped signs."""
        from bitwright.methods.plan_file import plan_from, plan_record

        network = network_of(Blocks(rms_norm), tokens())
        before = Rotation(where=Where.RUN_TIME)
        plan = compose("int8", {"rotation": "none", "smoothing": "none"}).calibrate(network, [{"x": tokens()}])
        tensors = {}
        record = plan_record(dataclasses.replace(plan, rotations={"down.0": before}), tensors)
        record["schema_version"] = 3
        del record["rotations"]["down.0"]["block"], record["rotations"]["down.0"]["signs"]
        loaded = plan_from(record, tensors)
        assert loaded.rotations == {"down.0": before}
        x = normal(3, 32)
        assert torch.equal(hadamard.rotated(x), hadamard.rotated(x, 32))
        torch.testing.assert_close(hadamard.rotated(x), x @ hadamard.matrix(32).float())

    @pytest.mark.parametrize(
        "change",
        [
            lambda record: record["rotations"]["down.0"].update(where="elsewhere"),
            lambda record: record["rotations"]["down.0"].update(step=-1.0),
            lambda record: record["rotations"]["down.0"].update(turns=2),
        ],
    )
    def test_damaged_rotations_are_refused(self, tmp_path, change):
        from bitwright.methods.plan_file import plan_from, plan_record

        network = network_of(Blocks(rms_norm), tokens())
        plan = compose("int8", {"rotation": "all", "smoothing": "none"}).calibrate(network, [{"x": tokens()}])
        tensors = {}
        record = plan_record(plan, tensors)
        change(record)
        with pytest.raises(ValueError, match="down"):
            plan_from(record, tensors)


class Outlying(nn.Module):
    """Layers that read one channel far larger than the others, whose weights hardly read it."""

    def __init__(self, times):
        super().__init__()
        torch.manual_seed(1)
        self.norm = nn.LayerNorm(64)
        self.norm.weight.data = outliers(64, times=times)
        self.up, self.down = nn.Linear(64, 64), nn.Linear(64, 8)
        self.up.weight.data[:, 3] /= times

    def forward(self, x):
        return self.down(torch.tanh(self.up(self.norm(x))))


class TestSearch:
    def test_rotation_is_chosen_where_outliers_cost_and_not_elsewhere(self):
        batches = [{"x": normal(32, 64, seed=i)} for i in range(4)]
        found = {}
        for times in (1.0, 40.0):
            network = network_of(Outlying(times), batches[0]["x"])
            plan = compose("int8", {"smoothing": "none"}).calibrate(network, batches)
            found[times] = plan.rotations
            assert any(note.startswith("transforms of ") for note in plan.notes)
        assert "up" in found[40.0]
        assert "up" not in found[1.0]

    @pytest.mark.parametrize(("heavy", "block"), [(True, 24), (False, 8)])
    def test_larger_blocks_are_taken_where_they_gain(self, heavy, block):
        """An outlier that every token has in the same block, spread over 8 channels or over all 24; or in any block."""

        class Layers(nn.Module):
            def __init__(self):
                super().__init__()
                torch.manual_seed(1)
                self.norm, self.up, self.down = nn.LayerNorm(24), nn.Linear(24, 64), nn.Linear(64, 8)
                at = [3] if heavy else [3, 11, 19]
                self.norm.weight.data[at] = 60.0
                self.up.weight.data[:, at] /= 60.0

            def forward(self, x):
                return self.down(torch.tanh(self.up(self.norm(x))))

        batches = [{"x": normal(64, 24, seed=i)} for i in range(6)]
        options = {"smoothing": "none", "w_rounding": "nearest", "bias_correction": False}
        plan = compose("int8", options).calibrate(network_of(Layers(), batches[0]["x"]), batches)
        assert plan.rotations["up"].block == block
        assert any("rotated at run time in blocks of" in note for note in plan.notes)

    @pytest.mark.parametrize("flipped", [True, False])
    def test_signs_are_flipped_where_that_spreads_what_tokens_have_in_common(self, flipped):
        """The first row of ones collects a mean; where signs are flipped, a mean that is as they are."""
        batches = [{"x": normal(64, 64, seed=i)} for i in range(6)]
        network = network_of(Outlying(20.0), batches[0]["x"])
        common = torch.ones(64) if flipped else hadamard.signs_of(64)
        network.module.norm.bias.data = 3.0 * common
        options = {"smoothing": "none", "w_rounding": "nearest", "bias_correction": False}
        plan = compose("int8", options).calibrate(network, batches)
        assert plan.rotations["up"].signs is flipped
        assert any(f"signs {'flipped' if flipped else 'not flipped'} (" in note for note in plan.notes)

    def test_it_is_judged_with_sums_as_they_are_stored(self):
        """Rotated, a massive activation takes part in every tile, and running sums wander 40 times as far."""
        batches = [{"x": normal(32, 64, seed=i)} for i in range(4)]
        network = network_of(Outlying(40.0), batches[0]["x"])
        stored = {"smoothing": "none", "psum_bits": 4}
        found = compose("int8+apsq", stored).calibrate(network, batches)
        assert "up" not in found.rotations
        assert any(
            note.startswith(f"transforms of {found.method}: nothing, by loss under apsq on ") for note in found.notes
        )
        wanted, losses = network.forward(batches[0]).detach(), {}
        for rotation in ("none", "all"):
            plan = compose("int8+apsq", {**stored, "rotation": rotation}).calibrate(network, batches)
            output = Executor(network, plan).run(batches[0]).detach()
            losses[rotation] = float((output - wanted).square().sum())
        assert losses["none"] < losses["all"]

    def test_behind_gains_that_tame_an_outlier_it_is_at_run_time(self):
        """One channel of the stream is far larger than the others, which their norm's gains make as large again."""

        class Tamed(nn.Module):
            def __init__(self, times, *, hot=False):
                super().__init__()
                torch.manual_seed(1)
                self.enter, self.norm, self.up = nn.Linear(64, 64), nn.RMSNorm(64), nn.Linear(64, 64)
                self.down, self.last, self.head = nn.Linear(64, 64), nn.RMSNorm(64), nn.Linear(64, 8)
                self.enter.weight.data[3] *= 8 * times
                self.hot = hot
                for norm, layer in ((self.norm, self.up), (self.last, self.head)):
                    norm.weight.data[:], norm.weight.data[3], norm.weight.data[11] = times, 1.0, 40 * times
                    layer.weight.data[:, 11] /= 40  # an outlier that is left to be spread

            def forward(self, x):
                h = self.enter(x)
                n = self.norm(h)  # read without the module's hook where x begins with a large number
                up = F.linear(n, self.up.weight, self.up.bias) if self.hot and float(x[0, 0]) > 9 else self.up(n)
                return self.head(self.last(h + self.down(torch.tanh(4 * up))))

        batches = [{"x": normal(256, 64, seed=i)} for i in range(6)]
        for times, where in ((30.0, Where.STREAM), (100.0, Where.RUN_TIME)):
            network = network_of(Tamed(times), batches[0]["x"])
            plan = compose("int8", {"smoothing": "none"}).calibrate(network, batches)
            assert {plan.rotations[site].where for site in ("up", "head")} == {where}
            turned = prepare(network, Plan(method="int8", rotations=plan.rotations))
            torch.testing.assert_close(turned.forward(batches[0]), network.forward(batches[0]), rtol=1e-3, atol=1e-3)
        batches[3]["x"][0, 0] = 10.0  # neither ranging nor judging
        network = network_of(Tamed(100.0, hot=True), batches[0]["x"])
        plan = compose("int8", {"smoothing": "none"}).calibrate(network, batches)
        assert all(each.where is not Where.RUN_TIME for each in plan.rotations.values())

    def test_one_batch_of_one_sample_judges_nothing(self):
        network = network_of(Outlying(40.0), normal(1, 64))
        assert compose("int8").calibrate(network, [{"x": normal(1, 64)}]).rotations == {}

    @pytest.mark.parametrize("given", [{"rotation": "some"}, {"rotation_bits": 7}, {"first_tokens": 17}])
    def test_unknown_values_are_refused_in_a_sentence(self, given):
        with pytest.raises(InputError, match=next(iter(given))):
            compose("int8", given)


def two_scales(first=1, zero_point=0, *, signed=True):
    fmt = Integer(bits=8, signed=signed, narrow=signed)
    return OperandPlan(
        format=fmt, granularity=PerPosition(first), scale=torch.tensor([2.0, 0.25]), zero_point=zero_point
    )


class Massive(nn.Module):
    """A language model whose first token is 300 times as large as the others."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.layer = nn.Embedding(11, 16), nn.Linear(16, 11)

    def forward(self, x):
        h = self.table(x)
        return self.layer(torch.cat([300 * h[:, :1], h[:, 1:]], 1))


class TestFirstTokens:
    @pytest.mark.parametrize("first", [1, 2])
    @pytest.mark.parametrize(("signed", "zero_point"), [(True, 0), (False, 100)])
    def test_rows_have_the_scale_of_their_position(self, first, signed, zero_point):
        x = 30 * normal(2, 5, 6)
        operand = two_scales(first, zero_point, signed=signed)
        view = linear_view(x, normal(3, 6))
        found = gemm.encode_x(view, SitePlan(x=operand, w=operand))
        for token in range(5):
            scale = 2.0 if token < first else 0.25
            codes = (x[:, token] / scale).round() + zero_point
            expected = codes.clamp(operand.integer.low, operand.integer.high)
            assert torch.equal(found.codes[:, token].float(), expected)
            torch.testing.assert_close(found.dequantize()[:, token], (expected - zero_point) * scale)

    @pytest.mark.parametrize("shape", [(3, 1, 6), (4, 6)])
    def test_a_decoding_step_is_no_first_token(self, shape):
        operand = two_scales()
        found = gemm.encode_x(linear_view(normal(*shape), normal(3, 6)), SitePlan(x=operand, w=operand))
        assert set(found.scale.flatten().tolist()) == {0.25}

    def test_products_are_those_of_integers(self):
        x, w = 30 * normal(2, 5, 6), normal(3, 6, seed=1)
        weights = OperandPlan(format=Integer(bits=8), granularity=parse_granularity("tensor"), scale=torch.tensor(0.1))
        plan = SitePlan(x=two_scales(1, 100, signed=False), w=weights)
        view = linear_view(x, w, normal(3, seed=2))
        x_codes, w_codes = gemm.encode_x(view, plan), gemm.encode_w(view, plan)
        sums = (x_codes.codes.long() - 100) @ w_codes.codes.long().T
        scale = torch.where(torch.arange(5)[:, None] < 1, 2.0, 0.25)
        expected = sums.float() * 0.1 * scale + view.bias
        torch.testing.assert_close(gemm.exact_gemm(view, x_codes, w_codes), expected)
        torch.testing.assert_close(gemm.fast_gemm(view, x_codes, w_codes), expected)

    @settings(deadline=None)
    @given(st.floats(-50, 50), st.floats(-50, 50), st.integers(0, 255))
    def test_one_zero_point_fits_both_ranges(self, one, other, zero_point):
        low, high = min(one, other, 0.0), max(one, other, 0.0)
        fmt = Integer(bits=8, signed=False)
        scale = float(same_zero_point(low, high, fmt, zero_point))
        if zero_point > 0:
            assert low / scale + zero_point >= -1e-3
        if zero_point < 255:
            assert high / scale + zero_point <= 255.001

    def test_written_and_read(self):
        assert parse_granularity(str(PerPosition(3))) == PerPosition(3)
        with pytest.raises(ValueError, match="first:ROWS"):
            parse_granularity("first:0")

    def test_a_massive_first_token_gets_a_scale_of_its_own(self, tmp_path):
        network = dataclasses.replace(network_of(Massive(), tokens()), kind="language")
        batches = [{"x": tokens(1, 9, seed=i)} for i in range(6)]
        options = {"rotation": "none", "smoothing": "none"}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("bitwright.methods.transforms.search.TRIAL_TOKENS", 9)
            plan = compose("int8", options).calibrate(network, batches)
        assert plan.site("layer").x.granularity == PerPosition(1)
        without = compose("int8", {**options, "first_tokens": 0}).calibrate(network, batches)
        assert without.site("layer").x.granularity == parse_granularity("tensor")
        plan.save(tmp_path / "plan")
        loaded = Plan.load(tmp_path / "plan", network)
        batch = {"x": tokens(2, 9, seed=99)}
        wanted = network.forward(batch)
        apart, alike, again = (Executor(network, each).run(batch) for each in (plan, without, loaded))
        assert torch.equal(apart, again)
        rest = slice(1, None)
        assert (apart - wanted)[:, rest].norm() < 0.1 * (alike - wanted)[:, rest].norm()

    def test_short_sequences_before_long_ones_lose_no_range(self):
        layer = nn.Linear(4, 3)
        network = network_of(layer, normal(1, 1, 4))
        x = torch.ones(1, 3, 4)
        x[:, 0] = 100.0
        found = observe_ranges(network, [{"x": torch.ones(1, 1, 4)}, {"x": x}], first=1)
        (seen,) = found.values()
        assert seen.first_range == (100.0, 100.0)
        assert seen.x_range == (1.0, 1.0)

    @pytest.mark.parametrize("zpm", [True, False])
    def test_aqs_moves_zero_points_of_both_scales(self, zpm):
        network = dataclasses.replace(network_of(Massive(), tokens()), kind="language")
        options = {"rotation": "none", "smoothing": "none", "first_tokens": 1, "zpm": zpm, "bias_correction": False}
        plan = compose("aqs", options).calibrate(network, [{"x": tokens(1, 9, seed=i)} for i in range(6)])
        x = plan.site("layer").x
        assert x.granularity == PerPosition(1)
        assert x.scale.shape == (2,)
        assert x.scale[0] > 50 * x.scale[1]
        batch = {"x": tokens(2, 9, seed=99)}
        wanted, found = network.forward(batch), Executor(network, plan).run(batch)
        assert (found - wanted).norm() < 0.05 * wanted.norm()

    def test_machines_keep_a_second_table_of_scales(self):
        from bitwright.accelerators.systolic import WeightStationary
        from bitwright.formats import PerChannel, PerTensor
        from bitwright.methods.execution import Execution
        from bitwright.networks.sites import Site

        site = Site(name="a", op="linear", m=8, k=16, n=4, x_elements=128, w_elements=64)
        w = OperandPlan(format=Integer(bits=8), granularity=PerChannel(), scale=torch.ones(4, 1))
        x = two_scales()
        plain = dataclasses.replace(x, granularity=PerTensor(), scale=torch.tensor(0.25))
        bits = [
            WeightStationary().job(Execution(site=site, plan=SitePlan(x=each, w=w))).gemm.w_bits for each in (plain, x)
        ]
        assert [float(each) for each in bits] == [8 + 32 / 16, 8 + 2 * 32 / 16]
