"""Every function of torch that multiplies matrices, each as the smallest module that calls it.

Each is a function of its inputs and then its weights (parameters), with the shapes of both.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from benchmarks.architectures import Architecture
from torch import nn

Shape = tuple[int, ...]


class Formula(nn.Module):
    """function(*inputs, *weights), with weights that are parameters."""

    def __init__(self, function: Callable[..., Any], weights: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.function = function
        self.weights = nn.ParameterList(weights)

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the function returns."""
        return self.function(*inputs, *self.weights)


class Method(nn.Module):
    """function(module, *inputs): a layer used in another way than by calling it on the inputs."""

    def __init__(self, module: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.module, self.function = module, function

    def forward(self, *inputs: torch.Tensor) -> Any:
        """What the function makes of the module and the inputs."""
        return self.function(self.module, *inputs)


def _normal(shape: Shape | torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    if isinstance(shape, torch.Tensor):  # a mask, a list of indices: given as it is
        return shape
    return torch.randn(shape).to(dtype)


def _made(
    function: Callable[..., Any],
    inputs: Sequence[Shape | torch.Tensor],
    weights: Sequence[Shape],
    dtype: torch.dtype,
) -> tuple[nn.Module, Any]:
    parameters = [nn.Parameter(_normal(shape, dtype) / 4, requires_grad=dtype.is_floating_point) for shape in weights]
    return Formula(function, parameters), tuple(_normal(shape, dtype) for shape in inputs)


def construct(
    name: str,
    function: Callable[..., Any],
    inputs: Sequence[Shape | torch.Tensor],
    weights: Sequence[Shape] = (),
    dtype: torch.dtype = torch.float32,
) -> Architecture:
    """One construct: a function of inputs and weights of these shapes."""
    make = functools.partial(_made, function, inputs, weights, dtype)
    return Architecture(name=name, family="construct", make=make)


def _into(function: Callable[..., torch.Tensor], shape: Shape) -> Callable[..., torch.Tensor]:
    """The same function, writing its result of that shape into `out=`; what it returns is not read."""

    def write(*operands: torch.Tensor) -> torch.Tensor:
        out = torch.empty(shape, dtype=operands[0].dtype)
        function(*operands, out=out)
        return out

    return write


MATRICES = [
    construct("linear", F.linear, [(6, 32)], [(8, 32), (8,)]),
    construct("linear, three axes", F.linear, [(2, 6, 32)], [(8, 32)]),
    construct("linear, four axes", F.linear, [(2, 3, 6, 32)], [(8, 32), (8,)]),
    construct("linear, one vector", F.linear, [(32,)], [(8, 32), (8,)]),
    construct("linear, weight of one axis", F.linear, [(6, 32)], [(32,)]),
    construct("linear, weight from activations", lambda x, w: F.linear(x, torch.tanh(w)), [(6, 32)], [(8, 32)]),
    construct("linear, a slice of a fused weight", lambda x, w: F.linear(x, w[8:16]), [(6, 32)], [(24, 32)]),
    construct("linear, weight of strides 0", lambda x, w: F.linear(x, w.expand(8, 32)), [(6, 32)], [(1, 1)]),
    construct("linear, one input feature", F.linear, [(6, 1)], [(8, 1), (8,)]),
    construct("linear, float64", F.linear, [(6, 32)], [(8, 32), (8,)], torch.float64),
    construct("linear, float16", F.linear, [(6, 32)], [(8, 32), (8,)], torch.float16),
    construct("linear, bfloat16", F.linear, [(6, 32)], [(8, 32), (8,)], torch.bfloat16),
    construct("mm", torch.mm, [(6, 32)], [(32, 8)]),
    construct("Tensor.mm", lambda x, w: x.mm(w), [(6, 32)], [(32, 8)]),
    construct("mm, weight first", lambda x, w: torch.mm(w, x), [(32, 6)], [(8, 32)]),
    construct("mm, transposed views", lambda x, w: torch.mm(x.t(), w.t()), [(32, 6)], [(8, 32)]),
    construct("mm, outer product", torch.mm, [(6, 1)], [(1, 8)]),
    construct("mm of two activations", torch.mm, [(6, 32), (32, 8)]),
    construct("bmm", torch.bmm, [(3, 6, 32)], [(3, 32, 8)]),
    construct("bmm of two activations", lambda x, y: x.bmm(y.mT), [(3, 6, 32), (3, 8, 32)]),
    construct("matmul", torch.matmul, [(2, 6, 32)], [(32, 8)]),
    construct("@", lambda x, w: x @ w, [(2, 6, 32)], [(32, 8)]),
    construct("@, weight first", lambda x, w: w @ x, [(2, 32, 6)], [(8, 32)]),
    construct("@, broadcast", lambda x, w: x @ w, [(2, 1, 6, 32)], [(3, 32, 8)]),
    construct("@, matrix by vector", lambda x, w: x @ w, [(2, 6, 32)], [(32,)]),
    construct("@, vector by matrix", lambda x, w: x @ w, [(32,)], [(32, 8)]),
    construct("@, vector by matrices", lambda x, w: x @ w, [(32,)], [(3, 32, 8)]),
    construct("@, vector by vector", lambda x, w: x @ w, [(32,)], [(32,)]),
    construct("@, of one's own transpose", lambda x: x @ x.mT, [(2, 6, 32)]),
    construct("Tensor.__rmatmul__", lambda x, w: torch.Tensor.__rmatmul__(w, x), [(6, 32)], [(32, 8)]),
    construct("linalg.matmul", torch.linalg.matmul, [(2, 6, 32)], [(32, 8)]),
    construct("addmm", torch.addmm, [(8,), (6, 32)], [(32, 8)]),
    construct("addmm, alpha", lambda c, x, w: torch.addmm(c, x, w, alpha=0.5), [(6, 8), (6, 32)], [(32, 8)]),
    construct("addmm, beta", lambda c, x, w: torch.addmm(c, x, w, beta=-2), [(6, 8), (6, 32)], [(32, 8)]),
    construct(
        "addmm, alpha and beta", lambda c, x, w: c.addmm(x, w, beta=0.3, alpha=-1.5), [(6, 8), (6, 32)], [(32, 8)]
    ),
    construct("addmm, beta 0", lambda c, x, w: torch.addmm(c, x, w, beta=0, alpha=3), [(1, 8), (6, 32)], [(32, 8)]),
    construct("addmm, alpha 0", lambda c, x, w: torch.addmm(c, x, w, alpha=0), [(6, 8), (6, 32)], [(32, 8)]),
    construct("addmm_", lambda c, x, w: c.clone().addmm_(x, w, alpha=2), [(6, 8), (6, 32)], [(32, 8)]),
    construct("baddbmm", torch.baddbmm, [(3, 6, 8), (3, 6, 32)], [(3, 32, 8)]),
    construct(
        "baddbmm, alpha and beta",
        lambda c, x, w: torch.baddbmm(c, x, w, beta=0.3, alpha=-1.5),
        [(3, 1, 8), (3, 6, 32)],
        [(3, 32, 8)],
    ),
    construct(
        "baddbmm_", lambda c, x, w: c.clone().baddbmm_(x, w, beta=0, alpha=2), [(3, 6, 8), (3, 6, 32)], [(3, 32, 8)]
    ),
    construct("addbmm", lambda c, x, w: torch.addbmm(c, x, w, beta=2, alpha=0.5), [(6, 8), (3, 6, 32)], [(3, 32, 8)]),
    construct("mv", torch.mv, [(6, 32)], [(32,)]),
    construct("mv, matrix of weights", lambda x, w: w.mv(x), [(32,)], [(8, 32)]),
    construct("addmv", lambda c, w, x: torch.addmv(c, w, x, beta=2, alpha=0.5), [(6,), (6, 32)], [(32,)]),
    construct("dot", torch.dot, [(32,)], [(32,)]),
    construct("vdot", torch.vdot, [(32,), (32,)]),
    construct("inner", torch.inner, [(2, 6, 32)], [(8, 32)]),
    construct("inner of vectors", torch.inner, [(32,)], [(32,)]),
    construct("linalg.vecdot", torch.linalg.vecdot, [(6, 32)], [(6, 32)]),
    construct("outer", torch.outer, [(6,)], [(8,)]),
    construct("addr", torch.addr, [(6, 8), (6,)], [(8,)]),
    construct("kron", torch.kron, [(2, 3)], [(4, 5)]),
    construct("multi_dot", lambda x, a, b: torch.linalg.multi_dot([x, a, b]), [(6, 32)], [(32, 8), (8, 16)]),
    construct("multi_dot with vectors", lambda x, a, b: torch.linalg.multi_dot([x, a, b]), [(32,)], [(32, 8), (8,)]),
    construct("matrix_power", lambda x: torch.linalg.matrix_power(x / 8, 5), [(16, 16)]),
    construct("tensordot, one axis", lambda x, w: torch.tensordot(x, w, dims=1), [(2, 6, 32)], [(32, 4, 2)]),
    construct(
        "tensordot, pairs of axes", lambda x, w: torch.tensordot(x, w, ([1, 3], [0, 1])), [(2, 4, 6, 8)], [(4, 8, 5)]
    ),
    construct("tensordot, no axis", lambda x, w: torch.tensordot(x, w, dims=0), [(2, 6)], [(4, 2)]),
    construct("covariance", torch.cov, [(6, 32)]),
    construct("correlation", torch.corrcoef, [(6, 32)]),
    construct("cdist", torch.cdist, [(30, 16)], [(40, 16)]),
    construct("affine_grid", lambda t: F.affine_grid(t, [2, 3, 5, 7], align_corners=False), [(2, 2, 3)]),
    construct("mm, out=", _into(torch.mm, (6, 8)), [(6, 32)], [(32, 8)]),
    construct("matmul, out=", _into(torch.matmul, (2, 6, 8)), [(2, 6, 32)], [(32, 8)]),
    construct("bmm, out=", _into(torch.bmm, (3, 6, 8)), [(3, 6, 32)], [(3, 32, 8)]),
    construct("addmm, out=", _into(torch.addmm, (6, 8)), [(8,), (6, 32)], [(32, 8)]),
    construct("mv, out=", _into(torch.mv, (6,)), [(6, 32)], [(32,)]),
    construct(
        "mm, complex", lambda x, w: torch.mm(torch.complex(x, x), torch.complex(w, w)).imag, [(6, 32)], [(32, 8)]
    ),
    construct("mm, integers", lambda i, x: (i @ i.t()).float() + x, [torch.arange(6).repeat(6, 1), (6, 6)]),
]

EINSUM = [
    construct(f"einsum {equation}", functools.partial(torch.einsum, equation), [first], [second])
    for equation, first, second in [
        ("ij,jk->ik", (6, 32), (32, 8)),
        ("ij,kj->ki", (6, 32), (8, 32)),
        ("bij,jk", (2, 6, 32), (32, 8)),
        ("...i,oi->...o", (2, 3, 6, 32), (8, 32)),
        ("bij,bkj->bik", (3, 6, 32), (3, 8, 32)),
        ("bhqd,bhkd->bhqk", (2, 3, 6, 8), (2, 3, 5, 8)),
        ("bhqk,bhkd->bqhd", (2, 3, 6, 5), (2, 3, 5, 8)),
        ("bnd,hde->bhne", (2, 6, 8), (3, 8, 4)),
        ("bchw,oc->bohw", (2, 8, 5, 5), (4, 8)),
        ("bijd,ijkd->bk", (2, 3, 4, 5), (3, 4, 6, 5)),
        ("i,j->ij", (6,), (8,)),
        ("i,i->", (32,), (32,)),
        ("ij,ij->i", (6, 32), (6, 32)),
        ("bii,ij->bj", (2, 6, 6), (6, 4)),
        ("bhqd,bkd->bhqk", (2, 3, 6, 8), (2, 5, 8)),
    ]
] + [
    construct("einsum of three", functools.partial(torch.einsum, "bi,oij,bj->bo"), [(4, 6)], [(5, 6, 8), (4, 8)]),
    construct("einsum by lists", lambda x, w: torch.einsum(x, [0, 1], w, [1, 2], [0, 2]), [(6, 32)], [(32, 8)]),
    construct("einsum of one", functools.partial(torch.einsum, "bij->bji"), [(2, 6, 32)]),
]


def _ends(*values: int) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.int32)


def _grouped(x: torch.Tensor, ends: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return F.grouped_mm(x, w, offs=ends)


def _float8(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """A product of 8-bit floats, as low-precision inference calls it."""
    one = torch.ones(())
    low = torch.float8_e4m3fn
    return torch._scaled_mm(x.to(low), w.to(low).t(), scale_a=one, scale_b=one, out_dtype=torch.float32)


def _scaled(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """The same by torch's public function."""
    one, whole, low = torch.ones(()), F.ScalingType.TensorWise, torch.float8_e4m3fn
    return F.scaled_mm(x.to(low), w.to(low).t(), one, whole, one, whole, output_dtype=torch.float32)


def _integers(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """A product of 8-bit integers, as W8A8 code calls it."""
    return torch._int_mm((32 * x).to(torch.int8), (32 * w).to(torch.int8).t()).float()


def _in_place(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    x = x.clone()
    x @= w
    return x


def _jagged(x: torch.Tensor, y: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    return F.linear(torch.nested.nested_tensor([x, y], layout=torch.jagged), w).values()


NARROW_AND_EXPERTS = [
    construct("grouped_mm, rows by experts", _grouped, [(16, 32), _ends(4, 8, 8, 16)], [(4, 32, 16)]),
    construct("grouped_mm, bfloat16", _grouped, [(16, 32), _ends(4, 8, 12, 16)], [(4, 32, 16)], torch.bfloat16),
    construct("grouped_mm, columns by experts", _grouped, [(4, 8, 32), _ends(4, 8, 12, 16)], [(32, 16)]),
    construct("grouped_mm, sums by experts", _grouped, [(8, 32), _ends(8, 16, 24, 32)], [(32, 16)]),
    construct("grouped_mm, equal experts", F.grouped_mm, [(4, 8, 32)], [(4, 32, 16)]),
    construct("_scaled_mm, float8", _float8, [(16, 32)], [(16, 32)]),
    construct("scaled_mm, float8", _scaled, [(16, 32)], [(16, 32)]),
    construct("_int_mm", _integers, [(32, 32)], [(16, 32)]),
    construct("@=", _in_place, [(6, 16)], [(16, 16)]),
    construct("linear of a jagged tensor", _jagged, [(3, 32), (5, 32)], [(8, 32)]),
]

HEADS = [(2, 4, 6, 8)] * 3
GROUPED_HEADS = [(2, 4, 6, 8), (2, 2, 6, 8), (2, 2, 6, 8)]
sdpa = F.scaled_dot_product_attention


def _masked(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return sdpa(q, k, v, attn_mask=mask)


HIDDEN_ROW = torch.ones(6, 6).tril().bool() & (torch.arange(6)[:, None] != 2)
CAUSAL = functools.partial(sdpa, is_causal=True)
GROUPED = functools.partial(sdpa, enable_gqa=True)

ATTENTION = [
    construct("sdpa", sdpa, HEADS),
    construct("sdpa, causal", CAUSAL, HEADS),
    construct("sdpa, causal, more keys than queries", CAUSAL, [(2, 4, 3, 8), (2, 4, 6, 8), (2, 4, 6, 8)]),
    construct("sdpa, boolean mask", _masked, [*HEADS, torch.ones(6, 6).tril().bool()]),
    construct("sdpa, boolean mask per batch", _masked, [*HEADS, torch.arange(12).view(2, 1, 1, 6) % 5 > 0]),
    construct("sdpa, boolean mask that hides a row", _masked, [*HEADS, HIDDEN_ROW]),
    construct("sdpa, float mask", _masked, [*HEADS, (6, 6)]),
    construct("sdpa, float mask per head", _masked, [*HEADS, (2, 4, 6, 6)]),
    construct("sdpa, mask with infinities", _masked, [*HEADS, torch.full((6, 6), -torch.inf).triu(1)]),
    construct("sdpa, given scale", functools.partial(sdpa, scale=0.5), HEADS),
    construct("sdpa, grouped queries", GROUPED, GROUPED_HEADS),
    construct(
        "sdpa, one key head", functools.partial(GROUPED, is_causal=True), [(2, 4, 6, 8), (2, 1, 6, 8), (2, 1, 6, 8)]
    ),
    construct("sdpa, wider values", sdpa, [(2, 4, 6, 8), (2, 4, 5, 8), (2, 4, 5, 12)]),
    construct("sdpa, three axes", sdpa, [(2, 6, 8)] * 3),
    construct("sdpa, two axes", sdpa, [(6, 8)] * 3),
    construct("sdpa, five axes", sdpa, [(2, 3, 4, 6, 8)] * 3),
    construct("sdpa, broadcast batch", sdpa, [(2, 4, 6, 8), (1, 4, 5, 8), (1, 4, 5, 8)]),
    construct("sdpa, float16", CAUSAL, HEADS, dtype=torch.float16),
    construct("sdpa, bfloat16", CAUSAL, HEADS, dtype=torch.bfloat16),
    construct("sdpa, float64", CAUSAL, HEADS, dtype=torch.float64),
    construct("sdpa, bfloat16 with a boolean mask", _masked, [*HEADS, HIDDEN_ROW], dtype=torch.bfloat16),
    construct("sdpa, bfloat16 with a mask", _masked, [*HEADS, (6, 6)], dtype=torch.bfloat16),
    construct("sdpa, strided heads", lambda x: sdpa(*x.view(2, 6, 3, 4, 8).permute(2, 0, 3, 1, 4)), [(2, 6, 96)]),
]

ARCHITECTURES = [*MATRICES, *EINSUM, *NARROW_AND_EXPERTS, *ATTENTION]
