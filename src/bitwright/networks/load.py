"""`load`: a network by name, Python path, folder, hub id, file of shapes or product sizes.

Every form ends as a `Network`; whatever computes is checked for NaN and infinity and put on the device asked for.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.errors import InputError, unknown_name
from bitwright.later import torch
from bitwright.networks import catalogue, files
from bitwright.networks.checks import AUTO, check_device, check_finite, check_plain, check_shape, place
from bitwright.networks.network import InputShape, Network
from bitwright.networks.own_inputs import OWN, OwnInputs
from bitwright.networks.own_kinds import Reader, reader, refuse_reader
from bitwright.networks.packages import told
from bitwright.networks.sizes import DEFAULT_SHAPE, fitting, given_sizes, no_size, unfit_sizes
from bitwright.networks.synthetic import check_distribution, with_distribution
from bitwright.words import counted

OTHER_FORMS = (
    "Other forms: package.module:callable, a folder with config.json, a Hugging Face id (owner/name), an ONNX file, a "
    "file of shapes (WORKLOAD.yaml, TOPOLOGY.csv), gemm:MxKxN."
)
NO_SIZES: Mapping[str, Mapping[str, Any]] = {}
BRINGS_ITS_OWN = "only a module of one's own (package.module:callable) or a file of one needs one"
NO_INPUTS = "sizes of inputs are given by name (--shape), which only ONNX files have; leave them out"
NO_DIMS: Mapping[str, Sequence[int]] = {}
PYTHON_PATH = re.compile(r"[^:\s]+:[A-Za-z_][\w.]*")
SHAPE_SUFFIXES = (".yaml", ".yml", ".csv")
"""Names that nothing else has: where there is no such file, that is said."""
LONGEST_NAME = 255  # bytes of a part of a path
HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def load(
    name: str | torch.nn.Module,
    inputs: Any = None,
    *,
    preprocess: Any = None,
    tokenizer: Callable[..., Any] | None = None,
    shape: InputShape = DEFAULT_SHAPE,
    device: str | None = None,
    weights: str | Path | None = None,
    distribution: str | None = None,
    seed: int = 0,
    dims: Mapping[str, Sequence[int]] = NO_DIMS,
) -> Network:
    """Load a network.

    Parameters
    ----------
    name
        A known name (see `models`), `package.module:callable`, a folder with `config.json`, a Hugging Face id, a
        file (ONNX, or of shapes: `bitwright.networks.shape_files`) or `gemm:MxKxN`; or a torch module, which is left as
        it is.
    inputs
        Example inputs of a torch module: a tensor, a tuple or a dict of tensors; None is its `example_inputs`, or what
        `preprocess` or `tokenizer` makes.
    preprocess, tokenizer
        For a module, or `package.module:callable`: what turns pictures or text into its inputs (`preprocess_of`,
        `bitwright.networks.own_kinds`), which makes it an image, a sentence or a language network.
    shape
        Becomes the network's default input shape: what `network.example(InputShape())` gives.
    device
        Where a network with numbers is put; shape-only ones stay on the meta device. None is the CPU, and for a torch
        module the device where it is.
    weights
        A safetensors file whose tensors replace the module's own; gives a shape-only network numbers to compute with.
    distribution
        One of `DISTRIBUTIONS`: gives a shape-only network synthetic operands, for machines whose costs depend on
        values; everything made of it says so.
    seed
        Of synthetic operands.
    dims
        Name of an input of an ONNX file -> its sizes, for axes that the file leaves open.

    Returns
    -------
    Network
        In evaluation mode.

    Raises
    ------
    InputError
        The name is unknown, a package is missing, or what was found cannot be used; a size that the network does not
        have; a distribution that is unknown, or given for a network that computes.

    Examples
    --------
    >>> load("gemm:128x768x3072").sites[0].macs
    301989888
    """
    network = _loaded(
        name,
        shape,
        inputs=inputs,
        reads=reader(preprocess, tokenizer),
        device=device,
        weights=weights,
        distribution=distribution,
        seed=seed,
        dims=dims,
    )
    unfit = unfit_sizes(network, shape, users=_is_users(name))
    if unfit:
        raise no_size(unfit, network.name, shape, network)
    return _shaped(network, shape)


def load_several(
    names: Sequence[str],
    *,
    shape: InputShape,
    own: Mapping[str, Mapping[str, Any]] = NO_SIZES,
    preprocess: Any = None,
    tokenizer: Callable[..., Any] | None = None,
    **options: Any,
) -> list[Network]:
    """Networks that share what they are given: each takes the sizes that it has; one that none of them has is refused.

    So it is with a preprocessing or a tokenizer, which is for those that are `package.module:callable`.

    Parameters
    ----------
    names, shape, options
        As of `load`.
    own : mapping
        Name -> sizes of that network alone, where `shape` does not say otherwise.

    Raises
    ------
    InputError
        As `load`.
    """
    dims, known_dims = options.pop("dims", NO_DIMS), [name for name in names if files.has_inputs(name)]
    if dims and not known_dims:
        raise InputError(f"{', '.join(names)}: {NO_INPUTS}")
    sizes = {field: getattr(shape, field) for field in given_sizes(shape)}
    shapes = [InputShape(**{**own.get(name, {}), **sizes}) for name in names]
    reads, mine = reader(preprocess, tokenizer), [n for n in names if is_python_path(n) or files.has_inputs(n)]
    if not mine:
        refuse_reader(", ".join(names), reads, BRINGS_ITS_OWN)
    networks = [
        _loaded(
            name,
            each,
            reads=reads if name in mine else None,
            dims=dims if name in known_dims else NO_DIMS,
            **options,
        )
        for name, each in zip(names, shapes, strict=True)
    ]
    fitted = [
        fitting(network, each, users=_is_users(name))
        for name, network, each in zip(names, networks, shapes, strict=True)
    ]
    known = {field for each in fitted for field in given_sizes(each)}
    unfit = [field for field in sizes if field not in known]
    if unfit:
        raise no_size(unfit, ", ".join(names), shape, networks[0] if len(networks) == 1 else None)
    return [_shaped(network, each) for network, each in zip(networks, fitted, strict=True)]


def _is_users(name: str | torch.nn.Module) -> bool:
    return isinstance(name, str) and is_python_path(name)


def _loaded(
    name: str | torch.nn.Module,
    shape: InputShape,
    *,
    inputs: Any = None,
    reads: Reader | None = None,
    device: str | None = None,
    weights: str | Path | None = None,
    distribution: str | None = None,
    seed: int = 0,
    dims: Mapping[str, Sequence[int]] = NO_DIMS,
) -> Network:
    """A network, of its own shape unless that is built in."""
    check_shape(shape)
    target: torch.device | None = None
    if distribution is not None:
        check_distribution(distribution)
    if isinstance(name, str):
        if max(len(part.encode(errors="replace")) for part in name.split("/")) > LONGEST_NAME:
            raise InputError(f"a network's name of {len(name):,} characters was given, of which no file can be")
        if inputs is not None:
            raise InputError(f"inputs are given and {name} brings its own; inputs= is for torch modules, leave it out")
        if device not in (None, "cpu", AUTO):
            check_device(device)
        network = _found(name, shape, reads, with_numbers=weights is not None, dims=dims)
    else:
        network, target = _given(name, inputs, place(device), reads, copied=weights is not None)
    if weights is not None:
        network = _with_weights(network, Path(weights))
    if network.module is not None:
        check_plain(network.module, network.name)
        _to_evaluation(network.module, network.name)
        _initialize(network)
        check_finite(network.module, network.name)
        target = target or check_device(place(device) or "cpu")
        if not network.shape_only and network.device != target:
            network = network.to(target)
        network = _examined(network)
    if reads is not None:
        network = reads.joined(network, shape)
    return network if distribution is None else with_distribution(network, distribution, seed)


def _given(
    module: torch.nn.Module, inputs: Any, device: str | None, reads: Reader | None, *, copied: bool
) -> tuple[Network, torch.device]:
    """The network of a module, and where it runs; its parameters are copied where they would be changed or moved."""
    from bitwright.networks import user

    if not isinstance(module, torch.nn.Module):
        raise InputError(
            f"a {type(module).__name__} was given as the network; a name, a torch.nn.Module or a bitwright Network is "
            "expected"
        )
    here = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    target = here if device is None else check_device(device)
    moves = target.type != here.type or (target.index is not None and target.index != here.index)
    return user.build_given(module, inputs, reads=reads, shared=not (copied or moves)), target


def _shaped(network: Network, shape: InputShape) -> Network:
    """The network with `shape` as its default."""
    if network.example is None or shape == DEFAULT_SHAPE:
        return network
    try:
        network.example(shape)  # a shape that does not fit is refused here, where it was given
    except (RuntimeError, OverflowError, MemoryError) as error:
        raise InputError(
            f"{network.name}: inputs of these sizes cannot be made ({told(error)}); give smaller ones"
        ) from error
    return dataclasses.replace(network, example=_defaulting(network.example, shape), batch=shape.batch)


def _to_evaluation(module: torch.nn.Module, name: str) -> None:
    try:
        module.eval()
    except NotImplementedError:  # what torch exported has one mode only
        return
    except Exception as error:  # the module's own
        raise InputError(f"{name}: its eval() raised {told(error)}; let it set the module to evaluation") from error


def _initialize(network: Network) -> None:
    """Run a network that has lazy layers once on its example, which tells them their sizes."""
    assert network.module is not None
    if network.example is not None and any(map(torch.nn.parameter.is_lazy, network.module.parameters())):
        with torch.no_grad():
            network.forward(network.example(InputShape()))


def _examined(network: Network) -> Network:
    """The network, and whether it remembers; those that are known by name, or are Hugging Face's, do not."""
    own = network.tools.get(OWN)
    if not isinstance(own, OwnInputs) or network.shape_only:
        return network
    return dataclasses.replace(network, remembers=own.remembers)


def models() -> tuple[catalogue.ModelEntry, ...]:
    """Every network that `load` knows by name, with a one-line summary."""
    return catalogue.models()


def is_python_path(name: str) -> bool:
    """Whether a name is `package.module:callable`, and nothing else that `load` knows."""
    return PYTHON_PATH.fullmatch(name) is not None and not name.startswith("gemm:") and not Path(name).is_dir()


def _found(
    name: str,
    shape: InputShape,
    reads: Reader | None,
    *,
    with_numbers: bool,
    dims: Mapping[str, Sequence[int]] = NO_DIMS,
) -> Network:
    """The network of that name, on the CPU or the meta device."""
    if name.startswith("gemm:"):
        return _product(name, reads, dims)
    from bitwright.networks import pretrained, shape_files, shape_only, user, zoo

    if is_python_path(name):
        return user.build(name, reads)
    if name not in zoo.NETWORKS and files.is_network(name):
        return files.build(name, shape, dims, reads)
    refuse_reader(name, reads, BRINGS_ITS_OWN)
    if dims:
        raise InputError(f"{name}: {NO_INPUTS}")
    if name in zoo.NETWORKS:
        return zoo.build(name, shape)
    if name in shape_only.NETWORKS:
        return shape_only.build(name, shape, "cpu" if with_numbers else "meta")
    if name.endswith(SHAPE_SUFFIXES) or Path(name).is_file():
        return shape_files.build(name)
    if Path(name).is_dir() and shape_files.is_problem_folder(Path(name)):
        return shape_files.build_folder(name)
    if Path(name).is_dir() or HUB_ID.fullmatch(name):
        return pretrained.build(name, shape)
    raise _unknown(name)


def _product(name: str, reads: Reader | None, dims: Mapping[str, Sequence[int]]) -> Network:
    """A network of one product, for which nothing else is imported."""
    from bitwright.networks import workload

    refuse_reader(name, reads, BRINGS_ITS_OWN)
    if dims:
        raise InputError(f"{name}: {NO_INPUTS}")
    return workload.build_gemm(name)


def _unknown(name: str) -> InputError:
    if Path(name).exists():  # a device, a pipe
        return InputError(f"{name} is no regular file; a network is read more than once: save it as one first")
    return InputError(f"{unknown_name('model', name, (entry.name for entry in catalogue.ENTRIES))} {OTHER_FORMS}")


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
            f"weights {path} do not fit {network.name}: {counted(len(missing), 'tensor')} missing{_first(missing)}, "
            f"{len(unexpected)} without a place{_first(unexpected)}."
        )
    return dataclasses.replace(network, source=f"{network.source}; weights {path}", weight_grid=None, notes=())


def _first(names: list[str]) -> str:
    return f" (first {names[0]!r})" if names else ""
