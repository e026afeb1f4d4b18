"""Processes that bitwright starts: they end with the process that started them, and leave its interrupts to it.

Whoever starts some does so in `starting`, and what runs in them calls `begin` first. Whatever ends the leading process,
SIGKILL too, ends those: the kernel sees to it on Linux, a thread that watches the parent elsewhere. Ctrl-C, which a
terminal sends to all of them, is the leader's, who ends the others; so is the end of the terminal.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from bitwright import scratch

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

POSIX = os.name == "posix"
INTERRUPTING = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if POSIX else ()))
"""Signals by which somebody asks a process to come to an end."""
PR_SET_PDEATHSIG = 1  # of Linux' prctl
_ENDING = f"""
import ctypes, os, sys
if sys.platform == "linux":
    try:
        ctypes.CDLL(None).prctl({PR_SET_PDEATHSIG}, 9)
    except (OSError, AttributeError):
        pass
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
"""
"""Other code ends with the process that started it, where the kernel sees to it."""
_groups: "list[subprocess.Popen[str]]" = []


@contextlib.contextmanager
def starting() -> Iterator[None]:
    """While processes are started: interrupts wait, here and there, until each side can do with them what it should."""
    if not POSIX:
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # if it were started inside, it would let them through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def python(code: str, *, given: str, folder: Path, seconds: float) -> "subprocess.CompletedProcess[str]":
    """Run code in another Python, in `folder`, where its temporary files go too; `given` is what it reads.

    It ends with this process, and what it has started ends when this one is interrupted: they are a group.

    Raises
    ------
    subprocess.TimeoutExpired
        If it takes longer.
    """
    command = [sys.executable, "-c", _ENDING + code, str(os.getpid())]
    with contextlib.ExitStack() as stack:
        with starting():  # so that none runs that is not among those to end
            started = subprocess.Popen(  # noqa: S603  # this Python, and code of bitwright's
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={**os.environ, "TMPDIR": str(folder)},
                text=True,
                errors="replace",
                process_group=0 if POSIX else None,
            )
            _groups.append(started)
            stack.callback(_end_group, started)
        said, complained = started.communicate(given, timeout=seconds)
    return subprocess.CompletedProcess(command, started.returncode, said, complained)


def _end_group(started: "subprocess.Popen[str]") -> None:
    with started:
        _kill_group(started)
    _groups.remove(started)


def _kill_group(started: "subprocess.Popen[str]") -> None:
    if started.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            if POSIX:
                os.killpg(started.pid, signal.SIGKILL)
            else:
                started.kill()


def end_at_once(number: int, _: object = None) -> None:
    """What a started process does on a signal where it has started others: all end, and what they wrote goes."""
    for started in _groups:
        _kill_group(started)  # and no more: what is interrupted may be waiting for it
    scratch.remove_all()
    os._exit(128 + number)


def begin() -> None:
    """What a started process does before anything else, in its main thread."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        _end_with(parent)
    for number in INTERRUPTING:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    if POSIX:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTING)


def _end_with(parent: "BaseProcess") -> None:
    """End this process when `parent` does, or now, if it has already."""
    if not (sys.platform == "linux" and _kernel_ends_it()):
        threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()
    elif os.getppid() != parent.pid:
        os._exit(1)


def _kernel_ends_it() -> bool:
    """Whether the kernel kills this process when the thread that started it is no more."""
    try:
        return ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL)) == 0
    except (OSError, AttributeError):  # a C library without it
        return False


def _watch(parent: "BaseProcess") -> None:
    parent.join()
    os._exit(1)
