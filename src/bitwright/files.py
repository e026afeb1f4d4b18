"""Files that are whole or not there at all: written beside their place and moved there in one step."""

import contextlib
import os
import tempfile
from pathlib import Path

from bitwright.errors import InputError


def check_file(file: Path | None) -> None:
    """Refuse a file in a folder that does not exist, and one that is a folder."""
    if file is None:
        return
    if not file.absolute().parent.is_dir():
        raise InputError(f"the folder {file.parent} of {file.name} does not exist; make it first")
    if file.is_dir():
        raise InputError(f"{file} is a folder; name a file in it")


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` to `path`, so that readers see all of it or what was there before.

    Raises
    ------
    InputError
        If the folder does not exist, cannot be written, or is full.
    """
    handle, name = -1, ""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}; give a writable path") from error
    finally:
        if name:
            with contextlib.suppress(FileNotFoundError):
                Path(name).unlink()
