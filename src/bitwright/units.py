"""Numbers for people: SI prefixes, chosen once per column so that a column has one unit, which stands in its header."""

import math
from collections.abc import Iterable

PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}
DASH = "-"  # what a cell says that has no value


def exponent(values: Iterable[float | None], base: int = 0) -> int:
    """The power of 1000 that suits the largest of `values`, which are in units of 10 to the `base`.

    Examples
    --------
    >>> exponent([2.5e6], base=-12)  # picojoules, that is, microjoules
    -6
    >>> exponent([None], base=-24)  # nothing to suit: the nearest prefix that there is
    -12
    """
    finite = [abs(value) for value in values if value is not None and math.isfinite(value) and value]
    if not finite:
        return min(max(base, min(PREFIXES)), max(PREFIXES))
    power = 3 * math.floor((math.log10(max(finite)) + base) / 3)
    return min(max(power, min(PREFIXES)), max(PREFIXES))


def number(value: float | None, digits: int = 4) -> str:
    """So many significant digits, never in exponents up to a million; `-` for None.

    Examples
    --------
    >>> number(0.123456), number(12345.6), number(None)
    ('0.1235', '12,346', '-')
    """
    if value is None:
        return DASH
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    return f"{value:,.{max(0, places)}f}" if places < digits + 5 else f"{value:.{digits - 1}e}"


def scaled(value: float | None, unit: str, base: int = 0, digits: int = 4) -> str:
    """A number with its unit: `scaled(2.5e6, "J", base=-12)` is `2.5 µJ`."""
    if value is None:
        return DASH
    power = exponent([value], base)
    return f"{number(value * 10.0 ** (base - power), digits)} {PREFIXES[power]}{unit}".rstrip()


def signed(value: float, digits: int = 3) -> str:
    """With its sign, also where it is positive."""
    return f"{'+' if value >= 0 else ''}{number(value, digits)}"
