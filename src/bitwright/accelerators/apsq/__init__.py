"""The APSQ accelerator: an array whose partial sums leave it quantized, in three dataflows."""

from bitwright.accelerators.apsq.costs import partial_sum_pj
from bitwright.accelerators.apsq.machine import Apsq, ApsqInputStationary, ApsqOutputStationary

__all__ = ["Apsq", "ApsqInputStationary", "ApsqOutputStationary", "partial_sum_pj"]
