"""Panacea's AQS-GEMM: asymmetric activations in slices whose frequent nonzero values are skipped, exactly."""

from bitwright.methods.aqs.method import METHOD
from bitwright.methods.aqs.options import AqsOptions

__all__ = ["METHOD", "AqsOptions"]
