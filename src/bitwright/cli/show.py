"""Results on stdout: JSON for programs, tables for people; and in the files that were asked for."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitwright.cli.telling import tell
from bitwright.errors import BitwrightError

if TYPE_CHECKING:
    from rich.console import Console

    from bitwright.reports.files import Target
    from bitwright.shown import Tabled

Record = Callable[[], Mapping[str, Any]]


def show(verb: str, record: Record, tables: Callable[["Console"], None], *, json: bool, wide: bool = False) -> None:
    """The verb's record as JSON, or the tables, as wide as the page or as they are."""
    if json:
        from bitwright.reports.files import to_json

        sys.stdout.write(to_json(verb, record()) + "\n")
    else:
        from bitwright.reports.tables import standard_console

        tables(standard_console(wide=wide))


def deliver(
    verb: str,
    result: "Tabled",
    record: Record,
    tables: Callable[["Console"], None],
    *,
    files: "Sequence[Target]",
    json: bool,
    wide: bool = False,
    page: Callable[[], str] | None = None,
) -> None:
    """The result in its files, as a `page` where one is HTML, and shown; then where the files are.

    Where a file cannot be written any more, the result, which may have taken hours, is shown before that is an error.
    """
    from bitwright.reports.files import to_json, write_result

    try:
        for file in files:
            write_result(result, file, lambda: to_json(verb, record()) + "\n", page)
    except BitwrightError:
        show(verb, record, tables, json=json, wide=wide)
        raise
    show(verb, record, tables, json=json, wide=wide)
    written(file.path for file in files)


def written(files: Iterable[Path]) -> None:
    """Say on stderr where files are that were asked for."""
    for file in files:
        tell(f"Written: {file.resolve()}")
