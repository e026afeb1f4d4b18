"""One node of an ONNX graph, as its operator's function is handed it, and how values are read from it.

Semantics are those of the operators' specification (onnx.ai, `Operators`); where an attribute became an input in a
later opset, `given` reads whichever a node has, so that one function serves them all.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bitwright.errors import InputError

Value = torch.Tensor | None
MOST_ELEMENTS = 2**28
"""Of one tensor that an operator makes of a few numbers (`Expand`, `Tile`, `Range`): 1 GiB of float32; our choice."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """One node.

    Attributes
    ----------
    name : str
        Of the node, or of its first output where it has none; as the file has it.
    path : str
        Its dotted name among the modules of the network.
    scope : str
        The dotted name of the module that it was exported from, where the file says so.
    op, domain : str
        Of the operator; the domain of ONNX's own is empty.
    opset : int
        The version of that domain which the file asks for.
    inputs, outputs : tuple of str
        Names of values; an empty one is left out.
    attributes : mapping
        Numbers, texts, sequences of them, tensors; graphs stay protobufs.
    inner : tuple of str
        Names of values that its graphs read.
    origin : int
        Its place in the graph; several that one node of the file stands for have the same.
    """

    name: str
    path: str = ""
    scope: str = ""
    op: str
    domain: str = ""
    opset: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inner: tuple[str, ...] = ()
    origin: int = 0

    @property
    def label(self) -> str:
        """What messages call it."""
        kind = f"{self.domain}.{self.op}" if self.domain else self.op
        return f"node {short(self.name)!r} ({kind})"

    def refusal(self, why: str) -> InputError:
        """An error that names the node."""
        return InputError(f"{self.label}: {why}")

    def number(self, name: str, default: float | None = None) -> Any:
        """An attribute that is one number.

        Raises
        ------
        InputError
            Where it is missing and has no default, or is something else.
        """
        value = self.attributes.get(name, default)
        if not isinstance(value, int | float):
            raise self.refusal(f"its attribute {name!r} is {type(value).__name__}, a number is expected")
        return value

    def text(self, name: str, default: str) -> str:
        """An attribute that is a text."""
        value = self.attributes.get(name, default)
        if not isinstance(value, str):
            raise self.refusal(f"its attribute {name!r} is {type(value).__name__}, a text is expected")
        return value

    def integers(self, name: str, default: Sequence[int] | None = None) -> list[int] | None:
        """An attribute that is a list of integers; the default where it is missing."""
        value = self.attributes.get(name, default)
        if value is None:
            return None
        if not isinstance(value, Sequence) or not all(isinstance(each, int) for each in value):
            raise self.refusal(f"its attribute {name!r} is no list of integers")
        return list(value)

    def given(self, name: str, value: Value = None) -> list[int] | None:
        """A list of integers that is an input, or an attribute in earlier opsets; None where it is neither."""
        return self.integers(name) if value is None else integers_of(value)


def short(name: str | bytes) -> str:
    """A name from a file, at most 80 printable characters of it; protobuf hands out what is no UTF-8 as bytes."""
    name = name.decode("utf-8", errors="replace") if isinstance(name, bytes) else name
    plain = "".join(character if character.isprintable() else "?" for character in name)
    return plain if len(plain) <= 80 else f"{plain[:77]}..."


def integers_of(value: torch.Tensor) -> list[int]:
    """The elements of a tensor as integers."""
    return [int(each) for each in value.reshape(-1).tolist()]


def needed(node: Node, value: Value, what: str) -> torch.Tensor:
    """An input that must be there."""
    if value is None:
        raise node.refusal(f"its input {what} is missing")
    return value


def axis_of(node: Node, axis: int, rank: int) -> int:
    """An axis counted from 0."""
    if not -rank <= axis < max(rank, 1):
        raise node.refusal(f"axis {axis} of a tensor with {rank} axes")
    return axis % rank if rank else 0


def check_size(node: Node, sizes: Sequence[int]) -> None:
    """Refuse a tensor that no memory holds, before it is made."""
    elements = 1
    for size in sizes:
        elements *= max(int(size), 0)
    if elements > MOST_ELEMENTS:
        raise node.refusal(f"makes a tensor {list(sizes)} of {elements:,} elements; at most {MOST_ELEMENTS:,} are made")
