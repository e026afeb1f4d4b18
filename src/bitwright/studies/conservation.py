"""What must hold for every cost, whoever computed it; checked on every run.

Executed + skipped = dense multiply-accumulates of the site; energy is the sum of count x price, none of them negative;
DRAM moves at least the distinct bytes; the array does not work longer than the site lasts; sites add up to the total.
"""

import math
from collections.abc import Callable, Sequence

from bitwright.accelerators.cost import Cost
from bitwright.errors import BitwrightError
from bitwright.networks.sites import Site

RELATIVE_ERROR = 1e-9  # of sums of float64 in another order


def check_site(accelerator: str, site: Site, cost: Cost) -> None:
    """Raise `BitwrightError` if the cost of one site contradicts itself or the site."""

    def fail(what: str) -> BitwrightError:
        return BitwrightError(f"{accelerator} broke conservation at {site.name}: {what}; this is a fault of the model")

    if cost.macs_dense != site.macs:
        raise fail(f"{cost.macs_dense} dense MACs of a product of {site.macs}")
    if cost.macs_executed + cost.macs_skipped != cost.macs_dense:
        raise fail(f"{cost.macs_executed} executed + {cost.macs_skipped} skipped of {cost.macs_dense} dense MACs")
    if not 0 < cost.compute_cycles <= cost.cycles:
        raise fail(f"{cost.compute_cycles} compute cycles of {cost.cycles} cycles")
    moved = cost.traffic_bytes.get("dram_read", 0) + cost.traffic_bytes.get("dram_write", 0)
    if moved < cost.unique_bytes:
        raise fail(f"DRAM moves {moved} bytes and {cost.unique_bytes} are distinct")
    for event in cost.events:
        if not (math.isfinite(event.energy_pj) and event.count >= 0 and event.price_pj >= 0):
            raise fail(f"{event.count} {event.name} at {event.price_pj} pJ")
    _same(fail, "energy by component", sum(cost.energy_pj.values()), cost.total_energy_pj)
    _same(fail, "energy of the events", sum(e.count * e.price_pj for e in cost.events), cost.total_energy_pj)


def check_total(accelerator: str, costs: Sequence[Cost], total: Cost) -> None:
    """Raise `BitwrightError` if the sites' costs do not add up to the total."""

    def fail(what: str) -> BitwrightError:
        return BitwrightError(f"{accelerator} broke conservation: {what}; this is a fault of the model")

    for field in ("cycles", "compute_cycles", "macs_dense", "macs_executed", "macs_skipped", "unique_bytes"):
        parts = sum(getattr(cost, field) for cost in costs)
        if parts != getattr(total, field):
            raise fail(f"{field} of the sites add up to {parts}, the total says {getattr(total, field)}")
    _same(fail, "energy of the sites", sum(cost.total_energy_pj for cost in costs), total.total_energy_pj)
    for key in total.traffic_bytes:
        parts = sum(cost.traffic_bytes.get(key, 0) for cost in costs)
        _same(fail, f"{key} bytes of the sites", parts, total.traffic_bytes[key])


def _same(fail: Callable[[str], BitwrightError], what: str, parts: float, total: float) -> None:
    if not math.isclose(parts, total, rel_tol=RELATIVE_ERROR):
        raise fail(f"{what} add up to {parts}, the total says {total}")
