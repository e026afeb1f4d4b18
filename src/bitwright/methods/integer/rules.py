"""From options and observed ranges to the plan of a site: formats, granularities, scales and zero points."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bitwright.errors import InputError
from bitwright.formats import (
    Integer,
    PerChannel,
    PerGroup,
    PerPosition,
    PerTensor,
    PerToken,
    PerTokenRange,
    Saturation,
    parse_granularity,
)
from bitwright.later import functional as F
from bitwright.later import torch
from bitwright.methods.integer.options import IntegerOptions
from bitwright.methods.integer.scales import (
    affine,
    clipped_range,
    same_zero_point,
    symmetric_scale,
    weight_peaks,
)
from bitwright.methods.plan import FLOAT_SITE, OperandPlan, Plan, SitePlan
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.network import Network
from bitwright.networks.sites import Site
from bitwright.networks.trace import trace
from bitwright.networks.view import by_column

if TYPE_CHECKING:
    from bitwright.methods.integer.observe import Ranges


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rules:
    """Options per site, with the rule for the first and the last layer applied."""

    options: IntegerOptions
    first: str
    last: str

    @classmethod
    def of(cls, options: IntegerOptions, sites: Iterable[Site]) -> Rules:
        """The rules for a network of these sites; first and last count layers with weights only."""
        layers = [site.name for site in sites if site.static_weight] or [""]
        return cls(options=options, first=layers[0], last=layers[-1])

    def at(self, name: str) -> IntegerOptions:
        """The options of one site; what a glob says of it wins."""
        options, rule = self.options, self.options.ends
        if (rule == "head8" and name == self.last) or (rule == "both8" and name in (self.first, self.last)):
            wide = {"x_bits": max(8, options.x_bits), "w_bits": max(8, options.w_bits)}
            narrow_weights = {"w_granularity": "channel"} if options.w_bits < 8 else {}
            options = options.model_copy(update=wide | narrow_weights)
        return options.at(name)

    def floating(self, site: Site) -> bool:
        """Whether a site stays float32."""
        ends = self.options.ends == "float" and site.name in (self.first, self.last)
        return ends or not (site.static_weight or self.at(site.name).attention)

    def check_weight_grid(self, network: Network, names: Iterable[str]) -> None:
        """Refuse narrow weight groups, at any of the sites `names`, that lie within those of the file of the weights.

        They would look lossless and say nothing about the method.
        """
        grid = network.weight_grid
        for options in map(self.at, names) if grid else ():
            granularity = parse_granularity(options.w_granularity)
            if grid and options.w_bits <= 4 and isinstance(granularity, PerGroup) and grid % granularity.size == 0:
                raise InputError(
                    f"{network.name}: its weights come from a file of 4-bit groups of {grid}, so {options.w_bits}-bit "
                    f"groups of {granularity.size} would look lossless; "
                    f"use --option w_granularity=channel or a group larger than {grid}"
                )


def site_plan(seen: Ranges, rules: Rules) -> SitePlan:
    """The plan of the site with these ranges."""
    if rules.floating(seen.site):
        return FLOAT_SITE
    options = rules.at(seen.site.name)
    return SitePlan(x=_plan_x(seen, options), w=_plan_w(seen, options))


def _format(bits: int, options: IntegerOptions, *, signed: bool) -> Integer:
    narrow = signed and options.saturation is Saturation.CLIP
    return Integer(bits=bits, signed=signed, narrow=narrow, rounding=options.rounding, saturation=options.saturation)


def _plan_x(seen: Ranges, options: IntegerOptions) -> OperandPlan:
    low, high = seen.x_range
    granularity = parse_granularity(options.x_granularity)
    if isinstance(granularity, PerGroup) and seen.site.conv is not None:
        granularity = PerToken()  # windows mix what groups would share; images have a scale each
    if isinstance(granularity, PerTokenRange):
        if low < 0 and _has_column_sums(seen.site):
            return OperandPlan(format=_format(options.x_bits, options, signed=False), granularity=granularity)
        granularity = PerToken()
    if not isinstance(granularity, PerTensor):  # what is never negative gains a bit by being unsigned
        return OperandPlan(format=_format(options.x_bits, options, signed=low < 0), granularity=granularity)
    fmt = _format(options.x_bits, options, signed=options.x_symmetric)
    if options.calibrator != "minmax" and seen.histogram is not None:
        low, high = clipped_range(
            seen.histogram,
            low,
            high,
            fmt,
            calibrator=options.calibrator,
            percentile=options.percentile,
            symmetric=options.x_symmetric,
        )
    scale, zero_point = affine(low, high, fmt, symmetric=options.x_symmetric)
    if seen.apart and seen.first_range is not None:
        first = same_zero_point(*seen.first_range, fmt, zero_point)
        granularity, scale = PerPosition(seen.first), torch.stack([first, scale])
    return OperandPlan(format=fmt, granularity=granularity, scale=scale, zero_point=zero_point)


def _has_column_sums(site: Site) -> bool:
    """Whether a zero point of a row meets one sum per column that is known beforehand, as in linear layers.

    A stack of one matrix is a matmul, whose x has no rows of its own.
    """
    return site.static_weight and site.conv is None and site.groups == 1 and site.op != "matmul"


def _plan_w(seen: Ranges, options: IntegerOptions) -> OperandPlan:
    fmt = _format(options.w_bits, options, signed=True)
    weight = seen.weight
    if weight is None:
        return _plan_run_time_w(seen, options)
    granularity = parse_granularity(options.w_granularity)
    if isinstance(granularity, PerGroup):
        if weight.dim() == 2:
            return OperandPlan(
                format=fmt, granularity=granularity, scale=_group_scales(weight, granularity, fmt, options)
            )
        granularity = PerChannel()
    rows, shape = weight.float().reshape(1, -1), torch.Size([1] * weight.dim())
    if isinstance(granularity, PerChannel):
        rows, shape = by_column(weight.float(), seen.lead)
    peaks = weight_peaks(rows, fmt, options.w_calibrator, options.percentile)
    return OperandPlan(format=fmt, granularity=granularity, scale=symmetric_scale(peaks, fmt).view(shape))


def _plan_run_time_w(seen: Ranges, options: IntegerOptions) -> OperandPlan:
    """Keys and values: activations, therefore as wide as those; one scale per head, or per column at run time."""
    fmt = _format(options.run_time_w_bits, options, signed=True)
    if options.x_granularity != "tensor":
        return OperandPlan(format=fmt, granularity=PerToken())
    assert seen.w_low is not None
    assert seen.w_high is not None
    peaks = torch.maximum(seen.w_high.abs(), seen.w_low.abs())
    peaks = peaks.amax(dim=-2, keepdim=True) if peaks.dim() else peaks
    granularity = PerChannel() if peaks.dim() else PerTensor()
    return OperandPlan(format=fmt, granularity=granularity, scale=symmetric_scale(peaks, fmt))


def _group_scales(w: torch.Tensor, group: PerGroup, fmt: Integer, options: IntegerOptions) -> torch.Tensor:
    """Scales [N, ceil(K / size)] of w [N, K]."""
    n, k = w.shape
    padded = F.pad(w.float(), (0, -k % group.size)).reshape(-1, group.size)
    return symmetric_scale(weight_peaks(padded, fmt, options.w_calibrator, options.percentile), fmt).view(n, -1)


def plan_of_shapes(network: Network, options: IntegerOptions, plan: Plan) -> Plan:
    """`plan` with formats without scales for a network of shapes only: its sites can be costed, not executed."""
    sites = trace(network).sites
    options.check_globs([site.name for site in sites])
    return dataclasses.replace(
        plan, fingerprint=fingerprint(network), sites=shape_plans(sites, Rules.of(options, sites))
    )


def shape_plans(sites: Sequence[Site], rules: Rules) -> dict[str, SitePlan]:
    """Formats of a network without numbers; where data would decide the sign (token scales), signed is assumed."""
    plans = {}
    for site in sites:
        if rules.floating(site):
            plans[site.name] = FLOAT_SITE
            continue
        at = rules.at(site.name)
        by_token = at.x_granularity != "tensor"
        of_x = parse_granularity(at.x_granularity)
        ranges = isinstance(of_x, PerTokenRange)
        if (isinstance(of_x, PerGroup) and site.conv is not None) or (ranges and not _has_column_sums(site)):
            of_x, ranges = PerToken(), False
        x = OperandPlan(
            format=_format(at.x_bits, at, signed=(at.x_symmetric or by_token) and not ranges), granularity=of_x
        )
        granularity = parse_granularity(at.w_granularity)
        if not site.static_weight:
            granularity = PerToken() if by_token else PerChannel()
        elif isinstance(granularity, PerGroup) and (site.conv is not None or site.groups > 1):
            granularity = PerChannel()
        bits = at.w_bits if site.static_weight else at.run_time_w_bits
        plans[site.name] = SitePlan(x=x, w=OperandPlan(format=_format(bits, at, signed=True), granularity=granularity))
    return plans
