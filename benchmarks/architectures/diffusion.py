"""Diffusion models, written out small: UNets and transformers that take a time, and autoencoders of latents."""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from torch import nn

Tensor = torch.Tensor


def sinusoids(time: Tensor, width: int) -> Tensor:
    """Times [B] -> [B, width] (Vaswani et al. 2017)."""
    angles = time[:, None].float() * torch.exp(-math.log(10_000) * torch.arange(width // 2) / (width // 2))
    return torch.cat([angles.cos(), angles.sin()], -1)


class Residual(nn.Module):
    """A residual block that is told the time (Ho et al. 2020), in one, two or three dimensions."""

    def __init__(self, inputs: int, outputs: int, time: int, layer: type[nn.Module]) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(4, inputs), nn.SiLU(), layer(inputs, outputs, 3, padding=1))
        self.time = nn.Sequential(nn.SiLU(), nn.Linear(time, outputs))
        self.second = nn.Sequential(nn.GroupNorm(4, outputs), nn.SiLU(), layer(outputs, outputs, 3, padding=1))
        self.skip = nn.Identity() if inputs == outputs else layer(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Features and embedded time -> features."""
        y = self.first(x)
        return self.skip(x) + self.second(y + self.time(time).view(*y.shape[:2], *(1,) * (y.dim() - 2)))


class Attention(nn.Module):
    """Attention among places, or from places to a context of text (Rombach et al. 2022)."""

    def __init__(self, width: int, heads: int, context: int | None = None) -> None:
        super().__init__()
        self.heads, self.norm = heads, nn.GroupNorm(4, width)
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(context or width, 2 * width, bias=False)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """[B, C, ...] -> the same."""
        places = self.norm(x).flatten(2).mT
        q = self.query(places).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        source = places if context is None else context
        k, v = self.key_value(source).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(y).mT.view_as(x)


class UNet(nn.Module):
    """A UNet that predicts noise: two resolutions, attention in the middle, skips, and a context if there is one."""

    def __init__(
        self, layer: type[nn.Module] = nn.Conv2d, up: type[nn.Module] = nn.ConvTranspose2d, context: int | None = None
    ) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(16, 32), nn.SiLU(), nn.Linear(32, 32))
        self.enter, self.leave = layer(3, 16, 3, padding=1), layer(16, 3, 3, padding=1)
        self.high, self.low = Residual(16, 16, 32, layer), Residual(16, 32, 32, layer)
        self.down, self.up = layer(16, 16, 3, 2, 1), up(32, 16, 4, 2, 1)
        self.itself, self.across = Attention(32, 4), Attention(32, 4, context) if context else None
        self.middle, self.merge = Residual(32, 32, 32, layer), Residual(32, 16, 32, layer)

    def forward(self, x: Tensor, time: Tensor, context: Tensor | None = None) -> Tensor:
        """Noisy images, times and, where it was made for one, a context [B, T, width] -> noise."""
        t = self.embed(sinusoids(time, 16))
        high = self.high(self.enter(x), t)
        low = self.itself(self.low(self.down(high), t))
        if self.across is not None:
            low = self.across(low, context)
        return self.leave(self.merge(torch.cat([high, self.up(self.middle(low, t))], 1), t))


class Controlled(nn.Module):
    """ControlNet (Zhang et al. 2023): a copy of the encoder reads a hint, joined by convolutions that begin at 0."""

    def __init__(self) -> None:
        super().__init__()
        self.unet = UNet()
        self.hint, self.copy = nn.Conv2d(1, 16, 3, padding=1), Residual(16, 16, 32, nn.Conv2d)
        self.zero = nn.Conv2d(16, 3, 1)

    def forward(self, x: Tensor, time: Tensor, hint: Tensor) -> Tensor:
        """Noisy images, times, hints [B, 1, H, W] -> noise."""
        control = self.copy(self.unet.enter(x) + self.hint(hint), self.unet.embed(sinusoids(time, 16)))
        return self.unet(x, time) + self.zero(control)


class Modulated(nn.Module):
    """DiT's block (Peebles and Xie 2023): norms that the time modulates, attention, a perceptron."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.project, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.perceptron = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Tokens [B, T, width]."""
        shift, scale, gate, shift_2, scale_2, gate_2 = self.modulation(time)[:, None].chunk(6, -1)
        y = self.norm(x) * (1 + scale) + shift
        q, k, v = self.project(y).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        x = x + gate * self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + gate_2 * self.perceptron(self.norm(x) * (1 + scale_2) + shift_2)


class DiffusionTransformer(nn.Module):
    """DiT: patches in, patches out."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.time = nn.Conv2d(3, 32, 4, 4), nn.Linear(16, 32)
        self.positions = nn.Parameter(torch.randn(16, 32) / 8)
        self.blocks = nn.ModuleList(Modulated(32, 4) for _ in range(2))
        self.head = nn.Linear(32, 4 * 4 * 3)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Noisy images -> noise."""
        tokens, t = self.patches(x).flatten(2).mT + self.positions, self.time(sinusoids(time, 16))
        for block in self.blocks:
            tokens = block(tokens, t)
        return F.fold(self.head(tokens).mT, x.shape[-2:], 4, stride=4)


class Joint(nn.Module):
    """MMDiT (Esser et al. 2024): text and image have weights of their own, and attend to each other."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.RMSNorm(width // heads) for _ in range(2))
        self.projects = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
        self.outs = nn.ModuleList(nn.Linear(width, width) for _ in range(2))

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of both -> tokens of both."""
        parts = [
            project(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
            for project, x in zip(self.projects, (image, text), strict=True)
        ]
        q, k, v = torch.cat(parts, -2)
        y = F.scaled_dot_product_attention(self.norms[0](q), self.norms[1](k), v).transpose(1, 2).flatten(2)
        first, second = y.split([image.shape[1], text.shape[1]], 1)
        return image + self.outs[0](first), text + self.outs[1](second)


class Score(nn.Module):
    """A score model with Fourier features of the noise level (Song et al. 2021)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(8) * 16)
        self.embed = nn.Linear(16, 32)
        self.enter, self.body, self.leave = (
            nn.Conv2d(3, 16, 3, padding=1),
            Residual(16, 16, 32, nn.Conv2d),
            nn.Conv2d(16, 3, 1),
        )

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """Noisy images, noise levels -> score."""
        angles = torch.outer(level, self.frequencies) * 2 * torch.pi
        return self.leave(
            self.body(self.enter(x), self.embed(torch.cat([angles.sin(), angles.cos()], -1)))
        ) / level.view(-1, 1, 1, 1)


class Autoencoder(nn.Module):
    """The first stage of latent diffusion (Rombach et al. 2022): its mean, without noise."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.SiLU(), Attention(16, 1), nn.Conv2d(16, 8, 1))
        self.decode = nn.Sequential(
            nn.Conv2d(4, 16, 3, padding=1), nn.SiLU(), nn.Upsample(scale_factor=2.0), nn.Conv2d(16, 3, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images -> images."""
        mean, _ = self.encode(x).chunk(2, 1)
        return self.decode(mean)


class Video(nn.Module):
    """Video diffusion (Ho et al. 2022): convolutions in space, attention in time."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.leave = nn.Conv3d(3, 16, (1, 3, 3), padding=(0, 1, 1)), nn.Conv3d(16, 3, 1)
        self.body, self.attention = Residual(16, 16, 16, nn.Conv3d), Attention(16, 2)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """Films [B, 3, T, H, W] -> noise."""
        y = self.body(self.enter(x), sinusoids(time, 16))
        b, c, t, h, w = y.shape
        along = self.attention(y.permute(0, 3, 4, 1, 2).reshape(b * h * w, c, t))
        return self.leave(along.view(b, h, w, c, t).permute(0, 3, 4, 1, 2))


def _noisy(module: Callable[[], nn.Module], *context: int, size: int = 16) -> tuple[nn.Module, Any]:
    inputs = (torch.randn(2, 3, size, size), torch.tensor([3, 40]))
    return module(), (*inputs, torch.randn(context)) if context else inputs


def _of(module: Callable[[], nn.Module], *shapes: tuple[int, ...]) -> tuple[nn.Module, Any]:
    return module(), tuple(torch.randn(shape) for shape in shapes)


def _in_time(module: Callable[[], nn.Module], *shape: int) -> tuple[nn.Module, Any]:
    return module(), (torch.randn(shape), torch.tensor([3, 40]))


ARCHITECTURES = [
    Architecture(name=name, family="diffusion", make=make)
    for name, make in [
        ("DDPM's UNet", functools.partial(_noisy, UNet)),
        ("Stable Diffusion's UNet", functools.partial(_noisy, lambda: UNet(context=24), 2, 7, 24)),
        ("ControlNet", functools.partial(_noisy, Controlled, 2, 1, 16, 16)),
        ("DiT", functools.partial(_noisy, DiffusionTransformer)),
        ("MMDiT", functools.partial(_of, lambda: Joint(32, 4), (2, 16, 32), (2, 7, 32))),
        ("Score model", lambda: (Score(), (torch.randn(2, 3, 16, 16), torch.tensor([0.3, 2.0])))),
        ("Latent autoencoder", functools.partial(_of, Autoencoder, (2, 3, 16, 16))),
        ("Video diffusion", functools.partial(_in_time, Video, 2, 3, 4, 8, 8)),
        ("Diffusion policy", functools.partial(_in_time, lambda: UNet(nn.Conv1d, nn.ConvTranspose1d), 2, 3, 16)),
        (
            "Diffusion of volumes",
            functools.partial(_in_time, lambda: UNet(nn.Conv3d, nn.ConvTranspose3d), 2, 3, 4, 8, 8),
        ),
    ]
]
