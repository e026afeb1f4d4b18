"""Systems at equal accuracy: Pareto fronts, and the operating point that each system is chosen to run at."""

from bitwright.studies.frontier.budget import check_budget, parse_budget, parse_share
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
    "parse_share",
    "systems_of",
]
