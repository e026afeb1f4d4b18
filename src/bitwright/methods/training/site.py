"""One site while it learns: its scales as parameters, its forward pass with quantization, and its plan as it stands."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from bitwright.errors import InputError
from bitwright.formats import Integer, PerChannel, PerPosition, PerTensor, Quantized, Rounding
from bitwright.formats.lookup_kernels import use_torch_threads
from bitwright.methods.apsq.rule import Kind, PartialSums
from bitwright.methods.apsq.sums import CHUNK, sums
from bitwright.methods.layouts import operands, padded, rows_of
from bitwright.methods.plan import OperandPlan, Plan, SitePlan
from bitwright.methods.rules import Exact, Static
from bitwright.methods.training.gradients import Codes, PartialSumScales
from bitwright.networks.sites import Site
from bitwright.networks.view import GemmView

ROWS = 64
"""Rows of each product from which the scales of partial sums learn, evenly spaced: an estimate, our choice."""


class LearningSite(nn.Module):
    """The scales of one site, as logarithms: operands' natural ones, partial sums' to the base of 2.

    Raises
    ------
    InputError
        If a scale is taken from the data at run time, or weights are scaled in groups: there is nothing to learn.
    """

    def __init__(self, name: str, plan: SitePlan) -> None:
        super().__init__()
        assert plan.x is not None
        assert plan.w is not None
        self.name, self.plan = name, plan
        self.x_log = _log_scale(name, "x", plan.x)
        self.w_log = _log_scale(name, "w", plan.w)
        self.rule = plan.accumulation if isinstance(plan.accumulation, PartialSums) else None
        learns = self.rule is not None and self.rule.kind is not Kind.BLOCK
        self.tile_logs = nn.Parameter(_log2(self.rule.tile_scales)) if learns and self.rule else None
        self.sum_logs = nn.Parameter(_log2(self.rule.sum_scales)) if learns and self.rule else None

    def forward(self, view: GemmView) -> torch.Tensor:
        """y, quantized as in execution, with gradients for operands and scales."""
        x_plan, w_plan = self.plan.x, self.plan.w
        assert x_plan is not None
        assert w_plan is not None
        x_log: torch.Tensor = self.x_log
        if isinstance(x_plan.granularity, PerPosition):
            x_log = x_plan.by_row(x_log, view.x)
        x = Codes.apply(view.x, x_log, x_plan.zero_point, x_plan.format)
        w = Codes.apply(view.w, self.w_log, 0, w_plan.format)
        total = view.product(x, w)
        rule = self.partial_sums()
        if rule is not None:
            total = self._quantized(view, x, w, total, rule)
        step = x_log.exp() * view.columns(self.w_log.exp()) * view.alpha
        if x_plan.dropped_mean:
            total = total + view.columns(w.sum(view.column_axes, keepdim=True) * x_plan.dropped_mean)
        return view.result(view.add_bias(total * step))

    def partial_sums(self) -> PartialSums | None:
        """The rule with the scales as they stand, powers of two."""
        if self.rule is None or self.tile_logs is None or self.sum_logs is None:
            return self.rule
        scales = [torch.exp2(logs.detach().round().clamp_min(0)) for logs in (self.tile_logs, self.sum_logs)]
        return dataclasses.replace(self.rule, tile_scales=scales[0], sum_scales=scales[1])

    def site_plan(self) -> SitePlan:
        """The plan as it stands."""
        assert self.plan.x is not None
        assert self.plan.w is not None
        rule = self.partial_sums()
        return dataclasses.replace(
            self.plan,
            x=dataclasses.replace(self.plan.x, scale=self.x_log.detach().exp().clone()),
            w=dataclasses.replace(self.plan.w, scale=self.w_log.detach().exp().clone()),
            accumulation=self.plan.accumulation if rule is None else rule,
        )

    def _quantized(
        self, view: GemmView, x: torch.Tensor, w: torch.Tensor, exact: torch.Tensor, rule: PartialSums
    ) -> torch.Tensor:
        """Sums as registers hold them, gradients as if they were exact, and the gradients of the registers' scales."""
        x_codes, w_codes = self._stored(x, "x"), self._stored(w, "w")
        with torch.no_grad():
            stored = sums(view, x_codes, w_codes, rule).to(exact)
        total = exact + (stored - exact).detach()
        if self.tile_logs is None or self.sum_logs is None:
            return total
        product = _Product(view, x_codes, w_codes, rule)
        found: torch.Tensor = PartialSumScales.apply(total, self.tile_logs, self.sum_logs, product)
        return found

    def _stored(self, centred: torch.Tensor, part: str) -> Quantized:
        operand: OperandPlan = getattr(self.plan, part)
        codes = centred.detach() + operand.zero_point
        narrow = torch.int8 if operand.integer.signed else torch.uint8
        return Quantized(
            codes=codes.to(narrow) if operand.format.bits <= 8 else codes,
            format=operand.format,
            scale=torch.ones(()),
            zero_point=operand.zero_point,
        )


@dataclasses.dataclass(frozen=True)
class _Product:
    """One forward pass of a site, kept for the gradients of its partial sums' scales."""

    view: GemmView
    x: Quantized
    w: Quantized
    rule: PartialSums

    def scale_gradients(self, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients by the scales' relative change, of stored tiles and of stored sums, from some of the rows."""
        from bitwright.methods.training import kernels

        rule, total = self.rule, torch.zeros(0)
        use_torch_threads()
        parts = operands(self.view, self.x, self.w, rule.centres)
        for part, rows_gradient in zip(parts, rows_of(self.view, gradient), strict=True):
            depthwise = part.depthwise
            weights = part.w.t().unsqueeze(-1) if depthwise else part.w
            centres = part.centres.t() if depthwise else part.centres
            w, middle = (
                padded(each.float(), axis=1, tile=rule.tile, chunk=CHUNK).numpy() for each in (weights, centres)
            )
            start = 0
            for block in part.x:
                rows = block.permute(2, 0, 1) if depthwise else block
                here = rows_gradient[:, start : start + rows.shape[1]]
                start += rows.shape[1]
                step = -(-rows.shape[1] // ROWS)
                codes = padded(rows[:, ::step], axis=2, tile=rule.tile, chunk=CHUNK)
                tiles = codes.shape[2] // (-(-rule.tile // CHUNK) * CHUNK)
                found = np.empty((codes.shape[0] * codes.shape[1], tiles), np.float32)
                scale = rule.scales(tiles)
                kernels.scale_gradients(
                    codes.numpy(),
                    middle,
                    w,
                    here[:, ::step].contiguous().numpy(),
                    scale,
                    1 / scale,
                    rule.additive(tiles),
                    np.float32(0.5 if rule.rounding is Rounding.HALF_UP else 0),
                    np.float32(rule.low),
                    np.float32(rule.high),
                    found,
                )
                each = torch.from_numpy(found.sum(0)) * step
                total = each if not len(total) else total + each
        return self._by_kind(total)

    def _by_kind(self, found: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Each step's gradient to the scale that it used; steps beyond those calibrated use the last."""
        assert self.rule.tile_scales is not None
        count, additive = len(self.rule.tile_scales), torch.from_numpy(self.rule.additive(len(found)))
        index = torch.arange(len(found)).clamp_max(count - 1)
        empty = torch.zeros(count)
        return empty.index_add(0, index, found * ~additive), empty.index_add(0, index, found * additive)


def learned(sites: Mapping[str, LearningSite], site: Site, view: GemmView) -> torch.Tensor | None:
    """What `site` gives with gradients for operands and scales; None where it stays in float.

    Raises
    ------
    InputError
        If gradients do not reach its scales.
    """
    learning = sites.get(site.name)
    if learning is None or not view.x.numel():
        return None
    output: torch.Tensor = learning(view)
    wanted = torch.is_grad_enabled() and any(scale.requires_grad for scale in learning.parameters())
    if wanted and not output.requires_grad:
        raise InputError(
            f"{site.name} is multiplied inside torch's own or scripted code, where no gradients reach its "
            "scales; write it in Python (a cell instead of a recurrent layer), or keep it in float"
        )
    return output


def learning_sites(plan: Plan) -> dict[str, LearningSite]:
    """A learning site for each quantized one of a plan.

    Raises
    ------
    InputError
        If one of them has nothing to learn, or does at run time what is not learned: other formats than integers,
        precision that is chosen at run time, narrow sums.
    """
    found = {}
    for name, site in plan.sites.items():
        if not site.quantized:
            continue
        formats = [operand.format for operand in (site.x, site.w) if operand is not None]
        plain = isinstance(site.precision, Static) and isinstance(site.accumulation, Exact | PartialSums)
        if not plain or not all(isinstance(each, Integer) for each in formats):
            what = ", ".join([*(each.name for each in formats), site.precision.name, site.accumulation.name])
            raise InputError(
                f"{name} has {what}, and gradients are of integers with static precision and exact or APSQ's sums; "
                "train a method of these, such as int8 or aqs"
            )
        found[name] = LearningSite(name, site)
    return found


def _log_scale(name: str, part: str, operand: OperandPlan) -> nn.Parameter:
    if operand.scale is None or not isinstance(operand.granularity, PerTensor | PerChannel | PerPosition):
        raise InputError(
            f"{part} of {name} is scaled per {operand.granularity}, and scales learn per tensor or channel; train a "
            "method with static scales, such as int8"
        )
    return nn.Parameter(operand.scale.detach().clone().log())


def _log2(scales: Any) -> torch.Tensor:
    assert scales is not None
    return torch.as_tensor(scales).detach().double().log().div(math.log(2)).float()
