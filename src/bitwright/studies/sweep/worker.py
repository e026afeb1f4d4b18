"""Set-up of a local worker, which Dask runs before any task: Ctrl-C is for the process that leads."""

import signal
from typing import Any


def dask_setup(worker: Any) -> None:
    """Ignore interrupts; whoever leads ends its workers."""
    del worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)
