"""One way of running a module: eagerly, by the same operators whether or not anyone listens.

Torch's fused encoder layer computes other numbers for padded tokens than its parts do, and what `torch.compile` made is
one opaque function: both are switched off for the float reference and for quantized execution alike.
"""

import contextlib
import sys
from collections.abc import Iterator

import torch

FLEX, DEBUG = "torch.nn.attention.flex_attention", "_FLEX_ATTENTION_DISABLE_COMPILE_DEBUG"


@contextlib.contextmanager
def eager() -> Iterator[None]:
    """Within this, modules run operator by operator; modules that are not in use are not imported for it."""
    with contextlib.ExitStack() as stack:
        stack.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
        torch.backends.mha.set_fastpath_enabled(False)
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        flex = sys.modules.get(FLEX)
        if flex is not None:  # it compiles itself unless it is being debugged
            stack.callback(vars(flex).__setitem__, DEBUG, vars(flex)[DEBUG])
            vars(flex)[DEBUG] = True
        yield
