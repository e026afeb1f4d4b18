"""`drift`: an array of bit groups cut by one row line and one column line, so that four classes run at once.

Our reconstruction of Drift (Liu et al., DAC 2024: "online scheduling" of run-time precision; all else here is ours, see
`shared/methods/drift.md`, sections 4 and 5). Top left wide by wide, top right wide by narrow, below narrow rows
alike; a block takes as long as its longest part. The scheduler (`bitwright.accelerators.split.scheduler`) cuts the
array anew for each group and block of the reduction, unless it counts what the block before counted, and works on the
next block while the array works on this one. Cut once per site, it takes the mean counts of all blocks.
"""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from bitwright.accelerators.split.latency import ONE, part_cycles
from bitwright.accelerators.split.machine import SplitArray
from bitwright.accelerators.split.placement import PORTS, Placement, class_sizes, exposed_cycles
from bitwright.accelerators.split.scheduler import Cuts, schedule
from bitwright.memory import IntArray
from bitwright.methods.classes import Classes


class Drift(SplitArray):
    """Drift as reconstructed here.

    Examples
    --------
    >>> Drift().multipliers_4b, Drift(rows=32).peak_macs_per_cycle
    (3072, 1024)
    """

    summary: ClassVar[str] = "bit groups cut four ways at run time between 8- and 4-bit rows and columns (our Drift)"
    edges: ClassVar[int] = 2
    schedules: ClassVar[bool] = True

    recut: Literal["block", "site"] = Field(
        default="block", description="The array is cut anew for each block of the reduction, or once per site; ours"
    )
    scheduler_cycles_per_evaluation: int = Field(
        default=16, ge=0, description="To try one cut: four closed forms of four cycles each; our choice"
    )
    overhead_percent: float = Field(
        default=5,
        ge=0,
        allow_inf_nan=False,
        description="Area of multiplexers at the cuts and of links in both directions, by that of the bit groups; ours",
    )

    @property
    def overhead_percent_of_cuts(self) -> float:
        """As the parameter says."""
        return self.overhead_percent

    @property
    def scheduler_steps(self) -> int:
        """As the parameter says."""
        return self.scheduler_cycles_per_evaluation

    def place(self, classes: Classes, runs: IntArray = ONE) -> Placement:
        """Parts side by side."""
        m, n = class_sizes(classes)
        shape = classes.m_narrow.shape
        k = np.broadcast_to(classes.k, shape)
        if self.recut == "block":
            cuts = self._cut(
                m[[0, 2]].reshape(2, -1),
                n[[0, 1]].reshape(2, -1),
                k.reshape(-1),
                np.broadcast_to(runs, shape).reshape(-1),
            )
            row, col = cuts.rows.reshape(shape), cuts.cols.reshape(shape)
            evaluations = cuts.evaluations.reshape(shape)
        else:
            means = (-(-each.sum(axis=(1, 2)) // k.size) for each in (m[[0, 2]], n[[0, 1]]))
            cuts = self._cut(*(each[:, None] for each in means), np.array([k.max()]), np.array([runs.max()]))
            row, col = np.full(shape, cuts.rows[0]), np.full(shape, cuts.cols[0])
            evaluations = np.zeros(shape, dtype=np.int64)
            evaluations[0, 0] = cuts.evaluations[0]
        rows, cols = (
            np.stack(each)
            for each in ([row, row, self.rows - row, self.rows - row], [col, self.cols - col, col, self.cols - col])
        )
        cycles = np.stack(
            [
                part_cycles(
                    self.dataflow, m=m[i], k=k, n=n[i], rows=rows[i], cols=cols[i], fx=int(fx), fw=int(fw), runs=runs
                )
                for i, (fx, fw) in enumerate(PORTS)
            ]
        )
        spent = cycles.max(axis=0)
        return Placement(
            rows=rows,
            cols=cols,
            cycles=cycles,
            spent=spent,
            evaluations=evaluations,
            exposed=exposed_cycles(spent, evaluations * self.scheduler_cycles_per_evaluation),
            side_by_side=True,
        )

    def _cut(self, m: IntArray, n: IntArray, k: IntArray, runs: IntArray) -> Cuts:
        """The cuts of products with so many wide and narrow rows and columns [2, products], as they follow in time."""
        size = {"rows": self.rows, "cols": self.cols}
        cuts = schedule(self.dataflow, **size, m_wide=m[0], m_narrow=m[1], n_wide=n[0], n_narrow=n[1], k=k, runs=runs)
        products = np.stack([*m, *n, k])
        again = np.concatenate([[False], (products[:, 1:] == products[:, :-1]).all(axis=0)])
        cuts.evaluations[again] = 0
        return cuts
