"""What a store's rows are held against, so that one that was damaged is refused and never read as if it were sound.

Every row has the SHA-256 of itself and of the study that it belongs to, and Optuna's own parameters and values of a
trial must be the row's. SQLite looks over the whole file besides. Of a damaged store the rows whose checksum holds can
be saved.
"""

import contextlib
import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.studies.sweep.metrics import values_of
from bitwright.studies.sweep.points import Record
from bitwright.studies.sweep.study import Study

SEAL, ROW = "sha256", "bitwright_row"
DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
LABELS = ("network", "method", "accelerator")
SECTIONS = ("options.", "parameters.")


class DamagedStoreError(InputError):
    """A store that is not as it was written; `rows` are those whose checksum holds, by number."""

    def __init__(self, name: str, what: str, rows: Mapping[int, Record]) -> None:
        self.name, self.what, self.rows = name, what, dict(sorted(rows.items()))
        super().__init__(self.sentence("" if not rows else ", which a results file (--results) gets"))

    def sentence(self, where: str) -> str:
        """The same with where the sound rows are."""
        count = len(self.rows)
        are = "row of it is" if count == 1 else "rows of it are"
        sound = f"{count:,} {are} sound{where}" if count else "no row of it is sound"
        return f"{self.name} is damaged: {self.what}; {sound}; keep it as it is, and name another --store"


class Seal:
    """Checksums of records, together with what they belong to."""

    def __init__(self, *of: Any) -> None:
        self._begun = hashlib.sha256(_json(of))

    def put(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record with its checksum."""
        return {**record, SEAL: self._of(record)}

    def read(self, value: Any) -> dict[str, Any] | None:
        """The record of what `put` gave; None if it is anything else."""
        if not isinstance(value, dict) or not isinstance(value.get(SEAL), str):
            return None
        record = {name: each for name, each in value.items() if name != SEAL}
        return record if self._of(record) == value[SEAL] else None

    def _of(self, record: Mapping[str, Any]) -> str:
        found = self._begun.copy()
        found.update(_json(record))
        return found.hexdigest()


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, default=str).encode()


def seal_of(study: Study) -> Seal:
    """Of the rows of a study."""
    return Seal(study.name, study.identity())


def rows_of(study: Study, trials: Iterable[Any]) -> tuple[dict[int, Record], int]:
    """The rows of Optuna's trials by number, and how many trials are not as a sweep wrote them."""
    seal, rows, unsound = seal_of(study), dict[int, Record](), 0
    for trial in trials:
        row = seal.read(trial.user_attrs.get(ROW))
        if row is None or not _agrees(study, trial, row):
            unsound += 1
        else:
            rows.setdefault(row["trial"], row)
    return rows, unsound


def _agrees(study: Study, trial: Any, row: Record) -> bool:
    """Whether what Optuna has of a trial is what its row says."""
    columns = {name: value for name, value in row.items() if name in LABELS or name.startswith(SECTIONS)}
    values = values_of(row, study.objectives) if row["status"] == "ok" else None
    found = list(trial.values) if trial.values is not None else None
    state = "FAIL" if values is None else "COMPLETE"
    return bool(trial.params == columns and found == values and trial.state.name == state)


def check_whole(file: Path, name: str, study: Study) -> None:
    """Refuse a SQLite file that SQLite itself finds at fault anywhere.

    Raises
    ------
    DamagedStoreError
        What is wrong, with the rows that can be saved.
    sqlite3.Error
        A file that cannot be looked at.
    """
    try:
        with contextlib.closing(looked_at(file)) as connection:
            found = str(connection.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        found = str(error)
    if found != "ok":
        what = " ".join(found.removeprefix("*** in database main ***").split())
        raise DamagedStoreError(name, what, saved(study, lambda: looked_at(file)))


def is_damage(error: sqlite3.Error) -> bool:
    """Whether it is of a file whose content is wrong, and not of a disk or of a lock."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in DAMAGES


def saved(study: Study, connected: Callable[[], Any]) -> dict[int, Record]:
    """The rows of a damaged store whose checksum holds, by number: from the first on, and from the last back.

    `connected` gives a connection of Python's DB-API.
    """
    seal, rows = seal_of(study), dict[int, Record]()
    for order in ("ASC", "DESC"):
        with contextlib.suppress(Exception), contextlib.closing(connected()) as connection:  # whatever a driver raises
            cursor = connection.cursor()
            cursor.execute(
                f"SELECT value_json FROM trial_user_attributes ORDER BY trial_user_attribute_id {order}"  # noqa: S608
            )
            for (text,) in cursor:
                row = _row(seal, text)
                if row is not None:
                    rows.setdefault(row["trial"], row)
    return rows


def looked_at(file: Path | None) -> sqlite3.Connection:
    """A connection to a SQLite file that reads any text; there is a file."""
    assert file is not None
    connection = sqlite3.connect(file)
    connection.text_factory = lambda text: text.decode(errors="replace")
    return connection


def _row(seal: Seal, text: Any) -> Record | None:
    try:
        row = seal.read(json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    return row if row is not None and isinstance(row.get("trial"), int) else None
