"""Control flow: If, Loop, Scan and SequenceMap, whose graphs are submodules that read values of the graph around them.

A loop runs as often as its data say, and its products are steps of one scan. Condition and counters are looked at on
the side: a machine's host does that.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from bitwright.networks.onnx.built import Built
from bitwright.networks.onnx.graph import Scoped, Subgraph
from bitwright.networks.onnx.layer import Layer
from bitwright.networks.onnx.node import Node, axis_of
from bitwright.networks.scans import Scan
from bitwright.networks.unseen import unseen

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder

MOST_STEPS = 2**16
"""Of one loop in one inference; our choice."""
MOST_LEVELS = 8  # of graphs in graphs
GRAPHS = {
    "If": {"then_branch": "then", "else_branch": "otherwise"},
    "Loop": {"body": "body"},
    "Scan": {"body": "body"},
    "SequenceMap": {"body": "body"},
}
"""Operator -> its graphs, and the names of the submodules that run them."""


class Branches(Scoped):
    """The operator If: one of two graphs."""

    def __init__(self, node: Node, then: Subgraph, otherwise: Subgraph) -> None:
        super().__init__()
        self.node, self.then, self.otherwise = node, then, otherwise

    def run(self, values: Mapping[str, Any], given: Sequence[Any]) -> tuple[Any, ...]:
        """What the graph that a condition chooses makes."""
        return self(_captured(self.node, values), _holds(given[0]))

    def forward(self, values: dict[str, Any], chosen: bool) -> tuple[Any, ...]:
        """The outputs of one of the graphs."""
        return tuple((self.then if chosen else self.otherwise).compute(values))


class Repeated(Scoped, Scan):
    """A node that runs one graph several times."""

    def __init__(self, node: Node, body: Subgraph, inputs: Sequence[str]) -> None:
        super().__init__()
        self.node, self.body, self.inputs = node, body, tuple(inputs)

    def run(self, values: Mapping[str, Any], given: Sequence[Any]) -> tuple[Any, ...]:
        """The node's outputs."""
        return self(_captured(self.node, values), list(given))

    def step(self, around: Mapping[str, Any], given: Sequence[Any]) -> list[Any]:
        """The body's outputs once."""
        own = {name: value for name, value in zip(self.inputs, given, strict=True) if value is not None}
        return self.body.compute({**around, **own})

    def stacked(self, parts: Sequence[torch.Tensor], axis: int = 0) -> torch.Tensor:
        """What the steps made, one beside the other along a new axis."""
        if not parts:
            raise self.node.refusal("runs no step, so that the sizes of what its steps would make are not known")
        return torch.stack(list(parts), axis)


class Loop(Repeated):
    """Steps up to a number, and while a condition holds: values that are handed on, and values of each step."""

    def forward(self, around: dict[str, Any], given: list[Any]) -> tuple[Any, ...]:
        """The values handed on last, then those of all steps."""
        limit, carried = None if given[0] is None else _number(given[0]), given[2:]
        condition = _told(True) if given[1] is None else given[1]
        parts: list[list[torch.Tensor]] = [[] for _ in self.body.outputs[1 + len(carried) :]]
        step = 0
        while (limit is None or step < limit) and _holds(condition):
            if step == MOST_STEPS:
                raise self.node.refusal(f"runs more than {MOST_STEPS:,} steps")
            condition, *made = self.step(around, [_told(step), condition, *carried])
            carried = made[: len(carried)]
            for part, each in zip(parts, made[len(carried) :], strict=True):
                part.append(each)
            step += 1
        return (*carried, *(self.stacked(each) for each in parts))


class Scanned(Repeated):
    """The operator Scan: one step for each slice of its last inputs."""

    def forward(self, around: dict[str, Any], given: list[Any]) -> tuple[Any, ...]:
        """The states after the last step, then what all steps made."""
        count = int(self.node.number("num_scan_inputs"))
        states, whole = given[: len(given) - count], given[len(given) - count :]
        parts: list[list[torch.Tensor]] = [[] for _ in self.body.outputs[len(states) :]]
        for row in zip(*(self._slices(i, each) for i, each in enumerate(whole)), strict=True):
            made = self.step(around, [*states, *row])
            states = made[: len(states)]
            for part, each in zip(parts, made[len(states) :], strict=True):
                part.append(each)
        return (*states, *(self._joined(i, each) for i, each in enumerate(parts)))

    def _slices(self, index: int, x: torch.Tensor) -> Iterator[torch.Tensor]:
        axes, backward = self.node.integers("scan_input_axes"), self.node.integers("scan_input_directions")
        slices = x.unbind(axis_of(self.node, axes[index] if axes else 0, x.dim()))
        return iter(slices[::-1] if backward and backward[index] else slices)

    def _joined(self, index: int, parts: list[torch.Tensor]) -> torch.Tensor:
        axes, backward = self.node.integers("scan_output_axes"), self.node.integers("scan_output_directions")
        return self.stacked(parts[::-1] if backward and backward[index] else parts, axes[index] if axes else 0)


class Mapped(Repeated):
    """The operator SequenceMap: one step for each element of a sequence; what is a tensor is the same for all."""

    def forward(self, around: dict[str, Any], given: list[Any]) -> tuple[Any, ...]:
        """A sequence for each output of the body."""
        first = given[0]
        rows = [
            self.step(around, [each[i] if isinstance(each, list) else each for each in given])
            for i in range(len(first))
        ]
        return tuple([row[i] for row in rows] for i in range(len(self.node.outputs)))


REPEATED: dict[str, type[Repeated]] = {"Loop": Loop, "Scan": Scanned, "SequenceMap": Mapped}


def layer(builder: "Builder", node: Node) -> Layer:
    """The module of a node with graphs of its own.

    Raises
    ------
    InputError
        A graph that is missing, too deep, or does not fit its node.
    """
    if builder.level > MOST_LEVELS:
        raise node.refusal(f"lies in more than {MOST_LEVELS} others")
    if node.op == "Scan" and node.opset < 9:
        raise node.refusal("is of opset 8, where Scan has other inputs; export the network with a later one")
    graphs, built, protos = [], list[Built](), []
    for name, key in GRAPHS[node.op].items():
        proto = node.attributes.get(name)
        if proto is None:
            raise node.refusal(f"has no {name}")
        own = {proto.input[0].name} if node.op == "Loop" and proto.input else set()
        inner = builder.inside(proto, own)
        graphs.append(inner.into(Subgraph((), {}, ())))
        built += [each.below(key) for each in inner.built]
        builder.quantization.take(inner.quantization, key)
        protos.append(proto)
    if node.op == "If":
        module: Scoped = Branches(node, graphs[0], graphs[1])
        return Layer(module=module, inputs=node.inputs, outputs=node.outputs, inner=tuple(built))
    names = [each.name for each in protos[0].input]
    given = node.inputs if node.op != "Loop" else (*node.inputs, *[""] * (2 - len(node.inputs)))
    if len(names) != len(given):
        raise node.refusal(f"has {len(given)} inputs for the {len(names)} of its graph")
    module = REPEATED[node.op](node, graphs[0], names)
    return Layer(module=module, inputs=tuple(given), outputs=node.outputs, inner=tuple(built))


def _captured(node: Node, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values around a node that its graphs read."""
    return {name: values[name] for name in node.inner if name in values}


def _holds(condition: Any) -> bool:
    with unseen():
        return bool(condition.reshape(-1).all())


def _told(value: bool | int) -> torch.Tensor:
    """What a graph is told of its step."""
    with unseen():
        return torch.tensor(value)


def _number(value: torch.Tensor) -> int:
    with unseen():
        return int(value.reshape(-1)[0])
