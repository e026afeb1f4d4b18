"""The APSQ accelerator: an array whose partial sums leave it quantized, in three dataflows."""

from bitwright.accelerators.partial_sums.machine import Apsq, ApsqInputStationary, ApsqOutputStationary

__all__ = ["Apsq", "ApsqInputStationary", "ApsqOutputStationary"]
