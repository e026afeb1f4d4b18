"""What is not ranked: a score that is no network's any more, and a plan that misses the budget it was searched to.

Ours: with labels, more than half of the float network's score is lost (or its perplexity more than doubled); without,
or by a metric on a scale of its own, noise has at least half the power of the signal, an SQNR of 3 dB.
"""

from bitwright.tasks.budget import MISSED, UNDECIDED
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.task import SQNR, Score
from bitwright.units import number

OK, DEAD = "ok", "dead"
LEAST_SQNR_DB = 3.0
LARGEST_LOSS = {True: 0.5, False: 1.0}
"""Of the float score, by whether more is better."""


def dead(score: Score) -> str:
    """Why a score is below the floor; empty where it is not.

    Examples
    --------
    >>> from bitwright.tasks.statistics import Interval
    >>> interval = Interval(low=0.0, high=0.0, confidence=0.95)
    >>> of = {"task": "top1", "metric": "top-1", "unit": "%", "samples": 9, "sample_unit": "images"}
    >>> of |= {"tested_on": "", "calibrated_on": "", "higher_is_better": True, "float_value": 80.0, "difference": -79.0}
    >>> dead(Score(**of, value=1.0, value_interval=interval, interval=interval))
    'top-1 is 1 %, and 80 % in float'
    """
    measured = f"{score.metric} is {score.value:.3g} {score.unit}".rstrip()
    if score.float_value is not None and score.ratio:
        lost = score.float_value - score.value if score.higher_is_better else score.value - score.float_value
        below = not lost <= LARGEST_LOSS[score.higher_is_better] * abs(score.float_value)
        return f"{measured}, and {score.float_value:.3g} {score.unit}".rstrip() + " in float" if below else ""
    ratios = {each.name: each.value for each in score.measures} | {score.metric: score.value}
    sqnr = ratios.get(SQNR, LEAST_SQNR_DB)
    return f"{SQNR} is {sqnr:.3g} dB, which is mostly noise" if not sqnr >= LEAST_SQNR_DB else ""


def promised(evaluation: Evaluation) -> str:
    """What became of the budget that a plan was searched to, on the samples that judge."""
    loss, promise = evaluation.loss, evaluation.plan.promise
    assert promise is not None
    low, high = (number(100 * end, 3) for end in (loss.interval.low, loss.interval.high))
    word = {True: "kept", False: "missed", None: "neither kept nor missed for sure"}[evaluation.kept]
    return (
        f"the budget of {100 * promise:g} % is {word} on these samples: the {loss.of} is "
        f"{number(100 * loss.value, 3)} % [{low}, {high}]"
    )


def state_of(evaluation: Evaluation) -> tuple[str, str]:
    """`ok`, `dead`, `missed` or `undecided`, and why."""
    low = dead(evaluation.score)
    if low:
        return DEAD, low
    if evaluation.plan.promise is not None and not evaluation.kept:
        return (UNDECIDED if evaluation.kept is None else MISSED), promised(evaluation)
    return OK, ""
