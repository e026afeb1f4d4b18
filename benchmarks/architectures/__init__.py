"""Architectures with small random weights, for `coverage.py`: from configurations or written out, never fetched."""

import contextlib
import dataclasses
import importlib
from collections.abc import Callable
from typing import Any

import torch

FAMILIES = ("constructs", "layers", "programs")
Inputs = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """A small network of one architecture.

    Attributes
    ----------
    name : str
        Of the architecture.
    family : str
        text, vision, audio, multimodal, experts, state space, recurrent, diffusion, convolutional or construct.
    make : callable
        Without arguments -> (module, example inputs).
    """

    name: str
    family: str
    make: Callable[[], tuple[torch.nn.Module, Any]]

    def build(self) -> tuple[torch.nn.Module, Inputs]:
        """The module in evaluation mode with seeded weights, and its example inputs: a tensor, a tuple, or by name."""
        torch.manual_seed(0)
        module, inputs = self.make()
        with contextlib.suppress(NotImplementedError):  # an exported program has the one mode it was exported in
            module.eval()
        return module, inputs


def every_architecture() -> list[Architecture]:
    """All of this package, by family."""
    found = []
    for name in FAMILIES:
        found += importlib.import_module(f"benchmarks.architectures.{name}").ARCHITECTURES
    return found
