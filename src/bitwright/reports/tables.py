"""Plain tables for terminals and pipes: columns of text, units in their headers, nothing in a cell read as markup."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bitwright.reports.units import PREFIXES, exponent, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PIPE_WIDTH = 200  # characters, where nobody says how wide the page is


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A header and its cells, aligned right for numbers."""

    header: str
    cells: Sequence[str]
    right: bool = True


def text(header: str, cells: Iterable[str]) -> Column:
    """A column of words."""
    return Column(header=header, cells=list(cells), right=False)


def quantity(header: str, values: Iterable[float | None], unit: str, base: int = 0, digits: int = 4) -> Column:
    """A column of numbers in one unit, which stands in the header with the prefix that suits the largest."""
    kept = list(values)
    power = exponent(kept, base)
    cells = [number(None if value is None else value * 10.0 ** (base - power), digits) for value in kept]
    named = f"{PREFIXES[power]}{unit}"
    return Column(header=f"{header} [{named}]" if named else header, cells=cells)


def area_column(header: str, values_um2: Iterable[float | None]) -> Column:
    """A column of areas in mm2."""
    return Column(header=f"{header} [mm2]", cells=[number(None if v is None else v / 1e6) for v in values_um2])


def table(columns: Sequence[Column], title: str | None = None) -> "Table":
    """The columns side by side."""
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    made = Table(box=SIMPLE, title=escape(title) if title else None, title_justify="left", title_style="bold", pad_edge=False)
    for column in columns:
        made.add_column(escape(column.header), justify="right" if column.right else "left", overflow="fold")
    for cells in zip(*(column.cells for column in columns), strict=True):
        made.add_row(*map(escape, cells))
    return made


def standard_console() -> "Console":
    """What results are printed on: stdout, as wide as the terminal, or wide enough for a pipe."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def say(console: "Console", *lines: str) -> None:
    """Sentences, as they are."""
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
