"""While a command works: whatever is printed goes to stderr, and work that takes over two seconds shows how far it is.

On a terminal a bar with the time left; elsewhere a plain line now and then. What a stage says in parentheses may change
while it goes on.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bitwright.tasks.evaluate import Progress

PATIENCE_SECONDS = 2.0
LINE_EVERY_SECONDS = 10.0


@contextlib.contextmanager
def working() -> Iterator["Progress"]:
    """A progress to report to; stdout is left to the result."""
    with contextlib.redirect_stdout(sys.stderr):
        shown = _Bar() if sys.stderr.isatty() else _Lines()
        try:
            yield shown
        finally:
            shown.close()


class _Lines:
    """Plain lines after two seconds: one for every stage of unknown length, else one every ten seconds."""

    def __init__(self) -> None:
        self.stage = ""
        self.began = self.said = time.monotonic()

    def __call__(self, stage: str, done: int, total: int) -> None:
        now = time.monotonic()
        if _kind(stage) != _kind(self.stage):
            self.began = now
        if stage != self.stage:
            self.stage = stage
            if not total and now - self.said > PATIENCE_SECONDS:
                self.said = now
                sys.stderr.write(f"{stage} ...\n")
        if now - self.said < LINE_EVERY_SECONDS or done in (0, total):
            return
        self.said = now
        left = (now - self.began) * (total - done) / done
        sys.stderr.write(f"{stage}: {done:,} of {total:,}, about {left:,.0f} s left\n")

    def close(self) -> None:
        """Nothing is open."""


class _Bar:
    """A rich progress bar that appears after two seconds."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self.progress: Any = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self.task: Any = None
        self.stage = ""
        self.timer = threading.Timer(PATIENCE_SECONDS, self.progress.start)
        self.timer.daemon = True
        self.timer.start()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if _kind(stage) != _kind(self.stage):
            if self.task is not None:
                self.progress.remove_task(self.task)
            self.task = self.progress.add_task(stage, total=total or None)
        self.stage = stage
        self.progress.update(self.task, completed=done, description=stage)

    def close(self) -> None:
        """Take it off the screen."""
        self.timer.cancel()
        self.timer.join()
        self.progress.stop()


def _kind(stage: str) -> str:
    """A stage without what changes while it goes on."""
    return stage.partition(" (")[0]
