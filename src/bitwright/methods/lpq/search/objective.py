"""What a candidate loses: the global-local contrastive loss on intermediate representations, and its rivals.

Sourced from the authors' posters: L = L_CO * L_CR^lambda; anchors are the quantized network's representations,
positives the float network's of the same input, negatives its representations of the other inputs. Ours where the
paper is not public: representations are the blocks' outputs, pooled to their excess kurtosis per sample and channel
(the pooling is recollected), and the network's output as it is; each part is normalised before they are joined, so that
no layer drowns the others; all calibration samples are one batch.
"""

import math
from collections.abc import Sequence

import torch

from bitwright.errors import InputError
from bitwright.methods.lpq.search.settings import Objective
from bitwright.networks.network import Network


def pooled(h: torch.Tensor) -> torch.Tensor:
    """Excess kurtosis [B, C] of a block's output [B, C, H, W] over pixels, or [B, T, C] over tokens; 0 if constant."""
    flat = h.float()
    if flat.dim() == 4:
        flat = flat.flatten(2)
    elif flat.dim() == 3:
        flat = flat.transpose(1, 2)
    else:
        return flat.flatten(1)
    centred = flat - flat.mean(-1, keepdim=True)
    square = centred.square()
    variance = square.mean(-1)
    fourth = square.square().mean(-1)
    tiny = torch.finfo(torch.float32).tiny
    return torch.where(variance.square() > tiny, fourth / variance.square().clamp_min(tiny) - 3, 0)


def judge(
    objective: Objective,
    outputs: torch.Tensor,
    parts: Sequence[torch.Tensor],
    float_outputs: torch.Tensor,
    float_parts: Sequence[torch.Tensor],
    *,
    temperature: float,
) -> float:
    """The loss of a candidate; infinite where its numbers or the loss itself are not finite.

    Parameters
    ----------
    outputs, float_outputs : torch.Tensor
        [samples, ...] of the quantized and of the float network.
    parts, float_parts : sequence of torch.Tensor
        Pooled outputs of every block [samples, features].
    temperature : float
        tau.
    """
    if not bool(outputs.isfinite().all()):
        return math.inf
    loss = _loss(objective, outputs, parts, float_outputs, float_parts, temperature)
    return loss if math.isfinite(loss) else math.inf


def _loss(
    objective: Objective,
    outputs: torch.Tensor,
    parts: Sequence[torch.Tensor],
    float_outputs: torch.Tensor,
    float_parts: Sequence[torch.Tensor],
    temperature: float,
) -> float:
    y_q, y = outputs.flatten(1).float(), float_outputs.flatten(1).float()
    if objective == "mse":
        return float((y_q - y).square().mean() / y.square().mean())
    if objective == "kl":
        log_p, log_q = y.log_softmax(1), y_q.log_softmax(1)
        return float((log_p.exp() * (log_p - log_q)).sum(1).mean())
    local = objective == "global-local"
    anchors = _joined([*parts, y_q] if local else [y_q])
    positives = _joined([*float_parts, y] if local else [y])
    logits = anchors @ positives.t() / temperature
    return float(-logits.log_softmax(1).diagonal().mean())


def check_objective(objective: Objective, network: Network) -> None:
    """Refuse a KL divergence of outputs that are no logits."""
    if objective == "kl" and network.kind not in ("image", "language"):
        raise InputError(
            f"{network.name} has no logits to take a KL divergence of; use --objective mse or global-local"
        )


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Rows of unit length, each part of unit length before."""
    normalised = [torch.nn.functional.normalize(part, dim=1) for part in parts]
    return torch.nn.functional.normalize(torch.cat(normalised, dim=1), dim=1)
