"""Precision chosen at run time by sub-tensors, on top of static integers: a reconstruction of Drift (DAC 2024)."""

from bitwright.methods.drift.conversion import expected_error
from bitwright.methods.drift.method import METHOD
from bitwright.methods.drift.options import DriftOptions

__all__ = ["METHOD", "DriftOptions", "expected_error"]
