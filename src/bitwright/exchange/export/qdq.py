"""Quantized operands as QuantizeLinear and DequantizeLinear, opset 20 or 21.

An activation is x -> [Clip] -> QuantizeLinear -> [shifts] -> DequantizeLinear; a weight is DequantizeLinear of
integers (int4 of at most 4 bits, int8 of 8, int16 of 16), per channel or in blocks along the reduction. Where a format
has fewer codes than its type (-127 .. 127, or 7 bits), x is brought into their range first, which changes no code.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bitwright.exchange.export.coded import Array, Coded
from bitwright.exchange.export.fold import pruned
from bitwright.exchange.export.operators import DOMAIN, OPSET, SCALED, WEIGHT
from bitwright.formats import Integer

if TYPE_CHECKING:
    import onnx

WIDER_OPSET = 21
"""Where there are types of 4 and 16 bits, and blocks; from 20 on, it adds nothing else to what is written here.

Files that need neither stay at 20: onnxruntime 1.32 fails to optimize signed activations of 21.
"""
STORED, COMPUTED = (4, 8, 16), (8, 16)
"""Widths of the types of weights, and of activations."""


def with_qdq(model: "onnx.ModelProto", operands: Mapping[str, Coded]) -> "onnx.ModelProto":
    """The model, changed in place, with the marked operands said."""
    graph = model.graph
    nodes: list[Any] = []
    for node in graph.node:
        if node.domain == DOMAIN:
            operand = operands[node.attribute[0].s.decode()]
            made = _Made(graph, operand)
            nodes += _weight(made, node, operand) if node.op_type == WEIGHT else _activation(made, node, operand)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    pruned(graph)
    from onnx import helper

    wider = any(each.block or _width(each) != 8 for each in operands.values())
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("", WIDER_OPSET if wider else OPSET))
    return model


def _width(operand: Coded) -> int:
    """Bits of the ONNX type that holds its codes."""
    widths = COMPUTED if operand.codes is None else STORED
    return next(each for each in widths if operand.format.bits <= each)


def narrower(operands: Mapping[str, Coded]) -> dict[str, int]:
    """Bits of stored codes, by the name of their initializer, where these are fewer than their type's."""
    stored = [each for each in operands.values() if each.codes is not None]
    return {f"{each.name}.codes": each.format.bits for each in stored if each.format.bits != _width(each)}


class _Made:
    """Initializers of one operand, as they are needed."""

    def __init__(self, graph: "onnx.GraphProto", operand: Coded) -> None:
        self.graph, self.name, self.format = graph, operand.name, operand.format
        self.width = _width(operand)

    @property
    def kind(self) -> int:
        """The ONNX type of the codes."""
        from onnx import TensorProto

        return int(TensorProto.DataType.Value(f"{'INT' if self.format.signed else 'UINT'}{self.width}"))

    def typed(self, name: str, shape: tuple[int, ...]) -> None:
        """Say of codes that are computed what they are."""
        from onnx import helper

        self.graph.value_info.append(helper.make_tensor_value_info(name, self.kind, list(shape)))

    def floats(self, values: Array, what: str) -> str:
        """The name of a float32 initializer."""
        from onnx import numpy_helper

        name = f"{self.name}.{what}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, dtype=np.float32, order="C"), name))
        return name

    def codes(self, values: Array, what: str) -> str:
        """The name of an initializer of integers, two in a byte where they have 4 bits."""
        from onnx import TensorProto

        name = f"{self.name}.{what}"
        whole = np.asarray(values, order="C").astype(np.int16 if self.width == 16 else np.int8, casting="unsafe")
        if self.width == 4:
            flat = whole.reshape(-1).view(np.uint8) & 15
            flat = np.pad(flat, (0, -len(flat) % 2))
            raw = (flat[::2] | flat[1::2] << 4).tobytes()
        else:
            raw = whole.tobytes()
        self.graph.initializer.append(
            TensorProto(name=name, data_type=self.kind, dims=list(values.shape), raw_data=raw)
        )
        return name


def _weight(made: _Made, node: "onnx.NodeProto", w: Coded) -> list[Any]:
    from onnx import helper

    assert w.codes is not None
    assert w.scale is not None
    if not any(each.name == f"{w.name}.codes" for each in made.graph.initializer):
        made.codes(w.codes, "codes")
        made.floats(w.scale, "scale")
    inputs = [f"{w.name}.codes", f"{w.name}.scale"]
    if not any(each.name == f"{w.name}.zero_point" for each in made.graph.initializer):
        made.codes(np.full(w.scale.shape, w.zero_point), "zero_point")
    inputs.append(f"{w.name}.zero_point")
    attributes: dict[str, Any] = {"axis": w.axis} if w.scale.ndim else {}
    attributes |= {"block_size": w.block} if w.block else {}
    return [helper.make_node("DequantizeLinear", inputs, list(node.output), f"{w.name}.dequantize", **attributes)]


def _activation(made: _Made, node: "onnx.NodeProto", x: Coded) -> Iterator[Any]:
    from onnx import helper

    value = node.input[0]
    attributes: dict[str, Any] = {}
    if node.op_type == SCALED:
        scale, zero_points, attributes = node.input[1], np.full(x.shape[0], x.zero_point), {"axis": 0}
    else:
        assert x.scale is not None
        scale, zero_points = made.floats(x.scale, "scale"), np.full(x.scale.shape, x.zero_point)
        attributes = {"axis": x.axis} if x.scale.ndim else {}
        bounds = dict(_bounds(x))
        if bounds and not x.scale.ndim:
            limits = [made.floats(bounds[end], end.lower()) if end in bounds else "" for end in ("Max", "Min")]
            value = f"{x.name}.clipped"
            yield helper.make_node("Clip", [node.input[0], *limits], [value], f"{x.name}.clip")
            bounds = {}
        for operator, bound in bounds.items():
            limit, result = made.floats(bound, operator.lower()), f"{x.name}.{operator.lower()}_of"
            yield helper.make_node(operator, [value, limit], [result])
            value = result
    zero_point = made.codes(zero_points, "zero_point")
    codes = f"{x.name}.quantized"
    made.typed(codes, x.shape)
    yield helper.make_node("QuantizeLinear", [value, scale, zero_point], [codes], f"{x.name}.quantize", **attributes)
    if x.format.dropped_bits:
        shift = made.codes(np.array(x.format.dropped_bits), "dropped_bits")
        for direction in ("RIGHT", "LEFT"):
            shifted = f"{x.name}.{direction.lower()}"
            yield helper.make_node("BitShift", [codes, shift], [shifted], direction=direction)
            codes = shifted
    yield helper.make_node(
        "DequantizeLinear", [codes, scale, zero_point], list(node.output), f"{x.name}.dequantize", **attributes
    )


def _bounds(x: Coded) -> Iterator[tuple[str, Array]]:
    """What x is brought into: the reals of the format's first and last code, where its type has more codes."""
    whole = Integer(bits=_width(x), signed=x.format.signed)
    for operator, code, end in (("Max", x.format.low, whole.low), ("Min", x.format.high, whole.high)):
        if code != end:
            yield operator, np.float32(code - x.zero_point) * x.spread_scale(len(x.shape))
