"""Blocks of convolutional networks, as their papers draw them."""

import functools
import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

Tensor = torch.Tensor


class Sum(nn.Module):
    """The sum of what branches make of one input."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Branches, added."""
        return functools.reduce(torch.add, (branch(x) for branch in self.branches))


class Join(nn.Module):
    """What branches make of one input, side by side in the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """Branches, concatenated."""
        return torch.cat([branch(x) for branch in self.branches], 1)


def convolution(
    inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int = 1, groups: int = 1, dilation: int = 1
) -> nn.Sequential:
    """A convolution that keeps the size but for its stride, with batch norm."""
    sizes = (kernel, kernel) if isinstance(kernel, int) else kernel
    padding = tuple(dilation * (size - 1) // 2 for size in sizes)
    layer = nn.Conv2d(inputs, outputs, sizes, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))


def activated(
    inputs: int, outputs: int, kernel: int | tuple[int, int] = 3, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """The same with a ReLU."""
    return convolution(inputs, outputs, kernel, stride, groups).append(nn.ReLU(inplace=True))


def classifier(channels: int) -> list[nn.Module]:
    """Pooling and a linear layer."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10)]


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Identity() if inputs == outputs and stride == 1 else convolution(inputs, outputs, 1, stride)


def bottleneck(inputs: int, width: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """ResNeXt and wide ResNets (Xie et al. 2017, Zagoruyko and Komodakis 2016)."""
    body = [activated(inputs, width, 1), activated(width, width, 3, stride, groups), convolution(width, outputs, 1)]
    return nn.Sequential(Sum(nn.Sequential(*body), shortcut(inputs, outputs, stride)), nn.ReLU())


class Excitation(nn.Module):
    """Squeeze and excitation (Hu et al. 2018)."""

    def __init__(self, channels: int, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.gates = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // 4, 1),
            nn.ReLU(),
            nn.Conv2d(channels // 4, channels, 1),
            gate(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Channels, scaled."""
        return x * self.gates(x)


class EfficientChannels(nn.Module):
    """ECA (Wang et al. 2020): gates from a convolution along the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.along = nn.Conv1d(1, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Channels, scaled."""
        return x * self.along(x.mean((2, 3))[:, None]).sigmoid()[:, 0, :, None, None]


class BlockAttention(nn.Module):
    """CBAM (Woo et al. 2018): channels, then places."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gates = nn.Sequential(nn.Linear(channels, channels // 4), nn.ReLU(), nn.Linear(channels // 4, channels))
        self.places = nn.Conv2d(2, 1, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        """Everything, scaled."""
        x = x * (self.gates(x.mean((2, 3))) + self.gates(x.amax((2, 3)))).sigmoid()[..., None, None]
        return x * self.places(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)).sigmoid()


def inverted(inputs: int, outputs: int, *, stride: int = 1, gates: bool = False, fused: bool = False) -> nn.Module:
    """MobileNetV2 and V3, MnasNet, EfficientNet V2 (fused): widen, filter by channel, narrow."""
    width = 4 * inputs
    widen = [activated(inputs, width, 3, stride)] if fused else [activated(inputs, width, 1)]
    filtered = [] if fused else [activated(width, width, 3, stride, width)]
    squeeze = [Excitation(width, nn.Hardsigmoid), nn.Hardswish()] if gates else []
    body = nn.Sequential(*widen, *filtered, *squeeze, convolution(width, outputs, 1))
    return Sum(body, nn.Identity()) if inputs == outputs and stride == 1 else body


def separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(activated(inputs, inputs, 3, stride, inputs), activated(inputs, outputs, 1))


class DenseBlock(nn.Module):
    """DenseNet (Huang et al. 2017): each layer reads all before it."""

    def __init__(self, inputs: int, growth: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                nn.BatchNorm2d(inputs + i * growth),
                nn.ReLU(),
                nn.Conv2d(inputs + i * growth, 2 * growth, 1, bias=False),
                nn.BatchNorm2d(2 * growth),
                nn.ReLU(),
                nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False),
            )
            for i in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        """All features."""
        for layer in self.layers:
            x = torch.cat([x, layer(x)], 1)
        return x


class Shuffled(nn.Module):
    """ShuffleNet V2 (Ma et al. 2018): half of the channels pass, and all are shuffled."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.body = nn.Sequential(
            activated(half, half, 1), convolution(half, half, 3, 1, half), activated(half, half, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        kept, changed = x.chunk(2, 1)
        return F.channel_shuffle(torch.cat([kept, self.body(changed)], 1), 2)


class Ghost(nn.Module):
    """GhostNet (Han et al. 2020): half of the features are cheap filters of the others."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.first, self.cheap = (
            activated(inputs, outputs // 2, 1),
            activated(outputs // 2, outputs // 2, 3, 1, outputs // 2),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Both halves."""
        first = self.first(x)
        return torch.cat([first, self.cheap(first)], 1)


class Hierarchical(nn.Module):
    """Res2Net (Gao et al. 2019): groups of channels, each filtered with the one before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.filters = nn.ModuleList(activated(channels // 4, channels // 4) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        """All groups."""
        first, *others = x.chunk(4, 1)
        parts = [first, self.filters[0](others[0])]
        for layer, part in zip(self.filters[1:], others[1:], strict=True):
            parts.append(layer(part + parts[-1]))
        return x + torch.cat(parts, 1)


class Mixed(nn.Module):
    """CondConv (Yang et al. 2019): each image's kernel is a mixture of experts' kernels."""

    def __init__(self, channels: int, experts: int) -> None:
        super().__init__()
        self.route = nn.Linear(channels, experts)
        self.kernels = nn.Parameter(torch.randn(experts, channels, channels, 3, 3) / 12)

    def forward(self, x: Tensor) -> Tensor:
        """One grouped convolution, a group for each image."""
        routes = self.route(x.mean((2, 3))).sigmoid()
        kernels = (routes @ self.kernels.flatten(1)).view(-1, *self.kernels.shape[2:])
        return F.conv2d(x.flatten(0, 1)[None], kernels, padding=1, groups=len(x)).view_as(x)


class Involution(nn.Module):
    """Involution (Li et al. 2021): a kernel for each place, by unfolding."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernel = nn.Sequential(nn.Conv2d(channels, channels // 4, 1), nn.ReLU(), nn.Conv2d(channels // 4, 9, 1))

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        patches = F.unfold(x, 3, padding=1).view(len(x), -1, 9, x.shape[-2] * x.shape[-1])
        return torch.einsum("bckp,bkp->bcp", patches, self.kernel(x).flatten(2)).view_as(x)


class Deformable(nn.Module):
    """Deformable convolution (Dai et al. 2017): samples at learned offsets, then a product."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offset = nn.Conv2d(channels, 18, 3, padding=1)
        self.mix = nn.Conv2d(9 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        theta = torch.eye(2, 3, device=x.device, dtype=x.dtype).expand(len(x), 2, 3)
        grid = F.affine_grid(theta, list(x.shape), align_corners=False)
        offsets = self.offset(x).unflatten(1, (9, 2)).permute(1, 0, 3, 4, 2) / 8
        return self.mix(torch.cat([F.grid_sample(x, grid + o, align_corners=False) for o in offsets], 1))


def repeated(kernel: int, stride: int, channels: Sequence[int]) -> list[nn.Module]:
    pairs = itertools.pairwise(channels)
    return [activated(a, b, kernel, stride) for a, b in pairs]


def inception(inputs: int) -> nn.Module:
    """GoogLeNet's module (Szegedy et al. 2015), 32 channels out."""
    return Join(
        activated(inputs, 8, 1),
        nn.Sequential(activated(inputs, 4, 1), activated(4, 12, 3)),
        nn.Sequential(activated(inputs, 4, 1), activated(4, 4, 5)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1), activated(inputs, 8, 1)),
    )


def factorized(inputs: int) -> nn.Module:
    """Inception v3's module of 1 x 7 and 7 x 1 kernels (Szegedy et al. 2016), 32 channels out."""
    return Join(
        activated(inputs, 16, 1),
        nn.Sequential(activated(inputs, 8, 1), activated(8, 8, (1, 7)), activated(8, 16, (7, 1))),
    )


def fire(inputs: int) -> nn.Module:
    """SqueezeNet's module (Iandola et al. 2016), 32 channels out."""
    return nn.Sequential(nn.Conv2d(inputs, 8, 1), nn.ReLU(), Join(nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 3, padding=1)))


class Reparametrized(nn.Module):
    """RepVGG's block in training (Ding et al. 2021): 3 x 3, 1 x 1 and nothing, added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sum = Sum(convolution(channels, channels), convolution(channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        return F.relu(self.sum(x))


def large_kernel(channels: int) -> nn.Module:
    """VAN's attention by large kernels (Guo et al. 2023), as a sum."""
    return Sum(
        nn.Identity(),
        nn.Sequential(
            convolution(channels, channels, 5, 1, channels),
            convolution(channels, channels, 7, 1, channels, 3),
            nn.Conv2d(channels, channels, 1),
        ),
    )
