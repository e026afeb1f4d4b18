"""Dense arrays of multiply-accumulate units: weight-stationary and output-stationary systolic ones, and SIMD lanes."""

from bitwright.accelerators.systolic.output_stationary import OutputStationary
from bitwright.accelerators.systolic.simd import Simd
from bitwright.accelerators.systolic.weight_stationary import WeightStationary

__all__ = ["OutputStationary", "Simd", "WeightStationary"]
