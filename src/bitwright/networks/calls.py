"""GEMM calls: what torch's product functions mean as x @ w + bias, in three layouts.

`linear`:  x [..., K], w [N, K];    `conv2d`: x [B, C, H, W], w [N, C / groups, kh, kw];
`batched`: x [..., M, K], w [..., K, N] with equal leading axes (already broadcast).
`parse_call` reads a torch function call; None means that it is not a product that can be a site.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from bitwright.networks.sites import ConvGeometry, Site


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    """One product, as the network asked for it.

    Attributes
    ----------
    layout : str
        linear, conv2d or batched (see the module's docstring).
    op : str
        What a site calls it: linear, conv2d, matmul, attention_qk, attention_pv.
    x, w : torch.Tensor
        Operands.
    bias : torch.Tensor or None
        Added to the product; broadcastable (conv2d: [N]).
    weight : torch.Tensor or None
        The parameter that w is, if it is one (w itself may be a view of it).
    stride, padding, dilation : pairs of int
        Of a convolution, (height, width).
    groups : int
        Of a convolution.
    shared : int
        How many groups share one w (grouped-query attention).
    causal : bool
        Of attention_pv: x is 0 above the diagonal, because no token looks at a later one.
    """

    layout: str
    op: str
    x: torch.Tensor
    w: torch.Tensor
    bias: torch.Tensor | None = None
    weight: torch.Tensor | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    shared: int = 1
    causal: bool = False

    @property
    def output_size(self) -> tuple[int, int]:
        """Height and width of a convolution's output, in pixels."""
        size = [
            (self.x.shape[2 + i] + 2 * self.padding[i] - self.dilation[i] * (self.w.shape[2 + i] - 1) - 1)
            // self.stride[i]
            + 1
            for i in (0, 1)
        ]
        return size[0], size[1]

    def product(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """The bare product of operands that replace this call's own, by torch, without the bias."""
        if self.layout == "linear":
            return F.linear(x, w)
        if self.layout == "conv2d":
            return F.conv2d(x, w, None, self.stride, self.padding, self.dilation, self.groups)
        return torch.matmul(x, w)

    def add_bias(self, y: torch.Tensor) -> torch.Tensor:
        """`y` plus the bias, in place where autograd allows."""
        if self.bias is None:
            return y
        bias = self.bias.view(1, -1, 1, 1) if self.layout == "conv2d" else self.bias
        return y + bias if y.requires_grad or bias.requires_grad else y.add_(bias)

    def float_result(self) -> torch.Tensor:
        """What the network would have computed."""
        if self.layout == "conv2d":
            return F.conv2d(self.x, self.w, self.bias, self.stride, self.padding, self.dilation, self.groups)
        if self.layout == "linear" and (self.bias is None or self.bias.dim() == 1):
            return F.linear(self.x, self.w, self.bias)
        return self.add_bias(self.product(self.x, self.w))

    def site(self, name: str) -> Site:
        """The site of this call's shape."""
        static = self.weight is not None
        if self.layout == "conv2d":
            return _conv_site(self, name)
        if self.layout == "linear":
            n, k = self.w.shape
            m = self.x.numel() // k
            return Site(name=name, op=self.op, m=m, k=k, n=n, x_elements=m * k, w_elements=n * k, static_weight=static)
        *lead, m, k = self.x.shape
        n, groups = self.w.shape[-1], math.prod(lead)
        return Site(
            name=name,
            op=self.op,
            m=m,
            k=k,
            n=n,
            groups=groups,
            x_elements=_distinct(self.x),
            w_elements=_distinct(self.w) // self.shared,
            static_weight=static,
        )


def _distinct(tensor: torch.Tensor) -> int:
    """Elements of `tensor`, those that a broadcast axis repeats counted once."""
    return math.prod(size for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if stride)


def _conv_site(call: Call, name: str) -> Site:
    batch, channels, *size = call.x.shape
    filters, per_group, *kernel = call.w.shape
    out = call.output_size
    m, k = batch * out[0] * out[1], per_group * kernel[0] * kernel[1]
    return Site(
        name=name,
        op="conv2d",
        m=m,
        k=k,
        n=filters // call.groups,
        groups=call.groups,
        x_elements=min(call.x.numel(), m * k * call.groups),
        w_elements=call.w.numel(),
        static_weight=call.weight is not None,
        conv=ConvGeometry(
            kernel=(kernel[0], kernel[1]),
            stride=call.stride,
            padding=call.padding,
            dilation=call.dilation,
            channels=channels,
            input_size=(size[0], size[1]),
            output_size=out,
        ),
    )


Parameters = Callable[[torch.Tensor], torch.Tensor | None]  # a tensor -> the parameter whose memory it views


def parse_call(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], owner: Parameters
) -> Call | None:
    """The product that torch function `func` computes with these arguments, or None if it is no site.

    Products of non-float operands, products with nothing to reduce (k = 1, outer products such as those of rotary
    position tables) and calls that write into `out` are none.
    """
    parser = PARSERS.get(func)
    if parser is None or "out" in kwargs:
        return None
    call = parser(owner, *args, **kwargs)
    if call is None or not (call.x.is_floating_point() and call.w.is_floating_point()):
        return None
    return None if call.layout != "conv2d" and call.x.shape[-1] == 1 else call


def _pair(value: Any) -> tuple[int, int]:
    return (int(value), int(value)) if isinstance(value, int) else (int(value[0]), int(value[-1]))


def _linear(owner: Parameters, input: Any, weight: Any, bias: Any = None) -> Call | None:  # noqa: A002
    if weight.dim() != 2:
        return None
    return Call(layout="linear", op="linear", x=input, w=weight, bias=bias, weight=owner(weight))


def _conv2d(
    owner: Parameters,
    input: Any,  # noqa: A002
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call | None:
    stride, dilation = _pair(stride), _pair(dilation)
    x = input.unsqueeze(0) if input.dim() == 3 else input
    if input.dim() == 3:
        return None  # an unbatched image; no network of ours does this, torch itself computes it
    if padding == "valid":
        padding = 0
    elif padding == "same":
        total = [dilation[i] * (weight.shape[2 + i] - 1) for i in (0, 1)]
        if total[0] % 2 or total[1] % 2:
            x = F.pad(x, (0, total[1] % 2, 0, total[0] % 2))
        padding = (total[0] // 2, total[1] // 2)
    padding = _pair(padding)
    args = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return Call(layout="conv2d", op="conv2d", x=x, w=weight, bias=bias, weight=owner(weight), **args)


def _matmul(owner: Parameters, input: Any, other: Any) -> Call | None:  # noqa: A002
    if input.dim() < 2 or other.dim() < 2:
        return None  # a vector product: a GEMV by hand, left to torch and counted
    if other.dim() == 2:
        weight = owner(other)
        return Call(
            layout="linear", op="linear" if weight is not None else "matmul", x=input, w=other.t(), weight=weight
        )
    lead = torch.broadcast_shapes(input.shape[:-2], other.shape[:-2])
    x = input.expand(*lead, *input.shape[-2:])
    w = other.expand(*lead, *other.shape[-2:])
    return Call(layout="batched", op="matmul", x=x, w=w, weight=owner(other))


def _mm(owner: Parameters, input: Any, mat2: Any) -> Call | None:  # noqa: A002
    return _matmul(owner, input, mat2)


def _rmatmul(owner: Parameters, input: Any, other: Any) -> Call | None:  # noqa: A002
    return _matmul(owner, other, input)


def _addmm(
    owner: Parameters,
    input: Any,  # noqa: A002
    mat1: Any,
    mat2: Any,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> Call | None:
    call = _matmul(owner, mat1, mat2)
    if call is None or alpha != 1:
        return None  # a scaled product: torch computes it, and it is counted as no site
    bias = None if beta == 0 else input if beta == 1 else input * beta
    return dataclasses.replace(call, bias=bias)


def _baddbmm(
    owner: Parameters,
    input: Any,  # noqa: A002
    batch1: Any,
    batch2: Any,
    *,
    beta: float = 1,
    alpha: float = 1,
) -> Call | None:
    return _addmm(owner, input, batch1, batch2, beta=beta, alpha=alpha)


PARSERS: dict[Callable[..., Any], Callable[..., Call | None]] = {
    F.linear: _linear,
    F.conv2d: _conv2d,
    torch.mm: _mm,
    torch.Tensor.mm: _mm,
    torch.bmm: _mm,
    torch.Tensor.bmm: _mm,
    torch.matmul: _matmul,
    torch.Tensor.matmul: _matmul,
    torch.Tensor.__matmul__: _matmul,
    torch.Tensor.__rmatmul__: _rmatmul,
    torch.addmm: _addmm,
    torch.Tensor.addmm: _addmm,
    torch.baddbmm: _baddbmm,
    torch.Tensor.baddbmm: _baddbmm,
}
