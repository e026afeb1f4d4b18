"""What the RAE adds to the area of an array."""

import dataclasses

from bitwright.accelerators.books import SUM_ADDERS
from bitwright.accelerators.partial_sums import Apsq


@dataclasses.dataclass(frozen=True, kw_only=True)
class Engine:
    """The RAE of one array.

    Attributes
    ----------
    array : str
        Its name.
    lanes : int
        Partial sums per cycle.
    engine_um2 : float
        All of it.
    added_um2 : float
        Without the one adder of a lane that an array needs anyway.
    without_um2 : float
        The rest of the array, those adders included.
    """

    array: str
    lanes: int
    engine_um2: float
    added_um2: float
    without_um2: float

    @property
    def lane_um2(self) -> float:
        """Of a lane."""
        return self.engine_um2 / self.lanes

    @property
    def increase(self) -> float:
        """What is added by what is there without it, in percent."""
        return 100 * self.added_um2 / self.without_um2


def engine_of(array: str, machine: Apsq) -> Engine:
    """The RAE of a machine; control, wiring and multiplexers are not modelled."""
    area = machine.area()
    added = area.components_um2["rae"]
    engine = added + area.components_um2[SUM_ADDERS]
    return Engine(
        array=array,
        lanes=machine.lanes,
        engine_um2=engine,
        added_um2=added,
        without_um2=area.total_um2 - added,
    )
