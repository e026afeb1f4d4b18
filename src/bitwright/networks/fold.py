"""Batch norm folded into the convolution before it (inference): w' = w * g, b' = (b - mean) * g + beta.

g = gamma / sqrt(variance + epsilon) per output channel (Jacob et al., CVPR 2018, section 3.2). Which convolution a
batch norm follows is read off a recorded forward pass; one whose input is read by anything else stays as it is.
"""

from typing import TypeGuard

import torch
import torch.nn.functional as F

from bitwright.networks.dataflow import Dataflow, record
from bitwright.networks.network import Network
from bitwright.networks.trace import example_batch
from bitwright.networks.view import GemmView

Convolution = torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d
BatchNorm = torch.nn.BatchNorm1d | torch.nn.BatchNorm2d | torch.nn.BatchNorm3d
CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d)


def fold_batch_norm(network: Network) -> Network:
    """The network with every foldable batch norm folded and replaced by an identity; a copy, unless there is none."""
    if network.module is None or not _has_batch_norm(network.module):
        return network
    folded = network.copy()
    module = folded.module
    assert module is not None
    flow = record(folded, example_batch(folded))
    for name, view in flow.sites.items():
        output = flow.outputs[name]
        readers = flow.readers_of(output)
        if (
            not view.spatial
            or id(output) not in flow.producer
            or len(readers) != 1
            or readers[0].function is not F.batch_norm
        ):
            continue
        conv, norm = module.get_submodule(flow.producer[id(output)].path), module.get_submodule(readers[0].path)
        if _is_plain_conv(conv, view) and _is_plain_norm(norm) and _run_once(flow, conv.weight, norm.running_mean):
            _fold(conv, norm)
            _replace(module, norm, torch.nn.Identity())
    return folded


def _is_plain_conv(module: torch.nn.Module, view: GemmView) -> TypeGuard[Convolution]:
    """Whether `view` was a convolution with the very weight and bias of `module`, which folding may change."""
    if not isinstance(module, CONVOLUTIONS) or view.weight is not module.weight or view.part:
        return False
    return isinstance(module.weight, torch.nn.Parameter) and view.bias_parameter is module.bias


def _is_plain_norm(module: torch.nn.Module) -> TypeGuard[BatchNorm]:
    """Whether `module` is a batch norm in inference and does nothing else (some subclasses activate, too)."""
    plain = isinstance(module, BATCH_NORMS) and type(module).forward is torch.nn.BatchNorm2d.forward
    return plain and module.running_mean is not None and not module.training


def _run_once(flow: Dataflow, *tensors: torch.Tensor | None) -> bool:
    """Whether each of a convolution's and a batch norm's own tensors was read once: neither serves elsewhere."""
    return all(tensor is None or len(flow.readers_of(tensor)) == 1 for tensor in tensors)


def _replace(root: torch.nn.Module, old: torch.nn.Module, new: torch.nn.Module) -> None:
    """`new` instead of `old` under every name that `old` goes by."""
    for parent in list(root.modules()):
        for name, child in parent._modules.items():
            if child is old:
                parent._modules[name] = new


def _has_batch_norm(module: torch.nn.Module) -> bool:
    return any(isinstance(m, BATCH_NORMS) for m in module.modules())


@torch.no_grad()
def _fold(conv: Convolution, norm: BatchNorm) -> None:
    weight, bias = conv.weight, conv.bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        gain = gain * norm.weight
    shift = -norm.running_mean.double() * gain
    if bias is not None:
        shift = shift + bias * gain
    if norm.bias is not None:
        shift = shift + norm.bias
    conv.weight = torch.nn.Parameter(
        (weight * gain.view(-1, *[1] * (weight.dim() - 1))).to(weight.dtype), requires_grad=False
    )
    conv.bias = torch.nn.Parameter(shift.to(weight.dtype), requires_grad=False)
