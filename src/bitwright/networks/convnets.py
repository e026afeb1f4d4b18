"""ResNet and MobileNetV2 in plain torch, so that their shapes need no further package.

ResNet: He et al., CVPR 2016, table 1, with the stride in the 3x3 convolution of a bottleneck (torchvision's "v1.5");
MobileNetV2: Sandler et al., CVPR 2018, table 2. Modules are named as in torchvision, whose weights therefore fit.
"""

from collections.abc import Sequence

import torch
from torch import nn


def resnet18() -> nn.Module:
    """ResNet-18: [B, 3, H, W] -> [B, 1000]."""
    return ResNet((2, 2, 2, 2), bottleneck=False)


def resnet50() -> nn.Module:
    """ResNet-50: [B, 3, H, W] -> [B, 1000]."""
    return ResNet((3, 4, 6, 3), bottleneck=True)


class Block(nn.Module):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3 and 1x1 (four times as wide) in a bottleneck."""

    def __init__(self, channels: int, width: int, stride: int, *, bottleneck: bool) -> None:
        super().__init__()
        out = 4 * width if bottleneck else width
        first = (1, 1) if bottleneck else (3, stride)
        self.conv1 = _conv(channels, width, *first)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = _conv(width, width, 3, stride if bottleneck else 1)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = _conv(width, out, 1, 1) if bottleneck else None
        self.bn3 = nn.BatchNorm2d(out) if bottleneck else None
        same = stride == 1 and channels == out
        self.downsample = None if same else nn.Sequential(_conv(channels, out, 1, stride), nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, H, W] -> [B, out, H / stride, W / stride]."""
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.conv3 is not None and self.bn3 is not None:
            y = self.bn3(self.conv3(torch.relu(y)))
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A ResNet with `blocks` residual blocks in each of its four stages."""

    def __init__(self, blocks: Sequence[int], *, bottleneck: bool) -> None:
        super().__init__()
        self.conv1 = _conv(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = [4 * width if bottleneck else width for width in (64, 128, 256, 512)]
        self.layer1 = _stage(64, 64, blocks[0], 1, bottleneck=bottleneck)
        self.layer2 = _stage(widths[0], 128, blocks[1], 2, bottleneck=bottleneck)
        self.layer3 = _stage(widths[1], 256, blocks[2], 2, bottleneck=bottleneck)
        self.layer4 = _stage(widths[2], 512, blocks[3], 2, bottleneck=bottleneck)
        self.fc = nn.Linear(widths[3], 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, 1000]."""
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand by 1x1, depthwise 3x3, project by 1x1."""

    def __init__(self, channels: int, out: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = channels * expansion
        layers = [_conv_bn_relu6(channels, hidden, 1)] if expansion > 1 else []
        layers.append(_conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden))
        self.conv = nn.Sequential(*layers, _conv(hidden, out, 1, 1), nn.BatchNorm2d(out))
        self.residual = stride == 1 and channels == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, H, W] -> [B, out, H / stride, W / stride]."""
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(nn.Module):
    """MobileNetV2 of width 1.0."""

    STAGES = (  # expansion, channels, blocks, stride of the first (table 2)
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_conv_bn_relu6(3, 32, 3, 2)]
        channels = 32
        for expansion, out, blocks, stride in self.STAGES:
            for i in range(blocks):
                layers.append(InvertedResidual(channels, out, stride if i == 0 else 1, expansion))
                channels = out
        self.features = nn.Sequential(*layers, _conv_bn_relu6(channels, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, 1000]."""
        return self.classifier(self.features(x).mean((2, 3)))


def _stage(channels: int, width: int, blocks: int, stride: int, *, bottleneck: bool) -> nn.Sequential:
    first = Block(channels, width, stride, bottleneck=bottleneck)
    out = 4 * width if bottleneck else width
    return nn.Sequential(first, *(Block(out, width, 1, bottleneck=bottleneck) for _ in range(blocks - 1)))


def _conv(channels: int, out: int, kernel: int, stride: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=False)


def _conv_bn_relu6(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(_conv(channels, out, kernel, stride, groups), nn.BatchNorm2d(out), nn.ReLU6())
