"""Systems at equal accuracy: Pareto fronts, and the best operating point of each system within a budget."""

from bitwright.studies.frontier.budget import check_budget, parse_budget
from bitwright.studies.frontier.points import OperatingPoint, Standing
from bitwright.studies.frontier.result import Frontier
from bitwright.studies.frontier.study import FrontierSettings, frontier, systems_of

__all__ = [
    "Frontier",
    "FrontierSettings",
    "OperatingPoint",
    "Standing",
    "check_budget",
    "frontier",
    "parse_budget",
    "systems_of",
]
