"""What is measured of Drift and its rivals, as lines: every run, its parts, steps within the budget, distortions."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, TypedDict

from bitwright.shown import Table
from bitwright.studies.reproduce.drift.runs import Run, Stated

if TYPE_CHECKING:
    from bitwright.studies.reproduce.drift.study import Reproduction


class RunFigures(TypedDict):
    """A network at stated shares on a machine."""

    name: Annotated[str, "of the machine"]
    dataflow: Annotated[str, "ws-double or ws"]
    compute_cycles: Annotated[int, "of the array alone"]
    cycles: Annotated[int, "from the first DRAM read to the last DRAM write of every site"]
    speedup_of_drift_compute: Annotated[float, "cycles of this machine's array by those of drift's"]
    speedup_of_drift: Annotated[float, "the same with DRAM"]


class RunLine(RunFigures):
    """A network at stated shares on a machine."""

    network: Annotated[str, "its name"]


class RunPartLine(TypedDict):
    """A part of a machine in a run, at one price of a DRAM bit."""

    network: Annotated[str, "its name"]
    name: Annotated[str, "of the machine"]
    dataflow: Annotated[str, "ws-double or ws"]
    dram_price: Annotated[str, "of a bit: list, or in pJ"]
    component: Annotated[str, "its name"]
    energy_pj: Annotated[float, "of one inference, in pJ"]


class StepLine(TypedDict):
    """A step within the budget, or a rival at the same; further columns are shares of classes."""

    network: Annotated[str, "its name"]
    step: Annotated[str, "what is added, or which rival"]
    trials: Annotated[int, "plans that the search judged; 0 where it does not say"]
    loss: Annotated[float, "of expected accuracy, relative to int8's, on the calibration samples, as a share of 1"]
    held_out: Annotated[float, "the same on test samples"]
    time: Annotated[float, "multiplier time by that of int8"]
    reason: Annotated[str, "why there is nothing; empty otherwise"]


class DistortionLine(TypedDict):
    """Sub-tensors of about one deviation."""

    network: Annotated[str, "its name"]
    operand: Annotated[str, "x or w"]
    low: Annotated[float, "least delta"]
    high: Annotated[float, "largest delta"]
    count: Annotated[int, "sub-tensors"]
    delta: Annotated[float, "their mean"]
    predicted: Annotated[float, "relative squared error of the formula"]
    measured: Annotated[float, "relative squared error of the codes"]
    drawn: Annotated[float | None, "that of Laplace draws; null where there are too few"]


def run_figures(found: Stated, run: Run) -> RunFigures:
    """Of a run."""
    return {
        "name": run.name,
        "dataflow": run.dataflow,
        "compute_cycles": run.compute_cycles,
        "cycles": run.cycles,
        "speedup_of_drift_compute": found.compute_speedup(run.name, run.dataflow),
        "speedup_of_drift": found.speedup(run.name, run.dataflow),
    }


def _stated(found: "Reproduction") -> Iterator[tuple[str, Stated]]:
    for network in found.networks:
        if network.stated is not None:
            yield network.network, network.stated


def _runs(found: "Reproduction") -> Iterator[RunLine]:
    for network, stated in _stated(found):
        for run in stated.runs:
            yield {"network": network, **run_figures(stated, run)}


def _components(found: "Reproduction") -> Iterator[RunPartLine]:
    for network, stated in _stated(found):
        for run in stated.runs:
            for price, parts in run.parts_pj.items():
                for component, energy in parts.items():
                    yield {
                        "network": network,
                        "name": run.name,
                        "dataflow": run.dataflow,
                        "dram_price": price,
                        "component": component,
                        "energy_pj": energy,
                    }


def _steps(found: "Reproduction") -> Iterator[Mapping[str, object]]:
    for network in found.networks:
        for rung in () if network.ladder is None else network.ladder.rungs:
            line: StepLine = {
                "network": network.network,
                "step": rung.name,
                "trials": rung.trials,
                "loss": rung.loss,
                "held_out": rung.held_out,
                "time": rung.time,
                "reason": rung.reason,
            }
            yield {**line, **{f"share_{label}": share for label, share in rung.shares.items()}}


def _distortions(found: "Reproduction") -> Iterator[DistortionLine]:
    for network in found.networks:
        for each in network.distortions:
            yield {
                "network": network.network,
                "operand": each.operand,
                "low": each.low,
                "high": each.high,
                "count": each.count,
                "delta": each.delta,
                "predicted": each.predicted,
                "measured": each.measured,
                "drawn": each.drawn,
            }


TABLES: Mapping[str, Table] = {
    "runs": Table(RunLine, _runs),
    "components": Table(RunPartLine, _components),
    "steps": Table(StepLine, _steps),
    "distortions": Table(DistortionLine, _distortions),
}
"""Beside the claims."""
