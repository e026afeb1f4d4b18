"""Activation smoothing: large activation channels are divided by s, and the weights that read them multiplied by s.

s_j = max|X_j|**a / max|W_j|**(1 - a) per input channel j, with a the migration strength (SmoothQuant, Xiao et al.,
ICML 2023, eq. 4). The division is folded into the weights before, so it costs nothing at run time. Where it can go is
read off a recorded forward pass: into a norm's gain, a linear layer's rows or, through attention, the value projection.
A tensor that anything else reads too, or that a non-linear function made, is left alone.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.dataflow import Dataflow, Node, record
from bitwright.networks.network import Batch, Network
from bitwright.networks.siblings import unreached

_T = torch.Tensor
_SAME_LAST_AXIS = {_T.view, _T.reshape, torch.reshape, _T.flatten, torch.flatten, _T.unflatten}
_SAME = {_T.contiguous, _T.to, _T.type_as, _T.float, _T.clone, torch.clone, F.dropout, _T.unsqueeze, torch.unsqueeze}
_MOVES = {_T.transpose, torch.transpose, _T.permute, torch.permute, _T.expand, _T.__getitem__, _T.expand_as}
_REPEATS = {_T.repeat_interleave, torch.repeat_interleave}
_HOMOGENEOUS = {F.relu, torch.relu, _T.relu, torch.relu_}
_MULTIPLY = {_T.__mul__, _T.__rmul__, _T.mul, torch.mul}
_NORMS_WITH_BIAS = {F.layer_norm, torch.layer_norm}
_NORMS = {*_NORMS_WITH_BIAS, F.rms_norm, torch.rms_norm}


@dataclasses.dataclass(frozen=True, kw_only=True)
class SmoothingGroup:
    """Sites that read one tensor, and the parameters that scale it.

    Attributes
    ----------
    sites : tuple of str
        They read the same activation and therefore share s.
    channels : int
        Length of s.
    sources : tuple of torch.Tensor
        Parameters whose first axis is the tensor's channels: dividing them by s divides the tensor.
    readers : tuple of (torch.Tensor, int)
        Weights of the sites and which of their axes is the reduction axis.
    repeats : int
        Query heads that share a value head: s is equal among them, and `sources` have channels / repeats rows.
    head : int
        Channels per head where the tensor comes out of attention.
    through : str or None
        The PV site whose values are divided too, where the tensor comes out of attention.
    """

    sites: tuple[str, ...]
    channels: int
    sources: tuple[torch.Tensor, ...]
    readers: tuple[tuple[torch.Tensor, int], ...]
    repeats: int = 1
    head: int = 1
    through: str | None = None

    def tie(self, s: torch.Tensor) -> torch.Tensor:
        """`s` made equal among the heads that share their source: the largest of them."""
        if self.repeats == 1:
            return s
        shared = s.view(-1, self.repeats, self.head).amax(dim=1, keepdim=True)
        return shared.expand(-1, self.repeats, -1).reshape(-1)

    @torch.no_grad()
    def weight_peaks(self) -> torch.Tensor:
        """max |W_j| per input channel, over all sites of the group."""
        peaks = [w.abs().amax(dim=1 - axis) for w, axis in self.readers]
        return torch.stack(peaks).amax(dim=0)

    @torch.no_grad()
    def apply(self, s: torch.Tensor) -> None:
        """Divide the sources by `s` and multiply the readers by it, in place."""
        narrow = s if self.repeats == 1 else s.view(-1, self.repeats, self.head)[:, 0].reshape(-1)
        for source in self.sources:
            source.div_(narrow.view(-1, *[1] * (source.dim() - 1)))
        for weight, axis in self.readers:
            weight.mul_(s.view(-1, 1) if axis == 0 else s)


def untie(module: torch.nn.Module) -> None:
    """Give every linear layer that shares its weight with an embedding a copy of its own, in place.

    Only then can the output projection's input be smoothed; its codes are stored apart from the embedding anyway.
    """
    embeddings = {id(m.weight) for m in module.modules() if isinstance(m, torch.nn.Embedding)}
    for m in module.modules():
        if isinstance(m, torch.nn.Linear) and id(m.weight) in embeddings:
            m.weight = torch.nn.Parameter(m.weight.detach().clone(), requires_grad=m.weight.requires_grad)


def smoothing_groups(network: Network, batch: Batch) -> list[SmoothingGroup]:
    """Every group of sites of `network` whose shared input can be smoothed; `batch` is a small example."""
    flow = record(network, batch)
    found: dict[int, tuple[torch.Tensor, list[str]]] = {}
    for name, view in flow.sites.items():
        if view.plain and view.weight is not None and view.weight.dim() == 2:
            tensor = _origin(flow, view.x)
            found.setdefault(id(tensor), (tensor, []))[1].append(name)
    groups = [_group(flow, tensor, sites) for tensor, sites in found.values()]
    assert network.module is not None
    reached = {name: (view.site(name), view.w) for name, view in flow.sites.items() if view.weight is not None}
    partly = {
        name for each in unreached(network.module, reached) for name in each.of
    }  # others may read the same tensor
    return [group for group in groups if group is not None and not partly & set(group.sites)]


def smoothing_factors(peaks: torch.Tensor, weight_peaks: torch.Tensor, strength: float) -> torch.Tensor:
    """SmoothQuant's s [K] from max|X_j| and max|W_j|; channels that are never active keep 1."""
    s = peaks.pow(strength) / weight_peaks.clamp_min(1e-8).pow(1 - strength)
    s = torch.where((peaks > 0) & (weight_peaks > 0), s, torch.ones_like(s))
    return s.clamp(1e-5, 1e5)


def apply_smoothing(network: Network, factors: Mapping[str, torch.Tensor], batch: Batch) -> None:
    """Smooth `network` in place by factors per site name, as a plan keeps them."""
    assert network.module is not None
    untie(network.module)
    for group in smoothing_groups(network, batch):
        if group.sites[0] in factors:
            s = factors[group.sites[0]]
            group.apply(s.to(group.sources[0].device))


def _origin(flow: Dataflow, tensor: torch.Tensor) -> torch.Tensor:
    """`tensor` before reshapes and copies that keep its last axis."""
    node = flow.producer.get(id(tensor))
    while node is not None and node.args and node.args[0] is not tensor and _keeps_last_axis(node, tensor):
        tensor = node.args[0]
        node = flow.producer.get(id(tensor))
    return tensor


def _keeps_last_axis(node: Node, result: torch.Tensor) -> bool:
    if not node.args or not isinstance(node.args[0], torch.Tensor) or node.args[0].dim() == 0:
        return False
    before = node.args[0]
    if before.shape[-1:] != result.shape[-1:] or before.dtype != result.dtype:
        return False
    rows = node.function is _T.__getitem__ and before.dim() == result.dim()  # hidden[:, -1:], rows picked
    return rows or node.function in _SAME or node.function in _SAME_LAST_AXIS


def _group(flow: Dataflow, tensor: torch.Tensor, sites: list[str]) -> SmoothingGroup | None:
    """The group of sites that read `tensor`, or None where its factors have nowhere to go."""
    views = [flow.sites[name] for name in sites]
    weights = [view.weight for view in views]
    if not _read_only_by(flow, tensor, set(sites)) or len({id(w) for w in weights}) != len(weights):
        return None
    channels = tensor.shape[-1]
    source = _sources(flow, tensor, channels)
    if source is None:
        return None
    readers = []
    for view, weight in zip(views, weights, strict=True):
        if weight is None or not isinstance(weight, torch.nn.Parameter):
            return None  # computed from parameters
        if not (_same_view(view.w, weight) or _same_view(view.w, weight.t())):
            return None  # a part of a parameter
        readers.append((weight, 1 if _same_view(view.w, weight) else 0))
    if any(len(flow.readers_of(p)) != 1 for p in (*source.parameters, *(weight for weight, _ in readers))):
        return None  # a parameter that is used twice cannot change for one of its readers
    return SmoothingGroup(
        sites=tuple(sites),
        channels=channels,
        sources=source.parameters,
        readers=tuple(readers),
        repeats=source.repeats,
        head=source.head,
        through=source.through,
    )


def _same_view(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and a.stride() == b.stride() and a.data_ptr() == b.data_ptr()


def _read_only_by(flow: Dataflow, tensor: torch.Tensor, sites: set[str]) -> bool:
    """Whether everything that reads `tensor`, through reshapes too, is one of `sites`."""
    for node in flow.readers_of(tensor):
        result = node.result
        if isinstance(result, torch.Tensor) and flow.site_of.get(id(result)) in sites:
            continue
        if result is tensor:
            return False  # changed in place
        if isinstance(result, torch.Tensor) and _keeps_last_axis(node, result):
            if not _read_only_by(flow, result, sites):
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


def _sources(flow: Dataflow, tensor: torch.Tensor, channels: int) -> Source | None:
    """The parameters that scale `tensor` [..., channels] channel by channel."""
    node = flow.producer.get(id(tensor))
    if node is None or (node.args and node.args[0] is tensor):  # changed in place: what it was before is gone
        return None
    if id(tensor) in flow.site_of:
        return _linear_rows(flow, tensor, channels)
    if node.function in _NORMS:
        return _norm_gain(node, channels)
    if node.function in _MULTIPLY:
        return _factor(flow, node, channels)
    if (node.function in _HOMOGENEOUS and node.args) or _keeps_last_axis(node, tensor):
        before = node.args[0]
        return _sources(flow, before, channels) if len(flow.readers_of(before)) == 1 else None
    if node.function in _MOVES | _SAME_LAST_AXIS:
        return _value_projection(flow, tensor, channels)
    return None


def _linear_rows(flow: Dataflow, tensor: torch.Tensor, channels: int) -> Source | None:
    view = flow.sites[flow.site_of[id(tensor)]]
    if not view.plain or not isinstance(view.weight, torch.nn.Parameter) or not _same_view(view.w, view.weight):
        return None
    if view.arrangement.order is not None:
        return None  # its columns are not the last axis of what the network has
    if view.weight.shape[0] != channels or not (view.bias is None or _is_vector(view.bias, channels)):
        return None
    return Source((view.weight, *([] if view.bias is None else [view.bias])))


def _is_vector(tensor: Any, channels: int) -> bool:
    """Whether it is a parameter with one element per channel."""
    return isinstance(tensor, torch.nn.Parameter) and tuple(tensor.shape) == (channels,)


def _norm_gain(node: Node, channels: int) -> Source | None:
    gain = node.argument(2, "weight")
    bias = node.argument(3, "bias") if node.function in _NORMS_WITH_BIAS else None
    if not _is_vector(gain, channels) or not (bias is None or _is_vector(bias, channels)):
        return None
    return Source((gain, *([] if bias is None else [bias])))


def _factor(flow: Dataflow, node: Node, channels: int) -> Source | None:
    """A product: its parameter, or else whichever factor is itself a scalable tensor that nobody else reads."""
    factors = [a for a in node.args[:2] if isinstance(a, torch.Tensor)]
    for factor in factors:
        if _is_vector(factor, channels):
            return Source((factor,))
    for factor in factors:
        if factor.dim() and factor.shape[-1] == channels and len(flow.readers_of(factor)) == 1:
            source = _sources(flow, factor, channels)
            if source is not None:
                return source
    return None


def _value_projection(flow: Dataflow, tensor: torch.Tensor, channels: int) -> Source | None:
    """Through attention: its output's channels are those of the values, head by head."""
    attended = _walk(flow, tensor, _MOVES | _SAME | _SAME_LAST_AXIS)
    node = flow.producer.get(id(attended))
    if node is None or node.function is not F.scaled_dot_product_attention or attended.dim() != 4:
        return None
    heads, head = attended.shape[1], attended.shape[-1]
    values = node.argument(2, "value")
    if len(flow.readers_of(values)) != 1:
        return None
    value = _walk(flow, values, _MOVES | _SAME | _SAME_LAST_AXIS | _REPEATS)
    if heads * head != channels or id(value) not in flow.site_of:
        return None
    width = value.shape[-1]
    source = _linear_rows(flow, value, width)
    if source is None or channels % width:
        return None
    return Source(source.parameters, channels // width, head, f"{node.path}:pv")


def _walk(flow: Dataflow, tensor: torch.Tensor, through: set[Any]) -> torch.Tensor:
    """Back through `through` as long as nobody else reads the tensors in between."""
    node = flow.producer.get(id(tensor))
    while node is not None and node.function in through and node.args and id(tensor) not in flow.site_of:
        before = node.args[0]
        if before is tensor or len(flow.readers_of(before)) != 1:
            break
        tensor, node = before, flow.producer.get(id(before))
    return tensor
