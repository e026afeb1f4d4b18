"""Scaled dot-product attention as two sites, QK^T and PV, with the softmax between them in float.

softmax(scale * Q K^T + mask) V with causal and given masks and grouped-query heads, as
`torch.nn.functional.scaled_dot_product_attention` documents it; dropout must be 0 (inference, or training without it).
The softmax is normalised after PV, as fused attention does (FlashAttention, Dao et al. 2022): the left operand of PV is
exp(score - row maximum), whose every row reaches 1, so that a quantizer's static range fits all rows.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F

from bitwright.errors import InputError
from bitwright.networks.view import GemmView

SLACK = 1e-3
"""So that the threshold is above what exp makes of its smallest argument, however it rounds."""
Product = Callable[[GemmView, str], torch.Tensor]  # (the view, what it is: "qk" or "pv") -> its result
Change = Callable[[torch.Tensor], torch.Tensor]


def attention(
    product: Product,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    change: Change | None = None,
) -> torch.Tensor:
    """Attention of query [..., H, M, D], key [..., G, T, D], value [..., G, T, V]; H a multiple of G -> [..., H, M, V].

    Both products go through `product`, so that whoever listens sees their operands. `change` is made to the scores
    before they are masked. What has 16 bits is computed in float32, as fused kernels do.
    """
    if dropout_p:
        raise InputError(f"attention with dropout {dropout_p} is random; put the network in evaluation mode")
    dtype, narrow = query.dtype, query.dtype in (torch.float16, torch.bfloat16)
    query, key, value = (each.float() if narrow else each for each in (query, key, value))
    shared = query.shape[-3] // key.shape[-3] if enable_gqa and query.dim() > 2 else 1
    key, value = _share(key, shared), _share(value, shared)
    lead = torch.broadcast_shapes(query.shape[:-2], key.shape[:-2], value.shape[:-2])
    query, key, value = (each.expand(*lead, *each.shape[-2:]) for each in (query, key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    qk = GemmView(op="attention_qk", x=query, w=key, lead=len(lead), shared=shared)
    scores = product(qk, "qk") * scale
    scores = scores if change is None else change(scores)
    x = exponentials(scores, attn_mask, is_causal=is_causal)
    # A row that may look at nothing is all zeros; dividing by no less than a tiny number keeps it so, as torch does.
    total = x.sum(dim=-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
    pv = GemmView(op="attention_pv", x=x, w=value.transpose(-2, -1), lead=len(lead), shared=shared, causal=is_causal)
    return (product(pv, "pv") / total).to(dtype)


def exponentials(
    scores: torch.Tensor, attn_mask: torch.Tensor | None = None, *, is_causal: bool = False
) -> torch.Tensor:
    """exp(score - row maximum) of scores [..., M, T], 0 where a mask hides one: the left operand of PV.

    What would be a denormal is 0 too: processors take many times longer for them, and a sum that a 1 is in has no place
    for them.
    """
    if is_causal:
        m, t = scores.shape[-2:]
        keep = torch.ones(m, t, dtype=torch.bool, device=scores.device).tril()
        scores = scores.masked_fill(~keep, -math.inf)
    if attn_mask is not None:
        if attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -math.inf)
        else:
            scores = scores + attn_mask.to(scores.dtype)
    limits = torch.finfo(scores.dtype)
    peak = scores.amax(dim=-1, keepdim=True).clamp_min(limits.min)
    least = math.log(limits.tiny) + 1
    return F.threshold(torch.exp((scores - peak).clamp_min(least)), math.exp(least + SLACK), 0.0)


def _share(x: torch.Tensor, times: int) -> torch.Tensor:
    """Each head of `x` repeated for the `times` query heads that share it."""
    return x if times == 1 else x.repeat_interleave(times, dim=-3)
