"""The arrays that are compared: as many 4-bit multipliers each, and Eyeriss as published.

32 x 32 bit groups are what the ANT artifact (Guo et al., MICRO 2022, ant_simulator) gives machines of 4- and 8-bit
integers: 4,096 4-bit multipliers, 0.326 mm2 at 28 nm (SPARK, HPCA 2024), beside which Eyeriss' 168 PEs of 16 bits take
0.309. That Drift's own array is such is our choice; its size is not public. SRAMs, clock and bandwidth are the common
substrate's.
"""

from collections.abc import Mapping
from typing import Any

from bitwright.accelerators.dynamic_precision.bit_group import MULTIPLIERS, per_port
from bitwright.accelerators.dynamic_precision.machine import SplitArray
from bitwright.accelerators.precision_scalable.machine import PackedArray
from bitwright.errors import InputError
from bitwright.studies.machines import COMMON, build_accelerators

DRIFT, SEQ, DRQ, BITFUSION, EYERISS = "drift", "seq", "drq", "bitfusion", "eyeriss"
NAMES = (DRIFT, SEQ, DRQ, BITFUSION, EYERISS)
GROUPS = {"rows": 32, "cols": 32}
TIMINGS: Mapping[str, Mapping[str, Any]] = {
    "ws-double": {"weight_loading": "hidden", "fold_pipelining": True},
    "ws": {"weight_loading": "exposed", "fold_pipelining": False},
}
"""Weights rest, and the next ones come in behind the stream, or in the open and every fold is drained."""
DATAFLOWS = tuple(TIMINGS)
"""The first is the one that claims are told of."""
ROW_GROUPS = (1, 2, 4, 8)
"""G of DRQ: sub-tensors that a row of x meets at once."""
SIDE = per_port(4)  # 4-bit multipliers along a side of a bit group
FIXED = ("dataflow", "weight_loading", "fold_pipelining", "row_groups")

Machine = SplitArray | PackedArray


def drq_name(row_groups: int) -> str:
    """How DRQ at one G is called.

    Examples
    --------
    >>> drq_name(4)
    'drq G=4'
    """
    return f"{DRQ} G={row_groups}"


def key(name: str, dataflow: str) -> str:
    """A machine's key; arrays of one dataflow only have none in it."""
    return name if name in (BITFUSION, EYERISS) else f"{name}, {dataflow}"


def machines(settings: Mapping[str, Any], substrate: str = COMMON) -> dict[str, Machine]:
    """Every machine in every dataflow; `rows` and `cols` in `settings` are of bit groups, for all but Eyeriss.

    Raises
    ------
    InputError
        As `build_accelerators`, a dataflow or a G, which are measured side by side, or a size of one machine only.
    """
    given = dict(settings)
    size = {side: given.pop(side, default) for side, default in GROUPS.items()}
    for name, value in size.items():
        if not isinstance(value, int) or value < SIDE:
            raise InputError(f"{name} is {value!r}, but a number of bit groups is a whole one, at least {SIDE}")
    fixed = [name for name in given if name.rpartition(".")[2] in (*FIXED, *GROUPS)]
    if fixed:
        raise InputError(
            f"{' and '.join(fixed)} cannot be set: machines of equal size are measured in both dataflows, DRQ at "
            f"several G; rows and cols without a name are bit groups of all"
        )
    sizes: dict[str, Any] = {}
    for side, value in size.items():
        for name, factor in ((DRIFT, 1), (SEQ, 1), (DRQ, 1), (BITFUSION, SIDE)):
            sizes[f"{name}.{side}"] = factor * value
    built = build_accelerators(NAMES, {**sizes, **given}, substrate=substrate)
    eyeriss = built[EYERISS]
    assert isinstance(eyeriss, PackedArray)
    found: dict[str, Machine] = {}
    for dataflow in DATAFLOWS:
        for name in (SEQ, DRIFT, DRQ):
            machine = built[name]
            assert isinstance(machine, SplitArray)
            streamed = machine.model_copy(update=dict(TIMINGS[dataflow]))
            if name != DRQ:
                found[key(name, dataflow)] = streamed
                continue
            for groups in ROW_GROUPS:
                found[key(drq_name(groups), dataflow)] = streamed.model_copy(update={"row_groups": groups})
    fused = built[BITFUSION]
    assert isinstance(fused, PackedArray)
    return {**found, BITFUSION: fused, EYERISS: eyeriss.model_copy(update=dict(eyeriss.native))}


def described(machines: Mapping[str, Machine]) -> str:
    """The arrays in a phrase."""
    drift, eyeriss = machines[key(DRIFT, DATAFLOWS[0])], machines[EYERISS]
    multipliers = MULTIPLIERS * drift.rows * drift.cols
    srams = f"{drift.input_sram_kib}, {drift.weight_sram_kib} and {drift.output_sram_kib} KiB"
    return (
        f"{drift.rows} x {drift.cols} bit groups, {multipliers:,} 4-bit multipliers, of all but eyeriss, whose "
        f"{eyeriss.rows} x {eyeriss.cols} PEs are of 16 bits; SRAMs of {srams} for inputs, weights and outputs, "
        f"{drift.clock_mhz:g} MHz, {drift.dram_bandwidth:g} bytes per cycle of DRAM"
    )
