"""What a sweep came to: its rows as a table, the best of them, a plot, and the Parquet file that keeps them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from bitwright.errors import InputError
from bitwright.shown import Headline, Table, Tabled, frame_of, plotted
from bitwright.studies.row import RowNames
from bitwright.studies.sweep.metrics import MAXIMISE, values_of
from bitwright.studies.sweep.points import Record
from bitwright.studies.sweep.study import Study
from bitwright.table_files import check_parquet, write_table
from bitwright.units import number, scaled

if TYPE_CHECKING:
    import plotly.graph_objects as go


class TrialLine(RowNames):
    """A trial; further columns are its options and parameters, and the figures of its score and its cost."""

    trial: Annotated[int, "its number"]
    fingerprint: Annotated[str, "of everything that it was made from"]
    seed: Annotated[int, "of everything that is drawn"]
    versions: Annotated[str, "of packages, as JSON"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Sweep(Tabled):
    """A sweep's rows and how they came about; `.frame()`, `.plot()`.

    Frames: `rows`, one line per trial; `best`, those that no other is better than.

    Attributes
    ----------
    study : Study
        What was asked for.
    rows : tuple of dict
        One per trial, by number.
    computed, known : int
        Rows made by this run, and those that the store had.
    seconds : float
        Of this run.
    stopped : str
        `finished` or `interrupted`.
    store : str or None
        Where rows are kept.
    results : path or None
        The Parquet file.
    """

    TABLES: ClassVar[Mapping[str, Table]] = {
        "rows": Table(TrialLine, lambda sweep: sweep.rows),
        "best": Table(TrialLine, lambda sweep: sweep.front()),
    }

    study: Study
    rows: tuple[Record, ...]
    computed: int
    known: int
    seconds: float
    stopped: str
    store: str | None
    results: Path | None

    def headline(self) -> Headline:
        """How many trials there are, and the best by each objective."""
        count = sum(row["status"] == "ok" for row in self.rows)
        figures = [("trials", f"{len(self.rows):,}, {count:,} ok"), ("time", scaled(self.seconds, "s"))]
        for name, way in self.study.objectives.items():
            found = [row for row in self.rows if row["status"] == "ok" and row.get(name) is not None]
            if found:
                best = (max if way == MAXIMISE else min)(found, key=lambda row: row[name])
                where = f"{best.get('method')} on {best.get('accelerator')}"
                figures.append((f"best {name}", f"{number(best[name])}: {where}, trial {best['trial']}"))
        return Headline(f"{self.study.name}, {self.stopped}", figures)

    def front(self) -> tuple[Record, ...]:
        """Rows that no other is better than in one objective and at least equal to in all; equal ones once."""
        scored = [(row, values_of(row, self.study.objectives)) for row in self.rows if row["status"] == "ok"]
        rows = [row for row, values in scored if values is not None]
        if not rows:
            return ()
        signs = np.array([-1.0 if way == MAXIMISE else 1.0 for way in self.study.objectives.values()])
        values = np.array([found for _, found in scored if found is not None]) * signs
        return tuple(rows[i] for i in _front(values))

    def plot(self, x: str | None = None, y: str | None = None, colour: str = "accelerator") -> "go.Figure":
        """Trials as points over two columns, the first two objectives if none are named; the best are ringed.

        Raises
        ------
        InputError
            A column that no row has.
        """
        import plotly.express as px
        import plotly.graph_objects as go

        names = [*self.study.objectives, "trial"]
        x, y = x or names[0], y or names[1]
        frame = self.frame()
        for name in (x, y, colour):
            if name not in frame:
                raise InputError(f"no row has the column {name!r}; there are: {', '.join(frame.columns)}")
        shown = frame[frame["status"] == "ok"]
        plain = {name: _plain(shown[name].tolist()) for name in dict.fromkeys((x, y, colour, "trial"))}
        figure = px.scatter(plain, x=x, y=y, color=colour, hover_name="trial", title=plotted(self.study.name))
        best = self.front()
        rings = {"color": "black", "symbol": "circle-open", "size": 11}
        figure.add_trace(
            go.Scatter(
                x=_plain([row.get(x) for row in best]),
                y=_plain([row.get(y) for row in best]),
                mode="markers",
                marker=rings,
                name="best",
            )
        )
        return figure


def _plain(values: list[Any]) -> list[Any]:
    """Values of a column, in which texts are names."""
    return [plotted(value) if isinstance(value, str) else value for value in values]


def _front(values: np.ndarray) -> list[int]:
    """Indices of the rows of `values` [points, objectives] that nothing dominates, in order; smaller is better."""
    order = np.lexsort(values.T[::-1])
    kept: list[int] = []
    for i in order:
        others = values[kept]
        if not kept or not np.any(np.all(others <= values[i], axis=1)):
            kept.append(int(i))
    return sorted(kept)


def check_results(path: Path) -> None:
    """Refuse, before anything runs, a file that cannot be written.

    Raises
    ------
    InputError
        Another ending than .parquet, no folder, pyarrow missing, or a file that no sweep wrote.
    """
    if path.suffix != ".parquet":
        raise InputError(f"{path} has no known form; results are written as .parquet")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the folder {path.absolute().parent} of {path.name} does not exist; make it first")
    check_parquet()
    if not path.exists():
        return
    from pyarrow import ArrowException, parquet

    try:
        columns = parquet.read_schema(path).names
    except (ArrowException, OSError):
        columns = []
    if not {"trial", "fingerprint"} <= set(columns):
        raise InputError(f"{path} exists and has no rows of a sweep; name another file with --results")


def write_results(rows: Sequence[Record], path: Path) -> None:
    """Write rows to a Parquet file, whole or not at all."""
    if not rows:
        return
    write_table(frame_of(rows), path)
