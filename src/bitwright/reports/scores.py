"""Scores in words: value, difference from float with its interval, and whether the samples can tell them apart."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bitwright.reports.tables import Column, say, table, text
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.floor import dead, promised
from bitwright.tasks.precision import SHIFTS
from bitwright.tasks.task import Score
from bitwright.units import DASH, number, scaled, signed

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NOT_SEPARATED = "≈"
LEGEND = f"{NOT_SEPARATED}: the samples do not separate it from float (its 95 % interval holds 0)"


def value(score: Score) -> str:
    """The score with its unit: `87.8 %`."""
    return f"{number(score.value)} {score.unit}".strip()


def difference(score: Score) -> str:
    """From float, with its interval: `-0.20 [-0.80, +0.60] ≈`; the score's own interval where it is one from float."""
    if score.difference is None or score.interval is None:
        own = score.value_interval
        return f"in [{number(own.low, 3)}, {number(own.high, 3)}]" if math.isfinite(own.high - own.low) else DASH
    mark = "" if score.interval.separates() else f" {NOT_SEPARATED}"
    return f"{signed(score.difference)} [{signed(score.interval.low)}, {signed(score.interval.high)}]{mark}"


def off_by(evaluation: Evaluation) -> str:
    """Steps of the accumulator between exact and fast."""
    return DASH if evaluation.off_by is None else str(evaluation.off_by)


def tested(score: Score) -> str:
    """One sentence on the samples."""
    return f"Tested on {score.sample_count}: {score.tested_on}. Calibrated on {score.calibrated_on}."


def print_evaluation(
    evaluation: Evaluation, name: str, notes: tuple[str, ...], console: "Console", *, sites: bool = False
) -> None:
    """One evaluation: what was run, on what, and the figures; of every site too if asked for."""
    score = evaluation.score
    how = "exact arithmetic" if evaluation.exact else "float32 emulation of the same codes (fast)"
    say(console, f"{name}, method {evaluation.plan.method}, {how}.", tested(score))
    console.print(
        table(
            [
                text("", (key for key, _ in _lines(evaluation))),
                Column(header="", cells=[v for _, v in _lines(evaluation)]),
            ]
        )
    )
    if score.interval is not None and not score.interval.separates():
        say(console, f"{LEGEND}.")
    say(console, *verdicts(evaluation))
    if sites:
        console.print(site_table(evaluation))
    say(console, *(f"Note: {note}" for note in dict.fromkeys((*evaluation.plan.notes, *notes))))


def judgement(evaluation: Evaluation | str | None) -> list[str]:
    """How a plan did that was judged where it was made, in sentences; or why it was not."""
    if evaluation is None:
        return []
    if isinstance(evaluation, str):
        return [f"Not judged: {evaluation}."]
    score = evaluation.score
    beside = [f"{each.name} {number(each.value)} {each.unit}".rstrip() for each in score.measures if each.beside]
    figures = ", ".join([f"{score.metric} {value(score)}", *beside])
    return [f"Judged on samples that chose nothing ({score.tested_on}): {figures}.", *verdicts(evaluation)]


def verdicts(evaluation: Evaluation) -> list[str]:
    """Whether it is a network still, and whether it keeps what it promised, on the samples that judge."""
    found = [f"Dead: {low}; it is not ranked anywhere." for low in [dead(evaluation.score)] if low]
    if evaluation.plan.promise is not None:
        words = promised(evaluation)
        found.append(f"{words[0].upper()}{words[1:]}.")
    return found


def site_table(evaluation: Evaluation) -> "Table":
    """A line per quantized site, from the first test batch."""
    names, ratios = list(evaluation.sites_off_by), evaluation.accumulation_db
    columns = [
        text("site", names),
        Column(header="off by", cells=[str(steps) for steps in evaluation.sites_off_by.values()]),
    ]
    if ratios:
        header = "SQNR of quantized by exact partial sums [dB]"
        columns.append(Column(header=header, cells=[number(ratios.get(name), 3) for name in names]))
    if evaluation.precision is not None:
        found = [evaluation.precision.sites[name] for name in names]
        for label in evaluation.precision.shares:
            shares = [f"{100 * each.shares[label]:.1f}" for each in found]
            columns.append(Column(header=f"{label} [% of MACs]", cells=shares))
        columns.append(text("x dropped [sub-tensors]", [dropped(each.x_shifts) for each in found]))
        columns.append(text("w dropped [sub-tensors]", [dropped(each.w_shifts) for each in found]))
    return table(columns, title="Sites, on the first test batch")


def dropped(counts: Sequence[int]) -> str:
    """Shares of sub-tensors by the bits that they dropped: `wide 20 %, 3: 50 %, 4: 30 %`."""
    total = sum(counts)
    named = {("wide" if shift < 0 else f"{shift}:"): count for shift, count in zip(SHIFTS, counts, strict=True)}
    return ", ".join(f"{name} {100 * count / total:.0f} %" for name, count in named.items() if count) or DASH


def _lines(evaluation: Evaluation) -> list[tuple[str, str]]:
    score = evaluation.score
    better = "higher is better" if score.higher_is_better else "lower is better"
    lines = [(f"{score.metric} ({better})", value(score))]
    if score.float_value is not None:
        lines.append(("of the float network", f"{number(score.float_value)} {score.unit}".strip()))
    against = "difference [95 % interval]" if score.difference is not None else "95 % interval"
    lines.append((against, difference(score)))
    for measure in score.measures:
        interval = f"[{number(measure.interval.low, 3)}, {number(measure.interval.high, 3)}]"
        lines.append((measure.name, f"{number(measure.value)} {measure.unit}".strip() + f" {interval}"))
    if evaluation.accumulation_db:
        ratios = sorted(evaluation.accumulation_db.values())
        middle = f"{number(ratios[len(ratios) // 2], 3)} dB (from {number(ratios[0], 3)} to {number(ratios[-1], 3)})"
        lines.append(("SQNR of quantized by exact partial sums, median site", middle))
    if evaluation.precision is not None:
        shares = evaluation.precision.shares
        said = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
        lines.append(("shares of multiply-accumulates by bits of x and w", said))
    where = f" (at {evaluation.off_by_site})" if evaluation.off_by_site else ""
    lines.append((f"exact and fast are off by, in accumulator steps{where}", off_by(evaluation)))
    lines.append(("time of the quantized network", scaled(evaluation.seconds, "s")))
    lines.append(("time of the float network", scaled(evaluation.float_seconds, "s")))
    return lines
