"""What there is: lists of names, one line each, and everything that can be set on one."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bitwright.registry import MEND
from bitwright.reports.tables import say, table, text

if TYPE_CHECKING:
    from rich.console import Console

    from bitwright.registry import Refused
    from bitwright.settings import Setting
    from bitwright.studies.catalogue import Entry

INDENT = "    "


def print_listing(
    records: Sequence[Mapping[str, str]], console: "Console", following: str = "", refused: "Sequence[Refused]" = ()
) -> None:
    """Equal mappings as a table, their keys its headers; plug-ins that cannot be used; then what to type next."""
    headers = list(records[0]) if records else []
    console.print(table([text(header, [record[header] for record in records]) for header in headers]))
    for each in refused:
        say(console, f"Cannot be used: {each.name} of {each.package}: {each.reason}; {MEND}.")
    if following:
        say(console, f"Next: {following}")


def print_entry(entry: "Entry", console: "Console", key: str) -> None:
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
