"""Integer sites: operands to codes, the exact product, and the epilogue y = s_x * s_w * acc + bias in float32.

`exact_gemm` multiplies integers; `fast_gemm` multiplies the same codes as float32. Both round alike in the epilogue, so
that they agree bit for bit unless a float32 sum had to round (|partial sum| > 2**24).
"""

import dataclasses
from collections.abc import Callable

import torch
import torch.nn.functional as F

from bitwright.errors import InputError
from bitwright.formats import Integer, PerChannel, PerGroup, PerPosition, PerToken, PerTokenRange, Quantized
from bitwright.methods import kernels
from bitwright.methods.integer.pending import PendingSums, can_wait
from bitwright.methods.integer.scales import row_ranges, symmetric_scale
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.products import column_sums, integer_product
from bitwright.networks.deferred import Deferred
from bitwright.networks.view import GemmView

Sums = Callable[[GemmView, Quantized, Quantized], torch.Tensor]


def encode_x(view: GemmView, plan: SitePlan) -> Quantized:
    """Codes of x: static scale and zero point from the plan, or scaled by the token (row; image of a convolution)."""
    operand = _need(plan.x)
    if view.pending is not None:
        quantized = _encode_pending(view, view.pending, operand)
        if quantized is not None:
            return quantized
        view.pending.fill()
    if isinstance(operand.granularity, PerTokenRange):
        return _encode_ranges(view, operand)
    return _encode(view.x, operand, view.row_axes)


def encode_w(view: GemmView, plan: SitePlan) -> Quantized:
    """Codes of w by the plan's scales; a w that is scaled at run time has one scale per column (output channel)."""
    operand = _need(plan.w)
    quantized = _encode(view.w, operand, view.column_axes)
    if view.weight is None or operand.format.bits > 8 or isinstance(operand.granularity, PerGroup):
        return quantized
    quantized = dataclasses.replace(quantized, codes=quantized.codes.to(torch.int8))
    return dataclasses.replace(quantized, sums=column_sums(view, quantized))


def exact_gemm(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """y from exact integer sums, float32."""
    if _in_groups(x, w):
        return _grouped(with_dropped_mean(view, x, w), x, w, integer_product)
    return finish(view, integer_product(view, x, w), x, w)


def finish(view: GemmView, sums: torch.Tensor, x: Quantized, w: Quantized) -> torch.Tensor:
    """y from sums of products of centred codes, in its output layout; int32 sums may be overwritten.

    Where the view defers, its values may wait in the sums.

    Raises
    ------
    InputError
        If the weights are scaled in groups, whose sums have scales of their own.
    """
    if _in_groups(x, w):
        raise InputError(
            "sums over groups have a scale for each group, so that their partial sums cannot be quantized as one; "
            "use --option w_granularity=channel, and x_granularity=tensor or token"
        )
    return _epilogue(with_dropped_mean(view, x, w), sums, x, w)


def fast_gemm(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """y from float32 sums of the same codes."""
    view = with_dropped_mean(view, x, w)
    if isinstance(x.granularity, PerGroup):
        return _grouped(view, x, w, lambda view, x, w: view.product(x.centred(), w.centred()))
    if isinstance(w.granularity, PerGroup):
        return view.add_bias(view.product(x.centred(), w.dequantize()) * (x.scale * view.alpha))
    return _epilogue(view, view.product(x.centred(), w.centred()), x, w)


def output_step(view: GemmView, x: Quantized, w: Quantized) -> torch.Tensor:
    """alpha * s_x * s_w, broadcastable to y: what 1 in the accumulator is worth."""
    if _in_groups(x, w):
        of_x = x.scale.amin(-1, keepdim=True) if isinstance(x.granularity, PerGroup) else x.scale
        of_w = w.scale.abs().amin(-1, keepdim=True) if isinstance(w.granularity, PerGroup) else w.scale
        return of_x * view.columns(of_w) * abs(view.alpha)
    return x.scale * _column_scale(view, w)


def with_dropped_mean(view: GemmView, x: Quantized, w: Quantized) -> GemmView:
    """The view with a bias that makes up for dropped bits: their mean times the sum of each output's weights.

    It is one constant per output, as hardware would have it, so at the borders of a convolution it counts for padded
    pixels too.
    """
    if not x.dropped_mean:
        return view
    sums = column_sums(view, w).reshape(*w.codes.shape[: view.lead + 1], *[1] * len(view.column_axes))
    constant = view.columns(sums) * (x.scale * _column_scale(view, w) * x.dropped_mean)
    return dataclasses.replace(view, bias=constant if view.bias is None else view.bias + constant)


def _column_scale(view: GemmView, w: Quantized) -> torch.Tensor:
    """alpha * s_w, broadcastable to y."""
    scale = view.columns(w.scale)
    return scale if view.alpha == 1 else scale * view.alpha


def _in_groups(x: Quantized, w: Quantized) -> bool:
    """Whether sums of parts of the reduction have scales of their own."""
    return isinstance(x.granularity, PerGroup) or isinstance(w.granularity, PerGroup)


def _need(operand: OperandPlan | None) -> OperandPlan:
    assert operand is not None, "a float32 operand has no codes"
    return operand


def _encode(tensor: torch.Tensor, operand: OperandPlan, axes: tuple[int, ...]) -> Quantized:
    if isinstance(operand.granularity, PerGroup):
        return _encode_groups(tensor, operand, operand.granularity.size)
    if operand.scale is None:
        scale = _row_scale(tensor, operand.integer, axes)
    elif isinstance(operand.granularity, PerPosition):
        scale = operand.by_row(operand.scale, tensor)
    else:
        scale = operand.scale.to(tensor.device)
    return Quantized(
        codes=_codes(tensor, operand, scale),
        format=operand.format,
        scale=scale,
        zero_point=operand.zero_point,
        granularity=operand.granularity,
        dropped_mean=operand.dropped_mean,
    )


def _encode_pending(view: GemmView, pending: Deferred, operand: OperandPlan) -> Quantized | None:
    """Codes of x straight from the sums that it is to be computed from; None where its values are needed."""
    scale, recipe = operand.scale, pending.recipe
    if not isinstance(recipe, PendingSums) or scale is None or scale.numel() != 1:
        return None
    if isinstance(operand.granularity, PerGroup) or not kernels.can_encode(view.x, operand.integer, scale):
        return None
    return Quantized(
        codes=recipe.codes(view.x, operand.integer, scale, operand.zero_point),
        format=operand.format,
        scale=scale,
        zero_point=operand.zero_point,
        granularity=operand.granularity,
        dropped_mean=operand.dropped_mean,
    )


def _codes(tensor: torch.Tensor, operand: OperandPlan, scale: torch.Tensor) -> torch.Tensor:
    """Integers as int8 or uint8 where the one-pass kernel applies, else carried in float32."""
    if kernels.can_encode(tensor, operand.integer, scale):
        return kernels.encode(tensor, operand.integer, scale, operand.zero_point)
    return operand.integer.encode(tensor.float() / scale, operand.zero_point, overwrite=True)


def _row_scale(tensor: torch.Tensor, fmt: Integer, axes: tuple[int, ...]) -> torch.Tensor:
    low, high = tensor.amin(dim=axes, keepdim=True), tensor.amax(dim=axes, keepdim=True)
    return symmetric_scale(torch.maximum(high, -low).float(), fmt)


def _encode_ranges(view: GemmView, operand: OperandPlan) -> Quantized:
    """Codes of x whose rows have a scale and a zero point each."""
    if not view.plain:
        raise InputError(
            f"rows of x have zero points of their own in linear layers, and this site is {view.op}; give it "
            "x_granularity=token"
        )
    fmt, x = operand.integer, view.x.float()
    scale, zero_points = row_ranges(x, fmt)
    codes = fmt.encode(x / scale, zero_points, overwrite=True)
    return Quantized(
        codes=codes.to(torch.uint8) if fmt.bits <= 8 else codes,
        format=fmt,
        scale=scale,
        offsets=zero_points.to(torch.int32),
        granularity=operand.granularity,
    )


def _encode_groups(tensor: torch.Tensor, operand: OperandPlan, size: int) -> Quantized:
    """Codes of `tensor` [..., K] whose blocks of `size` elements have a scale each, the plan's or from the data."""
    k = tensor.shape[-1]
    if operand.scale is None:
        blocks = F.pad(tensor.float(), (0, -k % size)).unflatten(-1, (-1, size))
        scale = symmetric_scale(blocks.abs().amax(-1), operand.integer)
    else:
        scale = operand.scale.to(tensor.device)
    steps = _less_minimum(tensor, operand) / scale.repeat_interleave(size, dim=-1)[..., :k]
    codes = operand.integer.encode(steps.float(), operand.zero_point, overwrite=True)
    narrow = torch.int8 if operand.integer.signed else torch.uint8
    codes = codes.to(narrow) if operand.format.bits <= 8 else codes
    return Quantized(
        codes=codes,
        format=operand.format,
        scale=scale,
        zero_point=operand.zero_point,
        granularity=operand.granularity,
        minimum=None if operand.minimum is None else operand.minimum.to(tensor.device),
    )


def _less_minimum(tensor: torch.Tensor, operand: OperandPlan) -> torch.Tensor:
    """A tensor less the minima of its groups, in float64 where there are any: a sum that float32 rounded."""
    if operand.minimum is None or not isinstance(operand.granularity, PerGroup):
        return tensor.float()
    spread = operand.minimum.to(tensor.device).double().repeat_interleave(operand.granularity.size, dim=-1)
    return tensor.double() - spread[..., : tensor.shape[-1]]


def _epilogue(view: GemmView, acc: torch.Tensor, x: Quantized, w: Quantized) -> torch.Tensor:
    """One scale of x is multiplied into those of w beforehand; scales per token follow as a second factor."""
    tokens = isinstance(
        x.granularity, PerToken | PerTokenRange | PerPosition
    )  # however many there are: the same roundings in any batch
    if acc.dtype == torch.int32 and acc.device.type == "cpu" and (view.spatial or not view.lead):
        return _epilogue_in_place(view, acc, x, w, tokens=tokens)
    y = acc.to(torch.float32).mul_(_column_scale(view, w) if tokens else output_step(view, x, w))
    return view.add_bias(y.mul_(x.scale) if tokens else y)


def _epilogue_in_place(view: GemmView, acc: torch.Tensor, x: Quantized, w: Quantized, *, tokens: bool) -> torch.Tensor:
    """One pass over int32 sums whose columns (channels of all groups, stored last) have one scale and one bias each."""
    step, count = _by_column(view, view.columns(w.scale)), view.groups * view.n
    step = step if view.alpha == 1 else step * view.alpha
    step = step if tokens else x.scale.reshape(-1) * step
    bias = view.bias
    fused = not tokens and bias is not None and bias.numel() == count and bias.shape[-1] == view.n
    columns = _by_column(view, bias) if fused and bias is not None else None
    if view.defers and not tokens and (fused or bias is None):
        later = _deferred(view, acc, step, columns)
        if later is not None:
            return later
    y = view.from_pixels(kernels.scale_columns(view.pixels(acc).contiguous(), step, columns))
    if tokens:
        y.mul_(x.scale)
    return y if fused else view.add_bias(y)


def _deferred(view: GemmView, acc: torch.Tensor, step: torch.Tensor, bias: torch.Tensor | None) -> Deferred | None:
    """y as what these sums will give; None where its values are to be looked at."""
    pixels = view.pixels(acc).contiguous()
    rows = pixels.view(-1, pixels.shape[-1])
    values = pixels.view(torch.float32)
    if not can_wait(step, bias):
        return None
    return Deferred.of(view.from_pixels(values), PendingSums(acc=rows, step=step, bias=bias))


def _by_column(view: GemmView, per_column: torch.Tensor) -> torch.Tensor:
    """What broadcasts to y with one element per column at most, flat: [groups * N] or [1]."""
    if per_column.numel() in (1, view.groups * view.n):
        return per_column.reshape(-1)
    one = (*view.x.shape[: view.lead], *[1] * (len(view.rows) + view.spatial), view.n)
    return per_column.expand(one).reshape(-1)


def _grouped(view: GemmView, x: Quantized, w: Quantized, product: Sums) -> torch.Tensor:
    """Sums of each part of the reduction that has scales of its own, added up in float32 with these.

    Where weights have minima, each is multiplied by the sum of its part of x and joins the product.
    """
    sizes = [each.granularity.size for each in (x, w) if isinstance(each.granularity, PerGroup)]
    if max(sizes) % min(sizes):
        raise InputError(
            f"x is scaled in groups of {sizes[0]} and w in groups of {sizes[1]}, neither of which divides the other; "
            "use sizes of which one does"
        )
    total = torch.zeros(view.output_shape, device=view.x.device)
    for start in range(0, view.channels, min(sizes)):
        part = slice(start, min(start + min(sizes), view.channels))
        own = dataclasses.replace(view, x=view.x[..., part], w=view.w[..., part], bias=None)
        x_part, w_part = (_part(each, part) for each in (x, w))
        sums = product(own, x_part, w_part).to(torch.float32) * view.columns(w_part.scale)
        if w_part.minimum is not None:
            sums += x_part.centred().sum(-1, keepdim=True) * view.columns(w_part.minimum)
        total += sums * x_part.scale if isinstance(x.granularity, PerGroup) else sums
    if not isinstance(x.granularity, PerGroup):
        total.mul_(x.scale)
    return view.add_bias(total if view.alpha == 1 else total.mul_(view.alpha))


def _part(operand: Quantized, part: slice) -> Quantized:
    """A part of the reduction that shares scales, with these."""
    codes, scale, minimum = operand.codes[..., part].contiguous(), operand.scale, operand.minimum
    if isinstance(operand.granularity, PerGroup):
        index = part.start // operand.granularity.size
        scale = scale[..., index : index + 1]
        minimum = None if minimum is None else minimum[..., index : index + 1]
    return dataclasses.replace(operand, codes=codes, scale=scale, granularity=PerChannel(), minimum=minimum, sums=None)
