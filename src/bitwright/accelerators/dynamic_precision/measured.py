"""One execution of a site on a split array: what its cost comes from."""

import dataclasses
from collections.abc import Mapping as Dictionary

from bitwright.accelerators.events import BITS_PER_BYTE
from bitwright.accelerators.dynamic_precision.placement import Counts, Placement
from bitwright.accelerators.dynamic_precision.tiles import Stored
from bitwright.memory import Gemm, Mapping, Timeline
from bitwright.methods.classes import PAIRS, Classes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Measured:
    """One execution of a site.

    Attributes
    ----------
    gemm, mapping
        The product and its tiles.
    classes, placed, counts
        How many rows and columns are narrow, where they run, what that moves.
    x, w : Stored
        The operands in memory.
    timeline : Timeline
        Cycles and DRAM traffic.
    sram_bytes : mapping
        Bytes by SRAM and direction.
    unique_bytes : int
        Of distinct elements as stored.
    dynamic : bool
        Whether precision goes by rows and columns, so that lists are needed.
    affine : bool
        Whether narrow codes count from a smallest code of their own.
    """

    gemm: Gemm
    mapping: Mapping
    classes: Classes
    placed: Placement
    counts: Counts
    x: Stored
    w: Stored
    timeline: Timeline
    sram_bytes: Dictionary[str, float]
    unique_bytes: int
    dynamic: bool
    affine: bool = False

    @property
    def outputs(self) -> int:
        """Finished outputs of all groups."""
        return self.gemm.groups * self.gemm.m * self.gemm.n

    @property
    def ran(self) -> Mapping:
        """The mapping with the cycles and traffic of operands as they are."""
        return dataclasses.replace(
            self.mapping,
            cycles=self.timeline.cycles,
            compute_cycles=self.timeline.compute_cycles,
            dram_cycles=self.timeline.dram_cycles,
            dram_x_read_bytes=self.timeline.x_read_bytes,
            dram_w_read_bytes=self.timeline.w_read_bytes,
            dram_psum_read_bytes=self.timeline.psum_read_bytes,
            dram_psum_write_bytes=self.timeline.psum_write_bytes,
            dram_y_write_bytes=self.timeline.y_write_bytes,
        )


def sram_bytes(
    *, gemm: Gemm, mapping: Mapping, counts: Counts, line: Timeline, fills: tuple[float, float], weights_rest: bool
) -> dict[str, float]:
    """Bytes by SRAM and direction, for the array and for DRAM; `fills` are those written into input and weight SRAM.

    Weights that rest come in again for each tile of m. Each block's sums are added to those of the blocks before, each
    tile's of the reduction likewise; finished ones are read once more, to be requantized.
    """
    outputs = gemm.groups * gemm.m * gemm.n
    w_reads = -(-gemm.m // mapping.tile_m) if weights_rest else 1
    psums = max(int(counts.psum_write.sum()), outputs * -(-gemm.k // mapping.tile_k))
    psum_bytes = gemm.psum_bits / BITS_PER_BYTE
    x_bytes, w_bytes = (
        sum(int(each) * pair[side] for pair, each in zip(PAIRS, reads, strict=True)) / BITS_PER_BYTE
        for side, reads in enumerate((counts.x_read, counts.w_read))
    )
    return {
        "sram_input_read": x_bytes,
        "sram_input_write": fills[0],
        "sram_weight_read": w_bytes * w_reads,
        "sram_weight_write": fills[1],
        "sram_output_read": psums * psum_bytes + line.psum_write_bytes,
        "sram_output_write": psums * psum_bytes + line.psum_read_bytes,
    }
