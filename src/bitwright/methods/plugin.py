"""What is wrong with an object that somebody's package registers as a method, a format or a rule, in a clause."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import pydantic

from bitwright.settings import setting


def method_fault(found: Any) -> str | None:
    """Why this is no method, if it is none."""
    from bitwright.methods.plan import Part
    from bitwright.methods.protocol import Method, OperandMethod

    if isinstance(found, type):
        return f"registers the class {found.__name__}; a method is an instance of one"
    if not isinstance(found, Method):
        missing = [name for name in (*Method.__annotations__, "calibrate") if name not in dir(found)]
        return f"registers a {type(found).__name__} without {', '.join(missing)}, which is no method"
    fills = found.fills
    for name, right, what in (
        ("summary", isinstance(found.summary, str), "a text"),
        ("fills", isinstance(fills, frozenset) and fills and fills <= set(Part), "a frozenset of parts of a plan"),
        ("provides", isinstance(found.provides, frozenset), "a frozenset"),
        ("options", _is_model(found.options), "a class of pydantic's models"),
        ("on", isinstance(found.on, str), "a text"),
        ("recipes", _are_recipes(found.recipes), "a mapping of names to options by name"),
    ):
        if not right:
            return f"registers a method whose {name} is not {what}"
    if Part.OPERANDS in fills and not isinstance(found, OperandMethod):
        return "registers a method that fills the operands and cannot encode and multiply them"
    for name, field in found.options.model_fields.items():
        setting(name, field, field.get_default(call_default_factory=True))
    for name, values in found.recipes.items():
        try:
            found.options(**values)
        except pydantic.ValidationError as error:
            return f"registers a method whose recipe {name!r} has options that it refuses: {error.errors()[0]['msg']}"
    return None


def format_fault(found: Any) -> str | None:
    """Why this is no number format, if it is none."""
    return _class_fault(found, "format", ("bits", "name", "encode", "decode"))


def rule_fault(found: Any) -> str | None:
    """Why this is no rule of a plan, if it is none."""
    return _class_fault(found, "rule", ("name",))


def _class_fault(found: Any, what: str, members: tuple[str, ...]) -> str | None:
    if not isinstance(found, type) or not dataclasses.is_dataclass(found):
        return f"registers {_kind(found)}; a {what} is a frozen dataclass"
    has = {*dir(found), *(field.name for field in dataclasses.fields(found))}
    missing = [name for name in members if name not in has]
    return f"registers a dataclass without {', '.join(missing)}, which is no {what}" if missing else None


def _kind(found: Any) -> str:
    return f"the class {found.__name__}" if isinstance(found, type) else f"an object of type {type(found).__name__}"


def _is_model(found: Any) -> bool:
    return isinstance(found, type) and issubclass(found, pydantic.BaseModel)


def _are_recipes(found: Any) -> bool:
    return isinstance(found, Mapping) and all(
        isinstance(name, str) and isinstance(values, Mapping) for name, values in found.items()
    )
