"""JSON Schema of records, made from their types: what `plain` writes of a value, told of its type.

A record is a TypedDict, which `mypy` holds what is built against; what is in it may be dataclasses and pydantic models.
What a key means is a text in its `Annotated`, its lines under "Attributes" in a dataclass's docstring, or the
description of a pydantic field. A float is a number or null everywhere, because JSON has no NaN and no infinity.
"""

import collections.abc
import dataclasses
import enum
import inspect
import re
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union

import pydantic

DIALECT = "https://json-schema.org/draft/2020-12/schema"
VERSION = 1
"""Of all records; one more where a key goes or means something else, not where one comes."""
SIMPLE: Mapping[Any, str] = {str: "string", Path: "string", bool: "boolean", int: "integer", type(None): "null"}
SERIES = (collections.abc.Sequence, collections.abc.Iterable, list, set, frozenset)
Schema = dict[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Columns:
    """What a mapping is that is a flat line.

    Attributes
    ----------
    always : tuple of type
        TypedDicts whose keys every line has.
    sometimes : tuple of type
        TypedDicts whose keys a line may have, or has as null.
    patterns : mapping
        Regular expression -> type of further keys.
    others : type
        Of all other keys.
    """

    always: tuple[type, ...]
    sometimes: tuple[type, ...] = ()
    patterns: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    others: Any = None


def schema_id(verb: str) -> str:
    """What a record of that verb says as `$schema`, and its schema as `$id`.

    Examples
    --------
    >>> schema_id("simulate")
    'urn:bitwright:simulate:1'
    """
    return f"urn:bitwright:{verb}:{VERSION}"


def envelope(verb: str) -> dict[str, Any]:
    """What every record begins with."""
    return {"schema_version": VERSION, "$schema": schema_id(verb)}


def schema_of(verb: str, records: Sequence[type]) -> Schema:
    """The schema of a verb's records, each of them a TypedDict; any one of them where there are several."""
    maker = _Maker()
    given: dict[str, Schema] = {
        "schema_version": {"const": VERSION, "description": "of the shape of all records"},
        "$schema": {"const": schema_id(verb), "description": "which record this is"},
    }
    found = [maker.typed_dict(record, given) for record in records]
    whole = found[0] if len(found) == 1 else {"anyOf": found}
    head = {"$schema": DIALECT, "$id": schema_id(verb), "title": f"bitwright {verb} --json"}
    return {**head, **whole, **({"$defs": dict(sorted(maker.made.items()))} if maker.made else {})}


class _Maker:
    """Schemas of types; those of classes are kept in `made`, by name, and referred to."""

    def __init__(self) -> None:
        self.made: dict[str, Schema] = {}
        self.named: dict[str, type] = {}

    def schema(self, of: Any) -> Schema:
        """What a value of that type looks like."""
        origin, parts = typing.get_origin(of), typing.get_args(of)
        if origin in (typing.NotRequired, typing.Required):
            return self.schema(parts[0])
        if origin is Annotated:
            return self._annotated(parts[0], parts[1:])
        if origin in (Union, types.UnionType):
            return _either([self.schema(part) for part in parts])
        if origin is Literal:
            return {"enum": list(parts)}
        if origin in (dict, collections.abc.Mapping):
            return {"type": "object", "additionalProperties": self.schema(parts[1])}
        if origin is tuple and parts[-1] is not Ellipsis:
            items = [self.schema(part) for part in parts]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
        if origin is tuple or origin in SERIES:
            return {"type": "array", "items": self.schema(parts[0])}
        return self._class(of)

    def _annotated(self, inner: Any, notes: Sequence[Any]) -> Schema:
        columns = next((note for note in notes if isinstance(note, Columns)), None)
        said = next((note for note in notes if isinstance(note, str)), "")
        found = self.schema(inner) if columns is None else self._line(columns)
        return found | ({"description": said} if said else {})

    def _class(self, of: Any) -> Schema:
        if of in (Any, object):
            return {}
        if of is float:
            return {"type": ["number", "null"]}
        if of in SIMPLE:
            return {"type": SIMPLE[of]}
        if not isinstance(of, type):
            raise TypeError(f"no JSON is known of {of}")
        if issubclass(of, enum.Enum):
            return {"enum": [each.value for each in of]}
        if self.named.setdefault(of.__name__, of) is not of:
            raise TypeError(f"two types are named {of.__name__}: {of} and {self.named[of.__name__]}")
        if of.__name__ not in self.made:
            self.made[of.__name__] = {}
            self.made[of.__name__] = self._object(of)
        return {"$ref": f"#/$defs/{of.__name__}"}

    def _object(self, of: type) -> Schema:
        if typing.is_typeddict(of):
            return self.typed_dict(of, {})
        if dataclasses.is_dataclass(of):
            hints, said = typing.get_type_hints(of, include_extras=True), attributes(inspect.getdoc(of) or "")
            keys = [field.name for field in dataclasses.fields(of)]
        elif issubclass(of, pydantic.BaseModel):
            hints = {key: field.annotation for key, field in of.model_fields.items()}
            said = {key: field.description or "" for key, field in of.model_fields.items()}
            keys = list(hints)
        else:
            raise TypeError(f"no JSON is known of {of}")
        properties = {}
        for key in keys:
            properties[key] = self.schema(hints[key])
            if "description" not in properties[key] and said.get(key):
                properties[key]["description"] = said[key]
        return _closed(of, properties, keys)

    def typed_dict(self, of: type, given: Mapping[str, Schema]) -> Schema:
        """An object with its keys, and those that are given."""
        hints = typing.get_type_hints(of, include_extras=True)
        properties = {**given, **{key: self.schema(hint) for key, hint in hints.items()}}
        required: frozenset[str] = of.__required_keys__  # type: ignore[attr-defined]
        return _closed(of, properties, [*given, *(key for key in hints if key in required)])

    def _line(self, columns: Columns) -> Schema:
        null: Schema = {"type": "null"}
        always = {key: each for of in columns.always for key, each in self._hints(of).items()}
        sometimes = {key: each for of in columns.sometimes for key, each in self._hints(of).items()}
        said = {key: each.pop("description", "") for key, each in sometimes.items()}
        sometimes = {key: {**_either([each, null]), "description": said[key]} for key, each in sometimes.items()}
        return {
            "type": "object",
            "properties": {**always, **{key: each for key, each in sometimes.items() if key not in always}},
            "required": list(always),
            "patternProperties": {key: self.schema(each) for key, each in columns.patterns.items()},
            "additionalProperties": False if columns.others is None else self.schema(columns.others),
        }

    def _hints(self, of: type) -> dict[str, Schema]:
        return {key: self.schema(hint) for key, hint in typing.get_type_hints(of, include_extras=True).items()}


def _closed(of: type, properties: Mapping[str, Schema], required: Sequence[str]) -> Schema:
    said = re.split(r"\n\s*\n", inspect.getdoc(of) or "", maxsplit=1)[0]
    return {
        "type": "object",
        "description": " ".join(said.split()),
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }


def _either(found: Sequence[Schema]) -> Schema:
    """One of them; types that say nothing else become one list of types."""
    kinds = [each.get("type") for each in found if set(each) == {"type"}]
    names = list(dict.fromkeys(name for kind in kinds for name in ([kind] if isinstance(kind, str) else kind or [])))
    rest = [each for each in found if set(each) != {"type"}]
    simple: list[Schema] = [{"type": names[0] if len(names) == 1 else names}] if names else []
    return {"anyOf": [*rest, *simple]} if rest else simple[0]


def attributes(doc: str) -> dict[str, str]:
    r"""What the section "Attributes" of a docstring says of each.

    Examples
    --------
    >>> attributes("Ends.\n\nAttributes\n----------\nlow, high : float\n    Both are\n    inside.\n")
    {'low': 'Both are inside.', 'high': 'Both are inside.'}
    """
    _, _, section = doc.partition("\nAttributes\n----------\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in re.split(r"\n\n(?=\S)", section, maxsplit=1)[0].splitlines():
        if line[:1].strip():
            names = re.split(r",\s*", line.partition(" : ")[0])
        else:
            found |= {name: f"{found.get(name, '')} {line.strip()}".strip() for name in names}
    return found
