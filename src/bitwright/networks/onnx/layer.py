"""What computes one node of a graph, or several that belong together."""

import dataclasses

import torch

from bitwright.networks.onnx.built import Built


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """A module for one node or several.

    Attributes
    ----------
    module : torch.nn.Module
        Computes `output` of the values `inputs`.
    inputs, outputs : tuple of str
        Names of values.
    weight : str
        The name of its weight, for the module's.
    joins : tuple of int
        Indices of the nodes that it computes beside its own.
    inner : tuple of Built
        What became of the nodes of graphs inside, by their paths below the module's.
    """

    module: torch.nn.Module
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weight: str = ""
    joins: tuple[int, ...] = ()
    inner: tuple[Built, ...] = ()
