"""A sweep from its study to its rows: rounds of points, each evaluated by workers and kept before the next one.

Equal points are computed once. Rows are kept as they come, task by task; whatever ends the sweep, what was kept stays,
and the next run computes only what is missing.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright.errors import BitwrightError, InputError
from bitwright.studies.sweep.metrics import values_of
from bitwright.studies.sweep.points import Point, Record
from bitwright.studies.sweep.pool import Pool, Task, pool
from bitwright.studies.sweep.proposals import rounds
from bitwright.studies.sweep.result import Sweep, write_results
from bitwright.studies.sweep.soundness import DamagedStoreError
from bitwright.studies.sweep.store import Store, opened
from bitwright.studies.sweep.study import Study
from bitwright.tasks.evaluate import Progress, silent

SHAPES_AT_ONCE = 16  # points of a network with shapes only, per task: some tenths of a second
MANY, MANY_AT_ONCE = 1000, 32  # in sweeps of so many
NUMBERS_AT_ONCE = 256  # accelerators that listen to one execution
WRITE_EVERY_SECONDS = 60


def sweep(
    study: Study,
    *,
    place: str | Path | None = None,
    results: Path | None = None,
    workers: int = 1,
    dask: Any = None,
    progress: Progress = silent,
) -> Sweep:
    """Evaluate all points of `study` that its store does not have yet.

    Parameters
    ----------
    place : str, path or None
        The store: a SQLite file, a database's URL, or None to keep nothing.
    results : path or None
        A Parquet file that gets all rows.
    workers : int
        Processes here, unless `dask` is the address (or client) of a cluster.

    Raises
    ------
    InputError
        Anything given that cannot be used, or a store or cluster that fails; finished trials are kept.
    """
    began = time.monotonic()
    progress("starting workers", 0, 0)
    with _opened(place, study, results) as store, pool(workers, dask) as crew:
        progress("loading networks", 0, 0)
        inputs, shapes = crew.inputs(study)
        store.begin(inputs)
        run = _Run(study, store, crew, shapes, results, progress)
        stopped = run.go()
    return Sweep(
        study=study,
        rows=tuple(run.rows()),
        computed=run.computed,
        known=run.known,
        seconds=time.monotonic() - began,
        stopped=stopped,
        store=None if place is None else store.name,
        results=results,
    )


@contextlib.contextmanager
def _opened(place: str | Path | None, study: Study, results: Path | None) -> Iterator[Store]:
    """The store; what is sound of a damaged one is written beside the results, never over them."""
    try:
        with opened(place, study) as store:
            yield store
    except DamagedStoreError as error:
        if results is None or not error.rows:
            raise
        file = results.with_suffix(f".sound{results.suffix}")
        write_results(list(error.rows.values()), file)
        raise InputError(error.sentence(f" and now in {file}")) from None


class _Run:
    """A sweep as it stands."""

    def __init__(
        self,
        study: Study,
        store: Store,
        crew: Pool,
        shapes: Mapping[str, bool],
        results: Path | None,
        progress: Progress,
    ) -> None:
        self.study, self.store, self.crew, self.shapes = study, store, crew, shapes
        self.results, self.progress = results, progress
        self.first: dict[Point, int] = {}
        self.asked = self.known = self.computed = self.expected = 0
        self.written = time.monotonic()

    def rows(self) -> list[Record]:
        """What there is of what was asked for, by number."""
        return [self.store.rows[number] for number in range(self.asked) if number in self.store.rows]

    def go(self) -> str:
        """All rounds; why they ended."""
        try:
            self._rounds()
        except KeyboardInterrupt:
            self.write()
            return "interrupted"
        except BitwrightError:
            with contextlib.suppress(BitwrightError):
                self.write()
            raise
        self.write()
        return "finished"

    def write(self) -> None:
        """All rows, in their file."""
        self.written = time.monotonic()
        if self.results is not None:
            write_results(self.rows(), self.results)

    def _rounds(self) -> None:
        session = rounds(self.study)
        points = next(session)
        if not points:
            raise InputError(f"no point of {self.study.name} fulfils the conditions in when; make them wider")
        self.expected = max(len(points), self.study.search.trials or 0)
        if self.study.search.kind == "random":
            self.expected = len(points)
        with contextlib.suppress(StopIteration):
            while True:
                points = session.send(self._round(points))

    def _round(self, points: Sequence[Point]) -> list[list[float] | None]:
        """Evaluate what is not known yet; the objectives of all."""
        numbered = list(enumerate(points, self.asked))
        self.asked += len(numbered)
        rows = self.store.rows
        for number, point in numbered:
            self.first.setdefault(point, number)
            if number in rows:
                self._check(rows[number], point)
                self.known += 1
        fresh = [(number, point) for number, point in numbered if number not in rows]
        self._tell()
        for task, records in self.crew.run(self.study, self._tasks(fresh)):
            self._keep(task, records)
        copies = [(number, point) for number, point in fresh if self.first[point] != number]
        self._keep(copies, [{**rows[self.first[point]], "same_as": self.first[point]} for _, point in copies])
        return [values_of(rows[n], self.study.objectives) if rows[n]["status"] == "ok" else None for n, _ in numbered]

    def _tasks(self, fresh: Sequence[tuple[int, Point]]) -> list[Task]:
        """Points that are first of their kind, those together that share work."""
        groups: dict[Any, list[tuple[int, Point]]] = {}
        for number, point in fresh:
            if self.first[point] == number:
                groups.setdefault(point.work, []).append((number, point))
        tasks: list[Task] = []
        for (network, *_), group in groups.items():
            shapes = MANY_AT_ONCE if len(fresh) >= MANY else SHAPES_AT_ONCE
            size = shapes if self.shapes[network] else NUMBERS_AT_ONCE
            tasks += [group[start : start + size] for start in range(0, len(group), size)]
        return tasks

    def _keep(self, task: Task, records: Sequence[Record]) -> None:
        if not task:
            return
        kept = [
            {**record, "trial": number, **point.columns} for (number, point), record in zip(task, records, strict=True)
        ]
        self.store.add([point for _, point in task], [_ordered(record) for record in kept])
        self.computed += len(kept)
        self._tell()
        if time.monotonic() - self.written > WRITE_EVERY_SECONDS:
            self.write()

    def _tell(self) -> None:
        already = f" ({self.known:,} were known)" if self.known else ""
        self.progress(f"sweeping{already}", self.computed, max(self.expected - self.known, 0))

    def _check(self, row: Record, point: Point) -> None:
        """Refuse to go on where the store's trials are not those that this search asks for."""
        if any(row.get(name) != value for name, value in point.columns.items()):
            raise InputError(
                f"trial {row['trial']} in {self.store.name} is another point than this version of the search chooses; "
                "go on with the version that began it, or name another --store"
            )


def _ordered(record: Record) -> Record:
    """The trial's number and point first."""
    front = ("trial", "network", "method", "accelerator")
    point = [name for name in record if name.startswith(("options.", "parameters."))]
    names = dict.fromkeys((*front, *point, *record))
    return {name: record[name] for name in names}
