"""Sweeps: networks x methods x options x accelerators x parameters, in parallel, kept in a database."""

from bitwright.studies.sweep.result import Sweep
from bitwright.studies.sweep.study import Study, read_study

__all__ = ["Study", "Sweep", "read_study"]
