"""A bit-slice array on operands without anything to skip, slices raw: what tiles are chosen for."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from bitwright.accelerators.bill import Use, listed_use
from bitwright.accelerators.bit_slice.buffers import Moved, SliceBuffers
from bitwright.accelerators.bit_slice.pieces import piece_of
from bitwright.accelerators.bit_slice.schedule import LATENCY
from bitwright.accelerators.bit_slice.slicing import Slicing
from bitwright.accelerators.bit_slice.work import MULTIPLIER
from bitwright.accelerators.dataflow import Accesses
from bitwright.accelerators.systolic.dataflow import Timing
from bitwright.memory import IntArray
from bitwright.methods.vectors import VECTOR
from bitwright.technology import Technology


class SliceElements(Protocol):
    """What the estimate asks of a machine."""

    @property
    def block_rows(self) -> int:
        """Rows of x that the array works on at once."""

    @property
    def block_columns(self) -> int:
        """Columns of w that the array works on at once."""

    @property
    def psum_bits(self) -> int:
        """Bits of a sum."""

    @property
    def slice_buffers(self) -> SliceBuffers:
        """In front of the operators."""

    @property
    def technology(self) -> Technology:
        """Its prices."""

    def dense_pe_cycles(self, *, slicing: Slicing, vectors: IntArray, k: IntArray) -> IntArray:
        """Cycles of a processing element that meets so many vectors of x over k without skipping, element-wise."""

    def output_cycles(self, outputs: IntArray, *, times: int = 1) -> IntArray:
        """Cycles in which so many sums leave, or are read back first (`times` 2), element-wise."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DenseSlices:
    """The array on operands without anything to skip, slices raw: what tiles are chosen for."""

    machine: SliceElements
    slicing: Slicing
    timing: Timing

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """One block, over as many k as it has rows (our choice)."""
        return self.machine.block_rows, self.machine.block_rows, self.machine.block_columns

    @property
    def unit_divides(self) -> bool:
        """No: work is counted by blocks."""
        return False

    @property
    def rescales(self) -> int:
        """Never."""
        return 0

    @property
    def read_back(self) -> tuple[Use, ...]:
        """Nothing more."""
        return ()

    @property
    def fill_cycles(self) -> int:
        """Not known before the tiles are; the product's own is counted with its values."""
        return 0

    @property
    def sum_bits(self) -> int:
        """Of a sum that one tile of k leaves."""
        return self.machine.psum_bits

    def cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of a tile, element-wise: decoding, multiplying and output of blocks overlap."""
        machine, timing = self.machine, self.timing
        rows, columns = machine.block_rows, -(-n // machine.block_columns)
        full, last = (m - 1) // rows, m - (m - 1) // rows * rows
        width = np.minimum(n, machine.block_columns)
        total = np.zeros_like(m)
        for count, size in ((full, np.full_like(m, rows)), (np.ones_like(m), last)):
            work, outputs = self._work(size, k), machine.output_cycles(size * width)
            total += count * (np.maximum(work, outputs) if timing.hidden else work + outputs)
        first = self._decoding(np.minimum(m, rows), piece_of(k, self._most)[1])
        last_output = machine.output_cycles(np.minimum(m, rows) * width) * timing.hidden
        cycles: IntArray = columns * total + (0 if timing.pipelined else first + last_output + LATENCY)
        return cycles

    @property
    def _most(self) -> int:
        return self.machine.slice_buffers.most_k(self.slicing)

    def _work(self, rows: IntArray, k: IntArray) -> IntArray:
        """Cycles of a block of so many rows, piece by piece."""
        count, piece = piece_of(k, self._most)
        total = np.zeros_like(k)
        for times, length in ((count - 1, piece), (1, k - (count - 1) * piece)):
            multiplying = self.machine.dense_pe_cycles(slicing=self.slicing, vectors=-(-rows // VECTOR), k=length)
            total += times * np.maximum(self._decoding(rows, length), multiplying)
        return total

    def _decoding(self, rows: IntArray, k: IntArray) -> IntArray:
        """Cycles of a piece's vectors, a clock for each of a stream, and into the buffers."""
        x_words, w_words = -(-rows // VECTOR) * k * self.slicing.x_slices, k * self.slicing.w_slices
        cycles: IntArray = np.maximum(k, self.machine.slice_buffers.load_cycles(np.maximum(x_words, w_words)))
        return cycles

    def accesses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Accesses:
        """Operands once per block of the other side, a sum per tile of k."""
        machine = self.machine
        return Accesses(x=m * k * -(-n // machine.block_columns), w=k * n * -(-m // machine.block_rows), sums=m * n)

    def uses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Sequence[tuple[Use, IntArray]]:
        """All slice products, and what their buffers take."""
        machine, slicing = self.machine, self.slicing
        x_vectors, w_vectors = -(-m // VECTOR), -(-n // VECTOR)
        products = x_vectors * k * w_vectors * slicing.products
        row_blocks, column_blocks = -(-m // machine.block_rows), -(-n // machine.block_columns)
        words = Moved(
            x_written=x_vectors * w_vectors * k * slicing.x_slices,
            w_written=row_blocks * w_vectors * k * slicing.w_slices,
            x_read=products,
            w_read=products,
            mask_bits=k * (column_blocks * x_vectors + row_blocks * w_vectors),
        )
        return [
            (listed_use("mac", MULTIPLIER, machine.technology), m * k * n * slicing.products),
            *machine.slice_buffers.uses(words),
        ]
