"""A budget of accuracy: what it constrains, its limit, and whether a figure with its interval keeps it.

A budget is kept only where the whole interval is on its good side. By a 95 % interval a network that is exactly at the
limit passes in 2.5 % of repetitions, and a worse one more rarely.
"""

import dataclasses

from bitwright.tasks.relative_loss import Judged, meaning, relative_loss, signal_to_noise
from bitwright.tasks.statistics import Array
from bitwright.tasks.task import SQNR, Task
from bitwright.units import number

WITHIN, UNDECIDED, MISSED = "within", "undecided", "missed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Constraint:
    """What a budget may constrain.

    Attributes
    ----------
    name : str
        In a sentence.
    unit : str
        As it is shown.
    scale : float
        What a value is multiplied by for that.
    stored : str
        The unit of values in records.
    higher_is_better : bool
        Whether the limit is the least value instead of the largest.
    """

    name: str
    unit: str
    scale: float
    stored: str
    higher_is_better: bool


LOSS = Constraint(name="loss", unit="%", scale=100.0, stored="share of 1", higher_is_better=False)
RATIO = Constraint(name=SQNR, unit="dB", scale=1.0, stored="dB", higher_is_better=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Budget:
    """The largest relative loss that is accepted, as a share of 1, or the least SQNR, in dB.

    Examples
    --------
    >>> Budget(limit=0.01).words, Budget(limit=20, constraint=RATIO).words
    ('a loss of at most 1 %', 'an SQNR of at least 20 dB')
    """

    limit: float
    constraint: Constraint = LOSS

    def __str__(self) -> str:
        return f"{self.shown(self.limit)} {self.constraint.unit}"

    @property
    def words(self) -> str:
        """What it asks for."""
        bound = "at least" if self.constraint.higher_is_better else "at most"
        return f"{'an' if self.constraint is RATIO else 'a'} {self.constraint.name} of {bound} {self}"

    @property
    def search_share(self) -> float:
        """The share of expected accuracy to which methods that search to a budget are searched for this one.

        Of an SQNR it is the noise's share of the signal's power, .01 for 20 dB: our choice, since they know no other.
        """
        return 10 ** (-self.limit / 10) if self.constraint is RATIO else self.limit

    def shown(self, value: float, digits: int = 3) -> str:
        """A value of what is constrained, as it is shown, without its unit."""
        text = number(value * self.constraint.scale, digits)
        return text.rstrip("0").rstrip(".") if "." in text else text

    def of(self, task: Task) -> str:
        """What is constrained where a task judges, in a phrase."""
        return meaning(task) if self.constraint is LOSS else f"{SQNR} of the outputs against the float network's"

    def figure(
        self, task: Task, quantized: Array, reference: Array | None, *, units: Array, resamples: int = 1000, seed: int
    ) -> Judged | None:
        """What is constrained, from statistics as in `summarise`; None where the task does not have it."""
        measure = relative_loss if self.constraint is LOSS else signal_to_noise
        return measure(task, quantized, reference, units=units, resamples=resamples, seed=seed)

    def one_of(self, loss: Judged, sqnr: Judged | None) -> Judged | None:
        """That of the two which is constrained."""
        return loss if self.constraint is LOSS else sqnr

    def separated(self, judged: Judged) -> bool:
        """Whether the whole interval is on one side of the limit."""
        return judged.separated(self.limit)

    def state(self, judged: Judged) -> str:
        """Whether it is kept.

        `within`: the whole interval keeps it; `undecided`: the estimate does; `missed`: neither.
        """
        if judged.within(self.limit):
            return WITHIN
        return UNDECIDED if judged.inside(self.limit) else MISSED
