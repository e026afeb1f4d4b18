"""An architecture as both tools describe it, and the machine of ours that comes nearest.

An array of multipliers, memories of two kinds (in the array's places; shared by all of it), and DRAM. What rests in the
places says which array it is: weights make it `systolic-ws`, sums `systolic-os`. A machine here has one SRAM for each
operand: the one with the largest part for it, in equal parts where operands share it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bitwright.accelerators.systolic.operands import INTEGER_MAC_BITS
from bitwright.networks.shape_files.layers import name_of
from bitwright.technology import NODES, drams

Operand = Literal["x", "w", "y"]
OPERANDS: Mapping[Operand, str] = {"x": "input", "w": "weight", "y": "output"}
WEIGHTS_REST, SUMS_REST = "systolic-ws", "systolic-os"
BITS_PER_KIB = 8 * 1024
MOST_UNITS = 2**31 - 1
MOST_KIB = 2**22
"""Four GiB are on no chip."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Memory:
    """A memory on the chip.

    Attributes
    ----------
    name : str
        In the file.
    bits : int
        Capacity, of all its instances.
    operands : frozenset of str
        Those that it holds: x, w, y.
    """

    name: str
    bits: int
    operands: frozenset[Operand]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Dram:
    """DRAM's technology as a file has it (empty where it has none), bandwidth, and energy."""

    kind: str = ""
    bytes_per_cycle: float | None = None
    pj_per_bit: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a file says.

    Attributes
    ----------
    form : str
        Whose file it is.
    sizes : tuple of int
        Of the array, axis by axis: rows and columns where there are two.
    mac_bits : int or None
        Width of a multiplier.
    is_float : bool
        Whether it multiplies floating-point numbers.
    psum_bits : int or None
        Width of a partial sum.
    places, shared : tuple of Memory
        Memories in the array's places, and those that all of it shares.
    dram : Dram
        What is known of DRAM.
    clock_mhz, node_nm : float or None
        Of the chip.
    notes : tuple of str
        What has no place here, and why.
    """

    form: str
    sizes: tuple[int, ...]
    mac_bits: int | None = None
    is_float: bool = False
    psum_bits: int | None = None
    places: tuple[Memory, ...] = ()
    shared: tuple[Memory, ...] = ()
    dram: Dram = Dram()
    clock_mhz: float | None = None
    node_nm: float | None = None
    notes: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Imported:
    """A machine that came from a file of another tool.

    Attributes
    ----------
    form : str
        Whose file.
    base : str
        The registered accelerator that it is.
    values : mapping
        Its parameters, as far as the file has them.
    notes : tuple of str
        How it was read, and what of the file has no place here, and why.
    """

    form: str
    base: str
    values: Mapping[str, Any]
    notes: tuple[str, ...]


def machine_of(given: Architecture) -> Imported:
    """The machine that comes nearest. Raises ValueError where none does."""
    notes: list[str] = []
    base = _base(given, notes)
    values: dict[str, Any] = {**_array(given, notes), **_srams(given, notes), **_chip(given, notes)}
    return Imported(form=given.form, base=base, values=values, notes=(*notes, *given.notes))


def _base(given: Architecture, notes: list[str]) -> str:
    """Which array it is, by what rests in its places."""
    resting = {
        operand: max((each.bits for each in given.places if operand in each.operands), default=0)
        for operand in OPERANDS
    }
    weights_rest = resting["w"] > resting["y"]
    names = ", ".join(each.name for each in given.places) or "none"
    notes.append(
        f"{'weights' if weights_rest else 'sums'} rest in the array's places (memories there: {names}), so that it is "
        f"{WEIGHTS_REST if weights_rest else SUMS_REST}; a place here holds one of them, and nothing beyond"
    )
    return WEIGHTS_REST if weights_rest else SUMS_REST


def _array(given: Architecture, notes: list[str]) -> dict[str, Any]:
    """Rows, columns, multipliers and sums."""
    units = math.prod(given.sizes)
    if not 0 < units <= MOST_UNITS:
        raise ValueError(
            f"the array has {' x '.join(map(str, given.sizes)) or 'no'} multipliers; at least one is expected"
        )
    if len(given.sizes) == 2:
        rows, cols = given.sizes
    elif len(given.sizes) == 1:
        rows = max(each for each in range(1, math.isqrt(units) + 1) if units % each == 0)
        cols = units // rows
    else:
        heads = (math.prod(given.sizes[:i]) for i in range(1, len(given.sizes)))
        rows = min(heads, key=lambda each: abs(math.log(each * each / units)))
        cols = units // rows
    if len(given.sizes) != 2:
        notes.append(f"{' x '.join(map(str, given.sizes))} multipliers stand here as {rows} rows of {cols}")
    values: dict[str, Any] = {"rows": rows, "cols": cols}
    if given.mac_bits is not None:
        values["mac"] = _multiplier(given.mac_bits, given.is_float, notes)
    if given.psum_bits is not None:
        values["psum_bits"] = given.psum_bits
    return values


def _multiplier(bits: int, is_float: bool, notes: list[str]) -> str:
    """The narrowest multiplier that is as wide."""
    kinds = {16: "float16", 32: "float32"} if is_float else {width: name for name, width in INTEGER_MAC_BITS.items()}
    width = min((each for each in kinds if each >= bits), default=max(kinds))
    if width != bits:
        notes.append(f"multipliers of {bits} bits are {kinds[width]} here; there are {', '.join(kinds.values())}")
    return kinds[width]


def _srams(given: Architecture, notes: list[str]) -> dict[str, Any]:
    """A capacity for every operand."""
    chosen = {operand: _home(operand, given) for operand in OPERANDS}
    values = {}
    for operand, word in OPERANDS.items():
        home = chosen[operand]
        if home is None:
            notes.append(f"nothing on the chip holds the {word}s: {word}_sram_kib stays as the substrate has it")
            continue
        parts = sum(each is home for each in chosen.values()) if home in given.shared else 1
        share = home.bits / parts
        kib = max(1, round(share / BITS_PER_KIB))
        if kib > MOST_KIB:
            raise ValueError(f"{home.name} has {home.bits:,} bits, more than any chip")
        values[f"{word}_sram_kib"] = kib
        where = "an SRAM" if home in given.shared else "registers of the array"
        divided = f", a part of {parts} that share it" if parts > 1 else ""
        exact = "" if kib * BITS_PER_KIB == share else f" (of {share / BITS_PER_KIB:g}: whole KiB)"
        notes.append(f"{word}s: {home.name}, {where}{divided}: {kib} KiB{exact}")
    left = [each.name for each in given.shared if not any(each is home for home in chosen.values())]
    if left:
        notes.append(f"levels between are left out, a machine here has one SRAM for an operand: {names(left)}")
    return values


def _home(operand: Operand, given: Architecture) -> Memory | None:
    """Where an operand is on the chip: the memory with the largest part for it, in the array if nowhere else."""
    for memories in (given.shared, given.places):
        holding = [each for each in memories if operand in each.operands]
        if holding:
            return max(holding, key=lambda each: each.bits / len(each.operands))
    return None


def _chip(given: Architecture, notes: list[str]) -> dict[str, Any]:
    """DRAM, clock and node."""
    dram = given.dram
    stated = {
        "dram": dram.kind.lower() if dram.kind.lower() in drams() else None,
        "dram_bytes_per_cycle": dram.bytes_per_cycle,
        "dram_pj_per_bit": dram.pj_per_bit,
        "clock_mhz": given.clock_mhz,
    }
    values = {key: value for key, value in stated.items() if value}
    if dram.kind and "dram" not in values:
        notes.append(f"DRAM {dram.kind} is none of {', '.join(drams())}: it stays as the substrate has it")
    if given.node_nm and given.node_nm in [float(node) for node in NODES]:
        values["node_nm"] = int(given.node_nm)
    elif given.node_nm:
        notes.append(
            f"there are no prices at {given.node_nm:g} nm, only at {' and '.join(map(str, NODES))}: node_nm stays as "
            "the substrate has it, or give a price list"
        )
    missing = [key for key in ("clock_mhz", "node_nm", "mac", "psum_bits") if not _has(given, key)]
    if missing:
        notes.append(f"the file does not say, so that the substrate or the machine does: {', '.join(missing)}")
    return values


def _has(given: Architecture, key: str) -> bool:
    return {
        "clock_mhz": given.clock_mhz,
        "node_nm": given.node_nm,
        "mac": given.mac_bits,
        "psum_bits": given.psum_bits,
    }[key] is not None


def names(given: Sequence[str]) -> str:
    """Several names in a note, each once."""
    return ", ".join(dict.fromkeys(name_of(each, "?") for each in given))
