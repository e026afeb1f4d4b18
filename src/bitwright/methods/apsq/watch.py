"""What the steps of a product would store: peaks of tiles and running sums, and squared errors of storing them."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats import Quantized, Rounding
from bitwright.methods.apsq.layouts import operands, padded
from bitwright.methods.apsq.rule import PartialSums
from bitwright.methods.apsq.sums import CHUNK
from bitwright.methods.kernels import use_torch_threads
from bitwright.methods.products import FLOAT32_LIMIT, accumulator_bound, reduction_length
from bitwright.networks.calls import Call

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.generic]
Number = np.float32 | np.float64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watched:
    """One execution of a site.

    Attributes
    ----------
    call : Call
        The product.
    x, w : Quantized
        Its codes.
    rows : int
        How many rows of each group are looked at, evenly spaced.
    """

    call: Call
    x: Quantized
    w: Quantized
    rows: int

    def tiles(self, tile: int) -> int:
        """Of its reduction."""
        return -(-reduction_length(self.call) // tile)


def step_peaks(watched: Watched, tile: int) -> Floats:
    """Largest |T_i| and largest |T_0 + .. + T_i| [2, tiles]."""
    from bitwright.methods.apsq import kernels

    found = []
    for x, zero_point, w in _products(watched, tile):
        of_tile, of_sum = (np.empty((len(x) * x.shape[1], x.shape[2] // _width(tile)), w.dtype) for _ in range(2))
        kernels.peaks(x, zero_point, w, _width(tile), of_tile, of_sum)
        found.append(np.stack([of_tile.max(0), of_sum.max(0)]))
    return np.max(found, axis=0).astype(np.float64)


def step_errors(watched: Watched, rule: PartialSums, scales: Floats) -> Floats:
    """Sums of squared errors of storing T_i and T_0 + .. + T_i by each of `scales` [2, tiles, candidates]; likewise."""
    from bitwright.methods.apsq import kernels

    width, total = _width(rule.tile), np.zeros(scales.shape)
    for x, zero_point, w in _products(watched, rule.tile):
        number: type[Number] = w.dtype.type
        squares = np.empty((len(x) * x.shape[1], *scales.shape), w.dtype)
        half = number(0.5 if rule.rounding is Rounding.HALF_UP else 0)
        limits = half, number(rule.low), number(rule.high)
        tried: npt.NDArray[Any] = scales.astype(number)
        kernels.errors(x, zero_point, w, width, tried, 1 / tried, *limits, squares)
        total += squares.sum(0, dtype=np.float64)
    return total


def _width(tile: int) -> int:
    return -(-tile // CHUNK) * CHUNK


def _products(watched: Watched, tile: int) -> Iterator[tuple[Ints, Number, npt.NDArray[Any]]]:
    """x [groups, rows, tiles * width], its zero point, and w [groups, tiles * width, n] of every block of rows."""
    call, x, w = watched.call, watched.x, watched.w
    bound = accumulator_bound(reduction_length(call), x, w)
    dtype = torch.float32 if bound < FLOAT32_LIMIT else torch.float64
    use_torch_threads()
    for each in operands(call, x, w):
        weights = each.w.t().unsqueeze(-1) if each.depthwise else each.w
        carried = padded(weights.to(dtype).cpu(), axis=1, tile=tile, chunk=CHUNK, value=0).numpy()
        for block in each.x:
            rows = block.permute(2, 0, 1) if each.depthwise else block
            step = max(1, rows.shape[1] // watched.rows)
            codes = padded(rows[:, ::step].cpu(), axis=2, tile=tile, chunk=CHUNK, value=x.zero_point)
            yield codes.numpy(), carried.dtype.type(x.zero_point), carried
