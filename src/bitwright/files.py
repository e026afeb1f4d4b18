"""Files: those that are written are whole or not there at all, and those that are read are files, and not endless.

What is written is made beside its place and moved there in one step. What is read is a regular file of bounded size:
a pipe would be waited for, a device may never end.
"""

import contextlib
import ctypes
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from bitwright import scratch
from bitwright.errors import InputError

AT_FDCWD, EXCHANGE = -100, 2  # of Linux' renameat2
MIB = 2**20
TEXT_MIB = 256
"""The largest text that is read as a whole (our choice): more than any set of sentences, books included."""


class _WriteError(InputError):
    """What the system says of a place that cannot be written."""

    def __init__(self, path: Path, reason: str | None) -> None:
        super().__init__(f"cannot write {path}: {reason}; give a writable path")
        self.reason = reason


def read_bytes(path: str | Path, *, what: str, most: int) -> bytes:
    """The bytes of a regular file.

    Parameters
    ----------
    path : path
        The user's.
    what : str
        What messages call it: `machine`, `text`.
    most : int
        Of bytes.

    Raises
    ------
    InputError
        What is not there, cannot be read, is a folder, a pipe, a socket or a device, or is larger.
    """
    beginning = f"cannot read the {what} {path}"
    try:
        # Asked before it is opened, which is an act on some devices; opened so that a pipe is not waited for.
        _require_regular(Path(path).stat().st_mode, beginning)
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
            _require_regular(os.fstat(stream.fileno()).st_mode, beginning)
            content = stream.read(most + 1)
        if content is None:  # of what looks like a file and waits, such as a log of the kernel's
            raise InputError(f"{beginning}: it gives nothing; save it as a file first.")
    except OSError as error:
        raise InputError(f"{beginning}: {error.strerror}.") from error
    except ValueError as error:  # NUL in a path
        raise InputError(f"{beginning!a}: that cannot be a path.") from error
    if len(content) > most:
        raise InputError(f"{beginning}: it is larger than {most // MIB:,} MiB.")
    return content


def read_text(path: str | Path, *, what: str, most: int = TEXT_MIB * MIB) -> str:
    """The text of a regular file, in UTF-8 with or without a mark of it, with lines ended by line feeds.

    Raises
    ------
    InputError
        As `read_bytes`, and for bytes that are no UTF-8.
    """
    content = read_bytes(path, what=what, most=most)
    try:
        return content.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise InputError(f"cannot read the {what} {path}: it is not UTF-8 text.") from error


def is_there(path: str | Path) -> bool:
    """Whether there is something at a path; nothing can be at one that is too long, or has NUL in it."""
    try:
        Path(path).stat()
    except (OSError, ValueError):
        return False
    return True


def _require_regular(mode: int, beginning: str) -> None:
    if stat.S_ISDIR(mode):
        raise InputError(f"{beginning}: it is a folder; name a file.")
    if not stat.S_ISREG(mode):
        raise InputError(f"{beginning}: it is a device, a pipe or a socket; save it as a file first.")


def check_file(file: Path | None) -> None:
    """Refuse a file in a folder that does not exist or takes none, and what is there and no file.

    That is a folder, a device, a pipe, a link that leads nowhere. Whether the folder takes a file is tried.
    """
    if file is None:
        return
    if not file.absolute().parent.is_dir():
        raise InputError(f"the folder {file.parent} of {file.name} does not exist; make it first")
    if file.is_dir():
        raise InputError(f"{file} is a folder; name a file in it")
    _refuse_dangling(file)
    check_replaceable(file)
    with _refusing(file), scratch.file_beside(file):
        pass


def _refuse_dangling(path: Path) -> None:
    """Refuse a link that leads nowhere, or to itself: what is there, though nothing is behind it, is not replaced."""
    if path.is_symlink() and not path.exists():
        raise InputError(f"{path} is a link that leads nowhere; remove it, or name another place")


@contextlib.contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """What the system refuses becomes one sentence, which names `path` and no part of it that is gone by then."""
    try:
        yield
    except OSError as error:
        raise _WriteError(path, error.strerror) from error
    except _WriteError as error:
        raise _WriteError(path, error.reason) from error


def check_replaceable(path: Path) -> None:
    """Refuse to put a file in the place of a device, a pipe or a socket: /dev/null would be gone for everybody."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a device, a pipe or a socket, whose place no file can take; name a file")


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path`, so that readers see all of it or what was there before.

    Raises
    ------
    InputError
        If the folder does not exist, cannot be written, or is full; or what is there is no file.
    """
    check_replaceable(path)
    with _refusing(path), scratch.file_beside(path) as made:
        made.write_bytes(content)
        made.chmod(0o644)
        made.replace(path)


def check_folder(path: Path, *, marker: str, overwrite: bool) -> None:
    """Refuse a folder in one that does not exist or takes none, and what cannot be replaced: see `whole_folder`."""
    with _refusing(path):
        if not path.absolute().parent.is_dir():
            raise InputError(f"the folder {path.parent} of {path.name} does not exist; make it first")
        _refuse_dangling(path)
        if not path.exists():
            with scratch.folder_beside(path):
                return
        ours = path.is_dir() and not path.is_symlink() and ((path / marker).is_file() or not any(path.iterdir()))
    if not overwrite:
        raise InputError(f"{path} exists; --overwrite replaces it, or name another place")
    if not ours:
        raise InputError(f"{path} is no folder that was written so (it has no {marker}); name another place")


@contextlib.contextmanager
def whole_folder(path: Path, *, marker: str, overwrite: bool) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `path` at the end, unless something fails.

    A folder that is there is replaced only where it is empty or has the file `marker`, as those written so have.

    Raises
    ------
    InputError
        If it cannot be written, or something else is there.
    """
    check_folder(path, marker=marker, overwrite=overwrite)
    with _refusing(path), scratch.folder_beside(path) as made:
        made.chmod(0o755)
        yield made
        _take_place(made, path)


def _take_place(made: Path, path: Path) -> None:
    """Put the folder `made` in the place of `path`; what was there is under the other name then, or gone."""
    if not path.exists():
        made.replace(path)
    elif not _exchanged(made, path):  # aside first, so that at any moment one of both is there as a whole
        aside = made.with_name(f"{made.name}.before")
        path.replace(aside)
        try:
            made.replace(path)
        except BaseException:
            aside.replace(path)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether both could be exchanged in one step, as Linux' filesystems can."""
    try:
        exchange = ctypes.CDLL(None).renameat2
    except (OSError, AttributeError):
        return False
    done: int = exchange(AT_FDCWD, os.fsencode(one.absolute()), AT_FDCWD, os.fsencode(other.absolute()), EXCHANGE)
    return done == 0
