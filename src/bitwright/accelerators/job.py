"""What a machine hands to the engine: a product, ways to work on it, and what its values take."""

import dataclasses
from collections.abc import Callable, Sequence

from bitwright.accelerators.bill import Use
from bitwright.accelerators.dataflow import Dataflow
from bitwright.memory import Gemm, IntArray, Mapping, TileCosts


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """What a product takes under a mapping where values decide.

    Attributes
    ----------
    tiles : TileCosts
        Cycles of the array and bytes of DRAM, tile by tile.
    fill_cycles : int
        Of the array, once.
    x_fill, w_fill : IntArray
        Bytes of tiles as the SRAMs hold them, of the shapes of `tiles.x_bytes` and `tiles.w_bytes`.
    x_read_bytes, w_read_bytes : float
        From SRAM into the array.
    sums : int
        Sums that leave the array.
    uses : sequence of (Use, float)
        What works, how often.
    macs_executed : int
        Multiply-accumulates that are not skipped.
    unique_bytes : int
        Of distinct operands and outputs as stored.
    """

    tiles: TileCosts
    fill_cycles: int
    x_fill: IntArray
    w_fill: IntArray
    x_read_bytes: float
    w_read_bytes: float
    sums: int
    uses: Sequence[tuple[Use, float]]
    macs_executed: int
    unique_bytes: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One product for a machine.

    Attributes
    ----------
    gemm : Gemm
        The product.
    dataflows : tuple of Dataflow
        Ways in which the array may work on it; the best is taken.
    uses : tuple of (Use, int)
        What works however the product is mapped.
    measured : callable or None
        What it takes under a mapping, where values decide; None: what the dataflow says.

    Examples
    --------
    >>> from bitwright.accelerators.systolic import WeightStationary
    >>> from bitwright.api import calibrate, load
    >>> from bitwright.methods.execution import Execution
    >>> network = load("gemm:16x32x8")
    >>> plan = calibrate(network, "int8").site("gemm")
    >>> WeightStationary().job(Execution(site=network.sites[0], plan=plan)).gemm.k
    32
    """

    gemm: Gemm
    dataflows: tuple[Dataflow, ...]
    uses: tuple[tuple[Use, int], ...] = ()
    measured: Callable[[Mapping], Measured] | None = None
