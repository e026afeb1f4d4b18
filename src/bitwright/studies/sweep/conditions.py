"""Conditions on points, such as `rows * cols <= 4096`: a small part of Python's expressions, evaluated by hand.

Names are `network`, `method`, `accelerator` (labels), options and parameters; where both have a name, `options.name` or
`parameters.name`. A condition that names something that a point does not have says nothing about that point.
Arithmetic is for numbers: of texts it would make texts of any size.
"""

import ast
import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bitwright.errors import InputError, unknown_name
from bitwright.settings import shown
from bitwright.studies.reader import Reader

if TYPE_CHECKING:
    from bitwright.studies.sweep.study import Study

OPERATORS: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda x, y: x in y,
    ast.NotIn: lambda x, y: x not in y,
}
LONGEST, DEEPEST = 1000, 40
"""Characters of a condition, and how far its expressions nest (our choice)."""
LABELS = ("network", "method", "accelerator")


class _AbsentError(Exception):
    """The point does not have what the condition names."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition; `text` is the expression."""

    text: str

    def holds(self, names: Mapping[str, Any]) -> bool:
        """Whether it holds for a point's values by name.

        Raises
        ------
        InputError
            If its values cannot be compared or computed with.
        """
        try:
            return bool(_value(_parsed(self.text), names))
        except _AbsentError:
            return True
        except (TypeError, ArithmeticError) as error:
            raise InputError(f"the condition {self.text!r} cannot be evaluated: {error}") from None


@functools.lru_cache
def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def read_conditions(reader: Reader, given: Any, study: "Study") -> tuple[Condition, ...]:
    """The conditions in `when`, each checked for its form and its names."""
    known = {*LABELS}
    for section, axes, variants in (
        ("options", study.options, study.methods),
        ("parameters", study.parameters, study.accelerators),
    ):
        names = {axis.name for axis in axes} | {key for variant in variants.values() for key in variant.values}
        known |= names | {f"{section}.{name}" for name in names}
    found: list[Condition] = []
    for i, text in enumerate(reader.items(("when",), given)):
        place = ("when", i) if isinstance(given, list) else ("when",)
        expression = reader.text(place, text)
        if len(expression) > LONGEST:
            raise reader.error(place, f"a condition of {len(expression):,} characters; at most {LONGEST:,} are read")
        try:
            tree = ast.parse(expression, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise reader.error(
                place, f"the condition {shown(expression)} is not understood; write rows * cols <= 4096"
            ) from None
        if _is_deeper(tree, DEEPEST):
            raise reader.error(place, f"the condition {shown(expression)} nests more than {DEEPEST} expressions")
        _check(reader, place, expression, tree, known)
        found.append(Condition(text=expression))
    return tuple(found)


def _is_deeper(tree: ast.expr, most: int) -> bool:
    level: list[ast.AST] = [tree]
    for _ in range(most):
        level = [child for node in level for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        if not level:
            return False
    return True


def _check(reader: Reader, place: Any, text: str, node: ast.expr, known: set[str]) -> None:
    name = _name(node)
    if name is not None:
        if name not in known:
            raise reader.error(place, f"in {text!r}: {unknown_name('name', name, known)}")
        return
    allowed = ast.BinOp | ast.UnaryOp | ast.BoolOp | ast.Compare | ast.Constant | ast.List | ast.Tuple
    operators = [
        child for child in ast.iter_child_nodes(node) if isinstance(child, ast.operator | ast.unaryop | ast.cmpop)
    ]
    other = isinstance(node, ast.Constant) and not isinstance(node.value, bool | int | float | str | None)
    if other or not isinstance(node, allowed) or any(type(each) not in OPERATORS for each in operators):
        raise reader.error(
            place,
            f"in {text!r}: {ast.unparse(node)!r} is not allowed; compare names, numbers and texts, with and, or, not",
        )
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.expr):
            _check(reader, place, text, child, known)


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return None


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
    name = _name(node)
    if name is not None:
        if name not in names:
            raise _AbsentError
        return names[name]
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(each, names) for each in node.elts]
    if isinstance(node, ast.UnaryOp):
        operand = _value(node.operand, names)
        return OPERATORS[type(node.op)](operand if isinstance(node.op, ast.Not) else _number(operand))
    if isinstance(node, ast.BinOp):
        return OPERATORS[type(node.op)](_number(_value(node.left, names)), _number(_value(node.right, names)))
    if isinstance(node, ast.BoolOp):
        values = (_value(each, names) for each in node.values)
        return all(values) if isinstance(node.op, ast.And) else any(values)
    assert isinstance(node, ast.Compare)
    left = _value(node.left, names)
    for op, each in zip(node.ops, node.comparators, strict=True):
        right = _value(each, names)
        if not OPERATORS[type(op)](left, right):
            return False
        left = right
    return True


def _number(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{shown(value)} is no number, and only numbers are computed with")
    return value
