"""Networks for graphs, points, tables, recommendations, fields and control, written out small."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.blocks import Sum
from torch import nn

Tensor = torch.Tensor


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with ReLUs between them."""
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(*layers[:-1])


def _normalised(links: Tensor) -> Tensor:
    """D^-1/2 (A + I) D^-1/2 of an adjacency matrix (Kipf and Welling 2017)."""
    links = links + torch.eye(len(links), device=links.device)
    degree = links.sum(1).rsqrt()
    return degree[:, None] * links * degree


class GraphConvolution(nn.Module):
    """GCN (Kipf and Welling 2017): two products of the dense adjacency matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(16, 24, bias=False), nn.Linear(24, 5, bias=False)

    def forward(self, nodes: Tensor, links: Tensor) -> Tensor:
        """Nodes [N, 16], links [N, N] -> logits."""
        weights = _normalised(links)
        return weights @ self.second(F.relu(weights @ self.first(nodes)))


class GraphAttention(nn.Module):
    """GAT (Velickovic et al. 2018)."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(16, 4 * 6, bias=False)
        self.source, self.target = nn.Parameter(torch.randn(4, 6) / 3), nn.Parameter(torch.randn(4, 6) / 3)

    def forward(self, nodes: Tensor, links: Tensor) -> Tensor:
        """Nodes [N, 16], links [N, N] -> nodes [N, 24]."""
        h = self.project(nodes).unflatten(-1, (4, 6))
        score = (
            torch.einsum("nhd,hd->hn", h, self.source)[:, :, None] + torch.einsum("nhd,hd->hn", h, self.target)[:, None]
        )
        mask = (links + torch.eye(len(links))) > 0
        weights = F.leaky_relu(score, 0.2).masked_fill(~mask, -torch.inf).softmax(-1)
        return torch.einsum("hnm,mhd->nhd", weights, h).flatten(1)


class MessagePassing(nn.Module):
    """GraphSAGE and GIN (Hamilton et al. 2017, Xu et al. 2019): gathered and added along edges."""

    def __init__(self) -> None:
        super().__init__()
        self.itself, self.neighbours, self.update = nn.Linear(16, 16), nn.Linear(16, 16), perceptron(16, 24, 16)

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Nodes [N, 16], edges [2, E] -> nodes."""
        for _ in range(2):
            messages = self.neighbours(nodes[edges[0]])
            total = torch.zeros_like(nodes).index_add_(0, edges[1], messages)
            nodes = self.update(F.relu(self.itself(nodes) + total))
        return nodes


class PointNet(nn.Module):
    """PointNet (Qi et al. 2017): a learned transform, perceptrons of points, a maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.transform = nn.Sequential(
            nn.Conv1d(3, 16, 1), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(16, 9)
        )
        self.points = nn.Sequential(nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.ReLU(), nn.Conv1d(16, 32, 1))
        self.head = perceptron(32, 16, 10)

    def forward(self, points: Tensor) -> Tensor:
        """Points [B, 3, N] -> logits."""
        turned = torch.bmm(self.transform(points).view(-1, 3, 3) + torch.eye(3), points)
        return self.head(self.points(turned).amax(-1))


class EdgeConvolution(nn.Module):
    """DGCNN (Wang et al. 2019): the nearest neighbours by a product, and a network for their edges."""

    def __init__(self) -> None:
        super().__init__()
        self.edge, self.head = nn.Sequential(nn.Conv2d(6, 16, 1), nn.LeakyReLU(0.2)), nn.Linear(16, 10)

    def forward(self, points: Tensor) -> Tensor:
        """Points [B, 3, N] -> logits."""
        square = points.square().sum(1)
        distance = square[:, :, None] + square[:, None] - 2 * points.mT @ points
        nearest = distance.topk(4, largest=False).indices
        others = torch.gather(
            points[:, :, None].expand(-1, -1, points.shape[-1], -1), 3, nearest[:, None].expand(-1, 3, -1, -1)
        )
        own = points[..., None].expand_as(others)
        return self.head(self.edge(torch.cat([own, others - own], 1)).amax((2, 3)))


class SetTransformer(nn.Module):
    """Set transformer (Lee et al. 2019): induced attention, pooled by a learned query."""

    def __init__(self) -> None:
        super().__init__()
        self.induced, self.query = nn.Parameter(torch.randn(1, 4, 16)), nn.Parameter(torch.randn(1, 1, 16))
        self.read, self.write, self.pool = (nn.MultiheadAttention(16, 2, batch_first=True) for _ in range(3))

    def forward(self, items: Tensor) -> Tensor:
        """Sets [B, N, 16] -> [B, 16]."""
        seen, _ = self.read(self.induced.expand(len(items), -1, -1), items, items)
        items, _ = self.write(items, seen, seen)
        return self.pool(self.query.expand(len(items), -1, -1), items, items)[0][:, 0]


class Recommender(nn.Module):
    """DLRM (Naumov et al. 2019): embeddings and numbers, which interact by a product of all with all."""

    def __init__(self) -> None:
        super().__init__()
        self.tables = nn.ModuleList(nn.EmbeddingBag(50, 8, mode="sum") for _ in range(3))
        self.bottom, self.top = perceptron(6, 16, 8), perceptron(8 + 6, 16, 1)

    def forward(self, numbers: Tensor, *categories: Tensor) -> Tensor:
        """Numbers [B, 6], categories 3 x [B, bag] -> [B, 1]."""
        dense = self.bottom(numbers)
        rows = torch.stack([dense, *(table(ids) for table, ids in zip(self.tables, categories, strict=True))], 1)
        i, j = torch.tril_indices(4, 4, -1)
        return self.top(torch.cat([dense, torch.bmm(rows, rows.mT)[:, i, j]], 1)).sigmoid()


class Factorization(nn.Module):
    """DeepFM (Guo et al. 2017): pairs by squares of sums, a perceptron beside them."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.first, self.deep = nn.Embedding(60, 8), nn.Embedding(60, 1), perceptron(5 * 8, 16, 1)

    def forward(self, ids: Tensor) -> Tensor:
        """Fields [B, 5] -> logits."""
        rows = self.embedding(ids)
        pairs = (rows.sum(1).square() - rows.square().sum(1)).sum(1, keepdim=True) / 2
        return self.first(ids).sum(1) + pairs + self.deep(rows.flatten(1))


class Towers(nn.Module):
    """Two towers (Covington et al. 2016): every query against every item."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.items = perceptron(12, 24, 16), perceptron(10, 24, 16)

    def forward(self, queries: Tensor, items: Tensor) -> Tensor:
        """Scores [queries, items]."""
        return torch.inner(F.normalize(self.queries(queries), dim=-1), F.normalize(self.items(items), dim=-1))


class Cross(nn.Module):
    """DCN v2 (Wang et al. 2021): crosses of features through low-rank experts, in einsums."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(torch.randn(3, 16, 4) / 4), nn.Parameter(torch.randn(3, 4, 16) / 2)
        self.gate = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 16] -> the same."""
        y = x
        for _ in range(2):
            experts = torch.einsum("ber,erd->bed", torch.tanh(torch.einsum("bd,edr->ber", y, self.down)), self.up)
            y = y + x * torch.einsum("be,bed->bd", self.gate(y).softmax(-1), experts)
        return y


class RadianceField(nn.Module):
    """NeRF (Mildenhall et al. 2020): positions as waves, a perceptron with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = perceptron(24, 32, 32), perceptron(32 + 24, 32, 4)

    def forward(self, positions: Tensor) -> Tensor:
        """Positions [N, 3] -> colour and density."""
        angles = (positions[..., None] * 2.0 ** torch.arange(4) * torch.pi).flatten(1)
        waves = torch.cat([angles.sin(), angles.cos()], -1)
        return self.second(torch.cat([F.relu(self.first(waves)), waves], -1))


class FourierOperator(nn.Module):
    """FNO (Li et al. 2021): a product of complex numbers for each low frequency, and a path around it."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.path, self.lower = nn.Conv1d(1, 8, 1), nn.Conv1d(8, 8, 1), nn.Conv1d(8, 1, 1)
        self.weight = nn.Parameter(torch.randn(8, 8, 5, dtype=torch.cfloat) / 8)

    def forward(self, x: Tensor) -> Tensor:
        """Functions [B, 1, N] -> functions."""
        x = self.lift(x)
        low = torch.einsum("bif,iof->bof", torch.fft.rfft(x)[..., :5], self.weight)
        return self.lower(F.gelu(torch.fft.irfft(low, x.shape[-1]) + self.path(x)))


class Splines(nn.Module):
    """KAN (Liu et al. 2024): a spline on every edge, as a product of hat functions."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.base, self.weight = nn.Linear(inputs, outputs), nn.Parameter(torch.randn(outputs, inputs, 6) / 8)

    def forward(self, x: Tensor) -> Tensor:
        """[B, inputs] -> [B, outputs]."""
        hats = F.relu(1 - (x[..., None].tanh() * 3 - torch.linspace(-3, 3, 6)).abs())
        return self.base(F.silu(x)) + torch.einsum("bik,oik->bo", hats, self.weight)


class Hypernetwork(nn.Module):
    """A network that makes another one's weights (Ha et al. 2017)."""

    def __init__(self) -> None:
        super().__init__()
        self.weights, self.head = nn.Linear(8, 16 * 12), nn.Linear(12, 4)

    def forward(self, x: Tensor, task: Tensor) -> Tensor:
        """Vectors [B, 16], tasks [B, 8] -> [B, 4]."""
        own = self.weights(task).view(-1, 12, 16)
        return self.head(F.relu(torch.bmm(own, x[..., None])[..., 0]))


class Dueling(nn.Module):
    """A dueling DQN (Wang et al. 2016) on frames."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(4, 8, 8, 4), nn.ReLU(), nn.Conv2d(8, 16, 4, 2), nn.ReLU(), nn.Flatten())
        self.value, self.advantage = nn.Linear(64, 1), nn.Linear(64, 6)

    def forward(self, frames: Tensor) -> Tensor:
        """Frames [B, 4, 28, 28] -> values of 6 actions."""
        features = self.body(frames / 255)
        advantage = self.advantage(features)
        return self.value(features) + advantage - advantage.mean(1, keepdim=True)


class Evolving(nn.Module):
    """A neural ODE (Chen et al. 2018) by four steps of Runge and Kutta's method."""

    def __init__(self) -> None:
        super().__init__()
        self.field = nn.Sequential(nn.Linear(8, 24), nn.Tanh(), nn.Linear(24, 8))

    def forward(self, x: Tensor) -> Tensor:
        """States [B, 8] -> states."""
        for _ in range(4):
            a = self.field(x)
            b = self.field(x + a / 8)
            c = self.field(x + b / 8)
            x = x + (a + 2 * b + 2 * c + self.field(x + c / 4)) / 24
        return x


def _graph() -> tuple[Tensor, Tensor]:
    links = (torch.rand(12, 12) > 0.7).float()
    return torch.randn(12, 16), ((links + links.T) > 0).float()


def _of(module: Callable[[], nn.Module], inputs: Callable[[], Any]) -> tuple[nn.Module, Any]:
    return module(), inputs()


def _numbers(*shapes: tuple[int, ...]) -> Callable[[], Any]:
    return lambda: tuple(torch.randn(shape) for shape in shapes)


ARCHITECTURES = [
    Architecture(name=name, family="structured", make=functools.partial(_of, module, inputs))
    for name, module, inputs in [
        ("GCN", GraphConvolution, _graph),
        ("GAT", GraphAttention, _graph),
        ("GraphSAGE", MessagePassing, lambda: (torch.randn(12, 16), torch.randint(0, 12, (2, 30)))),
        ("PointNet", PointNet, _numbers((2, 3, 40))),
        ("DGCNN", EdgeConvolution, _numbers((2, 3, 40))),
        ("Set transformer", SetTransformer, _numbers((2, 9, 16))),
        ("DLRM", Recommender, lambda: (torch.randn(5, 6), *(torch.randint(0, 50, (5, 3)) for _ in range(3)))),
        ("DeepFM", Factorization, lambda: torch.randint(0, 60, (6, 5))),
        ("Two towers", Towers, _numbers((5, 12), (7, 10))),
        ("DCN v2", Cross, _numbers((6, 16))),
        ("NeRF", RadianceField, _numbers((20, 3))),
        ("FNO", FourierOperator, _numbers((2, 1, 32))),
        ("KAN", lambda: nn.Sequential(Splines(6, 8), Splines(8, 3)), _numbers((10, 6))),
        ("Hypernetwork", Hypernetwork, _numbers((5, 16), (5, 8))),
        ("Dueling DQN", Dueling, lambda: torch.randint(0, 256, (2, 4, 28, 28)).float()),
        ("Neural ODE", Evolving, _numbers((6, 8))),
        (
            "Residual perceptron of a table",
            lambda: nn.Sequential(nn.Linear(10, 16), Sum(perceptron(16, 32, 16), nn.Identity()), nn.Linear(16, 1)),
            _numbers((8, 10)),
        ),
    ]
]
