"""Plain tables and sentences for terminals and pipes: columns of text, units in their headers.

Everything that is printed on stdout for people passes `table` or `say`. Names in it are whoever made them: nothing is
read as markup, and what a terminal would act upon is written out.
"""

import dataclasses
import errno
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import TYPE_CHECKING

from bitwright.shown import printable
from bitwright.units import PREFIXES, exponent, number

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

PICO = -12
WIDE = 10_000  # characters: nothing is left out and nothing is wrapped
NAMED = 3  # columns that were left out
PIPE_WIDTH = 100  # characters, where neither a terminal nor COLUMNS says how wide the page is


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """A header and its cells, aligned right for numbers.

    Attributes
    ----------
    header : str
        With the unit.
    cells : sequence of str
        A row each.
    right : bool
        Aligned to the right.
    rank : int
        Where a page is too narrow for all, columns of low ranks come first, all of one rank together.
    instead_of : int or None
        Shown only where columns of that rank are left out.
    """

    header: str
    cells: Sequence[str]
    right: bool = True
    rank: int = 0
    instead_of: int | None = None


def ranked(rank: int, *columns: Column) -> list[Column]:
    """The columns with that rank."""
    return [dataclasses.replace(column, rank=rank) for column in columns]


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
    from rich.table import Table

    made = Table(
        box=SIMPLE,
        title=_words(title) if title else None,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        show_header=any(column.header for column in columns),
    )
    for column in columns:
        made.add_column(_header(column), justify="right" if column.right else "left", overflow="fold")
    for cells in zip(*(column.cells for column in columns), strict=True):
        made.add_row(*map(_words, cells))
    return made


def _words(words: str) -> "Text":
    from rich.text import Text

    return Text(printable(words))


def _header(column: Column) -> "Text":
    """Numbers have their unit, or the last word, on a line of its own: headers are no wider than they must be."""
    before, space, last = column.header.rpartition(" [")
    if not space:
        before, space, last = column.header.rpartition(" ")
    splits = column.right and len(before) > 1  # `= mac` is one word
    if not splits:
        return _words(column.header)
    return _words(before).append("\n").append(_words(f"{space.strip()}{last}"))


def standard_console(*, wide: bool = False) -> "Console":
    """What results are printed on: stdout, as wide as the terminal, or as COLUMNS says, or as wide as need be."""
    from rich.console import Console

    class Page(Console):
        """A console that leaves it to the command line what happens when nobody reads on."""

        def on_broken_pipe(self) -> None:
            """Raise what was raised, where rich would end the program."""
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    width = WIDE if wide else shutil.get_terminal_size(fallback=(PIPE_WIDTH, 0)).columns
    return Page(highlight=False, width=width)


def print_fitting(names: Sequence[Column], columns: Sequence[Column], console: "Console") -> None:
    """A table with the columns that fit the page, and a line that names the others.

    Where not even those of the lowest rank do, several tables, each with the columns of `names`.
    """
    every = [*names, *columns]
    ranks = sorted({column.rank for column in every})
    kept = set(ranks) if _fits(_of_ranks(every, set(ranks)), console) else {ranks[0]}
    for rank in ranks:
        if _fits(_of_ranks(every, kept | {rank}), console):
            kept.add(rank)
    _print_spread(_of_ranks(names, kept), _of_ranks(columns, kept), console)
    left = [column.header for column in every if column.rank not in kept and column.instead_of is None]
    if left:
        more = f" and {len(left) - NAMED} more" if len(left) > NAMED else ""
        say(console, f"Left out on {console.width} columns: {', '.join(left[:NAMED])}{more}; --wide shows all.")


def _of_ranks(columns: Sequence[Column], ranks: Set[int]) -> list[Column]:
    return [each for each in columns if each.rank in ranks and each.instead_of not in ranks]


def _print_spread(names: Sequence[Column], columns: Sequence[Column], console: "Console") -> None:
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

    unlimited = console.options.update(width=WIDE)
    return Measurement.get(console, unlimited, table(columns)).maximum <= console.width


def say(console: "Console", *lines: str) -> None:
    """Sentences: on a terminal broken between words, elsewhere a line each."""
    for line in lines:
        console.print(_words(line), soft_wrap=not console.is_terminal)
