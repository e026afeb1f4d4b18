"""Arrays of bit groups for products of 8- and 4-bit rows and columns: Drift as reconstructed here, and its rivals."""

from bitwright.accelerators.split.drift import Drift
from bitwright.accelerators.split.drq import Drq
from bitwright.accelerators.split.seq import Seq

__all__ = ["Drift", "Drq", "Seq"]
