"""How many times less a row costs than the best static machine: what every gain is measured by.

The yardstick of a network is the cheapest row of static integers, with weights of 8 or 4 bits, on a dense array or on
APSQ's with exact sums; only rows whose status is `ok` are measured or measured by.
"""

from collections.abc import Mapping, Sequence

from bitwright.studies.cells import label
from bitwright.studies.objectives import Objective
from bitwright.studies.row import Row
from bitwright.studies.systems import STATIC, SYSTEMS

WEIGHTS = frozenset({4, 8})
"""Bits of weights of what is measured by; activations have 8, whatever options say."""


def yardstick(rows: Sequence[Row], objective: Objective, kinds: Mapping[str, str]) -> Row | None:
    """The cheapest static row of one network, None if there is none; `kinds` as in `machines_of`."""
    static = [(cost, i) for i, row in enumerate(rows) if _is_static(row, kinds) and (cost := _cost(row, objective))]
    return rows[min(static)[1]] if static else None


def gain(row: Row, measured_by: Row | None, objective: Objective) -> float | None:
    """The yardstick's cost by the row's: how many times less the row costs; None where either is not known."""
    own = _cost(row, objective)
    reference = None if measured_by is None else _cost(measured_by, objective)
    return reference / own if own and reference else None


def _cost(row: Row, objective: Objective) -> float | None:
    return objective.of(row.simulation) if row.status == "ok" and row.simulation is not None else None


def _is_static(row: Row, kinds: Mapping[str, str]) -> bool:
    systems = (SYSTEMS[name] for name in STATIC)
    machine = kinds.get(row.accelerator, row.accelerator)
    named = any(machine in system.machines and row.method in map(label, system.choices) for system in systems)
    plans = [entry.plan for entry in row.simulation.sites] if row.simulation is not None else []
    return named and all(plan.x_bits == 8 and plan.w_bits in WEIGHTS for plan in plans if plan.quantized)
