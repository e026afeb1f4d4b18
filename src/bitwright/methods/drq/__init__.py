"""Precision of x by region, and of w with it: DRQ (Song et al., ISCA 2020), the rival of Drift."""

from bitwright.methods.drq.method import METHOD
from bitwright.methods.drq.options import DrqOptions

__all__ = ["METHOD", "DrqOptions"]
