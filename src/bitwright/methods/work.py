"""Work: what one execution of a site hands to the accelerators that listen."""

import dataclasses
import functools

from bitwright.formats import Quantized
from bitwright.methods.classes import Classes, classes_of
from bitwright.methods.plan import SitePlan
from bitwright.methods.vectors import VectorMasks, vector_masks
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
    same_as : str
        An earlier site of this run with the very same shape and operands (synthetic networks, and those of shapes
        only): where their plans are equal too, its cost is this one's.
    """

    site: Site
    plan: SitePlan
    x: Quantized | None = None
    w: Quantized | None = None
    same_as: str = ""

    @functools.cached_property
    def masks(self) -> VectorMasks:
        """Which slice vectors can be skipped: computed once, however many machines ask."""
        assert self.x is not None
        assert self.w is not None
        return vector_masks(self.site, self.x, self.w)

    @functools.cached_property
    def classes(self) -> Classes:
        """How many rows and columns are narrow: counted once, however many machines ask."""
        return classes_of(self.site, self.plan, self.x, self.w)
