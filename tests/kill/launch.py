"""Processes of bitwright that somebody is going to kill: they count the files they touch, and end at a given one.

A process is forked from this one, which has imported what commands import and computed nothing (it has one thread), so
that its life is the command's work and not three seconds of imports; with `fresh` it is a new interpreter. Both run
`python -m bitwright`, in folders of its own for work, temporary files and caches.
"""

import atexit
import contextlib
import ctypes
import dataclasses
import importlib
import os
import runpy
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).parents[2]
TOUCHING = frozenset({"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "sqlite3.connect"})
WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT
NEEDED = ("bitwright.cli.verbs", "bitwright.api", "torch", "pandas", "numba", "plotly.graph_objects", "optuna", "onnx")
PR_SET_CHILD_SUBREAPER = 36  # of Linux' prctl: orphans of those that were started here become children of this one
FOLDERS = ("work", "tmp", "cache")
ORPHAN_SECONDS = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moment:
    """When a process is sent a signal.

    Attributes
    ----------
    number : int
        The signal.
    seconds : float or None
        After its start; with `event`, after that one; of that one None is before the file is touched.
    event : int or None
        Which of the files that it touches, from 0.
    """

    number: int = signal.SIGKILL
    seconds: float | None = None
    event: int | None = None

    def __str__(self) -> str:
        when = [f"{self.seconds:.4f} s"] if self.seconds is not None else []
        when += [f"file event {self.event}"] if self.event is not None else []
        return f"{signal.Signals(self.number).name} {' after '.join(when)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """How a process ended: its code (negative is a signal), after how many seconds, having touched how many files."""

    code: int
    seconds: float
    events: int


def prepare() -> None:
    """Import what commands import, and take in the orphans of what is started."""
    for name in NEEDED:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def ran(words: Sequence[str], folder: Path, moment: Moment | None, *, limit: float, fresh: bool = False) -> Ended:
    """Run a command in a folder that has `FOLDERS`, and send it a signal; nobody is left of it but orphans.

    Raises
    ------
    TimeoutError
        If it takes longer than `limit` seconds.
    """
    own = -1 if moment is None or moment.event is None or moment.seconds is not None else moment.event
    told, tell = os.pipe()
    began = time.monotonic()
    pid = os.fork()
    if not pid:
        os.close(told)
        _begin(words, folder, tell, own, moment.number if moment else 0, fresh=fresh)
    os.close(tell)
    os.set_blocking(told, False)
    due = began + moment.seconds if moment and moment.seconds is not None and moment.event is None else None
    events = 0
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        with contextlib.suppress(BlockingIOError):
            events += len(os.read(told, 4096))
        now = time.monotonic()
        if found:
            break
        if moment and moment.event is not None and moment.seconds is not None and due is None and events > moment.event:
            due = now + moment.seconds
        if due is not None and now >= due:
            os.kill(pid, moment.number if moment else 0)
            due, moment = None, None
        if now > began + limit:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise TimeoutError(f"over {limit:g} s")
        time.sleep(0.0005 if moment else 0.01)
    os.close(told)
    return Ended(code=os.waitstatus_to_exitcode(status), seconds=now - began, events=events)


def orphans() -> list[str]:
    """Who of the processes that were started lives on after five seconds, by pid and command; they are ended here."""
    deadline = time.monotonic() + ORPHAN_SECONDS
    while (left := _descendants(os.getpid())) and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.01)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        while left:
            os.waitpid(-1, 0)
    return list(left.values())


def _descendants(pid: int) -> dict[int, str]:
    """Processes below one, zombies left out, and their commands."""
    above: dict[int, int] = {}
    for place in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = place.read_text().rpartition(")")[2].split()[:2]
            if state not in "ZX":
                above[int(place.parent.name)] = int(parent)
    found, new = set[int](), {pid}
    while new:
        new = {child for child, parent in above.items() if parent in new} - found
        found |= new
    return {each: _command(each) for each in found}


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return f"{pid} " + Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:120]
    return str(pid)


def _begin(words: Sequence[str], folder: Path, tell: int, own: int, number: int, *, fresh: bool) -> NoReturn:
    """Become the command; comes back to nobody."""
    try:
        os.setsid()
        os.chdir(folder / "work")
        for stream, name in ((0, os.devnull), (1, str(folder / "stdout")), (2, str(folder / "stderr"))):
            place = os.open(name, os.O_RDONLY if stream == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(place, stream)
            os.close(place)
        own_folders = {"TMPDIR": "tmp", "XDG_CACHE_HOME": "cache"}
        os.environ.update({name: str(folder / each) for name, each in own_folders.items()})
        os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "src"), str(ROOT), str(folder / "work")])
        if fresh:
            os.set_inheritable(tell, True)
            told = map(str, (tell, own, number))
            os.execv(sys.executable, [sys.executable, "-m", "tests.kill.launch", *told, *words])  # noqa: S606
        sys.path.insert(0, str(folder / "work"))
        _become(words, tell, own, number)
    finally:
        os._exit(99)


def _become(words: Sequence[str], tell: int, own: int, number: int) -> NoReturn:
    """`python -m bitwright`, which tells of the files it touches, and sends itself a signal before one of them."""
    _listen(tell, own, number)
    tempfile.tempdir = None
    sys.argv = ["bitwright", *words]
    code: Any = 0
    try:
        runpy.run_module("bitwright", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    threading._shutdown()  # type: ignore[attr-defined]  # as the interpreter ends
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _listen(tell: int, own: int, number: int) -> None:
    process, count = os.getpid(), 0

    def heard(event: str, told: tuple[Any, ...]) -> None:
        nonlocal count
        if event not in TOUCHING and not (event == "open" and _writes(told)):
            return
        if os.getpid() != process:  # a worker's files are its own
            return
        count += 1  # before the signal, whose handler touches files too
        if count == own + 1:
            os.kill(process, number)
        with contextlib.suppress(OSError):
            os.write(tell, b".")

    sys.addaudithook(heard)


def _writes(told: tuple[Any, ...]) -> bool:
    return bool(len(told) > 2 and isinstance(told[2], int) and told[2] & WRITING)


if __name__ == "__main__":
    _become(sys.argv[4:], *map(int, sys.argv[1:4]))
