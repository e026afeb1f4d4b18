"""The search's log: a line of JSON for every judged candidate, only ever added to.

The search itself is a deterministic function of its settings and of the losses, so that a log is all there is to resume
from: the search begins anew and finds in it every loss that was measured before. A line that was cut while it was
written is dropped. Every line ends with a checksum of itself, so that a changed digit is no loss that was measured.
"""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from bitwright import files
from bitwright.errors import InputError
from bitwright.formats.log_posit import LARGEST_SF
from bitwright.formats.posit import LARGEST_ES
from bitwright.methods.lpq.fields import Fields
from bitwright.networks.fingerprint import difference
from bitwright.settings import shown

VERSION = 3
"""2: weights are judged as calibration rounds them, on samples that did not round them. 3: lines have checksums."""
KIND = "bitwright_search"
LARGEST = 1024 * files.MIB
SEAL = re.compile(r"(.*),\"sha256\":\"([0-9a-f]{16})\"\}", re.DOTALL)
START = json.dumps({KIND: VERSION}, separators=(",", ":")).encode()[:-1]

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
        self._file.write(sealed(line))
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
    there = files.is_there(path)
    if resume and not there:
        raise InputError(f"there is no search log {path} to resume; leave --resume out")
    losses = _read(path, header) if there else {}
    try:
        with path.open("a", encoding="utf-8") as file:
            if not file.tell():
                file.write(sealed({KIND: VERSION, **header}))
                file.flush()
            yield Log(file, losses)
    except OSError as error:
        raise InputError(f"the search log {path} cannot be written: {error.strerror}; name another --log") from None


def sealed(record: Mapping[str, Any]) -> str:
    """A line of the log, which says what it is a checksum of: 64 bits of the SHA-256 of what stands before."""
    text = json.dumps(record, separators=(",", ":"))[:-1]
    return f'{text},"sha256":"{_digest(text)}"}}\n'


def unsealed(line: str) -> dict[str, Any]:
    """The record in a line.

    Raises
    ------
    ValueError, RecursionError
        If the line is not as it was written.
    """
    found = SEAL.fullmatch(line)
    if found is None or _digest(found[1]) != found[2]:
        raise ValueError("not as it was written")
    record: dict[str, Any] = json.loads(f"{found[1]}}}")
    return record


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: Path, header: Mapping[str, Any]) -> dict[Key, float]:
    """The losses in a log; what follows its last whole line is cut off."""
    content = files.read_bytes(path, what="search log", most=LARGEST)
    whole = content[: content.rfind(b"\n") + 1]
    if not whole and content[: len(START)] == START[: len(content)]:  # cut before its first line was written
        path.write_bytes(b"")
        return {}
    first, *lines = whole.decode("utf-8", "replace").removesuffix("\n").split("\n")
    _check_header(path, first, header)
    losses: dict[Key, float] = {}
    for number, line in enumerate(lines, 2):
        try:
            record = unsealed(line)
            losses[tuple(_fields(*genes) for genes in record["genes"])] = _loss(record["loss"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{path}, line {number} is damaged; remove that line and resume") from None
    if len(whole) < len(content):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return losses


def _fields(n: int, es: int, rs: int, sf: float) -> Fields:
    whole = all(type(each) is int for each in (n, es, rs))
    if not whole or not 2 <= n <= 16 or not 0 <= es <= LARGEST_ES or not 1 <= rs < n or not abs(sf) <= LARGEST_SF:
        raise ValueError("no log posit has these fields")
    return Fields(n=n, es=es, rs=rs, sf=float(sf))


def _loss(given: float | None) -> float:
    if given is not None and not 0 <= given < math.inf:
        raise ValueError("no loss is like that")
    return math.inf if given is None else float(given)


def _check_header(path: Path, line: str, header: Mapping[str, Any]) -> None:
    try:
        version = json.loads(line)[KIND]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{path} is no search log; name another --log") from None
    if version != VERSION:
        raise InputError(
            f"{path} is a search log of version {shown(version)}, and this reads {VERSION}; name another --log, and "
            "the search begins anew"
        )
    try:
        found = unsealed(line)
    except (ValueError, RecursionError):
        raise InputError(f"the first line of {path} is damaged; name another --log") from None
    sound = all(isinstance(found.get(part), dict) for part in ("fingerprint", "options", "settings"))
    if not sound or not all(isinstance(value, str) for value in found["fingerprint"].values()):
        raise InputError(f"the first line of {path} is no search's; name another --log")
    differs = difference(found["fingerprint"], header["fingerprint"])
    if differs:
        raise InputError(f"{path} is the log of another network than {header['network']}: {differs}; {GO_ON}")
    for part in ("options", "settings"):
        for name, value in header[part].items():
            was = found[part].get(name)
            if was != value:
                raise InputError(f"{path} was searched with {name}={was}, not {value}; {GO_ON}")
    if found.get("samples") != header["samples"]:
        raise InputError(f"{path} was judged on {found.get('samples')}, not on {header['samples']}; {GO_ON}")
