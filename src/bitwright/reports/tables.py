"""Plain tables for terminals and pipes: columns of text, units in their headers, nothing in a cell read as markup."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from bitwright.reports.units import PREFIXES, exponent, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

PICO = -12
PIPE_WIDTH = 10_000  # characters: nothing is wrapped where no terminal limits it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A header and its cells, aligned right for numbers."""

    header: str
    cells: Sequence[str]
    right: bool = True


def text(header: str, cells: Iterable[str]) -> Column:
    """A column of words."""
    return Column(header=header, cells=list(cells), right=False)


def quantity(header: str, values: Iterable[float | None], unit: str, base: int = 0) -> Column:
    """A column of numbers in one unit, which stands in the header with the prefix that suits the largest.

    The values are in units of 10 to the `base`.
    """
    kept = list(values)
    power = exponent(kept, base)
    named = f"{PREFIXES[power]}{unit}"
    return Column(header=f"{header} [{named}]" if named else header, cells=_cells(kept, base - power))


def energies(total_pj: Sequence[float | None], parts_pj: Mapping[str, Sequence[float | None]]) -> list[Column]:
    """A column of energies and those of its parts, all in the unit of the first: `energy [mJ]`, `= mac`, `+ dram`."""
    power = exponent(total_pj, PICO) - PICO
    signs = ["=", *["+"] * len(parts_pj)]
    return [
        quantity("energy", total_pj, "J", PICO),
        *(
            Column(header=f"{sign} {part.replace('_', ' ')}", cells=_cells(values, -power))
            for sign, (part, values) in zip(signs, parts_pj.items(), strict=False)
        ),
    ]


def _cells(values: Sequence[float | None], power: int) -> list[str]:
    return [number(None if value is None else value * 10.0**power) for value in values]


def area_column(header: str, values_um2: Iterable[float | None]) -> Column:
    """A column of areas in mm2."""
    return Column(header=f"{header} [mm2]", cells=[number(None if v is None else v / 1e6) for v in values_um2])


def percents(header: str, shares: Iterable[float | None]) -> Column:
    """A column of shares of 1, in percent."""
    return Column(header=f"{header} [%]", cells=[number(None if s is None else 100 * s, 3) for s in shares])


def table(columns: Sequence[Column], title: str | None = None) -> "Table":
    """The columns side by side."""
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    made = Table(
        box=SIMPLE,
        title=escape(title) if title else None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        show_header=any(column.header for column in columns),
    )
    for column in columns:
        made.add_column(escape(column.header), justify="right" if column.right else "left", overflow="fold")
    for cells in zip(*(column.cells for column in columns), strict=True):
        made.add_row(*map(escape, cells))
    return made


def standard_console() -> "Console":
    """What results are printed on: stdout, as wide as the terminal, or as wide as need be in a pipe."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PIPE_WIDTH)


def print_spread(names: Sequence[Column], columns: Sequence[Column], console: "Console") -> None:
    """A table, or as many as the page needs so that no number is broken, each with the columns of `names`."""
    shown: list[Column] = []
    for column in columns:
        if shown and not _fits([*names, *shown, column], console):
            console.print(table([*names, *shown]))
            shown = []
        shown.append(column)
    console.print(table([*names, *shown]))


def _fits(columns: Sequence[Column], console: "Console") -> bool:
    from rich.measure import Measurement

    unlimited = console.options.update(width=PIPE_WIDTH)
    return Measurement.get(console, unlimited, table(columns)).maximum <= console.width


def say(console: "Console", *lines: str) -> None:
    """Sentences, as they are."""
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
