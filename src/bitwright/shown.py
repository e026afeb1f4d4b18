"""How results show themselves: a line of headline figures for a prompt, a small table of them for a notebook, frames.

Names of networks, sites and files are whoever made them: in HTML and in pictures they are escaped, at a prompt what
does not print is written out.
"""

import abc
import dataclasses
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from bitwright.errors import unknown_name

if TYPE_CHECKING:
    import pandas as pd

LONGEST = 900  # characters of a line at the prompt
LINES = 24  # of a notebook's table


class Headline(NamedTuple):
    """What a result is, and its headline figures: pairs of a name and a figure with its unit."""

    title: str
    figures: Sequence[tuple[str, str]]


class Shown(abc.ABC):
    """What has a headline, and is shown by it; everything else is in its attributes."""

    @abc.abstractmethod
    def headline(self) -> Headline:
        """What it is, and its headline figures with units."""

    def __repr__(self) -> str:
        title, figures = self.headline()
        parts = [f"{name} {figure}".strip() for name, figure in figures]
        while parts and len("; ".join(parts)) > LONGEST - len(title):
            parts = [*parts[: (len(parts) - 1) // 2], "..."] if len(parts) > 1 else []
        said = printable(f"{type(self).__name__}: {title}" + "".join(f"; {part}" for part in parts))
        return f"<{said if len(said) <= LONGEST else said[: LONGEST - 3] + '...'}>"

    def _repr_html_(self) -> str:
        title, figures = self.headline()
        rows = [f"<tr><th>{_cell(name)}</th><td>{_cell(figure)}</td></tr>" for name, figure in figures[:LINES]]
        if len(figures) > LINES:
            rows.append(f"<tr><th>and {len(figures) - LINES} more</th><td></td></tr>")
        return f"<table><caption>{_cell(title)}</caption>{''.join(rows)}</table>"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that a result can be.

    Attributes
    ----------
    line : type
        A TypedDict: what its docstring says is one line, and its keys are columns that are there even without lines.
    lines : callable
        The result -> its lines, whose values are numbers, texts, truth values or None; they may have further columns.
    """

    line: type
    lines: Callable[[Any], Iterable[Mapping[str, Any]]]


class Tabled(Shown):
    """What is shown, and is tables too."""

    TABLES: ClassVar[Mapping[str, Table]]
    """By name; the first is the one that is meant where none is named."""

    def frame(self, part: str | None = None) -> "pd.DataFrame":
        """A table in pandas, one line per observation, units in the columns' names; what a line does not have is NA.

        Parameters
        ----------
        part : str or None
            Which of `TABLES`; None is the first.

        Raises
        ------
        InputError
            Another one.
        """
        table = self.TABLES[known_table(type(self), part)]
        return frame_of(list(table.lines(self)), table.line.__annotations__)

    to_frame = frame


def known_table(result: type[Tabled], part: str | None) -> str:
    """The name of the table that is meant.

    Raises
    ------
    InputError
        One that the result does not have.
    """
    if part is None:
        return next(iter(result.TABLES))
    if part not in result.TABLES:
        raise unknown_name(f"table of {result.__name__}", part, result.TABLES)
    return part


def frame_of(lines: Sequence[Mapping[str, Any]], columns: Iterable[str] = ()) -> "pd.DataFrame":
    """Lines as a table with one type per column; `columns` are there even where no line has them.

    Examples
    --------
    >>> list(frame_of([{"b": 1}, {"c": 2}], columns=["a"]).columns)
    ['b', 'c', 'a']
    """
    import pandas as pd

    names = dict.fromkeys((*(name for line in lines for name in line), *columns))
    found = {encodable(name): _column([line.get(name) for line in lines]) for name in names}
    return pd.DataFrame(found).convert_dtypes()


def _column(values: list[Any]) -> list[Any]:
    """Values of one type: numbers or truth values, else texts."""
    kinds = {
        "text" if isinstance(v, str) else "bool" if isinstance(v, bool) else "number" for v in values if v is not None
    }
    plain = len(kinds) <= 1 and "text" not in kinds
    return values if plain else [None if value is None else encodable(str(value)) for value in values]


def encodable(text: str) -> str:
    r"""The text with what UTF-8 does not have (halves of surrogate pairs, of file names) written out.

    Examples
    --------
    >>> encodable("a\udcff")
    'a\\udcff'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def printable(text: str) -> str:
    r"""The text with what a terminal would act upon written out.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


PLOTTED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;", "%": "&#37;"})


def plotted(text: str) -> str:
    """A name as plotly shows it: there some HTML is obeyed, mathematics between dollars, and `%{...}` in templates.

    Examples
    --------
    >>> plotted("<b> $x$ %{y}")
    '&lt;b&gt; &#36;x&#36; &#37;{y}'
    """
    return text.translate(PLOTTED)


def _cell(text: str) -> str:
    shown = printable(text)
    return html.escape(shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "...")
