"""`load`: a network by name, Python path, folder, hub id, workload file or product sizes.

Every form ends as a `Network`; whatever computes is checked for NaN and infinity and put on the device asked for.
"""

import contextlib
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path

import torch

from bitwright.errors import InputError, unknown_name
from bitwright.networks import catalogue
from bitwright.networks.checks import check_device, check_finite, check_shape
from bitwright.networks.network import InputShape, Network
from bitwright.networks.synthetic import check_distribution, with_distribution

DEFAULT_SHAPE = InputShape()
OTHER_FORMS = (
    "Other forms: package.module:callable, a folder with config.json, a Hugging Face id (owner/name), WORKLOAD.yaml, "
    "gemm:MxKxN."
)
PYTHON_PATH = re.compile(r"[^:\s]+:[A-Za-z_][\w.]*")
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def load(
    name: str,
    *,
    shape: InputShape = DEFAULT_SHAPE,
    device: str = "cpu",
    weights: str | Path | None = None,
    distribution: str | None = None,
    seed: int = 0,
) -> Network:
    """Load a network.

    Parameters
    ----------
    name
        A known name (see `models`), `package.module:callable`, a folder with `config.json`, a Hugging Face id, a
        workload file (`*.yaml`) or `gemm:MxKxN`.
    shape
        Becomes the network's default input shape: what `network.example(InputShape())` gives.
    device
        Where a network with numbers is put; shape-only ones stay on the meta device.
    weights
        A safetensors file whose tensors replace the module's own; gives a shape-only network numbers to compute with.
    distribution
        One of `DISTRIBUTIONS`: gives a shape-only network synthetic operands, for machines whose costs depend on
        values; everything made of it says so.
    seed
        Of synthetic operands.

    Returns
    -------
    Network
        In evaluation mode.

    Raises
    ------
    InputError
        The name is unknown, a package is missing, or what was found cannot be used; a distribution that is unknown, or
        given for a network that computes.

    Examples
    --------
    >>> load("gemm:128x768x3072").sites[0].macs
    301989888
    """
    check_shape(shape)
    if distribution is not None:
        check_distribution(distribution)
    target = check_device(device)
    network = _found(name, shape, with_numbers=weights is not None)
    if weights is not None:
        network = _with_weights(network, Path(weights))
    if network.module is not None:
        with contextlib.suppress(NotImplementedError):  # what torch exported has one mode only
            network.module.eval()
        _initialize(network)
        check_finite(network.module, name)
        if not network.shape_only:
            network = network.to(target)
    if distribution is not None:
        network = with_distribution(network, distribution, seed)
    if network.example is None or shape == DEFAULT_SHAPE:
        return network
    network.example(shape)  # a shape that does not fit is refused here, where it was given
    return dataclasses.replace(network, example=_defaulting(network.example, shape))


def _initialize(network: Network) -> None:
    """Run a network that has lazy layers once on its example, which tells them their sizes."""
    assert network.module is not None
    if network.example is not None and any(map(torch.nn.parameter.is_lazy, network.module.parameters())):
        with torch.no_grad():
            network.forward(network.example(InputShape()))


def models() -> tuple[catalogue.ModelEntry, ...]:
    """Every network that `load` knows by name, with a one-line summary."""
    return catalogue.models()


def _found(name: str, shape: InputShape, *, with_numbers: bool) -> Network:
    """The network of that name, on the CPU or the meta device."""
    from bitwright.networks import pretrained, shape_only, user, workload, zoo

    if name in zoo.NETWORKS:
        return zoo.build(name, shape)
    if name in shape_only.NETWORKS:
        return shape_only.build(name, shape, "cpu" if with_numbers else "meta")
    if name.startswith("gemm:"):
        return workload.build_gemm(name)
    if name.endswith(workload.SUFFIXES):
        return workload.build(name)
    if Path(name).is_dir() or HUB_ID.fullmatch(name):
        return pretrained.build(name, shape)
    if PYTHON_PATH.fullmatch(name):
        return user.build(name)
    raise InputError(f"{unknown_name('model', name, (entry.name for entry in catalogue.ENTRIES))} {OTHER_FORMS}")


def _defaulting(
    example: Callable[[InputShape], dict[str, torch.Tensor]], default: InputShape
) -> Callable[[InputShape], dict[str, torch.Tensor]]:
    """`example` with `default` in place of `InputShape()`, and of sizes that are None."""

    def filled(shape: InputShape) -> dict[str, torch.Tensor]:
        if shape == DEFAULT_SHAPE:
            return example(default)
        missing = {
            field: getattr(default, field)
            for field in ("sequence_length", "image_size")
            if getattr(shape, field) is None
        }
        return example(dataclasses.replace(shape, **missing))

    return filled


def _with_weights(network: Network, path: Path) -> Network:
    """The network with the tensors of a safetensors file in its module; names and shapes must match."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if network.module is None or network.shape_only:
        raise InputError(f"{network.name} has no module in memory that weights could go into.")
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"cannot read weights {path}: {error}; a safetensors file is expected.") from error
    try:
        missing, unexpected = network.module.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise InputError(f"weights {path} do not fit {network.name}: {error}") from error
    own = network.module.state_dict(keep_vars=True)
    given = {id(own[key]) for key in state if key in own}
    missing = [key for key in missing if id(own[key]) not in given and not key.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise InputError(
            f"weights {path} do not fit {network.name}: {len(missing)} tensors are missing{_first(missing)}, "
            f"{len(unexpected)} have no place{_first(unexpected)}."
        )
    return dataclasses.replace(network, source=f"{network.source}; weights {path}", weight_grid=None, notes=())


def _first(names: list[str]) -> str:
    return f" (first {names[0]!r})" if names else ""
