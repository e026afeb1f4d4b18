"""The nodes of a graph as the file has them, and those that fused operators and those on codes stand for."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.networks.onnx.file import graphs_of
from bitwright.networks.onnx.fused import written_out
from bitwright.networks.onnx.node import Node, short
from bitwright.networks.onnx.operators.table import STANDARD
from bitwright.networks.onnx.quantization.lowering import lowered
from bitwright.networks.onnx.types import tensor_of


def nodes_of(graph: Any, opsets: Mapping[str, int], folder: Path | None) -> tuple[list[Node], list[Node]]:
    """Every node of a graph in order, fused operators and those on codes written out; and all as the file has them."""
    own = [_node(proto, opsets, folder, index) for index, proto in enumerate(graph.node)]
    plain = (each for node in own for each in written_out(node) or [node])
    return [each for node in plain for each in lowered(node) or [node]], own


def reads(proto: Any) -> list[str]:
    """What a node reads, inside its graphs too."""
    inner = [name for graph in graphs_of(proto) for each in graph.node for name in reads(each)]
    inner += [each.name for graph in graphs_of(proto) for each in graph.output]
    return [name for name in (*proto.input, *inner) if name]


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
        inner=tuple(reads(proto)[len([each for each in proto.input if each]) :]),
        origin=index,
    )


def _scope(proto: Any) -> str:
    """The module that torch's exporter wrote a node for: the last but one of its scopes."""
    for each in proto.metadata_props:
        if each.key == "pkg.torch.onnx.name_scopes" and isinstance(each.value, str):
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
        AttributeProto.TYPE_PROTO: lambda: None,
    }
    if kind not in plain:
        raise InputError(f"node {node!r}: its attribute {short(proto.name)!r} is of a kind that is not read")
    return plain[kind]()
