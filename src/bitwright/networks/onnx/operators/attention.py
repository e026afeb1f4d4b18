"""Attention and rotary embeddings, of ONNX and of onnxruntime's own domain."""

import math
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value
from bitwright.networks.unseen import unseen

RAW, CAPPED, MASKED, SHARES = range(4)
"""Which scores `qk_matmul_output_mode` hands out."""


def attention(
    node: Node,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Value = None,
    past_k: Value = None,
    past_v: Value = None,
) -> Any:
    """Scaled products of queries and keys, by values: [B, heads, tokens, size] or [B, tokens, heads * size].

    Keys and values of earlier tokens go before the others, and are handed out with them.
    """
    flat = q.dim() == 3
    if flat:
        heads, shared = int(node.number("q_num_heads")), int(node.number("kv_num_heads"))
        q = q.unflatten(-1, (heads, -1)).transpose(1, 2)
        k, v = (each.unflatten(-1, (shared, -1)).transpose(1, 2) for each in (k, v))
    before = 0 if past_k is None else past_k.shape[2]
    k, v = (new if old is None else torch.cat((old, new), 2) for old, new in ((past_k, k), (past_v, v)))
    scale = float(node.attributes.get("scale") or 1 / math.sqrt(q.shape[-1]))
    causal = bool(node.number("is_causal", 0))
    y, scores = attended(node, q, k, v, mask, scale=scale, causal=causal, before=before)
    y = y.transpose(1, 2).flatten(2) if flat else y
    made = (y, k, v, scores)[: len(node.outputs)]
    return made if len(made) > 1 else y


def attended(
    node: Node,
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    mask: Value,
    *,
    scale: float,
    causal: bool,
    before: int = 0,
) -> tuple[torch.Tensor, Value]:
    """The result [B, heads, tokens, size], and the scores where the node hands them out; heads of k and v may be fewer.

    A query sees `before` keys more than its own place where the mask is causal.
    """
    q_length, length = q.shape[-2], k.shape[-2]
    shared = q.shape[1] != k.shape[1]
    with unseen():
        mask = _widened(mask, length)
        if causal and (before or mask is not None):
            own = torch.ones(q_length, length, dtype=torch.bool, device=q.device).tril(before)
            if mask is None or mask.dtype == torch.bool:
                mask = own if mask is None else mask & own
            else:
                mask = mask.masked_fill(~own, -math.inf)
            causal = False
    softcap = float(node.number("softcap", 0.0))
    handed = len(node.outputs) > 3 and bool(node.outputs[3])
    if not softcap and not handed:
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, scale=scale, enable_gqa=shared), None
    if shared:
        k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for each in (k, v))
    if causal:
        mask = torch.ones(q_length, length, dtype=torch.bool, device=q.device).tril()
    return _spelled_out(q, k, v, mask, scale, softcap, int(node.number("qk_matmul_output_mode", RAW)))


def _spelled_out(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: Value, scale: float, softcap: float, mode: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The result and one of the steps to it."""
    steps = {RAW: torch.matmul(q, k.transpose(-1, -2)) * scale}
    steps[CAPPED] = softcap * torch.tanh(steps[RAW] / softcap) if softcap else steps[RAW]
    steps[MASKED] = steps[CAPPED]
    if mask is not None:
        hides = mask.dtype == torch.bool
        steps[MASKED] = steps[CAPPED].masked_fill(~mask, -math.inf) if hides else steps[CAPPED] + mask
    blind = (steps[MASKED] == -math.inf).all(-1, True)
    steps[SHARES] = torch.softmax(steps[MASKED], -1).masked_fill(blind, 0.0)
    return torch.matmul(steps[SHARES], v), steps[mode]


def _widened(mask: Value, length: int) -> Value:
    """A mask of all keys: those that it does not reach are hidden."""
    if mask is None or mask.shape[-1] >= length:
        return mask
    hidden = False if mask.dtype == torch.bool else -math.inf
    return F.pad(mask, (0, length - mask.shape[-1]), value=hidden)


def rotary(node: Node, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor, places: Value = None) -> torch.Tensor:
    """Pairs of elements turned by an angle each, which depends on the token."""
    flat = x.dim() == 3
    y = x.unflatten(-1, (int(node.number("num_heads")), -1)).transpose(1, 2) if flat else x
    width = int(node.number("rotary_embedding_dim", 0)) or y.shape[-1]
    turned, kept = y[..., :width], y[..., width:]
    cosine, sine = (each if places is None else each[places] for each in (cosine, sine))
    cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
    if node.number("interleaved", 0):
        a, b = turned[..., 0::2], turned[..., 1::2]
        found = torch.stack((a * cosine - b * sine, a * sine + b * cosine), -1).flatten(-2)
    else:
        a, b = turned.chunk(2, -1)
        found = torch.cat((a * cosine - b * sine, a * sine + b * cosine), -1)
    y = torch.cat((found, kept), -1)
    return y.transpose(1, 2).flatten(2) if flat else y


def several_heads(
    node: Node,
    q: torch.Tensor,
    k: Value = None,
    v: Value = None,
    bias: Value = None,
    hidden: Value = None,
    added: Value = None,
    past_k: Value = None,
    past_v: Value = None,
) -> Any:
    """onnxruntime's MultiHeadAttention: q, k, v [B, tokens, heads * size], keys that are padding, and what is added.

    Keys and values may be [B, heads, tokens, size] already. Padding is told by lengths [B], or by 0 in [B, tokens],
    [B, tokens of q, tokens]; the scores of such keys are lowered by a number, not hidden.
    """
    heads = int(node.number("num_heads"))
    if k is None or v is None:
        raise node.refusal("has its queries, keys and values packed in one tensor, which is not supported")
    if bias is not None:
        q, k, v = (
            x + own for x, own in zip((q, k, v), bias.split([each.shape[-1] for each in (q, k, v)]), strict=True)
        )
    q, k, v = (x if x.dim() == 4 else x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    before = 0 if past_k is None else past_k.shape[2]
    k, v = (new if old is None else torch.cat((old, new), 2) for old, new in ((past_k, k), (past_v, v)))
    scale = float(node.number("scale", 0.0)) or 1 / math.sqrt(q.shape[-1])
    with unseen():
        mask = _lowered(node, hidden, k.shape[-2], q)
    mask = added if mask is None else mask if added is None else mask + added
    causal = bool(node.number("unidirectional", 0))
    y, _ = attended(node, q, k, v, mask, scale=scale, causal=causal, before=before)
    made = (y.transpose(1, 2).flatten(2), k, v)[: len(node.outputs)]
    return made if len(made) > 1 else made[0]


def _lowered(node: Node, hidden: Value, length: int, q: torch.Tensor) -> Value:
    """What is added to the scores of keys that are padding."""
    if hidden is None:
        return None
    by = float(node.number("mask_filter_value", -10000.0))
    if hidden.dim() == 1:
        if len(hidden) != len(q):
            raise node.refusal(f"has a mask {list(hidden.shape)} for {len(q)} sequences, which is not supported")
        shown = torch.arange(length, device=q.device) < hidden[:, None]
    else:
        shown = hidden != 0
    if shown.dim() < 4:
        shown = shown[:, None, None] if shown.dim() == 2 else shown[:, None]
    return torch.where(shown, 0.0, by).to(q.dtype)


ATTENTION: dict[str, Any] = {"Attention": attention, "RotaryEmbedding": rotary}
"""Operators of ONNX's own domain."""
MICROSOFT = {"MultiHeadAttention": several_heads}
"""Operators of onnxruntime's domain."""
