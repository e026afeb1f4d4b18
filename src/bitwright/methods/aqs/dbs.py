"""The split of each site's activations (DBS): a type by the distribution, declined where the network would suffer.

Sourced: Panacea classifies each layer's quantized distribution and slices it by its class. Ours, because thresholds are
not public: a site's type is the smallest split whose skipped bin holds the wanted share of calibrated codes (on normal
data the recollected test z * sigma <= 2^(l-1)). Splits above 4 drop low-order bits, and what a network bears is not to
be seen in one layer's distribution: so steps from 4 to 5 and from 5 to 6 are ranked by skipped products gained per
predicted loss, and as many of the best are taken as keep the loss of the whole network within a budget, twice: as
predicted, because the loss of a few samples jumps when thousands of roundings change at once and a search would profit
from such luck; and as measured on calibration samples, because a prediction may be wrong.
"""

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence

from bitwright.formats import SPLITS

Splits = Mapping[str, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One site's split raised to `split`.

    Attributes
    ----------
    site : str
        Name.
    split : int
        5 or 6.
    gain : float
        Slice products by activations that become skippable, estimated from single slices.
    loss : float
        What the dropped bits are predicted to add to the network's loss.
    """

    site: str
    split: int
    gain: float
    loss: float

    @property
    def worth(self) -> float:
        """Gain per predicted loss."""
        return self.gain / max(self.loss, 1e-30)


def wanted_split(skipped: Mapping[int, float], coverage: float) -> int:
    """The smallest split whose bin holds `coverage` of the codes, else the largest; `skipped` is by split."""
    return next((split for split in SPLITS if skipped[split] >= coverage), SPLITS[-1])


def ranked(steps: Sequence[Step]) -> list[Step]:
    """Steps by falling worth, a site's second step never before its first."""
    first = {step.site: step.worth for step in steps if step.split == SPLITS[1]}
    return sorted(steps, key=lambda step: (-min(step.worth, first[step.site]), step.site, step.split))


def within_budget(steps: Sequence[Step], loss: Callable[[Splits], float], budget: float) -> dict[str, int]:
    """Splits above 4 by site: a prefix of `steps` that is predicted and measured to add at most `budget` to the loss.

    The longest that is predicted to, or a shorter one found by bisection. Losses need not be monotone in the prefix;
    the result is one whose loss was measured and fits.
    """
    predicted = itertools.accumulate(step.loss for step in steps)
    trial = sum(total <= budget for total in predicted)  # losses are not negative, so the totals rise
    if not trial:
        return {}
    limit = loss({}) + budget
    fits, fails = 0, trial + 1
    while fits + 1 < fails:
        if loss(_taken(steps[:trial])) <= limit:
            fits = trial
        else:
            fails = trial
        trial = (fits + fails) // 2
    return _taken(steps[:fits])


def _taken(steps: Sequence[Step]) -> dict[str, int]:
    return {step.site: step.split for step in steps}
