"""Real values to codes and back: number formats, rounding, saturation, and which elements share a scale."""

from bitwright.formats.granularity import Granularity, PerChannel, PerGroup, PerTensor, PerToken, parse_granularity
from bitwright.formats.integer import Integer
from bitwright.formats.quantized import Quantized, largest_magnitude
from bitwright.formats.rounding import Rounding, Saturation, round_to_integer, saturate

__all__ = [
    "Granularity",
    "Integer",
    "PerChannel",
    "PerGroup",
    "PerTensor",
    "PerToken",
    "Quantized",
    "Rounding",
    "Saturation",
    "largest_magnitude",
    "parse_granularity",
    "round_to_integer",
    "saturate",
]
