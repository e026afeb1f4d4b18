"""Who produced which tensor of a forward pass, and who read it: enough to move factors from one weight to another.

Recorded while the network runs once on a small example, at the level of torch functions, so that it works for any
module whose Python can run. Tensors are kept alive by the record, therefore their identities are unique.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook

from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView


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

    def argument(self, position: int, name: str) -> Any:
        """The argument that is given by position or by name; None if it is not given."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name)

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
        Site name -> its product.
    site_of : dict
        id of a site's output tensor -> the site's name.
    outputs : dict
        Site name -> its output tensor.
    alive : list
        Outputs of sites that ran again (steps of a scan): another tensor must not take their identity.
    """

    producer: dict[int, Node]
    readers: dict[int, list[Node]]
    sites: dict[str, GemmView]
    site_of: dict[int, str]
    outputs: dict[str, torch.Tensor]
    alive: list[torch.Tensor]

    def readers_of(self, tensor: torch.Tensor) -> list[Node]:
        """The nodes that read or change the numbers of `tensor`; asking for its shape or type reads none."""
        nodes = self.readers.get(id(tensor), [])
        return [node for node in nodes if node.makes_tensors() or _writes(node.function, node.args, node.kwargs)]


def network_output(output: torch.Tensor) -> torch.Tensor:
    """Stands in the record for whoever called the network: the last reader of what it returns."""
    return output


def _writes(function: Any, args: Any, kwargs: Any) -> bool:
    """Whether a torch call changes its first argument in place: `add_`, `__iadd__`, `relu(x, inplace=True)`."""
    name = getattr(function, "__name__", "")
    if (name.endswith("_") and not name.endswith("__")) or name.startswith("__i") or name == "__setitem__":
        return True
    functional = getattr(function, "__module__", "") == "torch.nn.functional"
    return kwargs.get("inplace") is True or (functional and any(value is True for value in args[1:]))


def record(network: Network, batch: Batch) -> Dataflow:
    """Run `batch` once in float and record every torch function with what it read and made."""
    flow = Dataflow({}, {}, {}, {}, {}, [])

    def compute(site: Site, view: GemmView) -> torch.Tensor:
        result = view.float_result()
        flow.sites[site.name] = view
        flow.site_of[id(result)] = site.name
        flow.outputs[site.name] = result
        flow.alive.append(result)
        return result

    def watch(function: Any, args: Any, kwargs: Any, result: Any) -> None:
        if args and result is args[0] and not _writes(function, args, kwargs):
            return  # `x.to(dtype)` or `x.contiguous()` that had nothing to do
        node = Node(function, tuple(args), dict(kwargs), mode.path, result)
        for part in result if isinstance(result, tuple | list) else (result,):
            if isinstance(part, torch.Tensor):
                flow.producer[id(part)] = node
        for tensor in node.tensors():
            flow.readers.setdefault(id(tensor), []).append(node)

    assert network.module is not None
    mode = SiteMode(network.module, compute, watch)
    returned: list[Any] = []
    root = network.module

    def keep(module: torch.nn.Module, inputs: Any, output: Any) -> None:  # noqa: ARG001
        if module is root:
            returned.append(output)

    handle = register_module_forward_hook(keep)  # of all modules: scripted ones take no hooks of their own
    try:
        with torch.no_grad(), mode:
            returned.append(network.forward(batch))
    finally:
        handle.remove()
    for output in tensors_in(returned):  # all that the module hands out, whatever of it is judged
        flow.readers.setdefault(id(output), []).append(Node(network_output, (output,), {}, "", output))
        flow.alive.append(output)
    return flow


def tensors_in(value: Any) -> list[torch.Tensor]:
    """The tensors in what a module returns: inside tuples, lists, mappings and dataclasses."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, Mapping):
        return [each for part in value.values() for each in tensors_in(part)]
    if isinstance(value, tuple | list):
        return [each for part in value for each in tensors_in(part)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return tensors_in(vars(value))
    return []
