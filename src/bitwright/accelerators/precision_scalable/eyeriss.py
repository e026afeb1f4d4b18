"""`eyeriss`: 16-bit processing elements with register files of their own (Chen et al., ISSCC 2016, JSSC 2017).

Sources: 168 PEs of 16 by 16 bits, row-stationary, 12 x 14 in SCALE-Sim's configuration; their area at 28 nm is SPARK's
(HPCA 2024), 0.309 mm2 for 168. Ours, as the row-stationary mapping itself is not modelled: a product takes its
multiply-accumulates by the PEs that are busy, at the utilization stated; words move between SRAMs and array as on a
weight-stationary array of the same size, because rows of weights and pixels are kept inside; integers of any width are
stored as 16 bits. On the common substrate it has 12 x 11 PEs, the area of 3,072 4-bit multipliers (0.244 mm2, SPARK's
too).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from bitwright.accelerators.circuits import Circuit, Part
from bitwright.accelerators.dataflow import Dataflow
from bitwright.accelerators.precision_scalable.machine import PackedArray
from bitwright.accelerators.precision_scalable.modes import Mode
from bitwright.accelerators.precision_scalable.operands import Types
from bitwright.accelerators.substrate import ARTIFACT_DRAM_BYTES, WeightLoading
from bitwright.accelerators.systolic.dataflow import WeightStationary
from bitwright.memory import IntArray
from bitwright.settings import about

BITS = 16
ROWS, COLS = 12, 11


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowStationary(WeightStationary):
    """An array whose PEs are busy for a stated share of the cycles, whatever the shape.

    Attributes
    ----------
    utilization : float
        The share, 0 .. 1.
    """

    utilization: float

    @property
    def fill_cycles(self) -> int:
        """Part of the utilization."""
        return 0

    def cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of tiles of m x k x n, element-wise."""
        cycles: IntArray = np.ceil(m * k * n / (self.rows * self.cols * self.utilization)).astype(np.int64)
        return cycles


class Eyeriss(PackedArray):
    """Eyeriss as a baseline of machines of 4 and 8 bits.

    Examples
    --------
    >>> Eyeriss().peak_macs_per_cycle
    132
    """

    summary: ClassVar[str] = "16-bit processing elements, row-stationary, at a stated utilization (Eyeriss)"
    native: ClassVar[Mapping[str, Any]] = {"rows": 12, "cols": 14, "dram_bytes_per_cycle": ARTIFACT_DRAM_BYTES}
    types: ClassVar[Types] = Types(
        kinds={"int": BITS, "uint": BITS},
        said="integers of 2 to 16 bits",
        lever="use a method of integers, or choose an accelerator made for that format",
    )
    widths: ClassVar[tuple[int, ...]] = (BITS,)
    word_bits: ClassVar[int] = BITS
    exchanges: ClassVar[bool] = False
    pe: ClassVar[Circuit] = Circuit(
        name="processing element of Eyeriss",
        published="pe_eyeriss16",
        parts=(
            Part(event="multiply_int16", count=1, what="product"),
            Part(event="add_int32", count=1, what="accumulation"),
            Part(event="register_bit", count=16 + 16 + 32, what="x, w, partial sum"),
        ),
    )

    weight_loading: ClassVar[WeightLoading] = "hidden"  # type: ignore[misc]  # no parameter here, nor is the next:
    fold_pipelining: ClassVar[bool] = True  # type: ignore[misc]  # the utilization holds what they take

    rows: int = Field(
        default=ROWS,
        gt=0,
        description="Rows of processing elements",
        json_schema_extra=about(
            "our choice: as much area as the 3,072 4-bit processing elements of the other arrays",
            unit="processing elements",
        ),
    )
    cols: int = Field(
        default=COLS,
        gt=0,
        description="Columns of processing elements",
        json_schema_extra=about(
            "our choice: as much area as the 3,072 4-bit processing elements of the other arrays",
            unit="processing elements",
        ),
    )
    utilization: float = Field(
        default=0.85,
        gt=0,
        le=1,
        description="Share of cycles in which a processing element is busy",
        json_schema_extra=about("our choice; assumed"),
    )

    def mode(self, x_bits: int, w_bits: int) -> Mode:  # noqa: ARG002
        """The only one: everything takes 16 bits."""
        return Mode(x_bits=BITS, w_bits=BITS, rows=self.rows, cols=self.cols)

    def dataflow(self, mode: Mode, block: int = 0, rescalings: int = 1) -> Dataflow:
        """Words as weight-stationary, cycles by utilization; weights lie in register files, so nothing is exchanged."""
        folds = super().dataflow(mode, block, rescalings)
        assert isinstance(folds, WeightStationary)
        same = {field.name: getattr(folds, field.name) for field in dataclasses.fields(folds)}
        return RowStationary(**{**same, "exchange": None}, utilization=self.utilization)
