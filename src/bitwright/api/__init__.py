"""The public functions, as notebooks and the command line call them. Import them from `bitwright` itself."""

from typing import TYPE_CHECKING

from bitwright.later import handing_on

if TYPE_CHECKING:
    from bitwright.api.explanations import explain
    from bitwright.api.exports import export
    from bitwright.api.module import QuantizedModule
    from bitwright.api.networks import calibrate, load, quantize
    from bitwright.api.reports import nodes
    from bitwright.api.reproductions import reproduce
    from bitwright.api.runs import evaluate, simulate
    from bitwright.api.searches import search, train
    from bitwright.api.studies import compare, sweep
    from bitwright.exchange.export import Exported
    from bitwright.methods.plan import Plan
    from bitwright.networks.catalogue import ModelEntry, models
    from bitwright.networks.nodes import NodeLine, NodeReport
    from bitwright.studies.bounds import Bounds
    from bitwright.studies.catalogue import Entry, SystemEntry, accelerators, methods, systems
    from bitwright.studies.compare import Comparison
    from bitwright.studies.explain import Explanation
    from bitwright.studies.frontier import Frontier
    from bitwright.studies.search import Search
    from bitwright.studies.simulation import Simulation, Simulations
    from bitwright.studies.sweep import Sweep
    from bitwright.studies.training import Training
    from bitwright.tasks.evaluate import Evaluation

__all__ = [
    "Bounds",
    "Comparison",
    "Entry",
    "Evaluation",
    "Explanation",
    "Exported",
    "Frontier",
    "ModelEntry",
    "NodeLine",
    "NodeReport",
    "Plan",
    "QuantizedModule",
    "Search",
    "Simulation",
    "Simulations",
    "Sweep",
    "SystemEntry",
    "Training",
    "accelerators",
    "calibrate",
    "compare",
    "evaluate",
    "explain",
    "export",
    "load",
    "methods",
    "models",
    "nodes",
    "quantize",
    "reproduce",
    "search",
    "simulate",
    "sweep",
    "systems",
    "train",
]

__getattr__, __dir__ = handing_on(
    __name__,
    {
        "bitwright.api.explanations": ("explain",),
        "bitwright.api.exports": ("export",),
        "bitwright.api.module": ("QuantizedModule",),
        "bitwright.api.networks": (
            "calibrate",
            "load",
            "quantize",
        ),
        "bitwright.api.reports": ("nodes",),
        "bitwright.api.reproductions": ("reproduce",),
        "bitwright.api.runs": (
            "evaluate",
            "simulate",
        ),
        "bitwright.api.searches": (
            "search",
            "train",
        ),
        "bitwright.api.studies": (
            "compare",
            "sweep",
        ),
        "bitwright.exchange.export": ("Exported",),
        "bitwright.methods.plan": ("Plan",),
        "bitwright.networks.catalogue": (
            "ModelEntry",
            "models",
        ),
        "bitwright.networks.nodes": (
            "NodeLine",
            "NodeReport",
        ),
        "bitwright.studies.bounds": ("Bounds",),
        "bitwright.studies.catalogue": (
            "Entry",
            "SystemEntry",
            "accelerators",
            "methods",
            "systems",
        ),
        "bitwright.studies.compare": ("Comparison",),
        "bitwright.studies.explain": ("Explanation",),
        "bitwright.studies.frontier": ("Frontier",),
        "bitwright.studies.search": ("Search",),
        "bitwright.studies.simulation": (
            "Simulation",
            "Simulations",
        ),
        "bitwright.studies.sweep": ("Sweep",),
        "bitwright.studies.training": ("Training",),
        "bitwright.tasks.evaluate": ("Evaluation",),
    },
)
