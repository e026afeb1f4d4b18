"""QuantizeLinear, and QONNX's Quant, by scales that the graph computes: max |x| of each row, by the largest code.

Whether a graph computes just that is told by what its nodes give for probes, not by how they are written: zeros,
subnormal numbers, and numbers of every order of magnitude.
"""

import math
from typing import TYPE_CHECKING

import torch

from bitwright.networks.onnx.node import Node, integers_of
from bitwright.networks.onnx.operators.table import OPERATORS
from bitwright.networks.onnx.quantization.grids import Rows
from bitwright.networks.onnx.quantization.moves import Sizes, sizes_after

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder

ELEMENTWISE = frozenset({"Cast", "Clip", "Div", "Greater", "Max", "Mul", "Unsqueeze", "Where"})
MOST_NODES = 16  # between a maximum and a scale
SMALLEST = torch.finfo(torch.float32).tiny
PROBES = torch.cat(
    (torch.tensor([0.0, 1.0, 1e-45, SMALLEST, 2e-38, 1e-36, 127.0, 3e38]), torch.logspace(-30, 30, 57) * 1.37)
)


class _UnlikeError(Exception):
    """A scale that is computed in another way."""


def row_scale(peak: torch.Tensor, largest: int) -> torch.Tensor:
    """Scales of rows by their max |x|; 1 where a row is all zeros."""
    return torch.where(peak > 0, (peak / largest).clamp_min(SMALLEST), torch.ones_like(peak))


def rows_of(builder: "Builder", node: Node, sizes: Sizes | None, width: tuple[int, bool]) -> Rows | None:
    """What a QuantizeLinear or Quant of a tensor [rows, elements] makes, by a scale of each row; None for any other.

    Parameters
    ----------
    builder : Builder
        Of the graph.
    node : Node
        Whose scale is computed.
    sizes : tuple of int or None
        Of what it makes, where the file says them.
    width : tuple of int and bool
        Bits of its codes at most, and whether they are signed.
    """
    zero, (bits, signed) = builder.constant(node, 2), width
    if sizes is None or len(sizes) != 2 or 0 in sizes or zero is None or bool(zero.any()):
        return None
    passes = -(-len(PROBES) // sizes[0])
    probes = PROBES.repeat(-(-passes * sizes[0] // len(PROBES)))[: passes * sizes[0]]
    try:
        scales = torch.cat([_scale(builder, node, each) for each in probes.split(sizes[0])])
    except _UnlikeError:
        return None
    largest = int((1 / scales[1]).round()) if float(scales[1]) > 2**-17 else 0  # the second probe is 1
    own = (largest + 1).bit_length() - 1 + int(signed)
    if not 2 <= own <= bits or largest != 2 ** (own - int(signed)) - 1:
        return None
    if not torch.equal(scales, row_scale(probes, largest)):
        return None
    return Rows(bits=own, signed=signed, count=sizes[0], length=sizes[1], sizes=sizes, axis=1)


def _scale(builder: "Builder", node: Node, peaks: torch.Tensor) -> torch.Tensor:
    """The scale that the graph computes where max |x| of the rows are `peaks`."""
    left, known = [MOST_NODES], dict[str, torch.Tensor]()

    def value(name: str) -> torch.Tensor | None:
        if not name or name in builder.constants:
            return builder.constants.get(name)
        if name not in known:
            index = builder.made_by.get(name)
            left[0] -= 1
            if index is None or left[0] < 0:
                raise _UnlikeError
            known[name] = of(builder.nodes[index])
        return known[name]

    def of(made: Node) -> torch.Tensor:
        if made.op == "ReduceMax" and not made.domain:
            _check_peak(builder, made, node.inputs[0])
            return peaks
        if made.domain or made.op not in ELEMENTWISE:
            raise _UnlikeError
        result: torch.Tensor = OPERATORS["", made.op](made, *map(value, made.inputs))
        return result

    found = value(node.inputs[1])
    along_rows = found is not None and found.shape in (peaks.shape, (len(peaks), 1))
    if found is None or not along_rows or found.dtype != torch.float32:
        raise _UnlikeError
    return found.reshape(-1)


def _check_peak(builder: "Builder", node: Node, x: str) -> None:
    """Refuse what is no maximum of |x| along the second axis."""
    axes, index = builder.constant(node, 1), builder.made_by.get(node.inputs[0])
    chosen = node.integers("axes") if axes is None else integers_of(axes)
    magnitude = None if index is None else builder.nodes[index]
    same = magnitude is not None and magnitude.op == "Abs" and not magnitude.domain and magnitude.inputs[:1] == (x,)
    if not same or chosen not in ([1], [-1]) or node.number("keepdims", 1):
        raise _UnlikeError


def rows_after(builder: "Builder", node: Node, rows: Rows) -> Rows | None:
    """The same rows in what a Reshape, Transpose or Slice makes of them; None where they are none any more."""
    rank = len(rows.sizes)
    if node.op == "Slice":
        return _sliced(builder, node, rows)
    after = sizes_after(node, rows.sizes, builder.constant(node, 1))
    if after is None or (rank > 2 and (node.op == "Reshape" or (rows.images and rows.axis != rank - 1))):
        return None
    if node.op == "Transpose":
        order = node.integers("perm") or list(reversed(range(rank)))
        return _as(rows, after, order.index(rows.axis))
    if rows.axis != 1 or not after:
        return None
    if after[-1] % rows.length == 0 and after[-1]:
        return _as(rows, after, len(after) - 1)
    found = _as(rows, after, 1)
    return found if found.images else None


def _sliced(builder: "Builder", node: Node, rows: Rows) -> Rows | None:
    """Without what rows were filled up with: the first elements of the axis that they lie along."""
    given = [builder.constant(node, place) for place in (1, 2, 3)]
    if any(each is None or each.numel() != 1 for each in given):
        return None
    start, stop, axis = (int(each) for each in given if each is not None)
    step = builder.constant(node, 4)
    plain = start == 0 and 0 < stop <= rows.sizes[axis] if -len(rows.sizes) <= axis < len(rows.sizes) else False
    if not plain or axis % len(rows.sizes) != rows.axis or (step is not None and integers_of(step) != [1]):
        return None
    sizes = [stop if each == rows.axis else size for each, size in enumerate(rows.sizes)]
    return _as(rows, tuple(sizes), rows.axis)


def _as(rows: Rows, sizes: Sizes, axis: int) -> Rows:
    return Rows(bits=rows.bits, signed=rows.signed, count=rows.count, length=rows.length, sizes=sizes, axis=axis)


def as_last(rows: Rows) -> Rows | None:
    """Rows of the second operand of a product, whose last two axes change places; None where it has fewer."""
    rank = len(rows.sizes)
    if rank < 2 or math.prod(rows.sizes) == 0:
        return None
    sizes = (*rows.sizes[:-2], rows.sizes[-1], rows.sizes[-2])
    return _as(rows, sizes, {rank - 1: rank - 2, rank - 2: rank - 1}.get(rows.axis, rows.axis))
