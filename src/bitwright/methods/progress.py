"""How far a calibration is, told to whoever wants to know, from wherever in it something is counted."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import TypeVar

Item = TypeVar("Item")
Tell = Callable[[str, int, int], None]
"""Told (what is going on, done, of how many); 0 of 0 is of unknown length."""

_tell: ContextVar[Tell | None] = ContextVar("tell", default=None)


@contextlib.contextmanager
def reporting(tell: Tell) -> Iterator[None]:
    """Within this, `report` and `reported` tell `tell`."""
    token = _tell.set(tell)
    try:
        yield
    finally:
        _tell.reset(token)


def report(what: str, done: int = 0, total: int = 0) -> None:
    """Tell how far it is, if anyone wants to know."""
    tell = _tell.get()
    if tell is not None:
        tell(what, done, total)


def reported(items: Sequence[Item], what: str) -> Iterator[Item]:
    """The items, each told of as it comes.

    Examples
    --------
    >>> with reporting(lambda *told: print(*told)):
    ...     batches = list(reported(["a", "b"], "ranges"))
    ranges 0 2
    ranges 1 2
    """
    for i, item in enumerate(items):
        report(what, i, len(items))
        yield item


def within(tell: Tell, stage: str) -> Tell:
    """A `Tell` of a stage's details: `stage (detail)`; it tells of the stage at once."""
    tell(stage, 0, 0)
    return lambda what, done, total: tell(f"{stage} ({what})", done, total)
