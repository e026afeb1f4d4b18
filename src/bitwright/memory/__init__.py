"""What machines share: tiles between DRAM and SRAM, their order, DRAM traffic and buffered timing."""

from bitwright.memory.gemm import Bits, BoolArray, FloatArray, Gemm, IntArray, packed_bytes
from bitwright.memory.machine import Objective, TiledMachine
from bitwright.memory.search import Mapping, best_mapping, score
from bitwright.memory.tiling import Buffers, Kinds, Tilings
from bitwright.memory.timeline import TileCosts, Timeline, timeline
from bitwright.memory.traffic import Traffic, traffic

__all__ = [
    "Bits",
    "BoolArray",
    "Buffers",
    "FloatArray",
    "Gemm",
    "IntArray",
    "Kinds",
    "Mapping",
    "Objective",
    "TileCosts",
    "TiledMachine",
    "Tilings",
    "Timeline",
    "Traffic",
    "best_mapping",
    "packed_bytes",
    "score",
    "timeline",
    "traffic",
]
