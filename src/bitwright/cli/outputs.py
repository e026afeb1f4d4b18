"""`--out`: which files a result goes to, checked before anything runs."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from bitwright.cli.plans import check_outputs
from bitwright.errors import InputError

if TYPE_CHECKING:
    from bitwright.reports.files import Target
    from bitwright.shown import Tabled

RECORD, PAGE, TABLES = ".json", ".html", (".csv", ".parquet")
NAMED = re.compile(r"(\w+)=(.+)", re.DOTALL)
"""A table's name and a file; a file of such a name is written `./a=b.csv`."""


def option(tables: str, *, page: bool = False) -> Any:
    """The option, with the names of a verb's tables in words, the first of which is the one meant without a name."""
    as_page = "FILE.html (a page), " if page else ""
    return typer.Option(
        "--out",
        "-o",
        metavar="[TABLE=]FILE",
        help=f"Write {as_page}FILE.json (what --json prints), or a table as FILE.csv or FILE.parquet: {tables}; the "
        "first where none is named. Repeatable.",
    )


def targets(
    given: Sequence[str] | None,
    result: "type[Tabled]",
    *,
    overwrite: bool,
    page: bool = False,
    beside: Sequence[Path | None] = (),
) -> "list[Target]":
    """The files that are asked for, beside those of other options.

    Raises
    ------
    InputError
        A form or a table that is unknown, a file that cannot be written or exists and is not to be replaced, or one
        file for two results.
    """
    found = [_target(text, result, page=page) for text in given or ()]
    check_outputs(*(each.path for each in found), overwrite=overwrite, beside=beside)
    return found


def _target(text: str, result: "type[Tabled]", *, page: bool) -> "Target":
    from bitwright.reports.files import Target
    from bitwright.shown import known_table
    from bitwright.table_files import PARQUET, check_parquet

    match = NAMED.fullmatch(text)
    table, path = (match[1], Path(match[2])) if match else ("", Path(text))
    forms = ((PAGE,) if page else ()) + (RECORD, *TABLES)
    if path.suffix not in forms:
        raise InputError(f"{path} has no known form; end its name in {', '.join(forms[:-1])} or {forms[-1]}")
    if path.suffix not in TABLES:
        if table:
            raise InputError(
                f"{path} is no table, so that {table}= says nothing; give {path}, or ./{text} for a file of that name"
            )
        return Target(path=path)
    if path.suffix == PARQUET:
        check_parquet()
    return Target(path=path, table=known_table(result, table or None))
