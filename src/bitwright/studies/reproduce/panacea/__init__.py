"""Panacea (arXiv 2412.10059, HPCA 2025): its skip ladder on real networks, and its machine beside Sibia."""

from bitwright.studies.reproduce.panacea.claims import CLAIMS
from bitwright.studies.reproduce.panacea.study import MACHINES, Reproduction, Settings, reproduce

__all__ = ["CLAIMS", "MACHINES", "Reproduction", "Settings", "reproduce"]
