"""Networks that remember, draw random numbers, write to their inputs, start threads or take gradients of themselves."""

import collections
import random
import threading
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

import bitwright
from bitwright.errors import InputError
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.protocol import compose
from bitwright.networks.trace import trace


class Own(nn.Module):
    """Two linear layers and a forward pass of the test's."""

    def __init__(self, forward, **attributes):
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(8, 8), nn.Linear(8, 4)
        for name, value in attributes.items():
            if isinstance(value, torch.Tensor):
                self.register_buffer(name, value)
            else:
                setattr(self, name, value)
        self.chosen = forward
        if "kept" in attributes and attributes["kept"].dim() > 1:
            self.view = self.kept[0]

    def forward(self, x):
        return self.chosen(self, x)


def drawn(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


X = drawn(6, 8)


def network_of(forward, **attributes):
    return bitwright.load(Own(forward, **attributes).eval().requires_grad_(False), inputs=X.clone())


def batch(x=X):
    return {"input_0": x}


def remembers_in_place(module, x):
    module.kept.mul_(0.5).add_(module.a(x).mean(0))
    return module.b(x + module.kept)


def remembers_anew(module, x):
    module.kept = module.kept * 0.5 + module.a(x).mean(0)
    return module.b(x + module.kept)


def remembers_as_an_attribute(module, x):
    module.hidden = module.a(x if module.hidden is None else x + module.hidden)
    return module.b(module.hidden)


def remembers_in_a_list(module, x):
    module.past.append(module.a(x))
    return module.b(sum(module.past))


def remembers_in_a_dictionary(module, x):
    if "first" not in module.table:
        module.table["first"] = module.a(x)
    return module.b(module.table["first"])


def remembers_under_a_new_name(module, x):
    module.later = module.a(x) + getattr(module, "later", 0.0)
    return module.b(module.later)


def counts(module, x):
    module.calls += 1
    return module.b(module.a(x) * module.calls)


def remembers_in_an_object(module, x):
    module.cache.past = module.a(x) + module.cache.past
    return module.b(module.cache.past)


def remembers_in_nested_containers(module, x):
    module.caches["layer"].setdefault("past", []).append(module.a(x))
    return module.b(sum(module.caches["layer"]["past"]))


def remembers_in_a_set(module, x):
    scale = 1.0 if "first" in module.seen else 2.0
    module.seen.discard("first")
    return module.b(module.a(x) * scale)


def remembers_in_its_weights(module, x):
    with torch.no_grad():
        module.b.weight.mul_(-0.9)
    return module.b(module.a(x))


def exchanges_its_layers(module, x):
    module.a, module.spare = module.spare, module.a
    return module.b(module.a(x))


def accumulates_gradients(module, x):
    with torch.enable_grad():
        scale = module.scale.detach().requires_grad_() if module.leaf is None else module.leaf
        module.leaf = scale
        module.b(module.a(x) * scale).sum().backward()
    return module.b(module.a(x)) + scale.grad


def returns_what_it_keeps(module, x):
    module.kept.copy_(module.a(x).mean(0) + 0.5 * module.kept)
    return module.kept


def draws_from_its_own_generator(module, x):
    return module.b(module.a(x) + torch.rand(8, generator=module.generator))


def draws_from_numpy(module, x):
    return module.b(module.a(x) * float(np.random.rand()) * random.random())  # noqa: NPY002, S311


def remembers_in_a_view(module, x):
    module.view.add_(module.a(x).mean(0))
    return module.b(module.a(x) + module.kept.sum(0))


def learns(module, x):
    torch._foreach_add_([module.b.weight], [module.a(x)[:4] * 0.01])
    return module.b(module.a(x))


def uses_accumulated_gradients(module, x):
    with torch.enable_grad():
        module.leaf.requires_grad_()
        (module.a(x.detach()) * module.leaf).sum().backward()
    return module.b(module.a(x) * module.leaf.grad)


def goes_to_training_mode(module, x):
    if not module.training:
        module.train()
        return module.b(module.a(x))
    return module.b(module.a(x)) * 2


REMEMBERING = {
    "a buffer, in place": (remembers_in_place, {"kept": torch.zeros(8)}),
    "a buffer, anew": (remembers_anew, {"kept": torch.zeros(8)}),
    "an attribute": (remembers_as_an_attribute, {"hidden": None}),
    "a list": (remembers_in_a_list, {"past": []}),
    "a dictionary": (remembers_in_a_dictionary, {"table": {}}),
    "a new name": (remembers_under_a_new_name, {}),
    "a count": (counts, {"calls": 0}),
    "an object": (remembers_in_an_object, {"cache": types.SimpleNamespace(past=0.0)}),
    "nested containers": (remembers_in_nested_containers, {"caches": collections.OrderedDict(layer={})}),
    "a set": (remembers_in_a_set, {"seen": {"first"}}),
    "weights": (remembers_in_its_weights, {}),
    "layers": (exchanges_its_layers, {"spare": nn.Linear(8, 8)}),
    "gradients": (accumulates_gradients, {"scale": torch.ones(()), "leaf": None}),
    "what it returns": (returns_what_it_keeps, {"kept": torch.zeros(8)}),
    "numpy's and Python's random numbers": (draws_from_numpy, {}),
    "a view of a buffer": (remembers_in_a_view, {"kept": torch.zeros(2, 8)}),
    "weights that all at once are moved": (learns, {}),
    "a gradient": (uses_accumulated_gradients, {"leaf": torch.ones(8)}),
    "a mode": (goes_to_training_mode, {}),
}


def noisy(module, x):
    return module.b(functional.dropout(module.a(x), 0.5, training=True))


class TestEveryPassIsTheSame:
    @pytest.mark.parametrize("case", REMEMBERING)
    def test_whatever_a_module_remembers(self, case):
        forward, attributes = REMEMBERING[case]
        network = network_of(forward, **attributes)
        first = network.forward(batch())
        other = network.forward(batch(drawn(6, 8, seed=2)))
        assert network.remembers
        assert torch.equal(network.forward(batch()), first)
        assert not torch.equal(first, other)

    @pytest.mark.parametrize("case", REMEMBERING)
    def test_a_score_is_of_the_same_computation(self, case):
        forward, attributes = REMEMBERING[case]
        result = bitwright.evaluate(bitwright.load(Own(forward, **attributes).eval(), inputs=X), "int8", limit=8)
        assert result.score.value > 25  # dB; where the state went on, 3 to 7

    def test_what_the_module_came_with_is_there_again(self):
        network = network_of(remembers_in_place, kept=torch.full((8,), 3.0))
        network.forward(batch())
        assert torch.equal(network.module.kept, torch.full((8,), 3.0))
        assert torch.equal(network_of(remembers_anew, kept=torch.ones(8)).module.kept, torch.ones(8))

    def test_the_users_module_stays_as_it_is(self):
        module = Own(remembers_in_its_weights).eval()
        before = module.b.weight.clone()
        bitwright.evaluate(bitwright.load(module, inputs=X), "int8", limit=8)
        assert torch.equal(module.b.weight, before)

    def test_what_refers_to_what_stays_so(self):
        sentinel = object()
        module = Own(lambda m, x: m.b(m.a(x)) if m.mode is sentinel else m.b(x), mode=sentinel, shared=[1.0])
        module.again, module.kept = module.shared, torch.zeros(2, 8)
        module.view = module.kept[0]
        network = bitwright.load(module.eval(), inputs=X)
        own = network.module
        assert not network.remembers
        assert own.again is own.shared
        own.view.fill_(3)
        assert own.kept[0, 0] == 3
        module.view.fill_(5)
        assert module.kept[0, 0] == 5

    def test_the_users_gradients_stay_as_they_are(self):
        def backwards(module, x):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                module.b(module.a(x)).square().sum().backward()
            return x.grad

        module = Own(backwards).eval()
        module.a.weight.grad = torch.ones(8, 8)
        bitwright.evaluate(bitwright.load(module, inputs=X), "int8", limit=4)
        assert torch.equal(module.a.weight.grad, torch.ones(8, 8))
        assert module.b.weight.grad is None

    def test_offsets_are_no_values_to_vary(self):
        experts = torch.randn(2, 8, 4, generator=torch.Generator().manual_seed(0))

        class Grouped(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = nn.Parameter(experts.bfloat16(), requires_grad=False)

            def forward(self, x, ends):
                return torch._grouped_mm(x.bfloat16(), self.w, offs=ends).float()

        ends = torch.tensor([2, 6], dtype=torch.int32)  # torch leaves rows behind the last end unwritten
        assert not bitwright.load(Grouped().eval(), inputs=(X, ends)).remembers

    def test_most_networks_do_not_remember(self):
        network = network_of(lambda m, x: m.b(m.a(x)))
        assert not network.remembers

    def test_a_state_that_cannot_be_put_back_is_refused(self):
        past = []

        def remembers_outside(module, x):
            past.append(module.a(x))
            return module.b(sum(past))

        with pytest.raises(InputError, match="gives other outputs when it runs again"):
            network_of(remembers_outside)

    def test_after_a_failure_too(self):
        def fails(module, x):
            module.kept.add_(1)
            if len(x) == 3:
                raise ValueError("no")
            return module.b(x) + module.kept[0]

        network = network_of(fails, kept=torch.zeros(8))
        with pytest.raises(InputError, match=r"Own fails on inputs of input_0 \[3, 8\]: ValueError: no"):
            network.forward(batch(X[:3]))
        assert not network.module.kept.any()

    def test_random_numbers_recur_and_the_callers_go_on(self):
        network = network_of(noisy)
        torch.manual_seed(5)
        expected = torch.rand(3)
        torch.manual_seed(5)
        first, second = network.forward(batch()), network.forward(batch())
        assert torch.equal(first, second)
        assert torch.equal(torch.rand(3), expected)
        assert bitwright.evaluate(bitwright.load(Own(noisy).eval(), inputs=X), "int8", limit=8).score.value > 25

    def test_buffers_that_share_memory_share_it_still(self):
        whole = torch.zeros(2, 8)

        def writes(module, x):
            module.kept.add_(1)
            return module.b(module.a(x) + module.other)

        network = network_of(writes, kept=whole, other=whole[1])
        first = network.forward(batch())
        assert torch.equal(network.forward(batch()), first)
        network.module.kept[1] = 7
        assert network.module.other[0] == 7


class TestInputs:
    def test_a_module_that_writes_to_its_input(self):
        def doubles(module, x):
            return module.b(module.a(x.mul_(2)))

        samples = drawn(16, 8, seed=3)
        before = samples.clone()
        network = bitwright.load(Own(doubles).eval(), inputs=X.clone())
        options = {"rotation": "none"}  # four samples decide at random
        result = bitwright.evaluate(network, "int8", samples=[samples[:8], samples[8:]], options=options)
        assert result.score.value > 25
        assert torch.equal(samples, before)


class TestThreads:
    @pytest.mark.parametrize("waits", [True, False])
    def test_modules_in_threads_of_the_network_are_refused(self, waits):
        def forward(module, x):
            if waits:
                with ThreadPoolExecutor(1) as pool:
                    return module.b(pool.submit(module.a, x).result())
            thread = threading.Thread(target=module.a, args=(x,))
            thread.start()
            thread.join()
            return module.b(x)

        kept, threading.excepthook = threading.excepthook, lambda _: None
        try:
            with pytest.raises(InputError, match="threads of its own"):
                trace(network_of(forward))
        finally:
            threading.excepthook = kept

    def test_two_threads_may_run_one_module(self):
        network = network_of(lambda m, x: m.b(m.a(x)))
        plan = compose("int8").calibrate(network, [batch()])
        expected = Executor(network, plan).run(batch())
        ready = prepare(network, plan)
        executors = [Executor(ready, plan, prepared=True) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda executor: executor.run(batch()), executors * 8))
        assert all(torch.equal(each, expected) for each in found)
        assert torch.backends.mha.get_fastpath_enabled()


def force(module, x):
    """Minus the gradient of an energy, as interatomic potentials compute forces."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (found,) = torch.autograd.grad(module.b(torch.tanh(module.a(x))).sum(), x)
    return -found


def checkpointed_force(module, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        energy = checkpoint(lambda v: module.b(torch.tanh(module.a(v))), x, use_reentrant=False)
        (found,) = torch.autograd.grad(energy.sum(), x)
    return -found


def force_by_backward(module, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        checkpoint(lambda v: module.b(torch.tanh(module.a(v))), x, use_reentrant=True).sum().backward()
    return -x.grad


GRADIENTS = {
    "autograd.grad": force,
    "func.grad": lambda m, x: torch.func.grad(lambda v: m.b(torch.tanh(m.a(v))).sum())(x),
    "jacrev": lambda m, x: torch.vmap(torch.func.jacrev(lambda v: m.b(torch.tanh(m.a(v)))))(x),
}


class TestGradients:
    @pytest.mark.parametrize("forward", [checkpointed_force, force_by_backward])
    def test_what_is_computed_anew_for_gradients_is_quantized_too(self, forward):
        def plain(module, x):
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                (found,) = torch.autograd.grad(module.b(torch.tanh(module.a(x))).sum(), x)
            return -found

        once, anew = (
            bitwright.evaluate(bitwright.load(Own(each).eval().requires_grad_(False), inputs=X), "int8", limit=8)
            for each in (plain, forward)
        )
        assert anew.off_by == 0
        assert abs(anew.score.value - once.score.value) < 3  # dB; it was infinite

    @pytest.mark.parametrize("case", GRADIENTS)
    def test_a_network_may_differentiate_itself(self, case):
        network = bitwright.load(Own(GRADIENTS[case]).eval(), inputs=X)
        assert bitwright.evaluate(network, "int8", limit=8).score.value > 25
        traced = trace(network)
        assert {site.name for site in traced.sites} == {"a", "b"}
        backwards = [each for each in traced.others if each.reason == "product of gradients"]
        wanted = {"jacrev": 4 * 6 * (8 * 4 + 8 * 8)}  # by each of four outputs
        assert sum(each.macs for each in backwards) == wanted.get(case, 6 * (8 * 4 + 8 * 8))

    def test_the_value_is_the_quantized_one(self):
        outputs = []

        def forward(module, x):
            with torch.enable_grad():
                y = module.a(x.detach().requires_grad_())
                outputs.append(y)
            return y.detach()

        network = network_of(forward)
        executor = Executor(network, compose("int8").calibrate(network, [batch()]))
        found = executor.run(batch())
        assert outputs[-1].requires_grad
        assert not torch.equal(found, network.forward(batch()))
        plain = network_of(lambda m, x: m.a(x))
        assert torch.equal(found, Executor(plain, executor.plan).run(batch()))
