"""What several calibrations of one study have in common, made once: plans that begin alike, ranges, searches.

Outside of `sharing()` nothing is kept. What is kept goes by the very objects that it was made of and by a key that says
how. No network is kept alive by it: a search transforms many copies, and what was made of one goes with it.
"""

import contextlib
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, TypeVar

Made = TypeVar("Made")

_kept: ContextVar[dict[Any, tuple[Sequence[Any], Any]] | None] = ContextVar("kept", default=None)
"""By key and identities: weak references to what has them, the objects themselves where there are none, and what was
made of them."""


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Within this, `once` keeps what it makes."""
    token = _kept.set({})
    try:
        yield
    finally:
        _kept.reset(token)


def once(key: Hashable, of: Sequence[Any], make: Callable[[], Made]) -> Made:
    """What `make` makes, or made before for the same key of the same objects.

    Examples
    --------
    >>> network, made = object(), []
    >>> with sharing():
    ...     for key in ("a", "a", "b"):
    ...         _ = once(key, [network], lambda: made.append(1))
    >>> len(made)
    2
    """
    kept = _kept.get()
    if kept is None:
        return make()
    whole = (key, *map(id, of))
    if whole in kept:
        found: Made = kept[whole][1]
        return found
    made = make()
    kept[whole] = [_held(each, lambda _: kept.pop(whole, None)) for each in of], made
    return made


def _held(one: object, gone: Callable[[Any], Any]) -> Any:
    """A weak reference that calls `gone` before another object can have the same identity; batches have none."""
    try:
        return weakref.ref(one, gone)
    except TypeError:
        return one
