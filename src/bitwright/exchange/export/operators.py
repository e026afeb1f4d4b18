"""Operators that stand for quantized operands while a network is traced, and what torch's exporter writes for them.

They hand on what they are given, so that the trace is the float network's; each becomes a node of the domain
`bitwright` with the name of its operand, which a form of file then says in its own operators.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch

from bitwright.networks import hadamard

DOMAIN = "bitwright"
OPERAND, SCALED, WEIGHT = "Operand", "Scaled", "Weight"
"""An activation with static scales; one [rows, elements] with scales [rows] of the run time; a stored weight."""
OPSET = 20
"""Of torch's exporter, its newest."""
FLOAT64_ABOVE = 24
"""Bits of sums that float32 does not hold."""


@torch.library.custom_op(f"{DOMAIN}_export::operand", mutates_args=())
def operand(x: torch.Tensor, name: str) -> torch.Tensor:  # noqa: ARG001
    """x, quantized by static scales."""
    return x.clone()


@torch.library.custom_op(f"{DOMAIN}_export::scaled", mutates_args=())
def scaled(x: torch.Tensor, scale: torch.Tensor, name: str) -> torch.Tensor:  # noqa: ARG001
    """x [rows, elements], quantized by scales [rows]."""
    return x.clone()


@torch.library.custom_op(f"{DOMAIN}_export::weight", mutates_args=())
def weight(w: torch.Tensor, x: torch.Tensor, name: str) -> torch.Tensor:  # noqa: ARG001
    """A weight that is stored as codes, which stand for w; x, what it multiplies, has it traced."""
    return w.clone()


@contextlib.contextmanager
def known_to_the_exporter() -> Iterator[None]:
    """Within this, torch's exporter knows these operators, and what else networks here call and it does not."""
    from torch.onnx import register_custom_op_symbolic, unregister_custom_op_symbolic

    known: dict[str, Callable[..., Any]] = {
        f"{DOMAIN}_export::operand": _operand,
        f"{DOMAIN}_export::scaled": _scaled,
        f"{DOMAIN}_export::weight": _weight,
        f"{hadamard.NAMESPACE}::rotate": _rotate,
        "aten::threshold": _threshold,
        "aten::movedim": _movedim,
    }
    for name, symbolic in known.items():
        register_custom_op_symbolic(name, symbolic, OPSET)
    try:
        yield
    finally:
        for name in known:
            unregister_custom_op_symbolic(name, OPSET)


def _constant(value: Any, kind: Any) -> Any:
    from torch.onnx import symbolic_helper

    return symbolic_helper._maybe_get_const(value, kind)


def _operand(g: Any, x: Any, name: Any) -> Any:
    return g.op(f"{DOMAIN}::{OPERAND}", x, name_s=_constant(name, "s")).setType(x.type())


def _scaled(g: Any, x: Any, scale: Any, name: Any) -> Any:
    return g.op(f"{DOMAIN}::{SCALED}", x, scale, name_s=_constant(name, "s")).setType(x.type())


def _weight(g: Any, w: Any, x: Any, name: Any) -> Any:  # noqa: ARG001
    return g.op(f"{DOMAIN}::{WEIGHT}", w, name_s=_constant(name, "s")).setType(w.type())


def _threshold(g: Any, x: Any, least: Any, instead: Any) -> Any:
    """aten::threshold: x where it is greater than `least`."""
    limit, value = (
        g.op("Constant", value_t=torch.tensor(float(_constant(each, "f")), dtype=x.type().dtype()))
        for each in (least, instead)
    )
    return g.op("Where", g.op("Greater", x, limit), x, value).setType(x.type())


def _movedim(g: Any, x: Any, source: Any, destination: Any) -> Any:
    """aten::movedim, whose axes may be counted from the last, which torch's exporter does not know."""
    sizes = _sizes(x)
    axes = [torch.as_tensor(_constant(each, "t")).reshape(-1) for each in (source, destination)]
    of, to = (each.remainder(len(sizes)).tolist() for each in axes)
    order = [axis for axis in range(len(sizes)) if axis not in of]
    for place, axis in sorted(zip(to, of, strict=True)):
        order.insert(place, axis)
    moved = x.type().with_sizes([sizes[axis] for axis in order])
    return g.op("Transpose", x, perm_i=order).setType(moved)


def _sizes(x: Any) -> list[int]:
    from torch.onnx import symbolic_helper

    sizes: list[int] = symbolic_helper._get_tensor_sizes(x)
    return sizes


def _rotate(g: Any, x: Any, step: Any, limit: Any, block: Any, signs: Any) -> Any:
    """A Hadamard rotation of the last axis, block by block, as a matrix product.

    With a limit, of multiples of a step, whose sums are integers and exact: in float64 where float32 would round.
    """
    sizes: list[int] = g.original_node.output().type().sizes()  # as it was traced; x's may have become unknown
    step, limit, block = float(_constant(step, "f")), int(_constant(limit, "i")), int(_constant(block, "i"))
    turned = hadamard.matrix(block, block, signs=bool(_constant(signs, "b"))) * math.sqrt(block)
    bits = limit.bit_length() + (block - 1).bit_length()
    wide = torch.float64 if limit and bits > FLOAT64_ABOVE else torch.float32

    def number(value: float) -> Any:
        return g.op("Constant", value_t=torch.tensor(value, dtype=wide))

    y = g.op("Cast", x, to_i=11) if wide is torch.float64 else x  # 11: DOUBLE of onnx.TensorProto
    if block != sizes[-1]:
        split = torch.tensor([*sizes[:-1], sizes[-1] // block, block])
        y = g.op("Reshape", y, g.op("Constant", value_t=split))
    if limit:
        y = g.op("Clip", g.op("Round", g.op("Div", y, number(step))), number(-limit), number(limit))
    y = g.op("MatMul", y, g.op("Constant", value_t=turned.round().to(wide)))
    y = g.op("Mul", y, number((step if limit else 1.0) / math.sqrt(block)))
    if block != sizes[-1]:
        y = g.op("Reshape", y, g.op("Constant", value_t=torch.tensor(sizes)))
    y = g.op("Cast", y, to_i=1) if wide is torch.float64 else y  # 1: FLOAT
    return y.setType(x.type())
