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
from bitwright.methods.operand_options import OperandOptions
from bitwright.methods.plan import Plan
from bitwright.methods.progress import report
from bitwright.methods.protocol import Composition, Drafting, Method, Provides
from bitwright.methods.sharing import sharing
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.network import Batch, Network
from bitwright.networks.rotation import Rotation, RotationGroup, Where, rotation_groups
from bitwright.networks.smoothing import untie
from bitwright.networks.trace import recording_batch
from bitwright.words import counted

RANGING = 2
"""Batches that give the ranges of a candidate."""
STRENGTHS = (0.5, 0.7, 0.9)
"""Of smoothing, all kinds of sites alike, to be compared with rotations."""
NOTHING, SMOOTHING, OFFLINE, ALL = "nothing", "smoothing", "rotation offline", "rotation"
"""What candidates are called."""
Rotations = Mapping[str, Rotation]


def calibrate_transformed(method: Method, network: Network, samples: Sequence[Batch], options: Any, plan: Plan) -> Plan:
    """`plan` with the method's operands, on `network` transformed as the options say; errors as of `calibrate`."""
    if not isinstance(options, OperandOptions) or network.shape_only or not samples:
        return method.calibrate(network, samples, options, plan)
    groups = [] if options.rotation == "none" else _groups(network)
    searched = bool(groups) and options.rotation == "search"
    seen, judges = held_out(samples) if searched or _first_tokens(network, options) else (samples, ())
    if judges:
        return _Search(method, network, seen[:RANGING], judges, options, plan).best(groups, samples)
    fixed = [] if searched else [each for each in groups if _wanted(each, options)]
    return _made(method, network, samples, options, plan, _rotations(fixed), note="")


def _wanted(group: RotationGroup, options: OperandOptions) -> bool:
    return options.rotation == "all" or group.where is not Where.RUN_TIME


def _first_tokens(network: Network, options: OperandOptions) -> bool:
    """Whether it is searched how many first tokens have scales of their own: static ones, of a language model."""
    if not isinstance(options, IntegerOptions) or network.kind != "language":
        return False
    return options.x_granularity == "tensor" and options.first_tokens == "search"


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
    options: OperandOptions,
    plan: Plan,
    rotations: Rotations,
    *,
    note: str,
    turned: Network | None = None,
) -> Plan:
    """`plan` by the method on the network with `rotations`, which is `turned` where that was made."""
    if turned is None or options.rotation_bits:
        if options.rotation_bits:
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
        options: OperandOptions,
        plan: Plan,
    ) -> None:
        self.method, self.network, self.options, self.plan = method, network, options, plan
        self.ranging, self.judges = (_short(network, batches) for batches in (ranging, judges))
        self.logits = network.kind in ("language", "image")
        with torch.no_grad():
            self.references = [network.forward(batch) for batch in self.judges]
        self.trials = 0
        self.turned: tuple[Rotations, Network] | None = None
        self.trial_method, self.drafted = self._draft()

    def best(self, groups: Sequence[RotationGroup], samples: Sequence[Batch]) -> Plan:
        """The plan by the candidate that loses least, on all samples."""
        candidates = self._candidates(groups)
        with sharing():  # ranges, of what is not rotated
            losses = {name: self.loss(*candidate) for name, candidate in candidates.items() if not candidate[0]}
        losses |= {name: self.loss(*candidate) for name, candidate in candidates.items() if candidate[0]}
        best = next(iter(candidates))
        for name in candidates:
            if losses[name] < (1 - LEAST_GAIN) * losses[best]:
                best = name
        rotations, drafted = candidates[best]
        said = ", ".join(f"{name} {loss:.3g}" for name, loss in losses.items())
        batches = counted(len(self.judges), "held-out batch", "held-out batches")
        notes = [f"transforms: {best}, by loss on {batches} ({said})"]
        loss = losses[best]
        if best == ALL and self.options.rotation == "search":
            rotations, dropped = self._needed(groups, loss, drafted)
            notes += [f"without gain at run time, so left out: {', '.join(dropped)}"] if dropped else []
        changes: dict[str, Any] = {}
        if isinstance(self.options, IntegerOptions) and self.options.smoothing == "search" and groups:
            changes["smoothing"] = "search" if best.startswith(SMOOTHING) else "none"
        if _first_tokens(self.network, self.options):
            found = self.loss(rotations, drafted.model_copy(update={"first_tokens": 0}))
            changes["first_tokens"] = int(loss < (1 - LEAST_GAIN) * found)
            alike = "a scale of its own" if changes["first_tokens"] else "no scale of its own"
            notes.append(f"the first token has {alike} ({found:.3g} without)")
        options = self.options.model_copy(update=changes)
        note, turned = "; ".join(notes), self._turned(rotations)
        return _made(self.method, self.network, samples, options, self.plan, rotations, note=note, turned=turned)

    def _candidates(self, groups: Sequence[RotationGroup]) -> dict[str, tuple[Rotations, Any]]:
        """What is compared, the cheapest first; just one where the options leave no choice."""
        if not groups:
            return {NOTHING: ({}, self.drafted)}
        every, offline = _rotations(groups), _rotations([each for each in groups if each.where is not Where.RUN_TIME])
        if self.options.rotation != "search":
            name = ALL if self.options.rotation == "all" else OFFLINE
            return {name: (every if name == ALL else offline, self.drafted)}
        found: dict[str, tuple[Rotations, Any]] = {NOTHING: ({}, self.drafted)}
        if isinstance(self.options, IntegerOptions) and self.options.smoothing == "search":
            smoothed = {f"{SMOOTHING} {by:g}": self.drafted.model_copy(update={"smoothing": by}) for by in STRENGTHS}
            found |= {name: ({}, drafted) for name, drafted in smoothed.items()}
        found |= {OFFLINE: (offline, self.drafted)} if 0 < len(offline) < len(every) else {}
        return found | {ALL: (every, self.drafted)}

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
        method, drafted = self.method, self.options
        if Provides.DRAFT in method.provides:
            assert isinstance(method, Drafting)
            method, drafted = method.draft(drafted)
        if _first_tokens(self.network, self.options):
            drafted = drafted.model_copy(update={"first_tokens": 1})
        return method, drafted

    def _turned(self, rotations: Rotations) -> Network:
        """The network with `rotations`; the last one is kept."""
        if self.turned is None or self.turned[0] != rotations:
            self.turned = None  # its memory is free before the next copy is made
            self.turned = rotations, prepare(self.network, Plan(method=self.plan.method, rotations=rotations))
        return self.turned[1]

    def loss(self, rotations: Rotations, options: Any) -> float:
        """Of the network's output on the judging batches, mean of all."""
        self.trials += 1
        report(f"transforms, trial {self.trials}")
        turned = self._turned(rotations)
        plan = self.trial_method.calibrate(turned, self.ranging, options, Plan(method=self.plan.method))
        prepared = prepare(turned, plan)
        executor = Executor(prepared, plan, _composed(self.trial_method, options), exact=False, prepared=True)
        found = [
            output_loss(executor.run(batch), reference, logits=self.logits)
            for batch, reference in zip(self.judges, self.references, strict=True)
        ]
        return sum(found) / len(found)


def _short(network: Network, batches: Sequence[Batch]) -> Sequence[Batch]:
    """Batches; of a language model's windows the beginning."""
    if network.kind != "language":
        return batches
    return [{name: tokens[:, :JUDGE_TOKENS] for name, tokens in batch.items()} for batch in batches]


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
