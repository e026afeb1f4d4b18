"""`build`: the network of an ONNX file, with example inputs of the sizes that the file has, or that are given."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.images import IMAGENET_DEVIATION, IMAGENET_MEAN, Preprocess
from bitwright.networks.network import InputShape, Network
from bitwright.networks.onnx.build import network_of
from bitwright.networks.onnx.built import NODES
from bitwright.networks.onnx.file import opsets, read
from bitwright.networks.onnx.node import short
from bitwright.networks.onnx.quantization.grids import QUANTIZED
from bitwright.networks.onnx.types import TYPES
from bitwright.networks.own_inputs import OWN, OwnInputs
from bitwright.networks.own_kinds import Pictures, Reader

Dims = Mapping[str, Sequence[int]]
FILE = "file"  # the method that is a file's own quantization
MOST_INPUT = 2**28  # elements
GREY_OR_COLOUR = (1, 3)
SMALLEST_PICTURE = 8  # pixels; less is no photograph, our choice
ASSUMED = (
    "an ONNX file does not say how pictures become inputs: ImageNet's mean and deviation are assumed "
    "(--preprocess says otherwise)"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Input:
    """An input of a graph: its name, type, and sizes, of which some have names or nothing at all."""

    name: str
    kind: torch.dtype
    sizes: tuple[int | str, ...]

    def spelled(self) -> str:
        """The sizes as a message shows them."""
        return "x".join(short(str(size)) or "?" for size in self.sizes) or "a number"


def build(path: str, dims: Dims | None = None, reads: Reader | None = None) -> Network:
    """The network of an ONNX file.

    Parameters
    ----------
    path : str
        Of the file.
    dims : mapping or None
        Name of an input -> its sizes, for axes that the file leaves open; a first axis is 1 without.
    reads : Reader or None
        Pictures or text, where the caller says how.

    Raises
    ------
    InputError
        A file that is damaged or not supported, naming the node; sizes that are open, or do not fit.
    """
    from bitwright.networks.user import INPUTS_HINT, made_of

    file = Path(path)
    model = read(file)
    inputs = _inputs(model)
    example = examples(inputs, dims or {}, str(file))
    module, built, quantized = network_of(model, opsets(model), None, [each.name for each in inputs])
    network = made_of(module, example, str(file), f"ONNX file {file.name}{_producer(model)}", INPUTS_HINT)
    tools = {**network.tools, NODES: built} | ({} if quantized is None else {QUANTIZED: quantized})
    network = dataclasses.replace(network, tools=tools, default_method=None if quantized is None else FILE)
    return network if reads is not None else _pictures(network, inputs)


def _producer(model: Any) -> str:
    name = short(model.producer_name)
    return f", written by {name} {short(model.producer_version)}".rstrip() if name else ""


def _pictures(network: Network, inputs: Sequence[Input]) -> Network:
    """An image network where the one input is square pictures of 1 or 3 channels, of which several run at once.

    A file does not say how pictures become inputs: ImageNet's mean and deviation are assumed, and that is noted.
    """
    own: OwnInputs = network.tools[OWN]
    sizes = next(iter(own.given.values())).shape
    if len(inputs) > 1 or not inputs[0].kind.is_floating_point or len(sizes) != 4:
        return network
    _, channels, height, width = sizes
    if channels not in GREY_OR_COLOUR or height != width or height < SMALLEST_PICTURE:
        return network
    mean, deviation = ((each[0],) if channels == 1 else each for each in (IMAGENET_MEAN, IMAGENET_DEVIATION))
    reader = Pictures(preprocess=Preprocess(image_size=height, mean=mean, deviation=deviation))
    try:
        found = reader.joined(network, InputShape())
        with torch.no_grad():
            output = found.forward({key: tensor[:1] for key, tensor in own.given.items()})
    except InputError:  # it runs on one at a time, or fails on its example, which is told where it runs
        return network
    task = found.default_task if output.dim() == 2 else None
    return dataclasses.replace(found, notes=(*found.notes, ASSUMED), default_task=task)


def _inputs(model: Any) -> list[Input]:
    """What is given to the graph: its inputs that have no default."""
    defaults = {each.name for each in model.graph.initializer}
    found = []
    for each in model.graph.input:
        if each.name in defaults:
            continue
        tensor = each.type.tensor_type
        if not each.type.HasField("tensor_type") or tensor.elem_type not in TYPES:
            raise InputError(
                f"the input {short(each.name)!r} is no tensor of numbers that are read; export the network with others"
            )
        sizes = tuple(
            int(axis.dim_value) if axis.HasField("dim_value") and axis.dim_value > 0 else axis.dim_param
            for axis in tensor.shape.dim
        )
        found.append(Input(name=each.name, kind=TYPES[tensor.elem_type], sizes=sizes))
    if not found:
        raise InputError("the network has no inputs, so that it always gives the same; nothing is to be computed")
    return found


def examples(inputs: Sequence[Input], dims: Dims, name: str) -> dict[str, torch.Tensor]:
    """Example inputs: normal numbers, and ones for integers and truth values.

    Raises
    ------
    InputError
        A name that no input has, sizes that are open or contradict the file's.
    """
    names = [each.name for each in inputs]
    for key in dims:
        if key not in names:
            raise InputError(f"{name}: --shape names the input {short(key)!r}; it has {', '.join(map(short, names))}")
    symbols: dict[str, int] = {}
    for each in inputs:
        if each.name in dims:
            _fit(each, dims[each.name], symbols, name)
    generator = torch.Generator().manual_seed(0)
    return {each.name: _example(each, _sizes(each, dims, symbols, name), generator) for each in inputs}


def _fit(given: Input, sizes: Sequence[int], symbols: dict[str, int], name: str) -> None:
    """Learn what open axes are from sizes that are given."""
    wrong = len(sizes) != len(given.sizes) or any(
        (isinstance(own, int) and own != size) or (own and isinstance(own, str) and symbols.get(own, size) != size)
        for own, size in zip(given.sizes, sizes, strict=False)
    )
    if wrong:
        raise InputError(
            f"{name}: --shape gives {short(given.name)} {'x'.join(map(str, sizes))}, the file has {given.spelled()}; "
            "change what is open only"
        )
    symbols |= {own: size for own, size in zip(given.sizes, sizes, strict=True) if own and isinstance(own, str)}


def _sizes(given: Input, dims: Dims, symbols: Mapping[str, int], name: str) -> list[int]:
    if given.name in dims:
        return list(dims[given.name])
    sizes = [
        own if isinstance(own, int) else symbols.get(own) or (1 if axis == 0 else None)
        for axis, own in enumerate(given.sizes)
    ]
    known = [size for size in sizes if size is not None]
    if len(known) < len(sizes):
        example = "x".join("1" if axis == 0 else str(size or 224) for axis, size in enumerate(sizes))
        raise InputError(
            f"{name}: the input {short(given.name)} is {given.spelled()}, sizes of which are open; give them, such as "
            f"--shape {short(given.name)}={example}"
        )
    return known


def _example(given: Input, sizes: Sequence[int], generator: torch.Generator) -> torch.Tensor:
    elements = 1
    for size in sizes:
        elements *= size
    if elements > MOST_INPUT:
        raise InputError(f"the input {short(given.name)} is {list(sizes)}, {elements:,} elements; give a smaller one")
    if given.kind.is_floating_point:
        return torch.randn(list(sizes), generator=generator).to(given.kind)
    return torch.ones(list(sizes), dtype=given.kind)


def dims_of(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """`name=1x3x224x224` as sizes by name.

    Raises
    ------
    InputError
        Where it is written otherwise.

    Examples
    --------
    >>> dims_of(["images=1x3x224x224"])
    {'images': (1, 3, 224, 224)}
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        if not name or not re.fullmatch(r"[1-9]\d{0,8}(x[1-9]\d{0,8})*", sizes):
            raise InputError(
                f"--shape {text!r} is not understood; write --shape NAME=1x3x224x224, sizes that are whole numbers "
                "from 1 to 999,999,999"
            )
        if name in found:
            raise InputError(f"--shape gives {name} twice; give it once")
        found[name] = tuple(int(size) for size in sizes.split("x"))
    return found
