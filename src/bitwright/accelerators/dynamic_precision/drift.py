"""`drift`: an array of bit groups cut by one row line and one column line, so that four classes run at once.

Our reconstruction of Drift (Liu et al., DAC 2024: "online scheduling" of run-time precision; all else here is ours).
Top left wide by wide, top right wide by narrow, below narrow rows alike; a block takes as long as its longest part. The
scheduler (`bitwright.accelerators.dynamic_precision.scheduler`) cuts the array anew for each group and block of the
reduction, unless it counts what the block before counted, and works on the next block while the array works on this
one; where a cut moves, the array is drained and filled, whenever tiles come back to a block
(`bitwright.accelerators.dynamic_precision.walk`). Cut once per site, it takes the mean counts of all blocks. Where the
whole array is faster with all of a block wide, it does that.
"""

import dataclasses
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from bitwright.accelerators.circuits import Built
from bitwright.accelerators.dynamic_precision.latency import ONE, fill_cycles, part_cycles
from bitwright.accelerators.dynamic_precision.machine import SplitArray
from bitwright.accelerators.dynamic_precision.placement import PORTS, Placement, class_sizes
from bitwright.accelerators.dynamic_precision.scheduler import Cuts, schedule
from bitwright.accelerators.dynamic_precision.walk import Walk, in_turn
from bitwright.circuits import BitGroup
from bitwright.memory import BoolArray, IntArray
from bitwright.methods.classes import Classes
from bitwright.settings import OURS, about


class Drift(SplitArray):
    """Drift as reconstructed here.

    Examples
    --------
    >>> Drift().multipliers_4b, Drift(rows=32).peak_macs_per_cycle
    (3072, 1024)
    """

    summary: ClassVar[str] = "bit groups cut four ways at run time between 8- and 4-bit rows and columns (our Drift)"
    group: ClassVar[tuple[Built, ...]] = (Built(circuit=BitGroup()),)
    edges: ClassVar[int] = 2
    schedules: ClassVar[bool] = True

    recut: Literal["block", "site"] = Field(
        default="block",
        description="The array is cut anew for each block of the reduction, or once per site",
        json_schema_extra=about(OURS),
    )
    scheduler_cycles_per_evaluation: int = Field(
        default=16,
        ge=0,
        description="To try one cut: four closed forms of four cycles each",
        json_schema_extra=about(OURS, unit="cycles"),
    )
    overhead_percent: float = Field(
        default=9.2,
        ge=0,
        allow_inf_nan=False,
        description="Area of selectors at the cuts, by that of the bit groups",
        json_schema_extra=about("our RTL with and without them, synthesized", unit="%"),
    )

    @property
    def overhead_percent_of_cuts(self) -> float:
        """As the parameter says."""
        return self.overhead_percent

    @property
    def scheduler_steps(self) -> int:
        """As the parameter says."""
        return self.scheduler_cycles_per_evaluation

    def place(self, classes: Classes, runs: IntArray = ONE, walk: Walk | None = None) -> Placement:
        """Parts side by side, but blocks that the whole array does sooner with all of them wide, or all blocks, so."""
        walk = walk or in_turn(blocks=len(classes.k), times=int(runs.max()))
        cuts = self._lines(classes, runs)
        cut = self._cut_ways(classes, runs, walk, cuts)
        whole = part_cycles(
            self.form,
            m=np.full_like(classes.m_narrow, classes.m),
            k=classes.k,
            n=np.full_like(classes.m_narrow, classes.n),
            rows=np.array(self.rows),
            cols=np.array(self.cols),
            fx=1,
            fw=1,
            runs=runs,
        )
        wide = np.full_like(classes.m_narrow, True, dtype=np.bool_)
        choices = [wide] if self.recut == "site" else [whole < cut.spent, wide]
        wider = [_widened(classes, choice) for choice in choices]
        ways = [cut, *(self._cut_ways(each, runs, walk, self._lines(each, runs)) for each in wider)]
        best = min(ways, key=lambda way: int(way.spent.sum()))
        # Whichever is best, the cuts have been looked for.
        changed, between = walk.differing(self._counted(classes, runs))
        times = walk.entries(changed, between)
        times[0, 0] += 1
        waits = walk.waits(best.spent, cuts.evaluations * self.scheduler_cycles_per_evaluation, changed, between)
        return dataclasses.replace(best, evaluations=times * cuts.evaluations, exposed=waits)

    def _cut_ways(self, classes: Classes, runs: IntArray, walk: Walk, cuts: Cuts) -> Placement:
        m, n = class_sizes(classes)
        row, col = cuts.rows, cuts.cols
        rows = np.stack([row, row, self.rows - row, self.rows - row])
        cols = np.stack([col, self.cols - col, col, self.cols - col])
        sides = [{"m": m[i], "k": classes.k, "n": n[i], "rows": rows[i], "cols": cols[i]} for i in range(len(PORTS))]
        cycles = np.stack(
            [
                part_cycles(self.form, **side, fx=int(fx), fw=int(fw), runs=runs)
                for side, (fx, fw) in zip(sides, PORTS, strict=True)
            ]
        )
        moved = walk.entries(*walk.differing(np.stack([row, col])))
        nothing = np.zeros_like(row)
        return Placement(
            classes=classes,
            rows=rows,
            cols=cols,
            cycles=cycles,
            spent=cycles.max(axis=0) + moved * fill_cycles(self.form, self.rows, self.cols),
            evaluations=nothing,
            exposed=nothing,
            side_by_side=True,
        )

    def _counted(self, classes: Classes, runs: IntArray) -> IntArray:
        """What the scheduler goes by [counts, groups, blocks]: the means of all blocks if it cuts once per site."""
        counts = [classes.m - classes.m_narrow, classes.m_narrow, classes.n - classes.n_narrow, classes.n_narrow]
        shape = classes.m_narrow.shape
        if self.recut == "site":
            means = [-(-each.sum() // each.size) for each in counts]
            return np.stack([np.full(shape, each) for each in (*means, classes.k.max(), runs.max())])
        return np.stack([*counts, *(np.broadcast_to(each, shape) for each in (classes.k, runs))])

    def _lines(self, classes: Classes, runs: IntArray) -> Cuts:
        """The cuts of each block [groups, blocks], and how many were tried for one visit."""
        shape = classes.m_narrow.shape
        *counts, k, runs = (each.reshape(-1) for each in self._counted(classes, runs))
        cuts = self._cut(*counts, k=k, runs=runs)
        return Cuts(
            rows=cuts.rows.reshape(shape),
            cols=cuts.cols.reshape(shape),
            cycles=cuts.cycles,
            evaluations=cuts.evaluations.reshape(shape),
        )

    def _cut(self, *counts: IntArray, k: IntArray, runs: IntArray) -> Cuts:
        """The cuts of products with so many wide and narrow rows, wide and narrow columns [products]."""
        m_wide, m_narrow, n_wide, n_narrow = counts
        return schedule(
            self.form,
            rows=self.rows,
            cols=self.cols,
            m_wide=m_wide,
            m_narrow=m_narrow,
            n_wide=n_wide,
            n_narrow=n_narrow,
            k=k,
            runs=runs,
        )


def _widened(classes: Classes, blocks: BoolArray) -> Classes:
    """The classes with some blocks [groups, blocks] all wide."""
    return dataclasses.replace(
        classes,
        m_narrow=np.where(blocks, 0, classes.m_narrow),
        n_narrow=np.where(blocks, 0, classes.n_narrow),
    )
