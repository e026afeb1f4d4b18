"""Circuits of machines: parameters, functional twins and RTL; synthesis and what operand streams make them burn."""

from bitwright.circuits.bit_group import BitGroup
from bitwright.circuits.circuit import Circuit, Port, Ports, circuit_of, place
from bitwright.circuits.compensator import Compensator
from bitwright.circuits.cut_scheduler import CutScheduler
from bitwright.circuits.drq_element import DrqElement
from bitwright.circuits.drq_mask import DrqMask
from bitwright.circuits.eyeriss_element import EyerissElement
from bitwright.circuits.fusion_unit import FusionUnit
from bitwright.circuits.multiply_accumulate import MultiplyAccumulate
from bitwright.circuits.partial_sum_adder import PartialSumAdder
from bitwright.circuits.precision_decider import PrecisionDecider
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
        FusionUnit,
        BitGroup,
        PrecisionDecider,
        CutScheduler,
        DrqElement,
        DrqMask,
        EyerissElement,
    )
}
"""By name, in the order of lists."""

__all__ = [
    "CIRCUITS",
    "BitGroup",
    "Circuit",
    "Compensator",
    "CutScheduler",
    "DrqElement",
    "DrqMask",
    "EyerissElement",
    "FusionUnit",
    "MultiplyAccumulate",
    "PartialSumAdder",
    "Port",
    "Ports",
    "PrecisionDecider",
    "Rae",
    "Requantizer",
    "RunLengthDecoder",
    "RunLengthEncoder",
    "SliceMerger",
    "SliceOperator",
    "circuit_of",
    "place",
]
