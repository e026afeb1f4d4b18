"""Formats that ship: MX blocks, NVFP4 and FP8, for weights and activations: `mxfp8`, `mxfp4`, `nvfp4`, `fp8`."""

from bitwright.methods.mx.method import METHOD

__all__ = ["METHOD"]
