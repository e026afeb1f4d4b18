"""Sums in a register of few significant bits, rounded at every addition: `lpq+narrow`, `int8+narrow`."""

from bitwright.methods.narrow.method import METHOD

__all__ = ["METHOD"]
