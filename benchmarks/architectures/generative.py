"""Adversarial networks, variational autoencoders, flows and autoregressive models of images, written out small."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from benchmarks.architectures.blocks import Sum, activated
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

Tensor = torch.Tensor


def _enlarged(inputs: int, outputs: int) -> nn.Sequential:
    """DCGAN's step (Radford et al. 2015)."""
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


def _generator() -> nn.Module:
    first = nn.Sequential(
        nn.Unflatten(1, (16, 1, 1)), nn.ConvTranspose2d(16, 32, 4, bias=False), nn.BatchNorm2d(32), nn.ReLU()
    )
    return nn.Sequential(first, _enlarged(32, 16), nn.ConvTranspose2d(16, 3, 4, 2, 1), nn.Tanh())


def _discriminator() -> nn.Module:
    layers = [spectral_norm(nn.Conv2d(a, b, 4, 2, 1)) for a, b in ((3, 8), (8, 16))]
    return nn.Sequential(layers[0], nn.LeakyReLU(0.2), layers[1], nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(256, 1))


def _translator() -> nn.Module:
    """CycleGAN's generator (Zhu et al. 2017): reflected borders, instance norms, transposed convolutions."""
    residual = nn.Sequential(
        nn.ReflectionPad2d(1),
        nn.Conv2d(16, 16, 3),
        nn.InstanceNorm2d(16),
        nn.ReLU(),
        nn.ReflectionPad2d(1),
        nn.Conv2d(16, 16, 3),
        nn.InstanceNorm2d(16),
    )
    return nn.Sequential(
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, 8, 7),
        nn.InstanceNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(),
        Sum(residual, nn.Identity()),
        nn.ConvTranspose2d(16, 8, 3, 2, 1, 1),
        nn.InstanceNorm2d(8),
        nn.ReLU(),
        nn.ReflectionPad2d(3),
        nn.Conv2d(8, 3, 7),
        nn.Tanh(),
    )


class Styled(nn.Module):
    """StyleGAN 2's convolution (Karras et al. 2020): a style scales the kernel, images are groups."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.style = nn.Linear(16, inputs)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) / 8)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        """Features, styles [B, 16] -> features."""
        weight = self.weight * (self.style(style) + 1)[:, None, :, None, None]
        weight = weight * weight.square().sum((2, 3, 4), keepdim=True).add(1e-8).rsqrt()
        y = F.conv2d(x.flatten(0, 1)[None], weight.flatten(0, 1), padding=1, groups=len(x))
        return F.leaky_relu(y.view(len(x), -1, *x.shape[2:]), 0.2)


class StyleGenerator(nn.Module):
    """StyleGAN 2: a mapping network, a constant, styled convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Sequential(nn.Linear(16, 16), nn.LeakyReLU(0.2), nn.Linear(16, 16), nn.LeakyReLU(0.2))
        self.constant = nn.Parameter(torch.randn(1, 16, 4, 4))
        self.first, self.second, self.colours = Styled(16, 16), Styled(16, 8), nn.Conv2d(8, 3, 1)

    def forward(self, z: Tensor) -> Tensor:
        """Latents [B, 16] -> images."""
        style = self.mapping(F.normalize(z, dim=1))
        x = self.first(self.constant.expand(len(z), -1, -1, -1), style)
        return self.colours(self.second(F.interpolate(x, scale_factor=2.0), style))


class Variational(nn.Module):
    """A variational autoencoder (Kingma and Welling 2013), by its mean."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Sequential(activated(3, 8, 3, 2), activated(8, 16, 3, 2), nn.Flatten(), nn.Linear(16 * 16, 16))
        self.decode = nn.Sequential(
            nn.Linear(8, 256), nn.Unflatten(1, (16, 4, 4)), _enlarged(16, 8), nn.ConvTranspose2d(8, 3, 4, 2, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images -> images."""
        return self.decode(self.encode(x)[:, :8])


class Quantizing(nn.Module):
    """VQ-VAE (van den Oord et al. 2017): distances to a codebook by a product, the nearest code, a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.codebook = nn.Sequential(activated(3, 8, 3, 2), nn.Conv2d(8, 8, 1)), nn.Embedding(16, 8)
        self.decode = nn.ConvTranspose2d(8, 3, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Images -> images."""
        z = self.encode(x).permute(0, 2, 3, 1)
        codes = self.codebook.weight
        distance = z.square().sum(-1, keepdim=True) - 2 * z @ codes.T + codes.square().sum(1)
        return self.decode(self.codebook(distance.argmin(-1)).permute(0, 3, 1, 2))


class MaskedConvolution(nn.Conv2d):
    """PixelCNN's convolution (van den Oord et al. 2016): looks only up and left."""

    def forward(self, x: Tensor) -> Tensor:
        """As many places."""
        mask = torch.ones_like(self.weight)
        mask[:, :, self.kernel_size[0] // 2, self.kernel_size[1] // 2 :] = 0
        mask[:, :, self.kernel_size[0] // 2 + 1 :] = 0
        return F.conv2d(x, self.weight * mask, self.bias, self.stride, self.padding)


class Coupling(nn.Module):
    """Glow's step (Kingma and Dhariwal 2018): an invertible 1 x 1 convolution, and half that moves the other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Parameter(torch.linalg.qr(torch.randn(channels, channels))[0])
        self.net = nn.Sequential(
            nn.Conv2d(channels // 2, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, channels, 3, padding=1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """As many channels."""
        kept, moved = F.conv2d(x, self.mix[..., None, None]).chunk(2, 1)
        shift, scale = self.net(kept).chunk(2, 1)
        return torch.cat([kept, (moved + shift) * torch.sigmoid(scale + 2)], 1)


class Autoregressive(nn.Module):
    """MADE (Germain et al. 2015): linear layers with masks."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(12, 24), nn.Linear(24, 12)])
        order, hidden = torch.arange(12), torch.arange(24) % 11
        self.register_buffer("first", (hidden[:, None] >= order).float())
        self.register_buffer("second", (order[:, None] > hidden).float())

    def forward(self, x: Tensor) -> Tensor:
        """Vectors [B, 12] -> logits."""
        y = F.relu(F.linear(x, self.layers[0].weight * self.first, self.layers[0].bias))
        return F.linear(y, self.layers[1].weight * self.second, self.layers[1].bias)


class Capsules(nn.Module):
    """Capsules with dynamic routing (Sabour et al. 2017), all in einsums."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 16, 5, 2))
        self.weight = nn.Parameter(torch.randn(25 * 4, 5, 6, 4) / 8)

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, 3, 32, 32] -> lengths of 5 capsules."""
        lower = F.normalize(self.features(x).unflatten(1, (4, 4)).permute(0, 1, 3, 4, 2).flatten(1, 3), dim=-1)
        votes = torch.einsum("bic,iodc->biod", lower, self.weight)
        logits = torch.zeros(votes.shape[:3])
        for _ in range(3):
            sums = torch.einsum("bio,biod->bod", logits.softmax(-1), votes)
            norm = sums.norm(dim=-1, keepdim=True)
            out = sums * norm / (1 + norm.square())
            logits = logits + torch.einsum("biod,bod->bio", votes, out)
        return out.norm(dim=-1)


class Stylised(nn.Module):
    """Neural style's loss (Gatys et al. 2015): Gram matrices of features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([activated(3, 8), activated(8, 16, 3, 2)])

    def forward(self, x: Tensor) -> Tensor:
        """Images -> Gram matrices, side by side."""
        grams = []
        for layer in self.layers:
            x = layer(x)
            rows = x.flatten(2)
            grams.append((torch.bmm(rows, rows.mT) / rows.shape[-1]).flatten(1))
        return torch.cat(grams, 1)


def _of(module: Callable[[], nn.Module], *shape: int) -> tuple[nn.Module, Any]:
    return module(), torch.randn(shape)


def _masked_pixels() -> nn.Module:
    layers = [
        MaskedConvolution(3, 8, 5, padding=2),
        nn.ReLU(),
        MaskedConvolution(8, 8, 3, padding=1),
        nn.Conv2d(8, 6, 1),
    ]
    return nn.Sequential(*layers)


ARCHITECTURES = [
    Architecture(name=name, family="generative", make=functools.partial(_of, module, *shape))
    for name, module, shape in [
        ("DCGAN", _generator, (2, 16)),
        ("SNGAN's discriminator", _discriminator, (2, 3, 16, 16)),
        ("CycleGAN", _translator, (2, 3, 16, 16)),
        ("StyleGAN 2", StyleGenerator, (2, 16)),
        ("VAE", Variational, (2, 3, 16, 16)),
        ("VQ-VAE", Quantizing, (2, 3, 16, 16)),
        ("PixelCNN", _masked_pixels, (2, 3, 12, 12)),
        ("Glow", lambda: nn.Sequential(nn.PixelUnshuffle(2), Coupling(12), Coupling(12)), (2, 3, 16, 16)),
        ("MADE", Autoregressive, (4, 12)),
        ("Capsule network", Capsules, (2, 3, 32, 32)),
        ("Neural style", Stylised, (2, 3, 16, 16)),
    ]
]
