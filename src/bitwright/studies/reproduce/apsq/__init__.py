"""APSQ (arXiv 2505.03748, DAC 2025): what narrow partial sums save on its array, however accesses are counted."""

from bitwright.studies.reproduce.apsq.arrays import machines
from bitwright.studies.reproduce.apsq.claims import ACCURACY, CLAIMS
from bitwright.studies.reproduce.apsq.study import Reproduction, Settings, reproduce

__all__ = ["ACCURACY", "CLAIMS", "Reproduction", "Settings", "machines", "reproduce"]
