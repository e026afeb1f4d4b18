"""Batch norm folded into the convolution before it (inference): w' = w * g, b' = (b - mean) * g + beta.

g = gamma / sqrt(variance + epsilon) per output channel (Jacob et al., CVPR 2018, section 3.2). Which convolution a
batch norm follows is read off a recorded forward pass; one whose input is read by anything else stays as it is.
"""

import copy
import dataclasses

import torch
import torch.nn.functional as F

from bitwright.networks.dataflow import record
from bitwright.networks.network import Network
from bitwright.networks.trace import example_batch


def fold_batch_norm(network: Network) -> Network:
    """The network with every foldable batch norm folded and replaced by an identity; a copy, unless there is none."""
    if network.module is None or not _has_batch_norm(network.module):
        return network
    folded = dataclasses.replace(network, module=copy.deepcopy(network.module))
    module = folded.module
    assert module is not None
    flow = record(folded, example_batch(folded))
    paths = {id(m): path for path, m in module.named_modules()}
    for name, call in flow.sites.items():
        if call.op != "conv2d" or call.weight is None:
            continue
        owner = next((m for m in module.modules() if m._parameters.get("weight") is call.weight), None)
        readers = flow.readers_of(flow.outputs[name])
        if owner is None or len(readers) != 1 or readers[0].function is not F.batch_norm:
            continue
        norm = module.get_submodule(readers[0].path)
        if isinstance(norm, torch.nn.BatchNorm2d) and norm.running_mean is not None and not norm.training:
            _fold(owner, norm)
            module.set_submodule(paths[id(norm)], torch.nn.Identity())
    return folded


def _has_batch_norm(module: torch.nn.Module) -> bool:
    return any(isinstance(m, torch.nn.BatchNorm2d) for m in module.modules())


@torch.no_grad()
def _fold(conv: torch.nn.Module, norm: torch.nn.BatchNorm2d) -> None:
    weight, bias = conv.weight, conv.bias
    assert isinstance(weight, torch.Tensor)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    gain = torch.rsqrt(norm.running_var.double() + norm.eps)
    if norm.weight is not None:
        gain = gain * norm.weight
    shift = -norm.running_mean.double() * gain
    if isinstance(bias, torch.Tensor):
        shift = shift + bias * gain
    if norm.bias is not None:
        shift = shift + norm.bias
    conv.weight = torch.nn.Parameter((weight * gain.view(-1, 1, 1, 1)).to(weight.dtype), requires_grad=False)
    conv.bias = torch.nn.Parameter(shift.to(weight.dtype), requires_grad=False)
