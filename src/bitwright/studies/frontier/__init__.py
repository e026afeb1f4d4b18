"""Systems at equal accuracy: families of operating points, Pareto fronts, and the best of each within a budget."""

from bitwright.studies.frontier.budget import check_budget, parse_budget
from bitwright.studies.frontier.families import BASELINE, FAMILIES, Family, method_meant, methods_of
from bitwright.studies.frontier.points import OBJECTIVES, Objective, OperatingPoint, Standing
from bitwright.studies.frontier.result import Frontier
from bitwright.studies.frontier.study import FrontierSettings, families_of, frontier

__all__ = [
    "BASELINE",
    "FAMILIES",
    "OBJECTIVES",
    "Family",
    "Frontier",
    "FrontierSettings",
    "Objective",
    "OperatingPoint",
    "Standing",
    "check_budget",
    "families_of",
    "frontier",
    "method_meant",
    "methods_of",
    "parse_budget",
]
