"""ANT: integers, powers of two or flints, whichever loses least for a tensor (Guo et al., MICRO 2022)."""

from bitwright.methods.ant.method import METHOD

__all__ = ["METHOD"]
