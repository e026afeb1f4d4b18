"""What each part of the array does, and when: for pictures of one product."""

from typing import Any

import numpy as np

from bitwright.accelerators.dynamic_precision.bit_group import macs_per_cycle
from bitwright.accelerators.dynamic_precision.placement import Placement, class_sizes
from bitwright.methods.classes import PAIRS


def timeline_of(placed: Placement) -> dict[str, Any]:
    """The parts in the block that takes longest, and in all blocks.

    Parameters
    ----------
    placed : Placement
        Where the classes run.

    Returns
    -------
    dict
        Of the longest block: `group`, `block`, its length `k`, its `cycles`, `schedule_wait` cycles before it, and by
        class (`a8w4`) in `parts`: `rows`, `cols` of bit groups, rows `m` and columns `n` that it multiplies, `start`
        and `end` in cycles from the block's, `busy` (0 .. 1): multipliers of the part that multiply, on average over
        start .. end. Of all: `total_cycles`, and by class in `totals`: `cycles` at work, `waits` for the longest part,
        `busy` over the cycles at work.
    """
    classes = placed.classes
    m, n = class_sizes(classes)
    rates = np.array([macs_per_cycle(*pair) for pair in PAIRS])[:, None, None]
    macs, capacity = m * n * classes.k, rates * placed.rows * placed.cols * placed.cycles
    group, block = (int(each) for each in np.unravel_index(int(placed.spent.argmax()), placed.spent.shape))
    names = [f"a{x}w{w}" for x, w in PAIRS]
    ends = placed.cycles[:, group, block]
    starts = np.zeros_like(ends) if placed.side_by_side else np.cumsum(ends) - ends
    waits = (placed.spent - placed.cycles).sum(axis=(1, 2)) * placed.side_by_side

    def busy(done: Any, possible: Any) -> float:
        return float(done / possible) if possible else 0.0

    return {
        "group": group,
        "block": block,
        "k": int(classes.k[block]),
        "cycles": int(placed.spent[group, block]),
        "schedule_wait": int(placed.exposed[group, block]),
        "parts": {
            name: {
                "rows": int(placed.rows[i, group, block]),
                "cols": int(placed.cols[i, group, block]),
                "m": int(m[i, group, block]),
                "n": int(n[i, group, block]),
                "start": int(starts[i]),
                "end": int(starts[i] + ends[i]),
                "busy": busy(macs[i, group, block], capacity[i, group, block]),
            }
            for i, name in enumerate(names)
        },
        "total_cycles": placed.compute_cycles,
        "totals": {
            name: {
                "cycles": int(placed.cycles[i].sum()),
                "waits": int(waits[i]),
                "busy": busy(macs[i].sum(), capacity[i].sum()),
            }
            for i, name in enumerate(names)
        },
    }
