"""The common substrate: what every machine stands on, so that comparisons compare the machines.

Clock, SRAMs and bandwidth are those that the ANT artifact gives ANT and BitFusion (Guo et al., MICRO 2022,
github.com/clevercool/ANT-Quantization, ant_simulator); the rest is our choice. By default machines also get equally
many multipliers, counted as 4-bit by 4-bit ones: `MULTIPLIERS_4B`, our choice too.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from bitwright import technology
from bitwright.memory import Buffers, Objective

BYTES_PER_KIB = 1024
MULTIPLIERS_4B = 3072
CACHED_TECHNOLOGIES = 16
ARTIFACT = "ANT artifact's configuration of ANT and BitFusion"


class Substrate(BaseModel):
    """Partial sums, clock, node, SRAMs and DRAM of a machine; a machine adds its own parameters.

    `native` holds the parameters in which the published configuration differs from the common substrate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    native: ClassVar[Mapping[str, Any]] = {}

    psum_bits: int = Field(default=32, gt=0, description="Bits of a partial sum, not checked for overflow; our choice")
    clock_mhz: float = Field(default=500, gt=0, allow_inf_nan=False, description=f"Clock; {ARTIFACT}")
    node_nm: int | str = Field(default=28, description="Technology node, or path of a price list; our choice")
    input_sram_kib: int = Field(default=256, gt=0, description=f"Input SRAM, both halves; {ARTIFACT}")
    weight_sram_kib: int = Field(default=128, gt=0, description=f"Weight SRAM, both halves; {ARTIFACT}")
    output_sram_kib: int = Field(default=128, gt=0, description=f"Output SRAM, both halves; {ARTIFACT}")
    dram_bytes_per_cycle: float = Field(
        default=128, gt=0, allow_inf_nan=False, description=f"DRAM bandwidth, 1024 bits per cycle; {ARTIFACT}"
    )
    dram_pj_per_bit: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="Energy of a DRAM bit; None: the technology's price"
    )
    objective: Objective = Field(
        default="edp",
        description="What the best mapping has least of: latency, energy, or edp, the product of both; our choice",
    )

    @property
    def buffers(self) -> Buffers:
        """SRAM capacities."""
        return Buffers(
            input_bytes=self.input_sram_kib * BYTES_PER_KIB,
            weight_bytes=self.weight_sram_kib * BYTES_PER_KIB,
            output_bytes=self.output_sram_kib * BYTES_PER_KIB,
        )

    @property
    def technology(self) -> technology.Technology:
        """The prices of the node, with the price of DRAM that was given."""
        return _technology(self.node_nm, self.dram_pj_per_bit)

    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value."""
        return self.model_dump()


@functools.lru_cache(maxsize=CACHED_TECHNOLOGIES)
def _technology(node_nm: int | str, dram_pj_per_bit: float | None) -> technology.Technology:
    prices = technology.load(node_nm)
    if dram_pj_per_bit is None:
        return prices
    return prices.with_price("dram", energy_pj=dram_pj_per_bit, unit="bit")
