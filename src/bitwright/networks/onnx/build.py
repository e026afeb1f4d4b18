"""From a graph of ONNX to modules: constants are folded, nodes by constants become layers, all others operations.

Nothing is decided by names. What becomes of each node is kept, for reports that must account for all of them.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch

from bitwright.errors import InputError
from bitwright.networks.onnx import control, layers
from bitwright.networks.onnx.built import Became, Built, together
from bitwright.networks.onnx.graph import OnnxNetwork, Operation, Step, Subgraph
from bitwright.networks.onnx.layer import Layer
from bitwright.networks.onnx.makers import LAYERS
from bitwright.networks.onnx.names import Places, path_of
from bitwright.networks.onnx.node import Node
from bitwright.networks.onnx.nodes import nodes_of
from bitwright.networks.onnx.operators.recurrent import GATES
from bitwright.networks.onnx.operators.shapes import HOST_OPERATORS
from bitwright.networks.onnx.operators.table import OPERATORS, PRODUCT_OPERATORS, why_unknown
from bitwright.networks.onnx.quantization.functions import FUNCTIONS
from bitwright.networks.onnx.quantization.grids import SWITCH, QuantizedFile
from bitwright.networks.onnx.quantization.narrowing import stated_bits
from bitwright.networks.onnx.quantization.reading import Quantization
from bitwright.networks.onnx.types import INTEGERS, tensor_of

KNOWN: dict[tuple[str, str], Callable[..., Any]] = {**OPERATORS, **FUNCTIONS}
SMALL = 4096  # elements of constants that are read as numbers, not as operands
SETTINGS = frozenset({"Resize", "Upsample", "Range", "ConstantOfShape", "Pad", "Slice"})
"""Operators whose constants say what they do."""
RECURRENT_SLOTS = ("input", "input_weight", "hidden_weight", "bias")


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
        quantization: Quantization | None = None,
    ) -> None:
        self.proto, self.opsets, self.folder, self.level = proto, opsets, folder, level
        self.constants = dict(constants)
        self.constants |= {each.name: tensor_of(each, folder, "the tensor") for each in proto.initializer}
        given = {each.name for each in proto.input} - {each.name for each in proto.initializer}
        for name in given & set(self.constants):  # a graph's own inputs are given, whatever is called so around it
            del self.constants[name]
        self.host = set(host)
        self.quantization = quantization or Quantization()
        self.quantization.widths |= {
            each.name: INTEGERS[each.data_type] for each in proto.initializer if each.data_type in INTEGERS
        }
        self.quantization.learn_types(proto)
        self.nodes, self._own = nodes_of(proto, opsets, folder)
        self.readers = Counter(name for each in self.nodes for name in (*each.inputs, *each.inner) if name)
        self.readers.update(each.name for each in proto.output)
        self.outputs = {each.name for each in proto.output}
        self.made_by = {name: i for i, node in enumerate(self.nodes) for name in node.outputs if name}
        self.all_readers: dict[str, list[int]] = {}
        for i, node in enumerate(self.nodes):
            for name in dict.fromkeys(node.inputs):
                self.all_readers.setdefault(name, []).append(i)
        self.built: list[Built] = []
        self._inner: dict[int, list[Built]] = {}
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
            node = self.quantization.moved(self, node)  # noqa: PLW2901
            node = self.quantization.with_width(node)  # noqa: PLW2901
            layer = self._layer(node, index)
            path = path_of("" if node.name in node.outputs else node.name, node.op, layer.weight, index, node.scope)
            parent, key, own = places.put(layer.module, path)
            self._rename(layer.module, node, own)
            self.quantization.learn_product(self, node, layer, own)
            steps.append(Step(node=node, inputs=layer.inputs, outputs=layer.outputs, parent=parent, key=key))
            joined |= dict.fromkeys(layer.joins, own)
            self.built.append(Built(node=node, became=Became.MODULE, path=own))
            self._inner[node.origin] = [each.below(own) for each in layer.inner]
        self.quantization.look_for_loose_rows(self)
        self._regroup()
        kept = {each.name for each in self.proto.output} | {name for each in self.nodes for name in each.inner}
        root.steps = tuple(_with_last(steps, kept))
        read = {name for step in steps for name in step.inputs} | kept
        root.constants = {name: self.constants[name] for name in read if name in self.constants}
        root.outputs = tuple(each.name for each in self.proto.output)
        return root

    def _regroup(self) -> None:
        """One entry for each node of the file; those of graphs inside follow the node that has them."""
        entries: dict[int, list[Built]] = {}
        for each in self.built:
            entries.setdefault(each.node.origin, []).append(each)
        self.built = [
            entry
            for origin, own in enumerate(self._own)
            for entry in (together(entries[origin], own), *self._inner.get(origin, ()))
        ]

    @staticmethod
    def _rename(module: torch.nn.Module, node: Node, path: str) -> None:
        if isinstance(module, Operation):
            module.node = dataclasses.replace(node, path=path)

    # ---------------- what is known before the network runs

    def _folded(self, node: Node) -> bool:
        """Compute a node whose inputs are all constants."""
        given = [name for name in node.inputs if name]
        key = (node.domain, node.op)
        function = KNOWN.get(key)
        if function is None or (not given and key in FUNCTIONS) or not all(name in self.constants for name in given):
            return False
        node = self.quantization.with_width(node)
        made = self._evaluated(node, function)
        for name, value in zip(node.outputs, made, strict=False):
            if name:
                self.constants[name] = value
        self.quantization.learn_constant(self, node)
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
        if node.op in control.GRAPHS and node.domain == "":
            return control.layer(self, node)
        maker = LAYERS.get(node.op) if node.domain == "" else None
        layer = self.quantization.layer(self, node) if maker is None else maker(self, node, index)
        if layer is None and (node.domain, node.op) not in KNOWN:
            raise node.refusal(why_unknown(node.domain, node.op, node.opset))
        return layer or self._operation(node)

    def _operation(self, node: Node) -> Layer:
        """A node as a function, which holds those constants that are operands."""
        slots: list[str | None] = []
        inputs: list[str] = []
        module = Operation(node, KNOWN[node.domain, node.op], ())
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
    def _is_operand(value: Any) -> bool:
        if not isinstance(value, torch.Tensor):  # a sequence
            return False
        return value.numel() > 1 if value.is_floating_point() else value.numel() > SMALL

    @staticmethod
    def _slot(node: Node, position: int) -> str:
        if _multiplies(node):
            if node.op in ("MatMul", "Einsum", "FusedMatMul"):
                return f"weight_{position}" if position > 1 else "weight"
            return ("input", "weight", "bias")[position] if position < 3 else f"constant_{position}"
        if node.op in GATES and position < len(RECURRENT_SLOTS):
            return RECURRENT_SLOTS[position]
        return "constant" if position < 2 else f"constant_{position}"

    def inside(self, proto: Any, host: Iterable[str] = ()) -> "Builder":
        """The builder of a graph that a node has; `host` are inputs of it that are known from shapes."""
        known = self.host | set(host)
        quantization = self.quantization.inside()
        return Builder(proto, self.opsets, self.folder, self.constants, known, self.level + 1, quantization)

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


def network_of(
    model: Any, opsets: Mapping[str, int], folder: Path | None, inputs: Iterable[str]
) -> tuple[OnnxNetwork, tuple[Built, ...], QuantizedFile | None]:
    """The module of a model, what became of its nodes, and its quantization, where it has any."""
    root = OnnxNetwork(tuple(inputs))
    builder = Builder(model.graph, opsets, folder, {}, quantization=Quantization(stated_bits(model)))
    builder.into(root)
    own = builder.quantization
    if own.switch is not None:
        root.add_module(SWITCH, own.switch)
    file = None
    if own.sites or own.tensors:
        file = QuantizedFile(sites=own.sites, tensors=own.tensors, loose_rows=own.loose_rows)
    return root.eval(), tuple(builder.built), file


def _multiplies(node: Node) -> bool:
    return node.op in PRODUCT_OPERATORS


def _with_last(steps: list[Step], keep: set[str]) -> list[Step]:
    """Steps that know which values nobody reads after them; what is kept is read by others."""
    left, found = set(keep), []
    for step in reversed(steps):
        last = tuple({name for name in (*step.inputs, *step.outputs) if name and name not in left})
        left |= set(step.inputs)
        found.append(dataclasses.replace(step, last=last))
    return found[::-1]
