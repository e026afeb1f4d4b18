"""What a network consists of: its sites, and everything else it does, counted per operator."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitwright.errors import unknown_site
from bitwright.later import later, torch
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.networks.sites import OtherOperation, Site
from bitwright.networks.view import GemmView

if TYPE_CHECKING:
    from bitwright.networks import counting, mode, synthetic
    from bitwright.networks.mode import Handler
else:
    counting = later("bitwright.networks.counting")
    mode = later("bitwright.networks.mode")
    synthetic = later("bitwright.networks.synthetic")

RECORDED_TOKENS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trace:
    """The sites of one forward pass in the order in which they first ran, and the operators beside them."""

    sites: tuple[Site, ...]
    others: tuple[OtherOperation, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all sites."""
        return sum(site.macs for site in self.sites)


def observe(network: Network, batch: Batch, handler: Handler) -> torch.Tensor:
    """The output of one forward pass whose sites are computed by `handler`, without gradients.

    A network with synthetic operands hands over its sites in the same order, each with operands of its own; whatever
    `handler` returns goes nowhere, and the output is empty. Without a module it needs no batch: an empty one does.
    """
    if network.distribution:
        for site, view, _ in synthetic.synthetic_calls(network, batch):
            handler(site, view)
        return torch.empty(0)
    assert network.module is not None
    with torch.no_grad(), mode.SiteMode(network.module, torch.no_grad()(handler)):
        return network.forward(batch)


def trace(network: Network, batch: Batch | None = None, handler: Handler | None = None) -> Trace:
    """The sites and operators of one forward pass on `batch` (the network's own example if None).

    `handler` computes the sites meanwhile, in float if None. A network that is a list of products has nothing else.
    """
    if network.module is None:
        return Trace(sites=network.sites, others=())
    if batch is None:
        batch = example_batch(network)
    found = SiteCounts()
    compute: Handler = handler or _float_or_shape

    def record(site: Site, view: GemmView) -> torch.Tensor:
        found.add(site)
        return compute(site, view)

    counts = counting.OperatorCounts()
    with torch.no_grad(), mode.SiteMode(network.module, torch.no_grad()(record), counts=counts):
        network.forward(batch)
    return Trace(sites=found.sites(), others=counts.others())


def _float_or_shape(_: Site, view: GemmView) -> torch.Tensor:
    """The result in float; on the meta device a tensor of its shape, which torch finds slowly."""
    x = view.x
    if not x.is_meta or not view.w.is_meta or x.dtype != view.w.dtype:
        return view.float_result()
    if view.spatial:  # torch lays out what its convolutions give as their input, contiguous or channels last
        return torch.empty(view.network_shape, dtype=x.dtype, device="meta") if _plain(view) else view.float_result()
    return view.result(torch.empty(view.output_shape, dtype=x.dtype, device="meta"))


def _plain(view: GemmView) -> bool:
    return view.source is not None and view.source.is_contiguous()


def require_sites(network: Network, globs: Sequence[str], batch: Batch | None) -> None:
    """Look for sites of a pass on `batch` before a network is calibrated for them, which may take minutes.

    Raises
    ------
    InputError
        A name or glob that no site of a forward pass has; with the nearest names.
    """
    names = [site.name for site in trace(network, batch).sites] if globs else []
    for glob in globs:
        if glob not in names and not fnmatch.filter(names, glob):
            raise unknown_site(glob, names, network.name)


class SiteCounts:
    """Sites as they run, equal ones counted."""

    def __init__(self) -> None:
        self._counts: dict[Site, int] = {}

    def add(self, site: Site) -> None:
        """One that ran."""
        self._counts[site] = self._counts.get(site, 0) + 1

    def sites(self) -> tuple[Site, ...]:
        """Every site once, with how often it ran, in the order of first runs."""
        return tuple(dataclasses.replace(site, count=count) for site, count in self._counts.items())


def example_batch(network: Network) -> dict[str, torch.Tensor]:
    """The network's own example input of its default shape."""
    if network.example is None:
        raise ValueError(f"{network.name} has no example input")
    return network.example(InputShape())


def recording_batch(network: Network) -> dict[str, torch.Tensor]:
    """The shortest input of a network's kind that shows who reads what: a few tokens, where its own would be many."""
    if network.kind in ("language", "sentence") and "tokenizer" in network.tools and network.example is not None:
        return network.example(InputShape(sequence_length=RECORDED_TOKENS))
    return example_batch(network)
