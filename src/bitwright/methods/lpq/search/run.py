"""The search: initial candidates, then block by block regeneration and diversity-promoting selection.

Sourced (posters of arXiv 2403.05465): the two best candidates make a child in one block; random parents are mated with
it; of all children the first and the best of the others join the population. Fitness is L_CO * L_CR^lambda.
Recollected: ten passes over the blocks, four cycles each. Ours: passes go from the last block to the first, as Evol-Q,
so that prefixes last long; L_CR is the mean width over 8 bits; initial candidates are uniform, allotted by a profile
of single layers, or random; weights are rounded by second-order error, in the judge and in the plan alike, where that
loses less on held-out samples when all have 4 bits.

All randomness comes from the seed and the number of the iteration, and losses from the candidates alone: a search
resumed from its log repeats itself bit by bit.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bitwright.errors import InputError
from bitwright.methods.executor import composition_of
from bitwright.methods.lpq.calibrate import planned
from bitwright.methods.lpq.fields import Fields
from bitwright.methods.lpq.options import LpqOptions
from bitwright.methods.lpq.search.candidates import Candidate, Maker
from bitwright.methods.lpq.search.judge import Judge
from bitwright.methods.lpq.search.log import Key, Log, opened
from bitwright.methods.lpq.search.objective import check_objective
from bitwright.methods.lpq.search.settings import SearchSettings
from bitwright.methods.lpq.search.workers import Losses, judges
from bitwright.methods.lpq.sites import Sites, uniform
from bitwright.methods.plan import Plan
from bitwright.methods.progress import reporting, within
from bitwright.methods.refine import Refiner
from bitwright.methods.refine.rounder import Rounder
from bitwright.methods.tabled.observe import observe_values
from bitwright.networks.blocks import Chain, chain_of
from bitwright.networks.fingerprint import fingerprint
from bitwright.networks.fold import fold_batch_norm
from bitwright.networks.network import Batch, Network

Progress = Callable[[str, int, int], None]
WIDEST = 8
NARROW = 4
"""Width of all weights at which it is decided how they are rounded (our choice)."""
NEAREST = "weights by second-order error lose at 4 bits; they have the nearest codes, as in the search"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Best:
    """The best candidate after an iteration: evaluations so far, fitness, loss, mean bits of weights."""

    evaluations: int
    fitness: float
    loss: float
    mean_bits: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Found:
    """What a search came to.

    Attributes
    ----------
    plan : Plan
        Of the best candidate.
    fields, elements : mapping
        Site -> fields of its weight, and how many elements that has.
    history : tuple of Best
        After the initial candidates and after every iteration.
    evaluations, remembered : int
        Candidates judged, and those whose loss was in the log.
    seconds : float
        Spent judging in this run.
    stopped : str
        Why it ended: `passes`, `minutes` or `interrupted`.
    blocks : tuple of tuple of str
        Layers that change together.
    """

    plan: Plan
    fields: dict[str, Fields]
    elements: dict[str, int]
    history: tuple[Best, ...]
    evaluations: int
    remembered: int
    seconds: float
    stopped: str
    blocks: tuple[tuple[str, ...], ...]


def search(
    network: Network,
    batches: Sequence[Batch],
    options: LpqOptions,
    settings: SearchSettings,
    plan: Plan,
    *,
    log: Path | None = None,
    resume: bool = False,
    workers: int = 1,
    minutes: float = float("inf"),
    samples: str = "",
    progress: Progress = lambda *_: None,
) -> Found:
    """Search the fields of every layer of `network`.

    Parameters
    ----------
    batches : sequence of batches
        Unlabelled samples: formats of activations come from them. Where weights are rounded by second-order error, that
        is learned from some of them and candidates are judged on the others (see `held_out`), else on all.
    plan : Plan
        What the found formats are added to.
    log : path or None
        Where every judged candidate is kept; `resume` continues it.
    workers : int
        Processes.
    minutes : float
        Stop after so long.
    samples : str
        What `batches` are, in a phrase; a log is resumed on the same only.

    Raises
    ------
    InputError
        A network with shapes only or without layers, an objective that does not fit it, or a log that cannot be used.
    """
    if network.shape_only:
        raise InputError(f"{network.name} has shapes only; a search needs its weights")
    check_objective(settings.objective, network)
    folded = fold_batch_norm(network)
    with reporting(within(progress, "calibrating")):
        sites = Sites(observe_values(folded, batches), options)
    if not sites.weighted:
        raise InputError(f"{network.name} has no layer with weights to search formats for")
    chain = chain_of(folded, batches[0], list(sites.seen))
    header = {
        "network": network.name,
        "fingerprint": fingerprint(network),
        "options": options.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "samples": samples,
    }
    with reporting(within(progress, "calibrating")):
        refiner = Refiner(
            network, batches, planned(network, folded, plan, sites, uniform(sites)), composition_of(plan), options
        )
        rounder, judging = _rounder(refiner, chain, sites, batches, settings)
    make = functools.partial(Judge, chain, sites, judging, settings, rounder)
    forked = network.device.type == "cpu"
    with opened(log, header, resume=resume) as book, judges(make, workers=workers, forked=forked) as losses:
        run = _Run(sites, chain, settings, book, losses, minutes, progress)
        stopped = run.go()
    best = run.population[0].candidate
    made, methods = planned(network, folded, plan, sites, best), composition_of(plan)
    with reporting(within(progress, "rounding weights of the best")):
        if rounder is None and refiner.rounds:
            made = dataclasses.replace(made, notes=(*made.notes, NEAREST))
            made = methods.corrected(network, batches, made)
        else:
            made = methods.refined(network, batches, made)
    return Found(
        plan=made,
        fields=best,
        elements={name: sites.elements(name) for name in best},
        history=tuple(run.history),
        evaluations=run.evaluations,
        remembered=run.remembered,
        seconds=run.seconds,
        stopped=stopped,
        blocks=run.blocks,
    )


def _rounder(
    refiner: Refiner, chain: Chain, sites: Sites, batches: Sequence[Batch], settings: SearchSettings
) -> tuple[Rounder | None, Sequence[Batch]]:
    """Who rounds weights by second-order error, if that loses less at `NARROW` bits everywhere; who judges."""
    if not refiner.rounds:
        return None, batches
    rounder, judging = refiner.rounder(), refiner.trial.judges
    narrow = {name: sites.least(name, NARROW) for name in sites.weighted}
    second, nearest = (Judge(chain, sites, judging, settings, by).loss(narrow) for by in (rounder, None))
    return (rounder if second < nearest else None), judging


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Member:
    candidate: Candidate
    loss: float
    fitness: float


class _TimeIsUpError(Exception):
    """Time is up."""


class _Run:
    """A search as it stands."""

    def __init__(
        self,
        sites: Sites,
        chain: Chain,
        settings: SearchSettings,
        book: Log,
        losses: Losses,
        minutes: float,
        progress: Progress,
    ) -> None:
        self.sites, self.settings, self.book, self.losses, self.progress = sites, settings, book, losses, progress
        self.maker = Maker(sites, settings)
        grouped: dict[int, list[str]] = {}
        for name in sites.weighted:
            grouped.setdefault(chain.index[name], []).append(name)
        self.blocks = tuple(tuple(grouped[i]) for i in sorted(grouped))
        self.population: list[_Member] = []
        self.history: list[Best] = []
        self.evaluations = self.remembered = 0
        self.seconds = 0.0
        self.deadline = time.monotonic() + 60 * minutes
        self.total = settings.passes * len(self.blocks) * settings.cycles

    def go(self) -> str:
        """All iterations; why they ended."""
        try:
            self._begin()
            for iteration in range(self.total):
                self._tell(iteration)
                self._iterate(iteration)
        except _TimeIsUpError:
            return "minutes"
        except KeyboardInterrupt:
            if not self.population:
                raise
            return "interrupted"
        return "passes"

    def _begin(self) -> None:
        """The initial population."""
        rng = np.random.default_rng([self.settings.seed, 0])
        names = self.sites.weighted
        first = [self.maker.uniform(max(self.settings.allowed))]
        if self.settings.profile:
            with contextlib.suppress(_TimeIsUpError):  # then the initial candidates are random ones
                first += self._profiled(first[0])
        while len(first) < self.settings.population:
            first.append(self.maker.random(rng))
        allowed = [self.maker.capped(rng, each, names) for each in first]
        capped = [each for each in allowed if each is not None]

        def tell(judged: int) -> None:
            self.progress("judging the initial candidates", judged, len(capped))

        self._join(self._judged(capped, "initial", tell))

    def _profiled(self, base: Candidate) -> list[Candidate]:
        """Allotments for mean widths from the narrowest to the widest, from losses of single layers."""
        allowed = self.settings.allowed
        singles = [(name, n) for name in reversed(self.sites.weighted) for n in allowed if n != base[name].n]
        loss: dict[tuple[str, int], float] = {}
        whole = self._judged([base], "profile")[0].loss
        step = max(1, 4 * len(allowed))
        for start in range(0, len(singles), step):
            some = singles[start : start + step]

            def tell(judged: int, start: int = start) -> None:
                self.progress("profiling layers alone", start + judged, len(singles))

            judged = self._judged([{**base, name: self.sites.least(name, n)} for name, n in some], "profile", tell)
            loss |= {single: member.loss for single, member in zip(some, judged, strict=True)}
        loss |= {(name, base[name].n): whole for name in base}
        cap = self.settings.mean_bits or max(allowed)
        count = max(2, self.settings.population // 2)
        budgets = np.linspace(min(allowed) + (cap - min(allowed)) / count, cap, count)
        return [self.maker.allotted(loss, float(budget)) for budget in budgets]

    def _iterate(self, iteration: int) -> None:
        """One regeneration and selection."""
        settings = self.settings
        rng = np.random.default_rng([settings.seed, iteration + 1])
        place = iteration // settings.cycles % len(self.blocks)
        block = self.blocks[-1 - place]
        best, second = (self.population + self.population)[:2]
        child = self.maker.capped(rng, self.maker.mate(rng, best.candidate, second.candidate, block), block)
        child = best.candidate if child is None else child
        mated = [
            self.maker.capped(rng, self.maker.mate(rng, child, self.maker.random(rng, block), block), block)
            for _ in range(settings.random_parents)
        ]
        first, *others = self._judged([child, *(each for each in mated if each is not None)], "child")
        self._join([first, *sorted(others, key=_fitness)[:1]])

    def _judged(
        self, candidates: Sequence[Candidate], role: str, tell: Callable[[int], None] = lambda _: None
    ) -> list[_Member]:
        """Candidates with their losses, from the log where it has them; `tell` is told how many are judged."""
        keys: list[Key] = [tuple(each[name] for name in self.sites.weighted) for each in candidates]
        new: dict[Key, Candidate] = {}
        for key, candidate in dict(zip(keys, candidates, strict=True)).items():
            if key in self.book.losses:
                self.remembered += 1
            else:
                new[key] = candidate
        if new:
            if time.monotonic() > self.deadline and (self.population or role == "profile"):
                raise _TimeIsUpError
            began = time.monotonic()
            tell(len(candidates) - len(new))
            for i, (key, loss) in enumerate(zip(new, self.losses(list(new.values())), strict=True), 1):
                self.book.add(key, loss, role=role)
                tell(len(candidates) - len(new) + i)
            self.seconds += time.monotonic() - began
        self.evaluations += len(new)
        return [
            _Member(candidate=candidate, loss=loss, fitness=self._fitness(candidate, loss))
            for candidate, loss in ((each, self.book.losses[key]) for key, each in zip(keys, candidates, strict=True))
        ]

    def _fitness(self, candidate: Candidate, loss: float) -> float:
        compression = self.sites.mean_bits(candidate) / WIDEST
        return (loss + self.settings.floor) * compression**self.settings.compression

    def _join(self, members: Sequence[_Member]) -> None:
        """Into the population, which stays sorted; equals stand in the order in which they came."""
        self.population = sorted([*self.population, *members], key=_fitness)
        best = self.population[0]
        self.history.append(
            Best(
                evaluations=self.evaluations + self.remembered,
                fitness=best.fitness,
                loss=best.loss,
                mean_bits=self.sites.mean_bits(best.candidate),
            )
        )

    def _tell(self, iteration: int) -> None:
        best = self.history[-1]
        self.progress(
            f"searching (fitness {best.fitness:.4g}, loss {best.loss:.4g}, {best.mean_bits:.2f} bits)",
            iteration,
            self.total,
        )


def _fitness(member: _Member) -> float:
    return member.fitness
