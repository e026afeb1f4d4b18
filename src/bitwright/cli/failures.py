"""What nobody foresaw: one sentence that names a report, and no traceback on the screen unless it is asked for.

The report is for whoever mends it: the traceback, versions and the command, without passwords. It lies in the folder
for temporary files, readable by its owner alone.
"""

import os
import sys
import threading
import traceback
from pathlib import Path

from bitwright.cli.telling import tell
from bitwright.redaction import redacted, redacted_command, secrets_in

FAILURE = 1
LONGEST = 300  # characters of what an exception says; the report has all of it


class Failures:
    """How failures are told.

    Attributes
    ----------
    debug : bool
        Whether tracebacks are shown.
    """

    def __init__(self) -> None:
        self.debug = False

    def shown(self, error: BaseException) -> None:
        """The traceback of an error, where it was asked for."""
        if self.debug:
            tell(*"".join(traceback.format_exception(error)).splitlines())

    def in_thread(self, told: threading.ExceptHookArgs) -> None:
        """Tell of an error that ended a thread: of code that was given, since bitwright's own report nothing."""
        if told.exc_value is not None:
            self.shown(told.exc_value)
            tell(f"bitwright: a thread ended by {' '.join(_said(told.exc_value).split())}")

    def unforeseen(self, error: BaseException) -> int:
        """Tell of an error that nobody foresaw; the exit code."""
        self.shown(error)
        place = _reported(error)
        report = f"the report {place} says where" if place else "no report could be written"
        tell(
            f"bitwright: this should not have happened: {' '.join(_said(error).split())}; {report}"
            f"{'' if self.debug else ', and bitwright --debug VERB ... shows it here'}"
        )
        return FAILURE


FAILURES = Failures()
"""Of this process."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether there was no memory left: Python, torch on a device, and torch on a processor have an error each."""
    names = {each.__name__ for each in type(error).__mro__}
    return not names.isdisjoint({"MemoryError", "OutOfMemoryError"}) or "can't allocate memory" in str(error)


def _said(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = redacted(str(error), secrets_in(sys.argv))
    except Exception:  # whoever raised it wrote its __str__
        return name
    return f"{name}: {text[:LONGEST]}{'...' if len(text) > LONGEST else ''}" if text.strip() else name


def _reported(error: BaseException) -> Path | None:
    """Where the report lies; None where it could not be written."""
    import tempfile

    try:
        handle, name = tempfile.mkstemp(prefix="bitwright-", suffix=".txt")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(_report(error))
        return Path(name)
    except Exception:  # whatever broke the command may break its report: of an installation, a disk, memory
        return None


def _report(error: BaseException) -> str:
    from bitwright.studies.provenance import provenance

    made = provenance(redacted_command(["bitwright", *sys.argv[1:]]), 0)
    versions = ", ".join(f"{name} {version}" for name, version in made.versions.items())
    told = "".join(traceback.format_exception(error))
    return f"{made.command}\n{versions}\n{made.platform}\n\n{redacted(told, secrets_in(sys.argv))}"
