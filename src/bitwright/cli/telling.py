"""What a command says on stderr beside its progress: whole lines, in which names from files are printable."""

import contextlib
import sys

from bitwright.shown import printable


def tell(*lines: str) -> None:
    """Write lines to stderr; whoever does not read them loses them, and nothing else happens."""
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a terminal that is gone, a stream that is closed
        sys.stderr.write("".join(f"{printable(line)}\n" for line in lines))
        sys.stderr.flush()
