"""Dense arrays of multiply-accumulate units: weight-stationary and output-stationary systolic ones, and SIMD lanes."""

from bitwright.accelerators.dense.output_stationary import OutputStationary
from bitwright.accelerators.dense.simd import Simd
from bitwright.accelerators.dense.weight_stationary import WeightStationary

__all__ = ["OutputStationary", "Simd", "WeightStationary"]
