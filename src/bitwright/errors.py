"""Errors that bitwright raises on purpose.

Every one is a `BitwrightError`; the command line turns an `InputError` into one sentence and exit code 2,
any other `BitwrightError` into one sentence and exit code 1.
"""

import difflib
from collections.abc import Iterable, Sequence

LONGEST = 3000
"""Characters of a message: names in it are others', and may be of any length."""


class BitwrightError(Exception):
    """Anything that bitwright itself refuses or fails to do."""

    def __str__(self) -> str:
        """What is wrong, on one line: what does not print is written out, and a middle that is too long left out."""
        said = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in super().__str__())
        return said if len(said) <= LONGEST else f"{said[: LONGEST // 2]} ... {said[-LONGEST // 2 :]}"


class InputError(BitwrightError):
    """What the caller gave cannot be used; the message says what was given, what was expected, and what to do."""


class MissingPriceError(InputError):
    """An event has no energy or area in the technology's price list; it is never counted as free."""


CLOSE = 0.65
"""Two thirds of the letters in common; half of them make `ant-pe` of `nope`."""


def unknown_name(kind: str, given: str, known: Iterable[str]) -> InputError:
    """An `InputError` that lists the known names of `kind` and suggests one that is close to `given`, if any is."""
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1, cutoff=CLOSE)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(f"unknown {kind} {given!r}.{hint} Known: {', '.join(names) or 'none'}.")


def unknown_site(given: str, names: Sequence[str], of: str) -> InputError:
    """An `InputError` that names the sites of `of` nearest to `given`."""
    near = difflib.get_close_matches(given, names, n=3, cutoff=0) or names[:3]
    nearest = f"; the nearest are {', '.join(near)}" if near else ""
    return InputError(
        f"unknown site {given!r} of {of}, which has {len(names)} sites{nearest} (bitwright simulate --sites lists all)"
    )
