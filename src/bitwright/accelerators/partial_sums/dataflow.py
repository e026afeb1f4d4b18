"""Inner products on Po lines of Pco processing elements of Pci products each, in three dataflows, for one tile.

A step makes Po x Pco partial sums. Inputs at rest (`is`): Po x Pci inputs while all columns of the tile stream, then
the next Pci of the reduction. Weights at rest (`ws`): Pci x Pco weights while all rows stream. Sums at rest (`os`):
Po x Pco sums while the reduction streams. What rests is loaded in a cycle, by a port as wide. Every sum that leaves is
added to what is stored of its output, quantized as the plan says, and stored until it is read back. Twins:
`bitwright.accelerators.partial_sums.reference`, and an array in RTL, `bitwright.circuits.arrays.inner_products`.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from bitwright.accelerators.bill import Use
from bitwright.accelerators.dataflow import Accesses
from bitwright.accelerators.systolic.dataflow import Timing
from bitwright.memory import Bits, IntArray

Rests = Literal["is", "ws", "os"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class InnerProducts:
    """One dataflow on one array.

    Attributes
    ----------
    rests : str
        What rests.
    po, pci, pco : int
        Lines, products of a processing element, processing elements of a line.
    depth : int
        Cycles from a step to the one in which its sums leave: stages of multiplier, adder tree and engine, less one.
    timing : Timing
        Ideals.
    sum_bits : int or Fraction
        Of a stored partial sum.
    product, exchange : Use
        A multiply-accumulate; what rests exchanged once.
    stored : tuple of (Use, int)
        What the engine does for a sum that leaves, and how often.
    loaded : tuple of Use
        What it does for one that is read back, beside adding it.

    Examples
    --------
    >>> use = Use(component="mac", name="mac_int8", unit="operation", price_pj=1.0, source="ours")
    >>> array = InnerProducts(rests="ws", po=16, pci=8, pco=8, depth=4, sum_bits=32, product=use, exchange=use)
    >>> import numpy as np
    >>> m, k, n = np.array([128]), np.array([768]), np.array([768])
    >>> int(array.cycles(m=m, k=k, n=n)[0]), int(array.accesses(m=m, k=k, n=n).sums[0]) == 96 * 128 * 768
    (73728, True)
    """

    rests: Rests
    po: int
    pci: int
    pco: int
    depth: int
    timing: Timing = Timing()
    sum_bits: Bits
    product: Use
    exchange: Use
    stored: tuple[tuple[Use, int], ...] = ()
    loaded: tuple[Use, ...] = ()

    @property
    def unit_divides(self) -> bool:
        """An array that no tile fills is better than none."""
        return True

    @property
    def rescales(self) -> int:
        """Never."""
        return 0

    @property
    def read_back(self) -> tuple[Use, ...]:
        """Nothing is stored where sums rest."""
        return () if self.rests == "os" else self.loaded

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """A step."""
        return self.po, self.pci, self.pco

    @property
    def fill_cycles(self) -> int:
        """The last step's way out, and where it is hidden the first load of what rests."""
        loaded = self.timing.hidden and self.rests != "os"
        return self.depth * self.timing.pipelined + loaded

    def cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of a tile, element-wise: a step each."""
        rows, depth, columns = self._grid(m, k, n)
        folds = self._folds(rows, depth, columns)
        alone = 0 if self.timing.pipelined else self.depth
        loads = 0 if self.timing.hidden or self.rests == "os" else 1
        return rows * depth * columns + folds * (alone + loads)

    def accesses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Accesses:
        """What rests once, what streams once per tile of what it meets, a sum per step that does not rest."""
        rows, depth, columns = self._grid(m, k, n)
        return Accesses(
            x=m * k if self.rests == "is" else m * k * columns,
            w=k * n if self.rests == "ws" else k * n * rows,
            sums=m * n if self.rests == "os" else m * n * depth,
        )

    def uses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Sequence[tuple[Use, IntArray]]:
        """Multiply-accumulates, exchanges of what rests, and the engine's work on sums."""
        sums = self.accesses(m=m, k=k, n=n).sums
        folds = self._folds(*self._grid(m, k, n))
        work = [(use, count * sums) for use, count in self.stored] if self.rests != "os" else []
        return [(self.product, m * k * n), (self.exchange, folds), *work]

    def _grid(self, m: IntArray, k: IntArray, n: IntArray) -> tuple[IntArray, IntArray, IntArray]:
        return -(-m // self.po), -(-k // self.pci), -(-n // self.pco)

    def _folds(self, rows: IntArray, depth: IntArray, columns: IntArray) -> IntArray:
        """How often what rests is exchanged."""
        return {"is": rows * depth, "ws": depth * columns, "os": rows * columns}[self.rests]
