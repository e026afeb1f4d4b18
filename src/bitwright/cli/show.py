"""Results on stdout: JSON for programs, tables for people."""

import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitwright.cli.telling import tell

if TYPE_CHECKING:
    from rich.console import Console


def show(
    record: Callable[[], Mapping[str, Any]], tables: Callable[["Console"], None], *, json: bool, wide: bool = False
) -> None:
    """The record as JSON, or the tables, as wide as the page or as they are."""
    if json:
        from bitwright.reports.files import to_json

        sys.stdout.write(to_json(record()) + "\n")
    else:
        from bitwright.reports.tables import standard_console

        tables(standard_console(wide=wide))


def written(files: Iterable[Path]) -> None:
    """Say on stderr where files are that were asked for."""
    for file in files:
        tell(f"Written: {file.resolve()}")
