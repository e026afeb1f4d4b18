"""What there is: lists of names, one line each, and everything that can be set on one."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

from bitwright.networks.catalogue import ModelEntry
from bitwright.registry import MEND, Refused
from bitwright.reports.tables import say, table, text
from bitwright.studies.catalogue import Entry

if TYPE_CHECKING:
    from rich.console import Console

    from bitwright.settings import Setting
    from bitwright.studies.catalogue import Systems

INDENT = "    "


class ModelsRecord(TypedDict):
    """The networks that have names."""

    models: Annotated[Sequence[ModelEntry], "those with trained weights first"]


class MethodsRecord(TypedDict):
    """The methods and recipes that have names."""

    methods: Annotated[Sequence[Entry], "sorted by name"]
    refused: Annotated[Sequence[Refused], "plug-ins that cannot be used"]


class MethodRecord(TypedDict):
    """A method and its options."""

    method: Annotated[Entry, "the one that was named"]


class AcceleratorsRecord(TypedDict):
    """The accelerators that are registered."""

    accelerators: Annotated[Sequence[Entry], "sorted by name"]
    refused: Annotated[Sequence[Refused], "plug-ins that cannot be used"]


class AcceleratorRecord(TypedDict):
    """An accelerator and its parameters."""

    accelerator: Annotated[Entry, "the one that was named"]


class SubstrateRecord(TypedDict):
    """What all machines stand on."""

    substrate: Annotated[Entry, "the one that was named"]


class SystemFields(TypedDict):
    """A published system."""

    system: Annotated[str, "its name"]
    methods: Annotated[Sequence[str], "its methods"]
    accelerators: Annotated[Sequence[str], "its machines"]
    summary: Annotated[str, "one line about it"]


class SystemsRecord(TypedDict):
    """The systems: which methods go with which machines."""

    systems: Annotated[list[SystemFields], "one each"]


def systems_record(found: "Systems") -> SystemsRecord:
    """As JSON has them."""
    return {
        "systems": [
            {
                "system": each.name,
                "methods": each.methods,
                "accelerators": each.accelerators,
                "summary": each.summary,
            }
            for each in found
        ]
    }


def print_listing(
    records: Sequence[Mapping[str, str]], console: "Console", following: str = "", refused: Sequence[Refused] = ()
) -> None:
    """Equal mappings as a table, their keys its headers; plug-ins that cannot be used; then what to type next."""
    headers = list(records[0]) if records else []
    console.print(table([text(header, [record[header] for record in records]) for header in headers]))
    for each in refused:
        say(console, f"Cannot be used: {each.name} of {each.package}: {each.reason}; {MEND}.")
    if following:
        say(console, f"Next: {following}")


def print_entry(entry: Entry, console: "Console", key: str) -> None:
    """Everything that can be set on one method or machine; `key` is how it is given: `--option`, `--set`."""
    say(console, *_wrapped(f"{entry.name}: {entry.summary}", console, ""), "")
    say(console, *(line for note in entry.notes for line in _wrapped(f"Note: {note}", console, "")))
    if not entry.parameters:
        say(console, "Nothing can be set on it.")
    for each in entry.parameters:
        say(console, _assignment(each), *_wrapped(each.description, console), *_wrapped(_about(each), console))
    say(console, "", *([f"Given as {key} KEY=VALUE. An example:"] if entry.parameters else ["An example:"]))
    say(console, f"{INDENT}{entry.example}")


def _assignment(each: "Setting") -> str:
    from bitwright.settings import plain

    unit = f" {each.unit}" if each.unit and each.default is not None else ""
    return f"{each.name} = {plain(each.default)}{unit}"


def _about(each: "Setting") -> str:
    return f"takes {each.takes}" + (f"; source: {each.source}" if each.source else "")


def _wrapped(words: str, console: "Console", indent: str = INDENT) -> list[str]:
    return textwrap.wrap(words, console.width, initial_indent=indent, subsequent_indent=indent) or []
