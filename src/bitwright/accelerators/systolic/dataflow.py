"""Folds of a product on an array: cycles, accesses and work of one tile, in closed form.

Cycles of one fold of a systolic array of R rows and C columns whose stream is T elements long, filled and drained by
itself, are SCALE-Sim's (Samajdar et al., ISPASS 2020, version 3): 2 R + C + T - 2 weight-stationary, of which R load
weights, and R + C + T - 2 output-stationary, where sums leave by registers of their own behind the next fold.
Weight-stationary folds lay k over the rows and n over the columns and stream m; output-stationary folds lay m and n and
stream k. Lanes of `Broadcast` do as output-stationary ones without skew.

Pipelined (the common ideal), folds follow one another: a fold takes T cycles, or R if loading the next weights (or
draining the last sums) takes longer, and filling and draining is paid once per site. Where scales change along k, each
block of it is a reduction of its own, whose sums are rescaled as they leave. Twin:
`bitwright.accelerators.systolic.register_level`.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

from bitwright.accelerators.bill import Use
from bitwright.accelerators.dataflow import Accesses
from bitwright.memory import Bits, IntArray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """What the timing takes for granted.

    Attributes
    ----------
    hidden : bool
        Whether what rests is exchanged behind the stream.
    pipelined : bool
        Whether folds follow one another without draining the array.
    """

    hidden: bool = True
    pipelined: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Folds:
    """What all arrays have: a grid of units, and what its circuits do.

    Attributes
    ----------
    rows, cols : int
        The grid of units.
    deep, wide : int
        Elements of x, neighbours along k, that a unit multiplies per cycle by each of its columns of w, neighbours
        along n.
    fused : int
        Times that the circuit of `product` works per cycle of a unit.
    block : int
        Elements of k between two changes of any scale; 0: none.
    timing : Timing
        Ideals.
    sum_bits : int or Fraction
        Of a partial sum between array and SRAM.
    product : Use
        A unit's circuit at work.
    exchange : Use or None
        What rests, exchanged once: all its registers, shifted by all rows.
    rescale : Use or None
        A sum of a block rescaled.
    rescalings : int
        How often each is: twice where blocks of weights have minima.
    decode_x, decode_w : Use or None
        A word decoded at the edge.
    x_words, w_words : int
        Words of an element of x and of w, as decoders take them; of several in one unit, 1.
    """

    rows: int
    cols: int
    deep: int = 1
    wide: int = 1
    fused: int = 1
    block: int = 0
    timing: Timing = Timing()
    sum_bits: Bits = 32
    product: Use
    exchange: Use | None = None
    rescale: Use | None = None
    rescalings: int = 1
    decode_x: Use | None = None
    decode_w: Use | None = None
    x_words: int = 1
    w_words: int = 1

    @property
    def unit_divides(self) -> bool:
        """An array that no tile fills is better than none."""
        return True

    @property
    def rescales(self) -> int:
        """Where there are blocks."""
        return self.rescalings if self.block else 0

    @property
    def read_back(self) -> tuple[Use, ...]:
        """Nothing more."""
        return ()

    @property
    def depth(self) -> int:
        """Elements of k on the rows."""
        return self.rows * self.deep

    @property
    def width(self) -> int:
        """Elements of n on the columns."""
        return self.cols * self.wide

    @property
    def k_unit(self) -> int:
        """Elements of k in the smallest tile: whole blocks that fill the rows."""
        return self.block * -(-self.depth // self.block) if self.block else self.depth

    def products(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """How often circuits of units work for a tile; a unit at the edge works for what it has."""
        if not self.block:
            return m * -(-k // self.deep) * -(-n // self.wide) * self.fused
        full, rest = k // self.block, k % self.block
        steps = full * -(-self.block // self.deep) + -(-rest // self.deep)
        return m * steps * -(-n // self.wide) * self.fused

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """The smallest worthwhile tile (m, k, n)."""
        raise NotImplementedError

    @property
    def fill_cycles(self) -> int:
        """Cycles that filling and draining take once."""
        raise NotImplementedError

    def cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of a tile, element-wise."""
        raise NotImplementedError

    def accesses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Accesses:
        """Elements between array and SRAMs for a tile, element-wise."""
        raise NotImplementedError

    def uses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Sequence[tuple[Use, IntArray]]:
        """How often circuits work for a tile, element-wise."""
        raise NotImplementedError

    def n_folds(self, n: IntArray) -> IntArray:
        """Folds along n."""
        return -(-n // self.width)

    def common_uses(
        self, *, m: IntArray, k: IntArray, n: IntArray, folds: IntArray, moved: Accesses
    ) -> list[tuple[Use, IntArray]]:
        """What circuits do for a tile of so many folds."""
        found = [(self.product, self.products(m=m, k=k, n=n))]
        if self.exchange is not None:
            found.append((self.exchange, folds))
        if self.rescale is not None and self.rescales:
            found.append((self.rescale, moved.sums * self.rescales))
        if self.decode_x is not None:
            found.append((self.decode_x, moved.x // k * -(-k // self.deep) * self.x_words))
        if self.decode_w is not None:
            found.append((self.decode_w, moved.w // n * -(-n // self.wide) * self.w_words))
        return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class WeightStationary(Folds):
    """Weights rest, x streams through the rows, sums through the columns.

    Examples
    --------
    >>> use = Use(component="mac", name="mac_int8", unit="operation", price_pj=1.0, source="ours")
    >>> k, n, m = np.array([576]), np.array([128]), np.array([841])
    >>> alone = WeightStationary(rows=32, cols=32, product=use, timing=Timing(hidden=False, pipelined=False))
    >>> int(alone.cycles(m=m, k=k, n=n)[0])  # 18 x 4 folds of 2 x 32 + 32 + 841 - 2 cycles
    67320
    >>> int(WeightStationary(rows=32, cols=32, product=use).cycles(m=m, k=k, n=n)[0])  # of 841
    60552
    """

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """One fold that streams as many rows as it takes to load the next (our choice)."""
        return self.depth, self.k_unit, self.width

    @property
    def fill_cycles(self) -> int:
        """Loading of the first fold where it is hidden, and the skew where folds are pipelined."""
        return self.rows * self.timing.hidden + (self.rows + self.cols - 2) * self.timing.pipelined

    def k_folds(self, k: IntArray) -> IntArray:
        """Folds along k; a fold has one scale."""
        if not self.block:
            return -(-k // self.depth)
        return k // self.block * -(-self.block // self.depth) + -(-(k % self.block) // self.depth)

    def cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of a tile, element-wise."""
        stream = m if self.timing.pipelined else m + self.rows + self.cols - 2
        fold = np.maximum(stream, self.rows) if self.timing.hidden else stream + self.rows
        return self.k_folds(k) * self.n_folds(n) * fold

    def accesses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Accesses:
        """x once per fold of n, weights once, a sum per fold of k."""
        return Accesses(x=m * k * self.n_folds(n), w=k * n, sums=m * n * self.k_folds(k))

    def uses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Sequence[tuple[Use, IntArray]]:
        """Products, loads of weights, rescaled sums, decoded words."""
        folds = self.k_folds(k) * self.n_folds(n)
        return self.common_uses(m=m, k=k, n=n, folds=folds, moved=self.accesses(m=m, k=k, n=n))


@dataclasses.dataclass(frozen=True, kw_only=True)
class OutputStationary(Folds):
    """Sums rest, x streams through the rows, weights through the columns; units are of one element (deep = wide = 1).

    Examples
    --------
    >>> use = Use(component="mac", name="mac_int8", unit="operation", price_pj=1.0, source="ours")
    >>> m, k, n = np.array([128]), np.array([64]), np.array([128])
    >>> alone = OutputStationary(rows=24, cols=32, product=use, timing=Timing(pipelined=False))
    >>> int(alone.cycles(m=m, k=k, n=n)[0])  # 6 x 4 folds of 24 + 32 + 64 - 2 cycles
    2832
    """

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """One fold that streams as many elements as the array has rows."""
        return self.rows, self.k_unit, self.cols

    @property
    def skew(self) -> int:
        """Cycles between the first and the last unit's first product."""
        return self.rows + self.cols - 2

    @property
    def fill_cycles(self) -> int:
        """Skew and the last sums' way out; of folds by themselves nothing, as SCALE-Sim counts."""
        return (self.skew + self.rows) * self.timing.pipelined

    def streams(self, k: IntArray) -> IntArray:
        """Reductions that a fold makes one after another: blocks of one scale."""
        return -(-k // self.block) if self.block else np.ones_like(k)

    def cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of a tile, element-wise."""
        return self.m_folds(m) * self.n_folds(n) * self._fold(k)

    def m_folds(self, m: IntArray) -> IntArray:
        """Folds along m."""
        return -(-m // self.rows)

    def accesses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Accesses:
        """x once per fold of n, weights once per fold of m, a sum per block of k."""
        return Accesses(x=m * k * self.n_folds(n), w=k * n * self.m_folds(m), sums=m * n * self.streams(k))

    def uses(self, *, m: IntArray, k: IntArray, n: IntArray) -> Sequence[tuple[Use, IntArray]]:
        """Products, sums on their way out, rescaled sums, decoded words."""
        folds = self.m_folds(m) * self.n_folds(n) * self.streams(k)
        return self.common_uses(m=m, k=k, n=n, folds=folds, moved=self.accesses(m=m, k=k, n=n))

    def stream_cycles(self, length: IntArray) -> IntArray:
        """Cycles of one reduction: the sums before leave meanwhile."""
        return np.maximum(length, self.rows) if self.timing.pipelined else length + self.skew

    def _fold(self, k: IntArray) -> IntArray:
        if not self.block:
            return self.stream_cycles(k)
        rest = k % self.block
        whole = self.stream_cycles(np.full_like(k, self.block))
        return k // self.block * whole + np.where(rest > 0, self.stream_cycles(rest), 0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Broadcast(OutputStationary):
    """Sums rest in lanes that hear x along their row and w along their column in the same cycle: no skew.

    Examples
    --------
    >>> use = Use(component="mac", name="mac_int8", unit="operation", price_pj=1.0, source="ours")
    >>> m, n, k = np.array([841]), np.array([128]), np.array([576])
    >>> int(Broadcast(rows=24, cols=32, product=use).cycles(m=m, k=k, n=n)[0])  # 36 x 4 folds of 576 cycles
    82944
    """

    @property
    def skew(self) -> int:
        """None; sums that leave in the open take a cycle per row."""
        return 0 if self.timing.pipelined else self.rows
