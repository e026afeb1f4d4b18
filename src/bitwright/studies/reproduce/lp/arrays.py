"""The arrays that LPA's figures are measured on: 8 x 8 PEs of each machine, arrays of equal area, and the common ones.

Charted throughputs and areas fit 64 PEs of each machine (recollected). Charted latencies do not: 64 4-bit PEs of ANT
are no faster than 64 8-bit ones of AdaptivFloat. Beside them stand the arrays of equal area that the ANT artifact (Guo
et al., MICRO 2022, ant_simulator) gives ANT and BitFusion (32 x 32 of 8 bits, 64 x 64 of 4) and AdaptivFloat (32 x 28);
LPA gets as many PEs as that area holds. That the charts are of such arrays is our reading.
"""

from collections.abc import Mapping
from typing import Any

from bitwright.accelerators.precision_scalable.machine import PackedArray
from bitwright.errors import InputError
from bitwright.studies.machines import COMMON, NATIVE, build_accelerators

MACHINES = ("lpa", "ant", "bitfusion", "adaptivfloat")
REFERENCE = "adaptivfloat"
"""What latencies and energies are normalised to."""
SMALL, EQUAL_AREA = "8x8", "equal area"
EQUAL: Mapping[str, Mapping[str, int]] = {
    "lpa": {"rows": 32, "cols": 54},  # 4,096 x 79.57 um2 by 188.8 um2 by 32 rows is 53.9
    "ant": {"rows": 64, "cols": 64},
    "bitfusion": {"rows": 64, "cols": 64},
    REFERENCE: {"rows": 32, "cols": 28},
}
FIXED = ("rows", "cols")

Arrays = Mapping[str, Mapping[str, PackedArray]]
"""By name of the arrays, then by name of the machine."""


def machines(settings: Mapping[str, Any], substrate: str = COMMON) -> dict[str, PackedArray]:
    """Every machine on every set of arrays, `lpa, equal area`; the common ones unless `substrate` is native.

    Raises
    ------
    InputError
        As `build_accelerators`, or a setting of what the arrays are.
    """
    fixed = [key for key in settings if key.rpartition(".")[2] in FIXED]
    if fixed:
        raise InputError(f"{' and '.join(fixed)} cannot be set: arrays of several sizes are measured side by side")
    sizes = {f"{name}.{key}": size for name, array in EQUAL.items() for key, size in array.items()}
    built = {
        SMALL: build_accelerators(MACHINES, settings, NATIVE),
        EQUAL_AREA: build_accelerators(MACHINES, {**sizes, **settings}, NATIVE),
    }
    if substrate != NATIVE:
        built[substrate] = build_accelerators(MACHINES, settings, substrate)
    found: dict[str, PackedArray] = {}
    for arrays, each in built.items():
        for name, machine in each.items():
            assert isinstance(machine, PackedArray)
            found[f"{name}, {arrays}"] = machine
    return found


def grouped(machines: Mapping[str, PackedArray]) -> dict[str, dict[str, PackedArray]]:
    """The same by name of the arrays, then of the machine."""
    found: dict[str, dict[str, PackedArray]] = {}
    for key, machine in machines.items():
        name, _, arrays = key.partition(", ")
        found.setdefault(arrays, {})[name] = machine
    return found


def described(arrays: str, machines: Mapping[str, PackedArray]) -> str:
    """A set of arrays in a phrase."""
    sizes = ", ".join(f"{name} {machine.rows} x {machine.cols}" for name, machine in machines.items())
    first = next(iter(machines.values()))
    srams = f"{first.input_sram_kib}, {first.weight_sram_kib} and {first.output_sram_kib} KiB"
    return f"{arrays}: {sizes} PEs; SRAMs of {srams} for inputs, weights and outputs, {first.clock_mhz:g} MHz"
