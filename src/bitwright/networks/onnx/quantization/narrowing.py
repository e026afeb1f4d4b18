"""Codes of fewer bits than their type: what a Clip before a QuantizeLinear leaves, and what shifts drop.

ONNX has types of 4, 8 and 16 bits. A quantizer of other widths brings reals between the reals of its own first and
last code, or shifts codes to the right and to the left again.
"""

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from bitwright.networks.onnx.node import Node
from bitwright.networks.onnx.quantization.grids import Grid

if TYPE_CHECKING:
    from bitwright.networks.onnx.build import Builder

BITS = "bitwright.bits"
"""A property of a model: JSON of how many bits constant codes have, by name, where their type has more."""
MOST_BOUNDS = 8  # nodes that bring reals between bounds, before one QuantizeLinear


def within_bounds(builder: "Builder", node: Node, grid: Grid) -> Grid:
    """The grid of a QuantizeLinear, in the bits that reals have which are brought between bounds right before it."""
    low, high, name = grid.low, grid.high, node.inputs[0]
    for _ in range(MOST_BOUNDS):
        index = builder.made_by.get(name)
        before = None if index is None else builder.nodes[index]
        if before is None or before.domain or before.op not in ("Clip", "Max", "Min") or name in builder.constants:
            break
        ends = {"Clip": (1, 2), "Max": (1, None), "Min": (None, 1)}[before.op]
        bounds = [None if place is None else builder.constant(before, place) for place in ends]
        if any(
            bound is None and place is not None and builder.has(before, place)
            for bound, place in zip(bounds, ends, strict=True)
        ):
            break
        least, most = (None if bound is None else _code(grid, bound) for bound in bounds)
        low, high = max(low, low if least is None else least), min(high, high if most is None else most)
        found = _between(grid, low, high)
        if found is not None:
            return found
        name = before.inputs[0]
    return grid


def _code(grid: Grid, bound: torch.Tensor) -> int | None:
    """The one code that stands for a bound, or for each element of it; None where there is none."""
    try:
        codes = grid.codes(bound.float())
        same = torch.equal(grid.reals(codes), bound.float().expand(codes.shape))
    except RuntimeError:  # scales and bounds that fit no common tensor
        return None
    return int(codes.flatten()[0]) if same and bool((codes == codes.flatten()[0]).all()) else None


def _between(grid: Grid, low: int, high: int) -> Grid | None:
    """The grid with the bits that codes from `low` to `high` exactly fill; None where no width does."""
    for bits in range(2, grid.bits + 1):
        for narrow in (False, True) if grid.signed else (False,):
            found = dataclasses.replace(grid, bits=bits, narrow=narrow)
            if (found.low, found.high) == (low, high):
                return found
    return None


def stated_bits(model: Any) -> Mapping[str, int]:
    """What a model says of the bits of its constant codes; of_codes holds it against these."""
    text = next((each.value for each in model.metadata_props if each.key == BITS), "{}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return {name: bits for name, bits in found.items() if type(bits) is int} if isinstance(found, dict) else {}


def of_codes(grid: Grid, codes: torch.Tensor, bits: int | None) -> Grid:
    """The grid of constant codes: of `bits`, where the file says that these are enough, and narrow where it can be."""
    low, high = (int(end) for end in torch.aminmax(codes)) if codes.numel() else (0, 0)
    if bits is not None and 2 <= bits < grid.bits:
        fewer = dataclasses.replace(grid, bits=bits)
        grid = fewer if fewer.low <= low and high <= fewer.high else grid
    return dataclasses.replace(grid, narrow=grid.signed and low > -(2 ** (grid.bits - 1)))


def shifts_of(builder: "Builder", node: Node) -> tuple[int, int, int] | None:
    """How many bits two BitShifts after a QuantizeLinear drop, and where they are in the graph; None without them."""
    found, name, bits = [], node.outputs[0], set[int]()
    for direction in ("RIGHT", "LEFT"):
        index = builder.only_reader(name, "BitShift")
        shift = None if index is None else builder.nodes[index]
        by = None if shift is None else builder.constant(shift, 1)
        if index is None or shift is None or by is None or by.numel() != 1 or shift.inputs[0] != name:
            return None
        if shift.text("direction", "") != direction:
            return None
        found.append(index)
        bits.add(int(by))
        name = shift.outputs[0]
    return (bits.pop(), found[0], found[1]) if len(bits) == 1 else None
