"""Who produced which tensor of a forward pass, and who read it: enough to move factors from one weight to another.

Recorded while the network runs once on a small example, at the level of torch functions, so that it works for any
module whose Python can run. Tensors are kept alive by the record, therefore their identities are unique.
"""

import dataclasses
from typing import Any

import torch

from bitwright.networks.calls import Call
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site


@dataclasses.dataclass(frozen=True)
class Node:
    """One torch function call, in the module at `path`."""

    function: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    path: str
    result: Any

    def tensors(self) -> list[torch.Tensor]:
        """Its tensor arguments, inside lists too."""
        found = []
        for value in (*self.args, *self.kwargs.values()):
            parts = value if isinstance(value, tuple | list) else (value,)
            found += [part for part in parts if isinstance(part, torch.Tensor)]
        return found

    def makes_tensors(self) -> bool:
        """Whether its result holds tensors, other than by looking up an attribute."""
        parts = self.result if isinstance(self.result, tuple | list) else (self.result,)
        return any(isinstance(part, torch.Tensor) for part in parts)


@dataclasses.dataclass(frozen=True)
class Dataflow:
    """The record of one forward pass.

    Attributes
    ----------
    producer : dict
        id of a tensor -> the node whose result it is.
    readers : dict
        id of a tensor -> the nodes that read it.
    sites : dict
        Site name -> its call.
    site_of : dict
        id of a site's output tensor -> the site's name.
    outputs : dict
        Site name -> its output tensor.
    """

    producer: dict[int, Node]
    readers: dict[int, list[Node]]
    sites: dict[str, Call]
    site_of: dict[int, str]
    outputs: dict[str, torch.Tensor]

    def readers_of(self, tensor: torch.Tensor) -> list[Node]:
        """The nodes that read the numbers of `tensor`; asking for its shape or type reads none."""
        return [node for node in self.readers.get(id(tensor), []) if node.makes_tensors()]


def _writes(function: Any) -> bool:
    """Whether a torch function changes its first argument in place, by its name: `add_`, `__iadd__`."""
    name = getattr(function, "__name__", "")
    return (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


def record(network: Network, batch: Batch) -> Dataflow:
    """Run `batch` once in float and record every torch function with what it read and made."""
    flow = Dataflow({}, {}, {}, {}, {})

    def compute(site: Site, call: Call) -> torch.Tensor:
        result = call.float_result()
        flow.sites[site.name] = call
        flow.site_of[id(result)] = site.name
        flow.outputs[site.name] = result
        return result

    def watch(function: Any, args: Any, kwargs: Any, result: Any) -> None:
        if args and result is args[0] and not _writes(function):
            return  # `x.to(dtype)` or `x.contiguous()` that had nothing to do
        node = Node(function, tuple(args), dict(kwargs), mode.path, result)
        for part in result if isinstance(result, tuple | list) else (result,):
            if isinstance(part, torch.Tensor):
                flow.producer[id(part)] = node
        for tensor in node.tensors():
            flow.readers.setdefault(id(tensor), []).append(node)

    assert network.module is not None
    mode = SiteMode(network.module, compute, watch)
    with torch.no_grad(), mode:
        network.forward(batch)
    return flow
