"""Unsigned numbers of 16, 32 and 64 bits, which torch stores and hardly computes with: carried in signed ones of 64.

Results of an operator that keeps its operands' type are brought back, so that what overflows wraps around.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch

from bitwright.networks.onnx.node import Node

WIDE = {torch.uint16: 2**16, torch.uint32: 2**32, torch.uint64: 2**64}
"""Each type, and how many numbers it has."""
OTHERS = frozenset(
    {
        *("ArgMax", "ArgMin", "NonMaxSuppression", "NonZero", "QuantizeLinear"),
        *("DequantizeLinear", "Shape", "Size", "SequenceLength"),
    }
)
"""Operators whose results have a type of their own."""
CONVERTS = frozenset({"Cast", "CastLike", "EyeLike"})
"""Operators that convert, which torch does from and to every type."""
TYPED_BY = {"OneHot": 2, "Pow": 0}
"""Which operand's type the results have, where operands may differ in it."""


def carried(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """An operator that takes unsigned numbers of any width."""
    if name in CONVERTS:
        return function

    @functools.wraps(function)
    def run(node: Node, *values: Any) -> Any:
        kinds = [each.dtype for each in values if isinstance(each, torch.Tensor) and each.dtype in WIDE]
        if not kinds:
            return function(node, *values)
        made = function(node, *(_signed(node, each) for each in values))
        kind = values[TYPED_BY[name]].dtype if name in TYPED_BY else kinds[0]
        if name in OTHERS or kind not in WIDE:
            return made
        if isinstance(made, list):  # a sequence
            return [_wrapped(each, kind) for each in made]
        if isinstance(made, tuple):  # values, and then where they are
            return (_wrapped(made[0], kind), *made[1:]) if name != "Split" else tuple(_wrapped(x, kind) for x in made)
        return _wrapped(made, kind)

    return run


def _signed(node: Node, value: Any) -> Any:
    if not isinstance(value, torch.Tensor) or value.dtype not in WIDE:
        return value
    found = value.to(torch.int64)
    if value.dtype == torch.uint64 and bool((found < 0).any()):
        raise node.refusal("computes with numbers of 64 bits above 2**63, which is not supported")
    return found


def _wrapped(value: Any, kind: torch.dtype) -> Any:
    """A result in the operands' type, if it is of the type that these were carried in."""
    if not isinstance(value, torch.Tensor) or value.dtype != torch.int64:
        return value
    return value.to(kind) if kind == torch.uint64 else torch.remainder(value, WIDE[kind]).to(kind)
