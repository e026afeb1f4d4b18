"""How many slice vectors of each site can be skipped, and how many slice products that leaves at best.

With rho_w and rho_x the shares of skipped vectors and two slices on each side, skipping both sides leaves
(2 - rho_w)(2 - rho_x) / 4 of the products if the masks are independent, skipping the better side (2 - max) / 2
(derived). Figures of a network are means over its sites, weighted by dense multiply-accumulates.
"""

import dataclasses
from collections.abc import Callable, Sequence

from bitwright.accelerators.bit_slice.machine import SliceArray
from bitwright.accelerators.bit_slice.slicing import Slicing
from bitwright.formats import slice_window
from bitwright.methods.execution import Execution
from bitwright.methods.vectors import share, split_of, x_mask
from bitwright.networks.sites import Site


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteRates:
    """One execution of one site.

    Attributes
    ----------
    site : Site
        Name and shape.
    slicing : Slicing
        How a machine cuts its operands.
    split : int or None
        Where activations are cut; None for signed ones.
    zero_point : int
        Of the activations.
    x, w : float
        Share of skipped activation and weight vectors, 0 .. 1.
    """

    site: Site
    slicing: Slicing
    split: int | None
    zero_point: int
    x: float
    w: float

    @property
    def dense(self) -> int:
        """4-bit products without skipping."""
        return self.site.macs * self.slicing.products

    @property
    def two_sided(self) -> float:
        """4-bit products that skipping on both sides leaves, if the masks are independent."""
        return self.site.macs * self._x_left * self._w_left

    @property
    def one_sided(self) -> float:
        """4-bit products that skipping on the better side leaves."""
        x, w = self._x_left * self.slicing.w_slices, self._w_left * self.slicing.x_slices
        return self.site.macs * min(x, w)

    @property
    def _x_left(self) -> float:
        return self.slicing.x_low + self.slicing.x_high * (1 - self.x)

    @property
    def _w_left(self) -> float:
        return self.slicing.w_low + self.slicing.w_high * (1 - self.w)


class Rates:
    """A listener that keeps the rates of every site that `machine` runs.

    With `zeros`, activations are skipped where their slice is 0, as by a machine that knows no other frequent slice.
    """

    def __init__(self, machine: SliceArray, *, zeros: bool = False) -> None:
        self.machine, self.zeros = machine, zeros
        self.sites: list[SiteRates] = []
        self._by_name: dict[str, SiteRates] = {}

    def __call__(self, work: Execution) -> None:
        """One execution of one site."""
        if work.x is None or self.machine.supports(work.plan) is not None:
            return
        before = self._by_name.get(work.same_as)
        found = self._measure(work) if before is None else dataclasses.replace(before, site=work.site)
        self.sites.append(found)
        self._by_name[work.site.name] = found

    def _measure(self, work: Execution) -> SiteRates:
        assert work.x is not None
        fmt, masks = work.x.integer, work.masks
        split = None if fmt.signed else split_of(fmt)
        x = masks.x
        if self.zeros and split is not None:
            x = x_mask(work.site, work.x, slice_window(0, split))
        return SiteRates(
            site=work.site,
            slicing=self.machine.slicing(work.plan),
            split=split,
            zero_point=work.x.zero_point,
            x=share(x),
            w=masks.w_rate,
        )


def weighted(sites: Sequence[SiteRates], rate: Callable[[SiteRates], float]) -> float:
    """The mean of a rate over sites, weighted by dense multiply-accumulates."""
    return sum(rate(each) * each.site.macs for each in sites) / sum(each.site.macs for each in sites)


def ideal_ratio(one_sided: Sequence[SiteRates], two_sided: Sequence[SiteRates]) -> float:
    """4-bit products left by skipping the better side of one run, by those left by skipping both sides of another."""
    return sum(each.one_sided for each in one_sided) / sum(each.two_sided for each in two_sided)
