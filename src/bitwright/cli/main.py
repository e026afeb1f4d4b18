"""`bitwright`: signals are heeded and threads bounded, then the command line is imported and runs.

Here is the outermost guard: nothing leaves as a traceback, neither of an import nor of a command.
"""

import os
import sys
import threading
from typing import Any

from bitwright.cli.failures import FAILURES
from bitwright.cli.interrupts import INTERRUPTS


def main() -> None:
    """Run the command line."""
    INTERRUPTS.heed()
    _open_streams()
    threading.excepthook = FAILURES.in_thread
    try:
        from bitwright.cli.threads import bound_threads

        bound_threads(os.environ)
        from bitwright.cli.verbs import app

        app(prog_name="bitwright")
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # networks, metrics and loaders are other people's code, and may raise anything
        sys.exit(FAILURES.unforeseen(error))
    finally:
        INTERRUPTS.working = False


def _open_streams() -> None:
    """Standard streams that were closed before are open to nowhere: no file of ours takes their numbers."""
    while (found := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(found)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")


def __getattr__(name: str) -> Any:
    """`app` is imported when it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bitwright.cli.verbs import app

    return app
