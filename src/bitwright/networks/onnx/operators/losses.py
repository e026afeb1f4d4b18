"""Losses that a file was exported with, by which a network is judged and not run."""

from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value


def negative_log_likelihood(node: Node, x: torch.Tensor, target: torch.Tensor, weight: Value = None) -> torch.Tensor:
    """-x at the target class of each place, weighted by class; their mean, their sum, or all."""
    ignored = int(node.attributes.get("ignore_index", -(2**31)))
    used = target != ignored
    chosen = torch.where(used, target, 0).long()
    factor = used.to(x.dtype) * (1.0 if weight is None else weight[chosen])
    loss = -torch.gather(x, 1, chosen.unsqueeze(1)).squeeze(1) * factor
    how = node.text("reduction", "mean")
    if how == "none":
        return loss
    return loss.sum() if how == "sum" else loss.sum() / factor.sum()


def cross_entropy(node: Node, x: torch.Tensor, target: torch.Tensor, weight: Value = None) -> Any:
    """The same of the logarithm of x's softmax, which is handed out too."""
    shares = F.log_softmax(x, 1)
    loss = negative_log_likelihood(node, shares, target, weight)
    return (loss, shares) if len(node.outputs) > 1 else loss


LOSSES: dict[str, Any] = {
    "NegativeLogLikelihoodLoss": negative_log_likelihood,
    "SoftmaxCrossEntropyLoss": cross_entropy,
}
"""Operators of ONNX's own domain."""
