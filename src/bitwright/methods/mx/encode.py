"""Operands in blocks: words by the plan's scales, or by scales that are found as the network runs.

Blocks go along the last axis of an operand as its view has it: the reduction of a linear layer and of both products of
attention, the channels of a tap of a convolution (K has taps outside, channels inside, and no block goes over two
taps, since windows share pixels). A convolution whose groups have one channel each has blocks along its groups
instead, as pixels lie in memory: each of its products then has scales of its own.
"""

from __future__ import annotations

from bitwright.errors import InputError
from bitwright.formats import BlockFormat, ElementFormat, PerGroup, Quantized
from bitwright.later import torch
from bitwright.methods.plan import OperandPlan
from bitwright.networks.view import GemmView


def block_format(operand: OperandPlan) -> BlockFormat:
    """The format whose blocks an operand has."""
    assert isinstance(operand.format, ElementFormat)
    assert operand.scale_format is not None
    return BlockFormat(element=operand.format, size=operand.block_size, scale_format=operand.scale_format)


def encode(view: GemmView, tensor: torch.Tensor, operand: OperandPlan) -> Quantized:
    """Words of x or w of a view, with its scales.

    Raises
    ------
    InputError
        A plan for shapes only, without the scales of whole tensors.
    """
    if not isinstance(operand.granularity, PerGroup):
        return _by_tensor(tensor, operand)
    fmt = block_format(operand)
    if fmt.two_level and operand.tensor_scale is None:
        raise _without_scale(operand)
    tensor_scale = None if operand.tensor_scale is None else operand.tensor_scale.to(tensor.device)
    if operand.scale is not None:
        scale = operand.scale.to(tensor.device)
        words = fmt.encode_by(tensor, scale, tensor_scale)
    elif view.single_channels:
        words, scale = fmt.encode(view.across_groups(tensor), tensor_scale)
        spread = scale.repeat_interleave(fmt.size, dim=-1)[..., : words.shape[-1]]
        words, scale = view.within_groups(words), view.within_groups(spread)
    else:
        words, scale = fmt.encode(tensor, tensor_scale)
    return Quantized(
        codes=words,
        format=fmt.element,
        scale=scale,
        granularity=operand.granularity,
        tensor_scale=tensor_scale,
    )


def weight_scales(w: torch.Tensor, lead: int, fmt: BlockFormat, tensor_scale: torch.Tensor | None) -> torch.Tensor:
    """Scales of a static weight [*groups, columns, *kernel, channels] by the rule of its format."""
    if not (lead and w.dim() > lead + 2 and w.shape[-1] == 1):
        return fmt.scales(w, tensor_scale)
    across = w.squeeze(-1).movedim(0, -1)  # single channels: see `GemmView.across_groups`
    spread = fmt.scales(across, tensor_scale).repeat_interleave(fmt.size, dim=-1)[..., : across.shape[-1]]
    return spread.movedim(-1, 0).unsqueeze(-1).contiguous()


def _by_tensor(tensor: torch.Tensor, operand: OperandPlan) -> Quantized:
    """Words by one static scale."""
    assert isinstance(operand.format, ElementFormat)
    if operand.scale is None:
        raise _without_scale(operand)
    scale = operand.scale.to(tensor.device)
    return Quantized(
        codes=operand.format.encode(tensor, scale),
        format=operand.format,
        scale=scale,
        granularity=operand.granularity,
    )


def _without_scale(operand: OperandPlan) -> InputError:
    return InputError(
        f"the plan gives an operand {operand.format.name} and no scale of its tensor: it was made for shapes only; "
        "calibrate it anew"
    )
