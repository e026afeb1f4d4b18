"""Which points a sweep tries, in rounds: a function of the study and of the results so far, and of nothing else.

A grid and a random search have one round. NSGA-II has one for every population: all of it is asked for before any of
it is told, and told in the order of the trials' numbers, so that what comes next depends neither on which worker was
first nor on how many there are. Nothing of the search itself is stored: a sweep that goes on asks anew, and finds in
its store what it had measured.
"""

import math
import random
import warnings
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

from bitwright.errors import InputError
from bitwright.studies.reader import Scalar
from bitwright.studies.sweep.axes import Axis, applying
from bitwright.studies.sweep.extra import optuna
from bitwright.studies.sweep.metrics import MAXIMISE
from bitwright.studies.sweep.points import Point, allowed, grid, point_of
from bitwright.studies.sweep.study import GRID, NSGA2, Study

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

TRIES = 1000  # draws that are refused or known before a search counts as exhausted

Values = list[float] | None
Rounds = Generator[list[Point], list[Values], None]
"""Yields the points of a round, is sent their objectives' values (None: there are none), in order."""


def rounds(study: Study) -> Rounds:
    """The rounds of a study's search."""
    if study.search.kind == NSGA2:
        return _genetic(study)
    return _once(list(grid(study) if study.search.kind == GRID else _random(study)))


def _once(points: list[Point]) -> Rounds:
    yield points


def _random(study: Study) -> Iterator[Point]:
    """Distinct points, each draw by a generator of its own; fewer than asked for where there are no more."""
    assert study.search.trials is not None
    known: set[Point] = set()
    for number in range(study.search.trials):
        for attempt in range(TRIES):
            point = _drawn(study, random.Random(f"{study.seed} {number} {attempt}"))  # noqa: S311
            if point not in known and allowed(study, point):
                known.add(point)
                yield point
                break
        else:
            return


def _drawn(study: Study, rng: random.Random) -> Point:
    network, method, accelerator = (
        rng.choice(list(labels)) for labels in (study.networks, study.methods, study.accelerators)
    )
    options, parameters = applying(study.options, method), applying(study.parameters, accelerator)
    return Point(
        network=network,
        method=method,
        accelerator=accelerator,
        options=tuple((name, _value(axis, rng)) for name, axis in options.items()),
        parameters=tuple((name, _value(axis, rng)) for name, axis in parameters.items()),
    )


def _value(axis: Axis, rng: random.Random) -> Scalar:
    if axis.values:
        return rng.choice(axis.values)
    if axis.log:
        return min(axis.high, max(axis.low, math.exp(rng.uniform(math.log(axis.low), math.log(axis.high)))))
    return rng.uniform(axis.low, axis.high)


def _genetic(study: Study) -> Rounds:
    """Populations by NSGA-II, in a study of Optuna's that lives in memory and is asked the same in every run."""
    assert study.search.trials is not None
    made = optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", made.exceptions.ExperimentalWarning)
        sampler = made.samplers.NSGAIISampler(population_size=study.search.population, seed=study.seed)
    search = made.create_study(
        sampler=sampler,
        directions=["maximize" if way == MAXIMISE else "minimize" for way in study.objectives.values()],
    )
    left = study.search.trials
    while left:
        trials, points = [], []
        for _ in range(min(left, study.search.population)):
            trial, point = _asked(study, search)
            trials.append(trial)
            points.append(point)
        found = yield points
        for trial, values in zip(trials, found, strict=True):
            search.tell(trial, values, state=None if values is not None else made.trial.TrialState.FAIL)
        left -= len(points)


def _asked(study: Study, search: Any) -> "tuple[Trial, Point]":
    """The next trial that the conditions allow; others are told as failures, which have no children."""
    for _ in range(TRIES):
        trial = search.ask()
        labels = (
            trial.suggest_categorical("network", list(study.networks)),
            trial.suggest_categorical("method", list(study.methods)),
            trial.suggest_categorical("accelerator", list(study.accelerators)),
        )
        values = {
            (section, axis.key): _suggested(trial, f"{section}.{axis.key}", axis)
            for section, axes in (("options", study.options), ("parameters", study.parameters))
            for axis in axes
        }
        point = point_of(study, labels, values)
        if allowed(study, point):
            return trial, point
        search.tell(trial, state=optuna().trial.TrialState.FAIL)
    raise InputError(f"{TRIES} points in a row broke the conditions in when; make them wider")


def _suggested(trial: "Trial", name: str, axis: Axis) -> Scalar:
    if axis.values:
        found: Scalar = trial.suggest_categorical(name, axis.values)
        return found
    return trial.suggest_float(name, axis.low, axis.high, log=axis.log)


def distributions(study: Study, point: Point) -> "dict[str, BaseDistribution]":
    """Optuna's distributions of what varies at `point`, by column."""
    categorical = optuna().distributions.CategoricalDistribution
    found = {
        "network": categorical(tuple(study.networks)),
        "method": categorical(tuple(study.methods)),
        "accelerator": categorical(tuple(study.accelerators)),
    }
    for section, axes, label in (
        ("options", study.options, point.method),
        ("parameters", study.parameters, point.accelerator),
    ):
        for name, axis in applying(axes, label).items():
            found[f"{section}.{name}"] = (
                categorical(axis.values)
                if axis.values
                else optuna().distributions.FloatDistribution(axis.low, axis.high, log=axis.log)
            )
    return found
