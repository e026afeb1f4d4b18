"""Conformance kits: what every method and every accelerator must hold, for anyone to run on their own."""

from bitwright.testing.accelerator import check_accelerator
from bitwright.testing.method import check_method
from bitwright.testing.networks import toy_networks

__all__ = ["check_accelerator", "check_method", "toy_networks"]
