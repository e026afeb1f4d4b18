"""Operators on codes, written out as DequantizeLinear, the float operator, and QuantizeLinear.

So are QLinearConv and QLinearMatMul of ONNX, and what onnxruntime's quantizer writes in its own domain (QGemm,
QLinearAdd, ...): their definitions are these, up to how the result is rounded.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bitwright.networks.onnx.file import MICROSOFT
from bitwright.networks.onnx.node import Node

Lowered = Sequence[Node]
FLOAT_FORMS = {
    "QLinearAdd": "Add", "QLinearMul": "Mul", "QLinearMatMul": "MatMul", "QLinearConv": "Conv", "QGemm": "Gemm",
    "QLinearSigmoid": "Sigmoid", "QLinearLeakyRelu": "LeakyRelu", "QLinearSoftmax": "Softmax",
    "QLinearGlobalAveragePool": "GlobalAveragePool", "QLinearAveragePool": "AveragePool",
    "QLinearConcat": "Concat",
}  # fmt: skip


def lowered(node: Node) -> Lowered | None:
    """The nodes that an operator on codes stands for; None for any other."""
    if node.domain not in ("", MICROSOFT) or node.op not in FLOAT_FORMS:
        return None
    return _FORMS.get(node.op, _unary)(node)


def _made(node: Node, op: str, inputs: Sequence[str], output: str, **attributes: Any) -> Node:
    return dataclasses.replace(
        node,
        op=op,
        domain="",
        inputs=tuple(inputs),
        outputs=(output,),
        attributes=attributes,
        opset=max(node.opset, 13),
    )


def _real(node: Node, place: int, what: str, axis: int = 1) -> Node:
    """Input, scale and zero point from a place on, as reals."""
    if place + 2 >= len(node.inputs) + 1:
        raise node.refusal("has too few inputs")
    inputs = (*node.inputs[place : place + 3],)
    return _made(node, "DequantizeLinear", inputs, _name(node, place, what), axis=axis)


def _name(node: Node, place: int, what: str) -> str:
    """What an operand is called as reals: as in the file, and of which node and which of its operands it is."""
    return f"{node.inputs[place]}\0{node.outputs[0]}/{what}"


def _rounded(node: Node, scale: int, axis: int = 1) -> Node:
    """The output's rounding, by the scale and zero point from a place on."""
    inputs = (f"{node.outputs[0]}/real", *node.inputs[scale : scale + 2])
    return _made(node, "QuantizeLinear", inputs, node.outputs[0], axis=axis)


def _operator(node: Node, operands: Sequence[Node], **more: Any) -> Node:
    """The float operator of what others make real."""
    inputs = [each.outputs[0] for each in operands]
    return _made(node, FLOAT_FORMS[node.op], inputs, f"{node.outputs[0]}/real", **(dict(node.attributes) | more))


def _unary(node: Node) -> Lowered:
    """x and its grid, then the output's."""
    more = {} if node.op != "QLinearSoftmax" else {"axis": node.attributes.get("axis", -1)}
    if node.number("channels_last", 0):
        raise node.refusal("has its channels last, which is not supported")
    x = _real(node, 0, "x")
    operator = _operator(node, [x], **more)
    if node.op == "QLinearSoftmax":  # the softmax of the opset that it names: before 13 over all axes from one on
        operator = dataclasses.replace(operator, opset=int(node.number("opset", 13)))
    return [x, operator, _rounded(node, 3)]


def _binary(node: Node) -> Lowered:
    both = [_real(node, 0, "a"), _real(node, 3, "b")]
    return [*both, _operator(node, both), _rounded(node, 6)]


def _matmul(node: Node) -> Lowered:
    both = [_real(node, 0, "a", axis=-2), _real(node, 3, "b", axis=-1)]  # scales of A and of the result are of rows
    return [*both, _operator(node, both), _rounded(node, 6, axis=-2)]


def _convolution(node: Node) -> Lowered:
    parts = [_real(node, 0, "x"), _real(node, 3, "w", axis=0)]
    bias = _bias(node, 8)
    return [*parts, *bias, _operator(node, [*parts, *bias[1:]]), _rounded(node, 6)]


def _gemm(node: Node) -> Lowered:
    """A, B, and C with the grids of both, then the output's; without a scale the output is float.

    C joins the sums of integers, so that alpha scales it too.
    """
    turned = bool(node.number("transB", 0))
    parts = [_real(node, 0, "a"), _real(node, 3, "w", axis=0 if turned else 1)]
    bias = _bias(node, 6)
    operator = _operator(node, [*parts, *bias[1:]], beta=float(node.number("alpha", 1.0)))
    parts += bias
    if len(node.inputs) > 7 and node.inputs[7]:
        return [*parts, operator, _rounded(node, 7)]
    return [*parts, dataclasses.replace(operator, outputs=node.outputs)]


def _bias(node: Node, place: int) -> list[Node]:
    """A bias of 32-bit integers in units of scale x times scale w; nothing where there is none."""
    if len(node.inputs) <= place or not node.inputs[place]:
        return []
    output = node.outputs[0]
    scale = _made(node, "Mul", (node.inputs[1], node.inputs[4]), f"{output}/bias scale")
    inputs = (node.inputs[place], f"{output}/bias scale")
    return [scale, _made(node, "DequantizeLinear", inputs, _name(node, place, "bias"), axis=0)]


def _concat(node: Node) -> Lowered:
    """The output's grid first, then tensors with theirs."""
    parts = [_real(node, place, f"part {place}") for place in range(2, len(node.inputs), 3)]
    return [*parts, _operator(node, parts), _rounded(node, 0)]


_FORMS: dict[str, Callable[[Node], Lowered]] = {
    "QLinearAdd": _binary, "QLinearMul": _binary, "QLinearMatMul": _matmul, "QLinearConv": _convolution,
    "QGemm": _gemm, "QLinearConcat": _concat,
}  # fmt: skip
