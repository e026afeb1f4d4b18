"""The APSQ accelerator: an array whose partial sums leave it quantized, in three dataflows."""

from bitwright.accelerators.apsq.costs import partial_sum_pj
from bitwright.accelerators.apsq.machine import Apsq

__all__ = ["Apsq", "partial_sum_pj"]
