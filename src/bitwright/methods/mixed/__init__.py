"""Integers of 4 or 8 bits by site, fixed: the static rival of precision chosen at run time."""

from bitwright.methods.mixed.method import METHOD
from bitwright.methods.mixed.options import MixedOptions

__all__ = ["METHOD", "MixedOptions"]
