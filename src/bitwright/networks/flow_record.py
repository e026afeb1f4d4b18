"""Who reads which activation, recorded while a network runs once (`bitwright.networks.flows`)."""

from typing import Any

import torch

from bitwright.networks.counting import OperatorCounts
from bitwright.networks.flows import Activation, Flows
from bitwright.networks.mode import SiteMode
from bitwright.networks.network import Batch, Network
from bitwright.networks.ownership import memory
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView


def record_flows(network: Network, batch: Batch) -> Flows:
    """Run `network` once on `batch`, in float, and note who reads what."""
    assert network.module is not None
    record = _Record()
    with torch.no_grad(), SiteMode(network.module, torch.no_grad()(record.site), counts=record):
        output = network.forward(batch)
    record.end(output)
    return Flows(
        sites=tuple(record.names),
        activations=tuple(record.activations),
        reads=tuple(record.reads),
        makes=tuple(record.makes),
    )


class _Record(OperatorCounts):
    """Listens to every operator; keeps tensors alive, so that their memory is theirs alone."""

    def __init__(self) -> None:
        super().__init__()
        self.activations: list[Activation] = []
        self.names: list[str] = []
        self.reads: list[int] = []
        self.makes: list[int] = []
        self._held: dict[int, int] = {}  # memory -> activation
        self._alive: list[torch.Tensor] = []

    @property
    def _now(self) -> int:
        return len(self.reads) - 1

    def site(self, site: Site, view: GemmView) -> torch.Tensor:
        """A site that runs."""
        x, w = self._held.get(memory(view.x), -1), self._held.get(memory(view.w), -1)
        self.names.append(site.name)
        self.reads.append(x)
        for activation in (x, w):
            if activation >= 0:
                self.activations[activation].last = self._now
        if w >= 0:
            self.activations[w].streams = False
        result = view.float_result()
        self.makes.append(self._new(result))
        return result

    def add(self, func: Any, args: Any, kwargs: Any, result: Any, why: str = "") -> None:  # noqa: ARG002
        """An operator that ran outside the sites."""
        inputs = {self._held[memory(each)] for each in _tensors((args, kwargs)) if memory(each) in self._held}
        outputs = _tensors(result)
        if not inputs or not outputs:
            return
        if len(inputs) == 1:
            (activation,) = inputs
            for each in outputs:
                self._hold(each, activation)
            return
        for activation in inputs:
            self.activations[activation].last = max(self.activations[activation].last, self._now)
        self._new(outputs[0])
        for each in outputs[1:]:
            self._hold(each, len(self.activations) - 1)

    def end(self, output: Any) -> None:
        """What the network returns crosses DRAM."""
        for each in _tensors(output):
            if memory(each) in self._held:
                self.activations[self._held[memory(each)]].leaves = True

    def _new(self, tensor: torch.Tensor) -> int:
        self.activations.append(Activation(elements=0, born=self._now))
        self._hold(tensor, len(self.activations) - 1)
        return len(self.activations) - 1

    def _hold(self, tensor: torch.Tensor, activation: int) -> None:
        found = self.activations[activation]
        found.elements = max(found.elements, tensor.numel())
        self._held[memory(tensor)] = activation
        self._alive.append(tensor)


def _tensors(values: Any) -> list[torch.Tensor]:
    if isinstance(values, torch.Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    elif not isinstance(values, tuple | list):
        return []
    return [each for value in values for each in _tensors(value)]
