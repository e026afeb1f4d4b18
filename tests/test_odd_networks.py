"""Networks of every odd kind: each is executed exactly, or refused in one sentence; none ends in a traceback."""

import sys
import threading

import pytest
import torch
from torch import nn

import bitwright
from bitwright.errors import InputError

X = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
TORCHS_OWN = pytest.mark.filterwarnings("ignore")
pytestmark = TORCHS_OWN


def layers():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10)).eval()


class Does(nn.Module):
    """A linear layer, and what a function makes of it and the input."""

    def __init__(self, function, layer=None):
        super().__init__()
        torch.manual_seed(0)
        self.function, self.layer = function, layer or nn.Linear(32, 8)

    def forward(self, x):
        return self.function(self.layer, x)


class Flexible(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.project = nn.Linear(32, 32)

    def forward(self, x):
        from torch.nn.attention.flex_attention import flex_attention

        heads = self.project(x).view(2, 16, 2, 16).transpose(1, 2)
        return flex_attention(heads, heads, heads)


class Experts(nn.Module):
    """Eight experts, of which an input reaches few."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.gate = nn.Linear(32, 8)
        self.experts = nn.ModuleList(nn.Linear(32, 32) for _ in range(8))

    def forward(self, x):
        chosen, y = self.gate(x).argmax(-1), torch.zeros_like(x)
        for expert in chosen.unique().tolist():
            y[chosen == expert] = self.experts[expert](x[chosen == expert])
        return y


class Keeping(torch.Tensor):
    """A tensor whose numbers are in another one, as packages that quantize weights in place make them."""

    @staticmethod
    def __new__(cls, held):
        return torch.Tensor._make_wrapper_subclass(cls, held.shape, dtype=held.dtype)

    def __init__(self, held):
        self.held = held

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        plain = torch.utils._pytree.tree_map(lambda t: t.held if isinstance(t, Keeping) else t, (args, kwargs or {}))
        result = function(*plain[0], **plain[1])
        return cls(result) if function is torch.ops.aten.detach.default else result


def with_weight(change):
    module = layers()
    module[0].weight = nn.Parameter(change(module[0].weight.detach()), requires_grad=False)
    return module


def evaluated(module, inputs=X):
    network = bitwright.load(module, inputs=inputs)
    bitwright.simulate(network, "int8", "systolic-ws")
    return bitwright.evaluate(network, "int8", limit=4)


RUNS = {
    "compiled": lambda: torch.compile(layers(), backend="eager"),
    "exported": lambda: torch.export.export(layers(), (X,)).module(),
    "symbolically traced": lambda: torch.fx.symbolic_trace(layers()),
    "traced": lambda: torch.jit.trace(layers(), X),
    "scripted": lambda: torch.jit.script(layers()),
    "vmap": lambda: Does(lambda layer, x: torch.vmap(layer)(x)),
    "a forward derivative": lambda: Does(lambda layer, x: torch.func.jvp(layer, (x,), (x,))[1]),
    "a number": lambda: Does(lambda layer, x: layer(x).sum()),
    "old weight norm": lambda: Does(lambda layer, x: layer(x), nn.utils.weight_norm(nn.Linear(32, 8))),
    "old spectral norm": lambda: Does(lambda layer, x: layer(x), nn.utils.spectral_norm(nn.Linear(32, 8))),
    "weight norm": lambda: Does(lambda layer, x: layer(x), nn.utils.parametrizations.weight_norm(nn.Linear(32, 8))),
    "weights of stride 0": lambda: with_weight(lambda w: w[:1, :1].clone().expand(64, 32)),
    "dropout in place": lambda: nn.Sequential(nn.LayerNorm(32), nn.Dropout(0.2, inplace=True), nn.Linear(32, 4)),
    "experts": Experts,
    "true and false": lambda: Does(lambda layer, x: layer(x) > 0),
    "whole numbers": lambda: Does(lambda layer, x: (layer(x) * 50).to(torch.uint8)),
    "complex numbers": lambda: Does(lambda layer, x: torch.fft.fft(layer(x))),
    "8-bit floats": lambda: Does(lambda layer, x: layer(x).to(torch.float8_e5m2)),
    "a sparse tensor": lambda: Does(lambda layer, x: layer(x).to_sparse()),
    "a mapping": lambda: Does(lambda layer, x: {"a\x1b[2J": layer(x)}),
    "half precision": lambda: layers().half(),
    "double precision": lambda: layers().double(),
    "data parallel": lambda: nn.DataParallel(layers()),
    "lazy": lambda: nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 4)),
}


@pytest.mark.parametrize("name", RUNS)
def test_runs_exactly(name):
    module = RUNS[name]()
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
    found = evaluated(module, X.to(dtype))
    assert found.off_by == 0
    assert found.score.value > 10  # dB, or infinite where whole numbers are the same


def test_flexible_attention():
    assert evaluated(Flexible(), torch.randn(2, 16, 32)).off_by == 0


def test_a_parameter_of_one_element_and_stride_0():
    layer = nn.Linear(1, 1, bias=False)
    layer.weight = nn.Parameter(torch.randn(1).expand(1, 1).as_strided((1, 1), (0, 0)))
    network = bitwright.load(nn.Sequential(layer, nn.Linear(1, 4), nn.Linear(4, 2)), inputs=torch.randn(4, 1))
    found = bitwright.evaluate(network, "int8", limit=4)
    assert found.off_by == 0
    assert network.module[0].weight.stride() == (0, 0)


def quantized_dynamically():
    return torch.ao.quantization.quantize_dynamic(layers(), {nn.Linear}, dtype=torch.qint8)


def in_a_thread(layer, x):
    found = []
    thread = threading.Thread(target=lambda: found.append(layer(x)))
    thread.start()
    thread.join()
    return found[0]


class NoEvaluation(nn.Linear):
    def eval(self):
        raise ValueError("it has none")


REFUSED = {
    "quantized dynamically": (quantized_dynamically, "quantizes nothing|nothing was costed|none of its products"),
    "weights kept elsewhere": (lambda: with_weight(Keeping), r"'0\.weight' is a Keeping, which keeps its numbers"),
    "sparse weights": (lambda: with_weight(lambda w: w.to_sparse()), "of layout sparse_coo"),
    "8-bit weights": (lambda: with_weight(lambda w: w.to(torch.float8_e4m3fn)), "does not run on its example"),
    "nothing": (lambda: Does(lambda layer, x: layer(x) and None), "returned NoneType|does not run"),
    "a text": (lambda: Does(lambda layer, x: str(layer(x))), "returned str"),
    "no numbers": (lambda: Does(lambda layer, x: layer(x).to("meta")), "without numbers"),
    "nested": (
        lambda: Does(lambda layer, x: torch.nested.nested_tensor([layer(x), layer(x)[:2]])),
        "nested tensor|does not run",
    ),
    "an empty output": (lambda: Does(lambda layer, x: layer(x)[:0]), "output is empty"),
    "NaN": (lambda: Does(lambda layer, x: layer(x) * torch.nan), "NaN or infinity"),
    "an error": (lambda: Does(lambda layer, x: 1 // 0), "ZeroDivisionError"),
    "threads": (lambda: Does(in_a_thread), "in threads of its own"),
    "no evaluation": (lambda: NoEvaluation(32, 8), r"its eval\(\) raised ValueError: it has none"),
    "backward": (lambda: Does(lambda layer, x: layer(x).backward()), "does not run on its example"),
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_is_refused_in_one_sentence(name):
    make, said = REFUSED[name]
    with pytest.raises(InputError, match=said) as error:
        evaluated(make())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (X[:0], "is empty"),
        (X.to_sparse(), "no dense tensor"),
        (X * torch.nan, "NaN or infinity"),
        (torch.full((4, 32), 1e38), "NaN or infinity"),
        (torch.arange(32)[None], "does not run on its example"),
        ([], "only tensors are expected"),
        ("x", "only tensors are expected"),
    ],
)
def test_examples_are_refused_in_one_sentence(inputs, said):
    with pytest.raises(InputError, match=said) as error:
        evaluated(layers(), inputs)
    assert "\n" not in str(error.value)


def test_recursion_and_exceptions_without_words():
    class UnspeakableError(Exception):
        def __str__(self):
            raise ValueError("no words")

    def raises(*_):
        raise UnspeakableError

    def deep(layer, x):
        return deep(layer, x)

    for function, said in ((raises, "UnspeakableError"), (deep, "RecursionError")):
        with pytest.raises(InputError, match=said):
            evaluated(Does(function))
    assert sys.getrecursionlimit() >= 1000
