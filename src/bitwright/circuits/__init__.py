"""Circuits of machines: parameters, functional twins and RTL; synthesis and what operand streams make them burn."""

from bitwright.circuits.adaptivfloat_pe import AdaptivFloatPe
from bitwright.circuits.ant_decoder import AntDecoder
from bitwright.circuits.ant_pe import AntPe, AntUnit
from bitwright.circuits.bit_group import BitGroup
from bitwright.circuits.block_dot_product import BlockDotProduct
from bitwright.circuits.circuit import Circuit, Port, Ports, circuit_of, place
from bitwright.circuits.compensator import Compensator
from bitwright.circuits.cut_scheduler import CutScheduler
from bitwright.circuits.drq_element import DrqElement
from bitwright.circuits.drq_mask import DrqMask
from bitwright.circuits.eyeriss_element import EyerissElement
from bitwright.circuits.float_multiply_add import FloatMultiplyAdd
from bitwright.circuits.fusion_unit import FusionUnit
from bitwright.circuits.hadamard_stage import HadamardStage
from bitwright.circuits.log_converter import LogConverter
from bitwright.circuits.log_posit_decoder import LogPositDecoder
from bitwright.circuits.log_posit_encoder import LogPositEncoder
from bitwright.circuits.lpa_pe import LpaPe
from bitwright.circuits.multiply_accumulate import MultiplyAccumulate
from bitwright.circuits.narrow_adder import NarrowAdder
from bitwright.circuits.partial_sum_adder import PartialSumAdder
from bitwright.circuits.precision_decider import PrecisionDecider
from bitwright.circuits.rae import Rae
from bitwright.circuits.requantizer import Requantizer
from bitwright.circuits.run_length import RunLengthDecoder, RunLengthEncoder
from bitwright.circuits.slice_merger import SliceMerger
from bitwright.circuits.slice_operator import SliceOperator
from bitwright.circuits.vector_lane import VectorLane

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
        LogPositDecoder,
        LogConverter,
        LpaPe,
        NarrowAdder,
        LogPositEncoder,
        AntDecoder,
        AntPe,
        AntUnit,
        AdaptivFloatPe,
        FusionUnit,
        BitGroup,
        PrecisionDecider,
        CutScheduler,
        DrqElement,
        DrqMask,
        EyerissElement,
        FloatMultiplyAdd,
        BlockDotProduct,
        VectorLane,
        HadamardStage,
    )
}
"""By name, in the order of lists."""

__all__ = [
    "CIRCUITS",
    "AdaptivFloatPe",
    "AntDecoder",
    "AntPe",
    "AntUnit",
    "BitGroup",
    "BlockDotProduct",
    "Circuit",
    "Compensator",
    "CutScheduler",
    "DrqElement",
    "DrqMask",
    "EyerissElement",
    "FloatMultiplyAdd",
    "FusionUnit",
    "HadamardStage",
    "LogConverter",
    "LogPositDecoder",
    "LogPositEncoder",
    "LpaPe",
    "MultiplyAccumulate",
    "NarrowAdder",
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
    "VectorLane",
    "circuit_of",
    "place",
]
