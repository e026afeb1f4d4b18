"""What a network's own operators run in, and what is ours: torch's modes see the first only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from bitwright.later import later, torch

if TYPE_CHECKING:
    from bitwright.networks import deferred
else:
    deferred = later("bitwright.networks.deferred")


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """No mode takes what runs within for something that the network does; all values are there."""
    deferred.fill_all()
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        yield


@contextlib.contextmanager
def undisturbed(device: str) -> Iterator[None]:
    """As `unseen`, and nothing is cast."""
    with torch._C.DisableTorchFunction(), torch._C._DisableTorchDispatch():
        if autocast():
            with torch.autocast(device, enabled=False):
                yield
        else:
            yield


@contextlib.contextmanager
def disturbed() -> Iterator[None]:
    """The opposite of `unseen`, within it: for a network that runs inside another one's handler."""
    excluded = torch._C._dispatch_tls_local_exclude_set()
    for key in (torch._C.DispatchKey.Python, torch._C.DispatchKey.PythonTLSSnapshot):
        excluded = excluded.remove(key)
    function = torch._C._EnableTorchFunction()
    try:
        with torch._C._ForceDispatchKeyGuard(torch._C._dispatch_tls_local_include_set(), excluded):
            yield
    finally:
        del function


def autocast() -> bool:
    """Whether torch casts what is multiplied."""
    return bool(torch._C._is_any_autocast_enabled())
