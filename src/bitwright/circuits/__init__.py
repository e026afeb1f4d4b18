"""Circuits of machines: parameters, functional twins and RTL; synthesis and what operand streams make them burn."""

from bitwright.circuits.circuit import Circuit, Port, Ports, circuit_of, place
from bitwright.circuits.compensator import Compensator
from bitwright.circuits.multiply_accumulate import MultiplyAccumulate
from bitwright.circuits.partial_sum_adder import PartialSumAdder
from bitwright.circuits.rae import Rae
from bitwright.circuits.requantizer import Requantizer
from bitwright.circuits.run_length import RunLengthDecoder, RunLengthEncoder
from bitwright.circuits.slice_merger import SliceMerger
from bitwright.circuits.slice_operator import SliceOperator

CIRCUITS: dict[str, type[Circuit]] = {
    kind.name: kind
    for kind in (
        MultiplyAccumulate,
        SliceOperator,
        SliceMerger,
        Compensator,
        RunLengthEncoder,
        RunLengthDecoder,
        Requantizer,
        Rae,
        PartialSumAdder,
    )
}
"""By name, in the order of lists."""

__all__ = [
    "CIRCUITS",
    "Circuit",
    "Compensator",
    "MultiplyAccumulate",
    "PartialSumAdder",
    "Port",
    "Ports",
    "Rae",
    "Requantizer",
    "RunLengthDecoder",
    "RunLengthEncoder",
    "SliceMerger",
    "SliceOperator",
    "circuit_of",
    "place",
]
