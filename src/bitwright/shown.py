"""How results show themselves: a line of headline figures for a prompt, a small table of them for a notebook.

Names of networks, sites and files are whoever made them: in HTML they are escaped, at a prompt what does not print is
written out.
"""

import abc
import html
from collections.abc import Sequence
from typing import NamedTuple

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


def printable(text: str) -> str:
    r"""The text with what a terminal would act upon written out.

    Examples
    --------
    >>> printable("a\x1b[2Jb")
    'a\\x1b[2Jb'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _cell(text: str) -> str:
    shown = printable(text)
    return html.escape(shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "...")
