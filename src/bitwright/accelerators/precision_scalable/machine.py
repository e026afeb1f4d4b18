"""What the packed arrays share: parameters, and a site's cycles, traffic, energy and area in the mode of its widths.

One weight-stationary array of processing elements (PEs) between three double-buffered SRAMs and DRAM: weights rest,
x enters at the left, w at the top, partial sums go down; dense, every product is executed. Machines differ in their PE,
in how narrow products share one or wide ones take several (`bitwright.accelerators.precision_scalable.modes`), in the number types
that they multiply and in what decodes and encodes these at the edges. The mode is the site's.

Ours: on the common substrate each machine has the PEs that are worth as many products of 8 by 8 bits per cycle as the
3,072 4-bit by 4-bit multipliers of all machines, that is 768; natively 8 x 8 PEs, recollected of LPA's evaluation: what
is charted there of AdaptivFloat, 64 GOPS, is 64 products per cycle at 500 MHz. The SRAMs are the same either way, those
of the ANT artifact. A port feeds one side of the array per cycle in the mode that takes most; outputs leave at x's
packed width. Control and wiring are not modelled, nor the energy that DRAM spends in the background.
"""

import dataclasses
import functools
from abc import abstractmethod
from collections.abc import Mapping as Dictionary
from typing import Any, ClassVar

from pydantic import Field

from bitwright.accelerators.cost import Area, Cost
from bitwright.accelerators.events import CACHED_MACHINES, leakage_pj_per_cycle, memory_prices
from bitwright.accelerators.mapped import gemm_of, mapping_figures
from bitwright.accelerators.precision_scalable.circuits import By, Circuit, priced
from bitwright.accelerators.precision_scalable.costs import Prices, area_of, cost_of, energy_pj, leaking
from bitwright.accelerators.precision_scalable.modes import Mode, packed_width
from bitwright.accelerators.precision_scalable.operands import Types, refusal
from bitwright.accelerators.substrate import MULTIPLIERS_4B, Substrate
from bitwright.errors import InputError
from bitwright.memory import Buffers, FloatArray, Gemm, IntArray, Mapping, Objective, Tilings, best_mapping
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan

CACHED_COSTS = 4096
WIDEST = 8
PER_PRODUCT_8B = 4  # 4-bit multipliers that a product of 8 by 8 bits is worth
COLS_8B = 32
ROWS_8B = MULTIPLIERS_4B // PER_PRODUCT_8B // COLS_8B
"""The common array of units that make a product of 8 by 8 bits per cycle each."""
WORTH = f"worth {ROWS_8B} x {COLS_8B} products of 8 by 8 bits per cycle, the common substrate; our choice"
NATIVE = 8


class PackedArray(Substrate):
    """A rows x cols array of processing elements; subclasses say what one does."""

    summary: ClassVar[str]
    needs_codes: ClassVar[bool] = False
    native: ClassVar[Dictionary[str, Any]] = {"rows": NATIVE, "cols": NATIVE}
    """Recollected; the SRAMs and the clock of the common substrate are the ANT artifact's already."""

    types: ClassVar[Types]
    """What it multiplies."""
    widths: ClassVar[tuple[int, ...]]
    """Packed widths of an operand, ascending; the last is 8."""
    pe: ClassVar[Circuit]
    """One processing element."""
    decoder: ClassVar[Circuit | None] = None
    encoder: ClassVar[Circuit | None] = None
    """One decoder or encoder, if there are any."""
    word_bits: ClassVar[int] = WIDEST
    """Bits that a decoder takes at once."""
    published_decoders: ClassVar[bool] = False
    """Whether the published area of a PE includes the array's decoders."""

    rows: int = Field(default=ROWS_8B, gt=0, description=f"Rows of processing elements; {WORTH}")
    cols: int = Field(default=COLS_8B, gt=0, description=f"Columns of processing elements; {WORTH}")
    priced_by: By = Field(
        default="area",
        description="Logic as its published area, energy in proportion (area), or both as sums of its parts (parts)",
    )

    @abstractmethod
    def mode(self, x_bits: int, w_bits: int) -> Mode:
        """How it works on operands of two packed widths."""

    @property
    @abstractmethod
    def ports(self) -> dict[str, int]:
        """Bits of one access of each SRAM: what flows there per cycle in the mode that takes most."""

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates of 8 by 8 bits per cycle; narrower ones may be more."""
        return self.mode(WIDEST, WIDEST).macs_per_cycle

    @property
    def multipliers_4b(self) -> int:
        """What the array is worth in 4-bit by 4-bit multipliers: four for each product of 8 by 8 bits per cycle."""
        return PER_PRODUCT_8B * self.mode(WIDEST, WIDEST).macs_per_cycle

    @property
    def requantizers(self) -> int:
        """Lanes that requantize an output per cycle each: one per column of 8-bit units."""
        return self.mode(WIDEST, WIDEST).cols

    @property
    def decoders_in_array(self) -> bool:
        """Whether the area of the PEs holds that of the decoders."""
        return self.published_decoders and self.priced_by == "area"

    @property
    def prices(self) -> Prices:
        """What it pays for.

        Raises
        ------
        InputError, MissingPriceError
            If the node, a price or an SRAM macro is unknown.
        """
        return _prices(self)

    def supports(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        return refusal(plan, self.types)

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
        return _mapping(self, self._gemm(work))

    def mode_of(self, plan: SitePlan) -> Mode:
        """The mode that a supported plan runs in."""
        return self.mode(packed_width(plan.x_bits, self.widths), packed_width(plan.w_bits, self.widths))

    def explain(self, work: Execution) -> dict[str, Any]:
        """Where a site's cycles and energy come from. Raises as `run` does.

        Returns
        -------
        dict
            The mode: packed widths `x_stored_bits`, `w_stored_bits`, units `unit_rows` x `unit_cols` of `fused_pes`
            each, `products_per_pe_cycle`; `mapping_figures`, with shares of the mode's peak; `pe_cycles`; area in um2
            and energy per cycle in pJ of a PE (and decoder, and encoder) as published (`area`) and summed (`parts`).
        """
        gemm = self._gemm(work)
        mode = self.mode(gemm.x_bits, gemm.w_bits)
        return {
            "x_stored_bits": mode.x_bits,
            "w_stored_bits": mode.w_bits,
            "unit_rows": mode.rows,
            "unit_cols": mode.cols,
            "fused_pes": mode.fused,
            "products_per_pe_cycle": float(mode.products_per_pe_cycle),
            **mapping_figures(self.mapping(work), macs=work.site.macs, peak=mode.macs_per_cycle),
            "pe_cycles": mode.pe_cycles(gemm),
            **self._logic(),
        }

    def area(self) -> Area:
        """Silicon area; control, wiring and multiplexers are not modelled."""
        return area_of(self)

    def _logic(self) -> dict[str, float]:
        """Every circuit, however it is priced here, in both ways; those that the prices allow."""
        ways: tuple[By, ...] = ("area", "parts")
        circuits = {"pe": self.pe, "decoder": self.decoder, "encoder": self.encoder}
        found: dict[str, float] = {}
        for name, circuit in circuits.items():
            for by in ways:
                if circuit is None or (by == "area" and circuit.published not in {None, *self.technology.prices}):
                    continue
                one = priced(circuit, self.technology, by)
                found |= {f"{name}_um2_by_{by}": one.area_um2, f"{name}_pj_by_{by}": one.energy_pj}
        return found

    def _gemm(self, work: Execution) -> Gemm:
        site, plan = work.site, work.plan
        reason = self.supports(plan)
        if reason:
            raise InputError(f"{site.name} cannot run on this array: {reason}")
        mode = self.mode_of(plan)
        return gemm_of(site, x_bits=mode.x_bits, w_bits=mode.w_bits, psum_bits=self.psum_bits)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModeTiling:
    """A machine in one mode, as the search for a mapping sees it."""

    machine: PackedArray
    mode: Mode

    @property
    def buffers(self) -> Buffers:
        """SRAM capacities."""
        return self.machine.buffers

    @property
    def tile_unit(self) -> tuple[int, int, int]:
        """The smallest worthwhile tile (m, k, n)."""
        return self.mode.tile_unit

    @property
    def dram_bytes_per_cycle(self) -> float:
        """DRAM bandwidth."""
        return self.machine.dram_bytes_per_cycle

    @property
    def objective(self) -> Objective:
        """As the machine's."""
        return self.machine.objective

    @property
    def leakage_pj_per_cycle(self) -> float:
        """Energy that is spent in every cycle."""
        return leakage_pj_per_cycle(leaking(self.machine), self.machine.clock_mhz)

    def compute_cycles(self, *, m: IntArray, k: IntArray, n: IntArray) -> IntArray:
        """Cycles of the array for one tile of m x k x n, element-wise."""
        return self.mode.compute_cycles(m=m, k=k, n=n)

    def energy_pj(self, *, gemm: Gemm, tilings: Tilings) -> FloatArray:
        """Energy but for leakage, in pJ [candidates]."""
        return energy_pj(self.machine, self.mode, gemm, tilings)


@functools.lru_cache(maxsize=CACHED_COSTS)
def _cost(machine: PackedArray, gemm: Gemm) -> Cost:
    return cost_of(machine, machine.mode(gemm.x_bits, gemm.w_bits), gemm, _mapping(machine, gemm))


def _mapping(machine: PackedArray, gemm: Gemm) -> Mapping:
    mode = machine.mode(gemm.x_bits, gemm.w_bits)
    return best_mapping(gemm=gemm, machine=ModeTiling(machine=machine, mode=mode))


@functools.lru_cache(maxsize=CACHED_MACHINES)
def _prices(machine: PackedArray) -> Prices:
    technology = machine.technology
    decoder, encoder = (
        None if circuit is None else priced(circuit, technology, machine.priced_by)
        for circuit in (machine.decoder, machine.encoder)
    )
    return Prices(
        pe=priced(machine.pe, technology, machine.priced_by),
        decoder=decoder,
        encoder=encoder,
        memory=memory_prices(machine, machine.ports),
        technology=technology,
    )
