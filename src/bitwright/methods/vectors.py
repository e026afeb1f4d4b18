"""Which slice vectors of an execution can be skipped: what bit-slice machines need to know of the codes.

A vector is four high-order slices at one k: of four consecutive rows m of x (1 x 4 in Panacea's notation, recollected),
or of four consecutive columns n of w (4 x 1). It is skipped if every slice is the frequent one: r of an unsigned
activation with a zero point, 0 of signed slices. That is a condition on codes (an interval of them), so no slices are
made. Rows and columns that fill up the last vector count as skipped; so do padded pixels, whose code is the zero point.

The reduction axis of a convolution runs over the kernel's positions, channels innermost, as execution expands it.
Twin: `reference_masks`.
"""

from __future__ import annotations

import dataclasses

from bitwright.formats import (
    SLICED_WIDTHS,
    Integer,
    Quantized,
    SlicedUnsigned,
    frequent_slice,
    slice_window,
    zero_window,
)
from bitwright.later import torch
from bitwright.networks import windows
from bitwright.networks.sites import ConvGeometry, Site

VECTOR = 4
DEFAULT_SPLIT = 4

Window = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class VectorMasks:
    """Skipped vectors, True where skipped.

    Attributes
    ----------
    x : torch.Tensor
        bool [groups, ceil(m / 4), k].
    w : torch.Tensor
        bool [groups, ceil(n / 4), k].
    """

    x: torch.Tensor
    w: torch.Tensor

    @property
    def x_rate(self) -> float:
        """Share of x's vectors that is skipped, 0 .. 1."""
        return share(self.x)

    @property
    def w_rate(self) -> float:
        """Share of w's vectors that is skipped, 0 .. 1."""
        return share(self.w)


def share(mask: torch.Tensor) -> float:
    """Share of a mask that is True, 0 .. 1, from an exact count."""
    return int(mask.count_nonzero()) / mask.numel()


def sliceable(fmt: Integer) -> bool:
    """Whether codes of this format are made of 4-bit slices: unsigned 8-bit, or signed of 3n + 4 bits."""
    return fmt.bits in SLICED_WIDTHS if fmt.signed else fmt.bits == 8


def split_of(fmt: Integer) -> int:
    """Where unsigned codes are cut: at 4 unless the format says otherwise."""
    return fmt.split if isinstance(fmt, SlicedUnsigned) else DEFAULT_SPLIT


def skipped_window(fmt: Integer, zero_point: int = 0) -> Window:
    """The codes whose high-order slice is the skipped one."""
    if fmt.signed:
        return zero_window(fmt.bits)
    split = split_of(fmt)
    return slice_window(frequent_slice(zero_point, split), split)


def vector_masks(site: Site, x: Quantized, w: Quantized) -> VectorMasks:
    """The masks of one execution of a site."""
    return VectorMasks(
        x=x_mask(site, x, skipped_window(x.integer, x.zero_point)),
        w=w_mask(site, w, skipped_window(w.integer, w.zero_point)),
    )


def x_mask(site: Site, x: Quantized, window: Window) -> torch.Tensor:
    """bool [groups, ceil(m / 4), k]: vectors of x whose four codes all lie in `window`."""
    from bitwright.methods import vector_kernels

    if site.conv is None:
        return vector_kernels.row_vectors(x.codes.reshape(site.groups, site.m, site.k), window)
    inside = vector_kernels.inside(pixels(site, x.codes), window)
    return vector_kernels.patch_vectors(inside, site.conv, site.groups)


def w_mask(site: Site, w: Quantized, window: Window) -> torch.Tensor:
    """bool [groups, ceil(n / 4), k]: vectors of w whose four codes all lie in `window`."""
    from bitwright.methods import vector_kernels

    return vector_kernels.row_vectors(w.codes.reshape(site.groups, site.n, site.k), window)


def pixels(site: Site, of_x: torch.Tensor) -> torch.Tensor:
    """What is laid out as a convolution's x, with the channels of all groups last: [images, *size, channels]."""
    return of_x.movedim(0, -2).flatten(-2) if site.groups > 1 else of_x


def reference_masks(site: Site, x: Quantized, w: Quantized) -> VectorMasks:
    """The same the obvious way: expand, cut into slices, compare. Slow, and large for convolutions."""
    rows = x.codes.to(torch.int64)
    if site.conv is not None:
        rows = _expanded(site.conv, pixels(site, rows), x.zero_point).unflatten(-1, (site.groups, -1))
        rows = rows.movedim(-2, 0)  # group, pixel, kernel position, channel
    rows = rows.reshape(site.groups, site.m, site.k)
    columns = w.codes.to(torch.int64).reshape(site.groups, site.n, site.k)
    return VectorMasks(x=_all_of_four(rows, x), w=_all_of_four(columns, w))


def _expanded(conv: ConvGeometry, codes: torch.Tensor, padding: int) -> torch.Tensor:
    """[pixels, kernel positions, channels]: what every output reads of [images, *size, channels]."""
    codes = windows.padded(codes, conv, padding)
    return torch.stack([codes[read].flatten(0, -2) for _, read in windows.taps(conv)], 1)


def _all_of_four(rows: torch.Tensor, operand: Quantized) -> torch.Tensor:
    from bitwright.formats import signed_slices, unsigned_slices

    fmt = operand.integer
    if fmt.signed:
        frequent = signed_slices(rows, fmt.bits)[-1] == 0
    else:
        high, _ = unsigned_slices(rows, split_of(fmt))
        frequent = high == frequent_slice(operand.zero_point, split_of(fmt))
    groups, count, k = frequent.shape
    filled = torch.cat([frequent, torch.ones(groups, -count % VECTOR, k, dtype=torch.bool)], dim=1)
    return filled.view(groups, -1, VECTOR, k).all(2)
