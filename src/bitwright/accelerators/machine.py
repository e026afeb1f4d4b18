"""What every machine model shares: a site becomes a job for the engine, and the engine's answer is told.

Subclasses state a bill (`components`), what they run (`refusal`), and how a site's product runs on them (`job`).
"""

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar

from bitwright.accelerators import engine, residency, vector
from bitwright.accelerators.bill import Use, use
from bitwright.accelerators.books import (
    CENTRING,
    OPERANDS,
    ROW_RANGE,
    ROW_ZERO_POINT,
    RUN_TIME_SCALE,
    ZERO_POINT_SUM,
    Billed,
    area_of,
)
from bitwright.accelerators.circuits import priced
from bitwright.accelerators.cost import Area, Cost
from bitwright.accelerators.engine import Ran
from bitwright.accelerators.job import Job
from bitwright.errors import InputError
from bitwright.formats import PerChannel, PerGroup, PerPosition, PerTensor, PerToken, PerTokenRange
from bitwright.formats.encoding import FLOAT32_BITS
from bitwright.memory import Bits, Gemm
from bitwright.methods.execution import Execution, OnChip
from bitwright.methods.plan import OperandPlan, SitePlan
from bitwright.networks.flows import Flows
from bitwright.networks.sites import OtherOperation, Site


class Machine(Billed):
    """A machine model; frozen parameters turn work into cost.

    Examples
    --------
    >>> from bitwright.accelerators.systolic import WeightStationary
    >>> machine = WeightStationary(rows=8, cols=8)
    >>> isinstance(machine, Machine), machine.peak_macs_per_cycle
    (True, 64)
    """

    summary: ClassVar[str]
    """One line for `bitwright accelerators`."""
    needs_codes: ClassVar[bool] = False
    """Whether costs depend on the operands' values (a machine that skips), not only on shapes and formats."""

    rescaling_lever: ClassVar[str] = "choose an accelerator that rescales, such as systolic-ws"
    """What helps where scales change along the reduction and the array has nothing for that."""

    @property
    @abstractmethod
    def peak_macs_per_cycle(self) -> float:
        """Multiply-accumulates per cycle with every multiplier busy, at 8 bits."""

    @property
    @abstractmethod
    def multipliers_4b(self) -> int | None:
        """Multipliers in 4-bit by 4-bit ones; None for float multipliers."""

    @abstractmethod
    def refusal(self, plan: SitePlan) -> str | None:
        """None if the array can run a plan, otherwise one clause that says why not and what would help."""

    @abstractmethod
    def job(self, work: Execution) -> Job:
        """A supported execution as the engine takes it."""

    def peak_of(self, work: Execution) -> float:  # noqa: ARG002
        """Multiply-accumulates per cycle with every multiplier busy, at the widths of a supported execution."""
        return self.peak_macs_per_cycle

    def details(self, work: Execution, ran: Ran) -> dict[str, Any]:  # noqa: ARG002
        """What `explain` says beside the engine's figures."""
        return {}

    def supports(self, plan: SitePlan) -> str | None:
        """None if a site with this plan can run here, otherwise one clause that says why not and what would help."""
        reason = self.refusal(plan)
        if reason is None and _centred_by_row(plan) and not self.centring_lanes:
            return (
                "rows of x have zero points of their own and the array has nothing that corrects its sums for them; "
                "use systolic-ws, systolic-os or simd with --set centring=true, or x_granularity=token"
            )
        if reason is not None or self.rescaler_lanes:
            return reason
        blocks = [
            f"{name} has a scale for every {operand.granularity.size} elements of the reduction"
            for name, operand in (("x", plan.x), ("w", plan.w))
            if operand is not None and isinstance(operand.granularity, PerGroup)
        ]
        if not blocks:
            return None
        return (
            f"{' and '.join(blocks)} and the array has nothing that rescales its sums; {self.rescaling_lever}, "
            "or use scales per channel"
        )

    def ran(self, work: Execution) -> Ran:
        """How an execution runs: its mapping and cost.

        Raises
        ------
        InputError
            If the plan is not supported, or not even the smallest tile fits the SRAMs.
        """
        reason = self.supports(work.plan)
        if reason is None and self.needs_codes and (work.x is None or work.w is None):
            reason = "its costs depend on the operands' values and there are shapes only"
        if reason:
            raise InputError(f"{work.site.name} cannot run on this array: {reason}")
        return engine.run(self, self.job(work))

    def run(self, work: Execution) -> Cost:
        """Cost of one execution of a site. Raises as `ran` does."""
        return self.ran(work).cost

    def vector_cost(self, operations: Sequence[OtherOperation]) -> Cost:
        """Cost of what a network does beside products, on the vector unit."""
        return vector.vector_cost(self, operations)

    @property
    def keeps(self) -> bool:
        """Whether activations stay on chip between sites where they fit."""
        return self.activations == "resident"

    def stored_bits(self, plan: SitePlan) -> int:
        """Bits of an element of x, and of an output, as the machine stores it."""
        return plan.x_bits

    def kept(self, flows: Flows, plans: Sequence[SitePlan]) -> Mapping[str, OnChip]:
        """By site, which activations stay: `bitwright.accelerators.residency`; `plans` by run of a site."""
        return residency.kept_by(self, flows, [self._output_bits(plan) for plan in plans])

    def _output_bits(self, plan: SitePlan) -> int:
        return plan.x_bits if self.supports(plan) else self.stored_bits(plan)

    def area(self) -> Area:
        """Silicon area by component; control and wiring are not modelled."""
        return area_of(self)

    def explain(self, work: Execution) -> dict[str, Any]:
        """Where a site's cycles come from. Raises as `ran` does.

        Returns
        -------
        dict
            Extents of a tile, loop `order` (outermost first), `input_buffers`, `weight_buffers` and `output_buffers` (1
            or 2), `tiles`; `cycles`, of which `compute_cycles` and `stall_cycles`; `array_cycles`, `bank_cycles` and
            `dram_cycles`, in which each is busy, and `bound`, the busiest; DRAM bytes; `utilization` (0 .. 1):
            multiply-accumulates by the peak of all cycles; `array_utilization`: by the peak of compute cycles only;
            `macs_per_dram_byte`, and `ridge_macs_per_dram_byte`, from which on the multipliers are the limit; what the
            machine adds.
        """
        ran = self.ran(work)
        mapping, cost, peak = ran.mapping, ran.cost, self.peak_of(work)
        dram_bytes = cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"]
        return {
            "tile_m": mapping.tile_m,
            "tile_k": mapping.tile_k,
            "tile_n": mapping.tile_n,
            "order": mapping.order,
            "input_buffers": mapping.input_buffers,
            "weight_buffers": mapping.weight_buffers,
            "output_buffers": mapping.output_buffers,
            "tiles": mapping.tiles,
            "cycles": cost.cycles,
            "compute_cycles": cost.compute_cycles,
            "stall_cycles": cost.cycles - cost.compute_cycles,
            "array_cycles": cost.busy_cycles["array"],
            "bank_cycles": cost.busy_cycles["banks"],
            "dram_cycles": cost.busy_cycles["dram"],
            "dram_read_bytes": cost.traffic_bytes["dram_read"],
            "dram_write_bytes": cost.traffic_bytes["dram_write"],
            "bound": cost.bound,
            "utilization": cost.macs_dense / (peak * cost.cycles),
            "array_utilization": cost.macs_dense / (peak * cost.compute_cycles),
            "macs_per_dram_byte": cost.macs_dense / dram_bytes,
            "ridge_macs_per_dram_byte": peak / self.dram_bandwidth,
            **self.details(work, ran),
        }

    def gemm_of(self, work: Execution, *, x_bits: Bits, w_bits: Bits, psum_bits: Bits | None = None) -> Gemm:
        """A site as a product of codes of these widths in memory, with their scales; outputs are as wide as x's codes.

        A scale of the whole operand is part of the layer's configuration and moves with nothing.
        """
        site, plan = work.site, work.plan
        return Gemm(
            m=site.m,
            k=site.k,
            n=site.n,
            groups=site.groups,
            x_bits=x_bits + scale_bits(plan.x, length=x_length(site, plan.x)),
            w_bits=w_bits + _tables(plan) * scale_bits(plan.w, length=w_length(site, plan.w)) + _column_sums(work),
            y_bits=x_bits,
            psum_bits=self.psum_bits if psum_bits is None else psum_bits,
            x_distinct=site.x_elements,
            w_distinct=site.w_elements,
            x_on_chip=work.on_chip.x,
            y_on_chip=work.on_chip.y,
            kept_bytes=work.on_chip.kept_bytes,
        )

    def operand_uses(self, work: Execution) -> tuple[tuple[Use, int], ...]:
        """What operands take beside products: scales that are found at run time, sums that meet a zero point.

        Scales of a row's or a block's own are found, and elements quantized by them, at run time unless the operand is
        known offline. A zero point that meets an operand known offline is a constant of the bias.
        """
        site, plan = work.site, work.plan
        sides = ((plan.x, site.x_elements, False), (plan.w, site.w_elements, site.static_weight))
        quantized = sum(
            elements
            for operand, elements, offline in sides
            if operand is not None
            and not offline
            and isinstance(operand.granularity, PerToken | PerTokenRange | PerGroup)
        )
        met = 0
        if plan.x is not None and plan.x.zero_point and not site.static_weight:
            met += site.w_elements
        if plan.w is not None and (plan.w.zero_point or plan.w.minimum is not None):  # the same sums of x
            met += site.x_elements
        prices = self.technology
        uses: tuple[tuple[Use, int], ...] = (
            (use(OPERANDS, "quantize at run time", "element", priced(RUN_TIME_SCALE, prices, "parts")), quantized),
            (use(OPERANDS, "add to meet a zero point", "element", priced(ZERO_POINT_SUM, prices, "parts")), met),
        )
        if _centred_by_row(plan):
            least, corrected = priced(ROW_RANGE, prices, "parts"), priced(ROW_ZERO_POINT, prices, "parts")
            uses += (
                (use(CENTRING, "compare with the least of a row", "element", least), site.x_elements),
                (use(CENTRING, "correct for the zero point of a row", "output", corrected), site.y_elements),
            )
        return tuple((each, count) for each, count in uses if count)


def scale_bits(operand: OperandPlan | None, *, length: int) -> Fraction:
    """Bits that an element of an operand has beside its code: its share of scales.

    Every `length` elements have one, or where the granularity is finer, one per block of them.

    Examples
    --------
    >>> from bitwright.formats import Integer
    >>> scale_bits(OperandPlan(format=Integer(bits=4), granularity=PerGroup(32)), length=1024)
    Fraction(1, 1)
    """
    if operand is None or isinstance(operand.granularity, PerTensor | PerPosition):
        return Fraction(0)
    return operand.encoding.bits_per_element(rows=1, k=length) - operand.format.bits


def _centred_by_row(plan: SitePlan) -> bool:
    """Whether rows of x have zero points of their own."""
    return plan.x is not None and isinstance(plan.x.granularity, PerTokenRange)


def _column_sums(work: Execution) -> Fraction:
    """Bits that an element of w has of its column's sum, int32, where rows of x have zero points."""
    return Fraction(FLOAT32_BITS, work.site.k) if _centred_by_row(work.plan) else Fraction(0)


def _tables(plan: SitePlan) -> int:
    """How many tables of scales of columns are kept: each is multiplied by one static scale of x beforehand."""
    return 2 if plan.x is not None and isinstance(plan.x.granularity, PerPosition) else 1


def x_length(site: Site, operand: OperandPlan | None) -> int:
    """Distinct elements of x that a scale of its own goes over: a row's, or a whole image's of a convolution.

    Blocks of a convolution go along the channels of a pixel, which windows share: those of a group, or where groups
    have one each, those of all groups.
    """
    if site.conv is None:
        return site.k
    if operand is not None and isinstance(operand.granularity, PerGroup):
        return _block_axis(site)
    images = max(1, site.m // math.prod(site.conv.output_size))
    return max(1, min(site.x_elements, site.groups * site.m * site.k) // images)


def w_length(site: Site, operand: OperandPlan | None) -> int:
    """Distinct elements of w that a scale of its own goes over: a column's, or of keys and values a whole head's.

    The latter where they have scales that are known offline (per channel); blocks as of x.
    """
    if operand is not None and isinstance(operand.granularity, PerGroup) and site.conv is not None:
        return _block_axis(site)
    if operand is not None and isinstance(operand.granularity, PerChannel) and not site.static_weight:
        return site.k * site.n
    return site.k


def _channels(site: Site) -> int:
    """Of a group of a convolution; the whole reduction of any other product."""
    return site.k if site.conv is None else site.k // math.prod(site.conv.kernel)


def _block_axis(site: Site) -> int:
    """Elements of the axis that a convolution's blocks go along."""
    channels = _channels(site)
    return site.groups if channels == 1 else channels


def block_of(plan: SitePlan, site: Site) -> int:
    """Elements of the reduction between two changes of any scale; 0: sums are not rescaled.

    Where a block is the whole reduction, its scale is that of a column, and only a minimum takes operations of its own.
    A convolution's blocks end with the channels of a tap; where the last one of each is shorter, it is their mean.
    """
    channels = _channels(site)
    blocks = [
        operand.granularity.size
        for operand in (plan.x, plan.w)
        if operand is not None
        and isinstance(operand.granularity, PerGroup)
        and min(operand.granularity.size, channels) < site.k
    ]
    if blocks:
        size = math.gcd(*blocks)
        return size if site.conv is None else channels // -(-channels // size)
    return site.k if plan.w is not None and plan.w.minimum is not None else 0


def rescalings_of(plan: SitePlan) -> int:
    """How many operations a sum of a block takes: its scale, and a minimum by the sum of its part of x."""
    return 1 if plan.w is None or plan.w.minimum is None else 2
