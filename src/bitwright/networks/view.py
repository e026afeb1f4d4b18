"""One view of a product: whatever the network called, a grouped GEMM over windows of x, in the operands' own storage.

    y[g, r, o, n] = alpha * sum of x[g, r, o * stride + t * dilation - padding, c] * w[g, n, t, c] over t and c

x has axes (*groups, *rows, *size, channels), w (*groups, columns, *kernel, channels) and y (*groups, *rows, *output,
columns). A linear layer has no groups and no spatial axes, a product of batched matrices groups, a convolution one to
three spatial axes, and one axis of groups where it is grouped. x and w are views of what the network passed, so that
nothing is expanded: rows of pixels are made block by block where they are multiplied (`bitwright.methods.layouts`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from bitwright.later import functional as F
from bitwright.later import torch
from bitwright.networks.sites import ConvGeometry, Site

if TYPE_CHECKING:
    from bitwright.networks.deferred import Deferred

Extents = tuple[int, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrangement:
    """How a network lays out a result: y split into more axes, these in another order, and that in another shape.

    Attributes
    ----------
    split : tuple of int or None
        Sizes of the axes that y's are split into; None: y's own.
    order : tuple of int or None
        Of those axes in the network's result; None: as they are.
    shape : tuple of int or None
        Of the network's result; None: what the above gives.
    """

    split: Extents | None = None
    order: Extents | None = None
    shape: Extents | None = None

    def network(self, y: torch.Tensor) -> torch.Tensor:
        """y as the network expects it."""
        y = y if self.split is None else y.reshape(self.split)
        y = y if self.order is None else y.permute(self.order)
        return y if self.shape is None else y.reshape(self.shape)

    def view(self, result: torch.Tensor, shape: Extents) -> torch.Tensor:
        """The network's result as y, of `shape`."""
        if self.order is not None:
            split = self.split or shape
            result = result.reshape([split[axis] for axis in self.order])
            result = result.permute([self.order.index(axis) for axis in range(len(split))])
        return result.reshape(shape)


AS_IT_IS = Arrangement()


@dataclasses.dataclass(frozen=True, kw_only=True)
class GemmView:
    """One product, as the module's docstring writes it.

    Attributes
    ----------
    op : str
        What a site calls it: linear, conv1d, conv2d, conv3d, matmul, attention_qk, attention_pv.
    x, w : torch.Tensor
        Operands [*groups, *rows, *size, channels] and [*groups, columns, *kernel, channels].
    lead : int
        How many axes of groups there are.
    stride, padding, dilation : tuple of int
        Of the windows, per spatial axis; empty where there are none. Padding is at both ends.
    bias : torch.Tensor or None
        Added to the product; broadcastable to y.
    alpha : float
        What the product is multiplied by.
    weight : torch.Tensor or None
        What w is known by offline, if it is: the parameter that it views, or itself where it was computed from
        parameters alone.
    part : str
        Which part of `weight` w is, as an index: `[3]`; empty: all of it.
    bias_parameter : torch.Tensor or None
        The parameter that is the bias, if one is.
    shared : int
        How many groups share one w (grouped-query attention, expanded operands).
    causal : bool
        Of attention_pv: x is 0 above the diagonal, because no token looks at a later one.
    arrangement : Arrangement
        Of the network's result.
    compute : callable or None
        What the network would have computed, in its own layout; None: the product of x and w in float.
    source : torch.Tensor or None
        The very tensor that the network passed, where x is a view of it.
    pending : Deferred or None
        What x is a view of, where its values are yet to be computed: whoever reads x fills it before.
    defers : bool
        y may be a `Deferred`.
    """

    op: str
    x: torch.Tensor
    w: torch.Tensor
    lead: int = 0
    stride: Extents = ()
    padding: Extents = ()
    dilation: Extents = ()
    bias: torch.Tensor | None = None
    alpha: float = 1.0
    weight: torch.Tensor | None = None
    part: str = ""
    bias_parameter: torch.Tensor | None = None
    shared: int = 1
    causal: bool = False
    arrangement: Arrangement = AS_IT_IS
    compute: Callable[[], torch.Tensor] | None = None
    source: torch.Tensor | None = None
    pending: Deferred | None = None
    defers: bool = False

    # ---------------- shape

    @property
    def spatial(self) -> int:
        """How many spatial axes the windows have."""
        return len(self.stride)

    @property
    def plain(self) -> bool:
        """Whether it is one matrix product: rows of x by all of w."""
        return not self.lead and not self.spatial

    @property
    def depthwise(self) -> bool:
        """Whether each group has windows of one channel and one filter."""
        return bool(self.spatial and self.lead and self.channels == self.n == 1)

    @property
    def channels(self) -> int:
        """Channels of each group."""
        return self.x.shape[-1]

    @property
    def n(self) -> int:
        """Columns of w in each group."""
        return self.w.shape[self.lead]

    @functools.cached_property
    def kernel(self) -> Extents:
        """Taps of a window, per spatial axis."""
        return tuple(self.w.shape[self.lead + 1 : -1])

    @functools.cached_property
    def k(self) -> int:
        """How many products are added up per output."""
        return math.prod(self.kernel) * self.channels

    @functools.cached_property
    def groups(self) -> int:
        """Independent products."""
        return math.prod(self.x.shape[: self.lead])

    @functools.cached_property
    def rows(self) -> Extents:
        """Sizes of the axes of rows (images, where there are spatial axes)."""
        return tuple(self.x.shape[self.lead : self.x.dim() - 1 - self.spatial])

    @functools.cached_property
    def size(self) -> Extents:
        """Extents of x's spatial axes."""
        return tuple(self.x.shape[self.x.dim() - 1 - self.spatial : -1])

    @functools.cached_property
    def output_size(self) -> Extents:
        """Extents of the output's spatial axes, in pixels."""
        return output_size(self.size, self.kernel, self.stride, self.padding, self.dilation)

    @functools.cached_property
    def output_shape(self) -> Extents:
        """Of y."""
        return (*self.x.shape[: self.lead], *self.rows, *self.output_size, self.n)

    @property
    def network_shape(self) -> Extents:
        """Of the network's result."""
        made = self.arrangement
        split = made.split or self.output_shape
        return made.shape or (split if made.order is None else tuple(split[axis] for axis in made.order))

    @property
    def row_axes(self) -> Extents:
        """Axes of x whose elements share a scale taken from one token: its row, or the whole image."""
        if not self.spatial:
            return (-1,)
        return (*range(self.lead), *range(self.x.dim() - 1 - self.spatial, self.x.dim()))

    @property
    def column_axes(self) -> Extents:
        """Axes of w whose elements share the scale of a column."""
        return tuple(range(self.lead + 1, self.w.dim()))

    # ---------------- arrangement of tensors that belong to it

    def columns(self, per_column: torch.Tensor) -> torch.Tensor:
        """What broadcasts to w with one element per column at most (its scale), broadcastable to y."""
        if per_column.dim() == 0:
            return per_column
        shape = (*[1] * (self.w.dim() - per_column.dim()), *per_column.shape)
        between = [1] * (len(self.rows) + self.spatial) if self.lead else []
        return per_column.reshape(*shape[: self.lead], *between, shape[self.lead])

    def pixels(self, of_x: torch.Tensor) -> torch.Tensor:
        """What is laid out as x (or y) is, with the channels of all groups last: [images, *size, groups * channels]."""
        return of_x.permute(*range(1, of_x.dim() - 1), 0, -1).flatten(-2) if self.lead else of_x

    def from_pixels(self, pixels: torch.Tensor) -> torch.Tensor:
        """The reverse of `pixels`."""
        if not self.lead:
            return pixels
        split = pixels.view(*pixels.shape[:-1], self.groups, pixels.shape[-1] // self.groups)
        return split.permute(-2, *range(split.dim() - 2), -1)

    def images(self, x: torch.Tensor) -> torch.Tensor:
        """x as torch's convolutions take it: [images, channels of all groups, *size]."""
        channels_first = x.movedim(-1, self.lead + 1)
        return _plainly_strided(channels_first.transpose(0, 1).flatten(1, 2) if self.lead else channels_first)

    def filters(self, w: torch.Tensor) -> torch.Tensor:
        """w as torch's convolutions take it: [columns of all groups, channels, *kernel]."""
        channels_first = w.movedim(-1, self.lead + 1)
        return _plainly_strided(channels_first.flatten(0, 1) if self.lead else channels_first)

    def result(self, y: torch.Tensor) -> torch.Tensor:
        """y in the network's own layout."""
        return self.arrangement.network(y)

    def output(self, result: torch.Tensor) -> torch.Tensor:
        """The network's result as y."""
        return self.arrangement.view(result, self.output_shape)

    # ---------------- arithmetic in float

    def product(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """The bare product y of operands that replace this view's own, by torch, without alpha and bias."""
        if not self.spatial:
            return torch.matmul(x, w.transpose(-1, -2)) if self.lead else F.linear(x, w)
        found = convolution(self.spatial)(
            self.images(x), self.filters(w), None, self.stride, self.padding, self.dilation, self.groups
        )
        return self.from_pixels(found.movedim(1, -1))

    def add_bias(self, y: torch.Tensor) -> torch.Tensor:
        """`y` plus the bias, in place where autograd allows."""
        if self.bias is None:
            return y
        return y + self.bias if y.requires_grad or self.bias.requires_grad else y.add_(self.bias)

    def float_result(self) -> torch.Tensor:
        """What the network would have computed, in its own layout."""
        if self.compute is not None:
            return self.compute()
        return self.finished(self.product(self.x, self.w))

    def finished(self, y: torch.Tensor) -> torch.Tensor:
        """The network's result from the bare product y: times alpha, plus the bias, in the network's own layout."""
        return self.result(self.add_bias(y if self.alpha == 1 else y * self.alpha))

    # ---------------- as others see it

    def site(self, name: str) -> Site:
        """The site of this view's shape."""
        m = math.prod(self.rows) * math.prod(self.output_size)
        reads = self.groups * m * self.k
        return Site(
            name=name,
            op=self.op,
            m=m,
            k=self.k,
            n=self.n,
            groups=self.groups,
            x_elements=min(_distinct_elements(self.x), reads),
            w_elements=_distinct_elements(self.w) // self.shared,
            static_weight=self.weight is not None,
            conv=self._geometry() if self.spatial else None,
        )

    def _geometry(self) -> ConvGeometry:
        return ConvGeometry(
            kernel=self.kernel,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            channels=self.groups * self.channels,
            input_size=self.size,
            output_size=self.output_size,
        )


def _plainly_strided(tensor: torch.Tensor) -> torch.Tensor:
    """A contiguous tensor with usual strides of axes of size 1 too, by which torch's convolutions guess a layout."""
    return tensor.flatten().view(tensor.shape) if tensor.is_contiguous() else tensor


def convolution(spatial: int) -> Callable[..., torch.Tensor]:
    """Torch's convolution over that many axes."""
    found: tuple[Callable[..., torch.Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
    return found[spatial - 1]


def output_size(size: Extents, kernel: Extents, stride: Extents, padding: Extents, dilation: Extents) -> Extents:
    """How many windows fit, per spatial axis."""
    axes = zip(size, kernel, stride, padding, dilation, strict=True)
    return tuple((n + 2 * pad - apart * (taps - 1) - 1) // step + 1 for n, taps, step, pad, apart in axes)


def windows_of(images: torch.Tensor, groups: int) -> torch.Tensor:
    """x of [images, channels of all groups, *size], a view."""
    batch, channels, *size = images.shape
    if groups == 1:
        return images.permute(0, *range(2, images.dim()), 1)
    split = images.view(batch, groups, channels // groups, *size)
    return split.permute(1, 0, *range(3, split.dim()), 2)


def taps_of(filters: torch.Tensor, groups: int) -> torch.Tensor:
    """w of [columns of all groups, channels, *kernel], a view."""
    columns, *rest = filters.shape
    if groups == 1:
        return filters.permute(0, *range(2, filters.dim()), 1)
    split = filters.view(groups, columns // groups, *rest)
    return split.permute(0, 1, *range(3, split.dim()), 2)


def distinct(w: torch.Tensor) -> torch.Tensor:
    """`w` without the repetitions of its broadcast axes, which have one place each."""
    return w[tuple(slice(None if step else 1) for step in w.stride())]


def _distinct_elements(tensor: torch.Tensor) -> int:
    """The elements of `distinct`."""
    sizes = zip(tensor.shape, tensor.stride(), strict=True)
    return math.prod(size if step else min(size, 1) for size, step in sizes)


def by_column(w: torch.Tensor, lead: int) -> tuple[torch.Tensor, torch.Size]:
    """`w` [*groups, columns, ..] as rows [groups * columns, elements], and the shape that has one place for each."""
    shape = torch.Size([*w.shape[: lead + 1], *[1] * (w.dim() - lead - 1)])
    return w.reshape(shape.numel(), -1), shape
