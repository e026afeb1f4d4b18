"""Networks that compute by a plan: load, calibrate, quantize."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bitwright.methods.executor import Executor
from bitwright.methods.plan import Plan
from bitwright.methods.protocol import compose
from bitwright.networks.load import load as load_network
from bitwright.networks.network import Batch, InputShape, Network
from bitwright.tasks.calibrate import calibrate_method
from bitwright.tasks.evaluate import require_numbers


def load(
    name: str,
    *,
    batch: int = 1,
    sequence_length: int | None = None,
    image_size: int | None = None,
    phase: str = "prefill",
    device: str = "cpu",
    weights: str | Path | None = None,
    distribution: str | None = None,
    seed: int = 0,
) -> Network:
    """Load a network.

    Parameters
    ----------
    name : str
        One of `models()`, `package.module:callable`, a folder, a Hugging Face id, a workload file or `gemm:MxKxN`.
    batch, sequence_length, image_size, phase
        The shape of its input; phase is `prefill` or `decode`.
    device : str
        cpu, cuda, or auto: cuda where torch sees a GPU.
    weights : path or None
        A safetensors file for a network that comes with shapes only.
    distribution : str or None
        Synthetic operands for a network with shapes only: gaussian, laplace, outliers or one-sided. Everything made of
        them says so.
    seed : int
        Of synthetic operands.

    Raises
    ------
    InputError
        Unknown name, missing package, a shape that does not fit, or a distribution for a network with numbers.

    Examples
    --------
    >>> load("gemm:841x576x128").sites[0].macs
    62005248
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    shape = InputShape(batch=batch, sequence_length=sequence_length, image_size=image_size, phase=phase)
    return load_network(name, shape=shape, device=device, weights=weights, distribution=distribution, seed=seed)


def named(network: Network | str) -> Network:
    """A network, loaded where only its name is given."""
    return load(network) if isinstance(network, str) else network


def calibrate(
    network: Network | str,
    method: str,
    *,
    samples: Sequence[Batch] | None = None,
    options: Mapping[str, Any] | None = None,
    count: int | None = None,
    seed: int = 0,
) -> Plan:
    """The plan of a method for a network.

    Parameters
    ----------
    network : Network or str
        Or its name.
    method : str
        One of `methods()`, or a composition `a+b`.
    samples : sequence of batches or None
        What to calibrate on; None takes `count` default samples of the network's kind.
    options : mapping or None
        Of the method.
    seed : int
        Of the default samples.

    Examples
    --------
    >>> calibrate("gemm:841x576x128", "int8").site("gemm").x_type
    'uint8'
    """
    network = named(network)
    if samples is not None:
        return compose(method, options).calibrate(network, samples)
    return calibrate_method(network, method, options=options, count=count, seed=seed)


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuantizedNetwork:
    """A network that computes by a plan; called on a batch, it returns the output tensor.

    Attributes
    ----------
    plan : Plan
        Formats, scales and rules per site.
    executor : Executor
        What runs it.
    """

    plan: Plan
    executor: Executor

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The output for one batch of inputs by name."""
        return self.executor.run(batch)

    run = __call__


def quantize(
    network: Network | str,
    method: str | Plan,
    *,
    exact: bool = False,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> QuantizedNetwork:
    """A network that computes as `method` would: exactly in integers, or by their fast float emulation.

    Examples
    --------
    >>> import torch
    >>> from bitwright.networks.network import Network
    >>> layer = torch.nn.Linear(4, 2)
    >>> network = Network(name="layer", kind="tensor", module=layer, example=lambda shape: {"input": torch.ones(1, 4)})
    >>> quantize(network, "int8", exact=True)({"input": torch.ones(1, 4)}).shape
    torch.Size([1, 2])
    """
    network = named(network)
    require_numbers(network)
    plan = method if isinstance(method, Plan) else calibrate(network, method, options=options, seed=seed)
    return QuantizedNetwork(plan=plan, executor=Executor(network, plan, exact=exact))
