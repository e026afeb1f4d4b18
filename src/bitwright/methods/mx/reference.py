"""The slow twin of running sums: rational numbers, rounded to float32 at each addition."""

from collections.abc import Sequence
from fractions import Fraction

MANTISSA, LEAST = 24, -149
"""Significant bits of float32, and the exponent of its smallest subnormal."""


def running_sum(x: Sequence[float], w: Sequence[float]) -> float:
    """Sum of x[k] * w[k] in order: each term exact, each sum rounded to the nearest float32, ties to even."""
    total = Fraction(0)
    for a, b in zip(x, w, strict=True):
        total = to_float32(total + Fraction(a) * Fraction(b))
    return float(total)


def to_float32(value: Fraction) -> Fraction:
    """The nearest float32, ties to even, without bounds above.

    Examples
    --------
    >>> to_float32(Fraction(2**24 + 1)) == 2**24, to_float32(Fraction(2**24 + 3)) == 2**24 + 4
    (True, True)
    """
    if not value:
        return value
    exponent = LEAST
    while abs(value) >= Fraction(2) ** (exponent + MANTISSA):
        exponent += 1
    return round(value / Fraction(2) ** exponent) * Fraction(2) ** exponent  # Python rounds ties to even
