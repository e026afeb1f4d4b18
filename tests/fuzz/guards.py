"""What a case may not do: raise what is no refusal, take more than 20 seconds or 2 GB, or run what a file says.

A case is run in this process. What is watched for code are Python's own audit events (PEP 578): whatever executes a
code object, unpickles, imports, starts a process, loads a library or opens a connection passes there.
"""

import contextlib
import dataclasses
import resource
import signal
import sys
import sysconfig
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
        self.armed = self.there = False

    @contextlib.contextmanager
    def listening(self) -> Iterator[list[str]]:
        if not self.there:
            sys.addaudithook(self._heard)
            self.there = True
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
        elif event == "import" and str(told[0]).partition(".")[0] in {"toy_hostile", "antigravity", "this"}:
            self.events.append(f"import {told[0]}")


def _is_installed(file: str) -> bool:
    return file.startswith(("<frozen", *HOMES))


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
