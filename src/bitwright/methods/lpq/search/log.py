"""The search's log: a line of JSON for every judged candidate, only ever added to.

The search itself is a deterministic function of its settings and of the losses, so that a log is all there is to resume
from: the search begins anew and finds in it every loss that was measured before. A line that was cut while it was
written is dropped.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from bitwright.errors import InputError
from bitwright.methods.lpq.fields import Fields
from bitwright.networks.fingerprint import difference

VERSION = 2
"""2: weights are judged as calibration rounds them, on samples that did not round them."""
KIND = "bitwright_search"
START = json.dumps({KIND: VERSION}).encode()[:-1]

GO_ON = "the same command goes on with it; for this one name another --log"

Key = tuple[Fields, ...]


class Log:
    """Losses of candidates, in memory and, where it has a file, on disk.

    Attributes
    ----------
    losses : dict
        Fields of all layers in order -> loss.
    """

    def __init__(self, file: IO[str] | None = None, losses: dict[Key, float] | None = None) -> None:
        self._file = file
        self.losses = {} if losses is None else losses

    def add(self, key: Key, loss: float, **told: Any) -> None:
        """Keep a loss; on disk it is before this returns, however the process ends."""
        self.losses[key] = loss
        if self._file is None:
            return
        genes = [[f.n, f.es, f.rs, f.sf] for f in key]
        line = {"loss": loss if math.isfinite(loss) else None, "genes": genes, **told}
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self._file.flush()


@contextlib.contextmanager
def opened(path: Path | None, header: Mapping[str, Any], *, resume: bool) -> Iterator[Log]:
    """The log in `path`: begun with `header`, or continued if it has the same one; `resume` insists on that.

    Raises
    ------
    InputError
        It is to be resumed and does not exist, is no log, or of another search.
    """
    if path is None:
        yield Log()
        return
    if resume and not path.exists():
        raise InputError(f"there is no search log {path} to resume; leave --resume out")
    losses = _read(path, header) if path.exists() else {}
    try:
        with path.open("a", encoding="utf-8") as file:
            if not file.tell():
                file.write(json.dumps({KIND: VERSION, **header}) + "\n")
                file.flush()
            yield Log(file, losses)
    except OSError as error:
        raise InputError(f"the search log {path} cannot be written: {error.strerror}; name another --log") from None


def _read(path: Path, header: Mapping[str, Any]) -> dict[Key, float]:
    """The losses in a log; what follows its last whole line is cut off."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"the search log {path} cannot be read: {error.strerror}") from None
    whole = content[: content.rfind(b"\n") + 1]
    if not whole and content[: len(START)] == START[: len(content)]:  # cut before its first line was written
        path.write_bytes(b"")
        return {}
    first, *lines = whole.decode("utf-8", "replace").splitlines() or [""]
    _check_header(path, first, header)
    losses: dict[Key, float] = {}
    for number, line in enumerate(lines, 2):
        try:
            record = json.loads(line)
            key = tuple(Fields(n=int(n), es=int(es), rs=int(rs), sf=float(sf)) for n, es, rs, sf in record["genes"])
            losses[key] = math.inf if record["loss"] is None else float(record["loss"])
        except (ValueError, KeyError, TypeError, OverflowError):
            raise InputError(f"{path}, line {number} is damaged; remove that line and resume") from None
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return losses


def _check_header(path: Path, line: str, header: Mapping[str, Any]) -> None:
    try:
        found = json.loads(line)
        version = found[KIND]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{path} is no search log; name another --log") from None
    if version != VERSION:
        raise InputError(f"{path} is a search log of version {version}, and this reads {VERSION}")
    differs = difference(found.get("fingerprint", {}), header["fingerprint"])
    if differs:
        raise InputError(f"{path} is the log of another network than {header['network']}: {differs}; {GO_ON}")
    for part in ("options", "settings"):
        for name, value in header[part].items():
            was = found.get(part, {}).get(name)
            if was != value:
                raise InputError(f"{path} was searched with {name}={was}, not {value}; {GO_ON}")
    if found.get("samples") != header["samples"]:
        raise InputError(f"{path} was judged on {found.get('samples')}, not on {header['samples']}; {GO_ON}")
