"""Integer quantization of 2 to 16 bits, with its recipes int8, int8-token, int8-sym, int7-sym and w4a8."""

from bitwright.methods.integer.method import METHOD
from bitwright.methods.integer.options import IntegerOptions

__all__ = ["METHOD", "IntegerOptions"]
