"""Arrays of bit groups for products of 8- and 4-bit rows and columns: Drift as reconstructed here, and its rivals."""

from bitwright.accelerators.dynamic_precision.drift import Drift
from bitwright.accelerators.dynamic_precision.drq import Drq
from bitwright.accelerators.dynamic_precision.seq import Seq

__all__ = ["Drift", "Drq", "Seq"]
