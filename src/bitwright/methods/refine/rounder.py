"""Weights by second-order error again and again, as a search asks for them: a site's moments and factor are made once.

Memory beside the network: 8 bytes for each element of every H [groups, K, K]; sites that read one tensor share theirs.
"""

from collections.abc import Collection, Mapping, Sequence

import torch

from bitwright.methods.plan import OperandPlan
from bitwright.methods.refine.moments import Moments, observe_moments
from bitwright.methods.refine.second_order import Curvature, curvature, damped, second_order, values_of
from bitwright.methods.refine.targets import Target, spread_scale
from bitwright.networks.network import Batch, Network


class Rounder:
    """Rounds the weights of one network.

    Parameters
    ----------
    network : Network
        In float, folded.
    samples : sequence of batches
        That give the moments.
    targets : mapping
        Site -> its weight, of all sites that are rounded.
    centred : collection of str
        Sites whose biases take the mean of their error off.
    """

    def __init__(
        self, network: Network, samples: Sequence[Batch], targets: Mapping[str, Target], centred: Collection[str]
    ) -> None:
        assert network.module is not None
        self.targets = targets
        self._parameters = dict(network.module.named_parameters())
        self._curvatures: dict[str, Curvature] = {}
        moments = observe_moments(network, samples, targets)
        shared: dict[tuple[int, bool], Curvature] = {}
        for name, found in moments.items():
            key = (id(found), name in centred)
            if key not in shared:
                shared[key] = curvature_of(found, centred=name in centred)
            self._curvatures[name] = shared[key]

    @property
    def sites(self) -> Collection[str]:
        """Whose weights it can round."""
        return self._curvatures.keys()

    def weight(self, name: str, w: OperandPlan) -> torch.Tensor | None:
        """What the weight of a site becomes as its view has it, float32; None of a site that may not change."""
        if name not in self._curvatures:
            return None
        target = self.targets[name]
        return rounded_rows(target, self._parameters[target.parameter], w, self._curvatures[name]).reshape(target.shape)


def curvature_of(moments: Moments, *, centred: bool) -> Curvature:
    """Of a site whose biases take the mean of its error off (`centred`) or not, for float32 weights on the CPU."""
    return curvature(damped(moments.mean_product(centred=centred).cpu()), torch.float32)


def rounded_rows(target: Target, parameter: torch.Tensor, w: OperandPlan, by: Curvature) -> torch.Tensor:
    """A parameter's weight by second-order error as rows [groups, n, K], float32 on its own device."""
    rows = second_order(
        target.rows(target.view(parameter.detach())).float().cpu(),
        target.rows(spread_scale(w, target)).cpu(),
        values_of(w.format),
        by,
    )
    return rows.to(parameter.device)
