"""What a setting is, beside its type: unit and source, and in words which values it takes.

Options of methods and parameters of machines are fields of pydantic models. Their types and constraints are what they
take; `about` adds the unit and where the default comes from.
"""

import dataclasses
import enum
import math
import reprlib
import types
import typing
from collections.abc import Sequence
from typing import Any, Literal, Union

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

OURS = "our choice"
RECOLLECTED = "recollected, our default"
NULL = "null"
PLAIN = ("value_error", "finite_number")
"""Errors whose messages say more than what the field takes."""
SHOWN = 80  # characters of a value that is refused
MOST = 2**31 - 1
"""The largest whole number of a setting: nothing that is set is more, and products of a few fit 64 bits."""
LEAST, FURTHEST = 1e-12, 1e12
"""The smallest magnitude above 0 and the largest one of any other number of a setting, whose unit is its own."""
Json = dict[str, Any]
_SHOWN = reprlib.Repr()
_SHOWN.maxstring = _SHOWN.maxother = _SHOWN.maxlong = 4 * SHOWN
LIMITS = {
    annotated_types.Gt: ("gt", "above {}"),
    annotated_types.Ge: ("ge", "of at least {}"),
    annotated_types.Lt: ("lt", "below {}"),
    annotated_types.Le: ("le", "of at most {}"),
    annotated_types.MultipleOf: ("multiple_of", "in steps of {}"),
}
KINDS: dict[Any, str] = {int: "an integer", float: "a number", str: "a text"}


@dataclasses.dataclass(frozen=True)
class Form:
    """How a text is written, beside its type's pattern."""

    text: str


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
        Those that have names; `null` is none.
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
    'an integer of at least 2 and below 16 or null'
    """
    found, extra = _found(field), _extra(field)
    low, high = (next((key for key in keys if key in found.limits), "") for keys in (("gt", "ge"), ("lt", "le")))
    return Setting(
        name=name,
        default=default,
        description=field.description or "",
        takes=takes(field),
        choices=tuple(found.choices),
        minimum=found.limits.get(low),
        maximum=found.limits.get(high),
        exclusive=tuple(end for end, key in (("minimum", low), ("maximum", high)) if key in ("gt", "lt")),
        unit=extra["unit"],
        source=extra["source"],
    )


def takes(field: FieldInfo) -> str:
    """The values that a field takes, in words, without the unit."""
    found = _found(field)
    words = [f"{word}{_range(found.limits)}" for word in found.words]
    null = [NULL] if NULL in found.choices else []
    return _either([each for each in found.choices if each != NULL] + words + null)


def _range(limits: Json) -> str:
    """` from 2 to 16`, ` above 0 and below 1`."""
    left = dict(limits)
    said = []
    if "ge" in left and "le" in left:
        said.append(f"from {left.pop('ge'):g} to {left.pop('le'):g}")
    said += [text.format(f"{left[key]:g}") for key, text in LIMITS.values() if key in left]
    return f" {' and '.join(said)}" if said else ""


def refusal(model: type[BaseModel], what: str, error: ErrorDetails) -> str:
    """One clause for a value that a model refuses: `parameter rows of systolic-ws is 0, but it should be above 0`.

    Parameters
    ----------
    model : type
        The model.
    what : str
        What its fields are and whose: `parameter of systolic-ws`.
    error : ErrorDetails
        One of those of a `ValidationError`.
    """
    kind, _, owner = what.partition(" of ")
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input ")
    key = str(error["loc"][0]) if error["loc"] else ""
    field = model.model_fields.get(key)
    if not key:
        return f"{owner} cannot be had: {message}"
    if error["type"] == "missing":
        return f"{kind} {key} of {owner} has no default; set it"
    if field is not None and error["type"] not in PLAIN:
        message = f"should be {takes(field)}"
    return f"{kind} {key} of {owner} is {shown(error['input'])}, but it {message}"


def bounded(value: Any) -> Any:
    """A setting's value, if it can be computed with: for a validator of all fields, which say themselves of infinity.

    Raises
    ------
    ValueError
        A number that no setting has, whose products would overflow.

    Examples
    --------
    >>> bounded(24), bounded(1e-9)
    (24, 1e-09)
    """
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > MOST:
        raise ValueError(f"is beyond what is computed with, {MOST:,}")
    if isinstance(value, float) and value and not math.isinf(value) and not LEAST <= abs(value) <= FURTHEST:
        raise ValueError(f"is beyond what is computed with, {LEAST:g} to {FURTHEST:g}")
    return value


def shown(value: Any) -> str:
    """A value as a message has it, which is short whatever was given.

    Examples
    --------
    >>> shown(8), shown(10**5000)
    ('8', 'an integer of 16610 bits')
    """
    if isinstance(value, int) and value.bit_length() > SHOWN:
        return f"an integer of {value.bit_length()} bits"
    text = _SHOWN.repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _either(parts: Sequence[str]) -> str:
    *first, last = parts or ["anything"]
    return f"{', '.join(first)} or {last}" if first else last


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
        elif isinstance(each, Form):
            found.words = [each.text]
        elif type(each) in LIMITS:
            key, _ = LIMITS[type(each)]
            found.limits[key] = dataclasses.asdict(each)[key]


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
        found.choices += [plain(each) for each in typing.get_args(annotation)]
    elif annotation is bool:
        found.choices += ["true", "false"]
    elif annotation is type(None):
        found.choices.append(NULL)
    elif isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        found.choices += [plain(each) for each in annotation]
    elif annotation in KINDS:
        found.words.append(KINDS[annotation])
    elif origin is dict:
        found.words.append("a mapping")


def plain(value: Any) -> str:
    """A value as a user types it."""
    if isinstance(value, enum.Enum):
        value = value.value
    return NULL if value is None else str(value).lower() if isinstance(value, bool) else str(value)
