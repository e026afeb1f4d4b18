"""Systolic arrays of multiply-accumulate units: weight-stationary and output-stationary."""

from bitwright.accelerators.systolic.output_stationary import OutputStationary
from bitwright.accelerators.systolic.weight_stationary import WeightStationary

__all__ = ["OutputStationary", "WeightStationary"]
