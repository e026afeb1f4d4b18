"""Set-up of a local worker, which Dask runs before any task."""

from typing import Any

from bitwright import processes


def dask_setup(worker: Any) -> None:
    """End with the process that leads, and leave its interrupts to it."""
    del worker
    processes.begin()
