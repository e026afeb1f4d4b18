"""What the packed arrays share: parameters, the bill, and a site's mode by its widths.

One weight-stationary array of processing elements (PEs) between three double-buffered SRAMs and DRAM: weights rest,
x enters at the left, w at the top, partial sums go down; dense, every product is executed. Machines differ in their PE,
in how narrow products share one or wide ones take several (`bitwright.accelerators.precision_scalable.modes`), in the
number types that they multiply and in what decodes and encodes these at the edges. The mode is the site's.

Ours: on the common substrate each machine has the PEs that are worth as many products of 8 by 8 bits per cycle as the
3,072 4-bit by 4-bit multipliers of all machines, that is 768; natively 8 x 8 PEs, recollected of LPA's evaluation: what
is charted there of AdaptivFloat, 64 GOPS, is 64 products per cycle at 500 MHz. The SRAMs are the same either way, those
of the ANT artifact. A PE burns the same in every mode, because all of its lanes work; decoders stand at the two edges,
one per row and column of PEs, and work once per word that enters; requantizers are one per column of 8-bit units, an
encoder stands beside each and works once per finished output; outputs leave at x's packed width.
"""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping as Dictionary
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from bitwright.accelerators.bill import Component, use
from bitwright.accelerators.books import rescaler_of
from bitwright.accelerators.circuits import By, Circuit, Priced, priced, times
from bitwright.accelerators.dataflow import Dataflow
from bitwright.accelerators.engine import Ran
from bitwright.accelerators.job import Job
from bitwright.accelerators.machine import Machine, block_of, rescalings_of
from bitwright.accelerators.precision_scalable.modes import Mode, packed_width
from bitwright.accelerators.precision_scalable.operands import Types, refusal
from bitwright.accelerators.substrate import ARTIFACT_DRAM_BYTES, MULTIPLIERS_4B
from bitwright.accelerators.systolic.dataflow import WeightStationary
from bitwright.accelerators.systolic.machine import REGISTER, SHADOW, timing_of
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan
from bitwright.settings import OURS, about

ARRAY, DECODERS, ENCODERS = "pe_array", "decoders", "encoders"
WIDEST = 8
PER_PRODUCT_8B = 4  # 4-bit multipliers that a product of 8 by 8 bits is worth
COLS_8B = 32
ROWS_8B = MULTIPLIERS_4B // PER_PRODUCT_8B // COLS_8B
"""The common array of units that make a product of 8 by 8 bits per cycle each."""
WORTH = f"worth {ROWS_8B} x {COLS_8B} products of 8 by 8 bits per cycle, the common substrate; our choice"
NATIVE = 8


class PackedArray(Machine):
    """A rows x cols array of processing elements; subclasses say what one does."""

    native: ClassVar[Dictionary[str, Any]] = {
        "rows": NATIVE,
        "cols": NATIVE,
        "weight_loading": "exposed",
        "fold_pipelining": False,
        "dram_bytes_per_cycle": ARTIFACT_DRAM_BYTES,
    }
    """PEs recollected; DRAM and folds, filled and drained one by one, as in the ANT artifact."""

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
    """Bits of w that rest in a PE, and that a decoder takes at once."""
    published_decoders: ClassVar[bool] = False
    """Whether the published area of a PE includes the array's decoders."""
    exchanges: ClassVar[bool] = True
    """Whether weights rest in registers that are exchanged fold by fold."""

    rescaling_lever: ClassVar[str] = "--set rescaling=true adds that"

    rescaling: bool = Field(
        default=False,
        description="Whether sums of blocks of the reduction are rescaled as they leave the array, by circuits in the "
        "bill; without them scales cannot change along the reduction",
        json_schema_extra=about(OURS),
    )
    rows: int = Field(
        default=ROWS_8B,
        gt=0,
        description="Rows of processing elements",
        json_schema_extra=about(WORTH),
    )
    cols: int = Field(
        default=COLS_8B,
        gt=0,
        description="Columns of processing elements",
        json_schema_extra=about(WORTH),
    )
    priced_by: By = Field(
        default="area",
        description="Logic as its published area, energy in proportion (area), or both as sums of its parts (parts)",
        json_schema_extra=about(OURS),
    )

    @abstractmethod
    def mode(self, x_bits: int, w_bits: int) -> Mode:
        """How it works on operands of two packed widths."""

    @property
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates of 8 by 8 bits per cycle; narrower ones may be more."""
        return self.mode(WIDEST, WIDEST).macs_per_cycle

    @property
    def multipliers_4b(self) -> int:
        """What the array is worth in 4-bit by 4-bit multipliers: four for each product of 8 by 8 bits per cycle."""
        return PER_PRODUCT_8B * self.mode(WIDEST, WIDEST).macs_per_cycle

    @property
    def requantizer_lanes(self) -> int:
        """One per column of 8-bit units."""
        return self.mode(WIDEST, WIDEST).cols

    @property
    def rescaler_lanes(self) -> int:
        """As many as requantizers, where there are any."""
        return self.requantizer_lanes if self.rescaling else 0

    @property
    def sum_lanes(self) -> int:
        """As many as the mode with most has."""
        modes = (self.mode(x, w) for x in self.widths for w in self.widths)
        return max(mode.cols * mode.wide for mode in modes)

    @property
    def decoders_in_array(self) -> bool:
        """Whether the area of the PEs holds that of the decoders."""
        return self.published_decoders and self.priced_by == "area" and not self.pe_price.synthesized

    @property
    def pe_price(self) -> Priced:
        """What a PE costs."""
        return self._priced(self.pe)

    @property
    def resting_bits(self) -> int:
        """Bits that rest in all PEs: words of weights."""
        return self.rows * self.cols * self.word_bits

    def components(self) -> Sequence[Component]:
        """PEs, second registers for weights, decoders, encoders."""
        found = [Component(name=ARRAY, count=self.rows * self.cols, circuit=self._priced(self.pe))]
        if self.exchanges and self.weight_loading == "hidden":
            register = priced(REGISTER, self.technology, "parts")
            found.append(Component(name=SHADOW, count=self.resting_bits, circuit=register))
        if self.decoder is not None and not self.decoders_in_array:
            found.append(Component(name=DECODERS, count=self.rows + self.cols, circuit=self._priced(self.decoder)))
        if self.encoder is not None:
            found.append(Component(name=ENCODERS, count=self.requantizer_lanes, circuit=self._priced(self.encoder)))
        return found

    def refusal(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        return refusal(plan, self.types)

    def mode_of(self, plan: SitePlan) -> Mode:
        """The mode that a supported plan runs in."""
        return self.mode(packed_width(plan.x_bits, self.widths), packed_width(plan.w_bits, self.widths))

    def stored_bits(self, plan: SitePlan) -> int:
        """The packed width."""
        return self.mode_of(plan).x_bits

    def peak_of(self, work: Execution) -> float:
        """Of the mode."""
        return self.mode_of(work.plan).macs_per_cycle

    def job(self, work: Execution) -> Job:
        """A product in its mode."""
        mode, outputs = self.mode_of(work.plan), work.site.y_elements
        encode = () if self.encoder is None else ((use("encode", "y", "element", self._priced(self.encoder)), outputs),)
        return Job(
            gemm=self.gemm_of(work, x_bits=mode.x_bits, w_bits=mode.w_bits),
            dataflows=(self.dataflow(mode, block_of(work.plan, work.site), rescalings_of(work.plan)),),
            uses=(*self.operand_uses(work), *encode),
        )

    def dataflow(self, mode: Mode, block: int = 0, rescalings: int = 1) -> Dataflow:
        """Folds of an array of units, whose scales change after every `block` elements of the reduction (0: never)."""
        decoder = None if self.decoder is None else self._priced(self.decoder)
        bits = mode.rows * self.resting_bits
        shifts = times(priced(REGISTER, self.technology, "parts"), bits, f"{bits:,} x {{}}")
        return WeightStationary(
            rows=mode.rows,
            cols=mode.cols,
            deep=mode.deep,
            wide=mode.wide,
            fused=mode.fused,
            block=block,
            timing=timing_of(self),
            sum_bits=self.psum_bits,
            product=use("mac", "pe", "cycle", self._priced(self.pe)),
            exchange=use("registers", "exchange what rests", "fold", shifts),
            rescale=use("rescalers", "rescale", "operation", rescaler_of(self)),
            rescalings=rescalings,
            decode_x=None if decoder is None else use("decode", "x", "word", decoder),
            decode_w=None if decoder is None else use("decode", "w", "word", decoder),
            x_words=max(1, mode.x_bits // self.word_bits),
            w_words=max(1, mode.w_bits // self.word_bits),
        )

    def details(self, work: Execution, ran: Ran) -> dict[str, Any]:
        """The mode, PE cycles, and every circuit in both ways of pricing.

        Returns
        -------
        dict
            Packed widths `x_stored_bits`, `w_stored_bits`, units `unit_rows` x `unit_cols` of `fused_pes` each,
            `products_per_pe_cycle`, `pe_cycles`; area in um2 and energy per cycle in pJ of a PE (and decoder, and
            encoder) as published (`area`) and summed (`parts`).
        """
        mode = self.mode_of(work.plan)
        return {
            "x_stored_bits": mode.x_bits,
            "w_stored_bits": mode.w_bits,
            "unit_rows": mode.rows,
            "unit_cols": mode.cols,
            "fused_pes": mode.fused,
            "products_per_pe_cycle": float(mode.products_per_pe_cycle),
            "pe_cycles": sum(event.count for event in ran.cost.events if event.component == "mac"),
            **self._circuits(),
        }

    def _circuits(self) -> dict[str, float]:
        """Every circuit, however it is priced here, in both ways of published prices; those that these allow."""
        ways: tuple[By, ...] = ("area", "parts")
        prices = dataclasses.replace(self.technology, synthesized=None)
        circuits = {"pe": self.pe, "decoder": self.decoder, "encoder": self.encoder}
        found: dict[str, float] = {}
        for name, circuit in circuits.items():
            for by in ways:
                if circuit is None or (by == "area" and circuit.published not in {None, *prices.prices}):
                    continue
                one = priced(circuit, prices, by)
                found |= {f"{name}_um2_by_{by}": one.area_um2, f"{name}_pj_by_{by}": one.energy_pj}
        return found

    def _priced(self, circuit: Circuit) -> Priced:
        return priced(circuit, self.technology, self.priced_by)


def compute_area_um2(machine: PackedArray) -> float:
    """Area of the PEs and decoders: what the published areas of these machines seem to be of."""
    components = machine.area().components_um2
    return components[ARRAY] + components.get(DECODERS, 0.0)
