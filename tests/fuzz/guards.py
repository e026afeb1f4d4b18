"""What a case may not do: raise what is no refusal, take more than 20 seconds or 2 GB, or run what a file says.

A case is run in this process. What is watched for code are Python's own audit events (PEP 578): whatever executes a
code object, unpickles, imports, starts a process, loads a library or opens a connection passes there, and whatever
writes to a file, which is allowed in the case's own folders and is stopped elsewhere. A module that bitwright imports by
a name that it has at run time is a finding too, unless it is its own or one of a plug-in.
"""

import contextlib
import dataclasses
import os
import resource
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from bitwright.errors import InputError

SECONDS = 20.0
BYTES = 2 << 30
FORBIDDEN = frozenset(
    {"os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "pickle.find_class", "marshal.load",
     "socket.connect", "socket.getaddrinfo", "ctypes.dlopen", "webbrowser.open", "code.__new__"}
)  # fmt: skip
HOMES = tuple(
    {
        str(Path(place).resolve())
        for place in (*sysconfig.get_paths().values(), sys.base_prefix, Path(__file__).parents[2])
    }
)


MAKERS = (
    "/dataclasses.py",
    "/collections/__init__.py",
    "/sqlalchemy/util/langhelpers.py",
    "/attr/_make.py",
    "/typing.py",
)
"""Who makes methods of classes by executing text of its own."""


WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
CHANGES = {
    "os.rename": 2,
    "os.remove": 1,
    "os.mkdir": 1,
    "os.rmdir": 1,
    "os.truncate": 1,
    "os.link": 2,
    "os.symlink": 2,
}
"""Events that change files, and how many of what they tell are paths."""
SOURCES = tuple(str(Path(__file__).resolve().parents[2] / each) for each in ("src", "tests"))
IMPORTING = ("<frozen importlib", "/importlib/", "/runpy.py")
IMPORTERS = ("/bitwright/__init__.py", "/networks/__init__.py", "/bitwright/registry.py", "/sweep/extra.py")
"""Where bitwright imports by names of its own, and plug-ins that are installed."""


OUR_OWN = [("subprocess.Popen", ("uname", ["uname", "-p"])), ("ctypes.dlopen", ("libc.so.6",))]
"""Python's `platform` asks for the processor's name, `bitwright.files` for the system's exchange of two names."""


class Hang(BaseException):
    """A case that took too long."""


@dataclasses.dataclass
class Seen:
    """What a case did: how it ended, and what it executed.

    Attributes
    ----------
    kind : str
        `read`, `refused`, or what is a finding: `traceback`, `hang`, `memory`, `code`, `sentence`.
    said : str
        The refusal, or what is wrong.
    error : BaseException or None
        What was raised.
    seconds : float
        It took.
    """

    kind: str
    said: str = ""
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def is_finding(self) -> bool:
        """Whether it may not be."""
        return self.kind not in ("read", "refused")


class _Sentinel:
    """Listens to Python's audit events while a case runs; a hook cannot be taken away."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.own: tuple[str, ...] = ()
        self.armed = self.there = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[str]]:
        if not self.there:
            sys.addaudithook(self._heard)
            self.there = True
        own = [os.getcwd(), os.environ.get("XDG_CACHE_HOME", os.getcwd())]  # noqa: PTH109
        scratch = f"{os.path.realpath(tempfile.gettempdir())}/.scratch."
        self.own = (scratch, *(f"{os.path.realpath(each)}/" for each in own))
        self.events, self.armed = [], True
        try:
            yield self.events
        finally:
            self.armed = False

    def _heard(self, event: str, told: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in FORBIDDEN and (event, told[:2]) not in OUR_OWN:
            self.events.append(f"{event} {str(told)[:100]}")
        elif event == "exec" and isinstance(told[0], CodeType) and not _is_installed(told[0].co_filename):
            caller = sys._getframe(1).f_code.co_filename
            if not caller.endswith(MAKERS) and "/numba/" not in caller and not _is_importing():
                self.events.append(f"exec {told[0].co_filename} by {caller}")
        elif event == "exec" and isinstance(told[0], CodeType) and told[0].co_name == "<module>":
            if (name := _imported_by_name()) is not None:
                self.events.append(f"import of {name}")
        elif event in CHANGES or (event == "open" and isinstance(told[2], int) and told[2] & WRITING):
            for path in told[: CHANGES.get(event, 1)]:
                if not self._may_write(path):
                    self.events.append(f"{event} {path!r}"[:200])
                    raise PermissionError(f"{event} {path!r}, which is no file of the case's")

    def _may_write(self, path: Any) -> bool:
        if isinstance(path, int):  # a file that is open
            return True
        place = os.path.realpath(os.fsdecode(path))
        return f"{place}/".startswith(self.own) or "/__pycache__" in place or place == os.devnull


def _is_installed(file: str) -> bool:
    return file.startswith(("<frozen", *HOMES))


def _imported_by_name() -> str | None:
    """The file of ours that has a module imported by a name in a variable, if that is how it comes to be imported."""
    frame: FrameType | None = sys._getframe(2)
    dynamic, seen = False, False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(IMPORTING[0]) or any(each in file for each in IMPORTING[1:]):
            seen = True
            dynamic = dynamic or (frame.f_code.co_name in ("import_module", "run_module", "load"))
        elif seen:
            break
        frame = frame.f_back
    if frame is None or not dynamic:
        return None
    if not frame.f_code.co_filename.startswith(SOURCES) or frame.f_code.co_filename.endswith(IMPORTERS):
        return None
    return f"by {frame.f_code.co_filename}:{frame.f_lineno}"


def _is_importing() -> bool:
    """Whether an installed module is being imported, which may execute what it likes."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        if frame.f_code.co_filename == "<frozen importlib._bootstrap>":
            return True
        frame = frame.f_back
    return False


SENTINEL = _Sentinel()


def bound_memory() -> None:
    """This process may take `BYTES` more than it has now, from here on."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, hard))


def watched(case: Callable[[], object], seconds: float = SECONDS) -> Seen:
    """Run a case and say how it ended."""
    began = time.monotonic()
    signal.signal(signal.SIGALRM, _late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    seen = Seen(kind="read")
    with SENTINEL.listening() as events:
        try:
            case()
        except InputError as error:
            seen = _refused(error)
        except Hang as error:
            seen = Seen(kind="hang", said=f"over {seconds:g} s", error=error)
        except MemoryError as error:
            seen = Seen(kind="memory", said="over 2 GB", error=error)
        except BaseException as error:
            out = "DefaultCPUAllocator" in str(error) or "can't allocate memory" in str(error)
            seen = Seen(
                kind="memory" if out else "traceback", said=f"{type(error).__name__}: {error}"[:300], error=error
            )
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    if events:
        seen = Seen(kind="code", said="; ".join(events[:3]))
    seen.seconds = time.monotonic() - began
    return seen


def _refused(error: InputError) -> Seen:
    """A refusal is one line that a terminal can show, and no longer than a screen."""
    said = str(error)
    if not said.strip() or "\n" in said.strip() or len(said) > 4000:
        return Seen(kind="sentence", said=f"no sentence: {said[:200]!r} ({len(said)} characters)", error=error)
    return Seen(kind="refused", said=said)


def _late(number: int, frame: FrameType | None) -> None:
    raise Hang
