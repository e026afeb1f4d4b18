"""How often the three dataflows touch inputs, weights and partial sums, in closed form, for one group of a product.

x [m, k] by w [k, n] on Po lines of Pco processing elements of Pci products each: nm = ceil(m / Po), np = ceil(k / Pci),
no = ceil(n / Pco). One step makes Po x Pco partial sums. Input-stationary (`is`): Po x Pci inputs rest while all
columns stream, then the next tile of k. Weight-stationary (`ws`): Pci x Pco weights rest while all rows stream, then
the next tile of k. Output-stationary (`os`): the sums rest while k streams. A reconstruction: the paper's equations are
not public. Of an output np - 1 partial sums are written and read back, because the last step finishes it.

DRAM: an operand that is streamed again is read again, all of it, if it does not fit its SRAM (our choice: what a buffer
that forgets the least recently used does with a cyclic stream). Output-stationary loops have two orders, rows outside
or columns outside.

Cut (ours, what a compiler would do): what streams is walked in pieces of 2^j tiles, one piece through all other loops
before the next. Fewer partial sums live, and what rests is loaded again for every piece: weights under `ws`, whose rows
are cut, and inputs under `is`, whose columns are. Twin: `bitwright.accelerators.partial_sums.reference`.
"""

import dataclasses
from typing import Literal

Dataflow = Literal["is", "ws", "os"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Grid:
    """A product of m x k by k x n on the array, in tiles."""

    m: int
    k: int
    n: int
    po: int
    pci: int
    pco: int

    @property
    def row_tiles(self) -> int:
        """Nm: tiles of Po rows."""
        return -(-self.m // self.po)

    @property
    def psum_tiles(self) -> int:
        """Np: tiles of Pci products, hence partial sums of each output."""
        return -(-self.k // self.pci)

    @property
    def column_tiles(self) -> int:
        """No: tiles of Pco columns."""
        return -(-self.n // self.pco)

    @property
    def steps(self) -> int:
        """Steps of Po x Pco partial sums, one per cycle."""
        return self.row_tiles * self.psum_tiles * self.column_tiles


@dataclasses.dataclass(frozen=True, kw_only=True)
class Capacity:
    """Elements that the SRAMs of the operands hold; None: as many as come, so that nothing is read twice."""

    x: int | None
    w: int | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accesses:
    """Elements that one group moves.

    Attributes
    ----------
    order : str
        Loops over tiles, outermost first: "nkm".
    piece : int
        Tiles of the innermost loop that are walked through all loops before the next so many; all of them if uncut.
    x_read, w_read : int
        From SRAM into the array.
    x_dram, w_dram : int
        From DRAM into SRAM, repetitions included.
    psum_read, psum_write : int
        Partial sums between array and SRAM.
    live_outputs : int
        Outputs whose partial sums live at the same time.
    """

    order: str
    piece: int
    x_read: int
    w_read: int
    x_dram: int
    w_dram: int
    psum_read: int
    psum_write: int
    live_outputs: int


def candidates(grid: Grid, dataflow: Dataflow, capacity: Capacity, *, cut: bool = False) -> tuple[Accesses, ...]:
    """What one group moves under each loop order that a dataflow allows, and if `cut`, in each size of pieces.

    Examples
    --------
    >>> grid = Grid(m=128, k=768, n=768, po=16, pci=8, pco=8)
    >>> (found,) = candidates(grid, "ws", Capacity(x=None, w=None))
    >>> found.x_read == 128 * 768 * 96, found.psum_write == 95 * 128 * 768, found.live_outputs
    (True, True, 1024)
    >>> pieces = candidates(grid, "ws", Capacity(x=None, w=None), cut=True)
    >>> [(each.piece, each.live_outputs) for each in pieces]
    [(8, 1024), (4, 512), (2, 256), (1, 128)]
    """
    if dataflow == "is":
        return tuple(_input_stationary(grid, capacity, piece) for piece in _pieces(grid.column_tiles, cut=cut))
    if dataflow == "ws":
        return tuple(_weight_stationary(grid, capacity, piece) for piece in _pieces(grid.row_tiles, cut=cut))
    return _output_stationary(grid, capacity)


def _pieces(tiles: int, *, cut: bool) -> list[int]:
    """All of the tiles, and if `cut`, every smaller power of two, the largest first."""
    return [tiles, *(1 << j for j in reversed(range((tiles - 1).bit_length())) if cut)]


def _loads(streamed: int, piece: int, resting: int) -> int:
    """How often each of the `resting` tiles is loaded into the array: once per piece, but a single one stays."""
    return -(-streamed // piece) if resting > 1 else 1


def _input_stationary(grid: Grid, capacity: Capacity, piece: int) -> Accesses:
    x, w, stored = grid.m * grid.k, grid.k * grid.n, _stored(grid)
    columns, loads = piece * grid.pco, _loads(grid.column_tiles, piece, grid.row_tiles * grid.psum_tiles)
    return Accesses(
        order="mkn",
        piece=piece,
        x_read=x * loads,
        w_read=w * grid.row_tiles,
        x_dram=x * _passes(x, capacity.x, loads),
        w_dram=_by_blocks(grid.n, columns, grid.k, capacity.w, grid.row_tiles),
        psum_read=stored,
        psum_write=stored,
        live_outputs=min(grid.po, grid.m) * min(columns, grid.n),
    )


def _weight_stationary(grid: Grid, capacity: Capacity, piece: int) -> Accesses:
    x, w, stored = grid.m * grid.k, grid.k * grid.n, _stored(grid)
    rows, loads = piece * grid.po, _loads(grid.row_tiles, piece, grid.column_tiles * grid.psum_tiles)
    return Accesses(
        order="nkm",
        piece=piece,
        x_read=x * grid.column_tiles,
        w_read=w * loads,
        x_dram=_by_blocks(grid.m, rows, grid.k, capacity.x, grid.column_tiles),
        w_dram=w * _passes(w, capacity.w, loads),
        psum_read=stored,
        psum_write=stored,
        live_outputs=min(rows, grid.m) * min(grid.pco, grid.n),
    )


def _output_stationary(grid: Grid, capacity: Capacity) -> tuple[Accesses, Accesses]:
    x, w, (nm, no) = grid.m * grid.k, grid.k * grid.n, (grid.row_tiles, grid.column_tiles)
    rows_outside = Accesses(
        order="mnk",
        piece=grid.psum_tiles,
        x_read=x * no,
        w_read=w * nm,
        x_dram=_by_blocks(grid.m, grid.po, grid.k, capacity.x, no),
        w_dram=w * _passes(w, capacity.w, nm),
        psum_read=0,
        psum_write=0,
        live_outputs=0,
    )
    columns_outside = dataclasses.replace(
        rows_outside,
        order="nmk",
        x_dram=x * _passes(x, capacity.x, no),
        w_dram=_by_blocks(grid.n, grid.pco, grid.k, capacity.w, nm),
    )
    return rows_outside, columns_outside


def _stored(grid: Grid) -> int:
    return grid.m * grid.n * (grid.psum_tiles - 1)


def _passes(elements: int, capacity: int | None, passes: int) -> int:
    """How often an operand is read that is streamed `passes` times."""
    return 1 if capacity is None or elements <= capacity else passes


def _by_blocks(extent: int, block: int, depth: int, capacity: int | None, passes: int) -> int:
    """Elements read of an operand whose blocks of `block` x `depth` are streamed `passes` times each, one by one."""
    before = (extent - 1) // block
    last = (extent - before * block) * depth
    full = block * depth
    return before * full * _passes(full, capacity, passes) + last * _passes(last, capacity, passes)
