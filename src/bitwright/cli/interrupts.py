"""Ctrl-C, SIGTERM and the end of the terminal: one line and exit code 130, 143 or 129, whenever they come.

While a command works, they raise KeyboardInterrupt in the main thread, which what keeps results (searches, trainings,
sweeps) catches. Not while something is imported: C++ that meets a Python exception there aborts the process (torch,
numba). Then, and before a command works, the process ends at once, because there is nothing to keep; or, where there
is, the interrupt waits for the end of the import. One that was swallowed where nothing can be raised (a finalizer)
comes again.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from bitwright import scratch
from bitwright.processes import INTERRUPTING

WORDS = {signal.SIGINT: "interrupted"} | {number: "terminated" for number in INTERRUPTING if number != signal.SIGINT}
AGAIN_SECONDS = 0.05
SHOWN = "\r\x1b[2K\x1b[?25h"  # a terminal's line is cleared of a bar, which hides the cursor
IMPORTS = "<frozen importlib._bootstrap>"


Stamp = tuple[int, int] | None
"""What tells a file from one that takes its place; None where there is none."""


class Interrupts:
    """What has come so far, whether a command works, whether it has something to keep, and what it is to write."""

    def __init__(self) -> None:
        self.last = signal.SIGINT
        self.working = self.keeps = self.came = False
        self._before: dict[Path, Stamp] = {}

    def expect(self, *places: Path | None) -> None:
        """Remember what is at places that the command is to write to."""
        self._before.update({place: _stamp(place) for place in places if place is not None})

    def forget(self) -> None:
        """Another command begins."""
        self._before.clear()

    @property
    def written(self) -> str:
        """What of the places has been written to since."""
        new = [str(place) for place, before in self._before.items() if _stamp(place) not in (None, before)]
        if not new:
            return "nothing was written"
        return f"{' and '.join(new)} {'was' if len(new) == 1 else 'were'} written before that"

    @property
    def word(self) -> str:
        """What happened: interrupted, or terminated."""
        return WORDS[self.last]

    @property
    def code(self) -> int:
        """The exit code that shells know the last signal by."""
        return 128 + self.last

    def heed(self) -> None:
        """Take over these signals, unless whoever started this process has them ignored."""
        for number in WORDS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._come)
        sys.unraisablehook = self._swallowed

    @contextlib.contextmanager
    def keeping(self) -> Iterator[None]:
        """While a command has results that outlive an interrupt, or processes of its own to end."""
        self.keeps = True
        try:
            yield
        finally:
            self.keeps = False

    def _come(self, number: int, frame: FrameType | None) -> None:
        self.last, self.came = signal.Signals(number), True
        importing = _importing(frame)
        if importing and self.keeps:
            self._again()
        elif importing or not self.working:
            with contextlib.suppress(OSError):  # of a terminal that is gone
                sys.stderr.write(f"{SHOWN if sys.stderr.isatty() else ''}bitwright: {self.word}; {self.written}\n")
                sys.stderr.flush()
            scratch.remove_all()
            os._exit(self.code)
        else:
            raise KeyboardInterrupt

    def _swallowed(self, told: Any) -> None:
        if issubclass(told.exc_type, KeyboardInterrupt):
            self._again()
        else:
            sys.__unraisablehook__(told)

    def _again(self) -> None:
        """The same signal, a little later."""
        main = threading.main_thread().ident
        assert main is not None
        timer = threading.Timer(AGAIN_SECONDS, signal.pthread_kill, (main, self.last))
        timer.daemon = True
        timer.start()


def _stamp(place: Path) -> Stamp:
    try:
        status = place.stat()
    except (OSError, ValueError):
        return None
    return status.st_ino, status.st_mtime_ns


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename == IMPORTS:
            return True
        frame = frame.f_back
    return False


INTERRUPTS = Interrupts()
"""Of this process."""
