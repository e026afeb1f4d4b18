"""Where to rotate, searched by what the whole network loses on samples that gave no range.

Every candidate (nothing, smoothing, rotations offline, all rotations) is calibrated by the method itself, in short, on
a few batches, and judged on others by `output_loss`. From all rotations, each kind of those at run time is dropped that
changes the loss by less than what counts as a gain. Candidates, numbers of batches and the least gain are our choices.
Smoothing scales a tensor's channels and rotation mixes them: a site has the one or the other.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bitwright.methods.executor import Executor, prepare
from bitwright.methods.integer.observe import observe_ranges
from bitwright.methods.integer.options import IntegerOptions
from bitwright.methods.integer.smooth import JUDGE_TOKENS, LEAST_GAIN, held_out, output_loss
from bitwright.methods.plan import Plan
from bitwright.methods.progress import report
from bitwright.methods.protocol import Composition, Drafting, Method, Provides
from bitwright.methods.transform_options import TransformOptions
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.network import Batch, Network
from bitwright.networks.rotation import Rotation, RotationGroup, Where, rotation_groups
from bitwright.networks.smoothing import untie
from bitwright.networks.trace import recording_batch

RANGING = 4
"""Batches that give the ranges of a candidate."""
STRENGTHS = (0.5, 0.7, 0.9)
"""Of smoothing, all kinds of sites alike, to be compared with rotations."""
Rotations = Mapping[str, Rotation]


def calibrate_transformed(method: Method, network: Network, samples: Sequence[Batch], options: Any, plan: Plan) -> Plan:
    """`plan` with the method's operands, on `network` rotated as the options say; errors as of `calibrate`."""
    if not isinstance(options, TransformOptions) or options.rotation == "none" or network.shape_only or not samples:
        return method.calibrate(network, samples, options, plan)
    groups = _groups(network)
    if not groups:
        return method.calibrate(network, samples, options, plan)
    if options.rotation != "search":
        chosen = [group for group in groups if options.rotation == "all" or group.where is not Where.RUN_TIME]
        return _made(method, network, samples, options, plan, _rotations(chosen), note="")
    seen, judges = held_out(samples)
    if not judges:
        return method.calibrate(network, samples, options, plan)
    search = _Search(method, network, seen[:RANGING], judges, options, plan)
    return search.best(groups, samples)


def _groups(network: Network) -> list[RotationGroup]:
    work = network.copy()
    assert work.module is not None
    untie(work.module)
    return rotation_groups(work, recording_batch(work))


def _rotations(groups: Sequence[RotationGroup]) -> dict[str, Rotation]:
    return {site: Rotation(where=group.where) for group in groups for site in group.sites}


def _made(
    method: Method,
    network: Network,
    samples: Sequence[Batch],
    options: TransformOptions,
    plan: Plan,
    rotations: Rotations,
    *,
    note: str,
) -> Plan:
    """`plan` by the method on the network with `rotations`."""
    if rotations and options.rotation_bits:
        rotations = _fixed(network, samples, rotations, options.rotation_bits)
    turned = prepare(network, Plan(method=plan.method, rotations=rotations))
    made = method.calibrate(turned, samples, options, plan)
    notes = (*made.notes, note) if note else made.notes
    return dataclasses.replace(made, fingerprint=fingerprint(network), rotations=rotations, notes=notes)


class _Search:
    """Candidates of one network, judged alike."""

    def __init__(
        self,
        method: Method,
        network: Network,
        ranging: Sequence[Batch],
        judges: Sequence[Batch],
        options: TransformOptions,
        plan: Plan,
    ) -> None:
        self.method, self.network, self.ranging, self.options, self.plan = method, network, ranging, options, plan
        if network.kind == "language":
            judges = [{name: tokens[:, :JUDGE_TOKENS] for name, tokens in batch.items()} for batch in judges]
        self.judges = judges
        self.logits = network.kind in ("language", "image")
        with torch.no_grad():
            self.references = [network.forward(batch) for batch in judges]
        self.trials = 0
        self.trial_method, self.drafted = self._draft()

    def best(self, groups: Sequence[RotationGroup], samples: Sequence[Batch]) -> Plan:
        """The plan by the candidate that loses least, on all samples."""
        offline = [group for group in groups if group.where is not Where.RUN_TIME]
        drafted = self.drafted
        losses = {"none": self.loss({}, drafted)}
        candidates: dict[str, Rotations] = {"all": _rotations(groups), "offline": _rotations(offline)}
        for name, rotations in candidates.items():
            if rotations and (name == "all" or len(offline) < len(groups)):
                losses[name] = self.loss(rotations, drafted)
        for strength in STRENGTHS if self._smooths() else ():
            smoothed = drafted.model_copy(update={"smoothing": strength})
            losses[f"smoothing {strength:g}"] = self.loss({}, smoothed)
        order = ("none", "offline", *(name for name in losses if name.startswith("smoothing")), "all")  # cheapest first
        best = "none"
        for name in order:
            if name in losses and losses[name] < (1 - LEAST_GAIN) * losses[best]:
                best = name
        said = ", ".join(f"{name} {losses[name]:.3g}" for name in order if name in losses)
        note = f"rotation: {best}, by loss on {len(self.judges)} held-out batches ({said})"
        rotations = candidates.get(best, {})
        if best == "all":
            rotations, dropped = self._needed(groups, losses[best], drafted)
            note += f"; without gain at run time, so left out: {', '.join(dropped)}" if dropped else ""
        options = self._final(smoothing=best.startswith("smoothing"))
        return _made(self.method, self.network, samples, options, self.plan, rotations, note=note)

    def _needed(self, groups: Sequence[RotationGroup], loss: float, drafted: Any) -> tuple[Rotations, list[str]]:
        """All rotations but those kinds at run time whose absence changes the loss less than a gain would."""
        kept, dropped = list(groups), []
        kinds = dict.fromkeys(_kind(group) for group in groups if group.where is Where.RUN_TIME)
        for kind in kinds if len(kinds) > 1 else ():
            fewer = [group for group in kept if group.where is not Where.RUN_TIME or _kind(group) != kind]
            if self.loss(_rotations(fewer), drafted) * (1 - LEAST_GAIN) < loss:
                kept = fewer
                dropped.append(kind)
        return _rotations(kept), dropped

    def _draft(self) -> tuple[Method, Any]:
        """The method and its options, or what stands in for the method while candidates are compared."""
        if Provides.DRAFT not in self.method.provides:
            return self.method, self.options
        assert isinstance(self.method, Drafting)
        return self.method.draft(self.options)

    def _smooths(self) -> bool:
        return isinstance(self.options, IntegerOptions) and self.options.smoothing == "search"

    def _final(self, *, smoothing: bool) -> TransformOptions:
        """The options with which the plan is made: smoothing is searched in full where it did best."""
        return (
            self.options.model_copy(update={"smoothing": "none"}) if self._smooths() and not smoothing else self.options
        )

    def loss(self, rotations: Rotations, options: Any) -> float:
        """Of the network's output on the judging batches, mean of all."""
        self.trials += 1
        report(f"transforms, trial {self.trials}")
        turned = prepare(self.network, Plan(method=self.plan.method, rotations=rotations))
        plan = self.trial_method.calibrate(turned, self.ranging, options, Plan(method=self.plan.method))
        prepared = prepare(turned, plan)
        executor = Executor(prepared, plan, _composed(self.trial_method, options), exact=False, prepared=True)
        found = [
            output_loss(executor.run(batch), reference, logits=self.logits)
            for batch, reference in zip(self.judges, self.references, strict=True)
        ]
        return sum(found) / len(found)


def _composed(method: Method, options: Any) -> Composition:
    return Composition(name="trial", methods=(("trial", method, options),))


def _kind(group: RotationGroup) -> str:
    """The name of its first site without numbers: blocks are alike."""
    return re.sub(r"\d+", "*", group.sites[0])


def _fixed(network: Network, samples: Sequence[Batch], rotations: Rotations, bits: int) -> dict[str, Rotation]:
    """`rotations` with fixed-point numbers that span what samples have of x."""
    ranges, limit = observe_ranges(network, samples), 2 ** (bits - 1) - 1
    found = dict(rotations)
    for name, rotation in rotations.items():
        peak = max(map(abs, ranges[name].x_range))
        if rotation.at_run_time and peak:
            found[name] = dataclasses.replace(rotation, bits=bits, step=peak / limit)
    return found
