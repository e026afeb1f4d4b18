"""Streams of operands that a circuit is measured under: uniform, Laplace, or codes that were given.

Uniform operands change half of their bits in every clock. Weights and activations of networks look more like Laplace
(ours: a mean magnitude of an eighth of the range's end; unsigned operands have the magnitudes alone). Ports that
steer a circuit do what `Circuit.controls` says.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np

from bitwright.circuits.circuit import Circuit, Integers, Port

Distribution = Literal["uniform", "laplace"]
DISTRIBUTIONS: tuple[Distribution, ...] = ("uniform", "laplace")
SPREAD = 8
"""Ends of the range by mean magnitudes, of Laplace's operands."""
CLOCKS, STREAMS = 128, 64


def stream(
    circuit: Circuit,
    distribution: Distribution,
    *,
    clocks: int = CLOCKS,
    streams: int = STREAMS,
    seed: int = 0,
    given: Mapping[str, Integers] | None = None,
) -> dict[str, Integers]:
    """Inputs [clocks, streams(, lanes)] of a circuit at work.

    Parameters
    ----------
    circuit : Circuit
        Whose ports they are.
    distribution : str
        Of operands.
    clocks, streams : int
        How many.
    seed : int
        Of every draw.
    given : mapping
        Port -> codes [clocks, streams(, lanes)] instead.
    """
    generator = np.random.default_rng(seed)
    found = dict(circuit.controls(clocks, streams)) | dict(given or {})
    for port in circuit.ports().inputs:
        if port.name not in found:
            shape = (clocks, streams, port.lanes) if port.lanes else (clocks, streams)
            found[port.name] = _drawn(port, distribution, shape, generator)
    return found


def _drawn(port: Port, distribution: Distribution, shape: tuple[int, ...], generator: np.random.Generator) -> Integers:
    if distribution == "uniform":
        return generator.integers(port.smallest, port.largest, shape, np.int64, endpoint=True)
    values = generator.laplace(0, (port.largest + 1) / SPREAD, shape)
    values = values if port.signed else np.abs(values)
    found: Integers = np.clip(np.rint(values), port.smallest, port.largest).astype(np.int64)
    return found
