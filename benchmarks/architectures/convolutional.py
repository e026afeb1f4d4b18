"""Image classifiers, written out small: the layouts of torchvision and timm, and mixers of patches."""

import functools
import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
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


def _shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Identity() if inputs == outputs and stride == 1 else convolution(inputs, outputs, 1, stride)


def _bottleneck(inputs: int, width: int, outputs: int, stride: int = 1, groups: int = 1) -> nn.Module:
    """ResNeXt and wide ResNets (Xie et al. 2017, Zagoruyko and Komodakis 2016)."""
    body = [activated(inputs, width, 1), activated(width, width, 3, stride, groups), convolution(width, outputs, 1)]
    return nn.Sequential(Sum(nn.Sequential(*body), _shortcut(inputs, outputs, stride)), nn.ReLU())


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


def _inverted(inputs: int, outputs: int, *, stride: int = 1, gates: bool = False, fused: bool = False) -> nn.Module:
    """MobileNetV2 and V3, MnasNet, EfficientNet V2 (fused): widen, filter by channel, narrow."""
    width = 4 * inputs
    widen = [activated(inputs, width, 3, stride)] if fused else [activated(inputs, width, 1)]
    filtered = [] if fused else [activated(width, width, 3, stride, width)]
    squeeze = [Excitation(width, nn.Hardsigmoid), nn.Hardswish()] if gates else []
    body = nn.Sequential(*widen, *filtered, *squeeze, convolution(width, outputs, 1))
    return Sum(body, nn.Identity()) if inputs == outputs and stride == 1 else body


def _separable(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
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


def _repeated(kernel: int, stride: int, channels: Sequence[int]) -> list[nn.Module]:
    pairs = itertools.pairwise(channels)
    return [activated(a, b, kernel, stride) for a, b in pairs]


def _inception(inputs: int) -> nn.Module:
    """GoogLeNet's module (Szegedy et al. 2015), 32 channels out."""
    return Join(
        activated(inputs, 8, 1),
        nn.Sequential(activated(inputs, 4, 1), activated(4, 12, 3)),
        nn.Sequential(activated(inputs, 4, 1), activated(4, 4, 5)),
        nn.Sequential(nn.MaxPool2d(3, 1, 1), activated(inputs, 8, 1)),
    )


def _factorized(inputs: int) -> nn.Module:
    """Inception v3's module of 1 x 7 and 7 x 1 kernels (Szegedy et al. 2016), 32 channels out."""
    return Join(
        activated(inputs, 16, 1),
        nn.Sequential(activated(inputs, 8, 1), activated(8, 8, (1, 7)), activated(8, 16, (7, 1))),
    )


def _fire(inputs: int) -> nn.Module:
    """SqueezeNet's module (Iandola et al. 2016), 32 channels out."""
    return nn.Sequential(nn.Conv2d(inputs, 8, 1), nn.ReLU(), Join(nn.Conv2d(8, 16, 1), nn.Conv2d(8, 16, 3, padding=1)))


def _mixer(tokens: int, width: int) -> nn.Module:
    """MLP-Mixer's block (Tolstikhin et al. 2021): across tokens, across channels."""
    across = nn.Sequential(nn.LayerNorm(width), Transposed(_perceptron(tokens)))
    return nn.Sequential(
        Sum(across, nn.Identity()), Sum(nn.Sequential(nn.LayerNorm(width), _perceptron(width)), nn.Identity())
    )


def _perceptron(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))


class Transposed(nn.Module):
    """A layer along the other axis."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Tokens in the place of channels."""
        return self.layer(x.mT).mT


class SpatialGate(nn.Module):
    """gMLP's gate (Liu et al. 2021): one half scales the other, across tokens."""

    def __init__(self, tokens: int, width: int) -> None:
        super().__init__()
        self.widen, self.narrow = nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.across = nn.Conv1d(tokens, tokens, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        u, v = F.gelu(self.widen(x)).chunk(2, -1)
        return x + self.narrow(u * self.across(v))


class CrossCovariance(nn.Module):
    """XCiT's attention (El-Nouby et al. 2021): between channels."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.project, self.out = heads, nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        q, k, v = self.project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 4, 1)
        scores = F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT
        return x + self.out((scores.softmax(-1) @ v).permute(0, 3, 1, 2).flatten(2))


class Patches(nn.Module):
    """Images as tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, width, 8, 8)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, tokens, width]."""
        return self.project(x).flatten(2).mT


class Reparametrized(nn.Module):
    """RepVGG's block in training (Ding et al. 2021): 3 x 3, 1 x 1 and nothing, added."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.sum = Sum(convolution(channels, channels), convolution(channels, channels, 1), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        return F.relu(self.sum(x))


def _large_kernel(channels: int) -> nn.Module:
    """VAN's attention by large kernels (Guo et al. 2023), as a sum."""
    return Sum(
        nn.Identity(),
        nn.Sequential(
            convolution(channels, channels, 5, 1, channels),
            convolution(channels, channels, 7, 1, channels, 3),
            nn.Conv2d(channels, channels, 1),
        ),
    )


def _stem() -> nn.Module:
    return activated(3, 16, 3, 2)


def _classified(layers: Callable[[], list[nn.Module]], channels: int = 32) -> nn.Module:
    return nn.Sequential(_stem(), *layers(), *classifier(channels))


def _vgg() -> nn.Module:
    pool = nn.MaxPool2d(2)
    features = [*_repeated(3, 1, (3, 16)), pool, *_repeated(3, 1, (16, 32)), pool, *_repeated(3, 1, (32, 32, 32)), pool]
    return nn.Sequential(*features, nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Dropout(), nn.Linear(64, 10))


def _alexnet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 16, 11, 4, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, padding=2),
        nn.ReLU(),
        nn.Conv2d(32, 24, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(),
        nn.Linear(96, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(400, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, 10),
    )


def _tokens(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(Patches(24), *layers, nn.LayerNorm(24), Transposed(nn.AdaptiveAvgPool1d(1)), nn.Linear(24, 10))


def _images(module: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor]:
    return module(), torch.randn(2, 3, 32, 32)


WHOLE = {
    "LeNet": _lenet,
    "AlexNet": _alexnet,
    "VGG": _vgg,
    "MLP-Mixer": lambda: _tokens(_mixer(16, 24), _mixer(16, 24)),
    "gMLP": lambda: _tokens(SpatialGate(16, 24), SpatialGate(16, 24)),
    "ResMLP": lambda: _tokens(Sum(Transposed(nn.Linear(16, 16)), nn.Identity()), Sum(_perceptron(24), nn.Identity())),
    "XCiT": lambda: _tokens(CrossCovariance(24, 2), Sum(_perceptron(24), nn.Identity())),
}
BODIES: dict[str, Callable[[], list[nn.Module]]] = {
    "ResNeXt": lambda: [_bottleneck(16, 16, 32, 2, 4), _bottleneck(32, 16, 32, 1, 4)],
    "Wide ResNet": lambda: [_bottleneck(16, 32, 32, 2), _bottleneck(32, 32, 32)],
    "SE-ResNet": lambda: [_bottleneck(16, 8, 32, 2), Excitation(32), _bottleneck(32, 8, 32)],
    "ECA-Net": lambda: [_bottleneck(16, 8, 32, 2), EfficientChannels()],
    "CBAM": lambda: [_bottleneck(16, 8, 32, 2), BlockAttention(32)],
    "DenseNet": lambda: [DenseBlock(16, 8, 2), nn.Conv2d(32, 16, 1), nn.AvgPool2d(2), DenseBlock(16, 8, 2)],
    "SqueezeNet": lambda: [_fire(16), nn.MaxPool2d(3, 2, ceil_mode=True), _fire(32)],
    "GoogLeNet": lambda: [_inception(16), nn.MaxPool2d(3, 2, ceil_mode=True), _inception(32)],
    "Inception v3": lambda: [_factorized(16), _factorized(32)],
    "MobileNet V1's layout": lambda: [_separable(16, 24, 2), _separable(24, 32)],
    "MobileNet V3": lambda: [_inverted(16, 24, stride=2, gates=True), _inverted(24, 32, gates=True), nn.Hardswish()],
    "MnasNet": lambda: [_separable(16, 16), _inverted(16, 32, stride=2), _inverted(32, 32)],
    "EfficientNet V2": lambda: [_inverted(16, 16, fused=True), _inverted(16, 32, stride=2, gates=True)],
    "Xception": lambda: [Sum(nn.Sequential(_separable(16, 32), nn.MaxPool2d(3, 2, 1)), convolution(16, 32, 1, 2))],
    "ShuffleNet V1": lambda: [
        activated(16, 32, 1, 1, 4),
        nn.ChannelShuffle(4),
        convolution(32, 32, 3, 2, 32),
        nn.Conv2d(32, 32, 1, groups=4),
    ],
    "ShuffleNet V2": lambda: [activated(16, 32, 1), Shuffled(32), Shuffled(32)],
    "GhostNet": lambda: [Ghost(16, 32), Excitation(32), Ghost(32, 32)],
    "Res2Net": lambda: [activated(16, 32, 1), Hierarchical(32)],
    "RepVGG": lambda: [Reparametrized(16), activated(16, 32, 3, 2), Reparametrized(32)],
    "CondConv": lambda: [activated(16, 32, 1, 2), Mixed(32, 3)],
    "Involution": lambda: [activated(16, 32, 1, 2), Involution(32)],
    "Deformable convolution": lambda: [activated(16, 32, 1, 2), Deformable(32)],
    "ConvMixer": lambda: [Sum(convolution(16, 16, 9, 1, 16), nn.Identity()), nn.GELU(), nn.Conv2d(16, 32, 1)],
    "VAN": lambda: [activated(16, 32, 1, 2), _large_kernel(32)],
}

ARCHITECTURES = [
    Architecture(name=name, family="convolutional", make=functools.partial(_images, module))
    for name, module in [
        *WHOLE.items(),
        *((name, functools.partial(_classified, body)) for name, body in BODIES.items()),
    ]
]
