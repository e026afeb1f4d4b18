"""SI prefixes: one for all figures of a column or an axis, chosen by the largest."""

import math
from collections.abc import Iterable

PREFIXES = {-12: "p", -9: "n", -6: "µ", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T"}


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
