"""`bitwright`: signals are heeded and threads bounded, then the command line is imported and runs."""

import os
from typing import Any

from bitwright.cli.interrupts import INTERRUPTS


def main() -> None:
    """Run the command line."""
    INTERRUPTS.heed()
    from bitwright.cli.threads import bound_threads

    bound_threads(os.environ)
    from bitwright.cli.verbs import app

    try:
        app(prog_name="bitwright")
    finally:
        INTERRUPTS.working = False


def __getattr__(name: str) -> Any:
    """`app` is imported when it is asked for."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from bitwright.cli.verbs import app

    return app
