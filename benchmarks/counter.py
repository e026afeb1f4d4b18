"""Multiply-accumulates of a torch module on its inputs, counted where torch's dispatcher executes products.

This is the yardstick that `coverage.py` holds bitwright against, so it knows nothing of bitwright. The plain module
runs once with every fused kernel off (attention by its mathematical definition, recurrent layers step by step, no
compiled code), and each product kernel that is left states its own multiply-accumulates from its operands' shapes. A
transposed convolution counts input positions x kernel, as torch's registry of FLOP formulas does.

The insides of a kernel are invisible to a dispatch mode; those that multiply matrices unseen (`bilinear`, `addbmm`,
`affine_grid`, `cdist`, `conv_tbc`) therefore have formulas of their own, and fused ones that the switches should have
kept away are an error, as are sparse and packed products. Factorisations and solvers (LAPACK) are no products.
"""

import contextlib
import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch._ops import HigherOrderOperator
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode


@dataclasses.dataclass(frozen=True, kw_only=True)
class Product:
    """One product kernel: how much it multiplies, and over how many products each output is summed.

    Attributes
    ----------
    macs : int
        Multiply-accumulates.
    reduced : int
        Products in one sum (K of a matrix product); 1 is an outer product, which adds nothing up.
    """

    macs: int
    reduced: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Count:
    """What one forward pass multiplies, in multiply-accumulates.

    Attributes
    ----------
    macs : int
        Of products of floating-point (or complex) numbers that have something to reduce.
    outer : int
        Multiplications of products with nothing to reduce (K = 1), such as the angles of rotary positions.
    integer : int
        Of products of integers or booleans, such as one-hot lookups of routing tables.
    kernels : mapping
        Kernel's name -> its share of `macs`.
    """

    macs: int
    outer: int
    integer: int
    kernels: Mapping[str, int]

    @property
    def total(self) -> int:
        """Everything that was multiplied."""
        return self.macs + self.outer + self.integer


def _matrix(first: torch.Tensor, second: torch.Tensor) -> Product:
    """[..., M, K] by [..., K, N] with equal leading axes, or [K, N] for all."""
    return Product(macs=first.numel() * second.shape[-1], reduced=first.shape[-1])


def _linear(x: torch.Tensor, weight: torch.Tensor) -> Product:
    return Product(macs=x.numel() * (weight.shape[0] if weight.dim() == 2 else 1), reduced=x.shape[-1])


def _vector(matrix: torch.Tensor) -> Product:
    """[M, K] by [K], or [K] by [K]."""
    return Product(macs=matrix.numel(), reduced=matrix.shape[-1])


def _convolution(result: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *options: Any) -> Product:
    """Images x [B, C, ...] with weight [N, C / groups, ...], transposed [C, N / groups, ...]."""
    _, stride, _, dilation, transposed, _, groups, *_ = options
    axes = weight.dim() - 2
    positions = math.prod((x if transposed else result).shape[-axes:])
    batch = x.shape[0] if x.dim() == weight.dim() else 1
    reduced = math.prod(weight.shape[1:])
    if transposed:  # an output sums over channels, and over the taps of the kernel that fall on it
        taps = zip(weight.shape[2:], stride, dilation, strict=True)
        reduced = weight.shape[0] // groups * math.prod(math.ceil(k * math.gcd(d, s) / s) for k, s, d in taps)
    return Product(macs=batch * positions * weight.numel(), reduced=reduced)


def _grouped(first: torch.Tensor, second: torch.Tensor, offsets: torch.Tensor | None) -> Product:
    """Experts: one of the operands' axes is cut into groups that end at `offsets`."""
    if offsets is None:
        return _matrix(first, second)
    end = int(offsets[-1])
    if first.dim() == second.dim() == 2:  # [M, sum of K] by [sum of K, N]
        return Product(macs=first.shape[0] * end * second.shape[1], reduced=end)
    if first.dim() == 2:  # [sum of M, K] by [G, K, N]
        return Product(macs=end * first.shape[1] * second.shape[2], reduced=first.shape[1])
    return Product(macs=end * first.shape[1] * first.shape[2], reduced=first.shape[2])  # [G, M, K] by [K, sum of N]


def _bilinear(x: torch.Tensor, weight: torch.Tensor, y: torch.Tensor) -> Product:
    """x [B, I] with weight [N, I, J], and then with y [B, J]: two sums, one after the other."""
    return Product(macs=x.shape[0] * weight.numel() + weight.shape[0] * y.numel(), reduced=x.shape[-1])


def _attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> Product:
    """Query [B, H, M, D], key [B, G, T, D], value [B, G, T, V], every pair of positions, masked or not."""
    scores = query.numel() // query.shape[-1] * key.shape[-2]
    return Product(macs=scores * (query.shape[-1] + value.shape[-1]), reduced=query.shape[-1])


def _distance(x: torch.Tensor, y: torch.Tensor) -> Product:
    """Euclidean distances as a product: rows of x and y [..., D], each with its square and a 1 appended."""
    width = x.shape[-1] + 2
    return Product(macs=x.numel() // x.shape[-1] * y.shape[-2] * width, reduced=width)


def _grid(theta: torch.Tensor, size: Any) -> Product:
    """Sampling positions: homogeneous coordinates [B, pixels, D + 1] by theta's transpose [B, D + 1, D]."""
    return Product(macs=math.prod(size[2:]) * theta.numel(), reduced=theta.shape[-1])


Formula = Callable[..., Product]  # (the kernel's result, *its arguments)
FORMULAS: dict[str, Formula] = {
    "mm": lambda _, a, b, *__: _matrix(a, b),
    "bmm": lambda _, a, b, *__: _matrix(a, b),
    "_int_mm": lambda _, a, b, *__: _matrix(a, b),
    "_scaled_mm": lambda _, a, b, *__: _matrix(a, b),
    "_scaled_mm_v2": lambda _, a, b, *__: _matrix(a, b),
    "addmm": lambda _, __, a, b, *___: _matrix(a, b),
    "_addmm_activation": lambda _, __, a, b, *___: _matrix(a, b),
    "baddbmm": lambda _, __, a, b, *___: _matrix(a, b),
    "addbmm": lambda _, __, a, b, *___: _matrix(a, b),
    "linear": lambda _, x, w, *__: _linear(x, w),
    "mv": lambda _, a, *__: _vector(a),
    "dot": lambda _, a, *__: _vector(a),
    "vdot": lambda _, a, *__: _vector(a),
    "addmv": lambda _, __, a, *___: _vector(a),
    "convolution": _convolution,
    "_convolution": _convolution,
    "conv_tbc": lambda y, _, w, *__: Product(macs=y.numel() * w[..., 0].numel(), reduced=w[..., 0].numel()),
    "_grouped_mm": lambda _, a, b, offsets=None, *__: _grouped(a, b, offsets),
    "_scaled_grouped_mm": lambda _, a, b, __, ___, offsets=None, *____: _grouped(a, b, offsets),
    "_trilinear": lambda _, x, w, y, *__: _bilinear(x, w, y),
    "flex_attention": lambda _, q, k, v, *__: _attention(q, k, v),
    "_euclidean_dist": lambda _, x, y, *__: _distance(x, y),
    "affine_grid_generator": lambda _, theta, size, *__: _grid(theta, size),
}
HIDING = re.compile(r"attention|rnn|multi_head|encoder_layer|matrix_exp|(^|_)[a-z]*mm(_|$)|linear$|conv[a-z]*$")
"""Names of kernels that multiply; without a formula, their products would be lost."""


def _cond(predicate: Any, then: Callable[..., Any], otherwise: Callable[..., Any], operands: Any) -> Any:
    return (then if predicate else otherwise)(*operands)


def _while_loop(goes_on: Callable[..., Any], body: Callable[..., Any], carried: Any, others: Any) -> Any:
    while goes_on(*carried, *others):
        carried = body(*carried, *others)
    return carried


CONTROL = {torch.ops.higher_order.cond: _cond, torch.ops.higher_order.while_loop: _while_loop}


class _Counting(TorchDispatchMode):
    """Adds up the products that run while it is active."""

    supports_higher_order_operators = True  # flex attention is one

    def __init__(self) -> None:
        super().__init__()
        self.outer = self.integer = 0
        self.kernels: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in CONTROL:
            with self:
                return CONTROL[func](*args)
        higher = isinstance(func, HigherOrderOperator)
        name = func.name() if higher else func.overloadpacket.__name__.removesuffix("_")
        formula = FORMULAS.get(name)
        if formula is None and not higher:
            with self:
                parts = func.decompose(*args, **kwargs)
            if parts is not NotImplemented:
                return parts
        if formula is None and (higher or HIDING.search(name)):
            raise NotImplementedError(f"{name} hides its products, and the counter has no formula for it")
        result = func(*args, **kwargs)
        if formula is not None:
            named = [value for key, value in kwargs.items() if key == "offs"]
            self._add(name, formula(result, *args, *named), args)
        return result

    def _add(self, name: str, product: Product, args: Any) -> None:
        operands = [value for value in args[:3] if isinstance(value, torch.Tensor)]
        if not any(operand.is_floating_point() or operand.is_complex() for operand in operands):
            self.integer += product.macs
        elif product.reduced == 1:
            self.outer += product.macs
        else:
            self.kernels[name] += product.macs


@contextlib.contextmanager
def unfused() -> Iterator[None]:
    """While active, torch runs products as products: no fused attention, encoder layer or recurrent layer."""
    fast, blas = torch.backends.mha.get_fastpath_enabled(), torch._C._get_mkldnn_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    torch._C._set_mkldnn_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH), torch.compiler.set_stance("force_eager"), torch.no_grad():
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        torch._C._set_mkldnn_enabled(blas)


def count(module: Callable[..., Any], inputs: Any) -> Count:
    """What `module` multiplies in one forward pass.

    Parameters
    ----------
    module : callable
        A torch module, in evaluation mode, or a function.
    inputs : tensor, tuple or dict of tensors
        Positional arguments, or arguments by name.
    """
    counting = _Counting()
    with unfused(), counting:
        if isinstance(inputs, dict):
            module(**inputs)
        else:
            module(*(inputs if isinstance(inputs, tuple) else (inputs,)))
    kernels = dict(counting.kernels)
    return Count(macs=sum(kernels.values()), outer=counting.outer, integer=counting.integer, kernels=kernels)
