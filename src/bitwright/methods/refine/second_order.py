"""Rounding by second-order error: the codes of a row are chosen together, each making up for the errors before it.

Source: GPTQ (Frantar et al., "GPTQ: Accurate post-training quantization for generative pre-trained transformers", ICLR
2023), in the equal form LDLQ (Chee et al., "QuIP", NeurIPS 2023, theorem 6). For H = U D U' with U unit upper
triangular, e H e' = sum over k of D_k (e U)_k^2, so that element after element

    q_k = Q(w_k + sum of e_j U_jk over j < k),   e = w - q

leaves in (e U)_k what one rounding leaves. Elements are taken by falling H_kk (GPTQ's act-order). H is damped by a
hundredth of its mean diagonal, as there. Ours: exact coordinate descent on e H e' follows, and each row keeps the
nearest codes where those are better still by e H e'.
Any format: its values, ascending, times the scale of each element.
"""

import numpy as np
import numpy.typing as npt
import torch

from bitwright.formats import Format, Integer

DAMPING = 0.01
BLOCK = 128
PASSES = 4
"""Of coordinate descent; later ones move next to nothing."""
Reals = npt.NDArray[np.float64]


def values_of(fmt: Format) -> torch.Tensor:
    """What the codes of a format stand for, in units of the scale, ascending and distinct, float64."""
    if isinstance(fmt, Integer):
        step = 1 << fmt.dropped_bits
        return torch.arange(fmt.low, fmt.high + 1, dtype=torch.float64).div(step).ceil().mul(step).unique()
    values = fmt.table().double()
    return values[values.isfinite()].unique()


def damped(hessian: torch.Tensor) -> torch.Tensor:
    """H [groups, K, K] that is positive definite: inputs that are always 0 count for a little like the others."""
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    mean = diagonal.mean(-1, keepdim=True)
    mean = torch.where(mean > 0, mean, 1.0)
    return hessian + torch.diag_embed((DAMPING * mean).expand_as(diagonal))


def second_order(
    w: torch.Tensor, scale: torch.Tensor, values: torch.Tensor, hessian: torch.Tensor, *, passes: int = PASSES
) -> torch.Tensor:
    """What a weight becomes on the grid of its format.

    Parameters
    ----------
    w, scale : torch.Tensor
        [groups, n, K]: the weight, and what a value of 1 stands for at each element; float32 or float64.
    values : torch.Tensor
        Of the format, see `values_of`.
    hessian : torch.Tensor
        [groups, K, K], positive definite, float64: see `damped`.
    passes : int
        Of coordinate descent.
    """
    from bitwright.methods.refine import kernels

    kind = w.dtype
    q = ldlq(w, scale, values, hessian)
    h = hessian.to(kind)
    table = values.to(kind).numpy()
    gradient = ((w - q) @ h).contiguous()
    kernels.descend(
        _rows(w),
        _rows(scale.expand_as(w)),
        h.contiguous().numpy(),
        gradient.view(-1, gradient.shape[-1]).numpy(),
        table,
        kernels.middles_of(table),
        passes,
        q.view(-1, q.shape[-1]).numpy(),
    )
    plain = nearest(w, scale, values)
    lost, before = (gradient * (w - q)).sum(-1), (((w - plain) @ h) * (w - plain)).sum(-1)
    return torch.where((before < lost).unsqueeze(-1), plain, q)


def ldlq(w: torch.Tensor, scale: torch.Tensor, values: torch.Tensor, hessian: torch.Tensor) -> torch.Tensor:
    """The rounding with feedback alone, arguments as of `second_order`."""
    from bitwright.methods.refine import kernels

    groups, n, k = w.shape
    order = hessian.diagonal(dim1=-2, dim2=-1).argsort(dim=-1, descending=True, stable=True)  # [groups, K]
    permuted = hessian.gather(1, order.unsqueeze(-1).expand(-1, -1, k)).gather(2, order.unsqueeze(1).expand(-1, k, -1))
    feedback = unit_upper(permuted).to(w.dtype)
    places = order.unsqueeze(1).expand(-1, n, -1)
    weights, scales = w.gather(2, places), scale.expand_as(w).gather(2, places)
    table = values.to(w.dtype).numpy()
    middles = kernels.middles_of(table)
    q, error = torch.empty_like(weights), torch.empty_like(weights)
    for start in range(0, k, BLOCK):
        here = slice(start, min(k, start + BLOCK))
        part = weights[..., here]
        base = part + error[..., :start] @ feedback[:, :start, here] if start else part
        chosen, left = (torch.empty(groups * n, part.shape[-1], dtype=w.dtype) for _ in range(2))
        kernels.rounded(
            _rows(base),
            _rows(part),
            _rows(scales[..., here]),
            feedback[:, here, here].transpose(1, 2).contiguous().numpy(),
            table,
            middles,
            chosen.numpy(),
            left.numpy(),
        )
        q[..., here], error[..., here] = chosen.view(part.shape), left.view(part.shape)
    return torch.empty_like(q).scatter_(2, places, q)


def unit_upper(hessian: torch.Tensor) -> torch.Tensor:
    """U of H = U D U' [groups, K, K], by the Cholesky factor of H in reverse."""
    factor = torch.linalg.cholesky(hessian.flip(-1, -2)).flip(-1, -2)
    return factor / factor.diagonal(dim1=-2, dim2=-1).unsqueeze(-2)


def nearest(w: torch.Tensor, scale: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """The nearest values of the grid, the upper one half-way between two."""
    table = values.to(w.dtype)
    middles = ((values[1:] + values[:-1]) / 2).to(w.dtype)
    return table[torch.bucketize((w / scale).contiguous(), middles, right=True)] * scale


def slow_gptq(w: Reals, scale: Reals, values: Reals, hessian: Reals) -> Reals:
    """The twin of `ldlq` as GPTQ has it, for one group [n, K]: by the inverse of H, an element at a time.

    After element k is rounded, those not yet rounded move by -(error / [H^-1]_kk) [H^-1]_k, and k is eliminated from
    H^-1.
    """
    order = np.argsort(-np.diag(hessian), kind="stable")
    inverse = np.linalg.inv(hessian[np.ix_(order, order)])
    result = np.empty_like(w)
    for i, row in enumerate(w):
        left, inv = row[order].copy(), inverse.copy()
        for k, place in enumerate(order):
            x = left[k] / scale[i, place]
            chosen = values[np.searchsorted((values[1:] + values[:-1]) / 2, x, side="right")] * scale[i, place]
            result[i, place] = chosen
            left[k:] -= (left[k] - chosen) / inv[k, k] * inv[k, k:]
            inv = inv - np.outer(inv[:, k], inv[k]) / inv[k, k]
    return result


def _rows(tensor: torch.Tensor) -> Reals:
    return tensor.reshape(-1, tensor.shape[-1]).contiguous().numpy()
