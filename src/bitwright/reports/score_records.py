"""What plans score, as records for JSON: evaluations, and judgements where a plan was made."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypedDict

from bitwright.networks.network import Network
from bitwright.studies.provenance import Provenance
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.floor import state_of
from bitwright.tasks.precision import SHIFTS
from bitwright.tasks.statistics import Interval
from bitwright.tasks.task import Measure


class SiteClassesRecord(TypedDict, total=False):
    """What run-time precision did at a site; absent where everything has one width."""

    class_shares: Annotated[Mapping[str, float], "by class (a8w8, ...): share of multiply-accumulates, 0 .. 1"]
    x_dropped: Annotated[Mapping[str, int], "dropped bits -> sub-tensors of x; below 0 are those that stayed wide"]
    w_dropped: Annotated[Mapping[str, int], "dropped bits -> sub-tensors of w; below 0 are those that stayed wide"]


class ScoredSite(SiteClassesRecord):
    """A quantized site, on the first test batch."""

    name: Annotated[str, "the site's"]
    off_by: Annotated[int, "largest difference of exact and fast products, in steps of the accumulator"]
    accumulation_sqnr_db: Annotated[float | None, "of stored by exact partial sums, in dB; null where sums are exact"]


class EvaluationRecord(TypedDict):
    """A quantized network judged beside its float self."""

    model: Annotated[str, "the network's name"]
    method: Annotated[str, "of quantization"]
    options: Annotated[Mapping[str, Mapping[str, Any]], "every option's value, by the method whose it is"]
    task: Annotated[str, "which task judged"]
    metric: Annotated[str, "what is measured"]
    unit: Annotated[str, "of scores and of their difference; empty for a plain number"]
    higher_is_better: Annotated[bool, "which way is up"]
    score: Annotated[float, "the quantized network's, in `unit`"]
    score_interval: Annotated[Interval, "of the score, in `unit`"]
    float_score: Annotated[float | None, "the float network's; null where the task compares with it to begin with"]
    difference: Annotated[float | None, "score - float_score, in `unit`"]
    interval: Annotated[Interval | None, "of the difference, in `unit`"]
    separated_from_float: Annotated[bool | None, "whether that interval excludes 0"]
    measures: Annotated[Sequence[Measure], "other figures from the same run"]
    relative_loss: Annotated[float | None, "from the float network, as a share of 1"]
    relative_loss_interval: Annotated[Interval | None, "of it"]
    budget: Annotated[float | None, "the relative loss that the plan was searched to, as a share of 1"]
    budget_kept: Annotated[bool | None, "whether the samples say so; null where they do not decide, or it has none"]
    status: Annotated[str, "ok, dead, missed or undecided"]
    samples: Annotated[int, "how many test samples"]
    sample_unit: Annotated[str, "of what"]
    independent_units: Annotated[int, "how many of them are independent, which is what intervals resample"]
    independent_unit: Annotated[str | None, "what those are"]
    tested_on: Annotated[str, "which samples judged"]
    calibrated_on: Annotated[str, "which samples calibrated"]
    exact: Annotated[bool, "exact arithmetic, or float32 emulation"]
    off_by: Annotated[int | None, "largest difference of exact and fast products, in steps of the accumulator"]
    off_by_site: Annotated[str | None, "where that is"]
    class_shares: Annotated[Mapping[str, float] | None, "of run-time precision: class -> share of products, 0 .. 1"]
    sites: Annotated[list[ScoredSite], "those that are quantized"]
    seconds: Annotated[float, "that the quantized network took on all test samples"]
    float_seconds: Annotated[float, "that the float network took"]
    notes: Annotated[Sequence[str], "what every report must say"]
    provenance: Annotated[Provenance, "command, seed, versions"]


class JudgedRecord(TypedDict):
    """A plan on samples that chose nothing."""

    metric: Annotated[str, "what is measured"]
    unit: Annotated[str, "of the score; empty for a plain number"]
    score: Annotated[float, "in `unit`"]
    score_interval: Annotated[Interval, "of the score, in `unit`"]
    measures: Annotated[Sequence[Measure], "other figures from the same run"]
    relative_loss: Annotated[float | None, "from the float network, as a share of 1"]
    relative_loss_interval: Annotated[Interval | None, "of it"]
    status: Annotated[str, "ok, dead, missed or undecided"]
    tested_on: Annotated[str, "which samples judged"]


class UnjudgedRecord(TypedDict):
    """A plan that was not judged."""

    status: Annotated[str, "failed"]
    reason: Annotated[str, "why"]


def _classes(evaluation: Evaluation, name: str) -> SiteClassesRecord:
    """What run-time precision did at a site; nothing where everything has one width."""
    if evaluation.precision is None:
        return {}
    site = evaluation.precision.sites[name]
    return {
        "class_shares": site.shares,
        "x_dropped": _dropped(site.x_shifts),
        "w_dropped": _dropped(site.w_shifts),
    }


def _dropped(counts: Sequence[int]) -> dict[str, int]:
    return {str(bits): count for bits, count in zip(SHIFTS, counts, strict=True)}


def evaluation_record(evaluation: Evaluation, network: Network, made: Provenance) -> EvaluationRecord:
    """One evaluation, its figures at the top level."""
    score, plan = evaluation.score, evaluation.plan
    return {
        "model": network.name,
        "method": plan.method,
        "options": plan.options,
        "task": score.task,
        "metric": score.metric,
        "unit": score.unit,
        "higher_is_better": score.higher_is_better,
        "score": score.value,
        "score_interval": score.value_interval,
        "float_score": score.float_value,
        "difference": score.difference,
        "interval": score.interval,
        "separated_from_float": score.interval.separates() if score.interval else None,
        "measures": score.measures,
        "relative_loss": evaluation.loss.value,
        "relative_loss_interval": evaluation.loss.interval,
        "budget": plan.promise,
        "budget_kept": evaluation.kept,
        "status": state_of(evaluation)[0],
        "samples": score.samples,
        "sample_unit": score.sample_unit,
        "independent_units": score.units,
        "independent_unit": None if score.independent is None else score.independent[0],
        "tested_on": score.tested_on,
        "calibrated_on": score.calibrated_on,
        "exact": evaluation.exact,
        "off_by": evaluation.off_by,
        "off_by_site": evaluation.off_by_site,
        "class_shares": None if evaluation.precision is None else evaluation.precision.shares,
        "sites": [
            {
                "name": name,
                "off_by": steps,
                "accumulation_sqnr_db": evaluation.accumulation_db.get(name),
                **_classes(evaluation, name),
            }
            for name, steps in evaluation.sites_off_by.items()
        ],
        "seconds": evaluation.seconds,
        "float_seconds": evaluation.float_seconds,
        "notes": list(dict.fromkeys((*plan.notes, *network.notes))),
        "provenance": made,
    }


def judgement_record(evaluation: Evaluation | str | None) -> JudgedRecord | UnjudgedRecord | None:
    """How a plan did that was judged where it was made, or why it was not."""
    if evaluation is None:
        return None
    if isinstance(evaluation, str):
        return {"status": "failed", "reason": evaluation}
    score = evaluation.score
    return {
        "metric": score.metric,
        "unit": score.unit,
        "score": score.value,
        "score_interval": score.value_interval,
        "measures": score.measures,
        "relative_loss": evaluation.loss.value,
        "relative_loss_interval": evaluation.loss.interval,
        "status": state_of(evaluation)[0],
        "tested_on": score.tested_on,
    }
