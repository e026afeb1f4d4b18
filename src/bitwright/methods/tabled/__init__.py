"""Operands whose words are looked up in a table (log posits, AdaptivFloat, ANT's types), and their exact products."""

from bitwright.methods.tabled.method import TabledOperands
from bitwright.methods.tabled.observe import Seen, observe_values

__all__ = ["Seen", "TabledOperands", "observe_values"]
