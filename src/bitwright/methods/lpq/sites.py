"""From fields to the plans of sites: what a search and a calibration without one share."""

import functools
from collections.abc import Mapping

import torch

from bitwright.formats import LogPosit, PerChannel, PerTensor, parse_granularity
from bitwright.methods.lpq.fields import Fields, least_error, least_error_by_row, tables
from bitwright.methods.lpq.options import LpqOptions
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, SitePlan
from bitwright.methods.tabled.observe import Seen
from bitwright.networks.view import by_column

CHANNELS = 64
"""At most so many channels of a weight, evenly spaced, choose its es and rs where each has an sf of its own (ours)."""


class Sites:
    """The sites of a network as a choice of fields for each static weight.

    Parameters
    ----------
    seen : mapping
        Site name -> what it reads.
    options : LpqOptions
        Of the method.
    """

    def __init__(self, seen: Mapping[str, Seen], options: LpqOptions) -> None:
        options.check_globs(seen)
        self.seen, self.options = seen, options
        self.weighted = tuple(name for name, each in seen.items() if each.site.static_weight)
        self._channels = functools.cache(self._least_scales)
        self.least = functools.cache(self._least)
        self._activation = functools.cache(self._least_activation)

    def width(self, name: str) -> int:
        """Bits of a site's weight where nothing is searched."""
        at = self.options.at(name)
        return 8 if self.options.ends == "head8" and name == self.weighted[-1] else at.w_bits

    def elements(self, name: str) -> int:
        """Of a site's weight."""
        return self._weight(name).numel()

    def _weight(self, name: str) -> torch.Tensor:
        weight = self.seen[name].weight
        assert weight is not None, f"{name} has no static weight"
        return weight

    def weight_plan(self, name: str, fields: Fields) -> OperandPlan:
        """How a static weight becomes words."""
        fmt = fields.format(self.options.at(name).regime)
        if not self._by_channel(name):
            return OperandPlan(format=fmt, granularity=PerTensor(), scale=fields.scale)
        return OperandPlan(format=fmt, granularity=PerChannel(), scale=self._channels(name, fmt) * fields.scale)

    def _by_channel(self, name: str) -> bool:
        return isinstance(parse_granularity(self.options.at(name).w_granularity), PerChannel)

    def _rows(self, name: str) -> tuple[torch.Tensor, torch.Size]:
        rows, shape = by_column(self._weight(name), self.seen[name].lead)
        return rows.detach().float().cpu().contiguous(), shape

    def _least_scales(self, name: str, fmt: LogPosit) -> torch.Tensor:
        """What sf of a weight is relative to: the scale of least error for each of its channels [N, 1, ..]."""
        rows, shape = self._rows(name)
        return least_error_by_row(rows, fmt)[0].view(shape)

    def site_plan(self, name: str, fields: Fields | None) -> SitePlan:
        """The plan of a site whose weight has `fields`; those of attention have none."""
        at = self.options.at(name)
        if fields is None:
            if not at.attention:
                return FLOAT_SITE
            both = [self._activation(name, operand, at.run_time_bits) for operand in ("x", "w")]
            return SitePlan(x=self._operand(name, both[0]), w=self._operand(name, both[1]))
        x = self._activation(name, "x", at.activation_bits(fields.n))
        return SitePlan(x=self._operand(name, x), w=self.weight_plan(name, fields))

    def plans(self, chosen: Mapping[str, Fields]) -> dict[str, SitePlan]:
        """The plan of every site."""
        return {name: self.site_plan(name, chosen.get(name)) for name in self.seen}

    def mean_bits(self, chosen: Mapping[str, Fields]) -> float:
        """Mean width of the weights' elements."""
        total = sum(self.elements(name) for name in chosen)
        return sum(fields.n * self.elements(name) for name, fields in chosen.items()) / total

    def _operand(self, name: str, fields: Fields) -> OperandPlan:
        return OperandPlan(
            format=fields.format(self.options.at(name).regime), granularity=PerTensor(), scale=fields.scale
        )

    def _least(self, name: str, n: int) -> Fields:
        """The fields with the least error for a weight in `n` bits."""
        at = self.options.at(name)
        if not self._by_channel(name):
            return least_error(self._weight(name), n, max_es=at.max_es, rule=at.regime)
        rows, _ = self._rows(name)
        some = rows[:: -(-len(rows) // CHANNELS)].contiguous()
        found = [Fields(n=n, es=es, rs=rs, sf=0.0) for es, rs in tables(n, at.max_es, at.regime)]
        return min(found, key=lambda each: float(least_error_by_row(some, each.format(at.regime))[1].sum()))

    def _least_activation(self, name: str, operand: str, n: int) -> Fields:
        at = self.options.at(name)
        values = self.seen[name].x if operand == "x" else self.seen[name].w
        return least_error(values, n, max_es=at.max_es, rule=at.regime)


def uniform(sites: Sites) -> dict[str, Fields]:
    """Every weight at its own width, by least error."""
    return {name: sites.least(name, sites.width(name)) for name in sites.weighted}


def shape_plans(seen: Mapping[str, bool], options: LpqOptions) -> dict[str, SitePlan]:
    """Formats of a network without numbers; `seen` says of each site whether its weight is static.

    Where data would decide, es is 1 (at most n - 2) and rs its largest (our choice; costs do not depend on them).
    """

    def operand(n: int, at: LpqOptions) -> OperandPlan:
        fields = Fields(n=n, es=min(1, max(0, n - 3)), rs=n - 1, sf=0.0)
        return OperandPlan(format=fields.format(at.regime), granularity=PerTensor())

    plans, last = {}, [name for name, static in seen.items() if static][-1:]
    for name, static in seen.items():
        at = options.at(name)
        if not static:
            both = operand(at.run_time_bits, at)
            plans[name] = SitePlan(x=both, w=both) if at.attention else FLOAT_SITE
            continue
        n = 8 if options.ends == "head8" and name in last else at.w_bits
        plans[name] = SitePlan(x=operand(at.activation_bits(n), at), w=operand(n, at))
    return plans
