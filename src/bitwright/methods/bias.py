"""Bias correction: what quantization moves the mean of an output channel by is taken off its bias.

Source: Nagel et al., "Data-free quantization through weight equalization and bias correction", ICCV 2019; here from
samples, site by site in the order in which they run, each after those before it are corrected, as Brevitas
has it. An option of every method. A bias that is no parameter of its own, or that several sites share, stays.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import torch

from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import observe
from bitwright.networks.view import GemmView

Means = dict[str, torch.Tensor]
"""Site -> the mean of each output channel in float."""
Product = Callable[[Site, GemmView], torch.Tensor | None]
"""The quantized output of a call; None where it stays float."""


def channel_means(view: GemmView, result: torch.Tensor) -> torch.Tensor:
    """Means of a product's result, in the network's layout, over all but its channels [groups * N]."""
    if not view.spatial:
        return result.reshape(-1, result.shape[-1]).mean(0)
    channels = _channel_axis(view, result)
    return result.mean([axis for axis in range(result.dim()) if axis != channels])


def _channel_axis(view: GemmView, result: torch.Tensor) -> int:
    """Which axis of a convolution's result is its channels."""
    order = view.arrangement.order
    if view.lead or order is None:
        return result.dim() - 1 - view.spatial
    return order.index(len(order) - 1) - (len(order) - result.dim())  # an unbatched image has no axis of images


def corrected(view: GemmView, result: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """`result` moved to the float network's channel means."""
    delta = mean - channel_means(view, result)
    after = result.dim() - 1 - _channel_axis(view, result) if view.spatial else 0
    return result + delta.view(-1, *[1] * after)


def bias_names(network: Network, batches: Sequence[Batch]) -> dict[str, str]:
    """Site -> the parameter that is its bias, of the sites that have one to themselves in any of the batches."""
    assert network.module is not None
    names = {id(parameter): name for name, parameter in network.module.named_parameters()}
    found: dict[str, str] = {}

    def watch(site: Site, view: GemmView) -> torch.Tensor:
        bias = view.bias_parameter
        if bias is not None and bias.dim() == 1 and id(bias) in names:
            found[site.name] = names[id(bias)]
        return view.float_result()

    for batch in batches:
        observe(network, batch, watch)
    uses = Counter(found.values())
    return {site: name for site, name in found.items() if uses[name] == 1}


def float_means(network: Network, batch: Batch, sites: Mapping[str, str]) -> Means:
    """Channel means of the outputs of `sites` in float; none of a site that has no rows (an unused expert)."""
    means: Means = {}

    def watch(site: Site, view: GemmView) -> torch.Tensor:
        y = view.float_result()
        if site.name in sites and y.numel():
            means[site.name] = channel_means(view, y)
        return y

    observe(network, batch, watch)
    return means


class BiasCorrection:
    """Corrects the biases of a network whose quantized products may change, by the same batches.

    Parameters
    ----------
    network : Network
        As it is executed: folded and smoothed, its weights rounded.
    batches : sequence of batches
        Unlabelled samples.
    reference : Network or None
        The same in float, before its weights were rounded: whose means are aimed at; None: `network` itself.
    """

    def __init__(self, network: Network, batches: Sequence[Batch], reference: Network | None = None) -> None:
        assert network.module is not None
        self.network, self.batches = network, batches
        reference = network if reference is None else reference
        self.sites = bias_names(reference, batches)
        self.means = [float_means(reference, batch, self.sites) for batch in batches]

    def biases(self, product: Product) -> dict[str, torch.Tensor]:
        """Parameter name -> corrected bias, by the mean of the batches that reach it; sites compute `product`."""
        assert self.network.module is not None
        parameters = dict(self.network.module.named_parameters())
        found = [
            moved_means(self.network, batch, means, product)
            for batch, means in zip(self.batches, self.means, strict=True)
        ]
        return {self.sites[name]: parameters[self.sites[name]].detach() + move for name, move in mean_of(found).items()}


def moved_means(network: Network, batch: Batch, means: Means, product: Product) -> Means:
    """What is to be added to the biases of the sites in `means`, by one batch, each after those before it."""
    moves: Means = {}

    def watch(site: Site, view: GemmView) -> torch.Tensor:
        y = product(site, view)
        if y is None:
            return view.float_result()
        if site.name not in means:
            return y
        moves[site.name] = means[site.name] - channel_means(view, y)
        return corrected(view, y, means[site.name])

    observe(network, batch, watch)
    return moves


def mean_of(found: Sequence[Means]) -> Means:
    """Site -> the mean over the batches that reach it."""
    deltas: dict[str, list[torch.Tensor]] = {}
    for moves in found:
        for name, move in moves.items():
            deltas.setdefault(name, []).append(move)
    return {name: torch.stack(each).mean(0) for name, each in deltas.items()}
