"""The steps themselves: weights rounded once formats and scales are chosen, biases corrected once the plan is whole.

Both keep what they find only where the loss of the network's output falls on samples that did not find it (the samples
that judge, see `bitwright.methods.refine.trial`). Errors of weights are weighed by the covariance of x, whose mean a
bias makes up for, or by its second moments, whichever loses less there.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase

import torch

from bitwright.formats import Integer, Rounding, Saturation, TableFormat
from bitwright.methods.bias import bias_names
from bitwright.methods.executor import prepare
from bitwright.methods.operand_options import OperandOptions, WeightRounding, WideningOptions
from bitwright.methods.plan import OperandPlan, Plan
from bitwright.methods.progress import report
from bitwright.methods.protocol import Composition
from bitwright.methods.refine.moments import observe_moments
from bitwright.methods.refine.reconstruction import Reconstruction, choice_of
from bitwright.methods.refine.rounder import Rounder, curvature_of, rounded_rows
from bitwright.methods.refine.second_order import values_of
from bitwright.methods.refine.targets import Target, find_targets, spread_scale
from bitwright.methods.refine.trial import Trial
from bitwright.methods.refine.wide import kinds_of, wide_operand, widened
from bitwright.methods.rules import STATIC
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.network import Batch, Network
from bitwright.networks.smoothing import untie
from bitwright.networks.trace import recording_batch, trace

NARROW = 8
"""Bits below which weights are rounded by second-order error unless told otherwise. At 8 bits it gains next to nothing
where static scales of x are what limits, and something where x has scales at run time (our choice)."""
NEAREST = (Rounding.HALF_EVEN, Rounding.HALF_UP, Rounding.HALF_AWAY)
BUDGET_BYTES = 2**28
"""Of second moments at once, or the network's own size if that is more."""


class Refiner:
    """Chooses weights and biases of one calibration.

    Parameters
    ----------
    network : Network
        As loaded.
    samples : sequence of batches
        Of calibration.
    plan : Plan
        Which folds and smooths; what becomes of its sites does not matter here.
    methods : Composition
        Who executes.
    options : OperandOptions
        Of the method of operands.
    """

    def __init__(
        self, network: Network, samples: Sequence[Batch], plan: Plan, methods: Composition, options: OperandOptions
    ) -> None:
        self.network, self.samples, self.plan, self.methods, self.options = network, samples, plan, methods, options

    @functools.cached_property
    def trial(self) -> Trial:
        """Runs the network under changing weights; a copy of its own, made only where something may change."""
        work = prepare(self.network, dataclasses.replace(self.plan, weights={}))
        work = self.network.copy() if work.module is self.network.module else work
        assert work.module is not None
        untie(work.module)
        return Trial(work, self.samples, self.methods)

    @functools.cached_property
    def targets(self) -> dict[str, Target]:
        """Weights that may change."""
        return find_targets(self.trial.network)

    def correctable(self) -> list[str]:
        """Sites whose biases may."""
        if not self._biased:
            return []
        return [name for name in self.trial.reference[0] if self.options.at(name).bias_correction]

    @functools.cached_property
    def _biased(self) -> bool:
        """Whether any site has a bias of its own, told by one short pass."""
        folded = fold_batch_norm(self.network) if self.plan.fold_batch_norm else self.network
        return bool(bias_names(folded, [recording_batch(folded)]))

    def rounded(self, plan: Plan) -> Plan:
        """`plan` with weights chosen by second-order error where the options say so."""
        if not any(self._second_order(name, plan) for name in plan.sites):
            return plan
        wanted = [name for name in self.targets if self._second_order(name, plan)]
        if not wanted:
            return plan
        trial = self.trial
        ways = (True, False) if self.correctable() else (False,)
        tried = {centred: self.weights(plan, wanted, trial.seen, centred=centred) for centred in ways}
        wanted = [name for name in wanted if all(self.targets[name].parameter in each for each in tried.values())]
        if not wanted:  # experts that no sample reached
            return plan
        centred = min(ways, key=lambda way: self._loss(plan, tried[way])) if len(ways) > 1 else False
        chosen = tried[centred]
        plan, wide = self._widened(plan, chosen)
        wanted = [name for name in wanted if name not in wide]
        chosen = {self.targets[name].parameter: chosen[self.targets[name].parameter] for name in wanted}
        if not self._loss(plan, chosen) < self._loss(plan, {}):
            note = "weights by second-order error lose on held-out samples; they have the nearest codes"
            return dataclasses.replace(plan, notes=(*plan.notes, note))
        if trial.halved:
            chosen = self.weights(plan, wanted, trial.batches, centred=centred)
        learning = [name for name in wanted if self.options.at(name).w_rounding == "reconstruction"]
        if learning:
            chosen = self._reconstructed(plan, learning, chosen)
        return dataclasses.replace(plan, weights={**plan.weights, **chosen})

    def _reconstructed(
        self, plan: Plan, learning: Sequence[str], weights: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """`weights`, those of the sites `learning` learned on the outputs of blocks, if that is better."""
        choices = {}
        for name in learning:
            target, w = self.targets[name], plan.site(name).w
            assert w is not None
            parameter = self.trial.parameters[target.parameter].detach()
            scale = target.placed(target.rows(spread_scale(w, target)), parameter.float())
            choice = choice_of(parameter.float(), weights[target.parameter].float(), scale, values_of(w.format))
            choices[name] = (target.parameter, choice)
        names = self.trial.reference[0]
        biases = {name: names[name] for name in self.correctable() if plan.site(name).quantized}
        found = Reconstruction(self.trial, plan, choices=choices, biases=biases, weights=weights).run()
        rounded = {name: values for name, values in found.items() if name in weights}  # biases by their means again
        losses = [self._loss(plan, weights), self.trial.loss(plan, found), self._loss(plan, rounded)]
        return (weights, found, rounded)[losses.index(min(losses))]

    def _widened(self, plan: Plan, weights: Mapping[str, torch.Tensor]) -> tuple[Plan, frozenset[str]]:
        """`plan` with the kinds of layers that keep wide weights, and their sites."""
        options = self.options
        if not isinstance(options, WideningOptions) or options.wide == "none":
            return plan, frozenset()

        def may(name: str) -> bool:
            """Whether a site is narrow, and nobody said so of this very one."""
            site = plan.sites.get(name)
            given = any("w_bits" in over for glob, over in options.sites.items() if fnmatchcase(name, glob))
            narrow = site is not None and site.quantized and site.w_bits < options.wide_bits
            return narrow and name in self.targets and not given

        sites = trace(self.trial.network).sites
        kinds = kinds_of(sites, may)
        if not kinds:
            return plan, frozenset()
        parameters = {name: self.targets[name].parameter for names in kinds.values() for name in names}
        found = widened(
            plan,
            weights,
            kinds=kinds,
            operands={
                name: wide_operand(self.targets[name], self.trial.parameters[parameter], options.wide_bits)
                for name, parameter in parameters.items()
            },
            parameters=parameters,
            sites=sites,
            loss=self._loss,
        )
        return found.plan, found.wide

    def corrected(self, plan: Plan, *, narrowing: bool = True) -> Plan:
        """`plan` with biases corrected, if that is better; without `narrowing` as if no operand became narrow."""
        sites = [name for name in self.correctable() if plan.site(name).quantized]
        if not sites:
            return plan
        trial = self.trial
        judged = plan if narrowing else _static(plan)
        moves = trial.moves(judged, plan.weights, sites)
        moved = {**plan.weights, **trial.moved(moves, plan.weights)}
        if not trial.loss(judged, moved) < trial.loss(judged, plan.weights):
            return plan
        if len(trial.batches) > len(trial.seen):
            moves += trial.moves(judged, plan.weights, sites, held=True)
        return dataclasses.replace(plan, weights={**plan.weights, **trial.moved(moves, plan.weights)})

    def weights(
        self, plan: Plan, sites: Sequence[str], samples: Sequence[Batch], *, centred: bool
    ) -> dict[str, torch.Tensor]:
        """Parameter name -> values by second-order error, from the moments on `samples`.

        `centred`: where a bias can take the mean of the error off, only the rest of the error counts.
        """
        found: dict[str, torch.Tensor] = {}
        correctable = set(self.correctable()) if centred else set()
        for part in self._parts(sites):
            moments = observe_moments(self.trial.network, samples, part)
            for name in part:
                report("weights by second-order error", len(found), len(sites))
                if name not in moments:
                    continue
                target, w = self.targets[name], plan.site(name).w
                assert w is not None
                parameter = self.trial.parameters[target.parameter]
                by = curvature_of(moments.pop(name), centred=name in correctable)
                rows = rounded_rows(target, parameter, w, by)
                found[target.parameter] = target.placed(rows.to(parameter), parameter)
        return found

    @functools.cached_property
    def rounds(self) -> bool:
        """Whether weights of any format may be rounded by second-order error."""
        return any(self.options.at(name).w_rounding != "nearest" for name in self.targets)

    def rounder(self) -> Rounder:
        """Rounds weights as `weights` does from the samples that do not judge, whatever formats they are to have."""
        targets = {name: each for name, each in self.targets.items() if self.options.at(name).w_rounding != "nearest"}
        return Rounder(self.trial.network, self.trial.seen, targets, self.correctable())

    def _loss(self, plan: Plan, weights: Mapping[str, torch.Tensor]) -> float:
        """On the judges, biases corrected if that is better, as it will be decided in the end."""
        sites = [name for name in self.correctable() if plan.site(name).quantized]
        found = self.trial.loss(plan, weights)
        if not sites:
            return found
        moved = self.trial.moved(self.trial.moves(plan, weights, sites), weights)
        return min(found, self.trial.loss(plan, {**weights, **moved}))

    def _second_order(self, name: str, plan: Plan) -> bool:
        site = plan.sites.get(name)
        if site is None or not site.quantized or site.w is None:
            return False
        at_run_time = site.x is not None and site.x.scale is None
        return by_second_order(site.w, self.options.at(name).w_rounding, scaled_at_run_time=at_run_time)

    def _parts(self, sites: Sequence[str]) -> list[list[str]]:
        """Sites in order, in parts whose moments are within the budget of memory."""
        budget = max(BUDGET_BYTES, sum(p.nbytes for p in self.trial.parameters.values()))
        parts: list[list[str]] = [[]]
        taken = 0
        for name in sites:
            target = self.targets[name]
            size = 4 * target.groups * target.k**2
            if parts[-1] and taken + size > budget:
                parts.append([])
                taken = 0
            parts[-1].append(name)
            taken += size
        return parts


def _static(plan: Plan) -> Plan:
    """`plan` without precision that is chosen at run time."""
    sites = {name: dataclasses.replace(site, precision=STATIC) for name, site in plan.sites.items()}
    return dataclasses.replace(plan, sites=sites)


def by_second_order(w: OperandPlan, asked: WeightRounding, *, scaled_at_run_time: bool = False) -> bool:
    """Whether a weight is rounded by second-order error, first at least, where the option has it `asked`.

    `scaled_at_run_time`: x is, so that errors of weights are what is left.
    """
    pays = w.format.bits < NARROW or scaled_at_run_time
    return (asked in ("second-order", "reconstruction") or (asked == "auto" and pays)) and can_choose(w)


def can_choose(w: OperandPlan) -> bool:
    """Whether codes are the nearest to values on a grid that is known offline."""
    if w.scale is None:
        return False
    if isinstance(w.format, Integer):
        return w.format.rounding in NEAREST and w.format.saturation is Saturation.CLIP and not w.format.dropped_bits
    return isinstance(w.format, TableFormat)
