"""Which weights calibration may choose the values of, and where these stand in the network's parameters.

A parameter can be changed for a site only if that site is all that reads it, as a recorded pass of the network's own
example tells: one that serves twice, is computed from others, or is read in parts (experts of one tensor) stays as it
is, and so does what the example does not reach.
"""

import dataclasses
from collections import Counter
from collections.abc import Mapping

import torch

from bitwright.formats import PerGroup
from bitwright.methods.plan import OperandPlan
from bitwright.networks.dataflow import Dataflow, record
from bitwright.networks.network import Network
from bitwright.networks.trace import example_batch
from bitwright.networks.view import GemmView, distinct


@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """The weight of one site.

    Attributes
    ----------
    site, parameter : str
        Names.
    lead : int
        How many of the view's axes are groups.
    groups, k : int
        Independent products, and elements that are added up.
    shape, stride : tuple of int
        Of w as the view has it, in the parameter's memory.
    """

    site: str
    parameter: str
    lead: int
    groups: int
    k: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    def view(self, parameter: torch.Tensor) -> torch.Tensor:
        """w of the parameter's values, as the view has it."""
        return parameter.as_strided(self.shape, self.stride)

    def rows(self, w: torch.Tensor) -> torch.Tensor:
        """w, or what broadcasts to it, as rows [groups, n, K]."""
        return w.expand(self.shape).reshape(self.groups, -1, self.k)

    def placed(self, rows: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
        """A copy of the parameter with these rows."""
        result = parameter.detach().clone()
        self.view(result).copy_(rows.reshape(self.shape))
        return result


def find_targets(network: Network) -> dict[str, Target]:
    """Site -> its weight, of those that may change."""
    assert network.module is not None
    flow = record(network, example_batch(network))
    names = own_memory(dict(network.module.named_parameters()))
    found = {}
    for site, view in flow.sites.items():
        weight = view.weight
        if weight is None or id(weight) not in names or not _whole(view, weight) or not _read_once(flow, weight):
            continue
        found[site] = Target(
            site=site,
            parameter=names[id(weight)],
            lead=view.lead,
            groups=view.groups,
            k=view.k,
            shape=tuple(view.w.shape),
            stride=tuple(view.w.stride()),
        )
    uses = [target.parameter for target in found.values()]
    return {site: target for site, target in found.items() if uses.count(target.parameter) == 1}


def own_memory(parameters: Mapping[str, torch.Tensor]) -> dict[int, str]:
    """The id of every parameter that has its memory to itself, and its name: no other one begins where it does."""
    uses = Counter(parameter.data_ptr() for parameter in parameters.values())
    return {id(parameter): name for name, parameter in parameters.items() if uses[parameter.data_ptr()] == 1}


def _whole(view: GemmView, weight: torch.Tensor) -> bool:
    """Whether w is all of a parameter, in whatever order of axes, and a copy of that would have the same strides."""
    return (
        isinstance(weight, torch.nn.Parameter)
        and not view.part
        and view.w.numel() == weight.numel() == distinct(view.w).numel()
        and view.w.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()
        and view.w.storage_offset() == weight.storage_offset()
        and weight.detach().clone().stride() == weight.stride()
        and view.w.shape[: view.lead].numel() == view.groups
    )


def _read_once(flow: Dataflow, weight: torch.Tensor) -> bool:
    """Whether one function reads the parameter; its memory in another order (`w.t()`) may be read once likewise."""
    readers = flow.readers_of(weight)
    while len(readers) == 1:
        result = readers[0].result
        if not isinstance(result, torch.Tensor) or id(result) in flow.site_of:
            return True
        if result.untyped_storage().data_ptr() != weight.untyped_storage().data_ptr():
            return True
        readers = flow.readers_of(result)
    return False


def spread_scale(w: OperandPlan, target: Target) -> torch.Tensor:
    """The scale of every element, broadcastable to w."""
    steps = w.steps
    assert steps is not None
    if not isinstance(w.granularity, PerGroup):
        return steps.float()
    return steps.float().repeat_interleave(w.granularity.size, dim=-1)[..., : target.shape[-1]]
