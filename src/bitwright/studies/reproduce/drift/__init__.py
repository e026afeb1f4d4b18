"""Drift (Liu et al., DAC 2024): its two headline figures beside our reconstruction, its rivals and what they need."""

from bitwright.studies.reproduce.drift.arrays import machines
from bitwright.studies.reproduce.drift.claims import CLAIMS
from bitwright.studies.reproduce.drift.study import Reproduction, Settings, reproduce

__all__ = ["CLAIMS", "Reproduction", "Settings", "machines", "reproduce"]
