"""Databases of sweeps: SQLite's in a file, or PostgreSQL's; whatever they raise becomes one sentence.

One sweep at a time: a lock on a file beside a SQLite database, an advisory lock in PostgreSQL. This one is held by the
only connection that the sweep has: where it is lost, nothing more is written, and no second one is made. Both locks end
with the process that holds them.
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.redaction import redacted
from bitwright.studies.sweep.address import POSTGRESQL, SQLITE, Address
from bitwright.studies.sweep.answers import Answers
from bitwright.studies.sweep.extra import optuna

PATIENCE_SECONDS = 10
SQLITE_BEGINS = b"SQLite format 3\x00"
LIBPQ = {
    "connect_timeout": PATIENCE_SECONDS,
    "keepalives_idle": 30,  # nothing on the way forgets a connection that waits for its next row
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,  # ms
}
SERVER = (  # which notices within a minute that nobody is there any more, and gives the lock free
    "SET tcp_keepalives_idle = 30",
    "SET tcp_keepalives_interval = 10",
    "SET tcp_keepalives_count = 3",
    f"SET lock_timeout = '{PATIENCE_SECONDS}s'",
)
TABLES = ""  # whose lock is held while tables are made


def check_file(file: Path, name: str) -> None:
    """Refuse a file that is no database."""
    if not file.exists() or not file.stat().st_size:
        return
    try:
        with file.open("rb") as opened_file:
            magic = opened_file.read(16)
    except OSError as error:
        raise InputError(f"cannot read the store {name}: {error.strerror}") from None
    if magic != SQLITE_BEGINS:
        raise InputError(f"{name} is not a sweep's store; name another --store")


@contextlib.contextmanager
def file_lock(file: Path, name: str) -> Iterator[None]:
    """Hold the lock of a SQLite database, or refuse at once."""
    import fcntl

    path = file.with_name(f"{file.name}.lock")
    try:
        lock = path.open("a")
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}; name a --store in a folder that can be written"
        ) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise taken(name) from None
        yield


def taken(name: str) -> InputError:
    """That another sweep is at work."""
    return InputError(f"another sweep is at work on {name}; wait until it has finished, or name another --store")


def storage(address: Address, study: str) -> Any:
    """Optuna's storage at an address, its tables made if there are none; PostgreSQL's holds the lock of `study`.

    Its engine has no address, so that no message has one: connections are made here.
    """
    from sqlalchemy.pool import QueuePool, StaticPool

    try:
        if address.file is not None:
            return _storage(SQLITE, poolclass=QueuePool, creator=lambda: _sqlite(address.file))
        with _OnlyConnection(address, study) as only:
            found = _storage(address.url.drivername, poolclass=StaticPool, creator=only.make)
            only.release_tables(found.engine)
        return found
    except ImportError as error:
        missing = error.name or "the database's driver"
        raise InputError(
            f"{address.shown} needs {missing}, which is not installed; pip install 'bitwright[{POSTGRESQL}]'"
        ) from None
    except RuntimeError:
        raise InputError(
            f"{address.shown} was made by another version of Optuna, whose tables this one ({optuna().__version__}) "
            "does not know; install that version, or name another --store"
        ) from None
    except ValueError as error:
        said = redacted(str(error), address.secrets)
        raise InputError(f"{address.shown} cannot be used as a store: {said}") from None


def _storage(kind: str, **engine: Any) -> Any:
    return optuna().storages.RDBStorage(f"{kind}://", engine_kwargs=engine)


def _sqlite(file: Path | None) -> sqlite3.Connection:
    assert file is not None
    return sqlite3.connect(file, timeout=PATIENCE_SECONDS, check_same_thread=False)


class _OnlyConnection:
    """The one connection of a sweep to PostgreSQL, which holds its lock; where it is lost, there is no other."""

    def __init__(self, address: Address, study: str) -> None:
        self.address, self.study = address, study
        self.held: Any = None
        self.answers: Answers | None = None
        kind = address.url.get_dialect()
        self.dialect = kind(dbapi=kind.import_dbapi())

    def __enter__(self) -> "_OnlyConnection":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self.held is not None:
            self.held.close()
        if self.answers is not None:
            self.answers.heard()

    def make(self) -> Any:
        """Connect, and hold the lock of the study, or refuse at once; and that of all tables, which are made next."""
        if self.held is not None:
            raise InputError(
                f"the connection to {self.address.shown} was lost, and with it the lock; what it had is kept, and the "
                "same command goes on from there"
            )
        by_itself = self.dialect.driver == "pg8000"  # which waits for no answer longer than that
        own = {"timeout": PATIENCE_SECONDS} if by_itself else LIBPQ
        arguments, options = self.dialect.create_connect_args(self.address.url)
        self.held = self.dialect.connect(*arguments, **{**own, **options})
        if not by_itself:
            self.answers = Answers(self.held, self.address.shown)
            self.answers.asked()  # until all tables are made
        for setting in SERVER:
            self._said(setting)
        if not self._said("SELECT pg_try_advisory_lock(%s)", _number(self.study)):
            raise taken(self.address.shown)
        self._said("SELECT pg_advisory_lock(%s)", _number(TABLES))
        self.held.commit()
        return self.held

    def release_tables(self, engine: Any) -> None:
        """Let others make tables; from now on each statement is watched by itself."""
        self._said("SELECT pg_advisory_unlock(%s)", _number(TABLES))
        self.held.commit()
        if self.answers is not None:
            self.answers.heard()
            self.answers.follow(engine)

    def _said(self, statement: str, *values: Any) -> Any:
        """What a statement gives, if it gives something."""
        cursor = self.held.cursor()
        try:
            cursor.execute(statement, values)
            return cursor.fetchone()[0] if cursor.description else None
        finally:
            cursor.close()


def _number(study: str) -> int:
    return int.from_bytes(hashlib.sha256(f"bitwright {study}".encode()).digest()[:8], signed=True)


@contextlib.contextmanager
def explained(address: Address) -> Iterator[None]:
    """Whatever a database raises, as one sentence."""
    from sqlalchemy.exc import PendingRollbackError, SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, optuna().exceptions.StorageInternalError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        lost = isinstance(cause, PendingRollbackError)  # what SQLAlchemy says then is for programmers
        said = "the connection was lost" if lost else redacted(" ".join(str(cause).split()), address.secrets)
        raise InputError(
            f"the store {address.shown} cannot be used: {said}; what it had is kept, and the same command goes on from "
            "there"
        ) from None
