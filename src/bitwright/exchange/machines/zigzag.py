"""ZigZag's accelerators (YAML of version 3): memories with ports and the dimensions they serve, and an array.

Operands are I1, I2 and O, of which I2 is taken for the weights, as in ZigZag's own mappings. Sizes are in bits, costs
in pJ of an access as wide as a port. A memory that serves all dimensions is shared by the array; the last such is DRAM
where its name or type says so, or where it is larger than a chip.
"""

import math
from collections.abc import Mapping
from typing import Any

from bitwright.errors import InputError
from bitwright.exchange.machines.architecture import Architecture, Dram, Memory, Operand, names
from bitwright.exchange.machines.reading import Fields
from bitwright.networks.shape_files.layers import name_of
from bitwright.strict_yaml import Document

ARRAY, MEMORIES, FLOWS = "operational_array", "memories", "dataflows"
OPERANDS: Mapping[str, Operand] = {"I1": "x", "I2": "w", "O": "y"}
DRAM_NAMES = ("dram", "hbm", "ddr", "offchip", "off_chip")
CHIP_BITS = 2**32
"""A memory of 512 MiB is on no chip."""
WIDEST_SUM = 64
COLUMN_LOOP = "K"


def is_architecture(data: Any) -> bool:
    """Whether a document is an accelerator of ZigZag."""
    return isinstance(data, Mapping) and ARRAY in data


def read(document: Document) -> Architecture:
    """What an accelerator says.

    Raises
    ------
    InputError
        A key is missing or has no value that it could have, with file and line; or the array is in-memory computing.
    """
    top = Fields(document, (), document.data)
    array = top.mapping(ARRAY)
    if array.data.get("is_imc") or array.data.get("imc_type"):
        raise InputError(f"{document.where((ARRAY,))}: the array computes in memory, which no machine here does")
    extents = _extents(array)
    memories = {name: top.mapping(MEMORIES).mapping(name) for name in top.mapping(MEMORIES).data}
    dram = next((name for name in reversed(memories) if _is_dram(name, memories[name], extents)), None)
    on_chip = {name: fields for name, fields in memories.items() if name != dram}
    placed = {name: _memory(name, fields, extents) for name, fields in on_chip.items()}
    sums = [_sum_bits(memory, on_chip[name]) for name, (memory, is_place) in placed.items() if is_place]
    precision = array.integers("input_precision") if "input_precision" in array.data else []
    notes = _of_array(document, array) + _unmapped(list(on_chip.items()))
    return Architecture(
        form="ZigZag",
        sizes=_ordered(top, extents, notes),
        mac_bits=max(precision, default=None),
        psum_bits=next((bits for bits in sums if bits), None),
        places=tuple(memory for memory, is_place in placed.values() if is_place),
        shared=tuple(memory for memory, is_place in placed.values() if not is_place),
        dram=_dram(memories[dram] if dram else None, notes),
        notes=tuple(notes),
    )


def _extents(array: Fields) -> dict[str, int]:
    """Sizes of the array by dimension."""
    sizes, dimensions = array.integers("sizes"), array.texts("dimensions")
    if len(sizes) != len(dimensions) or not sizes:
        where = array.document.where((*array.place, "sizes"))
        raise InputError(f"{where}: {len(sizes)} sizes for {len(dimensions)} dimensions; one for each is expected")
    return dict(zip(dimensions, sizes, strict=True))


def _of_array(document: Document, array: Fields) -> list[str]:
    """What is to be said of the array, and of the whole file."""
    notes = []
    if document.repeated:
        notes.append(f"keys given twice, of which the last counts, as in ZigZag: {names(document.repeated)}")
    if {"unit_energy", "unit_area"} & set(array.data):
        notes.append("unit_energy, unit_area: a multiplier is priced by the node, or by a price list")
    return notes


def _sum_bits(memory: Memory, fields: Fields) -> int | None:
    """Width of a partial sum, where a memory in the array's places holds only such."""
    bits = min(_widest(fields, "read") or 0, fields.integer("size"))
    return bits if memory.operands == {"y"} and 0 < bits <= WIDEST_SUM else None


def _ordered(top: Fields, extents: Mapping[str, int], notes: list[str]) -> tuple[int, ...]:
    """Sizes of the axes, rows first: columns are those that unroll K where dataflows say which do."""
    flows = top.data.get(FLOWS)
    if not isinstance(flows, Mapping) or len(extents) < 2:
        if len(extents) == 2:
            notes.append(f"the file has no {FLOWS}: {next(iter(extents))} is taken for rows, the last for columns")
        return tuple(extents.values())
    loops = {
        axis: {str(each).split(",")[0].strip().upper() for each in given}
        for axis, given in flows.items()
        if isinstance(given, list)
    }
    columns = [axis for axis in extents if COLUMN_LOOP in loops.get(axis, set())]
    if not columns:
        notes.append(f"no axis of {FLOWS} unrolls K: the last is taken for columns")
        columns = [list(extents)[-1]]
    rows = [extents[axis] for axis in extents if axis not in columns]
    return math.prod(rows), math.prod(extents[axis] for axis in columns)


def _is_dram(name: str, fields: Fields, extents: Mapping[str, int]) -> bool:
    kind = str(fields.data.get("mem_type", "")).lower()
    is_called = any(each in name.lower() for each in DRAM_NAMES) or kind == "dram"
    return set(fields.texts("served_dimensions")) >= set(extents) and (is_called or fields.integer("size") >= CHIP_BITS)


def _memory(name: str, fields: Fields, extents: Mapping[str, int]) -> tuple[Memory, bool]:
    """A memory, and whether it stands in the places of the array."""
    served = set(fields.texts("served_dimensions"))
    copies = math.prod(size for axis, size in extents.items() if axis not in served)
    operands = [OPERANDS[each] for each in fields.texts("operands", tuple(OPERANDS))]
    memory = Memory(name=name_of(name, "a memory"), bits=fields.integer("size") * copies, operands=frozenset(operands))
    return memory, not served >= set(extents)


def _widest(fields: Fields, way: str) -> int | None:
    """The widest port that reads or writes, in bits per cycle."""
    widths = [port.integer("bandwidth_max") for port in fields.mappings("ports") if way in port.text("type")]
    return max(widths, default=None)


def _dram(fields: Fields | None, notes: list[str]) -> Dram:
    """Bandwidth and energy of DRAM."""
    if fields is None:
        notes.append("no memory is DRAM: it stays as the substrate has it")
        return Dram()
    read_bits, write_bits = _widest(fields, "read"), _widest(fields, "write")
    bits = max(read_bits or 0, write_bits or 0)
    if not bits:
        return Dram()
    paid = [
        fields.number(key) / width
        for key, width in (("r_cost", read_bits), ("w_cost", write_bits))
        if width and fields.data.get(key) is not None
    ]
    if len(set(paid)) > 1:
        notes.append(
            f"a bit of DRAM costs {paid[0]:g} pJ to read and {paid[1]:g} pJ to write: the mean is taken for both"
        )
    if len(fields.mappings("ports")) > 1:
        notes.append("ports of DRAM are one channel here, as wide as the widest")
    energy = sum(paid) / len(paid) if paid else 0
    return Dram(bytes_per_cycle=bits / 8, pj_per_bit=energy or None)


def _unmapped(memories: list[tuple[str, Fields]]) -> list[str]:
    """What memories on the chip say that a machine here finds itself, or does not model."""
    reasons = {
        "ports": "widths of ports: an SRAM's are what the array asks for, in banks of the substrate",
        "r_cost": "costs of an access: an SRAM is priced by the words of its banks",
        "area": "areas: an SRAM's is that of its banks",
        "latency": "latencies above one cycle: none is modelled",
        "force_double_buffering": "forced double buffering: tiles are buffered twice where they fit",
        "auto_cost_extraction": "costs by CACTI: an SRAM is priced by the words of its banks",
    }
    notes = []
    for key, reason in reasons.items():
        owners = [
            name for name, fields in memories if fields.data.get(key) and (key != "latency" or fields.data[key] != 1)
        ]
        notes += [f"{reason} ({names(owners)})"] if owners else []
    return notes
