"""Inputs of one's own network: what each is, how it varies, where samples lie side by side; and one's own samples."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

import bitwright
from bitwright.errors import InputError
from bitwright.networks.load import load_several
from bitwright.networks.network import InputShape, Network
from bitwright.networks.own_inputs import own_inputs
from bitwright.networks.variation import Role
from bitwright.tasks import default_samples
from bitwright.tasks.samples import default_batches
from bitwright.tasks.training_samples import training_samples

V, T, S, M, P, L = Role.VALUES, Role.TOKENS, Role.STEP, Role.MASK, Role.POSITIONS, Role.LENGTHS


class Function(nn.Module):
    """A linear layer and whatever else a test asks for."""

    def __init__(self, forward, features=8, *, tables=()):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(features, 4)
        self.tables = nn.ModuleList([nn.Embedding(rows, features) for rows in tables])
        self.chosen = forward

    def forward(self, *inputs):
        return self.chosen(self, *inputs)


class Failing:
    """A loader whose second batch cannot be read."""

    def __iter__(self):
        yield torch.randn(4, 8)
        raise OSError("disk gone")


class Named(nn.Module):
    """BERT's four inputs by name."""

    def __init__(self):
        super().__init__()
        self.words, self.places, self.types = nn.Embedding(100, 8), nn.Embedding(16, 8), nn.Embedding(2, 8)
        self.linear = nn.Linear(8, 4)

    def forward(self, input_ids, attention_mask, token_type_ids, position_ids):
        hidden = self.words(input_ids) + self.places(position_ids) + self.types(token_type_ids)
        mask = attention_mask[:, None] > 0
        return self.linear(functional.scaled_dot_product_attention(hidden, hidden, hidden, attn_mask=mask))


class Stated(nn.Module):
    """A recurrent layer with the sequence first, and its state."""

    def __init__(self):
        super().__init__()
        self.cell, self.linear = nn.GRU(8, 16), nn.Linear(16, 4)

    def forward(self, x, state):
        return self.linear(self.cell(x, state)[0])


def diffusion(self, x, t):
    return self.linear(x) * torch.cos(t.reshape(-1, 1) / 300)


def attention(self, x, mask):
    return functional.scaled_dot_product_attention(self.linear(x), self.linear(x), self.linear(x), attn_mask=mask)


def embedded(self, *ids):
    return self.linear(sum(table(each) for table, each in zip(self.tables, ids, strict=True)))


def masked_sum(self, x, lengths):
    kept = torch.arange(x.shape[1]) < lengths[:, None]
    return (self.linear(x) * kept[..., None]).sum(1)


randn = torch.randn
CASES = {  # name: (module, example, what each input is, batch axis of each, of the output)
    "tokens": (Function(embedded, tables=[50]), torch.arange(6)[None], [T], {"input_0": 0}, 0),
    "tokens of zeros": (Function(embedded, tables=[50]), torch.zeros(2, 6).long(), [T], {"input_0": 0}, 0),
    "tokens and positions": (
        Function(embedded, tables=[50, 9]),
        (torch.tensor([[3, 1, 4]]), torch.arange(3)[None]),
        [T, P],
        {"input_0": 0, "input_1": 0},
        0,
    ),
    "one-hot tokens": (
        Function(lambda self, ids: self.linear(functional.one_hot(ids, 8).float())),
        torch.tensor([[1, 5, 2]]),
        [T],
        {"input_0": 0},
        0,
    ),
    "a step without a batch axis": (
        Function(diffusion),
        (randn(2, 8), torch.tensor(500.0)),
        [V, S],
        {"input_0": 0},
        0,
    ),
    "a step for each": (
        Function(diffusion),
        (randn(2, 8), torch.tensor([500.0, 500.0])),
        [V, S],
        {"input_0": 0, "input_1": 0},
        0,
    ),
    "a step that is an integer": (
        Function(diffusion),
        (randn(1, 8), torch.tensor([500])),
        [V, S],
        {"input_0": 0, "input_1": 0},
        0,
    ),
    "a shared mask": (
        Function(attention),
        (randn(2, 6, 8), torch.ones(6, 6).tril().bool()),
        [V, M],
        {"input_0": 0},
        0,
    ),
    "a shared mask as long as the batch": (
        Function(attention),
        (randn(6, 6, 8), torch.ones(6, 6).tril().bool()),
        [V, M],
        {"input_0": 0},
        0,
    ),
    "a mask that is added": (
        Function(attention),
        (randn(2, 6, 8), torch.full((6, 6), -torch.inf).triu(1)),
        [V, M],
        {"input_0": 0},
        0,
    ),
    "lengths": (
        Function(masked_sum),
        (randn(2, 6, 8), torch.tensor([6, 3])),
        [V, L],
        {"input_0": 0, "input_1": 0},
        0,
    ),
    "the sequence first": (Stated(), (randn(5, 2, 8), torch.zeros(1, 2, 16)), [V, V], {"input_0": 1, "input_1": 1}, 1),
    "an image without a batch": (
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(0), nn.Linear(144, 4)),
        torch.rand(3, 8, 8),
        [V],
        None,
        None,
    ),
    "one number": (Function(lambda self, x: self.linear(x).sum()), randn(4, 8), [V], None, None),
    "a vector": (nn.Linear(8, 4), randn(8), [V], None, None),
    "text by name": (
        Named(),
        {
            "input_ids": torch.randint(100, (2, 7)),
            "attention_mask": torch.ones(2, 7).long(),
            "token_type_ids": torch.zeros(2, 7).long(),
            "position_ids": torch.arange(7)[None].expand(2, -1),
        },
        [T, M, M, P],
        dict.fromkeys(("input_ids", "attention_mask", "token_type_ids", "position_ids"), 0),
        0,
    ),
}


@pytest.fixture(params=CASES)
def known(request):
    module, example, roles, inputs, output = CASES[request.param]
    return bitwright.load(module, inputs=example), roles, inputs, output


def test_what_inputs_are_and_where_samples_lie(known):
    network, roles, inputs, output = known
    own = own_inputs(network)
    assert [each.role for each in own.variations.values()] == roles
    assert (own.axes and dict(own.axes.inputs)) == inputs
    assert (own.axes and own.axes.output) == output


def test_samples_differ_in_what_varies_and_nothing_else(known):
    network, *_ = known
    own = own_inputs(network)
    batches = list(default_batches(network, count=3, seed=0, test=True, batch_size=None if own.together else 1))
    samples = batches if len(batches) == 3 else [batches[0]]
    for key, variation in own.variations.items():
        parts = [batch[key] for batch in samples]
        if len(parts) == 1 and own.axes and key in own.axes.inputs:
            parts = parts[0].chunk(3, dim=own.axes.inputs[key])
        assert all(part.dtype == own.example[key].dtype for part in parts)
        assert all(torch.equal(part, own.example[key]) != variation.varies for part in parts)
        assert all(torch.equal(*pair) != variation.varies for pair in itertools.combinations(parts, 2))


def test_every_kind_is_judged_with_a_row_for_each_sample_and_an_interval_with_a_width(known):
    network, *_ = known
    found = bitwright.evaluate(network, "int8", limit=5)
    own = own_inputs(network)
    each = own.axes.size(own.example) if own.together else 1
    assert len(found.statistics) == 5 * each
    assert found.off_by == 0
    assert found.score.value_interval.low < found.score.value_interval.high


def test_a_step_is_drawn_between_nothing_and_twice_its_value():
    network = bitwright.load(Function(diffusion), inputs=(randn(2, 8), torch.tensor(500.0)))
    steps = [float(batch["input_1"]) for batch in default_samples(network, count=200).batches]
    assert 0 <= min(steps) < 50
    assert 950 < max(steps) <= 1000
    whole = bitwright.load(Function(diffusion), inputs=(randn(1, 8), torch.tensor([500])))
    drawn = torch.cat([batch["input_1"] for batch in default_samples(whole, count=2000).batches])
    assert (int(drawn.min()), int(drawn.max())) == (0, 500)


@settings(max_examples=20)
@given(rows=st.integers(3, 60), length=st.integers(2, 9), batch=st.integers(1, 3), seed=st.integers(0, 9))
def test_tokens_are_drawn_below_the_table_they_are_looked_up_in(rows, length, batch, seed):
    ids = torch.randint(min(rows, 5), (batch, length), generator=torch.Generator().manual_seed(seed))
    network = bitwright.load(Function(embedded, tables=[rows]), inputs=ids)
    drawn = torch.cat([each["input_0"] for each in default_samples(network, count=64, seed=seed).batches])
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < rows
    assert len(drawn.unique()) > min(rows, 64 * batch * length) / 2


def test_a_network_in_whose_input_nothing_varies_has_one_sample():
    class Only(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, mask):
            return self.linear(mask.float())

    network = bitwright.load(Only(), inputs=torch.ones(2, 4).bool())
    found = bitwright.evaluate(network, "int8")
    assert found.score.sample_count.startswith("1 ")
    assert "nothing varies" in found.score.tested_on


def test_finding_the_axes_leaves_the_module_as_it_was():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)
            self.register_buffer("seen", torch.zeros(()))

        def forward(self, x):
            self.seen += len(x)
            return self.linear(x)

    module = Counting().train()
    before, state = {key: value.clone() for key, value in module.state_dict().items()}, torch.get_rng_state()
    own = own_inputs(bitwright.load(module, inputs=randn(2, 4)))
    assert own.axes is not None
    assert module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert not torch.equal(state, torch.get_rng_state())  # by the example itself, and nothing else
    again = torch.get_rng_state()
    _ = own_inputs(bitwright.load(module, inputs=torch.ones(2, 4))).axes
    assert torch.equal(again, torch.get_rng_state())


def test_an_example_of_somebody_elses_network_may_ignore_the_batch():
    fixed = Network(
        name="fixed", kind="tensor", module=nn.Linear(4, 2), example=lambda shape: {"input": torch.ones(1, 4)}
    )
    found = bitwright.evaluate(fixed, "int8", limit=9)
    assert len(found.statistics) == 9


def test_learning_takes_as_many_at_once_as_the_network():
    one = bitwright.load(Function(lambda self, x: self.linear(x).sum()), inputs=randn(4, 8))
    assert ", 1 a step" in training_samples(one).description
    with pytest.raises(InputError, match="takes one input at a time"):
        training_samples(one, batch_size=4)
    several = training_samples(bitwright.load(nn.Linear(8, 4), inputs=randn(1, 8)), batch_size=4)
    assert several.stream(0)["input_0"].shape == (4, 8)
    assert not torch.equal(several.stream(0)["input_0"], several.stream(1)["input_0"])


# What has no effect is refused


@pytest.mark.parametrize(
    ("name", "shape", "said"),
    [
        ("resnet18", {"sequence_length": 8}, "sequence_length is 8, which changes nothing there .it is of kind image"),
        ("gemm:8x8x8", {"batch": 2}, "batch is 2, which changes nothing there .the products' sizes are given"),
        ("gemm:8x8x8", {"phase": "decode", "image_size": 8}, "image_size is 8 and phase is decode"),
    ],
)
def test_sizes_that_change_nothing_are_refused(name, shape, said):
    with pytest.raises(InputError, match=said):
        bitwright.load(name, **shape)


@pytest.mark.parametrize("field", ["sequence_length", "image_size"])
def test_the_sizes_of_ones_own_network_are_the_examples(field):
    with pytest.raises(InputError, match=f"{field} is 8, which changes nothing there .its example inputs decide"):
        bitwright.load(nn.Linear(8, 4), inputs=randn(2, 8), **{field: 8})
    with pytest.raises(InputError, match=f"{field} is 8, but a network of one's own has the sizes of its example"):
        bitwright.load(nn.Linear(8, 4), inputs=randn(2, 8)).example(InputShape(**{field: 8}))


def test_a_batch_needs_an_axis():
    whole = bitwright.load(nn.Linear(8, 4), inputs=randn(2, 8), batch=3)
    assert whole.example(InputShape())["input_0"].shape == (6, 8)
    with pytest.raises(InputError, match="no axis along which samples lie side by side"):
        bitwright.load(Function(lambda self, x: self.linear(x).sum()), inputs=randn(4, 8), batch=2)


def test_several_networks_take_the_sizes_that_they_have():
    image, product = load_several(["resnet18", "gemm:8x8x8"], shape=InputShape(image_size=64))
    assert image.example(InputShape())["pixel_values"].shape == (1, 3, 64, 64)
    assert product.shape_only
    with pytest.raises(InputError, match=r"resnet18, gemm:8x8x8: sequence_length is 8, which changes nothing there;"):
        load_several(["resnet18", "gemm:8x8x8"], shape=InputShape(sequence_length=8))
    own, _ = load_several(["resnet18", "gemm:8x8x8"], shape=InputShape(), own={"resnet18": {"image_size": 32}})
    assert own.example(InputShape())["pixel_values"].shape == (1, 3, 32, 32)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": "float", "exact": False}, "method float quantizes nothing, so exact=False"),
        ({"method": "float", "calibration_count": 3}, "a number of calibration samples changes nothing"),
        ({"samples": [randn(4, 8)] * 2, "limit": 1}, "leave the limit out"),
        ({"samples": [randn(4, 8)] * 2, "batch_size": 1}, "come in batches; leave batch_size out"),
        ({"samples": [randn(4, 8)] * 2, "calibration_count": 1}, "leave calibration_count out"),
    ],
)
def test_options_that_change_nothing_are_refused(given, said):
    with pytest.raises(InputError, match=said):
        bitwright.evaluate(bitwright.load(nn.Linear(8, 4), inputs=randn(2, 8)), **{"method": "int8", **given})


def test_a_plan_is_calibrated_already():
    network = bitwright.load(nn.Linear(8, 4), inputs=randn(2, 8))
    plan = bitwright.calibrate(network, "int8")
    for options in ({"options": {"x_bits": 7}}, {"calibration_count": 3}):
        with pytest.raises(InputError, match="a plan is given, which is calibrated already"):
            bitwright.evaluate(network, plan, **options)
        with pytest.raises(InputError, match="a plan is given, which is calibrated already"):
            bitwright.simulate(network, plan, **options)
    with pytest.raises(InputError, match="nothing is calibrated; leave them out"):
        bitwright.evaluate(network, plan, calibration_samples=[randn(4, 8)])


def test_networks_with_shapes_only_are_not_calibrated():
    with pytest.raises(InputError, match="has shapes only; leave it out"):
        bitwright.simulate("gemm:8x8x8", calibration_count=3)
    with pytest.raises(InputError, match="the seed is 3, but gemm:8x8x8 has shapes only"):
        bitwright.simulate("gemm:8x8x8", seed=3)
    with pytest.raises(InputError, match="the limit was given, and no network has numbers"):
        bitwright.compare("gemm:8x8x8", ["int8"], ["simd"], limit=3)


# Nothing quantized, nothing answered


class Scaled(nn.Module):
    """No product at all."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((8,), 2.0))

    def forward(self, x):
        return x * self.weight


def test_nothing_quantized_is_said():
    network = bitwright.load(Scaled(), inputs=randn(2, 8))
    for run in (bitwright.evaluate, bitwright.quantize):
        with pytest.raises(InputError, match="int8 quantizes nothing of Scaled: none of its products is a site"):
            run(network, "int8")
    rows = bitwright.compare(network, ["float", "int8"], ["simd"]).rows
    assert "quantizes nothing" not in rows[0].reason
    assert rows[1].evaluation is None
    assert "int8 quantizes nothing of Scaled" in rows[1].reason


def test_sites_that_never_run_quantize_nothing():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            return self.one(x) if bool((x > 0).all()) else -x

    network = bitwright.load(Two(), inputs=torch.rand(2, 4) + 1)
    plan = bitwright.calibrate(network, "int8", samples=[torch.rand(2, 4) + 1])
    with pytest.raises(InputError, match="ran on the test samples, so that nothing was quantized"):
        bitwright.evaluate(network, plan, samples=[-torch.rand(2, 4) - 1] * 2)


@pytest.mark.parametrize("method", ["float", "int8"])
def test_outputs_of_zero_have_no_ratio(method):
    network = bitwright.load(Function(lambda self, x: self.linear(x) * 0), inputs=randn(2, 8))
    with pytest.raises(InputError, match="outputs are all 0 on these samples"):
        bitwright.evaluate(network, method)


def test_empty_and_unusable_examples_are_one_sentence():
    with pytest.raises(InputError, match=r"input_0 is empty \(\[0, 8\]\)"):
        bitwright.load(nn.Linear(8, 4), inputs=torch.ones(0, 8))
    with pytest.raises(InputError, match=r"does not run on its example inputs \(input_0 \[2, 5\]\): RuntimeError"):
        bitwright.evaluate(bitwright.load(nn.Linear(8, 4), inputs=randn(2, 5)), "int8")
    with pytest.raises(InputError, match="output is empty"):
        bitwright.evaluate(bitwright.load(Function(lambda self, x: self.linear(x)[:0]), inputs=randn(2, 8)), "int8")
    with pytest.raises(InputError, match="holds NaN or infinity; give an example of finite numbers"):
        bitwright.evaluate(bitwright.load(nn.Linear(2, 4), inputs=torch.tensor([[1.0, torch.nan]])), "int8")


# Samples of one's own


@pytest.fixture
def module():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))


def loader(batch_size=16):
    return DataLoader(TensorDataset(randn(100, 8), torch.randint(3, (100,))), batch_size=batch_size)


def test_a_data_loader_calibrates_and_judges(module):
    found = bitwright.evaluate(module, "int8", samples=loader())
    assert module.training
    assert found.score.tested_on == "3 of the 7 batches given by the caller (48 inputs)"
    assert found.score.calibrated_on == "4 of the 7 batches given by the caller (52 inputs)"
    assert len(found.statistics) == 48
    apart = bitwright.evaluate(module, "int8", samples=loader(), calibration_samples=loader(50))
    assert (apart.score.sample_count, len(apart.statistics)) == ("100 inputs", 100)
    assert apart.score.calibrated_on == "2 batches given by the caller (100 inputs)"


@pytest.mark.parametrize(
    "batch",
    [
        lambda x: x,
        lambda x: (x,),
        lambda x: (x, torch.zeros(4).long()),
        lambda x: {"input": x},
        lambda x: {"input": x, "labels": torch.zeros(4)},
        lambda x: ({"input": x}, torch.zeros(4)),
        lambda x: ((x,), torch.zeros(4)),
        lambda x: x.numpy(),
        lambda x: x.double(),
    ],
)
def test_batches_of_every_form_are_the_same(module, batch):
    xs = [randn(4, 8, generator=torch.Generator().manual_seed(i)) for i in range(4)]
    plain = bitwright.evaluate(module, "int8", samples=xs)
    network = bitwright.load(module, inputs=xs[0])
    found = bitwright.evaluate(network, "int8", samples=(batch(x) for x in xs))
    assert found.score.value == plain.score.value
    assert torch.equal(*(bitwright.quantize(network, "int8", samples=xs).run(form) for form in (xs[0], batch(xs[0]))))


def test_a_single_batch_is_cut_in_half(module):
    found = bitwright.evaluate(module, "int8", samples=[randn(65, 8)])
    assert found.score.tested_on == "the other half of the batch given by the caller (32 inputs)"


def test_the_float_network_and_plans_are_judged_by_all_samples(module):
    plan = bitwright.calibrate(module, "int8", samples=loader())
    assert plan.calibrated_on == "7 batches given by the caller (100 inputs)"
    assert bitwright.evaluate(module, plan, samples=loader()).score.samples == 100
    assert bitwright.evaluate(module, "float", samples=loader()).score.samples == 100


def test_samples_serve_comparisons_too(module):
    rows = bitwright.compare(module, ["float", "int8"], ["simd"], samples=loader()).rows
    assert {row.evaluation.score.samples for row in rows} == {48}
    found = bitwright.compare(module, ["int8"], ["simd"], budget="5%", samples=loader())
    assert {point.row.evaluation.score.samples for point in found.points} == {48}
    assert bitwright.simulate(module, "int8", samples=loader()).cost.cycles > 0


def test_a_batch_without_an_axis_is_one_row():
    network = Function(lambda self, x: self.linear(x).sum())
    found = bitwright.evaluate(network, "int8", samples=[randn(4, 8) for _ in range(6)])
    assert (found.score.sample_count, len(found.statistics)) == ("3 batches", 3)


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ("abc", "reads neither pictures nor text, so abc says nothing to it; give a loader of batches"),
        (randn(4, 8), r"samples is a Tensor; .* \(one batch: \[batch\]\)"),
        ([], "samples has no batch"),
        ([randn(1, 8)], "samples has one sample only"),
        (["a", "b"], "input in batch 0 of samples is a str; a tensor"),
        ([randn(4, 9)] * 2, r"batch 0 of samples: .* fails on inputs of input_0 \[4, 9\]: RuntimeError: "),
        ([randn(4, 9, 2)] * 2, r"input in batch 0 of samples is \[4, 9, 2\], but Sequential runs on \[2, 8\]"),
        ([{"other": randn(4, 8)}], "batch 0 of samples has other, but Sequential takes input; input is missing"),
        ([()], "has 0 tensors, but Sequential takes 1: input"),
        (itertools.repeat(randn(1, 8)), "more than 4,096 batches and may never end"),
        (Failing(), "samples fails to give batch 1: OSError: disk gone; mend the loader"),
    ],
)
def test_unusable_samples_are_one_sentence(module, samples, said):
    with pytest.raises(InputError, match=said):
        bitwright.evaluate(bitwright.load(module, inputs=randn(2, 8)), "int8", samples=samples)


def test_a_generator_that_fails_is_one_sentence(module):
    with pytest.raises(InputError, match="samples fails to give batch 1: OSError: disk gone"):
        bitwright.evaluate(bitwright.load(module, inputs=randn(2, 8)), "int8", samples=iter(Failing()))


def test_outputs_that_are_not_finite_are_refused():
    network = bitwright.load(Function(lambda self, x: self.linear(x) / 0), inputs=randn(2, 8))
    with pytest.raises(InputError, match="outputs hold NaN or infinity"):
        bitwright.evaluate(network, "int8", limit=4)


def test_a_module_needs_an_example_or_samples(module):
    with pytest.raises(InputError, match="gives no example inputs; give inputs="):
        bitwright.evaluate(module, "int8")
    with pytest.raises(InputError, match="a int was given as the network"):
        bitwright.load(3)
    with pytest.raises(InputError, match="inputs= is for torch modules"):
        bitwright.load("gemm:8x8x8", inputs=randn(2, 8))
    module.example_inputs = randn(2, 8)
    assert bitwright.evaluate(module, "int8", limit=4).off_by == 0
