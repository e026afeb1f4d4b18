"""Where to rotate, searched by what the whole network loses on samples that gave no range.

Every candidate (nothing, smoothing, rotations offline, all rotations) is calibrated by the method itself, in short, on
a few batches, and judged on others by `output_loss`. From all rotations, each kind of those at run time is dropped that
changes the loss by less than what counts as a gain. Candidates, numbers of batches and the least gain are our choices.
Smoothing scales a tensor's channels and rotation mixes them: a site has the one or the other.

Where an accumulation is composed with the operands, candidates are judged with it: a rotation that spreads a massive
activation over all tiles makes running sums wander far on their way to a small result.
"""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from bitwright.errors import InputError
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
CLOSE = 1e-3
"""Of outputs in float, with and without rotations."""
STRENGTHS = (0.5, 0.7, 0.9)
"""Of smoothing, all kinds of sites alike, to be compared with rotations."""
NOTHING, SMOOTHING, OFFLINE, ALL = "nothing", "smoothing", "rotation offline", "rotation"
"""What candidates are called."""
Rotations = Mapping[str, Rotation]
Stored = Sequence[tuple[str, Method, Any]]
"""Methods that fill the accumulation, by name, with their options."""
Parts = Sequence[float]
"""Losses on halves of the judging batches."""


def calibrate_transformed(
    method: Method, network: Network, samples: Sequence[Batch], options: Any, plan: Plan, stored: Stored = ()
) -> Plan:
    """`plan` with the method's operands, on `network` transformed as the options say; errors as of `calibrate`.

    What to transform is judged with the accumulation of `stored`, which fills nothing of the result.
    """
    if not isinstance(options, OperandOptions) or network.shape_only or not samples:
        return method.calibrate(network, samples, options, plan)
    groups = [] if options.rotation == "none" else _groups(network)
    searched = bool(groups) and options.rotation == "search"
    seen, judges = held_out(samples) if searched or _first_tokens(network, options) else (samples, ())
    if judges:
        return _Search(method, network, seen[:RANGING], judges, options, plan, stored).best(groups, samples)
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
    """What can be rotated, having checked that a rotated network computes the same; nothing where it does not.

    A module may do with its layers what no record of tensors shows: run them under a transform of functions, read
    their weights, or count their calls.
    """
    work, batch = network.copy(), recording_batch(network)
    assert work.module is not None
    untie(work.module)
    groups = rotation_groups(work, batch)
    for group in groups:
        group.apply(Rotation(where=group.where))
    try:
        with torch.no_grad():
            same = torch.allclose(work.forward(batch), network.forward(batch), rtol=CLOSE, atol=CLOSE)
    except InputError:
        same = False
    return groups if same else []


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
        stored: Stored,
    ) -> None:
        self.method, self.network, self.options, self.plan = method, network, options, plan
        self.stored = [(name, *_drafted(method, chosen)) for name, method, chosen in stored]
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
            losses = {name: self.losses(*candidate) for name, candidate in candidates.items() if not candidate[0]}
        losses |= {name: self.losses(*candidate) for name, candidate in candidates.items() if candidate[0]}
        best = next(iter(candidates))
        for name in candidates:
            best = name if gains(losses[name], losses[best]) else best
        rotations, drafted = candidates[best]
        said = ", ".join(f"{name} {_mean(parts):.3g}" for name, parts in losses.items())
        batches = counted(len(self.judges), "held-out batch", "held-out batches")
        under = f" under {', '.join(name for name, _, _ in self.stored)}" if self.stored else ""
        notes = [f"transforms: {best}, by loss{under} on {batches} ({said})"]
        loss = losses[best]
        if best == ALL and self.options.rotation == "search":
            rotations, dropped = self._needed(groups, loss, drafted)
            notes += [f"without gain at run time, so left out: {', '.join(dropped)}"] if dropped else []
        changes: dict[str, Any] = {}
        if isinstance(self.options, IntegerOptions) and self.options.smoothing == "search" and groups:
            changes["smoothing"] = "search" if best.startswith(SMOOTHING) else "none"
        if _first_tokens(self.network, self.options):
            found = self.losses(rotations, drafted.model_copy(update={"first_tokens": 0}))
            changes["first_tokens"] = int(gains(loss, found))
            alike = "a scale of its own" if changes["first_tokens"] else "no scale of its own"
            notes.append(f"the first token has {alike} ({_mean(found):.3g} without)")
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

    def _needed(self, groups: Sequence[RotationGroup], loss: Parts, drafted: Any) -> tuple[Rotations, list[str]]:
        """All rotations but those kinds at run time whose absence changes the loss less than a gain would."""
        kept, dropped = list(groups), []
        kinds = dict.fromkeys(_kind(group) for group in groups if group.where is Where.RUN_TIME)
        for kind in kinds if len(kinds) > 1 else ():
            fewer = [group for group in kept if group.where is not Where.RUN_TIME or _kind(group) != kind]
            if not gains(loss, self.losses(_rotations(fewer), drafted)):
                kept = fewer
                dropped.append(kind)
        return _rotations(kept), dropped

    def _draft(self) -> tuple[Method, Any]:
        """The method and its options, or what stands in for the method while candidates are compared."""
        method, drafted = _drafted(self.method, self.options)
        if _first_tokens(self.network, self.options):
            drafted = drafted.model_copy(update={"first_tokens": 1})
        return method, drafted

    def _turned(self, rotations: Rotations) -> Network:
        """The network with `rotations`; the last one is kept."""
        if self.turned is None or self.turned[0] != rotations:
            self.turned = None  # its memory is free before the next copy is made
            self.turned = rotations, prepare(self.network, Plan(method=self.plan.method, rotations=rotations))
        return self.turned[1]

    def losses(self, rotations: Rotations, options: Any) -> Parts:
        """Of the network's output, by part of the judging batches."""
        self.trials += 1
        report(f"transforms, trial {self.trials}")
        turned = self._turned(rotations)
        plan = self.trial_method.calibrate(turned, self.ranging, options, Plan(method=self.plan.method))
        for _, method, chosen in self.stored:
            plan = method.calibrate(turned, self.ranging, chosen, plan)
        prepared = prepare(turned, plan)
        methods = Composition(name="trial", methods=(("trial", self.trial_method, options), *self.stored))
        exact = bool(self.stored)  # kernels of stored sums are exact ones, and faster than their emulation
        executor = Executor(prepared, plan, methods, exact=exact, prepared=True)
        found: list[float] = []
        for batch, reference in zip(self.judges, self.references, strict=True):
            halves = zip(_halves(executor.run(batch)), _halves(reference), strict=True)
            found += [output_loss(output, wanted, logits=self.logits) for output, wanted in halves]
        return found


def _drafted(method: Method, options: Any) -> tuple[Method, Any]:
    """A method and its options, or what stands in for them while candidates are compared."""
    if Provides.DRAFT not in method.provides:
        return method, options
    assert isinstance(method, Drafting)
    found: tuple[Method, Any] = method.draft(options)
    return found


def gains(parts: Parts, others: Parts) -> bool:
    """Whether losses are less than others by what counts as a gain, and by anything on every part of the samples.

    Examples
    --------
    >>> gains([1.0, 1.0], [1.2, 1.2]), gains([0.1, 1.1], [1.0, 1.0]), gains([1.0, 1.0], [1.01, 1.01])
    (True, False, False)
    """
    every = all(one < other for one, other in zip(parts, others, strict=True))
    return every and _mean(parts) < (1 - LEAST_GAIN) * _mean(others)


def _mean(parts: Parts) -> float:
    return sum(parts) / len(parts)


def _halves(output: torch.Tensor) -> list[torch.Tensor]:
    """Both halves of the rows of an output; one that has no two rows is one part."""
    rows = output.flatten(0, -2) if output.dim() > 2 else output
    return [rows[: len(rows) // 2], rows[len(rows) // 2 :]] if rows.dim() > 1 and len(rows) > 1 else [rows]


def _short(network: Network, batches: Sequence[Batch]) -> Sequence[Batch]:
    """Batches; of a language model's windows the beginning."""
    if network.kind != "language":
        return batches
    return [{name: tokens[:, :JUDGE_TOKENS] for name, tokens in batch.items()} for batch in batches]


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
