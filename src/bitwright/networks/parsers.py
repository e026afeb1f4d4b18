"""Parsers: what torch's product functions mean as a `GemmView`.

Each reads the arguments of one function (or operator of torch's dispatcher) of a known form; None means that it is no
product that can be a site: operands that are no floats, or nothing to reduce (k = 1, outer products such as those of
rotary position tables). Composites, which are several products, are in `bitwright.networks.composites`.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from bitwright.networks.view import Arrangement, Extents, GemmView, output_size, taps_of, windows_of

aten = torch.ops.aten
FIRST = {"input", "self", "mat1", "batch1", "mat"}
"""What torch's functions call the first operand; the second is `other`, `mat2`, `vec`, ..."""
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


class Known(NamedTuple):
    """What a tensor is known by offline: the parameter that it views and which part, or itself."""

    tensor: torch.Tensor | None = None
    part: str = ""


Owner = Callable[[torch.Tensor], Known]
Parser = Callable[..., GemmView | None]


def parse(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], owner: Owner) -> GemmView | None:
    """The product that torch function or operator `func` computes with these arguments, or None if it is no site."""
    parser = PARSERS.get(IN_PLACE.get(func, func))
    if parser is None:
        return None
    view = parser(owner, *args, **{key: value for key, value in kwargs.items() if key != "out"})
    if view is None or view.x.dtype not in FLOATS or view.w.dtype not in FLOATS:
        return None
    return None if not view.spatial and view.k == 1 else view


def matrix_product(owner: Owner, x: torch.Tensor, w: torch.Tensor, **others: Any) -> GemmView:
    """x [..., K] by w [N, K], all rows by one matrix."""
    known = owner(w)
    op = "linear" if known.tensor is not None else "matmul"
    return GemmView(op=op, x=x, w=w, weight=known.tensor, part=known.part, **others)


def grouped_product(owner: Owner, x: torch.Tensor, w: torch.Tensor, **others: Any) -> GemmView:
    """x [*groups, M, K] by w [*groups, N, K], whose groups broadcast."""
    known = owner(w)
    lead = torch.broadcast_shapes(x.shape[:-2], w.shape[:-2])
    return GemmView(
        op="matmul",
        x=x.expand(*lead, *x.shape[-2:]),
        w=w.expand(*lead, *w.shape[-2:]),
        lead=len(lead),
        weight=known.tensor,
        part=known.part,
        **others,
    )


def _linear(owner: Owner, input: Any, weight: Any, bias: Any = None) -> GemmView | None:  # noqa: A002
    view = _matmul(owner, input, weight) if weight.dim() == 1 else matrix_product(owner, input, weight)
    known = None if bias is None else owner(bias).tensor
    return view and dataclasses.replace(view, op="linear", bias=bias, bias_parameter=known)


def _product(owner: Owner, *operands: Any, **named: Any) -> GemmView | None:
    """Two matrices, stacks of them or vectors, whatever torch's functions call the second."""
    return _matmul(owner, *_in_order(operands, named))


def _in_order(operands: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
    """Two operands, in the order of the product however they were given."""
    return [*operands, *(named[name] for name in sorted(named, key=lambda name: name not in FIRST))]


def _matmul(owner: Owner, input: Any, other: Any) -> GemmView | None:  # noqa: A002
    if not input.dim() or not other.dim():
        return None
    if other.dim() == 1:  # rows by one column
        return _one_axis_less(_matmul(owner, input, other.unsqueeze(1)), -1)
    if input.dim() == 1:
        return _one_axis_less(_matmul(owner, input.unsqueeze(0), other), -2)
    if owner(input).tensor is not None and owner(other).tensor is None:
        return _weight_first(owner, input, other)
    if other.dim() == 2:
        return matrix_product(owner, input, other.t())
    return grouped_product(owner, input, other.transpose(-1, -2))


def _weight_first(owner: Owner, weight: torch.Tensor, x: torch.Tensor) -> GemmView:
    """weight [..., M, K] by x [..., K, N]: the product of its transpose, whose result is turned back."""
    columns, flat = x.transpose(-1, -2), weight.flatten(0, -2)
    if x.dim() == 2 and owner(flat).tensor is not None:  # all matrices of the weight are columns of one
        split = (len(columns), *weight.shape[:-1])
        view = matrix_product(owner, columns, flat)
        return dataclasses.replace(view, arrangement=Arrangement(split=split, order=(*range(1, len(split)), 0)))
    view = matrix_product(owner, columns, weight) if weight.dim() == 2 else grouped_product(owner, columns, weight)
    axes = len(view.output_shape)
    return dataclasses.replace(view, arrangement=Arrangement(order=(*range(axes - 2), axes - 1, axes - 2)))


def _one_axis_less(view: GemmView | None, axis: int) -> GemmView | None:
    """A product with a vector, whose result has no axis for it."""
    if view is None:
        return None
    shape = list(view.network_shape)
    del shape[axis]
    return dataclasses.replace(view, arrangement=dataclasses.replace(view.arrangement, shape=tuple(shape)))


def _reversed_matmul(owner: Owner, input: Any, other: Any) -> GemmView | None:  # noqa: A002
    return _matmul(owner, other, input)


def _added(
    owner: Owner,
    input: Any,  # noqa: A002
    *operands: Any,
    beta: float = 1,
    alpha: float = 1,
    **named: Any,
) -> GemmView | None:
    """beta * input + alpha * first @ second: mm, bmm and mv with something added."""
    first, second = _in_order(operands, named)
    view = _matmul(owner, first, second)
    if view is None or not alpha:
        return None
    bias = input if beta == 1 else input * beta
    known = owner(input).tensor if beta == 1 else None
    bias = bias.unsqueeze(-1) if second.dim() == 1 and bias.dim() else bias
    if view.arrangement.order is not None:
        split = view.arrangement.split or view.output_shape
        bias = view.output(bias.expand([split[axis] for axis in view.arrangement.order]))
    return dataclasses.replace(view, bias=None if beta == 0 else bias, bias_parameter=known, alpha=float(alpha))


def _addbmm(owner: Owner, input: Any, batch1: Any, batch2: Any, **factors: float) -> GemmView | None:  # noqa: A002
    """Products that are added up too: one product whose reduction runs over all batches."""
    b, n, m = batch1.shape
    first, second = batch1.transpose(0, 1).reshape(n, b * m), batch2.reshape(b * m, -1)
    return _added(owner, input, first, second, **factors)


# ---------------- convolutions


def axes_of(value: Any, spatial: int) -> Extents:
    """A number, or one per spatial axis, as one per axis."""
    values = (value,) if isinstance(value, int) else tuple(int(each) for each in value)
    return values * spatial if len(values) == 1 else values


def _convolution(
    owner: Owner,
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> GemmView | None:
    spatial = weight.dim() - 2
    x = input if input.dim() == weight.dim() else input.unsqueeze(0)
    stride, dilation = axes_of(stride, spatial), axes_of(dilation, spatial)
    if isinstance(padding, str):
        taps = [int(size) if padding == "same" else 1 for size in weight.shape[2:]]
        total = [d * (size - 1) for d, size in zip(dilation, taps, strict=True)]
        if any(each % 2 for each in total):  # the odd pixel goes to the end
            x = F.pad(x, [side for each in reversed(total) for side in (0, each % 2)])
        padding = tuple(each // 2 for each in total)
    padding = axes_of(padding, spatial)
    known, lead = owner(weight), int(groups > 1)
    windows = output_size(x.shape[2:], weight.shape[2:], stride, padding, dilation)
    images = (len(x),) if input.dim() == weight.dim() else ()
    return GemmView(
        op=f"conv{spatial}d",
        x=windows_of(x, groups),
        w=taps_of(weight, groups),
        source=input,
        lead=lead,
        stride=stride,
        padding=padding,
        dilation=dilation,
        bias=None if bias is None else bias.view(groups, *[1] * (spatial + 1), -1) if lead else bias,
        weight=known.tensor,
        part=known.part,
        bias_parameter=None if bias is None else owner(bias).tensor,
        arrangement=Arrangement(
            order=(1, 0, spatial + 2, *range(2, spatial + 2)) if lead else (0, spatial + 1, *range(1, spatial + 1)),
            shape=(*images, len(weight), *windows),
        ),
    )


def _aten_convolution(
    owner: Owner,
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    output_padding: Any,  # noqa: ARG001
    groups: int,
    *_: Any,
) -> GemmView | None:
    return None if transposed else _convolution(owner, input, weight, bias, stride, padding, dilation, groups)


def _time_first(owner: Owner, input: Any, weight: Any, bias: Any, pad: int = 0) -> GemmView | None:  # noqa: A002
    """conv_tbc: x [T, B, C] by w [taps, C, N], y [T, B, N]."""
    view = _convolution(owner, input.permute(1, 2, 0), weight.permute(2, 1, 0), bias, 1, pad)
    return view and dataclasses.replace(view, arrangement=Arrangement(order=(1, 0, 2)))


# ---------------- contractions


def contraction(
    owner: Owner, first: torch.Tensor, second: torch.Tensor, axes: tuple[str, str], result: str
) -> GemmView | None:
    """Two tensors whose axes are named by letters, multiplied and added up over those that `result` lacks.

    Axes that both and the result have are groups; a first operand that is a parameter is w. None where an axis of one
    operand alone is summed, an operand has an axis twice, or nothing is reduced.
    """
    if any(len(set(each)) != len(each) for each in (*axes, result)):
        return None
    if owner(first).tensor is not None and owner(second).tensor is None:
        first, second, axes = second, first, axes[::-1]
    of_x, of_w = axes
    sizes: dict[str, int] = {}
    for a, n in (*zip(of_x, first.shape, strict=True), *zip(of_w, second.shape, strict=True)):
        sizes[a] = n if sizes.get(a, 1) == 1 else sizes[a]  # an axis of 1 broadcasts
    both = [a for a in of_x if a in of_w]
    groups, reduced = [a for a in both if a in result], [a for a in both if a not in result]
    rows, columns = [a for a in of_x if a not in both], [a for a in of_w if a not in both]
    if not reduced or any(a not in result for a in (*rows, *columns)):
        return None

    def arranged(tensor: torch.Tensor, own: str, middle: list[str], *, merged: bool) -> torch.Tensor:
        order = (*groups, *middle, *reduced)
        tensor = tensor.permute([own.index(a) for a in order]).expand([sizes[a] for a in order])
        extents = [math.prod(sizes[a] for a in middle)] if merged else [sizes[a] for a in middle]
        return tensor.reshape([*(sizes[a] for a in groups), *extents, math.prod(sizes[a] for a in reduced)])

    x = arranged(first, of_x, rows, merged=bool(groups))
    w = arranged(second, of_w, columns, merged=True)
    known = owner(second)
    named = [*groups, *rows, *columns]
    return GemmView(
        op="linear" if known.tensor is not None and not groups else "matmul",
        x=x,
        w=w,
        lead=len(groups),
        weight=known.tensor,
        part=known.part,
        arrangement=Arrangement(
            split=tuple(sizes[a] for a in named), order=tuple(named.index(a) for a in result) if named else None
        ),
    )


def _einsum(owner: Owner, equation: Any, *operands: Any) -> GemmView | None:
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = tuple(operands[0])
    if not isinstance(equation, str) or len(operands) != 2:
        return None
    inputs, arrow, result = equation.replace(" ", "").partition("->")
    terms = inputs.split(",")
    spare = [chr(0x100 + i) for i in range(8)]  # letters for the axes of an ellipsis, aligned at its end
    extra = [operands[i].dim() - len(terms[i].replace("...", "")) for i in (0, 1)]
    terms = [terms[i].replace("...", "".join(spare[8 - extra[i] :])) for i in (0, 1)]
    longest = "".join(spare[8 - max(extra) :])
    if not arrow:  # what occurs once, in alphabetical order
        letters = inputs.replace("...", "").replace(",", "")
        result = "..." * ("..." in inputs) + "".join(sorted(a for a in set(letters) if letters.count(a) == 1))
    return contraction(owner, *operands, (terms[0], terms[1]), result.replace("...", longest))


def _tensordot(owner: Owner, a: Any, b: Any, dims: Any = 2) -> GemmView | None:
    if isinstance(dims, torch.Tensor):
        dims = dims.tolist()
    if isinstance(dims, int):
        dims = (list(range(a.dim() - dims, a.dim())), list(range(dims)))
    first, second = ([each] if isinstance(each, int) else list(each) for each in dims)
    names = [chr(0x100 + i) for i in range(a.dim())]
    others = [chr(0x200 + i) for i in range(b.dim())]
    for i, j in zip(first, second, strict=True):
        others[j] = names[i]
    shared = {names[i] for i in first}
    result = "".join(letter for letter in (*names, *others) if letter not in shared)
    return contraction(owner, a, b, ("".join(names), "".join(others)), result)


def _inner(owner: Owner, input: Any, other: Any) -> GemmView | None:  # noqa: A002
    if not input.dim() or not other.dim():
        return None
    return _tensordot(owner, input, other, ([input.dim() - 1], [other.dim() - 1]))


_T = torch.Tensor
_FORMS: dict[Parser, tuple[Any, ...]] = {
    _linear: (F.linear, aten.linear.default),
    _convolution: (F.conv1d, F.conv2d, F.conv3d),
    _aten_convolution: (aten.convolution.default, aten._convolution.default, aten.convolution_overrideable.default),
    _product: (
        *(torch.mm, _T.mm, aten.mm.default, torch.bmm, _T.bmm, aten.bmm.default, torch.matmul, _T.matmul),
        *(_T.__matmul__, torch.linalg.matmul, aten.matmul.default, torch.mv, _T.mv, aten.mv.default),
        *(torch.dot, _T.dot, aten.dot.default, torch.vdot, _T.vdot, aten.vdot.default),
    ),
    _reversed_matmul: (_T.__rmatmul__,),
    _added: (
        *(torch.addmm, _T.addmm, aten.addmm.default, torch.baddbmm, _T.baddbmm, aten.baddbmm.default),
        *(torch.addmv, _T.addmv, aten.addmv.default),
    ),
    _addbmm: (torch.addbmm, _T.addbmm, aten.addbmm.default),
    _time_first: (torch.conv_tbc, aten.conv_tbc.default),
    _einsum: (torch.einsum,),
    _tensordot: (torch.tensordot,),
    _inner: (torch.inner, _T.inner),
}
PARSERS: dict[Any, Parser] = {func: parser for parser, functions in _FORMS.items() for func in functions}
IN_PLACE: dict[Any, Any] = {  # functions that write what they add to, and the same without
    _T.addmm_: torch.addmm,
    aten.addmm_.default: torch.addmm,
    _T.baddbmm_: torch.baddbmm,
    aten.baddbmm_.default: torch.baddbmm,
    _T.addmv_: torch.addmv,
    aten.addmv_.default: torch.addmv,
    _T.addbmm_: torch.addbmm,
    aten.addbmm_.default: torch.addbmm,
}
