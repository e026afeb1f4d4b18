"""Results as mappings for JSON. Keys carry their unit; `bitwright.reports.files.plain` makes the values JSON's."""

from collections.abc import Mapping
from typing import Any

from bitwright.accelerators.cost import Area, Cost
from bitwright.networks.network import Network
from bitwright.studies.compare import Comparison
from bitwright.studies.explain import Explanation
from bitwright.studies.machines import Footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.simulate import Simulation, SiteCost
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.floor import state_of
from bitwright.tasks.precision import SHIFTS


def _classes(evaluation: Evaluation, name: str) -> dict[str, Any]:
    """What run-time precision did at a site; nothing where everything has one width."""
    if evaluation.precision is None:
        return {}
    site = evaluation.precision.sites[name]
    return {
        "class_shares": site.shares,
        "x_dropped": dict(zip(SHIFTS, site.x_shifts, strict=True)),
        "w_dropped": dict(zip(SHIFTS, site.w_shifts, strict=True)),
    }


def evaluation_record(evaluation: Evaluation, network: Network, made: Provenance) -> dict[str, Any]:
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


def simulation_record(simulation: Simulation) -> dict[str, Any]:
    """One network on one machine, its figures at the top level and its sites in a list."""
    refusal = simulation.refusal
    return {
        "model": simulation.network,
        "method": simulation.method,
        "accelerator": simulation.accelerator,
        "input": simulation.input,
        "batch": simulation.batch,
        "supported": refusal is None,
        "reason": refusal,
        "macs": simulation.macs,
        "supported_share": simulation.supported_share,
        **_cost_record(simulation, simulation.cost if refusal is None else None),
        "events": [] if refusal else simulation.cost.event_records(),
        **area_record(simulation.area),
        "unsupported": simulation.unsupported,
        "other_operations": simulation.others,
        "sites": [_site_record(simulation, entry) for entry in simulation.sites],
        "parameters": simulation.parameters,
        "notes": simulation.notes,
    }


def _cost_record(simulation: Simulation, cost: Cost | None) -> dict[str, Any]:
    """A cost's figures; all null where nothing ran, which did not cost nothing."""
    if cost is None:
        keys = ("cycles", "compute_cycles", "macs_executed", "macs_skipped", "latency_us", "utilization")
        return dict.fromkeys((*keys, "energy_pj", "total_energy_pj", "tops_per_watt", "traffic_bytes", "unique_bytes"))
    return {
        "cycles": cost.cycles,
        "compute_cycles": cost.compute_cycles,
        "macs_executed": cost.macs_executed,
        "macs_skipped": cost.macs_skipped,
        "latency_us": simulation.latency_us_of(cost),
        "utilization": simulation.utilization_of(cost),
        "energy_pj": cost.energy_pj,
        "total_energy_pj": cost.total_energy_pj,
        "tops_per_watt": simulation.tops_per_watt_of(cost),
        "traffic_bytes": cost.traffic_bytes,
        "unique_bytes": cost.unique_bytes,
    }


def _site_record(simulation: Simulation, entry: SiteCost) -> dict[str, Any]:
    return {
        **site_fields(entry),
        **_cost_record(simulation, entry.cost),
        "x_vectors_skipped_share": entry.shares.x_skipped,
        "w_vectors_skipped_share": entry.shares.w_skipped,
        "class_shares": entry.shares.classes,
    }


def site_fields(entry: SiteCost) -> dict[str, Any]:
    """A site's name, shape and number types."""
    site, plan = entry.site, entry.plan
    return {
        "name": site.name,
        "op": site.op,
        "m": site.m,
        "k": site.k,
        "n": site.n,
        "groups": site.groups,
        "macs": site.macs,
        "x_type": plan.x_type,
        "w_type": plan.w_type,
    }


def area_record(area: Area) -> dict[str, Any]:
    """Area by component, its sum, and where the figures come from."""
    return {
        "area_um2": area.components_um2,
        "total_area_um2": area.total_um2,
        "area_sources": area.sources,
    }


def simulations_record(simulations: Mapping[str, Simulation], substrate: Footing, made: Provenance) -> dict[str, Any]:
    """One machine's record itself, or several under `accelerators`."""
    records = {name: simulation_record(simulation) for name, simulation in simulations.items()}
    common = {"substrate": substrate, "provenance": made}
    if len(records) == 1:
        return {**next(iter(records.values())), **common}
    return {"accelerators": records, **common}


def explanation_record(explanation: Explanation, made: Provenance) -> dict[str, Any]:
    """Where one site's cycles and energy come from."""
    cost = explanation.entry.cost
    return {
        "model": explanation.network,
        "method": explanation.method,
        "accelerator": explanation.accelerator,
        "site": site_fields(explanation.entry),
        "cycles": cost.cycles,
        "compute_cycles": cost.compute_cycles,
        "cycles_by_cause": explanation.cycles,
        "mapping": explanation.mapping,
        "energy_pj": cost.energy_pj,
        "total_energy_pj": cost.total_energy_pj,
        "events": cost.event_records(),
        "traffic_bytes": cost.traffic_bytes,
        "unique_bytes": cost.unique_bytes,
        **area_record(explanation.area),
        "parameters": explanation.parameters,
        "substrate": explanation.substrate,
        "input": explanation.input,
        "notes": explanation.notes,
        "provenance": made,
    }


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """All rows with what they were made with, and the source of every price."""
    found = comparison.records()
    keys = list(dict.fromkeys(key for record in found for key in record))
    rows = [
        {**dict.fromkeys(keys), **record, "unsupported": row.simulation.unsupported if row.simulation else None}
        for row, record in zip(comparison.rows, found, strict=True)
    ]
    return {
        "rows": rows,
        "left_out": comparison.left_out,
        "parameters": comparison.parameters,
        "substrate": comparison.substrate,
        "sources": _sources(comparison),
        "notes": notes_of(comparison),
        "provenance": comparison.provenance,
    }


def notes_of(comparison: Comparison) -> list[str]:
    """What every report on it must say, each once."""
    plans = [note for row in comparison.rows if row.evaluation for note in row.evaluation.plan.notes]
    costs = [note for row in comparison.rows if row.simulation for note in row.simulation.notes]
    return list(dict.fromkeys([*plans, *costs]))


def _sources(comparison: Comparison) -> dict[str, dict[str, str]]:
    sources: dict[str, dict[str, str]] = {}
    for row in comparison.rows:
        if row.simulation is not None:
            found = sources.setdefault(row.accelerator, {})
            found |= {f"{event.component}: {event.name}": event.source for event in row.simulation.cost.events}
            found |= {f"area: {part}": source for part, source in row.simulation.area.sources.items()}
    return sources
