"""Where to rotate, searched by what the whole network loses on samples that gave no range.

Every candidate (nothing, smoothing, rotations offline, all rotations, all of them at run time) is calibrated by the
method itself, in short, on a few batches, and judged on others by `output_loss`. A residual stream is rotated before
the gains of its norms, which costs nothing at run time, but where gains tame outliers they are there again: behind
them, at run time, x may be easier. From the best, blocks at run time that are no powers of two, which take more
additions, become such, signs stay as they are where flipping them loses more, and each kind of rotation at run time is
dropped, where that changes the loss by less than what counts as a gain. Candidates, numbers of batches and the least
gain are our choices.
Smoothing scales a tensor's channels and rotation mixes them: a site has the one or the other.

Where an accumulation is composed with the operands, candidates are judged with it: a rotation that spreads a massive
activation over all tiles makes running sums wander far on their way to a small result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.errors import InputError
from bitwright.later import torch
from bitwright.methods.executor import Executor, prepare
from bitwright.methods.integer.observe import observe_ranges
from bitwright.methods.integer.options import IntegerOptions
from bitwright.methods.integer.smooth import LEAST_GAIN, beginnings, held_out, output_loss
from bitwright.methods.operand_options import OperandOptions
from bitwright.methods.plan import Plan
from bitwright.methods.progress import report
from bitwright.methods.protocol import Composition, Drafting, Method, Provides
from bitwright.methods.sharing import sharing
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.network import Batch, Network
from bitwright.networks.rotated_sites import Rotation, Where
from bitwright.networks.rotation import rotation_groups
from bitwright.networks.smoothing import untie
from bitwright.networks.trace import recording_batch
from bitwright.words import counted

RANGING = 2
"""Batches that give the ranges of a candidate."""
TRIAL_TOKENS = 128
"""Of a language model's windows, in trials: what they tell apart is large (our choice)."""
CHECK_TOKENS = 64
"""Of every window but the first, on which the rotated network is held against the float one (our choice)."""
HOPELESS = 4
"""Smoothing is not tried where rotation leaves so small a part of the loss: it has not been seen to halve one
(our choice)."""
CLOSE = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""Relative norm of what rotations may change outputs in float by, by their type: roundings of many layers (ours)."""
STRENGTHS = (0.5, 0.7, 0.9)
"""Of smoothing, all kinds of sites alike, to be compared with rotations."""
NOTHING, SMOOTHING, OFFLINE = "nothing", "smoothing", "rotation offline"
ALL, RUN_TIME = "rotation", "rotation at run time"
"""What candidates are called."""
NOT_ROTATED = "nothing was found that can be rotated with the network staying what it is"
Rotations = Mapping[str, Rotation]
Stored = Sequence[tuple[str, Method, Any]]
"""Methods that fill the accumulation, by name, with their options."""
Parts = Sequence[float]
"""Losses on halves of the judging batches."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """Sites that are rotated together, without the tensors of the network that they were found in."""

    where: Where
    sites: tuple[str, ...]
    block: int
    """Channels that are rotated together: of the largest order there is."""
    power: int
    """The largest power of two."""
    flipped: bool = True
    """Whether signs of blocks are flipped first."""

    @property
    def rotation(self) -> Rotation:
        """What a plan says of it."""
        return Rotation(where=self.where, block=self.block, signs=self.flipped and self.block > 0)

    @property
    def cheaper(self) -> _Place:
        """At run time in blocks of a power of two, which take fewer additions."""
        return dataclasses.replace(self, block=self.power) if self.where is Where.RUN_TIME else self

    @property
    def kind(self) -> str:
        """The name of the first site without numbers: blocks are alike."""
        return re.sub(r"\d+", "*", self.sites[0])


def calibrate_transformed(
    method: Method, network: Network, samples: Sequence[Batch], options: OperandOptions, plan: Plan, stored: Stored = ()
) -> Plan:
    """`plan` with the method's operands, on `network` transformed as the options say; errors as of `calibrate`.

    What to transform is judged with the accumulation of `stored`, which fills nothing of the result.
    """
    places, turned = ([], network) if options.rotation == "none" else _places(network, samples)
    searched = bool(places) and options.rotation == "search"
    seen, judges = held_out(network, samples) if searched or _first_tokens(network, options) else (samples, ())
    if judges:
        search = _Search(method, network, seen[:RANGING], judges, options, plan, stored)
        search.turned = _rotations(places), turned
        del turned  # the search lets go of it
        return search.best(places, samples)
    del turned
    fixed = [] if searched else [each.cheaper for each in places if _wanted(each, options)]
    note = NOT_ROTATED if options.rotation in ("all", "offline") and not fixed else ""
    return _made(method, network, samples, options, plan, _rotations(fixed), note=note)


def _wanted(place: _Place, options: OperandOptions) -> bool:
    return options.rotation == "all" or place.where is not Where.RUN_TIME


def _first_tokens(network: Network, options: OperandOptions) -> bool:
    """Whether it is searched how many first tokens have scales of their own: static ones, of a language model."""
    if not isinstance(options, IntegerOptions) or network.kind != "language":
        return False
    return options.x_granularity == "tensor" and options.first_tokens == "search"


def _places(network: Network, samples: Sequence[Batch], *, stream: bool = True) -> tuple[list[_Place], Network]:
    """What can be rotated, and the network rotated so; nothing where that would not compute the same.

    Without `stream`, what reads the residual stream is rotated at run time.

    A module may do with its layers what no record of tensors shows: run them under a transform of functions, read
    their weights, count their calls, or go another way with other inputs. So it is tried on all samples too.
    """
    work, batch = network.copy(), recording_batch(network)
    assert work.module is not None
    untie(work.module)
    places = []
    for group in rotation_groups(work, batch, stream=stream):
        place = _Place(where=group.where, sites=group.sites, block=group.largest_block, power=group.block)
        group.apply(place.rotation)
        places.append(place)
    try:
        with torch.no_grad():
            tried = (batch, *samples[:1], *beginnings(network, samples[1:], CHECK_TOKENS))
            same = all(_close(work.forward(each), network.forward(each)) for each in tried)
    except InputError:
        same = False
    return (places, work) if same else ([], network)


def _close(output: torch.Tensor, reference: torch.Tensor) -> bool:
    """Whether outputs in float are the same but for rounding, by norm."""
    close = CLOSE.get(reference.dtype, max(CLOSE.values()))
    difference = (output.double() - reference.double()).norm()
    return bool(difference <= close * reference.double().norm())


def _rotations(places: Sequence[_Place]) -> dict[str, Rotation]:
    return {site: place.rotation for place in places for site in place.sites}


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
    with sharing() if rotations else contextlib.nullcontext():  # what is kept of a study would keep the copy
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
        self.ranging, self.judges = (beginnings(network, batches, TRIAL_TOKENS) for batches in (ranging, judges))
        self.logits = network.kind in ("language", "image")
        with torch.no_grad():
            self.references = [network.forward(batch) for batch in self.judges]
        self.trials = 0
        self.turned: tuple[Rotations, Network] | None = None
        self.trial_method, self.drafted = self._draft()

    def best(self, places: Sequence[_Place], samples: Sequence[Batch]) -> Plan:
        """The plan by the candidate that loses least, on all samples."""
        candidates = self._candidates(places)
        losses = self._tried(candidates)
        if ALL in candidates and NOTHING in candidates and any(place.where is Where.STREAM for place in places):
            self.turned = None
            behind, turned = _places(self.network, samples, stream=False)
            if behind:
                self.turned = _rotations(behind), turned
                del turned
                candidates[RUN_TIME] = _rotations(behind), self.drafted
                losses[RUN_TIME] = self.losses(*candidates[RUN_TIME])
        best = next(iter(losses))
        for name in losses:
            best = name if gains(losses[name], losses[best]) else best
        places = behind if best == RUN_TIME else places
        rotations, drafted = candidates[best]
        said = ", ".join(f"{name} {_mean(parts):.3g}" for name, parts in losses.items())
        batches = counted(len(self.judges), "held-out batch", "held-out batches")
        under = f" under {', '.join(name for name, _, _ in self.stored)}" if self.stored else ""
        notes = [f"transforms of {self.plan.method}: {best}, by loss{under} on {batches} ({said})"]
        loss = losses[best]
        if best in (ALL, RUN_TIME):
            places, loss, blocks = self._blocks(places, loss, drafted)
            places, loss, signs = self._signs(places, loss, drafted)
            rotations, notes = _rotations(places), [*notes, *blocks, *signs]
        if best in (ALL, RUN_TIME) and self.options.rotation == "search":
            rotations, loss, dropped = self._needed(places, loss, drafted)
            notes += [f"without gain at run time, so left out: {', '.join(dropped)}"] if dropped else []
        changes: dict[str, Any] = {}
        if isinstance(self.options, IntegerOptions) and self.options.smoothing == "search" and places:
            changes["smoothing"] = "search" if best.startswith(SMOOTHING) else "none"
        if _first_tokens(self.network, self.options):
            found = self.losses(rotations, drafted.model_copy(update={"first_tokens": 0}))
            changes["first_tokens"] = int(gains(loss, found))
            alike = "a scale of its own" if changes["first_tokens"] else "no scale of its own"
            notes.append(f"the first token has {alike} ({_mean(found):.3g} without)")
        options = self.options.model_copy(update=changes)
        note, turned = "; ".join(notes), self._turned(rotations)
        return _made(self.method, self.network, samples, options, self.plan, rotations, note=note, turned=turned)

    def _tried(self, candidates: Mapping[str, tuple[Rotations, Any]]) -> dict[str, Parts]:
        """Losses of the candidates, in their order, without smoothing where that cannot gain."""
        tried = {name: self.losses(*candidates[name]) for name in reversed([*candidates]) if candidates[name][0]}
        left = {name: candidate for name, candidate in candidates.items() if name not in tried}
        least = min(map(_mean, tried.values()), default=math.inf)
        with sharing():  # ranges, of what is not rotated
            for name, candidate in left.items():
                smooths = name.startswith(SMOOTHING)
                if smooths and HOPELESS * least <= _mean(tried[NOTHING]):
                    break
                found = self.losses(*candidate)
                if smooths and found == tried[NOTHING]:  # no site of this network can be smoothed
                    break
                tried[name] = found
        return {name: tried[name] for name in candidates if name in tried}

    def _candidates(self, places: Sequence[_Place]) -> dict[str, tuple[Rotations, Any]]:
        """What is compared, the cheapest first; just one where the options leave no choice."""
        if not places:
            return {NOTHING: ({}, self.drafted)}
        every, offline = _rotations(places), _rotations([each for each in places if each.where is not Where.RUN_TIME])
        if self.options.rotation != "search":
            name = ALL if self.options.rotation == "all" else OFFLINE
            return {name: (every if name == ALL else offline, self.drafted)}
        found: dict[str, tuple[Rotations, Any]] = {NOTHING: ({}, self.drafted)}
        if isinstance(self.options, IntegerOptions) and self.options.smoothing == "search":
            smoothed = {f"{SMOOTHING} {by:g}": self.drafted.model_copy(update={"smoothing": by}) for by in STRENGTHS}
            found |= {name: ({}, drafted) for name, drafted in smoothed.items()}
        found |= {OFFLINE: (offline, self.drafted)} if 0 < len(offline) < len(every) else {}
        return found | {ALL: (every, self.drafted)}

    def _blocks(
        self, places: Sequence[_Place], largest: Parts, drafted: Any
    ) -> tuple[Sequence[_Place], Parts, list[str]]:
        """Places in the largest blocks, or in powers of two where these lose less than what counts as a gain more."""
        cheaper = [place.cheaper for place in places]
        if cheaper == places:
            return places, largest, []
        found = self.losses(_rotations(cheaper), drafted)
        kept = gains(largest, found)
        blocks = {place.block: None for place in (places if kept else cheaper) if place.where is Where.RUN_TIME}
        losses = f"{_mean(largest):.3g} in the largest, {_mean(found):.3g} in powers of two"
        said = f"rotated at run time in blocks of {' and '.join(map(str, blocks))} ({losses})"
        return (places, largest, [said]) if kept else (cheaper, found, [said])

    def _signs(
        self, places: Sequence[_Place], flipped: Parts, drafted: Any
    ) -> tuple[Sequence[_Place], Parts, list[str]]:
        """Places with flipped signs, or without where less is lost so: a machine takes the same for both."""
        plain = [dataclasses.replace(place, flipped=False) for place in places]
        if _rotations(plain) == _rotations(places):
            return places, flipped, []
        found = self.losses(_rotations(plain), drafted)
        kept = _mean(flipped) <= _mean(found)
        said = f"signs {'flipped' if kept else 'not flipped'} ({_mean(flipped):.3g} flipped, {_mean(found):.3g} not)"
        return (places, flipped, [said]) if kept else (plain, found, [said])

    def _needed(self, places: Sequence[_Place], every: Parts, drafted: Any) -> tuple[Rotations, Parts, list[str]]:
        """All rotations but those kinds at run time whose absence changes the loss less than a gain would."""
        kept, dropped, losses = list(places), [], every
        kinds = dict.fromkeys(place.kind for place in places if place.where is Where.RUN_TIME)
        for kind in kinds if len(kinds) > 1 else ():
            fewer = [place for place in kept if place.where is not Where.RUN_TIME or place.kind != kind]
            found = self.losses(_rotations(fewer), drafted)
            if not gains(every, found):
                kept, losses = fewer, found
                dropped.append(kind)
        return _rotations(kept), losses, dropped

    def _draft(self) -> tuple[Method, Any]:
        """The method and its options, or what stands in for the method while candidates are compared."""
        method, drafted = _drafted(self.method, self.options)
        if _first_tokens(self.network, self.options):
            drafted = drafted.model_copy(update={"first_tokens": 1})
        return method, drafted

    def _turned(self, rotations: Rotations) -> Network:
        """The network with `rotations`; the last one that was made is kept."""
        if not rotations:
            self.turned = None
            return self.network
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
        methods = Composition(name="trial", methods=(("trial", self.trial_method, options), *self.stored)).rough()
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


def _fixed(network: Network, samples: Sequence[Batch], rotations: Rotations, bits: int) -> dict[str, Rotation]:
    """`rotations` with fixed-point numbers that span what samples have of x."""
    ranges, limit = observe_ranges(network, samples), 2 ** (bits - 1) - 1
    found = dict(rotations)
    for name, rotation in rotations.items():
        peak = max(map(abs, ranges[name].x_range))
        if rotation.at_run_time and peak:
            found[name] = dataclasses.replace(rotation, bits=bits, step=peak / limit)
    return found
