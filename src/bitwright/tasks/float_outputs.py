"""Outputs of the float network by batch, so that plans judged a few at a time need it to run only once."""

from __future__ import annotations

import time
from collections.abc import Callable

from bitwright.later import torch
from bitwright.networks.network import Batch, Network

KEPT_BYTES = 2**29
"""Of outputs that are kept; further batches run again. Our choice: 2,048 tokens of a vocabulary of 49,152 fit."""


class FloatOutputs:
    """The float network's output for each batch of one task, and the seconds that it took."""

    def __init__(self, network: Network, *, kept_bytes: int = KEPT_BYTES) -> None:
        self.network, self.left = network, kept_bytes
        self._kept: dict[int, tuple[torch.Tensor, float]] = {}

    def of(self, index: int, inputs: Batch) -> tuple[torch.Tensor, float]:
        """The output for batch number `index`, which holds `inputs` whenever it is asked for."""
        if index in self._kept:
            return self._kept[index]
        found = timed(self.network, self.network.forward, inputs)
        size = found[0].numel() * found[0].element_size()
        if size <= self.left:
            self.left -= size
            self._kept[index] = found
        return found


def timed(network: Network, run: Callable[[Batch], torch.Tensor], inputs: Batch) -> tuple[torch.Tensor, float]:
    """An output without gradients, and the seconds it took."""
    _finish(network)
    start = time.perf_counter()
    with torch.no_grad():
        output = run(inputs)
    _finish(network)
    return output, time.perf_counter() - start


def _finish(network: Network) -> None:
    """Wait for what a GPU still computes."""
    if network.device.type == "cuda":
        torch.cuda.synchronize(network.device)
