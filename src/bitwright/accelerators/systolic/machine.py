"""What the systolic arrays and SIMD lanes share: parameters and the bill.

Dense: every multiply-accumulate is executed. Our choice: 24 rows, which with 32 columns of int8 multipliers are the
3,072 4-bit by 4-bit ones of the common substrate (an int8 multiplier counts as four); an integer multiplier costs the
same for narrower operands; outputs leave at x's width, requantized in a lane per column; sums of blocks of the
reduction are rescaled in as many lanes. A float array's outputs are scaled and rounded at the price of the integer
requantizer.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

from pydantic import Field

from bitwright.accelerators.bill import Component, use
from bitwright.accelerators.books import rescaler_of
from bitwright.accelerators.circuits import Built, Circuit, Part, listed, priced, times
from bitwright.accelerators.dataflow import Dataflow
from bitwright.accelerators.job import Job
from bitwright.accelerators.machine import Machine, block_of, rescalings_of
from bitwright.accelerators.substrate import ARTIFACT_DRAM_BYTES, MULTIPLIERS_4B
from bitwright.accelerators.systolic.dataflow import Folds, Timing
from bitwright.accelerators.systolic.operands import INTEGER_MAC_BITS, Mac, refusal
from bitwright.circuits import MultiplyAccumulate
from bitwright.methods.execution import Execution
from bitwright.methods.plan import SitePlan
from bitwright.settings import OURS, about

COLS = 32
ROWS = MULTIPLIERS_4B // 4 // COLS
WORTH = f"our choice: {ROWS} x {COLS} int8 multipliers are worth {MULTIPLIERS_4B:,} 4-bit ones, the common substrate"
ARRAY, SHADOW = "mac_array", "second_registers"
NATIVE = {
    "rows": 32,
    "weight_loading": "exposed",
    "fold_pipelining": False,
    "dram_bytes_per_cycle": ARTIFACT_DRAM_BYTES,
}
"""The ANT artifact's array is 32 x 32, and folds are filled and drained one by one, as SCALE-Sim has them."""
REGISTER = Circuit(name="register", parts=(Part(event="register_bit", count=1, what="a bit"),))


class DenseArray(Machine):
    """A rows x cols array of multiply-accumulate units between three double-buffered SRAMs, and DRAM.

    Subclasses say in which order operands meet: `folds`, and how many bits rest in a unit.
    """

    folds: ClassVar[type[Folds]]
    rests: ClassVar[Literal["weights", "outputs"]]
    """What rests in a unit."""

    rescaling_lever: ClassVar[str] = "--set rescaling=true adds that"

    rescaling: bool = Field(
        default=True,
        description="Whether sums of blocks of the reduction are rescaled as they leave the array, in a lane per "
        "column",
        json_schema_extra=about(OURS),
    )
    centring: bool = Field(
        default=False,
        description="Whether sums are corrected for zero points that rows of x have of their own as they leave the "
        "array, in a lane per column (x_granularity=token-range)",
        json_schema_extra=about(OURS),
    )
    rows: int = Field(default=ROWS, gt=0, description="Rows of the array", json_schema_extra=about(WORTH))
    cols: int = Field(default=COLS, gt=0, description="Columns of the array", json_schema_extra=about(WORTH))
    mac: Mac = Field(
        default="int8", description="The multiplier in every processing element", json_schema_extra=about(OURS)
    )

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
    def requantizer_lanes(self) -> int:
        """One per column."""
        return self.cols

    @property
    def rescaler_lanes(self) -> int:
        """As many as requantizers, where there are any."""
        return self.requantizer_lanes if self.rescaling else 0

    @property
    def centring_lanes(self) -> int:
        """As many as requantizers, where there are any."""
        return self.requantizer_lanes if self.centring else 0

    @property
    def cell(self) -> tuple[Built, ...] | None:
        """A unit as RTL; None of float ones."""
        bits = INTEGER_MAC_BITS.get(self.mac)
        if bits is None:
            return None
        return (Built(circuit=MultiplyAccumulate(x_bits=bits, w_bits=bits, stationary=self.rests)),)

    @property
    @abstractmethod
    def resting_bits(self) -> int:
        """Bits that rest in a unit, and that its second register holds."""

    @property
    @abstractmethod
    def has_second_registers(self) -> bool:
        """Whether what rests is exchanged behind the stream, through registers of its own."""

    def components(self) -> Sequence[Component]:
        """Multipliers, and second registers for what rests where it is exchanged behind the stream."""
        units, prices = self.rows * self.cols, self.technology
        found = [Component(name=ARRAY, count=units, circuit=listed(f"mac_{self.mac}", prices, self.cell))]
        if self.has_second_registers:
            register = priced(REGISTER, prices, "parts")
            found.append(Component(name=SHADOW, count=units * self.resting_bits, circuit=register))
        return found

    def refusal(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        return refusal(plan, self.mac)

    def job(self, work: Execution) -> Job:
        """A product on the array."""
        plan, prices = work.plan, self.technology
        bits = self.rows * self.rows * self.cols * self.resting_bits
        shifts = times(priced(REGISTER, prices, "parts"), bits, f"{bits:,} x {{}}")
        multiplier = listed(f"mac_{self.mac}", prices, self.cell)
        dataflow: Dataflow = self.folds(
            rows=self.rows,
            cols=self.cols,
            block=block_of(plan, work.site),
            timing=timing_of(self),
            sum_bits=self.psum_bits,
            product=use("mac", f"mac_{self.mac}", "operation", multiplier),
            exchange=use("registers", "exchange what rests", "fold", shifts),
            rescale=use("rescalers", "rescale", "operation", rescaler_of(self)),
            rescalings=rescalings_of(plan),
        )
        gemm = self.gemm_of(work, x_bits=plan.x_bits, w_bits=plan.w_bits)
        return Job(gemm=gemm, dataflows=(dataflow,), uses=self.operand_uses(work))


def timing_of(machine: Machine) -> Timing:
    """The ideals of a machine's substrate.

    Examples
    --------
    >>> from bitwright.accelerators.systolic import WeightStationary
    >>> timing_of(WeightStationary(fold_pipelining=False)).pipelined
    False
    """
    return Timing(hidden=machine.weight_loading == "hidden", pipelined=machine.fold_pipelining)
