"""Bit-slice machines: Panacea and Sibia."""

from bitwright.accelerators.slices.panacea import Panacea
from bitwright.accelerators.slices.sibia import Sibia

__all__ = ["Panacea", "Sibia"]
