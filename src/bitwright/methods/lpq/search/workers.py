"""Candidates judged in parallel processes, one thread each, so that losses do not depend on how many there are.

Processes are forked, and so share the network and the samples; each has a judge of its own with its own prefixes. A
candidate's loss is a function of the candidate alone. On a GPU, or where processes cannot be forked, one judge works in
this process.
"""

import concurrent.futures
import multiprocessing
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager

import torch

from bitwright.errors import InputError
from bitwright.methods.lpq.fields import Fields
from bitwright.methods.lpq.search.judge import Candidate, Judge

Losses = Callable[[Sequence[Candidate]], Iterator[float]]
"""Candidates -> their losses, in order, as they come."""

_judge: list[Judge] = []  # of this process, made when it is first asked


@contextmanager
def judges(make: Callable[[], Judge], *, workers: int, forked: bool) -> Iterator[Losses]:
    """A way of judging candidates; `make` is called once per process.

    Raises
    ------
    InputError
        If a process dies, which most often means that there was no memory left for it.
    """
    if not forked or "fork" not in multiprocessing.get_all_start_methods():
        judge = make()
        yield lambda candidates: (judge.loss(each) for each in candidates)
        return
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # forking with threads about: each child uses one of its own
        context = multiprocessing.get_context("fork")
        with concurrent.futures.ProcessPoolExecutor(
            workers, mp_context=context, initializer=_begin, initargs=(make,)
        ) as pool:
            try:
                yield lambda candidates: _collected(pool, candidates)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _collected(pool: concurrent.futures.ProcessPoolExecutor, candidates: Sequence[Candidate]) -> Iterator[float]:
    try:
        waiting = [pool.submit(_loss, dict(each)) for each in candidates]
        for each in waiting:
            yield each.result()
    except BrokenProcessPool:
        raise InputError(
            "a process that judged candidates died, most likely for lack of memory; "
            "use fewer --workers or a smaller --calibration, and --resume if there is a --log"
        ) from None


def _begin(make: Callable[[], Judge]) -> None:
    torch.set_num_threads(1)
    _ignore_interrupts()
    _judge[:] = [make()]


def _ignore_interrupts() -> None:
    """Ctrl-C is for the process that leads; it ends the others, by SIGTERM where they do not come to an end."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _loss(candidate: dict[str, Fields]) -> float:
    return _judge[0].loss(candidate)
