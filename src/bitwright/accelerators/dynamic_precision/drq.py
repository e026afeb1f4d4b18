"""`drq`: an array of 4-bit multipliers whose speed varies with what enters it (DRQ: Song et al., ISCA 2020).

Sources: DRQ's abstract (a mixed-precision array of variable speed, sensitive regions at 8 by 8 bits, others at 4 by 4)
and the description of its array in SPARK (HPCA 2024): each PE multiplies 4 by 4 bits per cycle and 8 by 8 in four;
where one is slow, the others stall. A wave, one row of x on its way through the array, takes four cycles if any of the
sub-tensors that it meets at once is sensitive, else one. How many these are is a parameter: with G of them, all narrow
in shares p of the rows, a wave takes 4 - 3 p**G cycles on average; sensitive regions that lie together make G small.

Ours: 48 x 64 PEs, the 3,072 4-bit multipliers of all machines; weights rest and are as wide as 8 bits in memory; shares
are measured, block by block of the reduction, and blocks that meet are taken as independent; a bit of mask for each
region of x, which travels with it. Rows stay where they are, so that there are no lists, and a product of 8 by 8 bits
is shifted and added where it is made. Static plans run at one speed.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from bitwright.accelerators.bill import Component
from bitwright.accelerators.circuits import Built, Circuit, priced
from bitwright.accelerators.dynamic_precision.bit_group import MULTIPLIERS, per_port
from bitwright.accelerators.dynamic_precision.circuits import MASKER
from bitwright.accelerators.dynamic_precision.latency import ONE, part_cycles
from bitwright.accelerators.dynamic_precision.machine import SplitArray
from bitwright.accelerators.dynamic_precision.placement import Placement, class_sizes
from bitwright.accelerators.dynamic_precision.walk import Walk
from bitwright.accelerators.systolic.machine import REGISTER
from bitwright.circuits import DrqElement
from bitwright.memory import FloatArray, IntArray
from bitwright.methods.classes import NARROW_BITS, PAIRS, WIDE_BITS, Classes
from bitwright.methods.drq.rule import Drq as DrqRule
from bitwright.methods.execution import Execution
from bitwright.methods.rules import Static, SubTensors
from bitwright.settings import OURS, about


class Drq(SplitArray):
    """DRQ's variable-speed array.

    Examples
    --------
    >>> Drq().multipliers_4b
    3072
    """

    summary: ClassVar[str] = "4-bit multipliers at the speed of what enters them: 8 by 8 bits in four cycles (DRQ)"
    group: ClassVar[tuple[Built, ...]] = (Built(circuit=DrqElement(), count=MULTIPLIERS),)
    group_waits: ClassVar[bool] = False
    decider: ClassVar[Circuit] = MASKER
    measures: ClassVar[bool] = False
    edges: ClassVar[int] = 1
    schedules: ClassVar[bool] = False
    rule: ClassVar[type[SubTensors]] = DrqRule
    gathers: ClassVar[bool] = False

    row_groups: int = Field(
        default=4,
        ge=1,
        description="G, sub-tensors that a row of x meets at once; not public, to be swept from 1 to 8",
        json_schema_extra=about(OURS),
    )

    def classes(self, work: Execution) -> Classes:
        """Waves instead of rows: one block, whose wide rows are the waves that are slow."""
        found = work.classes
        if isinstance(work.plan.precision, Static):
            return found
        fast = np.rint(found.m * self.fast_waves(found)).astype(np.int64)[:, None]
        return Classes(
            m=found.m,
            n=found.n,
            k=np.array([found.k.sum()]),
            m_narrow=fast,
            n_narrow=np.zeros_like(fast),
            x_narrow=found.x_narrow,
            w_narrow=found.w_narrow,
            paired=True,
        )

    @property
    def fill_size(self) -> tuple[int, int]:
        """Multipliers, not groups of four."""
        by = per_port(NARROW_BITS)
        return by * self.rows, by * self.cols

    def ports(self, bits: int) -> int:  # noqa: ARG002
        """One element, however wide."""
        return 1

    def wave_cycles(self, x_bits: int, w_bits: int) -> int:
        """A cycle for each product of 4 by 4 bits.

        Examples
        --------
        >>> Drq().wave_cycles(8, 8), Drq().wave_cycles(8, 4), Drq().wave_cycles(4, 4)
        (4, 2, 1)
        """
        return (x_bits // NARROW_BITS) * (w_bits // NARROW_BITS)

    @property
    def resting_bits(self) -> int:
        """A whole weight in each multiplier, or its sum."""
        return MULTIPLIERS * (WIDE_BITS if self.dataflow == "ws" else self.psum_bits)

    def components(self) -> Sequence[Component]:
        """Beside the others' the second half of each resting weight, of which a multiplier of 4 by 4 bits has one.

        RTL has both.
        """
        found = list(super().components())
        if self.dataflow == "ws" and not self._bit_group().synthesized:
            register = priced(REGISTER, self.technology, "parts")
            bits = self.multipliers_4b * (WIDE_BITS - NARROW_BITS)
            found.append(Component(name="weight_registers", count=bits, circuit=register))
        return found

    def fast_waves(self, classes: Classes) -> FloatArray:
        """Share of waves with nothing sensitive [groups]: the product of the shares of G blocks in a row, averaged.

        Where there are fewer blocks than G, all of them.
        """
        shares: FloatArray = classes.m_narrow / classes.m
        windows = np.lib.stride_tricks.sliding_window_view(shares, min(self.row_groups, shares.shape[1]), axis=1)
        found: FloatArray = windows.prod(axis=2).mean(axis=1)
        return found

    def place(self, classes: Classes, runs: IntArray = ONE, walk: Walk | None = None) -> Placement:  # noqa: ARG002
        """Every class takes the whole array of multipliers, which goes at the pace of its waves.

        Slow and fast waves follow one another past the same weights.
        """
        m, n = class_sizes(classes)
        m = m * (n > 0)  # rows that meet no column of a class do not stream for it
        rows, cols = (np.full_like(m, size) for size in self.fill_size)
        paces = np.array([self.wave_cycles(*pair) for pair in PAIRS])
        waves = m * paces[:, None, None]
        total, some = waves.sum(axis=0), np.maximum(1, m.sum(axis=0))
        if self.dataflow == "os":  # a fold takes the steps of the reduction at the mean pace of its rows
            stream = {"m": m.sum(axis=0), "k": -(-classes.k * total // some)}
        else:
            stream = {"m": total, "k": np.broadcast_to(classes.k, total.shape)}
        n_all = np.full_like(total, classes.n)
        every = part_cycles(self.form, **stream, n=n_all, rows=rows[0], cols=cols[0], fx=1, fw=1, runs=runs)
        shares = np.cumsum(waves, axis=0) / np.maximum(1, total)
        cycles = np.diff(np.rint(shares * every).astype(np.int64), axis=0, prepend=0)
        nothing = np.zeros_like(classes.m_narrow)
        return Placement(
            classes=classes,
            rows=rows,
            cols=cols,
            cycles=cycles,
            spent=every,
            evaluations=nothing,
            exposed=nothing,
            side_by_side=False,
            ports=np.ones((len(PAIRS), 2), dtype=np.int64),
            together=True,
        )
