"""While a command works: whatever is printed goes to stderr, and work that takes over two seconds shows how far it is.

On a terminal a bar; elsewhere a plain line when a stage has gone on for two seconds, and then one every ten, also while
the stage reports nothing. Both say the same of a stage (`bitwright.cli.stage`).
"""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from bitwright.cli.interrupts import INTERRUPTS
from bitwright.cli.stage import Stage, kind
from bitwright.cli.telling import tell
from bitwright.shown import printable

if TYPE_CHECKING:
    from bitwright.tasks.evaluate import Progress

PATIENCE_SECONDS = 2.0
LINE_EVERY_SECONDS = 8.0  # so that ten seconds are kept by a thread that a busy machine wakes late, and at the end
LOOK_EVERY_SECONDS = 0.25


@contextlib.contextmanager
def working() -> Iterator["Progress"]:
    """A progress to report to; stdout is left to the result."""
    INTERRUPTS.working = True
    with contextlib.redirect_stdout(sys.stderr):
        shown = _Bar() if sys.stderr.isatty() else _Lines()
        try:
            yield shown
        finally:
            shown.close()


class _Lines:
    """Plain lines, which a thread of their own writes: nobody has to report for one to come."""

    def __init__(self) -> None:
        self.began = self.said = time.monotonic()
        self.stage = Stage(text="starting", began=self.began)
        self.told = ""
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self.thread.start()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        with self.lock:
            if kind(stage) != self.stage.kind:
                self.stage = Stage(text=stage, began=now)
            self.stage.report(stage, done, total, now)

    def line(self, now: float) -> str:
        """What is to be said now; nothing where it is too early."""
        with self.lock:
            fresh = self.stage.kind != self.told and now - self.stage.began >= PATIENCE_SECONDS
            if not (fresh or now - self.said >= LINE_EVERY_SECONDS) or now - self.began < PATIENCE_SECONDS:
                return ""
            self.said, self.told = now, self.stage.kind
            return f"{self.stage.text}: {self.stage.figures(now)}"

    def _watch(self) -> None:
        while not self.ended.wait(LOOK_EVERY_SECONDS):
            said = self.line(time.monotonic())
            if said:
                tell(said)

    def close(self) -> None:
        """No line comes any more."""
        self.ended.set()
        self.thread.join()


class _Bar:
    """A rich progress bar that appears after two seconds."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
        from rich.text import Text

        class Figures(ProgressColumn):
            """What a stage's figures are at this moment."""

            def render(self, task: Task) -> Text:
                return Text(task.fields["stage"].figures(time.monotonic()))

        self.progress: Any = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            Figures(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.task: Any = None
        self.stage = Stage(text="", began=time.monotonic())
        self.timer = threading.Timer(PATIENCE_SECONDS, self.progress.start)
        self.timer.daemon = True
        self.timer.start()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now, stage = time.monotonic(), printable(stage)
        if self.task is None or kind(stage) != self.stage.kind:
            if self.task is not None:
                self.progress.remove_task(self.task)
            self.stage = Stage(text=stage, began=now)
            self.task = self.progress.add_task(stage, total=None, stage=self.stage)
        self.stage.report(stage, done, total, now)
        self.progress.update(self.task, completed=done, total=total or None, description=stage)

    def close(self) -> None:
        """Take it off the screen."""
        self.timer.cancel()
        self.timer.join()
        self.progress.stop()
