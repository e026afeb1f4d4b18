"""Integer sites: operands to codes, the exact product, and the epilogue y = s_x * s_w * acc + bias in float32.

`exact_gemm` multiplies integers; `fast_gemm` multiplies the same codes as float32. Both round alike in the epilogue, so
that they agree bit for bit unless a float32 sum had to round (|partial sum| > 2**24).
"""

import dataclasses

import torch

from bitwright.errors import InputError
from bitwright.formats import Integer, PerChannel, PerGroup, Quantized
from bitwright.methods import kernels
from bitwright.methods.integer.scales import symmetric_scale
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.methods.products import integer_product, row_sums
from bitwright.networks.calls import Call


def encode_x(call: Call, plan: SitePlan) -> Quantized:
    """Codes of x: static scale and zero point from the plan, or scaled by the token (row; image of a convolution)."""
    operand = _need(plan.x)
    axes = (1, 2, 3) if call.layout == "conv2d" else (-1,)
    return _encode(call.x, operand, axes)


def encode_w(call: Call, plan: SitePlan) -> Quantized:
    """Codes of w by the plan's scales; a w that is scaled at run time has one scale per column (output channel)."""
    operand = _need(plan.w)
    if isinstance(operand.granularity, PerGroup):
        return _encode_groups(call.w, operand, operand.granularity.size)
    quantized = _encode(call.w, operand, {"linear": (-1,), "conv2d": (1, 2, 3), "batched": (-2,)}[call.layout])
    if call.weight is None or operand.format.bits > 8:
        return quantized
    quantized = dataclasses.replace(quantized, codes=quantized.codes.to(torch.int8))
    return dataclasses.replace(quantized, sums=row_sums(quantized))


def exact_gemm(call: Call, x: Quantized, w: Quantized) -> torch.Tensor:
    """The call's output from exact integer sums; [..., N], [B, N, H', W'] or [..., M, N], float32."""
    if isinstance(w.granularity, PerGroup):
        return _grouped(_with_dropped_mean(call, x, w), x, w)
    return finish(call, integer_product(call, x, w), x, w)


def finish(call: Call, sums: torch.Tensor, x: Quantized, w: Quantized) -> torch.Tensor:
    """The call's output from sums of products of centred codes, in its output layout; int32 sums may be overwritten.

    Raises
    ------
    InputError
        If the weights are scaled in groups, whose sums have scales of their own.
    """
    if isinstance(w.granularity, PerGroup):
        raise InputError(
            "sums over groups of weights have a scale for each group, so that their partial sums cannot be quantized "
            "as one; use --option w_granularity=channel"
        )
    return _epilogue(_with_dropped_mean(call, x, w), sums, x, w)


def fast_gemm(call: Call, x: Quantized, w: Quantized) -> torch.Tensor:
    """The call's output from float32 sums of the same codes."""
    call = _with_dropped_mean(call, x, w)
    if isinstance(w.granularity, PerGroup):
        return call.add_bias(call.product(x.centred(), w.dequantize()) * x.scale)
    return _epilogue(call, call.product(x.centred(), w.centred()), x, w)


def output_step(call: Call, x: Quantized, w: Quantized) -> torch.Tensor:
    """s_x * s_w, broadcastable to the output: what 1 in the accumulator is worth."""
    if isinstance(w.granularity, PerGroup):
        return x.scale * w.scale.amin(dim=1)
    return x.scale * _column_scale(call, w)


def _with_dropped_mean(call: Call, x: Quantized, w: Quantized) -> Call:
    """The call with a bias that makes up for dropped bits: their mean times the sum of each output's weights.

    It is one constant per output, as hardware would have it, so at the borders of a convolution it counts for padded
    pixels too.
    """
    if not x.dropped_mean:
        return call
    if call.layout == "batched":
        sums = w.codes.sum(-2, keepdim=True, dtype=torch.float32)  # exact: codes are narrow, and few are added
        constant = sums * (x.scale * w.scale * x.dropped_mean)
    else:
        constant = row_sums(w) * (x.scale.reshape(-1) * w.scale.reshape(-1) * x.dropped_mean)
    return dataclasses.replace(call, bias=constant if call.bias is None else call.bias + constant)


def _column_scale(call: Call, w: Quantized) -> torch.Tensor:
    if call.layout == "linear":
        return w.scale.reshape(-1)
    return w.scale.view(1, -1, 1, 1) if call.layout == "conv2d" else w.scale


def _need(operand: OperandPlan | None) -> OperandPlan:
    assert operand is not None, "a float32 operand has no codes"
    return operand


def _encode(tensor: torch.Tensor, operand: OperandPlan, axes: tuple[int, ...]) -> Quantized:
    scale = _row_scale(tensor, operand.integer, axes) if operand.scale is None else operand.scale.to(tensor.device)
    return Quantized(
        codes=_codes(tensor, operand, scale),
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


def _encode_groups(w: torch.Tensor, operand: OperandPlan, size: int) -> Quantized:
    assert operand.scale is not None
    scale = operand.scale.to(w.device)
    spread = scale.repeat_interleave(size, dim=1)[:, : w.shape[1]]
    codes = operand.integer.encode(w.float() / spread, overwrite=True)
    codes = codes.to(torch.int8) if operand.format.bits <= 8 else codes
    return Quantized(codes=codes, format=operand.format, scale=scale, granularity=operand.granularity)


def _epilogue(call: Call, acc: torch.Tensor, x: Quantized, w: Quantized) -> torch.Tensor:
    """One scale of x is multiplied into those of w beforehand; scales per token follow as a second factor."""
    tokens = x.scale.numel() > 1
    step = _column_scale(call, w) if tokens else output_step(call, x, w)
    if acc.dtype == torch.int32 and acc.device.type == "cpu" and call.layout != "batched":
        return _epilogue_in_place(call, acc, step, x.scale if tokens else None)
    y = acc.to(torch.float32).mul_(step)
    return call.add_bias(y.mul_(x.scale) if tokens else y)


def _epilogue_in_place(call: Call, acc: torch.Tensor, step: torch.Tensor, tokens: torch.Tensor | None) -> torch.Tensor:
    """One pass over int32 sums whose columns (channels, stored last) have one scale and one bias each."""
    rows = acc.permute(0, 2, 3, 1) if call.layout == "conv2d" else acc
    bias = call.bias if tokens is None and call.bias is not None and call.bias.dim() == 1 else None
    y = kernels.scale_columns(rows.contiguous(), step.reshape(-1), bias)
    y = y.permute(0, 3, 1, 2) if call.layout == "conv2d" else y
    if tokens is not None:
        y.mul_(tokens)
    return y if bias is not None or call.bias is None else call.add_bias(y)


def _grouped(call: Call, x: Quantized, w: Quantized) -> torch.Tensor:
    """Integer sums within each group of the reduction axis, added up in float32 with the group's scale."""
    assert isinstance(w.granularity, PerGroup)
    size = w.granularity.size
    total = torch.zeros(*call.x.shape[:-1], w.codes.shape[0], device=call.x.device)
    for group, start in enumerate(range(0, w.codes.shape[1], size)):
        part = slice(start, start + size)
        codes = w.codes[:, part].contiguous()
        sub = dataclasses.replace(call, x=call.x[..., part], w=codes, bias=None)
        x_part = dataclasses.replace(x, codes=x.codes[..., part].contiguous())
        acc = integer_product(sub, x_part, dataclasses.replace(w, codes=codes, granularity=PerChannel()))
        total += acc.to(torch.float32) * w.scale[:, group]
    return call.add_bias(total.mul_(x.scale))
