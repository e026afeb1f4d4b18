"""Layers of nodes whose weights are constants, by operator; None where a node is no such layer."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

from bitwright.networks.onnx import layers, recurrent
from bitwright.networks.onnx.decomposed import layer_norm
from bitwright.networks.onnx.layer import Layer
from bitwright.networks.onnx.node import Node

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder


def _convolution(builder: "Builder", node: Node, index: int) -> Layer | None:  # noqa: ARG001
    w, bias = builder.constant(node, 1), builder.constant(node, 2)
    if w is None or (builder.has(node, 2) and bias is None) or not w.is_floating_point():
        return None
    own = builder.parameter(node.inputs[1], w)
    module = (layers.convolution if node.op == "Conv" else layers.TransposedConvolution)(node, own, bias)
    return Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs, weight=node.inputs[1])


def _matmul(builder: "Builder", node: Node, index: int) -> Layer | None:  # noqa: ARG001
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
        if added is not None and added.shape == w.shape[1:]:  # one axis: more would give the result more
            bias, outputs, joins = added.reshape(-1), add.outputs, (after,)
    own = builder.parameter(node.inputs[1], w.t().contiguous(), "t")
    module = layers.linear(own, bias)
    return Layer(module=module, inputs=node.inputs[:1], outputs=outputs, weight=node.inputs[1], joins=joins)


def _gemm(builder: "Builder", node: Node, index: int) -> Layer | None:  # noqa: ARG001
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


def _batch_norm(builder: "Builder", node: Node, index: int) -> Layer | None:  # noqa: ARG001
    if node.number("training_mode", 0):
        raise node.refusal("is in training mode; export the network for inference")
    constants = [builder.constant(node, i) for i in range(1, 5)]
    if any(each is None or each.dim() != 1 for each in constants):
        return None
    module = layers.batch_norm(node, *constants)  # type: ignore[arg-type]
    return Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs[:1], weight=node.inputs[1])


def _layer_norm(builder: "Builder", node: Node, index: int) -> Layer | None:  # noqa: ARG001
    gain, bias = builder.constant(node, 1), builder.constant(node, 2)
    if gain is None or gain.dim() != 1 or node.number("axis", -1) != -1 or (builder.has(node, 2) and bias is None):
        return None
    if len(gain) == 1 or len([name for name in node.outputs if name]) > 1:  # one gain may stand for many
        return None
    module = layers.layer_norm(gain, bias, len(gain), node.number("epsilon", 1e-5))
    return Layer(module=module, inputs=node.inputs[:1], outputs=node.outputs, weight=node.inputs[1])


def _gather(builder: "Builder", node: Node, index: int) -> Layer | None:  # noqa: ARG001
    w = builder.constant(node, 0)
    if w is None or w.dim() != 2 or w.dtype == torch.bool or node.number("axis", 0) != 0:
        return None
    if not bool(w.isfinite().all()):  # a mask by index
        return None
    module = layers.table(builder.parameter(node.inputs[0], w))
    return Layer(module=module, inputs=node.inputs[1:2], outputs=node.outputs, weight=node.inputs[0])


LAYERS: dict[str, Callable[["Builder", Node, int], Layer | None]] = {
    "BatchNormalization": _batch_norm,
    "Conv": _convolution,
    "ConvTranspose": _convolution,
    "GRU": recurrent.layer,
    "Gather": _gather,
    "Gemm": _gemm,
    "LSTM": recurrent.layer,
    "LayerNormalization": _layer_norm,
    "MatMul": _matmul,
    "RNN": recurrent.layer,
    "ReduceMean": layer_norm,
}
