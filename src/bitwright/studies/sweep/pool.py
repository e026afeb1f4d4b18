"""Workers: processes of this computer, or a Dask cluster; both are `dask.distributed`, and the code is the same.

A task whose worker died is given to another one. If that happens again, its points are tried alone, one after another
and with nothing else under way, so that what kills workers is found, recorded as failed, and costs the others nothing.
"""

import asyncio
import collections
import concurrent.futures
import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitwright import processes, scratch
from bitwright.errors import BitwrightError, InputError
from bitwright.studies.sweep.evaluate import described, evaluated, failed, versions
from bitwright.studies.sweep.extra import distributed
from bitwright.studies.sweep.points import Point, Record
from bitwright.studies.sweep.study import Study

CONNECT_SECONDS = 10
WITHOUT_WORKERS_SECONDS = 240  # a worker that died is started again, which a busy machine takes a minute for
LOOK_EVERY_SECONDS = 5
STARTS = 3
AHEAD = 2  # tasks per worker that are under way, so that none waits for the one that leads
LOCAL = {
    "distributed.scheduler.allowed-failures": 1,
    "distributed.scheduler.worker-saturation": 1.0,  # a task is blamed for a worker's death only where it ran
    "distributed.comm.timeouts.connect": "30s",
    "distributed.deploy.lost-worker-timeout": "120s",  # or a worker that starts again is ended while it works
    "distributed.worker.memory.terminate": False,
    "distributed.worker.profile.enabled": False,  # what watches workers takes from two cores what they compute with
    # Arrays of every search are as large again: their memory is not given back to the system in between.
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**28,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
    "distributed.admin.system-monitor.interval": "10s",
    "distributed.admin.tick.interval": "1s",
}

Task = Sequence[tuple[int, Point]]
"""Numbered points that share network, method and options."""


class Pool:
    """Workers that evaluate points."""

    def __init__(self, client: Any, name: str, restart: Callable[[], object] = lambda: None) -> None:
        self.client, self.name, self._restart = client, name, restart
        self._looked, self._count = 0.0, 1
        self._prefix = f"bitwright-{uuid.uuid4().hex[:8]}"
        self._submitted = 0

    @property
    def workers(self) -> int:
        """How many there are now, at least one."""
        if time.monotonic() - self._looked > LOOK_EVERY_SECONDS:
            self._looked = time.monotonic()
            with self._connected():
                self._count = max(1, len(self.client.nthreads()))
        return self._count

    def inputs(self, study: Study) -> tuple[dict[str, str], dict[str, bool]]:
        """What the study's networks and data are, and which networks have shapes only, as a worker sees them.

        Raises
        ------
        InputError
            What is wrong with them, workers without bitwright, or with other versions than here.
        """
        here = versions()
        with self._connected():
            found = self._asked(versions)
        for address, there in found.items():
            if there != here:
                name = next(name for name in {**here, **there} if here.get(name) != there.get(name))
                raise InputError(
                    f"the worker {address} has {name} {there.get(name, 'not installed')} and this computer has "
                    f"{here.get(name, 'none')}; results would differ: install the same"
                )
        future = self.client.submit(described, study, key=self._key(), pure=False)
        self._wait([future])
        try:
            described_there: tuple[dict[str, str], dict[str, bool]] = future.result()
        except BitwrightError:
            raise
        except Exception as error:
            raise BitwrightError(
                f"the networks cannot be loaded by {self.name}: {type(error).__name__}: {error}"
            ) from error
        return described_there

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Whatever is raised because the cluster is gone, as one sentence."""
        try:
            yield
        except (concurrent.futures.CancelledError, asyncio.CancelledError, OSError, TimeoutError):
            raise self._gone("went away") from None

    def _asked(self, function: Any) -> Mapping[str, dict[str, str]]:
        try:
            found: Mapping[str, dict[str, str]] = self.client.run(function)
        except ModuleNotFoundError as error:
            raise InputError(
                f"the workers of {self.name} have no {error.name}; install bitwright[sweep] there"
            ) from None
        return found

    def run(self, study: Study, tasks: Sequence[Task]) -> Iterator[tuple[Task, list[Record]]]:
        """Each task's rows, as they come.

        Raises
        ------
        InputError
            If the cluster goes away, or has no workers for a minute.
        """
        waiting, suspects = collections.deque(tasks), collections.deque[Task]()
        flying: dict[Any, Task] = {}
        try:
            while waiting or suspects or flying:
                while waiting and len(flying) < AHEAD * self.workers:
                    task = waiting.popleft()
                    flying[self._submit(study, task)] = task
                if not flying:
                    task = suspects.popleft()
                    flying[self._submit(study, task)] = task
                for future in self._wait(list(flying)):
                    task = flying.pop(future)
                    records = self._records(study, future, task)
                    future.release()
                    if records is None:
                        suspects.extend([each] for each in task)
                    else:
                        yield task, records
        finally:
            with contextlib.suppress(Exception):
                self.client.cancel(list(flying), force=True)

    def _submit(self, study: Study, task: Task) -> Any:
        return self.client.submit(evaluated, study, [point for _, point in task], key=self._key(), pure=False)

    def _key(self) -> str:
        self._submitted += 1
        return f"{self._prefix}-{self._submitted}"

    def _wait(self, futures: list[Any]) -> list[Any]:
        """Those that are done, at least one."""
        began = time.monotonic()
        while True:
            with (
                self._connected(),
                self.client.as_current(),
                contextlib.suppress(TimeoutError, distributed().TimeoutError),
            ):
                distributed().wait(futures, timeout=LOOK_EVERY_SECONDS, return_when="FIRST_COMPLETED")
            done = [future for future in futures if future.done()]
            if self.client.status != "running" or any(future.status in ("cancelled", "lost") for future in done):
                raise self._gone("went away")
            if done:
                return done
            with self._connected():
                if self.client.nthreads():
                    began = time.monotonic()
                self._restart()  # what died while it was started again
            if time.monotonic() - began > WITHOUT_WORKERS_SECONDS:
                raise self._gone(f"has had no workers for {WITHOUT_WORKERS_SECONDS} seconds")

    def _gone(self, what: str) -> InputError:
        return InputError(f"{self.name} {what}; finished trials are kept, and the same command goes on from there")

    def _records(self, study: Study, future: Any, task: Task) -> list[Record] | None:
        """A task's rows; None if its points are to be tried alone."""
        error = future.exception() if future.status == "error" else None
        if error is None:
            found: list[Record] = future.result()
            return found
        if len(task) > 1:
            return None
        if isinstance(error, distributed().scheduler.KilledWorker):
            reason = (
                f"every worker that tried it died, {error.allowed_failures + 1} in all; most likely for lack of memory"
            )
        else:
            reason = f"{type(error).__name__}: {error}"
        return [failed(study, task[0][1], reason)]


@contextlib.contextmanager
def pool(workers: int, dask: Any = None) -> Iterator[Pool]:
    """`workers` processes here, or those of the scheduler at address `dask` (or of a client, as notebooks have it).

    Raises
    ------
    InputError
        A scheduler that cannot be reached, or that has no workers.
    """
    library = distributed()
    if dask is None:
        with _local(workers) as crew:
            yield crew
        return
    if not isinstance(dask, str):
        yield Pool(dask, "the cluster")
        return
    with library.utils.silence_logging_cmgr(logging.CRITICAL), _client(f"the Dask cluster at {dask}", dask) as crew:
        yield crew


@contextlib.contextmanager
def _client(name: str, dask: str) -> Iterator[Pool]:
    library = distributed()
    try:
        client = library.Client(dask, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, library.TimeoutError) as error:
        raise InputError(f"{name} cannot be reached ({_short(error)}); start it, or leave --dask out") from None
    with client:
        try:
            client.wait_for_workers(1, timeout=CONNECT_SECONDS)
        except (TimeoutError, library.TimeoutError):
            raise InputError(f"{name} has no workers; start some: dask worker {dask}") from None
        yield Pool(client, name)


@contextlib.contextmanager
def _local(workers: int) -> Iterator[Pool]:
    import dask

    library = distributed()
    with (
        scratch.folder() as folder,
        dask.config.set({**LOCAL, "temporary-directory": str(folder)}),
        _cluster(workers, folder) as cluster,
        library.Client(cluster, set_as_default=False) as client,
    ):
        yield Pool(client, "this computer", lambda: cluster.scale(workers))


def _cluster(workers: int, folder: Path) -> Any:
    """Processes of this computer; those that die while they start are started again."""
    library = distributed()
    for again in reversed(range(STARTS)):
        try:
            with processes.starting():
                return library.LocalCluster(
                    n_workers=workers,
                    threads_per_worker=1,
                    dashboard_address="127.0.0.1:0",  # of whichever port is free
                    memory_limit=0,
                    silence_logs=logging.CRITICAL,
                    local_directory=str(folder),
                    preload=["bitwright.studies.sweep.worker"],
                )
        except (OSError, RuntimeError, library.TimeoutError) as error:
            if not again:
                raise InputError(
                    f"{workers} worker processes cannot be started ({_short(error)}); in a script, call sweep under "
                    'if __name__ == "__main__":, or use fewer --workers'
                ) from None
    raise AssertionError("it was started, or not")


def _short(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
