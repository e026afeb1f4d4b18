"""Operators that onnxruntime's optimizer and quantizer write, written out as those of ONNX that they were made of."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bitwright.networks.onnx.file import MICROSOFT
from bitwright.networks.onnx.node import Node

Parts = list[Node]
ACTIVATIONS = {
    "Relu": (), "Tanh": (), "Sigmoid": (), "LeakyRelu": ("alpha",), "Clip": ("min", "max"),
    "HardSigmoid": ("alpha", "beta"), "Elu": ("alpha",), "Softplus": (),
}  # fmt: skip
"""Activations that are fused, and what their numbers are called."""


def written_out(node: Node) -> Parts | None:
    """The nodes that a fused operator stands for; None for any other."""
    form = FORMS.get(node.op) if node.domain == MICROSOFT else None
    return None if form is None else form(node)


def _made(node: Node, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Node:
    """A node of ONNX's own domain in the place of another."""
    return dataclasses.replace(
        node,
        op=op,
        domain="",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        attributes=attributes,
        opset=max(node.opset, 17),
    )


def _input(node: Node, place: int) -> str:
    return node.inputs[place] if place < len(node.inputs) else ""


def _output(node: Node, place: int) -> str:
    return node.outputs[place] if place < len(node.outputs) else ""


def _within(node: Node, part: str) -> str:
    """A value that only parts of a node read."""
    return f"{node.outputs[0]}\0{part}"


def _without(node: Node, *names: str) -> dict[str, Any]:
    return {name: value for name, value in node.attributes.items() if name not in names}


# ---------------- products with what follows them


def _activation(node: Node, name: str, before: str, numbers: Sequence[float]) -> Node:
    if name not in ACTIVATIONS:
        raise node.refusal(f"has the activation {name!r} in it, which is not known")
    attributes = dict(zip(ACTIVATIONS[name], numbers, strict=False))
    return dataclasses.replace(_made(node, name, (before,), node.outputs[:1], **attributes), opset=10)


def _convolution(node: Node) -> Parts:
    """A convolution, what is added to it, and an activation."""
    name, added = node.text("activation", ""), _input(node, 3)
    steps = [_within(node, "sums"), _within(node, "added")]
    parts = [_made(node, "Conv", node.inputs[:3], steps[:1], **_without(node, "activation", "activation_params"))]
    if added:
        parts.append(_made(node, "Add", (steps[0], added), steps[1:]))
    if name:
        numbers = node.attributes.get("activation_params", ())
        return [*parts, _activation(node, name, parts[-1].outputs[0], numbers)]
    return [*parts[:-1], dataclasses.replace(parts[-1], outputs=node.outputs[:1])]


def _gemm(node: Node) -> Parts:
    name, sums = node.text("activation", ""), _within(node, "sums")
    numbers = [node.attributes[each] for each in ("activation_alpha", "activation_beta") if each in node.attributes]
    own = _without(node, "activation", "activation_alpha", "activation_beta", "activation_gamma")
    return [_made(node, "Gemm", node.inputs, (sums,), **own), _activation(node, name, sums, numbers)]


# ---------------- norms with what is before them


def _skip_norm(node: Node) -> Parts:
    """The sum of two tensors and a bias, and its norm: by mean and deviation, or by the root of the mean square."""
    root = node.op == "SkipSimplifiedLayerNormalization"
    norm = ("RMSNormalization",) if root else ("LayerNormalization",)
    gain, bias, shift = _input(node, 2), "" if root else _input(node, 3), _input(node, 3 if root else 4)
    total = _output(node, 3) or _within(node, "sum")
    parts = [_made(node, "Add", node.inputs[:2], (total if not shift else _within(node, "both"),))]
    if shift:
        parts.append(_made(node, "Add", (_within(node, "both"), shift), (total,)))
    inputs = (total, gain, bias) if bias else (total, gain)
    return [*parts, _made(node, *norm, inputs, node.outputs[:1], axis=-1, epsilon=node.number("epsilon", 1e-12))]


def _root_norm(node: Node) -> Parts:
    epsilon, axis = node.number("epsilon", 1e-5), node.number("axis", -1)
    if _output(node, 1):
        raise node.refusal("hands out its deviation, which is not supported")
    return [_made(node, "RMSNormalization", node.inputs[:2], node.outputs[:1], axis=int(axis), epsilon=epsilon)]


def _embedding_norm(node: Node) -> Parts:
    """Embeddings of words, places and segments, their sum, and its norm; and how long each sequence is."""
    words, segments, mask, places = node.inputs[0], _input(node, 1), _input(node, 7), _input(node, 8)
    total, counted = _output(node, 2) or _within(node, "sum"), _within(node, "places")
    parts = [_made(node, "Gather", (node.inputs[2], words), (_within(node, "words"),), axis=0)]
    if not places:
        parts += [
            _made(node, "Shape", (words,), (_within(node, "length"),), start=1, end=2),
            _made(node, "Constant", (), (_within(node, "zero"),), value_int=0),
            _made(node, "Constant", (), (_within(node, "one"),), value_int=1),
            _made(node, "Constant", (), (_within(node, "first"),), value_ints=[0]),
            _made(node, "Squeeze", (_within(node, "length"),), (_within(node, "tokens"),)),
            _made(node, "Range", tuple(_within(node, each) for each in ("zero", "tokens", "one")), (counted,)),
        ]
    parts.append(_made(node, "Gather", (node.inputs[3], places or counted), (_within(node, "of places"),), axis=0))
    both = _within(node, "both") if segments else total
    parts.append(_made(node, "Add", (_within(node, "words"), _within(node, "of places")), (both,)))
    if segments:
        parts.append(_made(node, "Gather", (_input(node, 4), segments), (_within(node, "segments"),), axis=0))
        parts.append(_made(node, "Add", (both, _within(node, "segments")), (total,)))
    norm = (total, _input(node, 5), _input(node, 6))
    epsilon = node.number("epsilon", 1e-12)
    parts.append(_made(node, "LayerNormalization", norm, node.outputs[:1], axis=-1, epsilon=epsilon))
    if _output(node, 1):
        parts += _lengths(node, mask, words)
    return parts


def _lengths(node: Node, mask: str, words: str) -> Parts:
    """How many tokens of each sequence a mask shows; 0 without a mask."""
    last = (_made(node, "Constant", (), (_within(node, "last"),), value_ints=[1]),)
    counted = (mask, _within(node, "last"))
    if mask:
        return [*last, _made(node, "ReduceSum", counted, (_output(node, 1),), keepdims=0)]
    none = _made(node, "Sub", (words, words), (_within(node, "none"),))
    return [*last, none, _made(node, "ReduceSum", (none.outputs[0], counted[1]), (_output(node, 1),), keepdims=0)]


# ---------------- attention with its projection


def _attention(node: Node) -> Parts:
    """One projection to queries, keys and values, and attention by them."""
    projected = _within(node, "projected")
    parts = [_made(node, "MatMul", node.inputs[:2], (_within(node, "sums") if _input(node, 2) else projected,))]
    if _input(node, 2):
        parts.append(_made(node, "Add", (_within(node, "sums"), _input(node, 2)), (projected,)))
    return [*parts, *_heads(node, projected, mask=_input(node, 3), past=_input(node, 4), added=_input(node, 5))]


def _coded_attention(node: Node) -> Parts:
    """The same of codes, whose scales come behind them."""
    x, w, bias, of_x, of_w, mask, x_zero, w_zero, past = (_input(node, place) for place in range(9))
    names = {part: _within(node, part) for part in ("whole", "step", "real", "scaled", "projected")}
    parts = [
        _made(node, "MatMulInteger", (x, w, x_zero, w_zero), (names["whole"],)),
        _made(node, "Cast", (names["whole"],), (names["real"],), to=1),
        _made(node, "Mul", (of_x, of_w), (names["step"],)),
        _made(node, "Mul", (names["real"], names["step"]), (names["scaled"],)),
        _made(node, "Add", (names["scaled"], bias), (names["projected"],)),
    ]
    return [*parts, *_heads(node, names["projected"], mask=mask, past=past, added="")]


def _heads(node: Node, projected: str, *, mask: str, past: str, added: str) -> Parts:
    if past or _output(node, 1):
        raise node.refusal("keeps past keys and values, which is not supported; export it without a cache")
    if node.number("do_rotary", 0):
        raise node.refusal("turns its queries and keys, which is not supported in one operator with attention")
    sizes, own = (
        node.integers("qkv_hidden_sizes"),
        _without(node, "qkv_hidden_sizes", "do_rotary", "past_present_share_buffer"),
    )
    qkv = [_within(node, part) for part in "qkv"]
    split = {"axis": -1} if not sizes else {"axis": -1, "split": sizes}
    heads = _made(node, "MultiHeadAttention", (*qkv, "", mask, added), node.outputs[:1], **own)
    parts = _made(node, "Split", (projected,), qkv, **split)
    return [parts, dataclasses.replace(heads, domain=MICROSOFT)]


# ---------------- products of codes


def _rounded_matmul(node: Node) -> Parts:
    """A, rounded by its range, by constant codes."""
    a, b, scale, zero, bias = (_input(node, place) for place in range(5))
    codes, of_a, zero_of_a = (_within(node, part) for part in ("codes", "scale", "zero"))
    rounding = _made(node, "DynamicQuantizeLinear", (a,), (codes, of_a, zero_of_a))
    return [rounding, *_scaled(node, (codes, b, zero_of_a, zero), (of_a, scale), bias)]


def _whole_matmul(node: Node) -> Parts:
    a, b, of_a, of_b, zero_of_a, zero_of_b, bias = (_input(node, place) for place in range(7))
    return _scaled(node, (a, b, zero_of_a, zero_of_b), (of_a, of_b), bias)


def _scaled(node: Node, inputs: Sequence[str], scales: tuple[str, str], bias: str) -> Parts:
    """Sums of products of codes, times both scales, and a bias."""
    whole, real, step = (_within(node, part) for part in ("whole", "real", "step"))
    last = node.outputs[0] if not bias else _within(node, "scaled")
    parts = [
        _made(node, "MatMulInteger", inputs, (whole,)),
        _made(node, "Cast", (whole,), (real,), to=1),
        _made(node, "Mul", scales, (step,)),
        _made(node, "Mul", (real, step), (last,)),
    ]
    return [*parts, _made(node, "Add", (last, bias), node.outputs)] if bias else parts


FORMS: dict[str, Callable[[Node], Parts]] = {
    "Attention": _attention, "DynamicQuantizeMatMul": _rounded_matmul, "EmbedLayerNormalization": _embedding_norm,
    "FusedConv": _convolution, "FusedGemm": _gemm, "MatMulIntegerToFloat": _whole_matmul,
    "QAttention": _coded_attention, "SimplifiedLayerNormalization": _root_norm,
    "SkipLayerNormalization": _skip_norm, "SkipSimplifiedLayerNormalization": _skip_norm,
}  # fmt: skip
