"""Where a store is: a SQLite file, or a database of PostgreSQL by its URL.

Names of files are names: nothing in them means anything. URLs are taken apart and built by SQLAlchemy, never pasted,
and are shown without their passwords.
"""

import dataclasses
from pathlib import Path
from typing import Any

from bitwright.errors import InputError
from bitwright.redaction import redacted_word, secrets_in
from bitwright.studies.sweep.extra import optuna

SQLITE, POSTGRESQL = "sqlite", "postgresql"
DRIVERS = ("psycopg", "psycopg2", "pg8000")
FORMS = "a file, sqlite:///FILE, or postgresql://USER@HOST/DATABASE"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Address:
    """Where a store is.

    Attributes
    ----------
    shown : str
        As messages call it.
    file : path or None
        SQLite's, without symbolic links.
    url : sqlalchemy.URL or None
        PostgreSQL's, with its driver.
    secrets : tuple of str
        What is in no message.
    """

    shown: str
    file: Path | None = None
    url: Any = dataclasses.field(default=None, repr=False)
    secrets: tuple[str, ...] = dataclasses.field(default=(), repr=False)


def address_of(place: str) -> Address:
    """Where a store is that was named so.

    Raises
    ------
    InputError
        A name or URL that is none, or a folder that is not there.
    """
    scheme, colon, rest = place.partition("://")
    if not colon:
        return _file(place, Path(place))
    if scheme == SQLITE:
        return _file(place, Path(rest.removeprefix("/")))
    if scheme.partition("+")[0] == POSTGRESQL:
        return _postgresql(place)
    raise InputError(f"a store is {FORMS}, not {redacted_word(place)}")


def _file(place: str, path: Path) -> Address:
    try:
        file = path.resolve()
        if not path.name or (file.exists() and not file.is_file()):
            raise InputError(f"{redacted_word(place)} is no file; name a file for the store")
        if not file.parent.is_dir():
            raise InputError(f"the folder {file.parent} of the store does not exist; make it first")
        if file.exists() and file.stat().st_nlink > 1:
            raise InputError(
                f"{path} has {file.stat().st_nlink} names (hard links), and SQLite keeps a journal for each, which "
                "would damage it; copy the file, and name the copy as --store"
            )
    except (OSError, ValueError, RuntimeError) as error:  # too long, a zero byte, links in a circle
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise InputError(f"{path} cannot be the file of a store: {reason}; name another --store") from None
    return Address(shown=redacted_word(str(path)), file=file)


def _postgresql(place: str) -> Address:
    optuna()  # which brings SQLAlchemy
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    shown = redacted_word(place)
    try:
        url = make_url(place)
        fault = "its host has an @" if "@" in (url.host or "") else ""
    except (ArgumentError, ValueError):
        fault = "it cannot be taken apart"
    if fault:
        raise InputError(
            f"{shown} is no address of a database: {fault}; write {POSTGRESQL}://USER:PASSWORD@HOST:PORT/DATABASE, and "
            "in the password %40 for @, %2F for /, %3A for :, %3F for ?"
        )
    driver = url.drivername.partition("+")[2] or DRIVERS[0]
    if driver not in DRIVERS:
        raise InputError(f"{shown} names the driver {driver}; sweeps use {', '.join(DRIVERS)}")
    return Address(shown=shown, url=url.set(drivername=f"{POSTGRESQL}+{driver}"), secrets=secrets_in([place]))
