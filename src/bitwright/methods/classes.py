"""Classes of a product: which of its rows and columns are narrow, where precision goes by sub-tensors.

The reduction is cut into blocks, within which a row of x has one precision, and a column of w too. So each block is a
product of four classes, wide or narrow rows by wide or narrow columns, and how many of each there are is all that a
machine needs to know. A convolution has blocks for every position of its kernel, and a row there is the pixel that an
output reads at this position; padding is zero and counts as narrow.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from bitwright.errors import InputError
from bitwright.formats import Quantized
from bitwright.later import torch
from bitwright.methods.plan import SitePlan
from bitwright.methods.rules import SubTensors
from bitwright.methods.vectors import pixels
from bitwright.networks import windows
from bitwright.networks.sites import ConvGeometry, Site

WIDE_BITS, NARROW_BITS = 8, 4
PAIRS = ((WIDE_BITS, WIDE_BITS), (WIDE_BITS, NARROW_BITS), (NARROW_BITS, WIDE_BITS), (NARROW_BITS, NARROW_BITS))
"""Bits of (x, w) in the four classes."""

IntArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classes:
    """How many rows and columns of a product are narrow.

    Attributes
    ----------
    m, n : int
        Rows of x and columns of w in each group.
    k : IntArray
        Length of each block of the reduction [blocks].
    m_narrow, n_narrow : IntArray
        Narrow rows and narrow columns [groups, blocks].
    x_narrow, w_narrow : float
        Share of the operand's distinct elements that are narrow, 0 .. 1.
    paired : bool
        Narrow rows meet all columns narrow, and wide rows all of them wide (DRQ): `n_narrow` counts for nothing.
    """

    m: int
    n: int
    k: IntArray
    m_narrow: IntArray
    n_narrow: IntArray
    x_narrow: float
    w_narrow: float
    paired: bool = False

    @property
    def parts(self) -> Iterator[tuple[tuple[int, int], IntArray, IntArray]]:
        """Per class: bits of x and w, rows [groups, blocks] and columns [groups, blocks]."""
        rows = {WIDE_BITS: self.m - self.m_narrow, NARROW_BITS: self.m_narrow}
        if self.paired:
            every = np.full_like(self.m_narrow, self.n)
            return ((pair, rows[pair[0]], every * (pair[0] == pair[1])) for pair in PAIRS)
        columns = {WIDE_BITS: self.n - self.n_narrow, NARROW_BITS: self.n_narrow}
        return ((pair, rows[pair[0]], columns[pair[1]]) for pair in PAIRS)

    @property
    def macs(self) -> Mapping[tuple[int, int], int]:
        """Multiply-accumulates of each class, over all groups and blocks."""
        return {pair: int((rows * columns * self.k).sum()) for pair, rows, columns in self.parts}


def classes_of(site: Site, plan: SitePlan, x: Quantized | None, w: Quantized | None) -> Classes:
    """The classes of one execution of a site.

    Without codes (shapes only) they are as the precision rule's shares `x_share` and `w_share` state, alike in all
    blocks of the rule; where it has none of w, w goes with x. Under a static rule an operand is narrow if its format
    has at most 4 bits.

    Raises
    ------
    InputError
        If a stated share is not 0 to 1.
    """
    if x is not None and x.shifts is not None:
        return _counted(site, x.shifts, None if w is None else w.shifts)
    rule = plan.precision if isinstance(plan.precision, SubTensors) else SubTensors()
    is_stated = rule.x_share is not None
    x_share, w_share = (
        float(bits <= NARROW_BITS) if share is None else share
        for share, bits in ((rule.x_share, plan.x_bits), (rule.w_share, plan.w_bits))
    )
    for share, value in (("x_share", x_share), ("w_share", w_share)):
        if not 0 <= value <= 1:
            raise InputError(f"{share} of the precision rule is a share of what is narrow, 0 to 1, and is {value:g}")
    positions = 1 if site.conv is None or not is_stated else math.prod(site.conv.kernel)
    size = block_size(site.k // positions, rule.block)
    lengths = [min(size, site.k // positions - start) for start in range(0, site.k // positions, size)] * positions
    paired = is_stated and rule.w_share is None
    shape = (site.groups, len(lengths))
    return Classes(
        m=site.m,
        n=site.n,
        k=np.array(lengths, dtype=np.int64),
        m_narrow=np.full(shape, round(x_share * site.m), dtype=np.int64),
        n_narrow=np.full(shape, 0 if paired else round(w_share * site.n), dtype=np.int64),
        x_narrow=x_share,
        w_narrow=0.0 if paired else w_share,
        paired=paired,
    )


def _counted(site: Site, x: torch.Tensor, w: torch.Tensor | None) -> Classes:
    """Counts of narrow sub-tensors; `x` and `w` as `Quantized.shifts` lays them out, w None if it goes with x."""
    x_narrow = x >= 0
    if site.conv is None:
        rows = x_narrow.reshape(site.groups, site.m, -1).sum(1)
        lengths = block_lengths(site.k, rows.shape[1])
    else:
        blocks, positions = x.shape[-1], math.prod(site.conv.kernel)
        rows = rows_read(pixels(site, x_narrow), site.conv)
        rows = rows.view(positions, site.groups, blocks).transpose(0, 1).flatten(1)
        lengths = block_lengths(site.conv.channels // site.groups, blocks) * positions
    columns = torch.zeros_like(rows) if w is None else (w >= 0).reshape(site.groups, site.n, -1).sum(1)
    return Classes(
        m=site.m,
        n=site.n,
        k=np.array(lengths, dtype=np.int64),
        m_narrow=rows.to(torch.int64).cpu().numpy(),
        n_narrow=columns.to(torch.int64).cpu().numpy(),
        x_narrow=int(x_narrow.count_nonzero()) / x.numel(),
        w_narrow=0.0 if w is None else int((w >= 0).count_nonzero()) / w.numel(),
        paired=w is None,
    )


def block_size(length: int, block: int) -> int:
    """Elements of the equal blocks, none longer than `block`, that `length` is cut into; 0: one block.

    Examples
    --------
    >>> block_size(300, 128), block_size(300, 0)
    (100, 300)
    """
    blocks = -(-length // block) if block else 1
    return -(-length // blocks)


def block_lengths(length: int, blocks: int) -> list[int]:
    """Lengths of so many equal blocks, the last of which may be shorter.

    Examples
    --------
    >>> block_lengths(100, 4)
    [25, 25, 25, 25]
    >>> block_lengths(70, 3)
    [24, 24, 22]
    """
    size = -(-length // blocks)
    return [min(size, length - start) for start in range(0, length, size)]


def rows_read(marked: torch.Tensor, conv: ConvGeometry) -> torch.Tensor:
    """Per position of the kernel, how many outputs read a marked pixel; padding is marked.

    Parameters
    ----------
    marked : torch.Tensor
        bool [images, *size, blocks].
    conv : ConvGeometry
        Where outputs read.

    Returns
    -------
    torch.Tensor
        int64 [positions, blocks].
    """
    padded = windows.padded(marked.to(torch.uint8), conv, 1)
    return torch.stack([padded[read].flatten(0, -2).sum(0, dtype=torch.int64) for _, read in windows.taps(conv)])
