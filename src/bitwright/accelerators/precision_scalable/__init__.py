"""Weight-stationary arrays that pack or fuse products by width: LPA, ANT, BitFusion, AdaptivFloat's, Eyeriss."""

from bitwright.accelerators.precision_scalable.adaptivfloat import AdaptivFloatArray
from bitwright.accelerators.precision_scalable.ant import Ant
from bitwright.accelerators.precision_scalable.bitfusion import BitFusion
from bitwright.accelerators.precision_scalable.eyeriss import Eyeriss
from bitwright.accelerators.precision_scalable.lpa import Lpa
from bitwright.accelerators.precision_scalable.machine import compute_area_um2

__all__ = ["AdaptivFloatArray", "Ant", "BitFusion", "Eyeriss", "Lpa", "compute_area_um2"]
