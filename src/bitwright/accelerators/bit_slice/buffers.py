"""Buffers of slices in front of the operators: what an element holds of the piece at work, and of the next one.

Operators read a vector of slices of each side for every slice product, from wherever it stands in the piece, and
elements are not in step within a block (RTL: `bitwright.circuits.arrays.SliceArray`). So ours, since the papers leave
it open: every element has a copy of the block's vectors of x, which are broadcast as they are decoded, and its own
vector of w, all slices of both; SRAM banks with words of a vector, as many for each side as there are operators, so
that each takes a vector a clock, and the same again for the piece that is decoded meanwhile, into which a bank takes a
vector a clock too. One memory with a port for every operator of all elements would be none that is built; registers
would take seven times the area for x, and leak. Banks are no smaller than the smallest macro there is. As in all SRAMs
here, words are spread evenly over banks, and wires within a buffer are those of its banks. A skipped vector is not
written: masks, a bit of each vector of the block in registers, say where there is one.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from bitwright.accelerators.bill import Component, Use, use
from bitwright.accelerators.bit_slice.blocks import Blocks
from bitwright.accelerators.bit_slice.products import Products
from bitwright.accelerators.bit_slice.slicing import SLICE_BITS, Slicing
from bitwright.accelerators.circuits import priced
from bitwright.accelerators.srams import Sram, banks_of, memory
from bitwright.accelerators.substrate import Substrate
from bitwright.accelerators.systolic.machine import REGISTER
from bitwright.memory import IntArray
from bitwright.methods.vectors import VECTOR

SIDES = ("x", "w")
WORD_BITS = VECTOR * SLICE_BITS
SLICES = 2
"""Of an operand that the capacity is stated for."""
HALVES = 2
"""The piece at work, and the one that is decoded."""
MASKS = "slice_masks"
BITS_PER_BYTE = 8
Count = int | IntArray
"""Of one product, or element-wise of many tiles."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SliceBuffers:
    """Buffers of all elements.

    Attributes
    ----------
    substrate : Substrate
        Node, clock and prices.
    elements : int
        How many have them.
    operators : int
        Of each element.
    x_vectors : int
        Vectors of x in a block.
    depth : int
        k of a piece of operands of two slices.
    """

    substrate: Substrate
    elements: int
    operators: int
    x_vectors: int
    depth: int

    def most_k(self, slicing: Slicing) -> int:
        """k of a piece: less where an operand has more slices."""
        return min(self.depth, SLICES * self.depth // max(slicing.x_slices, slicing.w_slices))

    def vectors(self, side: str) -> int:
        """Vectors of an operand that an element holds of every k."""
        return {"x": self.x_vectors, "w": 1}[side]

    @property
    def mask_bits(self) -> int:
        """Registers for masks: of the block's vectors of x, and of each element's of w."""
        return HALVES * self.depth * (self.x_vectors + self.elements)

    def load_cycles(self, words: IntArray) -> IntArray:
        """Clocks in which so many vectors are written into a buffer, element-wise."""
        cycles: IntArray = -(-words // self.operators)
        return cycles

    def of_element(self, side: str) -> Sram:
        """The buffer of one side of an element. Raises as `banks_of` does."""
        words = SLICES * self.depth * self.vectors(side)
        needed = -(-words // self.operators) * WORD_BITS // BITS_PER_BYTE
        return banks_of(
            self.substrate,
            banks=HALVES * self.operators,
            bank_bytes=max(self.substrate.technology.least_sram_bytes(WORD_BITS), needed),
            word_bits=WORD_BITS,
            lever="buffered_k",
        )

    def components(self) -> Sequence[Component]:
        """Buffers of both sides, and masks."""
        found = [
            Component(name=_name(side), count=self.elements, circuit=memory(self.of_element(side))) for side in SIDES
        ]
        register = priced(REGISTER, self.substrate.technology, "parts")
        return [*found, Component(name=MASKS, count=self.mask_bits, circuit=register)]

    def uses(self, counted: "Moved") -> Iterator[tuple[Use, Any]]:
        """Words that are written and read, and bits of masks."""
        for side, written, read in (
            ("x", counted.x_written, counted.x_read),
            ("w", counted.w_written, counted.w_read),
        ):
            sram = self.of_element(side)
            for what, price_pj, count in (("write", sram.write_pj, written), ("read", sram.read_pj, read)):
                yield (
                    Use(component=_name(side), name=what, unit="vector", price_pj=price_pj, source=sram.source),
                    count,
                )
        yield use(MASKS, "write", "bit", priced(REGISTER, self.substrate.technology, "parts")), counted.mask_bits


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moved:
    """Vectors that are written into buffers and read from them, in all elements, and bits of masks."""

    x_written: Count
    w_written: Count
    x_read: Count
    w_read: Count
    mask_bits: Count


@dataclasses.dataclass(frozen=True, kw_only=True)
class Held:
    """Vectors of slices that a buffer holds, by piece.

    Attributes
    ----------
    x : IntArray
        [groups, pieces, row blocks]: in each element.
    w : IntArray
        [groups, pieces, vectors of w]: in the element that has this one.
    """

    x: IntArray
    w: IntArray


def held(blocks: Blocks, slicing: Slicing, skipping: str) -> Held:
    """All low-order slices, and of high order what is kept; of a side that is not skipped, all."""
    x_all = np.broadcast_to(blocks.pairs, blocks.x_kept.shape)
    w_all = np.broadcast_to(blocks.k_sizes[:, None], blocks.w_kept.shape)
    x_high = blocks.x_kept if skipping in ("both", "x") else x_all
    w_high = blocks.w_kept if skipping in ("both", "w") else w_all
    return Held(
        x=slicing.x_high * x_high + slicing.x_low * x_all,
        w=slicing.w_high * w_high + slicing.w_low * w_all,
    )


def moved(blocks: Blocks, slicing: Slicing, products: Products, *, column_blocks: int) -> Moved:
    """Every element that has a vector of w gets the block's vectors of x; a product reads one of each side."""
    holds, (groups, _, row_blocks, w_vectors) = held(blocks, slicing, products.skipping), blocks.both.shape
    x_vectors, k = int(blocks.x_vectors.sum()), int(blocks.k_sizes.sum())
    return Moved(
        x_written=w_vectors * int(holds.x.sum()),
        w_written=row_blocks * int(holds.w.sum()),
        x_read=products.executed,
        w_read=products.executed,
        mask_bits=groups * k * (column_blocks * x_vectors + row_blocks * w_vectors),
    )


def _name(side: str) -> str:
    return f"{side}_slice_buffers"
