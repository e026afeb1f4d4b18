"""Accesses counted as a reconstruction that matches published figures counts them: the variant `published`.

The paper's equations are not public. x [m, k] by w [k, n] on Po lines of Pco processing elements of Pci products each:
nm = ceil(m / Po), np = ceil(k / Pci), no = ceil(n / Pco). One step makes Po x Pco partial sums. Input-stationary
(`is`): Po x Pci inputs rest while all columns stream, then the next tile of k. Weight-stationary (`ws`): Pci x Pco
weights rest while all rows stream, then the next tile of k. Output-stationary (`os`): the sums rest while k streams. Of
an output np - 1 partial sums are written and read back, because the last step finishes it. Where partial sums that live
do not fit the output SRAM, all of them go to DRAM: a cliff, which large published savings of weight-stationary arrays
come from. Inputs cross DRAM once; weights that do not fit their SRAM again for each tile of rows where inputs rest.
SRAM accesses are those of the array alone, and centring takes no constants; DRAM overlaps with the array but for the
first step's operands and the last step's outputs. Nothing is mapped, so that this variant stands beside no other
machine. Twin: `bitwright.accelerators.partial_sums.reference`.
"""

import dataclasses
import math
from collections.abc import Mapping
from fractions import Fraction

from bitwright.accelerators.partial_sums.accumulation import Stored
from bitwright.accelerators.partial_sums.dataflow import Rests
from bitwright.memory import Gemm

BITS_PER_BYTE = 8


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
class Accesses:
    """Elements that one group moves.

    Attributes
    ----------
    order : str
        Loops over tiles, outermost first: "nkm".
    x_read, w_read : int
        From SRAM into the array.
    w_dram : int
        From DRAM, repetitions included.
    stored : int
        Partial sums that are written, and read back.
    live_outputs : int
        Outputs whose partial sums live at the same time.
    """

    order: str
    x_read: int
    w_read: int
    w_dram: int
    stored: int
    live_outputs: int


def accesses_of(grid: Grid, rests: Rests, capacity: int) -> Accesses:
    """What one group moves, with a weight SRAM of so many elements.

    Examples
    --------
    >>> found = accesses_of(Grid(m=128, k=768, n=768, po=16, pci=8, pco=8), "ws", 2**17)
    >>> found.x_read == 128 * 768 * 96, found.stored == 95 * 128 * 768, found.live_outputs
    (True, True, 1024)
    """
    x, w, stored = grid.m * grid.k, grid.k * grid.n, grid.m * grid.n * (grid.psum_tiles - 1)
    if rests == "is":
        passes = 1 if w <= capacity else grid.row_tiles
        live = min(grid.po, grid.m) * grid.n
        return Accesses(
            order="mkn", x_read=x, w_read=w * grid.row_tiles, w_dram=w * passes, stored=stored, live_outputs=live
        )
    if rests == "ws":
        live = grid.m * min(grid.pco, grid.n)
        return Accesses(order="nkm", x_read=x * grid.column_tiles, w_read=w, w_dram=w, stored=stored, live_outputs=live)
    return Accesses(
        order="mnk", x_read=x * grid.column_tiles, w_read=w * grid.row_tiles, w_dram=w, stored=0, live_outputs=0
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moved:
    """What one execution of a site moves as published counting has it.

    Attributes
    ----------
    grid, accesses
        Tiles on the array, and what one group moves.
    live_bytes : float
        Of all partial sums that live at once.
    spills : bool
        Whether that is more than the output SRAM.
    dram_bytes : mapping
        `read`, `write`, and of these partial sums: `psum_read`, `psum_write`.
    sram_bytes : mapping
        By SRAM and direction, of the array alone.
    """

    grid: Grid
    accesses: Accesses
    live_bytes: float
    spills: bool
    dram_bytes: Mapping[str, int]
    sram_bytes: Mapping[str, float]


def moved_by(
    *, gemm: Gemm, grid: Grid, rests: Rests, stored: Stored, output_bytes: int, weight_bytes: int, through_sram: bool
) -> Moved:
    """What a product moves, with SRAMs of so many bytes; `through_sram`: sums on their way to DRAM pass the SRAM."""
    found = accesses_of(grid, rests, int(weight_bytes * BITS_PER_BYTE / gemm.w_bits))
    live_bytes = stored.bits * stored.live_tiles(grid.psum_tiles) * found.live_outputs / BITS_PER_BYTE
    spills = live_bytes > output_bytes
    psums, y = _bytes(gemm.groups * found.stored, stored.bits), _bytes(gemm.groups * gemm.m * gemm.n, gemm.y_bits)
    written = 0 if gemm.y_on_chip else y
    operands = _bytes(gemm.groups * gemm.m * gemm.k, gemm.x_bits, gemm.x_share)
    operands += _bytes(gemm.groups * found.w_dram, gemm.w_bits, gemm.w_share)
    on_chip = psums * (not spills or through_sram)
    return Moved(
        grid=grid,
        accesses=found,
        live_bytes=float(live_bytes),
        spills=spills,
        dram_bytes={
            "read": operands + psums * spills,
            "write": written + psums * spills,
            "psum_read": psums * spills,
            "psum_write": psums * spills,
        },
        sram_bytes={
            "sram_input_read": float(gemm.groups * found.x_read * gemm.x_bits / BITS_PER_BYTE),
            "sram_input_write": 0.0,
            "sram_weight_read": float(gemm.groups * found.w_read * gemm.w_bits / BITS_PER_BYTE),
            "sram_weight_write": 0.0,
            "sram_output_read": on_chip,
            "sram_output_write": on_chip + y,
        },
    )


def cycles_of(*, gemm: Gemm, moved: Moved, fill_cycles: int, dram_bytes_per_cycle: float) -> dict[str, int]:
    """`cycles`, `compute` and `dram` cycles of what is moved."""
    grid, dram = moved.grid, moved.dram_bytes
    compute = gemm.groups * grid.steps + fill_cycles
    rows, depth, columns = min(grid.po, grid.m), min(grid.pci, grid.k), min(grid.pco, grid.n)
    first = _bytes(rows * depth, gemm.x_bits, gemm.x_share) + _bytes(depth * columns, gemm.w_bits, gemm.w_share)
    exposed = sum(math.ceil(each / dram_bytes_per_cycle) for each in (first, _bytes(rows * columns, gemm.y_dram_bits)))
    busy = math.ceil((dram["read"] + dram["write"]) / dram_bytes_per_cycle)
    return {"cycles": max(compute + exposed, busy), "compute": compute, "dram": busy}


def _bytes(elements: int, bits: int | Fraction, share: Fraction = Fraction(1)) -> int:
    return math.ceil(elements * share * bits / BITS_PER_BYTE)
