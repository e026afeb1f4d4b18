"""What studies of networks as shapes have in common: their sizes in words, and what is in no figure."""

import dataclasses
from collections.abc import Iterator, Sequence

from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.networks.trace import Trace, example_batch, trace
from bitwright.studies.simulate import NO_SITE


def refuse_synthetic(networks: Sequence[Network], reason: str) -> None:
    """Refuse synthetic operands; raises `InputError`, which gives the reason."""
    for network in networks:
        if network.distribution:
            raise InputError(f"{network.name} has synthetic operands, and {reason}; leave the distribution out")


def as_shapes(network: Network) -> tuple[Network, Trace]:
    """The network as shapes, and its trace."""
    traced = trace(network)
    return dataclasses.replace(network, module=None, sites=traced.sites), traced


def input_sizes(network: Network) -> str:
    """The sizes of the network's example input."""
    if network.module is None:
        return "the given sizes"
    return ", ".join(f"{name} {'x'.join(map(str, each.shape))}" for name, each in example_batch(network).items())


def left_out(traced: Trace) -> Iterator[str]:
    """Every product that is in no figure."""
    for operation in traced.others:
        if operation.macs:
            yield f"{operation.name} is in no figure: {operation.reason}; {NO_SITE}"
