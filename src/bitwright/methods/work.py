"""Work: what one execution of a site hands to the accelerators that listen."""

import dataclasses

from bitwright.formats import Quantized
from bitwright.methods.plan import SitePlan
from bitwright.networks.sites import Site


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """One execution of one site.

    Attributes
    ----------
    site : Site
        Name and shape.
    plan : SitePlan
        Formats, precision rule, accumulation rule.
    x, w : Quantized or None
        The very codes that were multiplied, in the operation's own layout; None for shape-only networks and for
        operands that stay float32.
    """

    site: Site
    plan: SitePlan
    x: Quantized | None = None
    w: Quantized | None = None
