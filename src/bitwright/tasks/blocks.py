"""Statistics per block of neighbouring tokens, which stand in for samples of language.

Neighbouring tokens share their context, so their errors correlate and resampling single tokens would make
intervals too narrow; a handful of whole windows is too few to resample. Statistics are kept for blocks of 32
consecutive tokens, and what is resampled where nothing says which tokens are of one document is 4 such blocks, 128
tokens (a block bootstrap, Künsch 1989). Both are our choice, between too few units and units that are not independent:
over 8,192 tokens of WikiText-2 the standard error of what int8 with scales per token costs SmolLM2 grows by 3 % from
blocks of 32 to 128 tokens and not from there to 256; that of its noise grows by 37 % from 128 to 512, so that intervals
of an SQNR of text are too narrow still where documents are not known.
"""

from __future__ import annotations

import numpy as np

from bitwright.later import torch
from bitwright.tasks.statistics import Array

BLOCK = 32  # tokens
TOGETHER = 4  # blocks that are one unit
_AT_ONCE = 32  # positions in float64 at once: 13 MB for a vocabulary of 49,152


def named(window: int) -> tuple[str, str]:
    """What the units of windows of so many tokens are, one and several.

    Examples
    --------
    >>> named(512), named(64)[1]
    (('block of 128 tokens', 'blocks of 128 tokens'), 'blocks of 64 tokens')
    """
    tokens = min(BLOCK * TOGETHER, window)
    return f"block of {tokens} tokens", f"blocks of {tokens} tokens"


def block_sums(statistics: Array, *, block: int = BLOCK) -> Array:
    """Sums over blocks of positions: [B, T, columns] -> [B * ceil(T / block), columns]; the last block may be short."""
    sums = np.add.reduceat(statistics, np.arange(0, statistics.shape[1], block), axis=1)
    return sums.reshape(-1, statistics.shape[2])


def positions_at_once(length: int) -> list[slice]:
    """Slices that cover `length` positions, few enough at once to compute in float64."""
    return [slice(start, min(start + _AT_ONCE, length)) for start in range(0, length, _AT_ONCE)]


def powers(output: torch.Tensor, reference: torch.Tensor) -> Array:
    """The powers of the signal and of the noise [P, 2] of outputs [P, C] beside the float network's."""
    parts = []
    for some in positions_at_once(len(output)):
        y_q, y = float64(output[some]), float64(reference[some])
        parts.append(torch.stack([y.square().sum(dim=1), (y_q - y).square().sum(dim=1)], dim=1))
    return torch.cat(parts).cpu().numpy()


def divergences(output: torch.Tensor, reference: torch.Tensor) -> Array:
    """KL divergence [P, 1] in nats from the softmax of the float network's logits [P, C] to that of `output`."""
    parts = []
    for some in positions_at_once(len(output)):
        log_q, log_p = float64(output[some]).log_softmax(dim=1), float64(reference[some]).log_softmax(dim=1)
        parts.append(kl_divergence(log_p, log_q)[:, None])
    return torch.cat(parts).cpu().numpy()


def kl_divergence(log_p: torch.Tensor, log_q: torch.Tensor) -> torch.Tensor:
    """Of distributions [P, C] by their logarithms: [P] nats, at least 0."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=1).clamp_min(0)


def float64(tensor: torch.Tensor) -> torch.Tensor:
    """The same values in float64, on the CPU where the device has no float64."""
    tensor = tensor.detach()
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
