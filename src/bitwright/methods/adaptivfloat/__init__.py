"""AdaptivFloat: floats whose exponent bias fits each tensor (Tambe et al., DAC 2020)."""

from bitwright.methods.adaptivfloat.method import METHOD

__all__ = ["METHOD"]
