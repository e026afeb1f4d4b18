"""What every verb prints with `--json`, and which results it writes as tables: the one list of both."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

from bitwright.networks.catalogue import Models
from bitwright.networks.nodes import NodeReport
from bitwright.reports.apsq import ApsqRecord
from bitwright.reports.bounds import BoundsRecord
from bitwright.reports.circuits import CircuitRecord, CircuitsRecord, EmittedRecord, SynthesisRecord
from bitwright.reports.drift import DriftRecord
from bitwright.reports.export import ExportRecord
from bitwright.reports.frontier import FrontierRecord
from bitwright.reports.listings import (
    AcceleratorRecord,
    AcceleratorsRecord,
    MethodRecord,
    MethodsRecord,
    ModelsRecord,
    SubstrateRecord,
    SystemsRecord,
)
from bitwright.reports.lp import LpRecord
from bitwright.reports.nodes import NodesRecord
from bitwright.reports.overview import OverviewRecord
from bitwright.reports.panacea import PanaceaRecord
from bitwright.reports.prices import PriceList, TechnologyRecord
from bitwright.reports.records import (
    ComparisonRecord,
    ExplanationRecord,
    OneMachineRecord,
    SeveralMachinesRecord,
)
from bitwright.reports.schema import Schema, schema_of
from bitwright.reports.score_records import EvaluationRecord
from bitwright.reports.search import SearchRecord
from bitwright.reports.sweep import SweepRecord
from bitwright.reports.tables import say, table, text
from bitwright.reports.training import TrainingRecord
from bitwright.shown import Tabled
from bitwright.studies.bounds import Bounds
from bitwright.studies.catalogue import Entries, Entry, Systems
from bitwright.studies.compare import Comparison
from bitwright.studies.explain import Explanation
from bitwright.studies.frontier import Frontier
from bitwright.studies.reproduce.overview import Overview
from bitwright.studies.reproduce.systems import SYSTEMS
from bitwright.studies.search import Search
from bitwright.studies.simulation import Simulation
from bitwright.studies.sweep import Sweep
from bitwright.studies.synthesis import Synthesis
from bitwright.studies.training import Training
from bitwright.tasks.evaluate import Evaluation

if TYPE_CHECKING:
    from rich.console import Console


@dataclasses.dataclass(frozen=True)
class Output:
    """What a verb gives.

    Attributes
    ----------
    records : tuple of type
        TypedDicts of what `--json` prints: one of them.
    results : mapping
        When -> the result whose tables `--out` writes; the first is the usual one.
    """

    records: tuple[type, ...]
    results: Mapping[str, type[Tabled]]


VERBS: Mapping[str, Output] = {
    "simulate": Output((OneMachineRecord, SeveralMachinesRecord), {"": Simulation}),
    "evaluate": Output((EvaluationRecord,), {"": Evaluation}),
    "compare": Output((ComparisonRecord, FrontierRecord), {"": Comparison, "--budget": Frontier}),
    "explain": Output((BoundsRecord, ExplanationRecord), {"": Bounds, "--site": Explanation}),
    "nodes": Output((NodesRecord,), {"": NodeReport}),
    "search": Output((SearchRecord,), {"": Search}),
    "train": Output((TrainingRecord,), {"": Training}),
    "sweep": Output((SweepRecord,), {"": Sweep}),
    "reproduce": Output(
        (OverviewRecord, PanaceaRecord, ApsqRecord, LpRecord, DriftRecord),
        {"": Overview, **{name: system.result for name, system in SYSTEMS.items()}},
    ),
    "export": Output((ExportRecord,), {}),
    "rtl": Output((EmittedRecord,), {}),
    "synthesize": Output((SynthesisRecord,), {"": Synthesis}),
    "models": Output((ModelsRecord,), {"": Models}),
    "methods": Output((MethodsRecord, MethodRecord), {"": Entries, "NAME": Entry}),
    "accelerators": Output((AcceleratorsRecord, AcceleratorRecord), {"": Entries, "NAME": Entry}),
    "circuits": Output((CircuitsRecord, CircuitRecord), {"": Entries, "NAME": Entry}),
    "systems": Output((SystemsRecord,), {"": Systems}),
    "substrate": Output((SubstrateRecord,), {"": Entry}),
    "technology": Output((TechnologyRecord,), {"": PriceList}),
}
"""In the order of work."""


def verb_schema(verb: str) -> Schema:
    """The JSON Schema of what the verb prints with `--json`."""
    return schema_of(verb, VERBS[verb].records)


def print_verbs(console: "Console") -> None:
    """Every verb with the tables that it writes, then what to type next."""
    lines = [
        (f"{verb} {when}".strip(), result) for verb, each in VERBS.items() for when, result in each.results.items()
    ]
    console.print(
        table(
            [
                text("verb", [verb for verb, _ in lines]),
                text("tables of --out [TABLE=]FILE.csv or .parquet", [", ".join(result.TABLES) for _, result in lines]),
            ]
        )
    )
    say(console, "Next: bitwright schema simulate is the JSON Schema of bitwright simulate --json and --out FILE.json")
