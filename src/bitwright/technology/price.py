"""One price: the energy of an event, and the area and leakage of the unit it happens in.

Parts that no source gives are None; asking for one is an error, so that nothing unknown is ever counted as free.
"""

from dataclasses import dataclass
from typing import Literal

from bitwright.errors import MissingPriceError

Kind = Literal["measured", "published", "derived", "assumed"]


@dataclass(frozen=True, kw_only=True)
class Price:
    """What one event costs, with where the number comes from.

    Attributes
    ----------
    event
        Name of the event, such as ``mac_int8`` or ``dram``.
    energy_pj, area_um2, leakage_uw
        Dynamic energy of one event in picojoules, area of one unit in square micrometres, its leakage in microwatts;
        None where no source gives it. Sums use `energy`, `area` and `leakage`, which raise instead.
    unit
        What one event is: "operation", "cycle", "bit", "um2".
    node_nm, voltage_v
        Node and supply of the number; None where the source gives none or there is none.
    source, kind, note
        The citation; whether it was measured, published, derived or assumed; what is included.
    file
        The price list it was read from.
    """

    event: str
    energy_pj: float | None = None
    area_um2: float | None = None
    leakage_uw: float | None = None
    unit: str
    node_nm: float | None = None
    voltage_v: float | None = None
    source: str
    kind: Kind
    note: str | None = None
    file: str

    def energy(self) -> float:
        """Dynamic energy of one event, in picojoules; MissingPriceError if unknown."""
        return self._known("energy_pj", self.energy_pj)

    def area(self) -> float:
        """Area of one unit, in square micrometres; MissingPriceError if unknown."""
        return self._known("area_um2", self.area_um2)

    def leakage(self) -> float:
        """Leakage of one unit, in microwatts; MissingPriceError if unknown."""
        return self._known("leakage_uw", self.leakage_uw)

    def _known(self, part: str, value: float | None) -> float:
        if value is None:
            raise MissingPriceError(
                f"the price of {self.event!r} in {self.file} has no {part}, and nothing is counted as free: "
                f"give it with with_price({self.event!r}, {part}=...) or in a YAML price list of your own."
            )
        return float(value)
