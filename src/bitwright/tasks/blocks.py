"""Statistics per block of neighbouring tokens, which stand in for samples of language.

Neighbouring tokens share their context, so their errors correlate and resampling single tokens would make
intervals too narrow; a handful of whole windows is too few to resample. Blocks of 32 consecutive tokens are our
choice between the two (a block bootstrap, Künsch 1989).
"""

import numpy as np
import torch

from bitwright.tasks.statistics import Array

BLOCK = 32  # tokens
_AT_ONCE = 32  # positions in float64 at once: 13 MB for a vocabulary of 49,152


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


def float64(tensor: torch.Tensor) -> torch.Tensor:
    """The same values in float64, on the CPU where the device has no float64."""
    tensor = tensor.detach()
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()
