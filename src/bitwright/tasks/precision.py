"""What precision rules chose while a network ran: shares of its multiply-accumulates by class, and dropped bits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from bitwright.formats import Quantized
from bitwright.later import torch
from bitwright.methods.classes import NARROW_BITS, PAIRS
from bitwright.methods.execution import Execution
from bitwright.methods.plan import Plan
from bitwright.methods.rules import Static

SHIFTS = range(-1, 5)
"""What a sub-tensor may have dropped: -1, it stayed wide; 0 to 4 bits."""

Shares = Mapping[str, float]
"""By class (`a8w8`, ...): share of multiply-accumulates, 0 .. 1."""


@dataclasses.dataclass(kw_only=True)
class SiteClasses:
    """What one site did.

    Attributes
    ----------
    macs : dict
        Multiply-accumulates by bits of (x, w).
    x_shifts, w_shifts : list of int
        Sub-tensors by what they dropped, in the order of `SHIFTS`; those of a parameter count each time it is used.
    """

    macs: dict[tuple[int, int], int] = dataclasses.field(default_factory=lambda: dict.fromkeys(PAIRS, 0))
    x_shifts: list[int] = dataclasses.field(default_factory=lambda: [0] * len(SHIFTS))
    w_shifts: list[int] = dataclasses.field(default_factory=lambda: [0] * len(SHIFTS))

    @property
    def shares(self) -> Shares:
        """By class."""
        return shares_of(self.macs)


class PrecisionRecord:
    """A listener that counts classes, site by site."""

    def __init__(self) -> None:
        self.sites: dict[str, SiteClasses] = {}

    def __call__(self, work: Execution) -> None:
        """Count one execution of a site; sites in float count for nothing."""
        if not work.plan.quantized:
            return
        site = self.sites.setdefault(work.site.name, SiteClasses())
        for pair, macs in work.classes.macs.items():
            site.macs[pair] += macs
        for counts, operand in ((site.x_shifts, work.x), (site.w_shifts, work.w)):
            for i, count in enumerate(_histogram(operand)):
                counts[i] += count

    @property
    def shares(self) -> Shares:
        """Of the whole network, by class."""
        return shares_of({pair: sum(site.macs[pair] for site in self.sites.values()) for pair in PAIRS})


def record_for(plan: Plan) -> PrecisionRecord | None:
    """A record where a plan chooses precision at run time, or has sites of several widths; None elsewhere."""
    rules = any(not isinstance(site.precision, Static) for site in plan.sites.values())
    quantized = [site for site in plan.sites.values() if site.quantized]
    classes = {(site.x_bits <= NARROW_BITS, site.w_bits <= NARROW_BITS) for site in quantized}
    return PrecisionRecord() if rules or len(classes) > 1 else None


def shares_of(macs: Mapping[tuple[int, int], int]) -> Shares:
    """Counts by bits of (x, w) as shares by class; all 0 where nothing was counted."""
    total = max(1, sum(macs.values()))
    return {f"a{x}w{w}": count / total for (x, w), count in macs.items()}


def _histogram(operand: Quantized | None) -> list[int]:
    if operand is None or operand.shifts is None:
        return [0] * len(SHIFTS)
    counts: list[int] = torch.bincount(operand.shifts.flatten().long() + 1, minlength=len(SHIFTS)).tolist()
    return counts
