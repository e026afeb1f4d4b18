"""What a machine is made of, and how often its circuits work: the bill, and uses of it.

A machine states components, each so many of one circuit. Whatever works is a use of a circuit with a price and its
source. The engine (`bitwright.accelerators.engine`) multiplies, and adds what all machines have: SRAMs, DRAM,
requantizers and the vector unit.
"""

import dataclasses

from bitwright.accelerators.circuits import Built, Priced, synthesized
from bitwright.technology import Technology


@dataclasses.dataclass(frozen=True, kw_only=True)
class Component:
    """So many of one circuit.

    Attributes
    ----------
    name : str
        As area and leakage list it.
    count : int
        How many.
    circuit : Priced
        One of them.

    Examples
    --------
    >>> from bitwright.accelerators.systolic import WeightStationary
    >>> [each.count for each in WeightStationary(rows=8, cols=8).components() if each.name == "mac_array"]
    [64]
    """

    name: str
    count: int
    circuit: Priced


@dataclasses.dataclass(frozen=True, kw_only=True)
class Use:
    """One thing that a circuit does, by occurrence.

    Attributes
    ----------
    component : str
        Where the energy goes: `mac`, `decode`, `rescale`.
    name : str
        What happens.
    unit : str
        operation, cycle, word.
    price_pj : float
        Energy of one.
    source : str
        Where the price comes from.
    """

    component: str
    name: str
    unit: str
    price_pj: float
    source: str


def use(component: str, name: str, unit: str, circuit: Priced) -> Use:
    """A use of a circuit, at its price.

    Examples
    --------
    >>> from bitwright.accelerators.circuits import Circuit, Part, priced
    >>> from bitwright.accelerators.systolic import WeightStationary
    >>> adder = Circuit(name="adder", parts=(Part(event="add_int32", count=1, what="a sum"),))
    >>> use("adders", "add", "operation", priced(adder, WeightStationary().technology, "parts")).unit
    'operation'
    """
    return Use(component=component, name=name, unit=unit, price_pj=circuit.energy_pj, source=circuit.energy_source)


def listed_use(component: str, event: str, technology: Technology, rtl: tuple[Built, ...] | None = None) -> Use:
    """An event of the price list, at its price, or at that of what is RTL where the technology has synthesized ones.

    Raises
    ------
    MissingPriceError
        If the list lacks it.
    """
    price, built = technology.price(event), synthesized(rtl, technology)
    if built is not None:
        return use(component, event, price.unit, built)
    return Use(component=component, name=event, unit=price.unit, price_pj=price.energy(), source=price.source)
