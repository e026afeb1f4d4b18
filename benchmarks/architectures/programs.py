"""Modules that are not plain Python: traced, scripted, compiled, exported, vmapped; and odd ways of calling one."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.constructs import Formula, Method, construct
from benchmarks.architectures.layers import Layer, of
from torch import nn
from torch.func import functional_call, stack_module_state, vmap
from torch.utils.checkpoint import checkpoint


class Small(nn.Module):
    """A convolution, a matrix product of activations, and two linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.mixing = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images [B, 3, 6, 6] -> [B, 5]."""
        tokens = F.relu(self.convolution(x)).flatten(2).transpose(1, 2)
        scores = torch.softmax(tokens @ tokens.transpose(1, 2), -1)
        return self.head(self.mixing(scores @ tokens).mean(1))


def program(name: str, made: Callable[[], tuple[nn.Module, Any]]) -> Architecture:
    """One architecture of this file."""
    return Architecture(name=name, family="construct", make=made)


def _traced() -> tuple[nn.Module, Any]:
    x = torch.randn(IMAGES)
    return torch.jit.trace(Small().eval(), x), x


def _frozen() -> tuple[nn.Module, Any]:
    return torch.jit.freeze(torch.jit.script(Small().eval())), torch.randn(IMAGES)


def _mixed() -> tuple[nn.Module, Any]:
    return nn.Sequential(torch.jit.script(nn.Linear(16, 8)), nn.ReLU(), nn.Linear(8, 4)), torch.randn(6, 16)


def _exported(*, decomposed: bool = False) -> tuple[nn.Module, Any]:
    x = torch.randn(IMAGES)
    found = torch.export.export(Small().eval(), (x,))
    return (found.run_decompositions() if decomposed else found).module(), x


def _compiled_in_place() -> tuple[nn.Module, Any]:
    module = Small()
    module.compile()
    return module, torch.randn(IMAGES)


class Scripted(nn.Module):
    """Control flow that only scripting keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(16, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The layer as often as the sum asks for, at most three times."""
        for _ in range(3):
            if x.sum() < 1e6:
                x = torch.relu(self.layer(x))
        return x


def _ensemble() -> tuple[nn.Module, Any]:
    """Three networks as one, by vmap over their stacked parameters (torch.func's ensembling)."""
    models = [nn.Sequential(nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 4)) for _ in range(3)]
    parameters, _ = stack_module_state(models)
    base = models[0]
    names = list(parameters)

    def run(x: torch.Tensor, *stacked: torch.Tensor) -> torch.Tensor:
        call = vmap(lambda p: functional_call(base, p, (x,)))
        return call(dict(zip(names, stacked, strict=True))).mean(0)

    return Formula(run, [nn.Parameter(parameters[name].detach()) for name in names]), torch.randn(6, 16)


class Doubling(torch.autograd.Function):
    """A product with a gradient of its own."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:  # noqa: ARG004
        """2 x w."""
        return 2 * x.mm(w)


class Twice(nn.Module):
    """One layer at two places, whose weight is an embedding's too."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.body = nn.Linear(16, 16)
        self.again = self.body
        self.head = nn.Linear(16, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Tokens -> logits."""
        return self.head(self.again(self.body(self.embedding(ids))))


class Routed(nn.Module):
    """Experts that see the tokens sent to them, by indices."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(16, 4)
        self.experts = nn.ModuleList(nn.Linear(16, 16) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Each token by the best two experts."""
        weight, chosen = self.gate(x).softmax(-1).topk(2)
        y = torch.zeros_like(x)
        for i, expert in enumerate(self.experts):
            row, rank = torch.where(chosen == i)
            y.index_add_(0, row, expert(x[row]) * weight[row, rank, None])
        return y


def used(name: str, module: Layer, function: Callable[..., Any], *shape: int) -> Architecture:
    """A module used by function(module, x) rather than called."""
    return program(name, lambda: (Method(module(), function), torch.randn(shape)))


def _autocast(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return module(x)


def _branch(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return torch.cond(x.sum() > -1e6, lambda a, b: a @ b, lambda a, b: a @ -b, (x, w))


def _loop(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """x w w w, by torch's own loop."""
    loop = torch.ops.higher_order.while_loop
    return loop(lambda i, _: i < 3, lambda i, y: (i + 1, y @ w), (torch.tensor(0), x), ())[1]


def _inferring(module: nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return module(x)


def _chain() -> nn.Module:
    return nn.Sequential(nn.Linear(16, 16), nn.ReLU(inplace=True), nn.Dropout(0.2, inplace=True))


def _lazy() -> nn.Module:
    return nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten(), nn.LazyLinear(5))


IMAGES = (2, 3, 6, 6)
LINEAR = functools.partial(nn.Linear, 16, 8)
ARCHITECTURES = [
    program("traced", _traced),
    program("scripted", lambda: (torch.jit.script(Scripted()), torch.randn(6, 16))),
    program("scripted and frozen", _frozen),
    program("scripted layer in a plain network", _mixed),
    program("compiled", lambda: (torch.compile(Small()), torch.randn(IMAGES))),
    program("compiled in place", _compiled_in_place),
    used("compiled function", Small, torch.compile(lambda m, x: m(x)), *IMAGES),
    program("exported", _exported),
    program("exported, decomposed", functools.partial(_exported, decomposed=True)),
    program("symbolically traced", lambda: (torch.fx.symbolic_trace(Small()), torch.randn(IMAGES))),
    used("vmap of a linear layer", LINEAR, lambda m, x: vmap(m)(x), 3, 6, 16),
    used("vmap of a convolution", lambda: nn.Conv2d(3, 8, 3), lambda m, x: vmap(m)(x), 3, *IMAGES),
    program("vmap over an ensemble", _ensemble),
    construct("vmap of dot", vmap(torch.dot), [(6, 32), (6, 32)]),
    construct("vmap of matmul over weights", vmap(torch.matmul, in_dims=(None, 0)), [(6, 16)], [(3, 16, 8)]),
    construct("vmap of sdpa", vmap(F.scaled_dot_product_attention), [(3, 2, 4, 6, 8)] * 3),
    construct("an autograd function", Doubling.apply, [(6, 16)], [(16, 8)]),
    construct("while loop", _loop, [(6, 16)], [(16, 16)]),
    construct("cond", _branch, [(6, 16)], [(16, 8)]),
    used("checkpointed", Small, lambda m, x: checkpoint(m, x, use_reentrant=False), *IMAGES),
    used("autocast", Small, _autocast, *IMAGES),
    used("inference mode inside", Small, _inferring, *IMAGES),
    used("functional call", Small, lambda m, x: functional_call(m, dict(m.named_parameters()), (x,)), *IMAGES),
    program("float16 network", lambda: (Small().half(), torch.randn(IMAGES).half())),
    program("bfloat16 network", lambda: (Small().bfloat16(), torch.randn(IMAGES).bfloat16())),
    program("float64 network", lambda: (Small().double(), torch.randn(IMAGES).double())),
    of("in-place dropout", lambda: nn.Sequential(nn.LayerNorm(16), nn.Dropout(0.2, inplace=True), LINEAR()), (2, 16)),
    of("in-place chain", _chain, (2, 16)),
    program("shared and tied layers", lambda: (Twice(), torch.arange(6)[None])),
    of("lazy layers", _lazy, IMAGES),
    of("routed experts", Routed, (9, 16)),
    program("embedding bag", lambda: (nn.Sequential(nn.EmbeddingBag(20, 16), LINEAR()), torch.arange(12).view(2, 6))),
    used("scalar output", LINEAR, lambda m, x: m(x).sum(), 6, 16),
    of("no product", lambda: nn.Sequential(nn.LayerNorm(16), nn.GELU()), (6, 16)),
    used("dictionary output", LINEAR, lambda m, x: {"kept": x, "logits": m(x)}, 6, 16),
    used("nested output", LINEAR, lambda m, x: ((m(x), [x]), None), 6, 16),
]
