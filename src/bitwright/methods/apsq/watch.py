"""What the steps of a product would store: peaks of tiles and running sums, and squared errors of storing them."""

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats import Quantized, Rounding, largest_magnitude
from bitwright.formats.lookup_kernels import use_torch_threads
from bitwright.methods.apsq.rule import PartialSums
from bitwright.methods.apsq.sums import CHUNK
from bitwright.methods.layouts import operands, padded
from bitwright.methods.products import FLOAT32_LIMIT
from bitwright.networks.view import GemmView

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.generic]
Number = np.float32 | np.float64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watched:
    """One execution of a site.

    Attributes
    ----------
    view : GemmView
        The product.
    x, w : Quantized
        Its codes.
    rows : int
        How many rows of each group, and of each block of images, are looked at, evenly spaced.
    """

    view: GemmView
    x: Quantized
    w: Quantized
    rows: int

    def tiles(self, tile: int) -> int:
        """Of its reduction."""
        return -(-self.view.k // tile)


def channel_sums(watched: Watched) -> tuple[Floats, int]:
    """Sum of the codes of each channel of x [channels], and of how many."""
    codes = watched.x.codes.double()
    codes = watched.view.pixels(codes) if watched.view.spatial else codes
    rows = codes.reshape(-1, codes.shape[-1])
    return rows.sum(0).cpu().numpy(), len(rows)


def step_peaks(watched: Watched, rule: PartialSums) -> Floats:
    """Largest |T_i| and largest |T_0 + .. + T_i| [2, tiles]."""
    from bitwright.methods.apsq import kernels

    found, width = [], _width(rule.tile)
    for x, centres, w in _products(watched, rule):
        of_tile, of_sum = (np.empty((len(x) * x.shape[1], x.shape[2] // width), w.dtype) for _ in range(2))
        kernels.peaks(x, centres, w, width, of_tile, of_sum)
        found.append(np.stack([of_tile.max(0), of_sum.max(0)]))
    return np.max(found, axis=0).astype(np.float64)


def step_errors(watched: Watched, rule: PartialSums, scales: Floats) -> Floats:
    """Sums of squared errors of storing T_i and T_0 + .. + T_i by each of `scales` [2, tiles, candidates]; likewise."""
    from bitwright.methods.apsq import kernels

    width, total = _width(rule.tile), np.zeros(scales.shape)
    for x, centres, w in _products(watched, rule):
        number: type[Number] = w.dtype.type
        squares = np.empty((len(x) * x.shape[1], *scales.shape), w.dtype)
        half = number(0.5 if rule.rounding is Rounding.HALF_UP else 0)
        limits = half, number(rule.low), number(rule.high)
        tried: npt.NDArray[Any] = scales.astype(number)
        kernels.errors(x, centres, w, width, tried, 1 / tried, *limits, squares)
        total += squares.sum(0, dtype=np.float64)
    return total


def _width(tile: int) -> int:
    return -(-tile // CHUNK) * CHUNK


def _products(watched: Watched, rule: PartialSums) -> Iterator[tuple[Ints, npt.NDArray[Any], npt.NDArray[Any]]]:
    """x [groups, rows, tiles * width], its centres [groups, tiles * width], w [groups, tiles * width, n], by blocks."""
    view, x, w = watched.view, watched.x, watched.w
    bound = view.k * (x.integer.high - x.integer.low) * largest_magnitude(w.integer, w.zero_point)
    dtype = torch.float32 if bound < FLOAT32_LIMIT else torch.float64
    fill = functools.partial(padded, tile=rule.tile, chunk=CHUNK)
    use_torch_threads()
    for each in operands(view, x, w, rule.centres):
        weights, centres = each.w, each.centres
        if each.depthwise:
            weights, centres = weights.t().unsqueeze(-1), centres.t()
        carried = fill(weights.to(dtype).cpu(), axis=1).numpy()
        middle = fill(centres.to(dtype), axis=1).numpy()
        for block in each.x:
            rows = block.permute(2, 0, 1) if each.depthwise else block
            step = -(-rows.shape[1] // watched.rows)
            yield fill(rows[:, ::step].cpu(), axis=2).numpy(), middle, carried
