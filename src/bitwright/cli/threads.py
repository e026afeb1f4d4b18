"""How many threads torch, OpenMP and numba take, decided once, before any of them is imported.

As many as there are cores for this process: of those that it may run on, hyperthreads of one core counted once, and no
more than a container's quota. Threads that wait sleep: on a busy machine those that spin take the time that the others
need. What the environment says goes before (OMP_NUM_THREADS, NUMBA_NUM_THREADS, OMP_WAIT_POLICY, ...).
"""

import contextlib
import math
import os
from collections.abc import MutableMapping
from pathlib import Path

QUOTA = Path("/sys/fs/cgroup/cpu.max")
SIBLINGS = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
ASLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
"""Of OpenMP in general, of GNU's, which torch brings, and of LLVM's and Intel's."""


def bound_threads(environment: MutableMapping[str, str]) -> None:
    """Set what `environment` does not say.

    Examples
    --------
    >>> environment = {"OMP_NUM_THREADS": "3"}
    >>> bound_threads(environment)
    >>> environment["NUMBA_NUM_THREADS"], environment["OMP_WAIT_POLICY"]
    ('3', 'PASSIVE')
    """
    environment.setdefault("OMP_NUM_THREADS", str(available_cores()))
    first = environment["OMP_NUM_THREADS"].split(",")[0].strip()  # OpenMP takes a list, a number per level
    if first.isdecimal() and int(first):
        environment.setdefault("NUMBA_NUM_THREADS", first)
    for name, value in ASLEEP.items():
        environment.setdefault(name, value)


def available_cores() -> int:
    """Cores that this process may use, at least 1."""
    try:
        allowed = os.sched_getaffinity(0)
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1
    return max(1, min(len({_core(number) for number in allowed}), _quota()))


def _core(number: int) -> str:
    """A name of the core that a processor is a thread of."""
    with contextlib.suppress(OSError):
        return Path(SIBLINGS.format(number)).read_text()
    return str(number)


def _quota() -> int:
    """Processors that the control group may keep busy; as many as there are where it has no limit."""
    with contextlib.suppress(OSError, ValueError):
        limit, period = QUOTA.read_text().split()
        return max(1, math.ceil(int(limit) / int(period)))
    return os.cpu_count() or 1
