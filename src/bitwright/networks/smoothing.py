"""Activation smoothing: large activation channels are divided by s, and the weights that read them multiplied by s.

s_j = max|X_j|**a / max|W_j|**(1 - a) per input channel j, with a the migration strength (SmoothQuant, Xiao et al.,
ICML 2023, eq. 4). The division is folded into the weights before, so it costs nothing at run time. Where it can go is
read off a recorded forward pass: into a norm's gain, a linear layer's rows or, through attention, the value projection.
A tensor that anything else reads too, or that a non-linear function made, is left alone.
"""

import dataclasses
from collections.abc import Mapping

import torch

from bitwright.networks.dataflow import Dataflow, record
from bitwright.networks.network import Batch, Network
from bitwright.networks.provenance import (
    Reader,
    read_only_by,
    readers_of_sites,
    sites_by_tensor,
    sources,
)


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
    readers: tuple[Reader, ...]
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
    groups = [_group(flow, tensor, sites) for tensor, sites in sites_by_tensor(network, flow)]
    return [group for group in groups if group is not None]


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


def _group(flow: Dataflow, tensor: torch.Tensor, sites: list[str]) -> SmoothingGroup | None:
    """The group of sites that read `tensor`, or None where its factors have nowhere to go."""
    if not read_only_by(flow, tensor, set(sites)):
        return None
    channels = tensor.shape[-1]
    source, readers = sources(flow, tensor, channels), readers_of_sites(flow, sites)
    if source is None or readers is None or any(len(flow.readers_of(p)) != 1 for p in source.parameters):
        return None
    return SmoothingGroup(
        sites=tuple(sites),
        channels=channels,
        sources=source.parameters,
        readers=readers,
        repeats=source.repeats,
        head=source.head,
        through=source.through,
    )
