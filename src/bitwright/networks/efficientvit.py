"""EfficientViT-B1 for semantic segmentation in plain torch (Cai et al., ICCV 2023, arXiv:2205.14756).

Widths 16 to 256, depths 1, 2, 3, 3, 4, expansion 4, attention heads of 16 and the ADE20K head are those of the authors'
code (github.com/mit-han-lab/efficientvit), after which modules are named, so that its weights fit. The last two stages
see the whole image through attention that is linear in its pixels. The authors' quadratic form for maps of at most 16
pixels is the same product in another order and left out.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

CLASSES = 150  # of ADE20K
EXPANSION = 4
HEAD_WIDTH, HEAD_BLOCKS = 64, 3


class Convolution(nn.Module):
    """A convolution that keeps the size (up to its stride), with batch norm or a bias, and hard swish if `active`."""

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int = 1,
        *,
        stride: int = 1,
        depthwise: bool = False,
        normed: bool = True,
        biased: bool = False,
        active: bool = False,
    ) -> None:
        super().__init__()
        groups = channels if depthwise else 1
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, groups=groups, bias=biased)
        self.norm = nn.BatchNorm2d(out) if normed else None
        self.act = nn.Hardswish() if active else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, H, W] -> [B, out, H / stride, W / stride]."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x if self.act is None else self.act(x)


class DepthwiseSeparable(nn.Module):
    """A depthwise 3x3 convolution and a 1x1 one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depth_conv = Convolution(channels, channels, 3, depthwise=True, active=True)
        self.point_conv = Convolution(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, H, W] -> the same."""
        return self.point_conv(self.depth_conv(x))


class InvertedBottleneck(nn.Module):
    """Expand by 1x1, depthwise 3x3, project by 1x1 ("MBConv"); `biased`: biases in place of the first two norms."""

    def __init__(self, channels: int, out: int, stride: int = 1, *, biased: bool = False) -> None:
        super().__init__()
        wide = EXPANSION * channels
        self.inverted_conv = Convolution(channels, wide, normed=not biased, biased=biased, active=True)
        self.depth_conv = Convolution(
            wide, wide, 3, stride=stride, depthwise=True, normed=not biased, biased=biased, active=True
        )
        self.point_conv = Convolution(wide, out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, H, W] -> [B, out, H / stride, W / stride]."""
        return self.point_conv(self.depth_conv(self.inverted_conv(x)))


class LinearAttention(nn.Module):
    """Multi-scale attention without softmax: relu(q) (relu(k)^T v), rows divided by their sums ("LiteMLA").

    Queries, keys and values of each head come at two scales: as they are, and gathered over 5x5 pixels by a depthwise
    convolution and a 1x1 one within each of q, k and v. A row of ones appended to v gives the sums.
    """

    HEAD_SIZE, SCALE, EPSILON = 16, 5, 1e-15

    def __init__(self, channels: int) -> None:
        super().__init__()
        parts = 3 * channels
        self.qkv = Convolution(channels, parts, normed=False)
        gather = nn.Conv2d(parts, parts, self.SCALE, padding=self.SCALE // 2, groups=parts, bias=False)
        mix = nn.Conv2d(parts, parts, 1, groups=parts // self.HEAD_SIZE, bias=False)
        self.aggreg = nn.ModuleList([nn.Sequential(gather, mix)])
        self.proj = Convolution(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, H, W] -> the same."""
        qkv = self.qkv(x)
        scales = torch.cat([qkv, *(gather(qkv) for gather in self.aggreg)], dim=1)
        heads = scales.reshape(len(x), -1, 3 * self.HEAD_SIZE, x.shape[2] * x.shape[3])
        q, k, v = heads.split(self.HEAD_SIZE, dim=2)
        with_sum = F.pad(v, (0, 0, 0, 1), value=1.0)
        state = torch.matmul(with_sum, torch.relu(k).transpose(2, 3))
        y = torch.matmul(state, torch.relu(q))
        y = y[:, :, :-1] / (y[:, :, -1:] + self.EPSILON)
        return self.proj(y.reshape(len(x), -1, *x.shape[2:]))


class Residual(nn.Module):
    """`main`, added to its input if `skip`."""

    def __init__(self, main: nn.Module, *, skip: bool = True) -> None:
        super().__init__()
        self.main = main
        self.skip = skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x -> main(x) or x + main(x)."""
        return x + self.main(x) if self.skip else self.main(x)


class AttentionBlock(nn.Module):
    """Attention across the image, then an inverted bottleneck around each pixel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.context_module = Residual(LinearAttention(channels))
        self.local_module = Residual(InvertedBottleneck(channels, channels, biased=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, channels, H, W] -> the same."""
        return self.local_module(self.context_module(x))


class Chain(nn.Module):
    """Modules one after the other, under the name that the authors' code gives them."""

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        super().__init__()
        self.op_list = nn.ModuleList(modules)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The last module's output."""
        for module in self.op_list:
            x = module(x)
        return x


class Backbone(nn.Module):
    """Five stages, each at half the size of the one before; the last three are handed on."""

    def __init__(self) -> None:
        super().__init__()
        stem = [Convolution(3, 16, 3, stride=2, active=True), Residual(DepthwiseSeparable(16))]
        self.input_stem = Chain(stem)
        self.stages = nn.ModuleList(
            [
                _local_stage(16, 32, blocks=2),
                _local_stage(32, 64, blocks=3),
                _attention_stage(64, 128, blocks=3),
                _attention_stage(128, 256, blocks=4),
            ]
        )

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """[B, 3, H, W] -> [B, 64, H / 8, W / 8], [B, 128, H / 16, W / 16], [B, 256, H / 32, W / 32]."""
        outputs = []
        x = self.input_stem(x)
        for stage in self.stages:
            x = stage(x)
            outputs.append(x)
        return outputs[1:]


class Head(nn.Module):
    """The three last stages at one width and size, added up, refined and classified pixel by pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.input_ops = nn.ModuleList(
            [
                Chain([Convolution(256, HEAD_WIDTH), _upsample(4)]),
                Chain([Convolution(128, HEAD_WIDTH), _upsample(2)]),
                Convolution(64, HEAD_WIDTH),
            ]
        )
        self.middle = Chain([Residual(InvertedBottleneck(HEAD_WIDTH, HEAD_WIDTH)) for _ in range(HEAD_BLOCKS)])
        self.output_ops = nn.ModuleList([Chain([Convolution(HEAD_WIDTH, CLASSES, normed=False, biased=True)])])

    def forward(self, stages: Sequence[torch.Tensor]) -> torch.Tensor:
        """Outputs of the backbone -> [B, classes, H / 8, W / 8]."""
        deepest, middle, finest = (op(x) for op, x in zip(self.input_ops, reversed(stages), strict=True))
        return self.output_ops[0](self.middle(deepest + middle + finest))


class EfficientViTB1(nn.Module):
    """EfficientViT-B1 with its segmentation head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.head = Head()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[B, 3, H, W] -> [B, 150, H / 8, W / 8]."""
        return self.head(self.backbone(x))


def _local_stage(channels: int, out: int, *, blocks: int) -> Chain:
    first = Residual(InvertedBottleneck(channels, out, 2), skip=False)
    return Chain([first, *(Residual(InvertedBottleneck(out, out)) for _ in range(blocks - 1))])


def _attention_stage(channels: int, out: int, *, blocks: int) -> Chain:
    first = Residual(InvertedBottleneck(channels, out, 2, biased=True), skip=False)
    return Chain([first, *(AttentionBlock(out) for _ in range(blocks))])


def _upsample(factor: int) -> nn.Upsample:
    return nn.Upsample(scale_factor=factor, mode="bicubic", align_corners=False)
