"""What hardware costs: prices as data, SRAM macros, and scaling between nodes."""

from bitwright.technology.price import Price
from bitwright.technology.scaling import area_factor, energy_factor, leakage_factor
from bitwright.technology.sram import Sram
from bitwright.technology.technology import Technology, load

__all__ = ["Price", "Sram", "Technology", "area_factor", "energy_factor", "leakage_factor", "load"]
