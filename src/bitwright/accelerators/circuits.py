"""Circuits as lists of parts that have prices, and what they cost: as listed, by area, or part by part.

A circuit of a price list of its own (`listed`) costs what the list says. Areas of whole processing elements are
published for machines with several precisions, energies are not. `area`, their default, takes the published area of a
circuit where there is one, and the sum of its parts' otherwise, and lets every um2 that works burn what a um2 of a
synthesized multiply-accumulate unit does. `parts` sums up areas and energies of parts (our reading of the drawn
datapaths). The parts' energies are for data that change in every bit: an 8-bit multiply-accumulate unit of this list's
parts would burn 2.7 times what its own synthesis says, so machines priced by parts do not stand beside others. Leakage
goes by area either way. Control, wires, multiplexers and gates that only invert are not modelled.
"""

import dataclasses
from typing import Literal

from bitwright.technology import Technology

By = Literal["area", "parts"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """So many of one priced operator or register bit, each of which works in every cycle of its circuit.

    Attributes
    ----------
    event : str
        Name of its price.
    count : float
        How many; halves are operators of half the width.
    what : str
        What it is for.

    Examples
    --------
    >>> Part(event="register_bit", count=32, what="the sum").count
    32
    """

    event: str
    count: float
    what: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Circuit:
    """A processing element, a decoder or an encoder.

    Attributes
    ----------
    name : str
        What it is, in a phrase.
    parts : tuple of Part
        What it is made of.
    published : str or None
        The price whose area is published of the whole circuit.

    Examples
    --------
    >>> lane = Circuit(name="lane", parts=(Part(event="add_int32", count=1, what="the sum"),))
    >>> [part.event for part in lane.parts]
    ['add_int32']
    """

    name: str
    parts: tuple[Part, ...]
    published: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Priced:
    """A circuit at a node.

    Attributes
    ----------
    area_um2, leakage_uw : float
        Of one.
    energy_pj : float
        Of one cycle in which it works.
    area_source, energy_source : str
        Where that comes from.
    """

    area_um2: float
    energy_pj: float
    leakage_uw: float
    area_source: str
    energy_source: str


def priced(circuit: Circuit, technology: Technology, by: By) -> Priced:
    """What a circuit costs.

    Raises
    ------
    MissingPriceError
        If the technology lacks a price, or a part of it, that this takes.

    Examples
    --------
    >>> from bitwright.accelerators.systolic import WeightStationary
    >>> adder = Circuit(name="adder", parts=(Part(event="add_int32", count=1, what="a sum"),))
    >>> found = priced(adder, WeightStationary().technology, "parts")
    >>> found.energy_pj > 0, found.area_um2 > 0  # pJ per cycle of work, um2
    (True, True)
    """
    summed_um2 = sum(part.count * technology.price(part.event).area() for part in circuit.parts)
    leakage = technology.price("logic_leakage")
    if by == "parts":
        return Priced(
            area_um2=summed_um2,
            energy_pj=sum(part.count * technology.price(part.event).energy() for part in circuit.parts),
            leakage_uw=summed_um2 * leakage.leakage(),
            area_source=_summed(circuit, technology),
            energy_source=_summed(circuit, technology),
        )
    logic = technology.price("logic_energy")
    if circuit.published is None:
        area_um2, area_source = summed_um2, _summed(circuit, technology)
    else:
        whole = technology.price(circuit.published)
        area_um2, area_source = whole.area(), f"{circuit.published}: {whole.source}"
    return Priced(
        area_um2=area_um2,
        energy_pj=area_um2 * logic.energy(),
        leakage_uw=area_um2 * leakage.leakage(),
        area_source=area_source,
        energy_source=f"area x logic_energy: {logic.source}; area: {area_source}",
    )


def listed(event: str, technology: Technology) -> Priced:
    """A circuit that a price list knows as a whole.

    Raises
    ------
    MissingPriceError
        If the technology lacks the price, or a part of it.
    """
    price = technology.price(event)
    return Priced(
        area_um2=price.area(),
        energy_pj=price.energy(),
        leakage_uw=price.leakage(),
        area_source=price.source,
        energy_source=price.source,
    )


def times(circuit: Priced, factor: float, said: str) -> Priced:
    """So many times a circuit; `said` words the sources, with {} for the circuit's."""
    return Priced(
        area_um2=factor * circuit.area_um2,
        energy_pj=factor * circuit.energy_pj,
        leakage_uw=factor * circuit.leakage_uw,
        area_source=said.format(circuit.area_source),
        energy_source=said.format(circuit.energy_source),
    )


def _summed(circuit: Circuit, technology: Technology) -> str:
    """The parts in words, and the sources of their prices."""
    parts = ", ".join(f"{part.count:g} {part.event} ({part.what})" for part in circuit.parts)
    events: dict[str, list[str]] = {}
    for event in dict.fromkeys(part.event for part in circuit.parts):
        events.setdefault(technology.price(event).source, []).append(event)
    sources = "; ".join(f"{', '.join(names)}: {source}" for source, names in events.items())
    return f"{circuit.name}, our sum of parts: {parts}. {sources}"
