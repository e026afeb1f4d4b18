"""What there is: lists of names, one line each."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bitwright.reports.tables import table, text

if TYPE_CHECKING:
    from rich.console import Console


def print_listing(records: Sequence[Mapping[str, str]], console: "Console") -> None:
    """Equal mappings as a table, their keys its headers."""
    headers = list(records[0]) if records else []
    console.print(table([text(header, [record[header] for record in records]) for header in headers]))
