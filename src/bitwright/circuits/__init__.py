"""Circuits of machines: parameters, functional twins and RTL; synthesis and what operand streams make them burn."""

from bitwright.circuits.circuit import Circuit, Port, Ports, circuit_of, place
from bitwright.circuits.multiply_accumulate import MultiplyAccumulate

CIRCUITS: dict[str, type[Circuit]] = {kind.name: kind for kind in (MultiplyAccumulate,)}
"""By name, in the order of lists."""

__all__ = ["CIRCUITS", "Circuit", "MultiplyAccumulate", "Port", "Ports", "circuit_of", "place"]
