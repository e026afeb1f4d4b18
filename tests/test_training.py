"""Training with quantization in the loop: gradients against autograd, state that survives, refusals."""

import dataclasses
import importlib
import itertools
import math
import random
import signal
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from bitwright.errors import InputError
from bitwright.formats import PerPosition, parse_granularity
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.plan_file import load_plan, save_plan
from bitwright.methods.protocol import compose
from bitwright.methods.training import TrainingSettings, train
from bitwright.methods.training.checkpoint import load_checkpoint, previous_of, save_checkpoint
from bitwright.methods.training.gradients import Codes
from bitwright.methods.training.learner import Learner
from bitwright.methods.training.site import LearningSite, _Product
from bitwright.testing import toy_networks
from bitwright.testing.networks import shape_only
from test_partial_sums import rule_of
from test_rotation import Blocks as Rotated
from test_rotation import rms_norm, tokens
from toys import conv_product, linear_view, network_of, normal, quantized, random_codes

PLAIN = {"smoothing": "none", "rotation": "none"}
loop = importlib.import_module("bitwright.methods.training.train")


def straight_through(v, log2_scale, rule):
    """a clip(round(v / a)) as automatic differentiation sees LSQ: rounding has gradient 1, clipping its own."""
    scale = torch.exp2(log2_scale + (log2_scale.detach().round() - log2_scale.detach()))
    shifted = v / scale
    rounded = shifted + ((shifted + 0.5).floor() - shifted).detach()
    return rounded.clamp(rule.low, rule.high) * scale


def differentiable_sums(x, w, rule, logs):
    """The schedule by autograd, tile by tile; logs of tile and sum scales."""
    tiles = rule.tiles(x.shape[1])
    additive, stored = rule.additive(tiles), torch.zeros(len(x), len(w), dtype=torch.float64)
    for i in range(tiles):
        part = slice(i * rule.tile, (i + 1) * rule.tile)
        tile = x[:, part] @ w[:, part].t()
        kept = straight_through(tile + stored if additive[i] else tile, logs[int(additive[i])][i], rule)
        stored = kept if additive[i] else stored + kept
    return stored


class TestGradients:
    @settings(max_examples=40, deadline=None)
    @given(
        st.integers(1, 30),
        st.sampled_from(["apsq", "psq"]),
        st.integers(1, 4),
        st.sampled_from(["head", "tail"]),
        st.sampled_from([4, 8]),
        st.integers(0, 99),
    )
    def test_scales_of_partial_sums(self, k, kind, gs, phase, bits, seed):
        """The kernel that walks the schedule backwards, saturation included, against autograd."""
        from bitwright.methods.apsq.rule import Phase

        others = {"group_size": gs, "phase": Phase(phase)} if kind == "apsq" else {}
        rule = rule_of(kind, tile=4, tiles=-(-k // 4), seed=seed, bits=bits, **others)
        x = quantized(random_codes(quantized(None, bits=8).format, (5, k), seed), bits=8)
        w = quantized(random_codes(quantized(None, bits=8).format, (3, k), seed + 1), bits=8)
        logs = [scales.log2().double().requires_grad_() for scales in (rule.tile_scales, rule.sum_scales)]
        gradient = normal(5, 3, seed=seed)
        total = differentiable_sums(x.codes.double(), w.codes.double(), rule, logs)
        total.backward(gradient.double())
        view = linear_view(x.codes.float(), w.codes.float())
        found = _Product(view, x, w, rule).scale_gradients(gradient)
        for mine, log in zip(found, logs, strict=True):
            right = torch.zeros(len(log), dtype=torch.float64) if log.grad is None else log.grad
            right = right / torch.log(torch.tensor(2.0))
            assert torch.allclose(mine.double(), right, rtol=1e-3, atol=1e-3 * float(right.abs().max() + 1))

    def test_operands(self):
        """LSQ: gradients of x inside the range; log s gets s (round(x / s) - x / s) there, s times the end outside."""
        x = torch.tensor([[0.24, -1.3, 9.0, -9.0]], requires_grad=True)
        log_scale = torch.tensor(0.5).log().requires_grad_()
        fmt = quantized(None, bits=4).format  # -8 .. 7
        codes = Codes.apply(x, log_scale, 0, fmt)
        assert codes.tolist() == [[0, -3, 7, -8]]
        (codes * log_scale.exp()).sum().backward()
        assert x.grad.tolist() == [[1, 1, 0, 0]]
        inside = 0.5 * ((0 - 0.48) + (-3 + 2.6))
        assert float(log_scale.grad) == pytest.approx(inside + 0.5 * (7 - 8))

    def test_scales_per_channel_get_their_own(self):
        w = normal(3, 5).requires_grad_()
        logs = torch.zeros(3, 1, requires_grad=True)
        (Codes.apply(w, logs, 0, quantized(None, bits=8).format) * logs.exp()).sum().backward()
        right = (w.detach().round() - w.detach()).sum(1, keepdim=True)
        assert torch.allclose(logs.grad, right, atol=1e-5)


def learning(method="int8+apsq", kind="linear"):
    network, samples = toy_networks()[kind]
    return network, samples, compose(method, PLAIN).calibrate(network, samples)


class TestLearner:
    @pytest.mark.parametrize("kind", list(toy_networks()))
    @pytest.mark.parametrize("method", ["int8+apsq", "aqs+psq", "int8", "int8+psum-block"])
    def test_forward_is_execution(self, kind, method):
        """What training computes is what the machine does: the same codes, the same sums."""
        network, samples, plan = learning(method, kind)
        learner = Learner(network, plan)
        executor = Executor(learner.student, plan, prepared=True)
        outputs = {}

        def handle(site, view):
            found = learner.sites[site.name](view) if site.name in learner.sites else view.float_result()
            right = executor.handle(site, view)
            outputs[site.name] = float((found - right).abs().max() / right.abs().max().clamp_min(1e-6))
            return right

        from bitwright.networks.mode import SiteMode

        with torch.no_grad(), SiteMode(learner.student.module, handle):
            learner.student.forward(samples[-1])
        assert outputs
        assert max(outputs.values()) < 1e-5

    def test_the_plan_as_it_stands_executes_alike(self, tmp_path):
        """Weights and scales that moved go into the plan, its file, and a fresh copy of the network."""
        network, samples, plan = learning()
        learner = Learner(network, plan)
        with torch.no_grad():
            for p in [*learner.weights.values(), *learner.scales().values()]:
                p.add_(0.01 * torch.randn_like(p))
        moved = learner.now()
        inside = Executor(learner.student, learner.now(weights=False), prepared=True).run(samples[0])
        assert torch.equal(Executor(network, moved).run(samples[0]), inside)
        save_plan(moved, tmp_path / "plan")
        again = load_plan(tmp_path / "plan", network)
        assert torch.equal(Executor(network, again).run(samples[0]), inside)
        assert not torch.equal(Executor(network, plan).run(samples[0]), inside)

    def test_scales_stay_powers_of_two(self):
        _, _, plan = learning()
        site = LearningSite("s", next(iter(plan.sites.values())))
        with torch.no_grad():
            site.sum_logs.add_(0.4)
            site.tile_logs.fill_(-3)
        found = site.partial_sums()
        assert found.sum_scales.equal(site.plan.accumulation.sum_scales)
        assert (found.tile_scales == 1).all()

    def test_what_cannot_learn(self):
        network, samples = toy_networks()["linear"]
        float_plan = compose("float").calibrate(network, samples)
        with pytest.raises(InputError, match="quantizes nothing, so there is nothing to train"):
            Learner(network, float_plan)
        tokens = compose("int8-token").calibrate(network, samples)
        with pytest.raises(InputError, match="is scaled per token, and scales learn per tensor or channel"):
            Learner(network, tokens)

    def test_weights_of_another_network(self):
        network, _, plan = learning()
        with pytest.raises(InputError, match="values of 'nobody', which toy-linear lacks; calibrate or train it anew"):
            prepare(network, dataclasses.replace(plan, weights={"nobody": torch.ones(1)}))


class TestSteps:
    def test_units_by_hand(self):
        """A row [3, 4, 0, 0]: root mean square 2.5, by the root of 4."""
        rows = loop._size(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]))
        assert rows.tolist() == [[1.25], [1.0]]
        kernel = loop._size(torch.full((2, 3, 1, 3), 6.0))
        assert torch.allclose(kernel, torch.full((2, 1, 1, 1), 2.0))
        assert float(loop._size(torch.tensor([3.0, 4.0, 0.0, 0.0]))) == 2.5
        assert float(loop._size(torch.tensor(-3.0))) == 3.0

    def test_a_step_moves_rows_of_all_lengths_by_one_share(self):
        """A row of n weights of either sign gives about the root of n for inputs of 1; steps of one sign, a share."""
        for length in (4, 64, 1024):
            moved = 0.01 * loop._size(torch.ones(1, length)).expand(1, length)
            assert float(moved.sum()) == pytest.approx(0.01 * length**0.5)


SETTINGS = TrainingSettings(steps=12, every=4, learning_rate=1e-3)


def trained(network, samples, plan, settings=SETTINGS, **others):
    return train(network, plan, lambda step: samples[step % len(samples)], samples[:1], settings, **others)


class TestTraining:
    @pytest.mark.parametrize("kind", list(toy_networks()))
    def test_it_learns(self, kind):
        network, samples, plan = learning("int8+apsq", kind)
        plan = compose("int8+apsq", {**PLAIN, "psum_bits": 4}).calibrate(network, samples)
        found = trained(network, samples, plan, TrainingSettings(steps=60, every=20, learning_rate=3e-3))
        assert found.best_loss < found.first_loss
        assert found.losses[0] == (0, found.first_loss)
        assert Learner(network, found.plan).judge(list(samples[:1])) == pytest.approx(found.best_loss, rel=1e-6)

    def test_a_worse_plan_is_never_the_result(self):
        network, samples, plan = learning()
        found = trained(network, samples, plan, TrainingSettings(steps=8, every=4, learning_rate=0.5))
        assert found.best_loss <= found.first_loss

    def test_rates_that_are_too_high_are_lowered_from_the_best(self):
        """At .5 a look soon finds nothing better; from the best, in smaller steps, training improves again."""
        network, samples, plan = learning("int8+apsq")
        plan = compose("int8+apsq", {**PLAIN, "psum_bits": 4}).calibrate(network, samples)
        settings = TrainingSettings(steps=100, every=10, learning_rate=0.5, patience=99)
        losses = [loss for _, loss in trained(network, samples, plan, settings).losses]
        worse = next(i for i in range(1, len(losses)) if losses[i] >= min(losses[:i]))
        assert min(losses[worse:]) < min(losses[:worse])

    def test_a_loss_that_is_no_number_is_worse_than_any(self, monkeypatch):
        network, samples, plan = learning()
        given = iter((math.nan, 1.0, 0.5))
        monkeypatch.setattr(Learner, "judge", lambda self, batches: next(given))
        settings = TrainingSettings(steps=2, every=1, averaging=0, patience=2)
        found = trained(network, samples, plan, settings)
        assert (found.best_loss, found.stopped) == (0.5, "steps")
        starts = prepare(network, plan).module.state_dict()
        assert any(not torch.equal(starts[name], value) for name, value in found.plan.weights.items())

    def test_patience(self):
        network, samples, plan = learning()
        found = trained(network, samples, plan, TrainingSettings(steps=99, every=1, learning_rate=0.9, patience=2))
        assert found.stopped == "patience"
        assert found.steps < 99

    def test_a_killed_training_resumes_with_the_same_numbers(self, tmp_path):
        """Stopped after 8 of 12 steps and continued from its file: as if nothing had happened, bit for bit."""
        network, samples, plan = learning()
        whole = trained(network, samples, plan, checkpoint=tmp_path / "whole")
        file = tmp_path / "state"

        class KilledError(Exception):
            pass

        def progress(stage, done, total):
            if done == 9:
                raise KilledError

        with pytest.raises(KilledError):
            trained(network, samples, plan, checkpoint=file, progress=progress)
        again = trained(network, samples, None, checkpoint=file, resume=True)
        assert again.steps == whole.steps
        assert again.losses == whole.losses
        for name, values in whole.plan.weights.items():
            assert torch.equal(values, again.plan.weights[name])
        averages = [load_checkpoint(each, network).average for each in (tmp_path / "whole", file)]
        assert averages[0].keys() == averages[1].keys()
        assert averages[0]
        assert all(torch.equal(values, averages[1][name]) for name, values in averages[0].items())

    def test_ctrl_c_keeps_everything(self, tmp_path):
        network, samples, plan = learning()
        file = tmp_path / "state"

        def progress(stage, done, total):
            if done == 6:
                raise KeyboardInterrupt

        found = trained(network, samples, plan, checkpoint=file, progress=progress)
        assert found.stopped == "interrupted"
        assert load_checkpoint(file, network).reached.step == 6
        assert trained(network, samples, None, checkpoint=file, resume=True).steps == 12

    def test_ctrl_c_waits_for_the_end_of_a_step(self, tmp_path, monkeypatch):
        """Inside a step, between Adam's and the rescaling, it would leave half a step."""
        network, samples, plan = learning()
        whole = trained(network, samples, plan)
        file = tmp_path / "state"
        good = torch.optim.Adam.step
        calls = []

        def step(self, *a, **k):
            calls.append(0)
            if len(calls) == 6:
                signal.raise_signal(signal.SIGINT)
            return good(self, *a, **k)

        monkeypatch.setattr(torch.optim.Adam, "step", step)
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore it
        try:
            assert trained(network, samples, plan, checkpoint=file).stopped == "interrupted"
        finally:
            signal.signal(signal.SIGINT, before)
        monkeypatch.undo()
        assert load_checkpoint(file, network).reached.step == 6
        assert trained(network, samples, None, checkpoint=file, resume=True).losses == whole.losses

    @pytest.mark.parametrize("judged", [2, 5])
    def test_ctrl_c_in_a_look_is_as_if_nothing_had_happened(self, judged, tmp_path, monkeypatch):
        """The look is taken again, and lowers rates where it would have."""
        network, samples, plan = learning()
        settings = TrainingSettings(steps=12, every=3, learning_rate=0.5)
        whole = trained(network, samples, plan, settings)
        assert any(later > before for (_, before), (_, later) in itertools.pairwise(whole.losses))
        file, calls, judge = tmp_path / "state", [], Learner.judge

        def interrupted(self, batches):
            calls.append(0)
            if len(calls) == judged:
                raise KeyboardInterrupt
            return judge(self, batches)

        monkeypatch.setattr(Learner, "judge", interrupted)
        assert trained(network, samples, plan, settings, checkpoint=file).stopped == "interrupted"
        monkeypatch.undo()
        again = trained(network, samples, None, settings, checkpoint=file, resume=True)
        assert again.losses == whole.losses
        assert all(torch.equal(values, again.plan.weights[name]) for name, values in whole.plan.weights.items())

    def test_a_loss_that_is_no_number(self, monkeypatch):
        network, samples, plan = learning()
        monkeypatch.setattr(Learner, "loss", lambda self, batch, features: torch.tensor(torch.nan))
        with pytest.raises(InputError, match="the loss is nan at step 0; train with a lower --learning-rate"):
            trained(network, samples, plan)


class TestAverages:
    def test_it_is_the_moving_average_of_all_steps(self, tmp_path):
        """Twin: weights w_0 .. w_t, each step's average a_t = a_(t-1) + (w_t - a_(t-1)) / min(t + 1, reach)."""
        network, samples, plan = learning()
        run = loop._Run(Learner(network, plan), SETTINGS.model_copy(update={"averaging": 3}))
        slow = {name: p.detach().double().clone() for name, p in run.learning.items()}
        for step in range(6):
            run.take(samples[step % len(samples)])
            share = 1 / min(step + 2, 3)
            slow = {name: old + (run.learning[name].detach().double() - old) * share for name, old in slow.items()}
        assert all(torch.allclose(run.average[name].double(), each, atol=1e-6) for name, each in slow.items())

    def test_the_better_of_the_two_is_kept(self, monkeypatch):
        network, samples, plan = learning()
        run = loop._Run(Learner(network, plan), SETTINGS)
        run.look(samples[:1])
        run.take(samples[0])
        stands = run.copied()
        with torch.no_grad():
            for average in run.average.values():
                average.add_(1e-3)
        for losses, right in (((0.2, 0.1), run.average), ((0.05, 0.1), stands)):
            given = iter([each * run.losses[0][1] for each in losses])
            monkeypatch.setattr(Learner, "judge", lambda self, batches, given=given: next(given))
            run.look(samples[:1])
            assert run.losses[-1][1] == min(losses) * run.losses[0][1]
            assert all(torch.equal(run.best[name], each) for name, each in right.items())
            assert all(torch.equal(p, stands[name]) for name, p in run.copied().items())  # training goes on as it was

    def test_without(self, tmp_path):
        network, samples, plan = learning()
        none = SETTINGS.model_copy(update={"averaging": 0})
        trained(network, samples, plan, none, checkpoint=tmp_path / "state")
        assert not load_checkpoint(tmp_path / "state", network).average


def made(network, batches, method="int8+apsq", **options):
    """A network, its samples and a plan."""
    return network, batches, compose(method, {**PLAIN, **options}).calibrate(network, batches)


class Blocks(torch.nn.Module):
    """Two blocks, the first of which returns a pair."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = torch.nn.ModuleList([Pair(), torch.nn.Linear(8, 8)])
        self.head = torch.nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.layers[1](self.layers[0](x)[0]).relu())


class Pair(torch.nn.Linear):
    def __init__(self):
        super().__init__(8, 8)

    def forward(self, x):
        return super().forward(x).relu(), x


class TestBlocks:
    def test_loss_is_of_outputs_and_blocks(self):
        """Twin: outputs of both blocks and of the network, asked for one after the other."""
        batches = [{"x": normal(3, 8, seed=i)} for i in range(4)]
        network, samples, plan = made(network_of(Blocks(), batches[0]["x"]), batches)
        learner = Learner(network, plan)
        assert learner.blocks == ("layers.0", "layers.1")
        executor, module = Executor(learner.student, plan, prepared=True), learner.teacher.module
        outputs = {}
        for path, layer in learner.student.module.layers.named_children():
            layer.register_forward_hook(lambda _, __, y, path=path: outputs.update({path: y}))
        output = executor.run(samples[0])
        with torch.no_grad():
            first = module.layers[0](samples[0]["x"])[0]
            second = module.layers[1](first)
            wanted = module.head(second.relu())

        def off(y, right):
            return float((y - right).square().sum() / right.square().sum())

        right = off(output, wanted) + 0.5 * (off(outputs["0"][0], first) + off(outputs["1"], second)) / 2
        assert float(learner.loss(samples[0], 0.5).detach()) == pytest.approx(right, rel=1e-4)

    def test_without_blocks_sites_are_compared(self):
        network, samples, plan = learning(kind="attention")
        learner = Learner(network, plan)
        assert not learner.blocks
        assert float(learner.loss(samples[0], 1.0).detach()) > float(learner.loss(samples[0], 0.0).detach())


class TestPlansOfTransforms:
    """What transforms and refinements left in a plan learns on."""

    @pytest.fixture
    def rotated(self):
        network = network_of(Rotated(rms_norm), tokens())
        return made(
            network, [{"x": tokens(seed=i)} for i in range(4)], rotation="all", rotation_bits=16, w_rounding="nearest"
        )

    def test_gradients_pass_rotations(self, rotated):
        network, samples, plan = rotated
        assert {each.at_run_time for each in plan.rotations.values()} == {False, True}
        learner = Learner(network, plan)
        learner.loss(samples[0], 1.0).backward()
        for name, weight in learner.weights.items():
            assert weight.grad is not None, name
            assert weight.grad.abs().max() > 0, name

    def test_rotation_at_run_time_is_orthogonal_to_gradients_too(self):
        """Of sum(g H x) by x it is H' g."""
        from bitwright.networks import hadamard

        x, g = normal(3, 24).requires_grad_(), normal(3, 24, seed=1)
        (hadamard.rotated(x) * g).sum().backward()
        size = hadamard.block_of(24)
        matrix = torch.block_diag(*[hadamard.matrix(size).float()] * (24 // size))
        torch.testing.assert_close(hadamard.rotated(x.detach()), x.detach() @ matrix.t())
        torch.testing.assert_close(x.grad, g @ matrix)

    def test_rotated_plans_learn_and_execute_alike(self, rotated, tmp_path):
        network, samples, plan = rotated
        found = trained(network, samples, plan, TrainingSettings(steps=30, every=10, learning_rate=3e-3))
        assert found.best_loss <= found.first_loss
        assert len({loss for _, loss in found.losses}) > 1  # it moves; a calibrated toy leaves little to gain
        assert found.plan.rotations == plan.rotations
        save_plan(found.plan, tmp_path / "plan")
        again = load_plan(tmp_path / "plan", network)
        with torch.no_grad():
            wanted = network.forward(samples[0])
            loss = float((Executor(network, again).run(samples[0]) - wanted).square().sum() / wanted.square().sum())
        assert loss == pytest.approx(found.best_loss, rel=1e-2)  # from the network as it is, not from its rotated self

    def test_a_rotated_training_resumes_with_the_same_numbers(self, rotated, tmp_path):
        network, samples, plan = rotated
        whole = trained(network, samples, plan)
        file = tmp_path / "state"

        def progress(stage, done, total):
            if done == 9:
                raise KeyboardInterrupt

        trained(network, samples, plan, checkpoint=file, progress=progress)
        again = trained(network, samples, None, checkpoint=file, resume=True)
        assert again.losses == whole.losses

    def test_scales_of_first_tokens_learn(self):
        """Both scales of a position get gradients; the twin multiplies each row by its own."""
        operand = OperandPlan(
            format=quantized(None, bits=8).format, granularity=PerPosition(1), scale=torch.tensor([2.0, 0.25])
        )
        w = OperandPlan(format=operand.format, granularity=parse_granularity("tensor"), scale=torch.tensor(0.125))
        site = LearningSite("s", SitePlan(x=operand, w=w))
        x, weight = normal(1, 4, 6), normal(5, 6, seed=1)
        x[:, 0] *= 8
        view = linear_view(x, weight)
        logs = torch.tensor([2.0, 0.25]).log().requires_grad_()
        w_log = torch.tensor(0.125).log()
        rows = [
            Codes.apply(x[0, i], logs[min(i, 1)], 0, operand.format) * logs[min(i, 1)].exp() for i in range(len(x[0]))
        ]
        right = torch.stack(rows) @ (Codes.apply(weight, w_log, 0, w.format) * w_log.exp()).t()
        found = site(view).reshape(4, 5)
        torch.testing.assert_close(found, right)
        gradient = normal(4, 5, seed=2)
        (found * gradient).sum().backward()
        (right * gradient).sum().backward()
        torch.testing.assert_close(site.x_log.grad, logs.grad)
        assert (site.x_log.grad != 0).all()

    def test_rounded_weights_are_where_training_begins(self):
        """Not the network's own: the calibrated plan is step 0, and its loss the first one."""
        network, samples, plan = learning()
        name, weight = next(iter(dict(network.module.named_parameters()).items()))
        rounded = dataclasses.replace(plan, weights={name: weight.detach() + 0.05})
        learner = Learner(network, rounded)
        assert torch.equal(learner.weights[name], rounded.weights[name])
        judged = learner.judge(list(samples[:1]))
        assert judged == Learner(network, rounded).judge(list(samples[:1]))
        assert judged != Learner(network, plan).judge(list(samples[:1]))
        assert torch.equal(learner.teacher.forward(samples[0]), network.forward(samples[0]))


def in_one_sentence(error):
    assert "\n" not in str(error)


class TestCheckpoints:
    @pytest.fixture
    def state(self, tmp_path):
        network, samples, plan = learning()
        trained(network, samples, plan, checkpoint=tmp_path / "state")
        return network, samples, tmp_path / "state"

    def test_the_one_before_is_kept(self, state):
        network, _, file = state
        assert load_checkpoint(file, network).reached.step == 12
        assert load_checkpoint(previous_of(file), network).reached.step == 8

    def test_cut(self, state):
        network, samples, file = state
        file.write_bytes(file.read_bytes()[:-100])
        with pytest.raises(
            InputError, match=r"is cut or no checkpoint .*try the one before it: --checkpoint .*previous"
        ):
            load_checkpoint(file, network)
        assert trained(network, samples, None, checkpoint=previous_of(file), resume=True).steps == 12

    def test_missing(self, state):
        network, _, file = state
        file.unlink()
        with pytest.raises(InputError, match=r"there is no checkpoint .*try the one before it"):
            load_checkpoint(file, network)

    def test_of_another_network(self, state):
        _, _, file = state
        other, _ = toy_networks()["attention" if "attention" in toy_networks() else "conv"]
        with pytest.raises(InputError, match="is a checkpoint of another network than"):
            load_checkpoint(file, other)

    def test_a_plan_is_no_checkpoint(self, state, tmp_path):
        network, _, _ = state
        save_plan(learning()[2], tmp_path / "plan")
        with pytest.raises(InputError, match="is a safetensors file but no checkpoint"):
            load_checkpoint(tmp_path / "plan", network)

    def test_other_settings(self, state):
        network, samples, file = state
        other = SETTINGS.model_copy(update={"learning_rate": 1e-5})
        with pytest.raises(
            InputError, match=r"was trained with learning_rate=0.001, not 1e-05; resume it with the same"
        ):
            trained(network, samples, None, other, checkpoint=file, resume=True)

    def test_other_samples(self, state):
        network, samples, file = state
        with pytest.raises(InputError, match="learned from , not from other texts; resume it with the same"):
            train(
                network,
                None,
                lambda _: samples[0],
                samples,
                SETTINGS,
                checkpoint=file,
                resume=True,
                samples="other texts",
            )

    @pytest.mark.parametrize("version", [3, 5])
    def test_older_and_newer(self, state, monkeypatch, version):
        network, _, file = state
        found = load_checkpoint(file, network)
        monkeypatch.setattr("bitwright.methods.training.checkpoint.VERSION", version)
        save_checkpoint(found, file)
        monkeypatch.undo()
        with pytest.raises(InputError, match=f"is a checkpoint of version {version}, and this reads 4; begin anew"):
            load_checkpoint(file, network)

    def test_every_byte_counts(self, state):
        """Whichever byte is another one, it is refused, or the state has the same bits."""
        network, _, file = state
        content, draw, found = file.read_bytes(), random.Random(0), load_checkpoint(file, network)  # noqa: S311
        for index in sorted(draw.sample(range(len(content)), 250)):
            changed = content[index] ^ draw.randrange(1, 256)
            file.write_bytes(content[:index] + bytes([changed]) + content[index + 1 :])
            try:
                again = load_checkpoint(file, network)
                assert again.reached == found.reached
                assert all(torch.equal(again.values[name], value) for name, value in found.values.items())
            except InputError as error:
                in_one_sentence(error)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            (lambda c: {"values": {**c.values, "weights/x": torch.ones(2)}}, "does not fit what learns here"),
            (lambda c: {"values": {name: value.flatten() for name, value in c.values.items()}}, "does not fit"),
            (lambda c: {"values": {name: value * torch.nan for name, value in c.values.items()}}, "NaN or infinity"),
            (lambda c: {"values": {name: value.long() for name, value in c.values.items()}}, "real numbers"),
            (lambda c: {"best": {}}, "does not fit"),
            (lambda c: {"average": {}}, "does not fit"),
            (lambda c: {"moments": {name: value[None] for name, value in c.moments.items()}}, "does not fit"),
            (lambda c: {"moments": {name: -value - 1 for name, value in c.moments.items()}}, "does not fit"),
            (lambda c: {"reached": c.reached.model_copy(update={"step": -1})}, "reached"),
            (lambda c: {"reached": c.reached.model_copy(update={"losses": []})}, "losses"),
            (lambda c: {"reached": c.reached.model_copy(update={"seconds": math.inf})}, "seconds"),
        ],
    )
    def test_crafted(self, state, change, said):
        """With the checksum that belongs to it."""
        network, samples, file = state
        found = load_checkpoint(file, network)
        save_checkpoint(dataclasses.replace(found, **change(found)), file)
        with pytest.raises(InputError, match=said) as error:
            trained(network, samples, None, checkpoint=file, resume=True)
        assert "\n" not in str(error.value)

    def test_no_file_to_resume_from(self, state):
        network, samples, _ = state
        with pytest.raises(InputError, match="--resume continues from a checkpoint; name it with --checkpoint FILE"):
            trained(network, samples, None, resume=True)


def test_shapes_only_have_nothing_to_learn():
    from bitwright.tasks.training_samples import training_samples

    with pytest.raises(InputError, match="has shapes but no weights"):
        training_samples(shape_only(toy_networks()["linear"][0]))


def test_held_out_crops_are_of_photographs_that_are_never_learned_from(monkeypatch):
    room = importlib.import_module("bitwright.tasks.training_samples")
    asked = []

    def crop_batches(network, files, *, count, seed, size):
        asked.append({file.name for file in files})
        return iter([{"pixel_values": torch.zeros(size, 3, 8, 8)}] * -(-count // size))

    pytest.importorskip("skimage", reason="the photographs are in scikit-image")
    monkeypatch.setattr(room, "crop_batches", crop_batches)
    network, _ = toy_networks()["conv"]
    pictures = dataclasses.replace(network, kind="image", tools={"preprocess": lambda image: torch.zeros(3, 8, 8)})
    found = room.training_samples(pictures, batch_size=4)
    for step in range(3):
        found.stream(step)
    held_out, *learned = asked
    assert held_out == {"camera.png", "retina.jpg"}
    assert all(len(files) == 7 and not files & held_out for files in learned)
    assert "7 calibration photographs" in found.description
    assert "2 others held out" in found.description


def test_images_that_are_made_take_turns_with_photographs(monkeypatch):
    """Crops are new at every step; a few made images come again and again, and none of them judges."""
    room = importlib.import_module("bitwright.tasks.training_samples")
    photograph, made = torch.zeros(4, 3, 8, 8), [{"pixel_values": torch.full((4, 3, 8, 8), 1.0 + i)} for i in range(3)]
    monkeypatch.setattr(room, "files_of", lambda names: [Path(f"{i}.png") for i in range(6)])
    monkeypatch.setattr(room, "crop_batches", lambda *_, **__: iter([{"pixel_values": photograph}]))
    monkeypatch.setattr(room, "_made", lambda *_: room.Samples(batches=tuple(made), count=12, description="3 images"))
    network, _ = toy_networks()["conv"]
    pictures = dataclasses.replace(network, kind="image", tools={"preprocess": lambda image: torch.zeros(3, 8, 8)})
    found = room.training_samples(pictures, batch_size=4, given=("scikit-image", "batch-norm"))
    assert [float(found.stream(step)["pixel_values"][0, 0, 0, 0]) for step in range(8)] == [0, 1, 0, 2, 0, 3, 0, 1]
    assert all(bool((batch["pixel_values"] == 0).all()) for batch in found.held_out)
    assert found.description.startswith(
        "random crops of 5 calibration photographs in scikit-image and, every other step, 3 images, 4 a step"
    )


def test_held_out_texts_are_never_learned_from():
    """Whatever the step, its sentences are of none of the paragraphs held out."""
    from bitwright.networks.network import Network
    from bitwright.tasks import prose
    from bitwright.tasks import training_samples as room

    chosen = []
    network = Network(name="toy", kind="sentence", module=torch.nn.Linear(1, 1), tools={"tokenizer": str})
    original = room.sentence_inputs
    try:
        room.sentence_inputs = lambda network, texts: chosen.append(list(texts)) or {"x": torch.zeros(len(texts), 1)}
        found = room.training_samples(network, batch_size=16, seed=3)
        held = {text for texts in chosen for text in texts}
        assert len(held) == room.HELD_OUT["sentence"]
        chosen.clear()
        for step in range(50):
            found.stream(step)
        first = list(chosen[7])
        found.stream(7)
        assert chosen[-1] == first
    finally:
        room.sentence_inputs = original
    paragraph_of = dict(zip(prose.sentences(test=False), prose.paragraphs_of(test=False), strict=True))
    learned = {text for texts in chosen for text in texts}
    assert {paragraph_of[text] for text in held}.isdisjoint(paragraph_of[text] for text in learned)


def test_rates_rise_and_fall():
    factors = [loop._factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.2)
    assert max(factors) == 1
    assert factors[-1] < 0.01


def test_convolutions_and_groups_give_rows_of_gradients():
    """Gradients reach the rows that their outputs came from: scales of a grouped convolution, against a plain one."""
    x = quantized(random_codes(quantized(None, bits=8).format, (1, 4, 3, 3), 0), bits=8)
    w = quantized(random_codes(quantized(None, bits=8).format, (4, 2, 2, 2), 1), bits=8)
    rule = rule_of(tile=4, tiles=2, top=4)
    gradient = normal(1, 4, 2, 2)  # of torch's own layout
    view, *laid_out = conv_product(x, w, groups=2)
    grouped = _Product(view, *laid_out, rule).scale_gradients(view.output(gradient))
    total = [torch.zeros(2), torch.zeros(2)]
    for group in range(2):
        px = dataclasses.replace(x, codes=x.codes[:, 2 * group : 2 * group + 2])
        pw = dataclasses.replace(w, codes=w.codes[2 * group : 2 * group + 2])
        view, *laid_out = conv_product(px, pw)
        part = gradient[:, 2 * group : 2 * group + 2].permute(0, 2, 3, 1)
        found = _Product(view, *laid_out, rule).scale_gradients(part)
        total = [a + b for a, b in zip(total, found, strict=True)]
    assert torch.allclose(grouped[0], total[0], rtol=1e-4)
    assert torch.allclose(grouped[1], total[1], rtol=1e-4)
