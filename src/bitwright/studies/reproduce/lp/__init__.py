"""LPA (arXiv 2403.05465, DAC 2024): its density, latency and energy beside ANT, BitFusion and AdaptivFloat."""

from bitwright.studies.reproduce.lp.arrays import machines
from bitwright.studies.reproduce.lp.claims import ACCURACY, CLAIMS
from bitwright.studies.reproduce.lp.study import Reproduction, Settings, reproduce

__all__ = ["ACCURACY", "CLAIMS", "Reproduction", "Settings", "machines", "reproduce"]
