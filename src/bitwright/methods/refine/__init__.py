"""What calibration does to weights and biases once a method has chosen formats and scales: shared by all methods."""

from bitwright.methods.refine.refine import Refiner

__all__ = ["Refiner"]
