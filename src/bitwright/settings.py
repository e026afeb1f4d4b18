"""What a setting is, beside its type: unit and source, and in words which values it takes.

Options of methods and parameters of machines are fields of pydantic models. Their types and constraints are what they
take; `about` adds the unit and where the default comes from.
"""

import dataclasses
import enum
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, Union

import annotated_types
from pydantic.fields import FieldInfo

OURS = "our choice"
RECOLLECTED = "recollected, our default"
Json = dict[str, Any]
LIMITS = {
    annotated_types.Gt: ("gt", "above {}"),
    annotated_types.Ge: ("ge", "at least {}"),
    annotated_types.Lt: ("lt", "below {}"),
    annotated_types.Le: ("le", "at most {}"),
    annotated_types.MultipleOf: ("multiple_of", "a multiple of {}"),
}
KINDS: dict[Any, str] = {int: "an integer", float: "a number", str: "a text"}


def about(source: str, *, unit: str = "", choices: Sequence[str] = ()) -> Json:
    """What a field says of itself beside its type, as its `json_schema_extra`.

    Parameters
    ----------
    source : str
        Where the default comes from: a paper, or `OURS`.
    unit : str
        Of a number.
    choices : sequence of str
        Names that a text may be, where they are data and no type.
    """
    return {"source": source, "unit": unit, "choices": list(choices)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """One option of a method or parameter of a machine.

    Attributes
    ----------
    name : str
        Its key.
    default : object
        Its value where nothing is said.
    description : str
        What it is.
    takes : str
        The values that it may have, in words.
    choices : tuple of str
        All of them, where they can be listed; with `null` for none.
    minimum, maximum : float or None
        Ends of a range of numbers; `exclusive` says which ends are no value themselves.
    exclusive : tuple of str
        Of `minimum`, `maximum`.
    unit : str
        Of a number; empty where there is none.
    source : str
        Where the default comes from.
    """

    name: str
    default: Any
    description: str
    takes: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    exclusive: tuple[str, ...] = ()
    unit: str = ""
    source: str = ""


@dataclasses.dataclass
class _Found:
    """What a type allows."""

    choices: list[str] = dataclasses.field(default_factory=list)
    words: list[str] = dataclasses.field(default_factory=list)
    limits: dict[str, Any] = dataclasses.field(default_factory=dict)


def setting(name: str, field: FieldInfo, default: Any) -> Setting:
    """What can be said of a field, with the default that it has here.

    Examples
    --------
    >>> from pydantic import BaseModel, Field
    >>> class Options(BaseModel):
    ...     bits: int | None = Field(8, ge=2, lt=16, description="bits of a code")
    >>> setting("bits", Options.model_fields["bits"], 8).takes
    'an integer, at least 2, below 16, or null'
    """
    found, extra = _found(field), _extra(field)
    low, high = (next((key for key in keys if key in found.limits), "") for keys in (("gt", "ge"), ("lt", "le")))
    return Setting(
        name=name,
        default=default,
        description=field.description or "",
        takes=takes(field),
        choices=tuple(found.choices) if not found.words else (),
        minimum=found.limits.get(low),
        maximum=found.limits.get(high),
        exclusive=tuple(end for end, key in (("minimum", low), ("maximum", high)) if key in ("gt", "lt")),
        unit=extra["unit"],
        source=extra["source"],
    )


def takes(field: FieldInfo) -> str:
    """The values that a field takes, in words."""
    found, unit = _found(field), _extra(field)["unit"]
    words = [f"{word} of {unit}" if unit and word in KINDS.values() else word for word in found.words]
    limits = [text.format(f"{found.limits[key]:g}") for key, text in LIMITS.values() if key in found.limits]
    return _either([", ".join([*words, *limits])] * bool(words or limits) + found.choices)


def _either(parts: Sequence[str]) -> str:
    *first, last = parts or ["anything"]
    comma = "," if any("," in part for part in parts) else ""
    return f"{', '.join(first)}{comma} or {last}" if first else last


def _extra(field: FieldInfo) -> Json:
    given = field.json_schema_extra
    return {"source": "", "unit": "", "choices": [], **(given if isinstance(given, dict) else {})}


def _found(field: FieldInfo) -> _Found:
    found = _Found()
    _read(field.annotation, found)
    _limit(field.metadata, found)
    named = _extra(field)["choices"]
    if named:
        found.words = []
        found.choices = [*named, *(each for each in found.choices if each not in named)]
    return found


def _limit(metadata: Sequence[Any], found: _Found) -> None:
    for each in metadata:
        if isinstance(each, FieldInfo):
            _limit(each.metadata, found)
            found.words = [str(each.json_schema_extra["form"])] if _has_form(each) else found.words
        elif type(each) in LIMITS:
            key, _ = LIMITS[type(each)]
            found.limits[key] = dataclasses.asdict(each)[key]


def _has_form(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and "form" in field.json_schema_extra


def _read(annotation: Any, found: _Found) -> None:
    """Note what a type allows."""
    origin = typing.get_origin(annotation)
    if origin in (Union, types.UnionType):
        for each in typing.get_args(annotation):
            _read(each, found)
    elif origin is typing.Annotated:
        inner, *metadata = typing.get_args(annotation)
        _read(inner, found)
        _limit(metadata, found)
    elif origin is Literal:
        found.choices += [_word(each) for each in typing.get_args(annotation)]
    elif annotation is bool:
        found.choices += ["true", "false"]
    elif annotation is type(None):
        found.choices.append("null")
    elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        found.choices += [_word(each) for each in annotation]
    elif annotation in KINDS:
        found.words.append(KINDS[annotation])
    elif origin is dict:
        found.words.append("a mapping")


def _word(value: Any) -> str:
    """A value as YAML has it."""
    if isinstance(value, enum.Enum):
        return str(value.value)
    return str(value).lower() if isinstance(value, bool) else str(value)
