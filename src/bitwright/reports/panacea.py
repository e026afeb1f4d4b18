"""The reproduction of Panacea as tables and as a record: skip ladder, both machines, claims, choices that are ours."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, TypedDict

from bitwright.reports.claims import ClaimRecord, claim_record, conditions_line, print_claims
from bitwright.reports.costs import cost_columns, substrate_lines
from bitwright.reports.scores import value
from bitwright.reports.tables import Column, percents, print_fitting, say, table, text
from bitwright.studies.machines import Footing
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.panacea.ladder import Change, RivalScore, Rung
from bitwright.studies.reproduce.panacea.rates import SiteRates
from bitwright.studies.reproduce.panacea.rivalry import Choice, Part, Rivalry
from bitwright.studies.reproduce.panacea.study import Measured, Reproduction
from bitwright.studies.reproduce.panacea.tables import RateFigures, StepFigures, rate_figures, step_figures
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.statistics import Interval
from bitwright.units import DASH, number, signed

if TYPE_CHECKING:
    from rich.console import Console


class ScoreRecord(TypedDict):
    """A plan's score."""

    metric: Annotated[str, "what is measured"]
    unit: Annotated[str, "of the score; empty for a plain number"]
    value: Annotated[float, "in `unit`"]
    interval: Annotated[Interval, "of it, in `unit`"]


class SkippedSite(RateFigures):
    """What can be skipped at a site."""

    name: Annotated[str, "the site's"]


class StepRecord(StepFigures):
    """A step of the ladder."""

    score: Annotated[ScoreRecord | None, "of its plan; null without a task, or where `reason` says why"]
    change: Annotated[Change | None, "of the score from the step before"]
    change_since_r_skipping: Annotated[Change | None, "of the score from r skipping"]
    sites: Annotated[list[SkippedSite], "in the order of execution"]


class SibiaRecord(TypedDict):
    """Sibia's plan beside the last step's."""

    score: Annotated[ScoreRecord | None, "of Sibia's plan"]
    lead_of_aqs: Annotated[Change | None, "how far the last step's score is from it"]
    reason: Annotated[str, "why there is no score; empty otherwise"]
    sites: Annotated[list[SkippedSite], "what Sibia could skip"]


class RatiosRecord(TypedDict):
    """Sibia's figures by Panacea's."""

    energy: Annotated[float, "of one inference"]
    cycles: Annotated[float, "of one inference"]
    slice_products: Annotated[float, "4-bit products executed"]
    slice_products_ideal: Annotated[float, "4-bit products that the measured skip rates leave"]
    dram_bytes: Annotated[float, "moved from and to DRAM"]
    stored_bytes: Annotated[float, "distinct bytes of operands as stored and of results"]
    energy_if_slice_products_were_free: Annotated[float, "the energy ratio if Panacea's slice products cost nothing"]


class PanaceaNetwork(TypedDict):
    """What is measured of one network."""

    network: Annotated[str, "its name"]
    input: Annotated[str, "what it ran on"]
    reason: Annotated[str, "what went wrong; empty otherwise"]
    steps: Annotated[list[StepRecord], "the ladder; empty where something went wrong"]
    notes: Annotated[Sequence[str], "what every report must say"]
    sibia: NotRequired[Annotated[SibiaRecord, "the rival; missing where something went wrong, as all that follows"]]
    ratios_sibia_by_panacea: NotRequired[Annotated[RatiosRecord, "of one inference"]]
    energy_parts: NotRequired[Annotated[Sequence[Part], "where the energy goes"]]
    choices: NotRequired[Annotated[Sequence[Choice], "how the ratios depend on parameters"]]


class PanaceaRecord(TypedDict):
    """Panacea: its claims, and everything behind them by network."""

    system: Annotated[str, "panacea"]
    rows: Annotated[list[ClaimRecord], "claims, of all networks"]
    networks: Annotated[list[PanaceaNetwork], "in the order asked for"]
    parameters: Annotated[Mapping[str, Mapping[str, Any]], "of both machines"]
    options: Annotated[Mapping[str, Any], "of the method aqs, as given"]
    substrate: Annotated[Footing, "what the machines stand on"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def print_panacea(found: Reproduction, console: "Console", *, sites: bool) -> None:
    """Every network, then what the machines stand on."""
    for network in found.networks:
        _print_network(network, console, sites=sites)
    say(console, *substrate_lines(found.substrate))
    say(console, *(f"Note: {note}" for note in dict.fromkeys(note for each in found.networks for note in each.notes)))


def panacea_record(found: Reproduction) -> PanaceaRecord:
    """The claims of all networks as rows, and everything behind them by network."""
    return {
        "system": found.system,
        "rows": [claim_record(claim) for claim in found.claims],
        "networks": [_network_record(network) for network in found.networks],
        "parameters": found.parameters,
        "substrate": found.substrate,
        "options": found.options,
        "provenance": found.provenance,
    }


def _print_network(network: Measured, console: "Console", *, sites: bool) -> None:
    if network.rivalry is None:
        say(console, f"{network.network}: failed: {network.reason}", "")
        return
    rivals = network.rivalry
    say(console, f"{network.network}: skipping and costs on {network.input}.{_tested(network.ladder)}")
    console.print(table(_ladder_columns(network.ladder, network.sibia_score, rivals)))
    for rung in network.ladder:
        if rung.reason:
            say(console, f"{rung.name}: failed: {rung.reason}")
    if network.sibia_score.reason:
        say(console, f"sibia: failed: {network.sibia_score.reason}")
    machines = [rivals.panacea, rivals.sibia]
    names = [
        text("machine", [each.accelerator for each in machines]),
        text("method", [each.method for each in machines]),
    ]
    print_fitting(names, cost_columns(machines), console)
    console.print(table(_part_columns(rivals)))
    print_claims(network.claims, console)
    say(console, f"Measured with {conditions_line(network.claims[0].conditions)}.")
    console.print(
        table(_choice_columns(rivals.choices), title="What the ratios become with other choices (Sibia's by Panacea's)")
    )
    for choice in rivals.choices:
        if choice.reason:
            say(console, f"{_changes(choice.changes)}: {choice.reason}")
    if sites:
        console.print(table(_site_columns(network.ladder), title="Vectors skipped at each site, and splits"))
    say(console, "")


def _tested(ladder: Sequence[Rung]) -> str:
    evaluation = next((rung.evaluation for rung in ladder if rung.evaluation), None)
    if evaluation is None:
        return " No score."
    score = evaluation.score
    better = "higher is better" if score.higher_is_better else "lower is better"
    return (
        f" {score.metric} ({better}) on {score.sample_count}: {score.tested_on}. Calibrated on {score.calibrated_on}."
    )


def _ladder_columns(ladder: Sequence[Rung], sibia: RivalScore, rivals: Rivalry) -> list[Column]:
    """A line per step, and one for Sibia, whose change is from the last step."""
    other = rivals.sibia_rates
    macs = sum(each.site.macs for each in other)
    x_sibia = sum(each.x * each.site.macs for each in other) / macs
    w_sibia = sum(each.w * each.site.macs for each in other) / macs
    left = sum(each.one_sided for each in other) / sum(each.dense for each in other)
    evaluations = [*(rung.evaluation for rung in ladder), sibia.evaluation]
    steps = [*(rung.step for rung in ladder), _back(sibia.lead)]
    columns = [
        text("step", [*(f"aqs, {rung.name}" for rung in ladder), "sibia (symmetric), one side"]),
        percents("activation vectors skipped", [*(rung.x_rate for rung in ladder), x_sibia]),
        percents("weight vectors skipped", [*(rung.w_rate for rung in ladder), w_sibia]),
        percents("slice products left", [*(rung.products_left for rung in ladder), left]),
    ]
    if not any(evaluations):
        return columns
    return [
        *columns,
        Column(header="score", cells=[value(each.score) if each else DASH for each in evaluations]),
        Column(header="from the line above [95 %]", cells=[_change(step) for step in steps]),
        Column(header="relative [%]", cells=[_relative(step) for step in steps]),
    ]


def _back(lead: Change | None) -> Change | None:
    """Panacea's lead over Sibia as Sibia's change from Panacea."""
    if lead is None:
        return None
    interval = type(lead.interval)(low=-lead.interval.high, high=-lead.interval.low)
    return Change(difference=-lead.difference, interval=interval, relative=None)


def _change(step: Change | None) -> str:
    if step is None:
        return DASH
    return f"{signed(step.difference)} [{signed(step.interval.low)}, {signed(step.interval.high)}]"


def _relative(step: Change | None) -> str:
    return DASH if step is None or step.relative is None else signed(100 * step.relative)


def _part_columns(rivals: Rivalry) -> list[Column]:
    return [
        text("energy of", [part.name for part in rivals.parts]),
        percents("share of Panacea's", [part.panacea_share for part in rivals.parts]),
        percents("share of Sibia's", [part.sibia_share for part in rivals.parts]),
        Column(header="Sibia's by Panacea's", cells=[number(part.ratio, 3) for part in rivals.parts]),
    ]


def _choice_columns(choices: Sequence[Choice]) -> list[Column]:
    return [
        text(
            "choice", [_changes(choice.changes) + (" (as above)" if choice.as_compared else "") for choice in choices]
        ),
        Column(header="energy", cells=[number(choice.energy_ratio, 3) for choice in choices]),
        Column(header="cycles", cells=[number(choice.cycle_ratio, 3) for choice in choices]),
    ]


def _changes(changes: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in changes.items())


def _site_columns(ladder: Sequence[Rung]) -> list[Column]:
    last = ladder[-1].sites
    shapes = [(each.site.groups, each.site.m, each.site.k, each.site.n) for each in last]
    return [
        text("site", [each.site.name for each in last]),
        text("groups x m x k x n", [" x ".join(map(str, shape)) for shape in shapes]),
        *(percents(f"x, {rung.name}", [each.x for each in rung.sites]) for rung in ladder),
        percents("w", [each.w for each in last]),
        Column(header="zero point", cells=[str(each.zero_point) for each in last]),
        Column(header="split", cells=[str(each.split) for each in last]),
    ]


def _network_record(network: Measured) -> PanaceaNetwork:
    record: PanaceaNetwork = {
        "network": network.network,
        "input": network.input,
        "reason": network.reason,
        "steps": [_rung_record(rung) for rung in network.ladder],
        "notes": network.notes,
    }
    if network.rivalry is None:
        return record
    rivals, sibia = network.rivalry, network.sibia_score
    return {
        **record,
        "sibia": {
            "score": _score(sibia.evaluation),
            "lead_of_aqs": sibia.lead,
            "reason": sibia.reason,
            "sites": [_site_record(each) for each in rivals.sibia_rates],
        },
        "ratios_sibia_by_panacea": {
            "energy": rivals.energy_ratio,
            "cycles": rivals.cycle_ratio,
            "slice_products": rivals.product_ratio,
            "slice_products_ideal": rivals.ideal_ratio,
            "dram_bytes": rivals.traffic_ratio,
            "stored_bytes": rivals.stored_ratio,
            "energy_if_slice_products_were_free": rivals.free_products_ratio,
        },
        "energy_parts": rivals.parts,
        "choices": rivals.choices,
    }


def _rung_record(rung: Rung) -> StepRecord:
    return {
        **step_figures(rung),
        "score": _score(rung.evaluation),
        "change": rung.step,
        "change_since_r_skipping": rung.since_r,
        "sites": [_site_record(each) for each in rung.sites],
    }


def _score(evaluation: Evaluation | None) -> ScoreRecord | None:
    if evaluation is None:
        return None
    score = evaluation.score
    return {"metric": score.metric, "unit": score.unit, "value": score.value, "interval": score.value_interval}


def _site_record(each: SiteRates) -> SkippedSite:
    return {"name": each.site.name, **rate_figures(each)}
