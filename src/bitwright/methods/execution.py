"""One execution of a site: what the accelerators that listen are handed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

from bitwright.formats import Quantized
from bitwright.methods.classes import Classes, classes_of
from bitwright.methods.plan import SitePlan
from bitwright.methods.vectors import VectorMasks, vector_masks
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView

Made = TypeVar("Made")
MASKS, CLASSES = "masks", "classes"
"""What `masks` and `classes` are remembered by."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnChip:
    """Which activations a machine keeps between sites while one of them runs.

    Attributes
    ----------
    x, y : bool
        Whether the site's x is kept already, and its output stays.
    kept_bytes : int
        Of the input SRAM, what all but x take meanwhile.
    """

    x: bool = False
    y: bool = False
    kept_bytes: int = 0


NOTHING_KEPT = OnChip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Execution:
    """One execution of one site.

    Attributes
    ----------
    site : Site
        Name and shape.
    plan : SitePlan
        Formats, precision rule, accumulation rule.
    view : GemmView or None
        The product; None for shapes only.
    x, w : Quantized or None
        The very codes that were multiplied, laid out as the view's operands; None for shape-only networks and for
        operands that stay float32.
    same_as : str
        An earlier site of this run with the very same shape and operands (synthetic networks, and those of shapes
        only): where their plans are equal too, its cost is this one's.
    runs : int
        How often it runs alike: the steps of a scan, of a network with shapes only.
    on_chip : OnChip
        Which activations the machine that is handed this keeps.
    """

    site: Site
    plan: SitePlan
    view: GemmView | None = None
    x: Quantized | None = None
    w: Quantized | None = None
    same_as: str = ""
    runs: int = 1
    on_chip: OnChip = NOTHING_KEPT
    _made: dict[Hashable, Any] = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def memo(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` makes, made once however many machines ask for `key`."""
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made

    def made(self, key: Hashable) -> Any:
        """What was made for `key`; None if nobody asked."""
        return self._made.get(key)

    @property
    def masks(self) -> VectorMasks:
        """Which slice vectors can be skipped."""
        x, w = self.x, self.w
        assert x is not None
        assert w is not None
        return self.memo(MASKS, lambda: vector_masks(self.site, x, w))

    @property
    def classes(self) -> Classes:
        """How many rows and columns are narrow."""
        return self.memo(CLASSES, lambda: classes_of(self.site, self.plan, self.x, self.w))
