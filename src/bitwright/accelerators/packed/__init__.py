"""Weight-stationary arrays that pack or fuse products by width: LPA, ANT, BitFusion, AdaptivFloat's, Eyeriss."""

from bitwright.accelerators.packed.adaptivfloat import AdaptivFloatArray
from bitwright.accelerators.packed.ant import Ant
from bitwright.accelerators.packed.bitfusion import BitFusion
from bitwright.accelerators.packed.costs import compute_area_um2
from bitwright.accelerators.packed.eyeriss import Eyeriss
from bitwright.accelerators.packed.lpa import Lpa

__all__ = ["AdaptivFloatArray", "Ant", "BitFusion", "Eyeriss", "Lpa", "compute_area_um2"]
