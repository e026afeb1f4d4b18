"""What hardware costs: prices as data, SRAM macros, DRAM by name, and scaling between nodes."""

from bitwright.technology.dram import Dram, dram, drams
from bitwright.technology.price import Price
from bitwright.technology.price_file import BUILT_IN
from bitwright.technology.scaling import area_factor, energy_factor, leakage_factor
from bitwright.technology.sram import Sram
from bitwright.technology.technology import Prices, Technology, load

NODES = tuple(BUILT_IN)
"""Built-in nodes, in nm."""

__all__ = [
    "NODES",
    "Dram",
    "Price",
    "Prices",
    "Sram",
    "Technology",
    "area_factor",
    "dram",
    "drams",
    "energy_factor",
    "leakage_factor",
    "load",
]
