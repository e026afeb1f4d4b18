"""The public functions, as notebooks and the command line call them. Import them from `bitwright` itself."""

from bitwright.api.networks import QuantizedNetwork, calibrate, load, quantize
from bitwright.api.runs import evaluate, simulate
from bitwright.api.studies import compare, sweep
from bitwright.methods.plan import Plan
from bitwright.networks.catalogue import ModelEntry, models
from bitwright.studies.catalogue import Entry, accelerators, methods
from bitwright.studies.compare import Comparison
from bitwright.studies.frontier import Frontier
from bitwright.studies.simulate import Simulation
from bitwright.studies.sweep import Sweep
from bitwright.tasks.evaluate import Evaluation

__all__ = [
    "Comparison",
    "Entry",
    "Evaluation",
    "Frontier",
    "ModelEntry",
    "Plan",
    "QuantizedNetwork",
    "Simulation",
    "Sweep",
    "accelerators",
    "calibrate",
    "compare",
    "evaluate",
    "load",
    "methods",
    "models",
    "quantize",
    "simulate",
    "sweep",
]
