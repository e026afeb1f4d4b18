"""Where a tensor of a recorded forward pass comes from, and who reads it: what a change of weights may go by.

A tensor can be scaled or rotated where its channels are the rows of a parameter: a linear layer's, a norm's gain or,
through attention, the value projection's; reshapes and copies that keep its last axis are looked through.
"""

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.dataflow import Dataflow, Node
from bitwright.networks.network import Network
from bitwright.networks.siblings import unreached

_T = torch.Tensor
_SAME_LAST_AXIS = {_T.view, _T.reshape, torch.reshape, _T.flatten, torch.flatten, _T.unflatten}
_SAME = {_T.contiguous, _T.to, _T.type_as, _T.float, _T.clone, torch.clone, F.dropout, _T.unsqueeze, torch.unsqueeze}
_MOVES = {_T.transpose, torch.transpose, _T.permute, torch.permute, _T.expand, _T.__getitem__, _T.expand_as}
_REPEATS = {_T.repeat_interleave, torch.repeat_interleave}
_HOMOGENEOUS = {F.relu, torch.relu, _T.relu, torch.relu_}
MULTIPLY = {_T.__mul__, _T.__rmul__, _T.mul, torch.mul}
NORMS_WITH_BIAS = {F.layer_norm, torch.layer_norm}
NORMS = {*NORMS_WITH_BIAS, F.rms_norm, torch.rms_norm}


Reader = tuple[torch.nn.Parameter, int]
"""A weight, and which of its axes is the reduction axis."""


def sites_by_tensor(network: Network, flow: Dataflow) -> list[tuple[torch.Tensor, list[str]]]:
    """The tensors that linear sites with weights read, each with all sites that read it.

    None of those that sites read which samples may not reach (experts): others of these may read the tensor too.
    """
    found: dict[int, tuple[torch.Tensor, list[str]]] = {}
    for name, view in flow.sites.items():
        if view.plain and view.weight is not None and view.weight.dim() == 2:
            tensor = origin(flow, view.x)
            found.setdefault(id(tensor), (tensor, []))[1].append(name)
    assert network.module is not None
    reached = {name: (view.site(name), view.w) for name, view in flow.sites.items() if view.weight is not None}
    partly = {name for each in unreached(network.module, reached) for name in each.of}
    return [(tensor, sites) for tensor, sites in found.values() if not partly & set(sites)]


def readers_of_sites(flow: Dataflow, sites: list[str]) -> tuple[Reader, ...] | None:
    """The weights of sites, whole parameters that nothing else reads; None where one is not."""
    readers = []
    for view in (flow.sites[name] for name in sites):
        weight = view.weight
        if not isinstance(weight, torch.nn.Parameter) or len(flow.readers_of(weight)) != 1:
            return None  # computed from parameters, or used twice: it cannot change for one of its readers
        if not (same_view(view.w, weight) or same_view(view.w, weight.t())):
            return None  # a part of a parameter
        readers.append((weight, 1 if same_view(view.w, weight) else 0))
    return tuple(readers) if len({id(weight) for weight, _ in readers}) == len(readers) else None


def origin(flow: Dataflow, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` before reshapes and copies that keep its last axis."""
    node = flow.producer.get(id(tensor))
    while node is not None and node.args and node.args[0] is not tensor and keeps_last_axis(node, tensor):
        tensor = node.args[0]
        node = flow.producer.get(id(tensor))
    return tensor


def keeps_last_axis(node: Node, result: torch.Tensor) -> bool:
    """Whether a node's result is its first argument, or rows of it, channel by channel."""
    if not node.args or not isinstance(node.args[0], torch.Tensor) or node.args[0].dim() == 0:
        return False
    before = node.args[0]
    if before.shape[-1:] != result.shape[-1:] or before.dtype != result.dtype:
        return False
    rows = node.function is _T.__getitem__ and before.dim() == result.dim()  # hidden[:, -1:], rows picked
    return rows or node.function in _SAME or node.function in _SAME_LAST_AXIS


def same_view(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are the same numbers in the same memory."""
    return a.shape == b.shape and a.stride() == b.stride() and a.data_ptr() == b.data_ptr()


def read_only_by(flow: Dataflow, tensor: torch.Tensor, sites: set[str]) -> bool:
    """Whether everything that reads `tensor`, through reshapes too, is one of `sites`."""
    for node in flow.readers_of(tensor):
        result = node.result
        if isinstance(result, torch.Tensor) and flow.site_of.get(id(result)) in sites:
            continue
        if result is tensor:
            return False  # changed in place
        if isinstance(result, torch.Tensor) and keeps_last_axis(node, result):
            if not read_only_by(flow, result, sites):
                return False
        else:
            return False
    return True


@dataclasses.dataclass(frozen=True)
class Source:
    """Where a tensor can be scaled: see the fields of `SmoothingGroup` of the same names."""

    parameters: tuple[torch.Tensor, ...]
    repeats: int = 1
    head: int = 1
    through: str | None = None


def sources(flow: Dataflow, tensor: torch.Tensor, channels: int) -> Source | None:
    """The parameters that scale `tensor` [..., channels] channel by channel."""
    node = flow.producer.get(id(tensor))
    if node is None or (node.args and node.args[0] is tensor):  # changed in place: what it was before is gone
        return None
    if id(tensor) in flow.site_of:
        return linear_rows(flow, tensor, channels)
    if node.function in NORMS:
        return _norm_gain(node, channels)
    if node.function in MULTIPLY:
        return _factor(flow, node, channels)
    if (node.function in _HOMOGENEOUS and node.args) or keeps_last_axis(node, tensor):
        before = node.args[0]
        return sources(flow, before, channels) if len(flow.readers_of(before)) == 1 else None
    if node.function in _MOVES | _SAME_LAST_AXIS:
        return value_projection(flow, tensor, channels)
    return None


def linear_rows(flow: Dataflow, tensor: torch.Tensor, channels: int) -> Source | None:
    """The weight and the bias of the linear site that made `tensor`, where they are whole parameters."""
    view = flow.sites[flow.site_of[id(tensor)]]
    if not view.plain or not isinstance(view.weight, torch.nn.Parameter) or not same_view(view.w, view.weight):
        return None
    if view.arrangement.order is not None:
        return None  # its columns are not the last axis of what the network has
    if view.weight.shape[0] != channels or not (view.bias is None or is_vector(view.bias, channels)):
        return None
    return Source((view.weight, *([] if view.bias is None else [view.bias])))


def is_vector(tensor: Any, channels: int) -> bool:
    """Whether it is a parameter with one element per channel."""
    return isinstance(tensor, torch.nn.Parameter) and tuple(tensor.shape) == (channels,)


def _norm_gain(node: Node, channels: int) -> Source | None:
    gain = node.argument(2, "weight")
    bias = node.argument(3, "bias") if node.function in NORMS_WITH_BIAS else None
    if not is_vector(gain, channels) or not (bias is None or is_vector(bias, channels)):
        return None
    return Source((gain, *([] if bias is None else [bias])))


def _factor(flow: Dataflow, node: Node, channels: int) -> Source | None:
    """A product: its parameter, or else whichever factor is itself a scalable tensor that nobody else reads."""
    factors = [a for a in node.args[:2] if isinstance(a, torch.Tensor)]
    for factor in factors:
        if is_vector(factor, channels):
            return Source((factor,))
    for factor in factors:
        if factor.dim() and factor.shape[-1] == channels and len(flow.readers_of(factor)) == 1:
            source = sources(flow, factor, channels)
            if source is not None:
                return source
    return None


def value_projection(flow: Dataflow, tensor: torch.Tensor, channels: int) -> Source | None:
    """Through attention: its output's channels are those of the values, head by head."""
    attended = walk(flow, tensor, _MOVES | _SAME | _SAME_LAST_AXIS)
    node = flow.producer.get(id(attended))
    if node is None or node.function is not F.scaled_dot_product_attention or attended.dim() != 4:
        return None
    heads, head = attended.shape[1], attended.shape[-1]
    values = node.argument(2, "value")
    if len(flow.readers_of(values)) != 1:
        return None
    value = walk(flow, values, _MOVES | _SAME | _SAME_LAST_AXIS | _REPEATS)
    if heads * head != channels or id(value) not in flow.site_of:
        return None
    width = value.shape[-1]
    source = linear_rows(flow, value, width)
    if source is None or channels % width:
        return None
    return Source(source.parameters, channels // width, head, f"{node.path}:pv")


def walk(flow: Dataflow, tensor: torch.Tensor, through: set[Any]) -> torch.Tensor:
    """Back through `through` as long as nobody else reads the tensors in between."""
    node = flow.producer.get(id(tensor))
    while node is not None and node.function in through and node.args and id(tensor) not in flow.site_of:
        before = node.args[0]
        if before is tensor or len(flow.readers_of(before)) != 1:
            break
        tensor, node = before, flow.producer.get(id(before))
    return tensor
