"""Products whose operands are both computed: matrix products, contractions, convolutions.

Products by a constant are modules of their own (`bitwright.networks.onnx.layers`). A product with nothing to reduce
multiplies element by element, and is written so.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.onnx.node import Node, Value
from bitwright.networks.onnx.operators.windows import window_of

CONVOLUTIONS: tuple[Callable[..., torch.Tensor], ...] = (F.conv1d, F.conv2d, F.conv3d)
TRANSPOSED: tuple[Callable[..., torch.Tensor], ...] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)


def matmul(node: Node, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:  # noqa: ARG001
    """Matrices, or stacks of them."""
    return multiplied(a, b)


def multiplied(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a [..., M, K] by b [..., K, N]."""
    if min(a.dim(), b.dim()) > 1 and a.shape[-1] == 1 == b.shape[-2]:
        return a * b
    return torch.matmul(a, b)


def fused_matmul(node: Node, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Matrices, turned and scaled (com.microsoft)."""
    if node.number("transBatchA", 0) or node.number("transBatchB", 0):
        raise node.refusal("turns batch axes, which is not supported")
    a = a.transpose(-1, -2) if node.number("transA", 0) else a
    b = b.transpose(-1, -2) if node.number("transB", 0) else b
    alpha = node.number("alpha", 1.0)
    found = multiplied(a, b)
    return found if alpha == 1 else found * alpha


def gemm(node: Node, a: torch.Tensor, b: torch.Tensor, c: Value = None) -> torch.Tensor:
    """alpha A B + beta C."""
    a = a.t() if node.number("transA", 0) else a
    b = b.t() if node.number("transB", 0) else b
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    found = multiplied(a, b)
    found = found if alpha == 1 else found * alpha
    return found if c is None else found + (c if beta == 1 else c * beta)


def einsum(node: Node, *operands: torch.Tensor) -> torch.Tensor:
    """A contraction by letters."""
    return torch.einsum(node.text("equation", ""), *operands)


def convolution(node: Node, x: torch.Tensor, w: torch.Tensor, bias: Value = None) -> torch.Tensor:
    """A convolution."""
    spatial = w.dim() - 2
    if not 1 <= spatial <= 3 or x.dim() != w.dim():
        raise node.refusal(f"convolves {list(x.shape)} by {list(w.shape)}; 1 to 3 spatial axes are expected")
    window = window_of(node, x.shape[2:], w.shape[2:])
    if not window.symmetric:
        x = F.pad(x, window.flat_pads)
    padding = window.begin if window.symmetric else 0
    groups = int(node.number("group", 1))
    return CONVOLUTIONS[spatial - 1](x, w, bias, window.stride, padding, window.dilation, groups)


def transposed_convolution(node: Node, x: torch.Tensor, w: torch.Tensor, bias: Value = None) -> torch.Tensor:
    """A transposed convolution; pads cut the result, `output_padding` lengthens it."""
    spatial = w.dim() - 2
    ones = [1] * spatial
    stride, dilation = node.integers("strides", ones) or ones, node.integers("dilations", ones) or ones
    extra = node.integers("output_padding", [0] * spatial) or [0] * spatial
    full = [
        stride[i] * (x.shape[i + 2] - 1) + extra[i] + (w.shape[i + 2] - 1) * dilation[i] + 1 for i in range(spatial)
    ]
    begin, end = _cuts(node, x, stride, full, spatial)
    fewer = all(each < max(pair) for each, *pair in zip(extra, stride, dilation, strict=True))
    small = min([*begin, *end]) >= 0 and begin == end and fewer
    inside, more = (begin, extra) if small else ([0] * spatial, [0] * spatial)
    groups = int(node.number("group", 1))
    y = TRANSPOSED[spatial - 1](x, w, bias, stride, inside, more, groups, dilation)
    for i in range(spatial):  # torch's own extra pixels must be fewer than a stride
        wanted = full[i] - begin[i] - end[i]
        first = 0 if small else begin[i]
        have = y.shape[i + 2]
        if (first, wanted) == (0, have):
            continue
        if first + wanted > have or first < 0:
            flat = [0] * (2 * (spatial - 1 - i)) + [max(0, -first), max(0, first + wanted - have)]
            y = _lengthened(y, flat, bias)
            first = max(0, first)
        y = y.narrow(i + 2, first, wanted)
    return y


def _lengthened(y: torch.Tensor, flat: list[int], bias: Value) -> torch.Tensor:
    """y with pixels more that no tap reaches, which are the bias alone."""
    if bias is None:
        return F.pad(y, flat)
    shape = (1, -1, *[1] * (y.dim() - 2))
    return F.pad(y - bias.reshape(shape), flat) + bias.reshape(shape)


def _cuts(node: Node, x: torch.Tensor, stride: list[int], full: list[int], spatial: int) -> tuple[list[int], list[int]]:
    """Pixels that are cut off at both sides."""
    rule, wanted = node.text("auto_pad", "NOTSET"), node.integers("output_shape")
    if wanted is None and rule in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [x.shape[i + 2] * stride[i] for i in range(spatial)]
    if wanted is None:
        pads = node.integers("pads", [0] * 2 * spatial) or [0] * 2 * spatial
        pads = [0] * 2 * spatial if rule == "VALID" else pads
        return pads[:spatial], pads[spatial:]
    total = [full[i] - wanted[-spatial:][i] for i in range(spatial)]
    halves = [each // 2 for each in total]
    rest = [each - half for each, half in zip(total, halves, strict=True)]
    return (halves, rest) if rule == "SAME_UPPER" else (rest, halves)


PRODUCTS: dict[str, Callable[..., Any]] = {
    "Conv": convolution, "ConvTranspose": transposed_convolution, "Einsum": einsum, "Gemm": gemm, "MatMul": matmul,
}  # fmt: skip
"""Operators of ONNX's own domain."""
MICROSOFT: dict[str, Callable[..., Any]] = {"FusedMatMul": fused_matmul}
"""Operators that onnxruntime's optimizer writes."""
