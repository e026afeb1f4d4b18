"""Operating points, and where systems stand."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from bitwright.studies.objectives import Objective
from bitwright.studies.row import Row
from bitwright.tasks.relative_loss import RelativeLoss


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
    loss : RelativeLoss or None
        From the float network; None where there is no score.
    within, separated : bool or None
        Whether the loss is within the budget by its estimate, and whether its interval decides that.
    comparable : bool
        Whether it has a loss and costs of as large a share of the products as any point of its network has. Others are
        on no front.
    fronts : tuple of str
        Names of the objectives on whose Pareto front (loss x objective) it is.
    """

    system: str
    row: Row
    options: Mapping[str, Any]
    loss: RelativeLoss | None = None
    within: bool | None = None
    separated: bool | None = None
    comparable: bool = False
    fronts: tuple[str, ...] = ()

    @property
    def keeps(self) -> bool:
        """Whether the samples say that it keeps the budget: the whole interval of its loss is within."""
        return bool(self.within and self.separated)

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
        The cheapest of the system's points that keep the budget; None if it has none.
    gain : float or None
        Cost of the best static point that keeps the budget by this one's: how many times less this costs.
    rank : int or None
        1 is the cheapest system.
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
