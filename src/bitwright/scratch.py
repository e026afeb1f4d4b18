"""Files and folders that are there while something works: removed at its end, also by a signal.

What SIGKILL leaves is removed by whoever next makes one in the same folder. Each is locked by its maker for as long as
that lives, so that nobody removes what is in use; where nothing can be locked, nothing is cleared.
"""

import atexit
import contextlib
import enum
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # not POSIX
    fcntl = None  # type: ignore[assignment]

SUFFIX = ".bitwright-part"
OURS = re.compile(rf"\..*\.[0-9a-f]{{12}}{re.escape(SUFFIX)}", re.DOTALL)
LONGEST = 40  # characters of the name that it is made for

_mine: set[Path] = set()
_cleared: set[Path] = set()


@contextlib.contextmanager
def file_beside(path: Path) -> Iterator[Path]:
    """A new, empty file in the folder of `path`.

    Raises
    ------
    OSError
        If there can be none.
    """
    with _made(path, lambda place: place.touch(mode=0o600, exist_ok=False)) as made:
        yield made


@contextlib.contextmanager
def folder_beside(path: Path) -> Iterator[Path]:
    """A new folder in the folder of `path`. Raises as `file_beside`."""
    with _made(path, lambda place: place.mkdir(mode=0o700)) as made:
        yield made


@contextlib.contextmanager
def folder(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent`, which is made if need be; where it cannot be, and without one, in the system's."""
    with contextlib.ExitStack() as stack:
        place = None
        if parent is not None:
            with contextlib.suppress(OSError):
                parent.mkdir(parents=True, exist_ok=True)
                place = stack.enter_context(folder_beside(parent / "scratch"))
        if place is None:
            import tempfile

            place = stack.enter_context(folder_beside(Path(tempfile.gettempdir()) / "scratch"))
        yield place


@atexit.register
def remove_all() -> None:
    """Remove all of this process, which is about to end without coming back to who made them."""
    for place in list(_mine):
        _remove(place)


@contextlib.contextmanager
def _made(path: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    parent = path.absolute().parent
    _clear(parent)
    with contextlib.ExitStack() as stack:
        while True:
            place = parent / f".{path.name[:LONGEST]}.{os.urandom(6).hex()}{SUFFIX}"
            _mine.add(place)  # before it is there: an interrupt may come at once, and while it is removed
            stack.callback(_forget, place)
            stack.callback(_remove, place)
            make(place)
            if fcntl is None or stack.enter_context(_held(place, wait=True)) is not Held.GONE:
                break  # else somebody took it for a leftover before it was locked
        yield place


def _forget(place: Path) -> None:
    """What is gone is nobody's; what could not be removed is, at the end of the process."""
    if not os.path.lexists(place):
        _mine.discard(place)


class Held(enum.Enum):
    """What came of locking a place."""

    LOCKED = enum.auto()
    GONE = enum.auto()
    NOT = enum.auto()
    """In use by another, or nothing can be locked there."""


@contextlib.contextmanager
def _held(place: Path, *, wait: bool) -> Iterator[Held]:
    """A place that is locked, until the last process that has the descriptor is gone."""
    try:
        descriptor = os.open(place, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        yield Held.NOT if place.exists() else Held.GONE
        return
    try:
        yield _lock(descriptor, place, wait=wait)
    finally:
        os.close(descriptor)


def _lock(descriptor: int, place: Path, *, wait: bool) -> Held:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return Held.NOT
    try:
        return Held.LOCKED if os.path.samestat(os.fstat(descriptor), place.lstat()) else Held.GONE
    except OSError:
        return Held.GONE


def _clear(parent: Path) -> None:
    """Remove what processes left there that are no more; once per process, since folders may be large."""
    if parent in _cleared or fcntl is None:
        return
    _cleared.add(parent)
    try:
        with os.scandir(parent) as entries:
            found = [Path(entry.path) for entry in entries if OURS.fullmatch(entry.name) and not entry.is_symlink()]
    except OSError:
        return
    for place in found:
        with contextlib.suppress(OSError):
            if place.lstat().st_uid == os.getuid():
                with _held(place, wait=False) as held:
                    if held is Held.LOCKED:
                        _remove(place)


def _remove(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            place.unlink()
