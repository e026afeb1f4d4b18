"""LPQ: log posits whose parameters are chosen per layer, by least error or by a genetic search (arXiv 2403.05465)."""

from bitwright.methods.lpq.method import METHOD

__all__ = ["METHOD"]
