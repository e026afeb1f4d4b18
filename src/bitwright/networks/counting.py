"""What a network does beside its sites, counted per operator where torch finally executes it.

Nothing is dropped: an operator that multiplies and adds is a product with its multiply-accumulates and the reason why
it is no site. Products are known from torch's own registry of operation counts, from the table here for what that
lacks, and by name; operators of other libraries, which cannot be looked into, are listed too.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import flop_registry

from bitwright.networks import hadamard
from bitwright.networks.parsers import FLOATS
from bitwright.networks.sites import OFFLINE, OtherOperation, Site

aten = torch.ops.aten
OUTER, VECTORS = "outer product, nothing to reduce", "recurrent layer, which is not split into sites"
FOURIER, SOLVER, GRADIENTS = "Fourier transform", "matrix factorization or solver", "product of gradients"
NAMES = re.compile(
    r"(^|_)(mm|bmm|matmul|linear|conv|convolution|attention|gemm|dot|lstm|gru|rnn|einsum|bilinear)(\d*d)?(_|$)"
)
"""Operators that are products by their name."""


def _fourier(x: torch.Tensor, dims: Any, *_: Any) -> int:
    """Multiply-accumulates in reals of a radix-2 transform: n / 2 log2(n) complex products along each axis."""
    sizes = [x.shape[axis] for axis in dims]
    return round(sum(2 * x.numel() * math.log2(max(2, size)) for size in sizes))


def _cubic(matrix: torch.Tensor, *_: Any) -> int:
    """m * n * min(m, n) of each matrix: the order of a factorization, our estimate."""
    if matrix.dim() < 2:
        return 0
    m, n = matrix.shape[-2:]
    return matrix.numel() * min(m, n)


def _weighted_sum(weight: torch.Tensor, indices: torch.Tensor, *others: Any) -> int:
    """Of embeddings that are multiplied by a weight each; those that are only added up have none."""
    weighted = len(others) > 4 and others[4] is not None
    return indices.numel() * weight.shape[-1] if weighted else 0


def _encoder_layer(x: torch.Tensor, width: int, *others: Any) -> int:
    """Projections, both products of attention, and the two layers behind them."""
    matrices = sum(each.numel() for each in others if isinstance(each, torch.Tensor) and each.dim() == 2)
    return x.numel() // width * matrices + 2 * x.numel() * x.shape[-2]


UNREGISTERED: dict[Any, tuple[str, Callable[..., int]]] = {  # what torch's registry lacks: why no site, and its MACs
    aten.mv: ("", lambda matrix, *_: matrix.numel()),
    aten.dot: ("", lambda vector, *_: vector.numel()),
    aten.vdot: ("", lambda vector, *_: vector.numel()),
    aten.addmv: ("", lambda _, matrix, *__: matrix.numel()),
    aten.addbmm: ("", lambda _, x, w, *__: x.numel() * w.shape[-1]),
    aten.conv_tbc: ("", lambda x, w, *_: x.numel() * w.shape[0] * w.shape[2]),
    aten._trilinear: ("bilinear product", lambda x, w, *_: len(x) * w.numel()),
    aten.mkldnn_rnn_layer: (VECTORS, lambda x, w_x, w_h, *_: x.shape[0] * x.shape[1] * (w_x.numel() + w_h.numel())),
    aten._int_mm: ("", lambda x, w: x.numel() * w.shape[-1]),
    aten._weight_int8pack_mm: ("", lambda x, w, *_: x.numel() * w.shape[0]),
    aten._weight_int4pack_mm_for_cpu: ("", lambda x, w, *_: x.numel() * w.shape[0]),
    aten._embedding_bag: ("weighted sum of embeddings", _weighted_sum),
    aten._transformer_encoder_layer_fwd: ("fused encoder layer", _encoder_layer),
    aten._sparse_mm: ("sparse product", lambda x, w: x._nnz() * w.shape[-1]),
    aten._sparse_addmm: ("sparse product", lambda _, x, w, *__: x._nnz() * w.shape[-1]),
    aten._fft_r2c: (FOURIER, _fourier),
    aten._fft_c2c: (FOURIER, _fourier),
    aten._fft_c2r: (FOURIER, _fourier),
    **dict.fromkeys(
        (
            *(aten.linalg_inv_ex, aten.linalg_lu_factor_ex, aten.linalg_cholesky_ex, aten.linalg_qr, aten._linalg_svd),
            *(aten._linalg_eigh, aten.linalg_eig, aten._linalg_solve_ex, aten.linalg_solve_triangular),
            *(aten._linalg_det, aten._linalg_slogdet, aten.linalg_matrix_exp, aten.linalg_lstsq, aten.cholesky_solve),
            *(aten.triangular_solve, aten.linalg_lu, aten.linalg_lu_solve),
        ),
        (SOLVER, _cubic),
    ),
}
MOVED = frozenset(("embedding", "index", "index_select", "gather", "select", "slice", "narrow", "index_put", "scatter"))
"""Operators that take elements out of a larger tensor, or put some into one."""


class OperatorCounts:
    """Operators that ran outside the sites, but for views, which move nothing."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], list[int]] = {}

    def add_offline(self, site: Site) -> None:
        """A product that no inference computes."""
        entry = self._counts.setdefault((site.op, OFFLINE), [0, 0, 0, 0])
        for i, value in enumerate((1, site.y_elements, 0, site.macs)):
            entry[i] += value

    def add(self, func: Any, args: Any, kwargs: Any, result: Any, why: str = "") -> None:
        """One operator that ran; `why` no product among them is a site, where that is known."""
        if not isinstance(func, torch._ops.OpOverload):
            self._count(str(func), f"operator {func}, which is not looked into", 0, 0, result)
            return
        if func.is_view or not isinstance(result, torch.Tensor | tuple | list):
            return
        if func.namespace == hadamard.NAMESPACE and isinstance(result, torch.Tensor):
            work = result.numel() * hadamard.additions(args[3])
            self._count(hadamard.ROTATE, "", 0, work, result)
            return
        name = func.overloadpacket.__name__.strip("_")
        macs, reason = _product(func, args, kwargs, result, name)
        self._count(name, reason and (why or reason), macs, _work(name, args, result), result)

    def _count(self, name: str, reason: str, macs: int, work: int, result: Any) -> None:
        entry = self._counts.setdefault((name, reason), [0, 0, 0, 0])
        for i, value in enumerate((1, _elements(result), work, macs)):
            entry[i] += value

    def others(self) -> tuple[OtherOperation, ...]:
        """Everything counted, the largest first."""
        found = (
            OtherOperation(name=name, reason=reason, calls=calls, elements=elements, work=work, macs=macs)
            for (name, reason), (calls, elements, work, macs) in self._counts.items()
        )
        return tuple(sorted(found, key=lambda o: (-o.macs, -o.elements, o.name)))


def _product(func: Any, args: Any, kwargs: Any, result: Any, name: str) -> tuple[int, str]:
    """Multiply-accumulates of one operator and why it is no site; (0, "") for what is no product."""
    packet, nested = func.overloadpacket, [arg for arg in args if isinstance(arg, torch.Tensor) and arg.is_nested]
    if nested:
        elements = nested[0].values().numel() if nested[0].layout is torch.jagged else nested[0].numel()
        return (elements * result.size(-1), "product of nested tensors") if NAMES.search(name) else (0, "")
    if packet in flop_registry:
        return flop_registry[packet](*args, **kwargs, out_val=result) // 2, _why_no_site(args)
    if packet in UNREGISTERED:
        reason, count = UNREGISTERED[packet]
        macs = count(*args)
        return macs, (reason or _why_no_site(args)) if macs else ""
    if func.namespace not in ("aten", "prims", "prim"):
        x = next((arg for arg in args if isinstance(arg, torch.Tensor)), None)
        outputs = result.shape[-1] if isinstance(result, torch.Tensor) and result.dim() else 0
        linear = NAMES.search(name) is not None and x is not None
        return (
            x.numel() * outputs if linear and x is not None else 0,
            f"operator {func.namespace}::{name}, which is not looked into"
            + (" (a product by its name: counted as x by w)" if linear else ""),
        )
    if NAMES.search(name) and _reads_matrices(args):
        return 0, f"product {name}, which bitwright does not know"
    return 0, ""


def _reads_matrices(args: Any) -> bool:
    return sum(isinstance(arg, torch.Tensor) and arg.dim() > 1 for arg in args) > 1


def _elements(result: Any) -> int:
    parts = result if isinstance(result, tuple | list) else (result,)
    return sum(part.numel() for part in parts if isinstance(part, torch.Tensor))


def _work(name: str, args: Any, result: Any) -> int:
    """Elements that an operator goes over: a pool's windows, otherwise the larger of its inputs and outputs."""
    outputs = _elements(result[:1] if isinstance(result, tuple | list) else result)
    if "pool" in name and "adaptive" not in name and len(args) > 1 and isinstance(args[1], list | tuple):
        return outputs * math.prod(int(size) for size in args[1])
    if name in MOVED:
        return outputs
    return max([outputs, *(arg.numel() for arg in args if isinstance(arg, torch.Tensor))])


def _why_no_site(args: Any) -> str:
    operands = [arg for arg in args if isinstance(arg, torch.Tensor)]
    if any(each.is_complex() for each in operands):
        return "product of complex numbers"
    if any(each.dtype not in FLOATS for each in operands):
        return "product of integers"
    if any(each.shape[-1:] == (1,) for each in operands[:2]):
        return OUTER
    return "product of a form that is not split into sites"
