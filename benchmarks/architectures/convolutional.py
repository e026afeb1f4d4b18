"""Image classifiers, written out small: the layouts of torchvision and timm, and mixers of patches."""

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.blocks import (
    BlockAttention,
    Deformable,
    DenseBlock,
    EfficientChannels,
    Excitation,
    Ghost,
    Hierarchical,
    Involution,
    Mixed,
    Reparametrized,
    Shuffled,
    Sum,
    activated,
    bottleneck,
    classifier,
    convolution,
    factorized,
    fire,
    inception,
    inverted,
    large_kernel,
    repeated,
    separable,
)
from torch import nn

Tensor = torch.Tensor


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


def _stem() -> nn.Module:
    return activated(3, 16, 3, 2)


def _classified(layers: Callable[[], list[nn.Module]], channels: int = 32) -> nn.Module:
    return nn.Sequential(_stem(), *layers(), *classifier(channels))


def _vgg() -> nn.Module:
    pool = nn.MaxPool2d(2)
    features = [*repeated(3, 1, (3, 16)), pool, *repeated(3, 1, (16, 32)), pool, *repeated(3, 1, (32, 32, 32)), pool]
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
    "ResNeXt": lambda: [bottleneck(16, 16, 32, 2, 4), bottleneck(32, 16, 32, 1, 4)],
    "Wide ResNet": lambda: [bottleneck(16, 32, 32, 2), bottleneck(32, 32, 32)],
    "SE-ResNet": lambda: [bottleneck(16, 8, 32, 2), Excitation(32), bottleneck(32, 8, 32)],
    "ECA-Net": lambda: [bottleneck(16, 8, 32, 2), EfficientChannels()],
    "CBAM": lambda: [bottleneck(16, 8, 32, 2), BlockAttention(32)],
    "DenseNet": lambda: [DenseBlock(16, 8, 2), nn.Conv2d(32, 16, 1), nn.AvgPool2d(2), DenseBlock(16, 8, 2)],
    "SqueezeNet": lambda: [fire(16), nn.MaxPool2d(3, 2, ceil_mode=True), fire(32)],
    "GoogLeNet": lambda: [inception(16), nn.MaxPool2d(3, 2, ceil_mode=True), inception(32)],
    "Inception v3": lambda: [factorized(16), factorized(32)],
    "MobileNet V1's layout": lambda: [separable(16, 24, 2), separable(24, 32)],
    "MobileNet V3": lambda: [inverted(16, 24, stride=2, gates=True), inverted(24, 32, gates=True), nn.Hardswish()],
    "MnasNet": lambda: [separable(16, 16), inverted(16, 32, stride=2), inverted(32, 32)],
    "EfficientNet V2": lambda: [inverted(16, 16, fused=True), inverted(16, 32, stride=2, gates=True)],
    "Xception": lambda: [Sum(nn.Sequential(separable(16, 32), nn.MaxPool2d(3, 2, 1)), convolution(16, 32, 1, 2))],
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
    "VAN": lambda: [activated(16, 32, 1, 2), large_kernel(32)],
}


ARCHITECTURES = [
    Architecture(name=name, family="convolutional", make=functools.partial(_images, module))
    for name, module in [
        *WHOLE.items(),
        *((name, functools.partial(_classified, body)) for name, body in BODIES.items()),
    ]
]
