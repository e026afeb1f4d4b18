"""The fields of a log posit that lose least: es, rs and sf for a width and a draw of values.

Our choice: every distinct table of the width is tried with sf at steps of a quarter of a binade around the one that
centres its dense part (sf0 = -mean log2 |x|) and around the one at which the largest value is the largest word, then at
sixteenths around the best; what counts is the squared error over all values, of weights and activations alike.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import torch

from bitwright.formats import LogPosit, RegimeRule, distinct_tables
from bitwright.methods.tabled.tally import Tally

COARSE = torch.arange(-8, 9) * 0.25
FINE = torch.arange(-3, 4) / 16
ROW_STEPS = [0.25 * step for step in range(9)]


@dataclasses.dataclass(frozen=True, kw_only=True, order=True)
class Fields:
    """A log posit's fields; sf is kept as the operand's scale 2^-sf.

    Attributes
    ----------
    n, es, rs : int
        Width, exponent bits, largest run of the regime.
    sf : float
        Scaling exponent: the dense part lies around |x| = 2^-sf.
    """

    n: int
    es: int
    rs: int
    sf: float

    def format(self, rule: RegimeRule) -> LogPosit:
        """The format at sf = 0."""
        return LogPosit(n=self.n, es=self.es, rs=self.rs, rule=rule)

    @property
    def scale(self) -> torch.Tensor:
        """2^-sf, float32."""
        return torch.tensor(2.0**-self.sf, dtype=torch.float32)


@functools.lru_cache(maxsize=64)
def tables(n: int, max_es: int, rule: RegimeRule = RegimeRule.CAPPED) -> tuple[tuple[int, int], ...]:
    """The (es, rs) of a width that make different tables."""
    return tuple(distinct_tables(n, max_es, rule))


def least_error(
    values: torch.Tensor | Tally,
    n: int,
    *,
    max_es: int,
    rule: RegimeRule,
    choices: Sequence[tuple[int, int]] | None = None,
) -> Fields:
    """The fields of width `n` with the least squared error on `values`; `choices` are other (es, rs) than all."""
    tally = values if isinstance(values, Tally) else Tally.of(values)
    magnitude = tally.values.abs()
    peak = float(magnitude.max()) if len(magnitude) else 0.0
    if not peak:
        es, rs = tables(n, max_es, rule)[0]
        return Fields(n=n, es=es, rs=rs, sf=0.0)
    some = magnitude > 0
    centre = -float((magnitude[some].log2() * tally.counts[some]).sum() / tally.counts[some].sum())
    es, rs = tables(n, max_es, rule)[0]
    best = (torch.inf, Fields(n=n, es=es, rs=rs, sf=0.0))
    for es, rs in choices or tables(n, max_es, rule):
        fmt = LogPosit(n=n, es=es, rs=rs, rule=rule)
        top = math.log2(float(fmt.table().nan_to_num(0).max())) - math.log2(peak)
        coarse = _best(tally, fmt, torch.cat([centre + COARSE, top + COARSE]))
        error, sf = _best(tally, fmt, coarse[1] + FINE)
        if error < best[0]:
            best = (error, Fields(n=n, es=es, rs=rs, sf=sf))
    return best[1]


def least_error_by_row(rows: torch.Tensor, fmt: LogPosit) -> tuple[torch.Tensor, torch.Tensor]:
    """The least squared error of every row [N, K] in a format with an sf of its own: the scales 2^-sf, the errors [N].

    sf is tried at `ROW_STEPS` below the one at which the row's largest value is the largest word: steps of a quarter of
    a binade, two of which are clipped at most (our choice). A row of zeros has the scale 1.
    """
    peaks = rows.abs().amax(1)
    largest = fmt.decode(fmt.encode(torch.full((1,), torch.finfo(torch.float32).max)))
    top = peaks / float(largest)
    top = torch.where(peaks > 0, top, 1.0)
    least = torch.full_like(peaks, torch.inf)
    best = top
    for step in ROW_STEPS:
        scale = (top * 2.0**-step).unsqueeze(1)
        error = (fmt.decode(fmt.encode(rows / scale)) * scale - rows).square().sum(1)
        better = (error < least) & ((peaks > 0) | (step == 0))
        best, least = torch.where(better, scale.squeeze(1), best), torch.where(better, error, least)
    return best, least


def squared_error(values: torch.Tensor, fields: Fields, rule: RegimeRule) -> float:
    """Mean squared error of `values` in a format."""
    fmt, scale = fields.format(rule), float(fields.scale)
    return float((fmt.decode(fmt.encode(values / scale)) * scale - values).square().mean())


def _best(tally: Tally, fmt: LogPosit, candidates: torch.Tensor) -> tuple[float, float]:
    """The least squared error and its sf."""
    scales, values = torch.exp2(-candidates).unsqueeze(1), tally.values
    errors = tally.mean_of((fmt.decode(fmt.encode(values / scales)) * scales - values).square())
    chosen = int(errors.argmin())
    return float(errors[chosen]), float(candidates[chosen])
