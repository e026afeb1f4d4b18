"""Processes that bitwright starts: they end with the process that started them, and leave its interrupts to it.

Whoever starts some does so in `starting`, and what runs in them calls `begin` first. Whatever ends the leading process,
SIGKILL too, ends those: the kernel sees to it on Linux, a thread that watches the parent elsewhere. Ctrl-C, which a
terminal sends to all of them, is the leader's, who ends the others; so is the end of the terminal.
"""

import contextlib
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

POSIX = os.name == "posix"
INTERRUPTING = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if POSIX else ()))
"""Signals by which somebody asks a process to come to an end."""
PR_SET_PDEATHSIG = 1  # of Linux' prctl


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
