"""What a network consists of: its sites, and everything else it does, counted per operator.

Sites come from the function mode. The rest is counted where torch finally executes it (its dispatcher), so nothing
can be dropped silently; products that are no sites are found by torch's own registry of operation counts.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from bitwright.networks.calls import Call
from bitwright.networks.mode import Handler, SiteMode
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.networks.sites import OtherOperation, Site
from bitwright.networks.synthetic import synthetic_calls


@dataclasses.dataclass(frozen=True, kw_only=True)
class Trace:
    """The sites of one forward pass in order, and the operators beside them."""

    sites: tuple[Site, ...]
    others: tuple[OtherOperation, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all sites."""
        return sum(site.macs for site in self.sites)


VECTOR = "product with a vector"
UNREGISTERED: dict[Any, tuple[str, Callable[..., int]]] = {  # what torch's registry lacks: why no site, and its MACs
    torch.ops.aten.mv: (VECTOR, lambda matrix, *_: matrix.numel()),
    torch.ops.aten.dot: (VECTOR, lambda vector, *_: vector.numel()),
    torch.ops.aten.vdot: (VECTOR, lambda vector, *_: vector.numel()),
    torch.ops.aten.addmv: (VECTOR, lambda _, matrix, *__: matrix.numel()),
    torch.ops.aten._trilinear: ("bilinear product", lambda x, w, *_: len(x) * w.numel()),
    torch.ops.aten.mkldnn_rnn_layer: (
        "recurrent layer, which is not split into sites",
        lambda x, w_x, w_h, *_: x.shape[0] * x.shape[1] * (w_x.numel() + w_h.numel()),
    ),
}


class OperatorCounter(TorchDispatchMode):
    """Counts the operators that run outside the sites of `mode`, but for views, which move nothing."""

    def __init__(self, mode: SiteMode) -> None:
        super().__init__()
        self.mode = mode
        self.counts: dict[tuple[str, str], list[int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if self.mode.inside_site or func.is_view or not isinstance(result, torch.Tensor | tuple | list):
            return result
        elements = _elements(result)
        name = func.overloadpacket.__name__.strip("_")
        macs, reason = 0, ""
        if func.overloadpacket in flop_registry:
            macs = flop_registry[func.overloadpacket](*args, **kwargs, out_val=result) // 2
            reason = _why_no_site(name, self.mode.function, args)
        elif func.overloadpacket in UNREGISTERED:
            reason, count = UNREGISTERED[func.overloadpacket]
            macs = count(*args)
        entry = self.counts.setdefault((name, reason), [0, 0, 0])
        for i, value in enumerate((1, elements, macs)):
            entry[i] += value
        return result

    def others(self) -> tuple[OtherOperation, ...]:
        """Everything counted, the largest first."""
        found = (
            OtherOperation(name=name, reason=reason, calls=calls, elements=elements, macs=macs)
            for (name, reason), (calls, elements, macs) in self.counts.items()
        )
        return tuple(sorted(found, key=lambda o: (-o.macs, -o.elements, o.name)))


def _elements(result: Any) -> int:
    parts = result if isinstance(result, tuple | list) else (result,)
    return sum(part.numel() for part in parts if isinstance(part, torch.Tensor))


def _why_no_site(name: str, function: str, args: Any) -> str:
    if "conv" in name:
        if len(args) > 6 and args[6]:
            return "transposed convolution"
        axes = args[0].dim() - 2
        return f"{axes}-D convolution; sites are 2-D ones" if axes != 2 else "2-D convolution without a batch axis"
    first = args[1] if name in {"addmm", "baddbmm"} else args[0]
    if isinstance(first, torch.Tensor) and first.shape[-1] == 1:
        return "outer product, nothing to reduce"
    return f"product inside {function}, which is not split into sites" if function else "not split into sites"


def observe(network: Network, batch: Batch, handler: Handler) -> torch.Tensor:
    """The output of one forward pass whose sites are computed by `handler`, without gradients.

    A network with synthetic operands hands over its sites in the same order, each with operands of its own; whatever
    `handler` returns goes nowhere, and the output is empty. Without a module it needs no batch: an empty one does.
    """
    if network.distribution:
        for site, call, _ in synthetic_calls(network, batch):
            handler(site, call)
        return torch.empty(0)
    assert network.module is not None
    with torch.no_grad(), SiteMode(network.module, handler):
        return network.forward(batch)


def trace(network: Network, batch: Batch | None = None, handler: Handler | None = None) -> Trace:
    """The sites and operators of one forward pass on `batch` (the network's own example if None).

    `handler` computes the sites meanwhile, in float if None. A network that is a list of products has nothing else.
    """
    if network.module is None:
        return Trace(sites=network.sites, others=())
    if batch is None:
        batch = example_batch(network)
    sites: list[Site] = []
    compute: Callable[[Site, Call], torch.Tensor] = handler or (lambda _, call: call.float_result())

    def record(site: Site, call: Call) -> torch.Tensor:
        sites.append(site)
        return compute(site, call)

    mode = SiteMode(network.module, record)
    counter = OperatorCounter(mode)
    with torch.no_grad(), counter, mode:
        network.forward(batch)
    return Trace(sites=tuple(sites), others=counter.others())


def example_batch(network: Network) -> dict[str, torch.Tensor]:
    """The network's own example input of its default shape."""
    if network.example is None:
        raise ValueError(f"{network.name} has no example input")
    return network.example(InputShape())
