"""From a graph of ONNX to modules: constants are folded, nodes by constants become layers, all others operations.

Nothing is decided by names. What becomes of each node is kept, for reports that must account for all of them.
"""

import dataclasses
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.onnx import layers
from bitwright.networks.onnx.built import Became, Built
from bitwright.networks.onnx.decomposed import layer_norm
from bitwright.networks.onnx.graph import Branches, OnnxNetwork, Operation, Step, Subgraph
from bitwright.networks.onnx.names import Places, path_of
from bitwright.networks.onnx.node import Node, short
from bitwright.networks.onnx.operators.shapes import HOST_OPERATORS
from bitwright.networks.onnx.operators.table import OPERATORS, PRODUCT_OPERATORS, STANDARD, why_unknown
from bitwright.networks.onnx.recurrent import GATES, Recurrent
from bitwright.networks.onnx.types import tensor_of

SMALL = 4096  # elements of constants that are read as numbers, not as operands
SETTINGS = frozenset({"Resize", "Upsample", "Range", "ConstantOfShape", "Pad", "Slice"})
"""Operators whose constants say what they do."""


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


class Builder:
    """One graph, on its way to a `Subgraph`."""

    def __init__(
        self,
        proto: Any,
        opsets: Mapping[str, int],
        folder: Path | None,
        constants: Mapping[str, torch.Tensor],
        host: Iterable[str] = (),
        level: int = 0,
    ) -> None:
        self.proto, self.opsets, self.folder, self.level = proto, opsets, folder, level
        self.constants = dict(constants)
        self.constants |= {each.name: tensor_of(each, folder, "the tensor") for each in proto.initializer}
        if level == 0:  # a graph's own inputs are given, whatever their default
            for each in proto.input:
                if each.name in self.constants and each.name not in {i.name for i in proto.initializer}:
                    del self.constants[each.name]
        self.host = set(host)
        self.nodes = [_node(each, opsets, folder, index) for index, each in enumerate(proto.node)]
        self.readers = Counter(name for each in proto.node for name in reads(each))
        self.readers.update(each.name for each in proto.output)
        self.all_readers: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.inputs):
                self.all_readers.setdefault(name, []).append(i)
        self.built: list[Built] = []
        self._parameters: dict[Any, torch.nn.Parameter] = {}

    def into(self, root: Subgraph) -> Subgraph:
        """Put modules and steps into `root`."""
        places, steps, joined = Places(root), list[Step](), dict[int, str]()
        folded = {index for index, node in enumerate(self.nodes) if self._folded(node)}
        for index, node in enumerate(self.nodes):
            if index in joined:
                self.built.append(Built(node=node, became=Became.JOINED, path=joined[index]))
                continue
            if index in folded:
                self.built.append(Built(node=node, became=Became.CONSTANT))
                continue
            if self._known_from_shapes(node):
                self.host |= set(node.outputs)
                steps.append(self._on_the_side(node))
                self.built.append(Built(node=node, became=Became.SHAPE))
                continue
            layer = self._layer(node, index)
            path = path_of("" if node.name in node.outputs else node.name, node.op, layer.weight, index, node.scope)
            parent, key, own = places.put(layer.module, path)
            self._rename(layer.module, node, own)
            steps.append(Step(node=node, inputs=layer.inputs, outputs=layer.outputs, parent=parent, key=key))
            joined |= dict.fromkeys(layer.joins, own)
            self.built.append(Built(node=node, became=Became.MODULE, path=own))
            self.built += [each.below(own) for each in layer.inner]
        root.steps = tuple(_with_last(steps, self.proto, keep={each.name for each in self.proto.output}))
        read = {name for step in steps for name in step.inputs} | {each.name for each in self.proto.output}
        read |= {name for each in self.proto.node if _graphs(each) for name in reads(each)}
        root.constants = {name: self.constants[name] for name in read if name in self.constants}
        root.outputs = tuple(each.name for each in self.proto.output)
        return root

    @staticmethod
    def _rename(module: torch.nn.Module, node: Node, path: str) -> None:
        if isinstance(module, Operation):
            module.node = dataclasses.replace(node, path=path)

    # ---------------- what is known before the network runs

    def _folded(self, node: Node) -> bool:
        """Compute a node whose inputs are all constants."""
        given = [name for name in node.inputs if name]
        function = OPERATORS.get((node.domain, node.op))
        if function is None or not all(name in self.constants for name in given):
            return False
        made = self._evaluated(node, function)
        for name, value in zip(node.outputs, made, strict=False):
            if name:
                self.constants[name] = value
        return True

    def _evaluated(self, node: Node, function: Callable[..., Any]) -> tuple[torch.Tensor, ...]:
        given = [self.constants[name] if name else None for name in node.inputs]
        try:
            with torch.no_grad():
                made = function(node, *given)
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise node.refusal(f"cannot be computed of its constants ({type(error).__name__}: {error})") from error
        return made if isinstance(made, tuple) else (made,)

    def _known_from_shapes(self, node: Node) -> bool:
        if (node.domain, node.op) not in OPERATORS:
            return False
        given = [name for name in node.inputs if name]
        return node.op in HOST_OPERATORS or (
            bool(given) and all(name in self.host or name in self.constants for name in given)
        )

    def _on_the_side(self, node: Node) -> Step:
        function = OPERATORS[node.domain, node.op]
        return Step(node=node, inputs=node.inputs, outputs=node.outputs, function=Bound(node, function))

    # ---------------- what computes

    def constant(self, node: Node, position: int) -> torch.Tensor | None:
        """The input at a position, where it is a constant."""
        return self.constants.get(node.inputs[position]) if position < len(node.inputs) else None

    def has(self, node: Node, position: int) -> bool:
        """Whether a node has an input at a position."""
        return position < len(node.inputs) and bool(node.inputs[position])

    def parameter(self, name: str, values: torch.Tensor, form: str = "") -> torch.nn.Parameter:
        """The parameter of a constant in one form of it; layers that share a constant share it."""
        key = (name, form, tuple(values.shape))
        if key not in self._parameters:
            self._parameters[key] = layers.parameter(values)
        return self._parameters[key]

    def _layer(self, node: Node, index: int) -> Layer:
        if node.op == "If" and node.domain == "":
            return self._branches(node)
        if node.op in GATES and node.domain == "":
            return self._recurrent(node)
        maker = _LAYERS.get(node.op) if node.domain == "" else None
        layer = None if maker is None else maker(self, node, index)
        if layer is None and (node.domain, node.op) not in OPERATORS:
            raise node.refusal(why_unknown(node.domain, node.op, node.opset))
        return layer or self._operation(node)

    def _operation(self, node: Node) -> Layer:
        """A node as a function, which holds those constants that are operands."""
        slots: list[str | None] = []
        inputs: list[str] = []
        module = Operation(node, OPERATORS[node.domain, node.op], ())
        weight = ""
        for position, name in enumerate(node.inputs):
            value = self.constants.get(name)
            operand = value is not None and node.op not in SETTINGS and self._is_operand(value)
            if name and not operand:
                slots.append(None)
                inputs.append(name)
                continue
            slot = "" if not name else self._slot(node, position)
            slots.append(slot)
            if value is not None and slot:
                weight = weight or name
                if value.is_floating_point() and bool(value.isfinite().all()):  # no mask
                    module.register_parameter(slot, self.parameter(name, value))
                else:
                    module.register_buffer(slot, value)
        module.slots = tuple(slots)
        weight = weight if _multiplies(node) else ""
        return Layer(module=module, inputs=tuple(inputs), outputs=node.outputs, weight=weight)

    @staticmethod
    def _is_operand(value: torch.Tensor) -> bool:
        return value.numel() > 1 if value.is_floating_point() else value.numel() > SMALL

    @staticmethod
    def _slot(node: Node, position: int) -> str:
        if _multiplies(node):
            return "weight" if node.op in ("MatMul", "Einsum", "FusedMatMul") else ("input", "weight", "bias")[position]
        return "constant" if position < 2 else f"constant_{position}"

    def _recurrent(self, node: Node) -> Layer:
        constants = [self.constant(node, i) for i in (1, 2, 3)]
        if constants[0] is None or constants[1] is None or (self.has(node, 3) and constants[2] is None):
            raise node.refusal("has weights that are computed, which is not supported")
        if self.has(node, 7):
            raise node.refusal("has peepholes, which torch's LSTM does not")
        module = Recurrent(node, constants[0], constants[1], constants[2])
        inputs = (node.inputs[0], *(node.inputs[4:7] if any(node.inputs[4:7]) else ()))
        return Layer(module=module, inputs=inputs, outputs=node.outputs)

    def _branches(self, node: Node) -> Layer:
        if self.level > 8:
            raise node.refusal("lies in more than 8 others")
        graphs, built = [], list[Built]()
        for name in ("then_branch", "else_branch"):
            proto = node.attributes.get(name)
            if proto is None:
                raise node.refusal(f"has no {name}")
            inner = Builder(proto, self.opsets, self.folder, self.constants, self.host, self.level + 1)
            graphs.append(inner.into(Subgraph((), {}, ())))
            built += [each.below("then" if name == "then_branch" else "otherwise") for each in inner.built]
        module = Branches(node, graphs[0], graphs[1])
        return Layer(module=module, inputs=node.inputs, outputs=node.outputs, inner=tuple(built))

    def only_reader(self, name: str, op: str) -> int | None:
        """The index of the one node that reads a value, where it is of this operator."""
        found = self.all_readers.get(name, [])
        if self.readers[name] != 1 or len(found) != 1 or self.nodes[found[0]].op != op or self.nodes[found[0]].domain:
            return None
        return found[0]


@dataclasses.dataclass(frozen=True)
class Bound:
    """An operator with its node: a function of values alone, which can be copied."""

    node: Node
    function: Callable[..., Any]

    def __call__(self, *given: Any) -> Any:
        """The operator's outputs."""
        return self.function(self.node, *given)


def network_of(model: Any, opsets: Mapping[str, int], folder: Path | None, inputs: Iterable[str]) -> tuple[Any, Any]:
    """The module of a model, and what became of its nodes."""
    root = OnnxNetwork(tuple(inputs))
    builder = Builder(model.graph, opsets, folder, {})
    builder.into(root)
    return root.eval(), tuple(builder.built)


# ---------------- layers by constants


def _convolution(builder: Builder, node: Node, index: int) -> Layer | None:  # noqa: ARG001
    w, bias = builder.constant(node, 1), builder.constant(node, 2)
    if w is None or (builder.has(node, 2) and bias is None) or not w.is_floating_point():
        return None
    own = builder.parameter(node.inputs[1], w)
    module = (layers.convolution if node.op == "Conv" else layers.TransposedConvolution)(node, own, bias)
    return Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs, weight=node.inputs[1])


def _matmul(builder: Builder, node: Node, index: int) -> Layer | None:  # noqa: ARG001
    """x by a constant matrix, with the bias that is added next."""
    w = builder.constant(node, 1)
    if w is None or w.dim() != 2 or not w.is_floating_point():
        return None
    bias, outputs, joins = None, node.outputs, tuple[int, ...]()
    after = builder.only_reader(node.outputs[0], "Add")
    if after is not None:
        add = builder.nodes[after]
        other = next((name for name in add.inputs if name != node.outputs[0]), "")
        added = builder.constants.get(other)
        if added is not None and added.numel() == w.shape[1] == added.shape[-1] and added.dim() <= 2:
            bias, outputs, joins = added.reshape(-1), add.outputs, (after,)
    own = builder.parameter(node.inputs[1], w.t().contiguous(), "t")
    module = layers.linear(own, bias)
    return Layer(module=module, inputs=node.inputs[:1], outputs=outputs, weight=node.inputs[1], joins=joins)


def _gemm(builder: Builder, node: Node, index: int) -> Layer | None:  # noqa: ARG001
    w, bias = builder.constant(node, 1), builder.constant(node, 2)
    if w is None or w.dim() != 2 or node.number("transA", 0) or not w.is_floating_point():
        return None
    columns = w.shape[0 if node.number("transB", 0) else 1]
    if builder.has(node, 2) and (bias is None or bias.numel() not in (1, columns)):
        return None
    turned = w if node.number("transB", 0) else w.t().contiguous()
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    own = builder.parameter(node.inputs[1], turned if alpha == 1 else turned * alpha, f"t{alpha}")
    if bias is not None:
        if bias.dim() > 1 and bias.shape[-1] != bias.numel():
            return None
        bias = (bias.reshape(-1) if beta == 1 else bias.reshape(-1) * beta).expand(turned.shape[0]).contiguous()
    module = layers.linear(own, bias)
    return Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs, weight=node.inputs[1])


def _batch_norm(builder: Builder, node: Node, index: int) -> Layer | None:  # noqa: ARG001
    if node.number("training_mode", 0):
        raise node.refusal("is in training mode; export the network for inference")
    constants = [builder.constant(node, i) for i in range(1, 5)]
    if any(each is None or each.dim() != 1 for each in constants):
        raise node.refusal("has statistics that are computed, which is not supported")
    module = layers.batch_norm(node, *constants)  # type: ignore[arg-type]
    return Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs[:1], weight=node.inputs[1])


def _layer_norm(builder: Builder, node: Node, index: int) -> Layer | None:  # noqa: ARG001
    gain, bias = builder.constant(node, 1), builder.constant(node, 2)
    if gain is None or gain.dim() != 1 or node.number("axis", -1) != -1 or (builder.has(node, 2) and bias is None):
        return None
    if len([name for name in node.outputs if name]) > 1:
        return None
    module = layers.layer_norm(gain, bias, len(gain), node.number("epsilon", 1e-5))
    return Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs, weight=node.inputs[1])


def _gather(builder: Builder, node: Node, index: int) -> Layer | None:  # noqa: ARG001
    w = builder.constant(node, 0)
    if w is None or w.dim() != 2 or not w.is_floating_point() or node.number("axis", 0) != 0:
        return None
    module = layers.table(builder.parameter(node.inputs[0], w))
    return Layer(module=module, inputs=node.inputs[1:2], outputs=node.outputs, weight=node.inputs[0])


_LAYERS: dict[str, Callable[[Builder, Node, int], Layer | None]] = {
    "BatchNormalization": _batch_norm,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "Gather": _gather,
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "ReduceMean": layer_norm,
}


# ---------------- nodes as the file has them


def _multiplies(node: Node) -> bool:
    return node.op in PRODUCT_OPERATORS


def _graphs(proto: Any) -> list[Any]:
    """The graphs that a node has as attributes."""
    return [graph for each in proto.attribute for graph in ([each.g] if each.HasField("g") else [*each.graphs])]


def reads(proto: Any) -> list[str]:
    """What a node reads, inside its graphs too."""
    inner = [name for graph in _graphs(proto) for each in graph.node for name in reads(each)]
    inner += [each.name for graph in _graphs(proto) for each in graph.output]
    return [name for name in (*proto.input, *inner) if name]


def _with_last(steps: list[Step], proto: Any, keep: set[str]) -> list[Step]:
    """Steps that know which values nobody reads after them; whatever inner graphs read is kept."""
    keep = keep | {name for each in proto.node if _graphs(each) for name in reads(each)}
    left, found = set(keep), []
    for step in reversed(steps):
        last = tuple({name for name in (*step.inputs, *step.outputs) if name and name not in left})
        left |= set(step.inputs)
        found.append(dataclasses.replace(step, last=last))
    return found[::-1]


def _node(proto: Any, opsets: Mapping[str, int], folder: Path | None, index: int) -> Node:
    domain = "" if proto.domain in STANDARD else proto.domain
    name = proto.name or next((each for each in proto.output if each), f"{proto.op_type}_{index}")
    attributes = {each.name: _attribute(each, folder, short(name)) for each in proto.attribute}
    return Node(
        name=name,
        scope=_scope(proto),
        op=proto.op_type,
        domain=domain,
        opset=opsets.get(domain, 1),
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
    )


def _scope(proto: Any) -> str:
    """The module that torch's exporter wrote a node for: the last but one of its scopes."""
    for each in proto.metadata_props:
        if each.key == "pkg.torch.onnx.name_scopes":
            scopes = re.findall(r"'([^']*)'", each.value[:4096])
            return scopes[-2] if len(scopes) > 1 else ""
    return ""


def _attribute(proto: Any, folder: Path | None, node: str) -> Any:
    """An attribute's value; tensors as torch's, texts decoded, graphs as they are."""
    from onnx import AttributeProto

    kind = proto.type
    if kind == AttributeProto.TENSOR:
        return tensor_of(proto.t, folder, f"node {node!r}: the tensor")
    if kind == AttributeProto.STRING:
        return proto.s.decode("utf-8", errors="replace")
    if kind == AttributeProto.STRINGS:
        return [each.decode("utf-8", errors="replace") for each in proto.strings]
    plain = {
        AttributeProto.FLOAT: lambda: float(proto.f),
        AttributeProto.INT: lambda: int(proto.i),
        AttributeProto.FLOATS: lambda: list(proto.floats),
        AttributeProto.INTS: lambda: list(proto.ints),
        AttributeProto.GRAPH: lambda: proto.g,
    }
    if kind not in plain:
        raise InputError(f"node {node!r}: its attribute {short(proto.name)!r} is of a kind that is not read")
    return plain[kind]()
