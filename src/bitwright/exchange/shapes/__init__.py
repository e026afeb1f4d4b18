"""A network's products as files that other tools read, so that a figure can be checked elsewhere."""

from bitwright.exchange.shapes.layers import Exported
from bitwright.exchange.shapes.scalesim import to_scalesim
from bitwright.exchange.shapes.timeloop import to_timeloop
from bitwright.exchange.shapes.zigzag import to_zigzag

__all__ = ["Exported", "to_scalesim", "to_timeloop", "to_zigzag"]
