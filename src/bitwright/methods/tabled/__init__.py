"""Operands whose words are looked up in a table (log posits, AdaptivFloat, ANT's types), and their exact products."""

from bitwright.methods.tabled.method import TabledOperands

__all__ = ["TabledOperands"]
