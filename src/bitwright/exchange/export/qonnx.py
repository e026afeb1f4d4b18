"""Quantized operands as QONNX's `Quant`: reals in, reals on a grid out, of any width.

Quant(x, scale, zero point, bits) = (round(clip(x / scale + zero point)) - zero point) * scale, scale and zero point
broadcast, of domain qonnx.custom_op.general (Pappalardo et al., 2022). Weights are float initializers that lie on their
grid already. The zero point is added before x is rounded, so that codes with an odd one may differ from
QuantizeLinear's where x / scale lies halfway between two integers.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from bitwright.exchange.export.coded import Array, Coded
from bitwright.exchange.export.fold import pruned
from bitwright.exchange.export.operators import DOMAIN, OPSET, SCALED, WEIGHT
from bitwright.exchange.export.sayable import rounding_mode

if TYPE_CHECKING:
    import onnx

QUANT_DOMAIN = "qonnx.custom_op.general"


def with_quant(model: "onnx.ModelProto", operands: Mapping[str, Coded]) -> "onnx.ModelProto":
    """The model, changed in place, with the marked operands said."""
    from onnx import helper

    graph = model.graph
    nodes: list[Any] = []
    for node in graph.node:
        if node.domain == DOMAIN:
            operand = operands[node.attribute[0].s.decode()]
            form = _Quant(graph, operand)
            nodes += form.weight(node) if node.op_type == WEIGHT else form.activation(node)
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    pruned(graph)
    del model.opset_import[:]
    model.opset_import.extend([helper.make_opsetid("", OPSET), helper.make_opsetid(QUANT_DOMAIN, 1)])
    return model


class _Quant:
    """The nodes and initializers of one operand."""

    def __init__(self, graph: "onnx.GraphProto", operand: Coded) -> None:
        self.graph, self.operand = graph, operand

    def weight(self, node: "onnx.NodeProto") -> list[Any]:
        """Of a stored weight; in blocks, of one with an axis more, which is taken away again."""
        w = self.operand
        assert w.codes is not None
        assert w.scale is not None
        reals, scale, shape = w.reals(), w.spread_scale(w.codes.ndim), w.codes.shape
        if not w.block:
            return [self._quant(self._floats(reals, "reals"), self._floats(scale, "scale"), node.output[0])]
        if shape[0] % w.block == 0:
            reals, scale = reals.reshape(-1, w.block, shape[1]), w.scale[:, None, :]
        values, scales = self._floats(reals, "reals"), self._floats(scale, "scale")
        if reals.shape == shape:
            return [self._quant(values, scales, node.output[0])]
        from onnx import helper

        made = self._quant(values, scales, f"{w.name}.blocks")
        return [made, helper.make_node("Reshape", [made.output[0], self._sizes(shape, "shape")], list(node.output))]

    def activation(self, node: "onnx.NodeProto") -> list[Any]:
        """Of an activation, with static scales or those of its rows [rows], which then have an axis more.

        Where there are several, the file says its sizes: to which rows they belong follows from these.
        """
        from onnx import TensorProto, helper

        x = self.operand
        several = node.op_type == SCALED or (x.scale is not None and x.scale.ndim)
        if several and node.output[0] not in {each.name for each in self.graph.output}:
            said = helper.make_tensor_value_info(node.output[0], TensorProto.FLOAT, list(x.shape))
            self.graph.value_info.append(said)
        if node.op_type != SCALED:
            return [self._quant(node.input[0], self._floats(x.spread_scale(len(x.shape)), "scale"), node.output[0])]
        column = f"{x.name}.scale"
        turned = helper.make_node("Unsqueeze", [node.input[1], self._sizes((1,), "axis")], [column])
        return [turned, self._quant(node.input[0], column, node.output[0])]

    def _quant(self, value: str, scale: str, result: str) -> Any:
        from onnx import helper

        fmt, zero_point = self.operand.format, self.operand.zero_point
        inputs = [
            value,
            scale,
            self._floats(np.array(zero_point), "zero_point"),
            self._floats(np.array(fmt.bits), "bits"),
        ]
        return helper.make_node(
            "Quant",
            inputs,
            [result],
            f"{self.operand.name}.quant",
            domain=QUANT_DOMAIN,
            signed=int(fmt.signed),
            narrow=int(fmt.narrow),
            rounding_mode="ROUND" if self.operand.codes is not None else rounding_mode(fmt, zero_point),
        )

    def _floats(self, values: Array, what: str) -> str:
        return self._stored(np.asarray(values, dtype=np.float32), what)

    def _sizes(self, sizes: tuple[int, ...], what: str) -> str:
        return self._stored(np.array(sizes, dtype=np.int64), what)

    def _stored(self, values: Array, what: str) -> str:
        from onnx import numpy_helper

        name = f"{self.operand.name}.{what}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values, order="C"), name))
        return name
