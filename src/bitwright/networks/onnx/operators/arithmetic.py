"""Element by element: arithmetic, comparisons, activations."""

import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value, needed
from bitwright.networks.unseen import unseen

Operator = Callable[..., Any]


def unary(function: Operator) -> Operator:
    """An operator of one tensor without attributes."""

    def run(node: Node, x: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        return function(x)

    return run


def binary(function: Operator) -> Operator:
    """An operator of two tensors that broadcast; `axis` of opset 6 and before is not read."""

    def run(node: Node, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        return function(a, b)

    return run


def several(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Operator:
    """An operator of one or more tensors, two after two."""

    def run(node: Node, *values: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
        return functools.reduce(function, values)

    return run


def divide(node: Node, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Quotients; of integers rounded towards 0."""
    if a.is_floating_point():
        return torch.div(a, b)
    _refuse_zero(node, b)
    return torch.div(a, b, rounding_mode="trunc")


def _refuse_zero(node: Node, divisor: torch.Tensor) -> None:
    with unseen():
        if bool((divisor == 0).any()):
            raise node.refusal("divides integers by 0")


def power(node: Node, base: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """Powers in the base's type."""
    if exponent.numel() == 1 and exponent.device.type == "cpu" and base.is_floating_point():
        shape = torch.broadcast_shapes(base.shape, exponent.shape)
        return torch.pow(base, exponent.item()).to(base.dtype).reshape(shape)
    return torch.pow(base, exponent.to(base.device)).to(base.dtype)


def modulo(node: Node, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Remainders with the divisor's sign, or (`fmod`) the dividend's."""
    if not a.is_floating_point():
        _refuse_zero(node, b)
    return torch.fmod(a, b) if node.number("fmod", 0) else torch.remainder(a, b)


def mean(node: Node, *values: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """The mean of tensors."""
    return functools.reduce(torch.add, values) / len(values)


def where(node: Node, condition: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """One of two, by a condition."""
    return torch.where(condition.bool(), a, b)


def shifted(node: Node, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Bits moved left or right."""
    left = node.text("direction", "") == "LEFT"
    return torch.bitwise_left_shift(a, b) if left else torch.bitwise_right_shift(a, b)


def clip(node: Node, x: torch.Tensor, low: Value = None, high: Value = None) -> torch.Tensor:
    """Between two bounds, which are attributes before opset 11."""
    smallest = node.attributes.get("min") if low is None else low.reshape(()).item()
    largest = node.attributes.get("max") if high is None else high.reshape(()).item()
    if smallest is None and largest is None:
        return x
    if smallest == 0 and largest == 6 and x.is_floating_point():
        return F.relu6(x)
    return torch.clamp(x, smallest, largest)


def elu(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x, or alpha (e^x - 1) below 0."""
    return F.elu(x, node.number("alpha", 1.0))


def celu(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x, or alpha (e^(x / alpha) - 1) below 0."""
    return F.celu(x, node.number("alpha", 1.0))


def selu(node: Node, x: torch.Tensor) -> torch.Tensor:
    """gamma x, or gamma alpha (e^x - 1) below 0."""
    alpha, gamma = node.number("alpha", 1.6732632423543772), node.number("gamma", 1.0507009873554805)
    return gamma * torch.where(x > 0, x, alpha * torch.expm1(x))


def leaky_relu(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x, or alpha x below 0."""
    return F.leaky_relu(x, node.number("alpha", 0.01))


def prelu(node: Node, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """x, or slope x below 0; the slope broadcasts."""
    return torch.where(x >= 0, x, slope * x)


def thresholded_relu(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x above alpha, otherwise 0."""
    return F.threshold(x, node.number("alpha", 1.0), 0.0)


def hard_sigmoid(node: Node, x: torch.Tensor) -> torch.Tensor:
    """alpha x + beta between 0 and 1."""
    alpha, beta = node.number("alpha", 0.2), node.number("beta", 0.5)
    if abs(alpha - 1 / 6) < 1e-7 and beta == 0.5:
        return F.hardsigmoid(x)
    return torch.clamp(alpha * x + beta, 0.0, 1.0)


def gelu(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x times the normal distribution's share below it."""
    return F.gelu(x, approximate="tanh" if node.text("approximate", "none") == "tanh" else "none")


def swish(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x sigmoid(alpha x)."""
    alpha = node.number("alpha", 1.0)
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


def shrink(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x moved towards 0 by a bias, 0 within lambd."""
    bias, limit = node.number("bias", 0.0), node.number("lambd", 0.5)
    zero = torch.zeros_like(x)
    return torch.where(x < -limit, x + bias, torch.where(x > limit, x - bias, zero))


def is_infinite(node: Node, x: torch.Tensor) -> torch.Tensor:
    """Whether an element is infinite, of a sign that counts."""
    above, below = node.number("detect_positive", 1), node.number("detect_negative", 1)
    return (torch.isposinf(x) & bool(above)) | (torch.isneginf(x) & bool(below))


def softplus(x: torch.Tensor) -> torch.Tensor:
    """log(1 + e^x)."""
    return F.softplus(x)


def dropout(node: Node, x: torch.Tensor, ratio: Value = None, training: Value = None) -> Any:  # noqa: ARG001
    """x itself, as in every inference."""
    if training is not None and bool(training.any()):
        raise node.refusal("is in training mode; export the network for inference")
    if len(node.outputs) < 2:
        return x
    if node.opset < 12:  # where it is not said what the mask of an inference is: onnxruntime's is zeros
        return x, torch.zeros_like(x, dtype=torch.bool if node.opset >= 10 else x.dtype)
    return x, torch.ones_like(x, dtype=torch.bool)


def bias_gelu(node: Node, x: torch.Tensor, bias: Value = None) -> torch.Tensor:
    """Gelu of a sum (com.microsoft)."""
    return gelu(node, x if bias is None else x + bias)


def fast_gelu(node: Node, x: torch.Tensor, bias: Value = None) -> torch.Tensor:  # noqa: ARG001
    """Gelu of a sum, by a hyperbolic tangent (com.microsoft)."""
    return F.gelu(x if bias is None else x + bias, approximate="tanh")


def quick_gelu(node: Node, x: torch.Tensor) -> torch.Tensor:
    """x sigmoid(alpha x), alpha 1.702 (com.microsoft)."""
    return x * torch.sigmoid(node.number("alpha", 1.702) * x)


def identity(node: Node, x: Value) -> torch.Tensor:
    """x."""
    return needed(node, x, "x")


UNARY: dict[str, Any] = {
    "Abs": torch.abs, "Acos": torch.acos, "Acosh": torch.acosh, "Asin": torch.asin, "Asinh": torch.asinh,
    "Atan": torch.atan, "Atanh": torch.atanh, "BitwiseNot": torch.bitwise_not, "Ceil": torch.ceil,
    "Cos": torch.cos, "Cosh": torch.cosh, "Erf": torch.erf, "Exp": torch.exp, "Floor": torch.floor,
    "HardSwish": F.hardswish, "IsNaN": torch.isnan, "Log": torch.log, "Mish": F.mish, "Neg": torch.neg,
    "Not": torch.logical_not, "Reciprocal": torch.reciprocal, "Relu": F.relu, "Round": torch.round,
    "Sigmoid": torch.sigmoid, "Sign": torch.sign, "Sin": torch.sin, "Sinh": torch.sinh,
    "Softplus": softplus, "Softsign": F.softsign, "Sqrt": torch.sqrt, "Tan": torch.tan, "Tanh": torch.tanh,
}  # fmt: skip
"""Functions of one tensor."""
BINARY: dict[str, Any] = {
    "Add": torch.add, "And": torch.logical_and, "BitwiseAnd": torch.bitwise_and,
    "BitwiseOr": torch.bitwise_or, "BitwiseXor": torch.bitwise_xor, "Equal": torch.eq, "Greater": torch.gt,
    "GreaterOrEqual": torch.ge, "Less": torch.lt, "LessOrEqual": torch.le, "Mul": torch.mul,
    "Or": torch.logical_or, "Sub": torch.sub, "Xor": torch.logical_xor,
}  # fmt: skip
"""Functions of two tensors that broadcast."""
ARITHMETIC: dict[str, Operator] = {
    **{name: unary(function) for name, function in UNARY.items()},
    **{name: binary(function) for name, function in BINARY.items()},
    "Max": several(torch.maximum), "Min": several(torch.minimum), "Sum": several(torch.add), "Mean": mean,
    "BitShift": shifted, "Celu": celu, "Clip": clip, "Div": divide, "Dropout": dropout, "Elu": elu, "Gelu": gelu,
    "HardSigmoid": hard_sigmoid, "Identity": identity, "IsInf": is_infinite, "LeakyRelu": leaky_relu, "Mod": modulo,
    "PRelu": prelu, "Pow": power, "Selu": selu, "Shrink": shrink, "Swish": swish,
    "ThresholdedRelu": thresholded_relu, "Where": where,
}  # fmt: skip
"""Operators of ONNX's own domain."""
MICROSOFT: dict[str, Operator] = {"Gelu": gelu, "BiasGelu": bias_gelu, "FastGelu": fast_gelu, "QuickGelu": quick_gelu}
"""Operators that onnxruntime's optimizer writes."""
