"""What becomes of everything that a network does."""

from __future__ import annotations

from bitwright.api.networks import named
from bitwright.later import torch
from bitwright.networks.network import Batch, Network
from bitwright.networks.nodes import NodeReport, report_nodes


def nodes(network: Network | str | torch.nn.Module, inputs: Batch | None = None) -> NodeReport:
    """Every node of a network: mapped to a site, on the vector unit, free, or refused and why.

    Parameters
    ----------
    network : Network, str or torch.nn.Module
        Or its name, or a module with `example_inputs`.
    inputs : mapping of tensors or None
        What one inference is given; None is the network's own example.

    Returns
    -------
    NodeReport
        All of an ONNX file's nodes, or the operators of each module; `.frame()` has them as a table.

    Raises
    ------
    InputError
        As `load`; inputs that the network does not run on.

    Examples
    --------
    >>> found = nodes("resnet18")
    >>> found.macs, str(found.lines[0].place), found.lines[0].operator, found.lines[0].sites
    (1814073344, 'mapped', 'conv2d', ('conv1',))
    """
    return report_nodes(named(network), inputs)
