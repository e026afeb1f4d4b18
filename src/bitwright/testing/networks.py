"""Small networks with fixed random weights: linear layers, convolutions, attention. They run in milliseconds."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from bitwright.networks.network import Batch, InputShape, Network

SEED = 7
BATCHES = 3


class LinearToy(nn.Module):
    """A norm and two linear layers: [batch, 12] -> [batch, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.first, self.last = nn.LayerNorm(12), nn.Linear(12, 20), nn.Linear(20, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        logits: torch.Tensor = self.last(F.gelu(self.first(self.norm(x))))
        return logits


class ConvToy(nn.Module):
    """A strided, a depthwise, a grouped and a 1 x 1 convolution and a head: [batch, 3, 9, 9] -> [batch, 5]."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.point = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.Conv2d(8, 12, 1)
        self.grouped, self.head = nn.Conv2d(12, 6, 3, dilation=2, groups=3), nn.Linear(6, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = F.relu(self.norm(self.stem(x)))
        x = F.relu(self.point(F.relu6(self.depthwise(x))))
        logits: torch.Tensor = self.head(self.grouped(x).mean((2, 3)))
        return logits


class AttentionToy(nn.Module):
    """A transformer block with causal grouped-query attention: [batch, tokens, 16] -> [batch, tokens, 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.q, self.kv, self.o = nn.LayerNorm(16), nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 16)
        self.up, self.down = nn.Linear(16, 24), nn.Linear(24, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Hidden states."""
        batch, tokens, _ = x.shape
        h = self.norm(x)
        q = self.q(h).view(batch, tokens, 4, 4).transpose(1, 2)
        k, v = self.kv(h).view(batch, tokens, 4, 4).transpose(1, 2).chunk(2, dim=1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, tokens, 16))
        mlp: torch.Tensor = self.down(F.silu(self.up(x)))
        return x + mlp


TOYS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "linear": (LinearToy, (4, 12)),
    "conv": (ConvToy, (2, 3, 9, 9)),
    "attention": (AttentionToy, (2, 6, 16)),
}


def toy_networks() -> dict[str, tuple[Network, tuple[dict[str, torch.Tensor], ...]]]:
    """Name -> a network and batches for it, the same numbers in every call; nothing is shared between calls.

    >>> sorted(toy_networks())
    ['attention', 'conv', 'linear']
    """
    return {name: (_network(name), _batches(shape)) for name, (_, shape) in TOYS.items()}


def shape_only(network: Network) -> Network:
    """A toy network of shapes without numbers."""
    kind, shape = TOYS[network.name.removeprefix("toy-")]
    return _as_network(network.name, kind().to("meta"), lambda _: {"x": torch.empty(shape, device="meta")})


def _network(name: str) -> Network:
    kind, shape = TOYS[name]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(SEED)
        module = kind()
        for part in module.modules():
            if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None and part.running_var is not None:
                part.running_mean.normal_()
                part.running_var.uniform_(0.5, 2)
    return _as_network(f"toy-{name}", module, lambda _: {"x": torch.zeros(shape)})


def _as_network(name: str, module: nn.Module, example: Callable[[InputShape], dict[str, torch.Tensor]]) -> Network:
    return Network(
        name=name, kind="tensor", module=module.eval(), run=_run, example=example, source="bitwright.testing"
    )


def _run(module: nn.Module, batch: Batch) -> torch.Tensor:
    output: torch.Tensor = module(batch["x"])
    return output


def _batches(shape: tuple[int, ...]) -> tuple[dict[str, torch.Tensor], ...]:
    generator = torch.Generator().manual_seed(SEED)
    return tuple({"x": torch.randn(shape, generator=generator)} for _ in range(BATCHES))
