"""Images made from a network alone: noise is moved until the network's batch norms see what they saw in training.

Source: Cai et al., "ZeroQ", CVPR 2020, section 3.1, and Yin et al., "Dreaming to Distill" (DeepInversion), CVPR 2020,
section 3.2: gradient descent on pixels to match the mean and the variance of every batch norm's input with its running
ones, with a total-variation prior. Our choices: the distance is the divergence of two normal distributions, in which
every channel weighs the same whatever its scale; the beginning is noise with the 1/f spectrum and the correlated
colours of photographs; and a few steps at the network's own size, because ranges settle within them.

Shapes: images [B, 3, H, W] as the network's preprocessing makes them, of pixels between its black and its white.
"""

import contextlib
import math
from collections.abc import Iterator

import torch
from PIL import Image

from bitwright.errors import InputError
from bitwright.methods.progress import report
from bitwright.networks.network import Batch, Network
from bitwright.tasks.inputs import image_inputs

STEPS = 16  # our choice, as all below
RATE = 0.05  # of Adam at the first step, in units of half the pixels' range; it falls to 0 by a cosine
TOTAL_VARIATION = 0.01  # weight of the prior beside a divergence in nats per channel
CONTRAST = 0.5  # deviation of the noise in the beginning, in units of half the pixels' range
COLOURS = 0.8  # correlation of red, green and blue in it
TOGETHER = 16  # images whose statistics are matched at once

Statistics = list[tuple[torch.nn.BatchNorm2d, torch.Tensor]]


def distilled_images(
    network: Network, *, count: int, seed: int, batch_size: int, steps: int = STEPS
) -> Iterator[Batch]:
    """`count` images, made 16 at once and given `batch_size` at once; the same ones for the same seed.

    Raises
    ------
    InputError
        A network without batch norms over images or whose preprocessing makes no pictures.
    """
    name, first = next(iter(image_inputs(network, [_flat(0)]).items()))
    black, white = (next(iter(image_inputs(network, [_flat(level)]).values())) for level in (0, 255))
    if first.dim() != 4 or not batch_norms(network.module):
        raise InputError(
            f"{network.name} has no batch norms over images, so there are no statistics to make images from; name "
            "another source of calibration images"
        )
    made: list[torch.Tensor] = []
    for start in range(0, count, TOGETHER):
        generator = torch.Generator().manual_seed(seed * 1_000_003 + start)
        together = min(TOGETHER, count - start)
        made.append(_distilled(network, name, black, white, together, generator, steps, (start, count)))
    images = torch.cat(made)
    yield from ({name: part} for part in images.split(batch_size))


def batch_norms(module: torch.nn.Module | None) -> list[torch.nn.BatchNorm2d]:
    """Those with statistics of their own."""
    every = module.modules() if module is not None else ()
    return [each for each in every if isinstance(each, torch.nn.BatchNorm2d) and each.running_mean is not None]


def divergence(statistics: Statistics) -> torch.Tensor:
    """Of the batch norms' inputs [B, C, H, W] from what they saw in training: nats per channel, mean over batch norms.

    Both are taken for normal: (r + (m - mean)^2 / variance - 1 - ln r) / 2, r being the ratio of the variances.
    """
    each = []
    for norm, x in statistics:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        variance, mean = torch.var_mean(x.float(), dim=(0, 2, 3), correction=0)
        expected = norm.running_var.float() + norm.eps
        ratio = (variance + norm.eps) / expected
        each.append(((ratio + (mean - norm.running_mean.float()).square() / expected - 1 - ratio.log()) / 2).mean())
    return torch.stack(each).mean()


@contextlib.contextmanager
def listening(module: torch.nn.Module) -> Iterator[Statistics]:
    """Within this, every pass adds each batch norm and its input to the list."""
    heard: Statistics = []
    hooks = [
        norm.register_forward_pre_hook(lambda norm, given: heard.append((norm, given[0])))
        for norm in batch_norms(module)
    ]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def total_variation(images: torch.Tensor) -> torch.Tensor:
    """Mean absolute difference of neighbouring pixels, of rows and of columns."""
    return images.diff(dim=-1).abs().mean() + images.diff(dim=-2).abs().mean()


def pink_noise(shape: torch.Size, generator: torch.Generator) -> torch.Tensor:
    """Noise [B, C, H, W] with deviation 1, amplitudes that fall as 1 / frequency, and correlated channels."""
    height, width = shape[-2:]
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None])
    frequency[0, 0] = math.inf  # the mean is 0
    spectrum = torch.fft.rfft2(torch.randn(shape, generator=generator)) / frequency
    noise = torch.fft.irfft2(spectrum, s=(height, width))
    noise = noise / noise.std(dim=(-2, -1), keepdim=True).clamp_min(torch.finfo(noise.dtype).tiny)
    mixed = torch.full((shape[1], shape[1]), COLOURS).fill_diagonal_(1.0)
    return torch.einsum("ij,bjhw->bihw", torch.linalg.cholesky(mixed), noise)


def _distilled(
    network: Network,
    name: str,
    black: torch.Tensor,
    white: torch.Tensor,
    count: int,
    generator: torch.Generator,
    steps: int,
    place: tuple[int, int],
) -> torch.Tensor:
    """Images [count, C, H, W] between `black` and `white` [1, C, H, W]."""
    middle, half = (black + white) / 2, (white - black) / 2
    noise = CONTRAST * pink_noise(torch.Size((count, *black.shape[1:])), generator)
    pixels = noise.to(black.device).requires_grad_(True)  # in single precision, whatever the network computes in
    optimiser = torch.optim.Adam([pixels], lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, max(1, steps))
    module = network.module
    assert module is not None
    with torch.enable_grad(), listening(module) as heard, network.undisturbed():
        for step in range(steps):
            report("images from batch norms", place[0] * steps + step * count, place[1] * steps)
            heard.clear()
            network.run(module, {name: (middle + half * pixels.tanh()).to(black.dtype)})
            loss = divergence(heard) + TOTAL_VARIATION * total_variation(pixels.tanh())
            (pixels.grad,) = torch.autograd.grad(loss, [pixels])  # of the pixels alone: weights keep none
            optimiser.step()
            schedule.step()
    return (middle + half * pixels.detach().tanh()).to(black.dtype)


def _flat(level: int) -> Image.Image:
    """A picture of one grey, large enough for any preprocessing to cut from."""
    return Image.new("RGB", (512, 512), (level,) * 3)
