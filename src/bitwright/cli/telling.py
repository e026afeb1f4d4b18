"""What a command says on stderr beside its progress: whole lines, printable and without passwords."""

import contextlib
import sys

from bitwright.redaction import redacted, secrets_in
from bitwright.shown import printable


def tell(*lines: str) -> None:
    """Write lines to stderr; whoever does not read them loses them, and nothing else happens."""
    secrets = secrets_in(sys.argv)
    with contextlib.suppress(OSError, ValueError, AttributeError):  # a terminal that is gone, a stream that is closed
        sys.stderr.write("".join(f"{printable(redacted(line, secrets))}\n" for line in lines))
        sys.stderr.flush()
