"""What bitwright computes, as files for other tools: ONNX graphs, integer weights, and vectors for a testbench."""

from bitwright.exchange.export.agreement import Agreement
from bitwright.exchange.export.exported import Exported
from bitwright.exchange.export.formats import FORMATS, export_network

__all__ = ["FORMATS", "Agreement", "Exported", "export_network"]
