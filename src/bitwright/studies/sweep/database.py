"""Databases of sweeps: SQLite's in a file, or PostgreSQL's by URL; whatever they raise becomes one sentence.

One sweep at a time: a lock on a file beside a SQLite database, an advisory lock in PostgreSQL; both end with the
process that holds them.
"""

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.studies.sweep.extra import optuna

SQLITE, POSTGRESQL = "sqlite", "postgresql"
PATIENCE_SECONDS = 10
FORMS = "a file, sqlite:///FILE, or postgresql://USER@HOST/DATABASE"
SQLITE_BEGINS = b"SQLite format 3\x00"


def url(place: str) -> tuple[str, Path | None]:
    """A database's URL, and its file if it is SQLite's."""
    scheme, colon, rest = place.partition("://")
    if not colon:
        path = Path(place)
    elif scheme == SQLITE:
        path = Path(rest.removeprefix("/"))
    elif scheme.partition("+")[0] == POSTGRESQL:
        return place, None
    else:
        raise InputError(f"a store is {FORMS}, not {shown(place)}")
    if not path.name or path.is_dir():
        raise InputError(f"{place} is no file; name a file for the store")
    if not path.absolute().parent.is_dir():
        raise InputError(f"the folder {path.absolute().parent} of the store does not exist; make it first")
    return f"sqlite:///{path.absolute()}", path


def shown(address: str) -> str:
    """A URL without its password."""
    before, at, after = address.rpartition("@")
    scheme, colon, user = before.partition("://")
    return f"{scheme}{colon}{user.partition(':')[0]}{at}{after}" if at else address


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
            raise _taken(name) from None
        yield


@contextlib.contextmanager
def database_lock(opened: Any, study: str, name: str) -> Iterator[None]:
    """Hold the lock of a study in PostgreSQL, or refuse at once."""
    from sqlalchemy import text

    number = int.from_bytes(hashlib.sha256(f"bitwright {study}".encode()).digest()[:8], signed=True)
    with explained(name):
        connection = opened.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        got = connection.execute(text("SELECT pg_try_advisory_lock(:number)"), {"number": number}).scalar()
    try:
        if not got:
            raise _taken(name)
        yield
    finally:
        connection.invalidate()  # the session ends, and with it the lock
        connection.close()


def _taken(name: str) -> InputError:
    return InputError(f"another sweep is at work on {name}; wait until it has finished, or name another --store")


def storage(address: str, name: str) -> Any:
    """Optuna's storage at an address, its tables made if there are none."""
    arguments: dict[str, Any] = {"timeout": PATIENCE_SECONDS}
    if not address.startswith(SQLITE):
        arguments = {"connect_timeout": PATIENCE_SECONDS} if "pg8000" not in address else {"timeout": PATIENCE_SECONDS}
    try:
        return optuna().storages.RDBStorage(address, engine_kwargs={"connect_args": arguments})
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or "the database's driver"
        raise InputError(f"{name} needs {missing}, which is not installed; pip install it") from None
    except RuntimeError:
        raise InputError(
            f"{name} was made by another version of Optuna, whose tables this one ({optuna().__version__}) does not "
            "know; install that version, or name another --store"
        ) from None
    except ValueError as error:
        raise InputError(f"{name} cannot be used as a store: {error}") from None


@contextlib.contextmanager
def explained(name: str) -> Iterator[None]:
    """Whatever a database raises, as one sentence."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, sqlite3.Error, optuna().exceptions.StorageInternalError) as error:
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        said = " ".join(str(getattr(cause, "orig", None) or cause).split())
        raise InputError(
            f"the store {name} cannot be used: {said}; what it had is kept, and the same command goes on from there"
        ) from None
