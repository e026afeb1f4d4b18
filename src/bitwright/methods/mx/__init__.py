"""The method `mx`: see `bitwright.methods.mx.method`."""

from bitwright.methods.mx.method import METHOD, MxOptions

__all__ = ["METHOD", "MxOptions"]
