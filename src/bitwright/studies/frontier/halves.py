"""One evaluation judged twice: what is constrained on the half that chooses, and on the half that is reported.

Halves are of independent units, seeded, and the same for all points of a network. Where a network has too few units for
halves, all samples choose and report, and nothing is called within the budget: a figure that was chosen by is no
judge.
"""

import dataclasses

import numpy as np

from bitwright.errors import InputError
from bitwright.tasks import Task
from bitwright.tasks.budget import UNDECIDED, WITHIN, Budget
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.relative_loss import Judged, relative_loss, signal_to_noise
from bitwright.tasks.statistics import Array
from bitwright.tasks.task import Score
from bitwright.tasks.units import LEAST_UNITS, halves
from bitwright.words import counted


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a plan does to accuracy, by halves.

    Attributes
    ----------
    chosen_by, judged : Judged
        What the budget constrains, on the half that chooses and on the one that reports.
    loss : Judged
        The relative loss on the half that reports.
    sqnr : Judged or None
        The SQNR there; None where the task has none.
    state : str
        `within`, `undecided` or `missed`, by `judged`; never `within` where all samples chose.
    separated : bool
        Whether the whole interval of `judged` is on one side of the limit.
    """

    chosen_by: Judged
    judged: Judged
    loss: Judged
    sqnr: Judged | None
    state: str
    separated: bool


def verdict(task: Task, found: Evaluation, budget: Budget, *, seed: int, resamples: int = 1000) -> Verdict | None:
    """The verdict on one evaluation; None where the task does not have what the budget constrains, or not on a half."""
    try:
        return _verdict(task, found, budget, seed=seed, resamples=resamples)
    except InputError:  # outputs that are 0 throughout a half
        return None


def _verdict(task: Task, found: Evaluation, budget: Budget, *, seed: int, resamples: int) -> Verdict | None:
    split = halves(found.units, seed=seed)
    everything = np.ones(len(found.units), dtype=bool)
    chooses, reports = (everything, everything) if split is None else (split.chooses, split.reports)

    def of(rows: Array) -> tuple[Array, Array | None, Array]:
        reference = None if found.reference is None else found.reference[rows]
        return found.statistics[rows], reference, found.units[rows]

    quantized, reference, units = of(chooses)
    chosen_by = budget.figure(task, quantized, reference, units=units, resamples=resamples, seed=seed)
    quantized, reference, units = of(reports)
    loss = relative_loss(task, quantized, reference, units=units, resamples=resamples, seed=seed)
    sqnr = signal_to_noise(task, quantized, reference, units=units, resamples=resamples, seed=seed)
    judged = budget.one_of(loss, sqnr)
    if chosen_by is None or judged is None:
        return None
    state = budget.state(judged)
    return Verdict(
        chosen_by=chosen_by,
        judged=judged,
        loss=loss,
        sqnr=sqnr,
        state=UNDECIDED if state == WITHIN and split is None else state,
        separated=budget.separated(judged) and split is not None,
    )


def split_words(score: Score) -> str:
    """How the samples of a score were halved, in a sentence without its end."""
    one, several = (f"independent {name}" for name in score.independent or ("sample", "samples"))
    if score.units < LEAST_UNITS:
        return (
            f"{counted(score.units, one, several)}, where {LEAST_UNITS} are needed to choose on one half and report on "
            "the other: all choose and report, and nothing is called within the budget"
        )
    chooses = score.units // 2
    return (
        f"operating points are chosen on {chooses} of {counted(score.units, one, several)} and reported on the other "
        f"{score.units - chooses}"
    )
