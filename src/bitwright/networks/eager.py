"""One way of running a module: eagerly, by the same operators whether or not anyone listens.

Torch's fused encoder layer computes other numbers for padded tokens than its parts do, and what `torch.compile` made is
one opaque function: both are switched off for the float reference and for quantized execution alike.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

from bitwright.later import torch

FLEX, DEBUG = "torch.nn.attention.flex_attention", "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"


class _Here(threading.local):
    """Of one thread."""

    passes = 0  # how many passes run


_here = _Here()
_lock = threading.Lock()
_inside = 0  # how many passes run now, in all threads: what torch keeps for the process is put back after the last
_before: contextlib.ExitStack


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Within this, modules run operator by operator; modules that are not in use are not imported for it."""
    global _inside, _before  # noqa: PLW0603
    with _lock:
        if not _inside:
            _before = _switched_off()
        _inside += 1
    _here.passes += 1
    try:
        yield
    finally:
        _here.passes -= 1
        with _lock:
            _inside -= 1
            if not _inside:
                _before.close()


def running_here() -> bool:
    """Whether a pass of this thread's own runs."""
    return _here.passes > 0


def _switched_off() -> contextlib.ExitStack:
    """What puts back the settings of torch that this switches off."""
    stack = contextlib.ExitStack()
    stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
    torch.backends.mha.set_fastpath_enabled(False)
    if "torch._dynamo" in sys.modules:
        stack.enter_context(torch.compiler.set_stance("force_eager"))
    flex = sys.modules.get(FLEX)
    if flex is not None:  # it compiles itself unless it is being debugged
        stack.callback(vars(flex).__setitem__, DEBUG, vars(flex)[DEBUG])
        vars(flex)[DEBUG] = True
    return stack
