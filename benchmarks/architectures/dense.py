"""Segmentation, detection and restoration of images, video and volumes, written out small."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.blocks import Join, Sum, activated, convolution
from torch import nn

Tensor = torch.Tensor


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) in two or three dimensions, of the layers given."""

    def __init__(
        self, layer: type[nn.Module], up: type[nn.Module], pool: type[nn.Module], width: int = 8, depth: int = 2
    ) -> None:
        super().__init__()
        self.pool = pool(2)
        self.down, self.up, self.merge = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        channels = 3
        for i in range(depth):
            self.down.append(nn.Sequential(layer(channels, width << i, 3, padding=1), nn.ReLU()))
            channels = width << i
        self.middle = nn.Sequential(layer(channels, 2 * channels, 3, padding=1), nn.ReLU())
        for i in reversed(range(depth)):
            self.up.append(up(2 * width << i, width << i, 2, 2))
            self.merge.append(nn.Sequential(layer(2 * width << i, width << i, 3, padding=1), nn.ReLU()))
        self.head = layer(width, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images or volumes [B, 3, ...] -> logits [B, 4, ...]."""
        kept = []
        for down in self.down:
            kept.append(down(x))
            x = self.pool(kept[-1])
        x = self.middle(x)
        for up, merge in zip(self.up, self.merge, strict=True):
            x = merge(torch.cat([kept.pop(), up(x)], 1))
        return self.head(x)


class SegNet(nn.Module):
    """SegNet (Badrinarayanan et al. 2015): unpooling to where the maxima were."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.up, self.head = activated(3, 8), activated(8, 8), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Images -> logits of the same size."""
        x, where = F.max_pool2d(self.down(x), 2, return_indices=True)
        return self.head(F.max_unpool2d(self.up(x), where, 2))


class Resized(nn.Module):
    """A network whose output is brought back to its input's size."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Bilinear interpolation, as in FCN, DeepLab and PSPNet."""
        return F.interpolate(self.layers(x), x.shape[-2:], mode="bilinear", align_corners=False)


class Pooled(nn.Module):
    """A branch on pooled features (PSPNet, Zhao et al. 2017)."""

    def __init__(self, inputs: int, outputs: int, size: int) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.AdaptiveAvgPool2d(size), nn.Conv2d(inputs, outputs, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        """Features of the input's size."""
        return F.interpolate(self.layer(x), x.shape[-2:], mode="bilinear", align_corners=False)


class Pyramid(nn.Module):
    """RetinaNet (Lin et al. 2017): a feature pyramid, and heads that all its levels share."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([activated(3, 8, 3, 2), activated(8, 16, 3, 2), activated(16, 24, 3, 2)])
        self.lateral = nn.ModuleList(nn.Conv2d(channels, 16, 1) for channels in (8, 16, 24))
        self.classes = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3 * 5, 3, padding=1))
        self.boxes = nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3 * 4, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Images -> [B, boxes, classes and coordinates]."""
        levels = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for i in (1, 0):
            levels[i] = levels[i] + F.interpolate(levels[i + 1], scale_factor=2.0)
        heads = (torch.cat([self.classes(level), self.boxes(level)], 1) for level in levels)
        return torch.cat([head.flatten(2) for head in heads], 2).mT


class CrossStage(nn.Module):
    """YOLOv5's CSP block (Wang et al. 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        body = nn.Sequential(
            activated(channels, half, 1),
            Sum(nn.Sequential(activated(half, half, 1), activated(half, half)), nn.Identity()),
        )
        self.join = nn.Sequential(Join(body, activated(channels, half, 1)), activated(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        return self.join(x)


class SpatialPyramid(nn.Module):
    """YOLOv5's SPPF: pooling three times over."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.out = activated(3 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        once = F.max_pool2d(x, 5, 1, 2)
        return self.out(torch.cat([x, once, F.max_pool2d(once, 5, 1, 2)], 1))


class Yolo(nn.Module):
    """YOLOv5's layout in small: backbone, pyramid, and three values per anchor decoded from a grid."""

    def __init__(self) -> None:
        super().__init__()
        self.early = nn.Sequential(activated(3, 8, 6 - 1, 2), CrossStage(8), activated(8, 16, 3, 2), CrossStage(16))
        self.late = nn.Sequential(activated(16, 32, 3, 2), SpatialPyramid(32))
        self.merge = CrossStage(48)
        self.heads = nn.ModuleList([nn.Conv2d(48, 3 * 9, 1), nn.Conv2d(32, 3 * 9, 1)])

    def forward(self, x: Tensor) -> Tensor:
        """Images -> [B, anchors, 9]."""
        early = self.early(x)
        late = self.late(early)
        merged = self.merge(torch.cat([early, F.interpolate(late, scale_factor=2.0)], 1))
        outputs = (head(y).unflatten(1, (3, 9)).flatten(3) for head, y in zip(self.heads, (merged, late), strict=True))
        return torch.cat([y.permute(0, 1, 3, 2).flatten(1, 2).sigmoid() for y in outputs], 1)


class HighResolution(nn.Module):
    """HRNet (Wang et al. 2019): two resolutions side by side that exchange what they know."""

    def __init__(self) -> None:
        super().__init__()
        self.high, self.low = activated(3, 8), activated(3, 16, 3, 2)
        self.down, self.up = convolution(8, 16, 3, 2), convolution(16, 8, 1)
        self.head = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images -> heat maps."""
        high, low = self.high(x), self.low(x)
        for _ in range(2):
            high, low = F.relu(high + F.interpolate(self.up(low), scale_factor=2.0)), F.relu(low + self.down(high))
        return self.head(high)


class RegionHead(nn.Module):
    """Faster R-CNN's second stage (Ren et al. 2015) on fixed regions, cut out by a sampling grid; with a mask head."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(activated(3, 16, 3, 2), activated(16, 16, 3, 2))
        self.box = nn.Sequential(nn.Flatten(), nn.Linear(16 * 25, 32), nn.ReLU(), nn.Linear(32, 9))
        self.mask = nn.Sequential(activated(16, 16), nn.ConvTranspose2d(16, 16, 2, 2), nn.ReLU(), nn.Conv2d(16, 5, 1))

    def forward(self, x: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Images, and regions [B, 2, 3] as affine maps -> boxes and masks."""
        features = self.backbone(x)
        grid = F.affine_grid(regions, [len(x), 16, 5, 5], align_corners=False)
        cut = F.grid_sample(features, grid, align_corners=False)
        return self.box(cut), self.mask(cut)


def _tail(kind: str) -> list[nn.Module]:
    """How super-resolution enlarges: ESPCN's shuffled pixels, FSRCNN's transposed convolution."""
    if kind == "shuffled":
        return [nn.Conv2d(8, 4 * 3, 3, padding=1), nn.PixelShuffle(2)]
    return [nn.ConvTranspose2d(8, 3, 9, 2, 4, output_padding=1)]


def _residual_dense() -> nn.Module:
    """ESRGAN's block (Wang et al. 2018), without the dense connections inside branches."""
    return Sum(
        nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 8, 3, padding=1)), nn.Identity()
    )


def _residual_volume(inputs: int, outputs: int, stride: int) -> nn.Module:
    """R3D's block (Tran et al. 2018)."""
    body = nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, stride, 1, bias=False),
        nn.BatchNorm3d(outputs),
        nn.ReLU(),
        nn.Conv3d(outputs, outputs, 3, 1, 1, bias=False),
        nn.BatchNorm3d(outputs),
    )
    return nn.Sequential(Sum(body, nn.Conv3d(inputs, outputs, 1, stride, bias=False)), nn.ReLU())


def _split_in_time(inputs: int, outputs: int) -> nn.Module:
    """R(2+1)D (Tran et al. 2018): space, then time."""
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, (1, 3, 3), padding=(0, 1, 1)),
        nn.ReLU(),
        nn.Conv3d(outputs, outputs, (3, 1, 1), padding=(1, 0, 0)),
        nn.ReLU(),
    )


def _atrous() -> nn.Module:
    """DeepLab v3's head (Chen et al. 2017)."""
    return nn.Sequential(Join(*(convolution(16, 8, 3, 1, 1, rate) for rate in (1, 2, 4)), Pooled(16, 8, 1)), nn.ReLU())


def _pictures(module: Callable[[], nn.Module]) -> tuple[nn.Module, Any]:
    return module(), torch.randn(2, 3, 32, 32)


def _films(module: Callable[[], nn.Module]) -> tuple[nn.Module, Any]:
    return module(), torch.randn(2, 3, 4, 16, 16)


def _with_regions() -> tuple[nn.Module, Any]:
    return RegionHead(), (torch.randn(2, 3, 32, 32), torch.tensor([[0.5, 0.0, 0.1], [0.0, 0.5, -0.2]]).expand(2, 2, 3))


PICTURES: dict[str, Callable[[], nn.Module]] = {
    "U-Net": lambda: UNet(nn.Conv2d, nn.ConvTranspose2d, nn.MaxPool2d),
    "SegNet": SegNet,
    "FCN": lambda: Resized(activated(3, 16, 3, 2), activated(16, 16, 3, 2), nn.Dropout(0.1), nn.Conv2d(16, 5, 1)),
    "FCN, learned enlarging": lambda: nn.Sequential(
        activated(3, 16, 3, 2), nn.ConvTranspose2d(16, 5, 4, 2, 1, groups=1)
    ),
    "DeepLab v3": lambda: Resized(activated(3, 16, 3, 2), _atrous(), activated(32, 16, 1), nn.Conv2d(16, 5, 1)),
    "PSPNet": lambda: Resized(
        activated(3, 16, 3, 2), Join(nn.Identity(), *(Pooled(16, 4, s) for s in (1, 2, 4))), nn.Conv2d(28, 5, 1)
    ),
    "RetinaNet": Pyramid,
    "YOLO": Yolo,
    "SSD": lambda: nn.Sequential(
        activated(3, 16, 3, 2),
        activated(16, 16, 3, 2),
        Join(nn.Conv2d(16, 4 * 4, 3, padding=1), nn.Conv2d(16, 4 * 5, 3, padding=1)),
    ),
    "CenterNet": lambda: nn.Sequential(
        activated(3, 16, 3, 2), nn.ConvTranspose2d(16, 8, 4, 2, 1), nn.ReLU(), nn.Conv2d(8, 5, 1)
    ),
    "HRNet": HighResolution,
    "SRCNN": lambda: nn.Sequential(
        nn.Conv2d(3, 16, 9, padding=4), nn.ReLU(), nn.Conv2d(16, 8, 1), nn.ReLU(), nn.Conv2d(8, 3, 5, padding=2)
    ),
    "FSRCNN": lambda: nn.Sequential(nn.Conv2d(3, 8, 5, padding=2), nn.PReLU(8), *_tail("transposed")),
    "SRGAN": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        Sum(nn.Sequential(activated(8, 8), convolution(8, 8)), nn.Identity()),
        *_tail("shuffled"),
    ),
    "ESRGAN": lambda: nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), _residual_dense(), nn.Upsample(scale_factor=2), nn.Conv2d(8, 3, 3, padding=1)
    ),
    "DnCNN": lambda: Sum(
        nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), activated(8, 8), nn.Conv2d(8, 3, 3, padding=1)),
        nn.Identity(),
    ),
}
FILMS: dict[str, Callable[[], nn.Module]] = {
    "U-Net of volumes": lambda: UNet(nn.Conv3d, nn.ConvTranspose3d, nn.MaxPool3d),
    "C3D": lambda: nn.Sequential(
        nn.Conv3d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(8 * 2 * 64, 10)
    ),
    "ResNet of films": lambda: nn.Sequential(
        _residual_volume(3, 8, 2), _residual_volume(8, 16, 1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(16, 10)
    ),
    "R(2+1)D": lambda: nn.Sequential(
        _split_in_time(3, 8), _split_in_time(8, 8), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(8, 10)
    ),
    "X3D": lambda: nn.Sequential(
        nn.Conv3d(3, 16, 1), nn.Conv3d(16, 16, 3, padding=1, groups=16), nn.SiLU(), nn.Conv3d(16, 8, 1)
    ),
}

ARCHITECTURES = [
    *(
        Architecture(name=n, family="dense prediction", make=functools.partial(_pictures, m))
        for n, m in PICTURES.items()
    ),
    *(Architecture(name=n, family="dense prediction", make=functools.partial(_films, m)) for n, m in FILMS.items()),
    Architecture(name="Mask R-CNN's heads", family="dense prediction", make=_with_regions),
]
