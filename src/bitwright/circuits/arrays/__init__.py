"""Small arrays with their control in RTL, clock by clock: what closed forms of dataflows are held against."""

from bitwright.circuits.arrays.bench import Ran
from bitwright.circuits.arrays.cut_array import CutArray, CutRan
from bitwright.circuits.arrays.inner_products import InnerProductArray, Schedule
from bitwright.circuits.arrays.log_posit_array import LogPositArray, LogPositRan
from bitwright.circuits.arrays.output_stationary import OutputStationaryArray
from bitwright.circuits.arrays.slice_array import SliceArray
from bitwright.circuits.arrays.weight_stationary import WeightStationaryArray

__all__ = [
    "CutArray",
    "CutRan",
    "InnerProductArray",
    "LogPositArray",
    "LogPositRan",
    "OutputStationaryArray",
    "Ran",
    "Schedule",
    "SliceArray",
    "WeightStationaryArray",
]
