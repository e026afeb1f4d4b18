"""What the dense arrays share: parameters, and a site's cycles, traffic, energy and area from its mapping.

Dense: every multiply-accumulate is executed. Our choice: 24 rows, which with 32 columns of int8 multipliers are the
3,072 4-bit by 4-bit ones of the common substrate (an int8 multiplier counts as four); a port feeds one side of the
array per cycle; outputs leave at x's width; control and wiring are not modelled, nor the energy that DRAM spends in the
background.
"""

import functools
from abc import abstractmethod
from typing import Any, ClassVar

from pydantic import Field

from bitwright.accelerators.cost import Area, Cost
from bitwright.accelerators.systolic.costs import Prices, array_area, movement_pj, priced_cost, sram_bytes
from bitwright.accelerators.systolic.dataflow import SramElements
from bitwright.accelerators.systolic.operands import INTEGER_MAC_BITS, MAC_BITS, Mac, refusal
from bitwright.accelerators.events import CACHED_MACHINES, leakage_pj_per_cycle, memory_prices, requantize_event
from bitwright.accelerators.mapped import gemm_of, mapping_figures
from bitwright.accelerators.substrate import MULTIPLIERS_4B, Substrate
from bitwright.errors import InputError
from bitwright.memory import FloatArray, Gemm, IntArray, Mapping, Tilings, best_mapping, traffic
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan

CACHED_COSTS = 4096
COLS = 32
ROWS = MULTIPLIERS_4B // 4 // COLS
WORTH = f"our choice: {ROWS} x {COLS} int8 multipliers are worth {MULTIPLIERS_4B:,} 4-bit ones, the common substrate"


class DenseArray(Substrate):
    """A rows x cols array of multiply-accumulate units between three double-buffered SRAMs, and DRAM.

    Subclasses say in which order operands meet: `compute_cycles` and `sram_elements`.
    """

    needs_codes: ClassVar[bool] = False

    rows: int = Field(default=ROWS, gt=0, description=f"Rows of the array; {WORTH}")
    cols: int = Field(default=COLS, gt=0, description=f"Columns of the array; {WORTH}")
    mac: Mac = Field(default="int8", description="The multiplier in every processing element; our choice")

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle with every multiplier busy."""
        return self.rows * self.cols

    @property
    def multipliers_4b(self) -> int | None:
        """The multipliers in 4-bit by 4-bit ones (an int8 multiplier is worth four); None for float multipliers."""
        bits = INTEGER_MAC_BITS.get(self.mac)
        return None if bits is None else self.rows * self.cols * (bits // 4) ** 2

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

    @property
    def leakage_pj_per_cycle(self) -> float:
        """Energy that is spent in every cycle."""
        return leakage_pj_per_cycle(_prices(self).leaking, self.clock_mhz)

    def energy_pj(self, *, gemm: Gemm, tilings: Tilings) -> FloatArray:
        """Energy but for leakage, in pJ [candidates]."""
        prices = _prices(self)
        moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=self.dram_bytes_per_cycle)
        sram = sram_bytes(gemm=gemm, elements=self.sram_elements(gemm=gemm, tilings=tilings), moved=moved)
        requantized = requantize_event(gemm.groups * gemm.m * gemm.n, prices.technology).energy_pj
        worked = gemm.macs * prices.mac.energy() + requantized
        return worked + movement_pj(sram=sram, moved=moved, prices=prices.memory)

    def supports(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        return refusal(plan, self.mac)

    def run(self, work: Execution) -> Cost:
        """Cost of one execution of a site, from its shape and formats.

        Raises
        ------
        InputError
            If the plan is not supported, or not even the smallest tile fits the SRAMs.
        """
        return _cost(self, self._gemm(work))

    def mapping(self, work: Execution) -> Mapping:
        """Tiles and loop order that `run` charges for, with their cycles and DRAM traffic. Raises as `run` does."""
        return best_mapping(gemm=self._gemm(work), machine=self)

    def explain(self, work: Execution) -> dict[str, Any]:
        """Where a site's cycles come from: `bitwright.accelerators.mapped.mapping_figures`. Raises as `run` does."""
        return mapping_figures(self.mapping(work), macs=work.site.macs, peak=self.peak_macs_per_cycle)

    def area(self) -> Area:
        """Silicon area of the array, the requantizers and the SRAMs; control and wiring are not modelled."""
        return array_area(_prices(self))

    def _gemm(self, work: Execution) -> Gemm:
        site, plan = work.site, work.plan
        reason = self.supports(plan)
        if reason:
            raise InputError(f"{site.name} cannot run on this array: {reason}")
        return gemm_of(site, x_bits=plan.x_bits, w_bits=plan.w_bits, psum_bits=self.psum_bits)


@functools.lru_cache(maxsize=CACHED_COSTS)
def _cost(machine: DenseArray, gemm: Gemm) -> Cost:
    mapping = best_mapping(gemm=gemm, machine=machine)
    tilings = mapping.tilings()
    moved = traffic(gemm=gemm, tilings=tilings, dram_bytes_per_cycle=machine.dram_bytes_per_cycle)
    sram = sram_bytes(gemm=gemm, elements=machine.sram_elements(gemm=gemm, tilings=tilings), moved=moved)
    return priced_cost(gemm=gemm, mapping=mapping, sram=sram, prices=_prices(machine))


@functools.lru_cache(maxsize=CACHED_MACHINES)
def _prices(machine: DenseArray) -> Prices:
    operand_bits = MAC_BITS[machine.mac]
    ports = {
        "sram_input": machine.rows * operand_bits,
        "sram_weight": machine.cols * operand_bits,
        "sram_output": machine.cols * machine.psum_bits,
    }
    return Prices(
        mac=machine.technology.price(f"mac_{machine.mac}"),
        macs=machine.rows * machine.cols,
        requantizers=machine.cols,
        memory=memory_prices(machine, ports),
        technology=machine.technology,
    )
