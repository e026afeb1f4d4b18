"""`seq`: the array of `drift` without cuts, which runs the four products one after another.

Ours, the rival that any four-way split has to beat (`shared/methods/drift.md`, section 5): rows are gathered and
scattered by the same lists, but each class has the whole array in its turn, and nothing is scheduled.
"""

from typing import ClassVar

import numpy as np

from bitwright.accelerators.split.latency import ONE, part_cycles
from bitwright.accelerators.split.machine import SplitArray
from bitwright.accelerators.split.placement import PORTS, Placement, class_sizes
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
    edges: ClassVar[int] = 1
    schedules: ClassVar[bool] = False

    def place(self, classes: Classes, runs: IntArray = ONE) -> Placement:
        """Classes in turn."""
        m, n = class_sizes(classes)
        shape = classes.m_narrow.shape
        k, rows, cols = (np.broadcast_to(each, shape) for each in (classes.k, np.array(self.rows), np.array(self.cols)))
        cycles = np.stack(
            [
                part_cycles(self.dataflow, m=m[i], k=k, n=n[i], rows=rows, cols=cols, fx=int(fx), fw=int(fw), runs=runs)
                for i, (fx, fw) in enumerate(PORTS)
            ]
        )
        nothing = np.zeros(shape, dtype=np.int64)
        return Placement(
            rows=np.stack([rows] * len(PORTS)),
            cols=np.stack([cols] * len(PORTS)),
            cycles=cycles,
            spent=cycles.sum(axis=0),
            evaluations=nothing,
            exposed=nothing,
            side_by_side=False,
        )
