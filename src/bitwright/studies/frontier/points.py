"""Operating points, and where systems stand."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bitwright.studies.frontier.halves import Verdict
from bitwright.studies.objectives import Objective
from bitwright.studies.row import Row
from bitwright.tasks.budget import MISSED, WITHIN, Budget
from bitwright.tasks.relative_loss import Judged


@dataclasses.dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """A method with its options on a machine, as one system's choice.

    Attributes
    ----------
    system : str
        The system it belongs to.
    row : Row
        Score and cost; `row.method` names the method with its options. Its status may also be `refused`: the methods do
        not compose, or the method declines this network.
    options : mapping
        Of the method.
    verdict : Verdict or None
        What it does to accuracy; None where there is no score.
    comparable : bool
        Whether it has a verdict and costs of as large a share of the products as any point of its network has. Others
        are on no front.
    fronts : tuple of str
        Names of the objectives on whose Pareto front (what is constrained x objective) it is.
    """

    system: str
    row: Row
    options: Mapping[str, Any]
    verdict: Verdict | None = None
    comparable: bool = False
    fronts: tuple[str, ...] = ()

    @property
    def judged(self) -> Judged | None:
        """What the budget constrains, on the half that reports."""
        return None if self.verdict is None else self.verdict.judged

    @property
    def state(self) -> str | None:
        """`within`, `undecided` or `missed`; None where there is no score."""
        return None if self.verdict is None else self.verdict.state

    @property
    def keeps(self) -> bool:
        """Whether the samples that report say that it keeps the budget: with its whole interval."""
        return self.state == WITHIN

    def offers(self, budget: Budget) -> int:
        """What the samples that choose say: 2, it keeps the budget for sure; 1, by its estimate; 0, it does not."""
        if self.verdict is None:
            return 0
        state = budget.state(self.verdict.chosen_by)
        return 0 if state == MISSED else 1 + (state == WITHIN)

    def value(self, objective: Objective) -> float | None:
        """What it costs; None where it has no cost."""
        return None if self.row.simulation is None else objective.of(self.row.simulation)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a system stands under the budget by one objective.

    Attributes
    ----------
    network, objective, system : str
        Names.
    best : OperatingPoint or None
        The point chosen for it: the cheapest that keeps the budget on the samples that choose, with its whole interval
        if any does, else by its estimate; None if none does. Its state is that on the samples that report.
    gain : float or None
        Cost of the best static point by this one's, how many times less this costs, where both are within the budget.
    rank : int or None
        1 is the cheapest system within the budget; None for what is not within.
    reason : str
        Why there is no best point.
    """

    network: str
    objective: str
    system: str
    best: OperatingPoint | None
    gain: float | None
    rank: int | None
    reason: str = ""
