"""What the two systolic arrays share: parameters, and a site's cycles, traffic, energy and area from its mapping.

Defaults are the array, clock, SRAMs and bandwidth that the ANT artifact gives ANT and BitFusion (Guo et al., MICRO
2022, github.com/clevercool/ANT-Quantization, ant_simulator). Dense: every multiply-accumulate is executed. Our choice:
outputs leave at x's width, and the energy that DRAM spends in the background is not modelled.
"""

import functools
from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from bitwright import technology
from bitwright.accelerators.cost import Area, Cost
from bitwright.accelerators.systolic.costs import Prices, movement_pj, priced_cost, sram_bytes
from bitwright.accelerators.systolic.dataflow import SramElements
from bitwright.accelerators.systolic.operands import MAC_BITS, Mac, refusal
from bitwright.accelerators.systolic.srams import sram_macros
from bitwright.errors import InputError
from bitwright.memory import Buffers, FloatArray, Gemm, IntArray, Mapping, Tilings, best_mapping, traffic
from bitwright.methods.plan import SitePlan
from bitwright.methods.work import Work

BYTES_PER_KIB = 1024
CACHED_COSTS = 4096
CACHED_MACHINES = 64
ARTIFACT = "ANT artifact's configuration of ANT and BitFusion"


class SystolicArray(BaseModel):
    """A rows x cols array of multiply-accumulate units between three double-buffered SRAMs, and DRAM.

    Subclasses say in which order operands meet: `compute_cycles` and `sram_elements`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    needs_codes: ClassVar[bool] = False

    rows: int = Field(default=32, gt=0, description=f"Rows of the array; {ARTIFACT}")
    cols: int = Field(default=32, gt=0, description=f"Columns of the array; {ARTIFACT}")
    mac: Mac = Field(default="int8", description="The multiplier in every processing element; our choice")
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
    cycle_slack_percent: float = Field(
        default=1,
        ge=0,
        allow_inf_nan=False,
        description="Mappings within this share of the fewest cycles compete by energy; our choice, because otherwise "
        "a fraction of a percent of cycles buys tiny tiles with several times the DRAM traffic",
    )

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle with every multiplier busy."""
        return self.rows * self.cols

    @property
    def buffers(self) -> Buffers:
        """SRAM capacities."""
        return Buffers(
            input_bytes=self.input_sram_kib * BYTES_PER_KIB,
            weight_bytes=self.weight_sram_kib * BYTES_PER_KIB,
            output_bytes=self.output_sram_kib * BYTES_PER_KIB,
        )

    @property
    @abstractmethod
    def tile_unit(self) -> tuple[int, int, int]:
        """The smallest worthwhile tile (m, k, n)."""

    @abstractmethod
    def compute_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of the array for one tile of m x k x n, element-wise."""

    @abstractmethod
    def sram_elements(self, *, gemm: Gemm, tilings: Tilings) -> SramElements:
        """Elements that move between array and SRAMs, over all groups [candidates]."""

    def movement_pj(self, *, gemm: Gemm, tilings: Tilings) -> FloatArray:
        """Energy of moving data, in pJ [candidates]; what else costs energy is the same for equally fast mappings."""
        moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=self.dram_bytes_per_cycle)
        sram = sram_bytes(gemm=gemm, elements=self.sram_elements(gemm=gemm, tilings=tilings), moved=moved)
        return movement_pj(sram=sram, moved=moved, prices=_prices(self))

    def supports(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        return refusal(plan, self.mac)

    def run(self, work: Work) -> Cost:
        """Cost of one execution of a site, from its shape and formats.

        Raises
        ------
        InputError
            If the plan is not supported, or not even the smallest tile fits the SRAMs.
        """
        return _cost(self, self._gemm(work))

    def mapping(self, work: Work) -> Mapping:
        """Tiles and loop order that `run` charges for, with their cycles and DRAM traffic. Raises as `run` does."""
        return best_mapping(gemm=self._gemm(work), machine=self)

    def explain(self, work: Work) -> dict[str, Any]:
        """Where a site's cycles come from: the mapping, and the shares of the array's peak. Raises as `run` does.

        Returns
        -------
        dict
            Extents of a tile, loop `order` (outermost first), `output_buffers`, `tiles`; `cycles`, of which
            `compute_cycles` and `stall_cycles`; `dram_cycles`; DRAM bytes; `bound` (compute or memory);
            `utilization` (0 .. 1): multiply-accumulates by the peak of all cycles; `array_utilization`: by the peak of
            compute cycles only.
        """
        found = self.mapping(work)
        return {
            "tile_m": found.tile_m,
            "tile_k": found.tile_k,
            "tile_n": found.tile_n,
            "order": found.order,
            "output_buffers": found.output_buffers,
            "tiles": found.tiles,
            "cycles": found.cycles,
            "compute_cycles": found.compute_cycles,
            "stall_cycles": found.stall_cycles,
            "dram_cycles": found.dram_cycles,
            "dram_read_bytes": found.dram_read_bytes,
            "dram_write_bytes": found.dram_write_bytes,
            "bound": found.bound,
            "utilization": work.site.macs / (self.peak_macs_per_cycle * found.cycles),
            "array_utilization": work.site.macs / (self.peak_macs_per_cycle * found.compute_cycles),
        }

    def area(self) -> Area:
        """Silicon area of the array and the SRAMs; control, wiring and the requantizer are not modelled."""
        prices = _prices(self)
        return Area(
            components_um2={
                "mac_array": prices.macs * prices.mac.area(),
                **{component: macros.area_um2 for component, macros in prices.srams.items()},
            },
            sources={
                "mac_array": prices.mac.source,
                **{component: macros.source for component, macros in prices.srams.items()},
            },
        )

    def parameters(self) -> dict[str, Any]:
        """Every parameter with its value."""
        return self.model_dump()

    def _gemm(self, work: Work) -> Gemm:
        site, plan = work.site, work.plan
        reason = self.supports(plan)
        if reason:
            raise InputError(f"{site.name} cannot run on this array: {reason}")
        return Gemm(
            m=site.m,
            k=site.k,
            n=site.n,
            groups=site.groups,
            x_bits=plan.x_bits,
            w_bits=plan.w_bits,
            y_bits=plan.x_bits,
            psum_bits=self.psum_bits,
            x_distinct=site.x_elements,
            w_distinct=site.w_elements,
        )


@functools.lru_cache(maxsize=CACHED_COSTS)
def _cost(machine: SystolicArray, gemm: Gemm) -> Cost:
    mapping = best_mapping(gemm=gemm, machine=machine)
    tilings = mapping.tilings()
    moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=machine.dram_bytes_per_cycle)
    sram = sram_bytes(gemm=gemm, elements=machine.sram_elements(gemm=gemm, tilings=tilings), moved=moved)
    return priced_cost(gemm=gemm, mapping=mapping, sram=sram, prices=_prices(machine))


@functools.lru_cache(maxsize=CACHED_MACHINES)
def _prices(machine: SystolicArray) -> Prices:
    prices = technology.load(machine.node_nm)
    if machine.dram_pj_per_bit is not None:
        prices = prices.with_price("dram", energy_pj=machine.dram_pj_per_bit, unit="bit")
    operand_bits, buffers = MAC_BITS[machine.mac], machine.buffers
    dram = prices.price("dram")
    return Prices(
        mac=prices.price(f"mac_{machine.mac}"),
        macs=machine.rows * machine.cols,
        srams={
            component: sram_macros(technology=prices, capacity_bytes=capacity_bytes, port_bits=port_bits)
            for component, capacity_bytes, port_bits in (
                ("sram_input", buffers.input_bytes, machine.rows * operand_bits),
                ("sram_weight", buffers.weight_bytes, machine.cols * operand_bits),
                ("sram_output", buffers.output_bytes, machine.cols * machine.psum_bits),
            )
        },
        dram_pj_per_bit=dram.energy(),
        dram_source=dram.source,
        clock_mhz=machine.clock_mhz,
    )
