"""Candidates judged in parallel processes, one thread each, so that losses do not depend on how many there are.

Processes are forked, and so share the network and the samples; each has a judge of its own with its own prefixes. A
candidate's loss is a function of the candidate alone, so that what a process that died had not judged is judged by new
ones. On a GPU, or where processes cannot be forked, one judge works in this process.
"""

import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from bitwright import processes
from bitwright.errors import InputError
from bitwright.methods.lpq.fields import Fields
from bitwright.methods.lpq.search.judge import Candidate, Judge

Losses = Callable[[Sequence[Candidate]], Iterator[float]]
"""Candidates -> their losses, in order, as they come."""
DEATHS = 3  # in a row, without a candidate judged between them, before it is said that there is no use

_make: list[Callable[[], Judge]] = []
_judge: list[Judge] = []  # of this process, made when it is first asked


@contextmanager
def judges(make: Callable[[], Judge], *, workers: int, forked: bool) -> Iterator[Losses]:
    """A way of judging candidates; `make` is called once per process.

    Raises
    ------
    InputError
        If processes die again and again, which most often means that there is no memory left for them.
    """
    if not forked or "fork" not in multiprocessing.get_all_start_methods():
        judge = make()
        yield lambda candidates: (judge.loss(each) for each in candidates)
        return
    crew = _Crew(make, workers)
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # forking with threads about: each child uses one of its own
        try:
            yield crew.losses
        finally:
            crew.end()


class _Crew:
    """Processes that judge; all of them are replaced when one has died."""

    def __init__(self, make: Callable[[], Judge], workers: int) -> None:
        self.make, self.workers = make, workers
        self.deaths = 0
        self.pool = self._new()

    def losses(self, candidates: Sequence[Candidate]) -> Iterator[float]:
        found: dict[int, float] = {}
        flying: dict[int, Future[float]] = {}
        for i in range(len(candidates)):
            while i not in found:
                try:
                    if i not in flying:
                        flying = self._submitted(
                            {j: candidates[j] for j in range(i, len(candidates)) if j not in found}
                        )
                    found[i] = flying[i].result()
                    self.deaths = 0
                except BrokenProcessPool:
                    judged = {j: each.result() for j, each in flying.items() if _is_judged(each)}
                    found, flying = found | judged, {}
                    self._replace(some=bool(judged))
            yield found.pop(i)

    def end(self) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def _submitted(self, candidates: dict[int, Candidate]) -> dict[int, Future[float]]:
        with processes.starting():
            return {i: self.pool.submit(_loss, dict(each)) for i, each in candidates.items()}

    def _replace(self, *, some: bool) -> None:
        """New processes for those that are no more, which had judged `some` candidates since the last death."""
        self.end()
        self.deaths = 1 if some else self.deaths + 1
        if self.deaths >= DEATHS:
            raise InputError(
                f"processes that judged candidates died {DEATHS} times in a row, most likely for lack of memory; "
                "use fewer --workers or a smaller --calibration, and --resume if there is a --log"
            )
        self.pool = self._new()

    def _new(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(self.workers, mp_context=context, initializer=_begin, initargs=(self.make,))


def _is_judged(each: "Future[float]") -> bool:
    return each.done() and not each.cancelled() and each.exception() is None


def _begin(make: Callable[[], Judge]) -> None:
    processes.begin()
    torch.set_num_threads(1)
    _make[:], _judge[:] = [make], []


def _loss(candidate: dict[str, Fields]) -> float:
    if not _judge:
        _judge[:] = [_make[0]()]
    return _judge[0].loss(candidate)
