"""Files that are whole or not there at all: written beside their place and moved there in one step."""

import contextlib
import ctypes
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bitwright import scratch
from bitwright.errors import InputError

AT_FDCWD, EXCHANGE = -100, 2  # of Linux' renameat2


def check_file(file: Path | None) -> None:
    """Refuse a file in a folder that does not exist, and what is there and no file: a folder, a device, a pipe."""
    if file is None:
        return
    if not file.absolute().parent.is_dir():
        raise InputError(f"the folder {file.parent} of {file.name} does not exist; make it first")
    if file.is_dir():
        raise InputError(f"{file} is a folder; name a file in it")
    check_replaceable(file)


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
    try:
        with scratch.file_beside(path) as made:
            made.write_bytes(content)
            made.chmod(0o644)
            made.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give a writable path") from error


@contextlib.contextmanager
def whole_folder(path: Path, *, marker: str, overwrite: bool) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `path` at the end, unless something fails.

    A folder that is there is replaced only where it is empty or has the file `marker`, as those written so have.

    Raises
    ------
    InputError
        If it cannot be written, or something else is there.
    """
    if path.exists():
        ours = path.is_dir() and not path.is_symlink() and ((path / marker).is_file() or not any(path.iterdir()))
        if not overwrite:
            raise InputError(f"{path} exists; --overwrite replaces it, or name another place")
        if not ours:
            raise InputError(f"{path} is no folder that was written so (it has no {marker}); name another place")
    try:
        with scratch.folder_beside(path) as made:
            made.chmod(0o755)
            yield made
            _take_place(made, path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give a writable path") from error


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
