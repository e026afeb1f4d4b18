"""`seq`: the array of `drift` without cuts, which runs the four products one after another.

Ours, the rival that any four-way split has to beat: rows are gathered and scattered by the same lists, but each class
has the whole array in its turn, and nothing is scheduled.
"""

from typing import ClassVar

import numpy as np

from bitwright.accelerators.circuits import Built
from bitwright.accelerators.dynamic_precision.latency import ONE, part_cycles
from bitwright.accelerators.dynamic_precision.machine import SplitArray
from bitwright.accelerators.dynamic_precision.placement import PORTS, Placement, class_sizes
from bitwright.accelerators.dynamic_precision.walk import Walk
from bitwright.circuits import BitGroup
from bitwright.memory import IntArray
from bitwright.methods.classes import Classes


class Seq(SplitArray):
    """Four products in turn on the whole array.

    Examples
    --------
    >>> Seq().multipliers_4b
    3072
    """

    summary: ClassVar[str] = "the same bit groups, uncut: wide and narrow products run one after another (our rival)"
    group: ClassVar[tuple[Built, ...]] = (Built(circuit=BitGroup(cuts=False)),)
    edges: ClassVar[int] = 1
    schedules: ClassVar[bool] = False

    def place(self, classes: Classes, runs: IntArray = ONE, walk: Walk | None = None) -> Placement:  # noqa: ARG002
        """Classes in turn."""
        m, n = class_sizes(classes)
        rows, cols = np.full_like(m, self.rows), np.full_like(m, self.cols)
        sides = [{"m": m[i], "k": classes.k, "n": n[i], "rows": rows[i], "cols": cols[i]} for i in range(len(PORTS))]
        cycles = np.stack(
            [
                part_cycles(self.form, **side, fx=int(fx), fw=int(fw), runs=runs)
                for side, (fx, fw) in zip(sides, PORTS, strict=True)
            ]
        )
        nothing = np.zeros_like(classes.m_narrow)
        return Placement(
            classes=classes,
            rows=rows,
            cols=cols,
            cycles=cycles,
            spent=cycles.sum(axis=0),
            evaluations=nothing,
            exposed=nothing,
            side_by_side=False,
        )
