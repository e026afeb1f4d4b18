"""What one execution of a site had of skipped vectors and narrow classes: a few numbers, kept instead of its codes."""

import dataclasses
from collections.abc import Mapping

from bitwright.methods.execution import CLASSES, MASKS, Execution


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteShares:
    """Shares of 1 of one execution of a site; what nobody counted is missing.

    Attributes
    ----------
    x_skipped, w_skipped : float or None
        Of the slice vectors of x and of w, those that can be skipped; None where no machine asked for them.
    classes : mapping
        `8 x 4` (bits of x by bits of w, wide or narrow) -> share of the multiply-accumulates.
    """

    x_skipped: float | None = None
    w_skipped: float | None = None
    classes: Mapping[str, float] = dataclasses.field(default_factory=dict)


UNKNOWN = SiteShares()


def shares_of(work: Execution) -> SiteShares:
    """The shares of an execution, from what the machine that was charged for it has counted already."""
    masks = work.made(MASKS)
    return SiteShares(
        x_skipped=None if masks is None else masks.x_rate,
        w_skipped=None if masks is None else masks.w_rate,
        classes=_classes(work) if work.made(CLASSES) is not None or _static(work) else {},
    )


def _static(work: Execution) -> bool:
    """Whether the classes follow from the formats, so that there is nothing to count."""
    return work.plan.quantized and (work.x is None or work.x.shifts is None)


def _classes(work: Execution) -> dict[str, float]:
    macs = {pair: count for pair, count in work.classes.macs.items() if count}
    total = sum(macs.values())
    return {f"{x} x {w}": count / total for (x, w), count in macs.items()}
