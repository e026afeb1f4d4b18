"""The common substrate: what every machine stands on, so that comparisons compare the machines.

Clock and SRAMs are those that the ANT artifact gives ANT and BitFusion (Guo et al., MICRO 2022,
github.com/clevercool/ANT-Quantization, ant_simulator); the rest is our choice. By default machines also get equally
many multipliers, counted as 4-bit by 4-bit ones: `MULTIPLIERS_4B`, our choice too.

What the timing takes for granted is stated, and the same for all. Common: what rests in an array is exchanged behind
the stream (`weight_loading=hidden`: a second register in every place), folds and tiles follow one another without
draining (`fold_pipelining`). SCALE-Sim's closed forms are `weight_loading=exposed, fold_pipelining=false`.
"""

import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from bitwright import technology
from bitwright.memory import Buffers, Objective
from bitwright.settings import OURS, about, bounded

BYTES_PER_KIB = 1024
DRAM = "dram"
"""The event of a bit of DRAM, for price lists that have their own."""
MULTIPLIERS_4B = 3072
CACHED_TECHNOLOGIES = 16
ARTIFACT = "ANT artifact's configuration of ANT and BitFusion"
ARTIFACT_DRAM_BYTES = 128
"""Bytes per cycle that the ANT artifact gives its machines."""

WeightLoading = Literal["hidden", "exposed"]
Activations = Literal["spill", "resident"]


class Substrate(BaseModel):
    """Partial sums, clock, node, SRAMs, DRAM and timing ideals of a machine; a machine adds its own parameters.

    `native` holds the parameters in which the published configuration differs from the common substrate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    native: ClassVar[Mapping[str, Any]] = {}

    psum_bits: int = Field(
        default=32,
        gt=0,
        description="Width of a partial sum, not checked for overflow",
        json_schema_extra=about(OURS, unit="bits"),
    )
    clock_mhz: float = Field(
        default=500, gt=0, allow_inf_nan=False, description="Clock", json_schema_extra=about(ARTIFACT, unit="MHz")
    )
    node_nm: int | str = Field(
        default=28,
        description="Technology node, or a price list",
        json_schema_extra=about(OURS, unit="nm", choices=(*map(str, technology.NODES), "PRICES.yaml")),
    )
    prices: technology.Prices = Field(
        default="published",
        description="Circuits that have RTL here by published prices, or by their synthesis",
        json_schema_extra=about(OURS),
    )
    input_sram_kib: int = Field(
        default=256, gt=0, description="Input SRAM, both halves", json_schema_extra=about(ARTIFACT, unit="KiB")
    )
    weight_sram_kib: int = Field(
        default=128, gt=0, description="Weight SRAM, both halves", json_schema_extra=about(ARTIFACT, unit="KiB")
    )
    output_sram_kib: int = Field(
        default=128, gt=0, description="Output SRAM, both halves", json_schema_extra=about(ARTIFACT, unit="KiB")
    )
    sram_bank_kib: float = Field(
        default=2,
        gt=0,
        allow_inf_nan=False,
        description="Capacity of an SRAM bank, the same in all SRAMs, small enough that no machine here waits for its "
        "sums",
        json_schema_extra=about(OURS, unit="KiB"),
    )
    sram_bank_bits: int = Field(
        default=128, ge=8, description="Word of a bank, one access", json_schema_extra=about(OURS, unit="bits")
    )
    dram: str = Field(
        default="lpddr4",
        description="DRAM technology: bandwidth of one channel, and energy",
        json_schema_extra=about(OURS, choices=tuple(technology.drams())),
    )
    dram_bytes_per_cycle: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="DRAM bandwidth; null: the technology's at the clock",
        json_schema_extra=about(OURS, unit="bytes per cycle"),
    )
    dram_pj_per_bit: float | None = Field(
        default=None,
        gt=0,
        allow_inf_nan=False,
        description="Energy of a DRAM bit; null: the technology's",
        json_schema_extra=about(OURS, unit="pJ per bit"),
    )
    weight_loading: WeightLoading = Field(
        default="hidden",
        description="Whether what rests is exchanged behind the stream, or in the open",
        json_schema_extra=about(OURS),
    )
    fold_pipelining: bool = Field(
        default=True,
        description="Whether folds and tiles follow one another without draining the array",
        json_schema_extra=about(OURS),
    )
    activations: Activations = Field(
        default="spill",
        description="Whether activations cross DRAM between any two sites (spill), or stay in half of the input SRAM "
        "until their last reader where they fit (resident)",
        json_schema_extra=about(OURS),
    )
    vector_lanes: int = Field(
        default=32,
        gt=0,
        description="Lanes of the unit for all that is no product, float16",
        json_schema_extra=about(OURS),
    )
    objective: Objective = Field(
        default="edp",
        description="What the best mapping has least of: latency, energy, or edp, the product of both",
        json_schema_extra=about(OURS),
    )

    _bounded = field_validator("*")(bounded)

    @field_validator("dram")
    @classmethod
    def _known_dram(cls, name: str, info: ValidationInfo) -> str:
        known = _technology(info.data["node_nm"]).drams if "node_nm" in info.data else technology.drams()
        if name not in known:
            raise ValueError(f"is none of {', '.join(known)}")
        return name

    @property
    def buffers(self) -> Buffers:
        """SRAM capacities."""
        return Buffers(
            input_bytes=self.input_sram_kib * BYTES_PER_KIB,
            weight_bytes=self.weight_sram_kib * BYTES_PER_KIB,
            output_bytes=self.output_sram_kib * BYTES_PER_KIB,
        )

    @property
    def dram_bandwidth(self) -> float:
        """DRAM bandwidth in bytes per cycle."""
        if self.dram_bytes_per_cycle is not None:
            return self.dram_bytes_per_cycle
        return self.technology.dram(self.dram).gb_per_s * 1000 / self.clock_mhz

    @property
    def dram_price(self) -> tuple[float, str]:
        """Energy of a DRAM bit in pJ, and its source."""
        if self.dram_pj_per_bit is not None:
            return float(self.dram_pj_per_bit), "given by the user"
        if DRAM in self.technology.prices:  # of a list of the user's own
            listed = self.technology.price(DRAM)
            return listed.energy(), listed.source
        named = self.technology.dram(self.dram)
        return named.pj_per_bit, named.source

    @property
    def technology(self) -> technology.Technology:
        """The prices of the node."""
        return _technology(self.node_nm, self.prices)

    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value."""
        return self.model_dump()


@functools.lru_cache(maxsize=CACHED_TECHNOLOGIES)
def _technology(node_nm: int | str, prices: technology.Prices = "published") -> technology.Technology:
    return technology.load(node_nm, prices)
