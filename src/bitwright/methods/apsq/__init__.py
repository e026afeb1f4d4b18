"""APSQ: partial sums quantized inside the accumulation (arXiv 2505.03748, DAC 2025), and its rivals."""

from bitwright.methods.apsq.method import METHOD
from bitwright.methods.apsq.options import ApsqOptions

__all__ = ["METHOD", "ApsqOptions"]
