"""What is measured of Panacea and Sibia, as lines: every step of the ladder, and what each could skip, site by site."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

from bitwright.shown import Table
from bitwright.studies.reproduce.panacea.ladder import Rung
from bitwright.studies.reproduce.panacea.rates import SiteRates

if TYPE_CHECKING:
    from bitwright.studies.reproduce.panacea.study import Reproduction

SIBIA = "sibia"


class RateFigures(TypedDict):
    """What can be skipped at a site."""

    macs: Annotated[int, "multiply-accumulates of all groups and runs"]
    split: Annotated[int | None, "bit at which activations are cut; null for signed ones"]
    zero_point: Annotated[int, "of the activations"]
    x_vectors_skipped: Annotated[float, "share of activation vectors, 0 .. 1"]
    w_vectors_skipped: Annotated[float, "share of weight vectors, 0 .. 1"]


class StepFigures(TypedDict):
    """A step of the ladder."""

    step: Annotated[str, "what is skipped, or what was added"]
    x_vectors_skipped: Annotated[float, "share of activation vectors, weighted by multiply-accumulates, 0 .. 1"]
    w_vectors_skipped: Annotated[float, "share of weight vectors, weighted by multiply-accumulates, 0 .. 1"]
    slice_products_left: Annotated[float, "share that skipping on both sides leaves, if masks are independent"]
    reason: Annotated[str, "why there is no score; empty otherwise"]


class StepLine(StepFigures):
    """A step of the ladder of a network."""

    network: Annotated[str, "its name"]
    score: Annotated[float | None, "of the plan, in `unit`"]
    unit: Annotated[str | None, "of the score"]
    change: Annotated[float | None, "of the score from the step before, in `unit`"]


class RateLine(RateFigures):
    """A site at a step, or as Sibia has it."""

    network: Annotated[str, "its name"]
    step: Annotated[str, "of the ladder, or sibia"]
    site: Annotated[str, "its name"]


def rate_figures(each: SiteRates) -> RateFigures:
    """Of a site."""
    return {
        "macs": each.site.macs,
        "split": each.split,
        "zero_point": each.zero_point,
        "x_vectors_skipped": each.x,
        "w_vectors_skipped": each.w,
    }


def step_figures(rung: Rung) -> StepFigures:
    """Of a step."""
    return {
        "step": rung.name,
        "x_vectors_skipped": rung.x_rate,
        "w_vectors_skipped": rung.w_rate,
        "slice_products_left": rung.products_left,
        "reason": rung.reason,
    }


def _steps(found: "Reproduction") -> Iterator[StepLine]:
    for network in found.networks:
        for rung in network.ladder:
            score = None if rung.evaluation is None else rung.evaluation.score
            yield {
                "network": network.network,
                **step_figures(rung),
                "score": None if score is None else score.value,
                "unit": None if score is None else score.unit,
                "change": None if rung.step is None else rung.step.difference,
            }


def _sites(found: "Reproduction") -> Iterator[RateLine]:
    for network in found.networks:
        steps: list[tuple[str, Sequence[SiteRates]]] = [(rung.name, rung.sites) for rung in network.ladder]
        steps += [] if network.rivalry is None else [(SIBIA, network.rivalry.sibia_rates)]
        for step, sites in steps:
            for each in sites:
                yield {"network": network.network, "step": step, "site": each.site.name, **rate_figures(each)}


TABLES: Mapping[str, Table] = {"steps": Table(StepLine, _steps), "sites": Table(RateLine, _sites)}
"""Beside the claims."""
