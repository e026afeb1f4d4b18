"""Operators on codes, written out as DequantizeLinear, the float operator, and QuantizeLinear.

So are QLinearConv and QLinearMatMul of ONNX, and what onnxruntime's quantizer writes in its own domain (QGemm,
QLinearAdd, ...): their definitions are these, up to how the result is rounded.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

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
    if node.domain not in ("", "com.microsoft") or node.op not in FLOAT_FORMS:
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
    return _made(node, "DequantizeLinear", inputs, f"{node.outputs[0]}/{what}", axis=axis)


def _rounded(node: Node, scale: int) -> Node:
    """The output's rounding, by the scale and zero point from a place on."""
    inputs = (f"{node.outputs[0]}/real", *node.inputs[scale : scale + 2])
    return _made(node, "QuantizeLinear", inputs, node.outputs[0])


def _operator(node: Node, operands: Sequence[str], **more: Any) -> Node:
    output = node.outputs[0]
    inputs = [f"{output}/{name}" if name else "" for name in operands]
    made = _made(node, FLOAT_FORMS[node.op], inputs, f"{output}/real", **(dict(node.attributes) | more))
    return dataclasses.replace(made, name=node.name, outputs=(f"{output}/real",))


def _unary(node: Node) -> Lowered:
    """x and its grid, then the output's."""
    more = {} if node.op != "QLinearSoftmax" else {"axis": node.attributes.get("axis", -1)}
    if node.number("channels_last", 0):
        raise node.refusal("has its channels last, which is not supported")
    return [_real(node, 0, "x"), _operator(node, ["x"], **more), _rounded(node, 3)]


def _binary(node: Node) -> Lowered:
    return [_real(node, 0, "a"), _real(node, 3, "b"), _operator(node, ["a", "b"]), _rounded(node, 6)]


def _matmul(node: Node) -> Lowered:
    weight = _real(node, 3, "b", axis=-1)
    return [_real(node, 0, "a"), weight, _operator(node, ["a", "b"]), _rounded(node, 6)]


def _convolution(node: Node) -> Lowered:
    parts = [_real(node, 0, "x"), _real(node, 3, "w", axis=0)]
    biased = len(node.inputs) > 8 and bool(node.inputs[8])
    if biased:
        parts += _bias(node, 8)
    return [*parts, _operator(node, ["x", "w", *(["b"] if biased else [])]), _rounded(node, 6)]


def _gemm(node: Node) -> Lowered:
    """A, B, and C with the grids of both, then the output's; without a scale the output is float."""
    turned = bool(node.number("transB", 0))
    parts = [_real(node, 0, "a"), _real(node, 3, "w", axis=0 if turned else 1)]
    biased = len(node.inputs) > 6 and bool(node.inputs[6])
    if biased:
        parts += _bias(node, 6)
    operator = _operator(node, ["a", "w", *(["b"] if biased else [])], beta=1.0)
    if len(node.inputs) > 7 and node.inputs[7]:
        return [*parts, operator, _rounded(node, 7)]
    return [*parts, dataclasses.replace(operator, outputs=node.outputs)]


def _bias(node: Node, place: int) -> list[Node]:
    """A bias of 32-bit integers in units of scale x times scale w."""
    output = node.outputs[0]
    scale = _made(node, "Mul", (node.inputs[1], node.inputs[4]), f"{output}/bias scale")
    inputs = (node.inputs[place], f"{output}/bias scale")
    return [scale, _made(node, "DequantizeLinear", inputs, f"{output}/b", axis=0)]


def _concat(node: Node) -> Lowered:
    """The output's grid first, then tensors with theirs."""
    output, parts = node.outputs[0], list[Node]()
    places = range(2, len(node.inputs), 3)
    names = [f"p{place}" for place in places]
    for place, name in zip(places, names, strict=True):
        parts.append(_real(node, place, name))
    operator = _operator(node, names)
    inputs = (f"{output}/real", *node.inputs[0:2])
    return [*parts, operator, _made(node, "QuantizeLinear", inputs, output)]


_FORMS: dict[str, Callable[[Node], Lowered]] = {
    "QLinearAdd": _binary, "QLinearMul": _binary, "QLinearMatMul": _matmul, "QLinearConv": _convolution,
    "QGemm": _gemm, "QLinearConcat": _concat,
}  # fmt: skip
