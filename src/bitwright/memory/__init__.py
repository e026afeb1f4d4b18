"""What machines share: tiles between DRAM and SRAM, their order, DRAM traffic and double-buffered timing."""

from bitwright.memory.gemm import FloatArray, Gemm, IntArray
from bitwright.memory.search import Mapping, best_mapping, score
from bitwright.memory.tiling import Buffers, Objective, TiledMachine, Tilings
from bitwright.memory.timeline import TileCosts, Timeline, timeline
from bitwright.memory.traffic import Traffic, edges, traffic

__all__ = [
    "Buffers",
    "FloatArray",
    "Gemm",
    "IntArray",
    "Mapping",
    "Objective",
    "TileCosts",
    "TiledMachine",
    "Tilings",
    "Timeline",
    "Traffic",
    "best_mapping",
    "edges",
    "score",
    "timeline",
    "traffic",
]
