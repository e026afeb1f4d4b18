"""One row of a comparison: what a network scores with a method, and what it costs on an accelerator."""

import dataclasses
from typing import Any

from bitwright.errors import BitwrightError
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.studies.simulate import Simulation
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.floor import dead


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One network, one method, one accelerator.

    Attributes
    ----------
    network, method, accelerator : str
        Names.
    evaluation : Evaluation or None
        The score; None for a network with shapes only, or where `reason` says why.
    simulation : Simulation or None
        The cost; None where `reason` says why.
    status : str
        `ok`; `partial`: the accelerator leaves out sites, so that it costs less than the network's work; `dead`: the
        score is below the floor of `bitwright.tasks.floor`; `unsupported`: the accelerator runs nothing of it;
        `failed`: something went wrong. Only rows that are `ok` are ranked.
    reason : str
        Why anything is missing, and what would help; empty otherwise.
    """

    network: str
    method: str
    accelerator: str
    evaluation: Evaluation | None
    simulation: Simulation | None
    status: str
    reason: str

    @classmethod
    def of(
        cls,
        network: Network,
        method: str,
        accelerator: str,
        scored: Evaluation | Plan | Exception,
        costed: Simulation | Exception,
    ) -> "Row":
        """The row of what came out, failures included."""
        failures = dict.fromkeys(said(each) for each in (scored, costed) if isinstance(each, Exception))
        refusal = costed.refusal if isinstance(costed, Simulation) else None
        left_out = costed.left_out if isinstance(costed, Simulation) and refusal is None else ""
        low = dead(scored.score) if isinstance(scored, Evaluation) else ""
        states = {"failed": "; ".join(failures), "unsupported": refusal, "dead": low, "partial": left_out}
        status, reason = next(((state, why) for state, why in states.items() if why), ("ok", ""))
        return cls(
            network=network.name,
            method=method,
            accelerator=accelerator,
            evaluation=scored if isinstance(scored, Evaluation) else None,
            simulation=costed if isinstance(costed, Simulation) and refusal is None else None,
            status=status,
            reason=reason,
        )

    def record(self) -> dict[str, Any]:
        """Flat names and plain values, units in the names."""
        names = {
            "network": self.network,
            "method": self.method,
            "accelerator": self.accelerator,
            "status": self.status,
            "reason": self.reason,
        }
        score = _score_record(self.evaluation) if self.evaluation is not None else {}
        return names | score | (_cost_record(self.simulation) if self.simulation is not None else {})


def said(error: Exception) -> str:
    """The error in words; what is not bitwright's own is named."""
    return str(error) if isinstance(error, BitwrightError) else f"{type(error).__name__}: {error}"


def _score_record(evaluation: Evaluation) -> dict[str, Any]:
    score, interval = evaluation.score, evaluation.score.interval
    return {
        "task": score.task,
        "metric": score.metric,
        "unit": score.unit,
        "score": score.value,
        "score_low": score.value_interval.low,
        "score_high": score.value_interval.high,
        "float_score": score.float_value,
        "difference": score.difference,
        "difference_low": interval.low if interval else None,
        "difference_high": interval.high if interval else None,
        "separated_from_float": interval.separates() if interval else None,
        **{measure.name: measure.value for measure in score.measures},
        "samples": score.sample_count,
        "tested_on": score.tested_on,
        "calibrated_on": score.calibrated_on,
        "exact": evaluation.exact,
        "off_by": evaluation.off_by,
        "seconds": evaluation.seconds,
        "float_seconds": evaluation.float_seconds,
    }


def _cost_record(simulation: Simulation) -> dict[str, Any]:
    cost = simulation.cost
    return {
        "input": simulation.input,
        "macs": simulation.macs,
        "supported_share": simulation.supported_share,
        "cycles": cost.cycles,
        "compute_cycles": cost.compute_cycles,
        "utilization": simulation.utilization,
        "executed_share": simulation.executed_share,
        "latency_us": simulation.latency_us,
        "total_energy_pj": cost.total_energy_pj,
        **{f"energy_{component}_pj": energy for component, energy in cost.energy_pj.items()},
        **{f"{place}_bytes": moved for place, moved in cost.traffic_bytes.items()},
        "area_um2": simulation.area.total_um2,
        "tops_per_watt": simulation.tops_per_watt,
    }
