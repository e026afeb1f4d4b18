"""Bit-slice machines: Panacea and Sibia."""

from bitwright.accelerators.bit_slice.panacea import Panacea
from bitwright.accelerators.bit_slice.sibia import Sibia

__all__ = ["Panacea", "Sibia"]
