"""One quantized operand as a graph of ONNX has it: what its codes are, and along which axis scales lie.

Weights are stored in the layout that ONNX's own operators read: [N, C, *kernel] of a convolution, [K, N] of a product,
so that DequantizeLinear feeds them directly; of a product with groups [groups * N, K], turned afterwards.
"""

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats import Integer, PerGroup, PerPosition, Quantized
from bitwright.methods.plan import OperandPlan
from bitwright.networks.view import GemmView

Array = npt.NDArray[Any]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Coded:
    """A quantized operand of the graph.

    Attributes
    ----------
    name : str
        In the file: `layer1.conv.x`, and with a number where the site runs again.
    format : Integer
        Of the codes.
    zero_point : int
        The code of real zero.
    scale : array or None
        float32: a scalar, one per element of `axis`, or with `block` one per block along `axis` and element of the
        other axis; None: an input of the operator, one per row, computed as the network runs.
    axis, block : int
        Where scales lie; a `block` of 0 is none.
    codes : array or None
        Of weights, as stored.
    shape : tuple of int
        Of an activation as it is quantized; with scales of the run time, [rows, elements].
    """

    name: str
    format: Integer
    zero_point: int = 0
    scale: Array | None = None
    axis: int = 0
    block: int = 0
    codes: Array | None = None
    shape: tuple[int, ...] = ()

    def spread_scale(self, rank: int) -> Array:
        """A static scale that broadcasts to an operand of `rank` axes; in blocks, to stored codes."""
        assert self.scale is not None
        if self.block:
            assert self.codes is not None
            return self.scale.repeat(self.block, self.axis).take(range(self.codes.shape[self.axis]), self.axis)
        shape = [1] * rank
        if self.scale.ndim:
            shape[self.axis] = len(self.scale)
        return self.scale.reshape(shape if self.scale.ndim else ())

    def reals(self) -> Array:
        """What stored codes stand for, float32."""
        assert self.codes is not None
        centred = self.codes.astype(np.float32) - np.float32(self.zero_point)
        reals: Array = centred * self.spread_scale(self.codes.ndim)
        return reals.astype(np.float32)


def stored(view: GemmView, w: Quantized, name: str) -> Coded:
    """A weight's codes and scales, in the layout of the graph.

    Codes of w are [*groups, columns, *kernel, channels], as its view has them.
    """
    axis, block, scale = 0, 0, _columns(view, w)
    if view.spatial:
        codes = view.filters(w.codes)
    elif not view.lead:
        codes, axis = w.codes.t(), 1
        if isinstance(w.granularity, PerGroup):
            axis, block, scale = 0, w.granularity.size, w.scale.t()
    else:
        codes = w.codes.reshape(view.groups * view.n, -1)
    narrow = torch.int8 if w.integer.signed else torch.uint8
    return Coded(
        name=name,
        format=w.integer,
        zero_point=w.zero_point,
        scale=_array(scale.float()),
        axis=axis,
        block=block,
        codes=_array(codes.to(narrow if w.integer.bits <= 8 else torch.int32)),
    )


def from_stored(view: GemmView, weight: torch.Tensor) -> torch.Tensor:
    """A stored weight as the second factor of a matrix product: [K, N], or [*groups, K, N]."""
    if not view.lead:
        return weight
    lead = [int(size) for size in view.x.shape[: view.lead]]
    return weight.reshape(*lead, int(view.n), -1).transpose(-1, -2)


def images_of(view: GemmView, x: torch.Tensor) -> torch.Tensor:
    """x of a convolution as the network has it where it passed such a tensor: [images, channels, *size]."""
    if x is view.x and view.source is not None and view.source.dim() == view.spatial + 2:
        batch, channels = math.prod(view.rows), view.groups * view.channels
        if tuple(view.source.shape) == (batch, channels, *view.size):
            return view.source
    return view.images(x)


def static_scale(operand: OperandPlan, shape: tuple[int, ...]) -> tuple[Array, tuple[int, ...] | None]:
    """A static scale for a tensor of `shape` that is quantized as the network runs.

    Where there are several, the tensor is first brought to a shape whose first axis they lie along: onnxruntime fuses a
    DequantizeLinear of several scales into a product of run-time operands, which it then refuses to run.

    Returns
    -------
    tuple
        A scalar, or one scale per element of the first axis, and that shape; None: the tensor's own.
    """
    assert operand.scale is not None
    if isinstance(operand.granularity, PerPosition):
        rows, first = (shape[-2] if len(shape) > 2 else 1), operand.granularity.first
        if rows == 1:
            return _array(operand.usual_scale.reshape(())), None
        per_row = operand.scale[torch.where(torch.arange(rows) < first, 0, 1)].expand(shape[:-1])
        return _array(per_row.reshape(-1)), (math.prod(shape[:-1]), shape[-1])
    if operand.scale.numel() == 1:
        return _array(operand.scale.reshape(())), None
    sizes = (1,) * (len(shape) - operand.scale.dim()) + tuple(operand.scale.shape)
    last = max(axis for axis, size in enumerate(sizes) if size > 1) + 1
    spread = operand.scale.reshape(sizes[:last]).expand(shape[:last]).reshape(-1)
    return _array(spread), (math.prod(shape[:last]), math.prod(shape[last:]))


def _columns(view: GemmView, w: Quantized) -> torch.Tensor:
    """Scales of all columns of all groups, or one."""
    if w.scale.numel() == 1:
        return w.scale.reshape(())
    if isinstance(w.granularity, PerGroup):
        return w.scale
    return w.scale.expand(*w.codes.shape[: view.lead + 1], *[1] * len(view.column_axes)).reshape(-1)


def _array(tensor: torch.Tensor) -> Array:
    return np.ascontiguousarray(tensor.detach().cpu().numpy()).reshape(tuple(tensor.shape))
