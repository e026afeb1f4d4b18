"""Circuits as lists of parts that have prices, and what they cost: as listed, by area, or part by part.

A circuit of a price list of its own (`listed`) costs what the list says. Areas of whole processing elements are
published for machines with several precisions, energies are not. `area`, their default, takes the published area of a
circuit where there is one, and the sum of its parts' otherwise, and lets every um2 that works burn what a um2 of a
synthesized multiply-accumulate unit does. `parts` sums up areas and energies of parts (our reading of the drawn
datapaths). The parts' energies are for data that change in every bit: an 8-bit multiply-accumulate unit of this list's
parts would burn 2.7 times what its own synthesis says, so machines priced by parts do not stand beside others. Leakage
goes by area either way. Control, wires, multiplexers and gates that only invert are not modelled.

Where the technology has synthesized prices, a circuit with RTL (`Built`) costs what its synthesis says instead, with
all that its RTL holds; circuits without keep their price, and `Priced.synthesized` tells them apart.
"""

import dataclasses
from typing import Literal

from bitwright import circuits
from bitwright.technology import Technology
from bitwright.technology.synthesized import REFERENCE_PRICE

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
class Built:
    """So much of a circuit that is RTL.

    Attributes
    ----------
    circuit : bitwright.circuits.Circuit
        With its parameters.
    count : float
        How many: a share where several share one, less than 0 where the bill has a part of it elsewhere, 0 where what
        is priced is part of it, which is priced elsewhere.

    Examples
    --------
    >>> from bitwright.circuits import PartialSumAdder
    >>> Built(circuit=PartialSumAdder(lanes=8), count=1 / 8).count
    0.125
    """

    circuit: circuits.Circuit
    count: float = 1


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
    rtl : tuple of Built or None
        What it is as RTL; None: there is none.

    Examples
    --------
    >>> lane = Circuit(name="lane", parts=(Part(event="add_int32", count=1, what="the sum"),))
    >>> [part.event for part in lane.parts]
    ['add_int32']
    """

    name: str
    parts: tuple[Part, ...]
    published: str | None = None
    rtl: tuple[Built, ...] | None = None


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
    synthesized : bool
        Whether it was priced by its synthesis.
    """

    area_um2: float
    energy_pj: float
    leakage_uw: float
    area_source: str
    energy_source: str
    synthesized: bool = False


def priced(circuit: Circuit, technology: Technology, by: By) -> Priced:
    """What a circuit costs: by its synthesis where the technology has that, `by` area or parts otherwise.

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
    found = synthesized(circuit.rtl, technology)
    if found is not None:
        return found
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


def synthesized(rtl: tuple[Built, ...] | None, technology: Technology) -> Priced | None:
    """What circuits that are RTL cost by their synthesis.

    Returns
    -------
    Priced or None
        None where the technology has no synthesized prices, or the table not all of these circuits.

    Raises
    ------
    MissingPriceError
        If the technology lacks the price of an int8 multiply-accumulate, or of leakage.
    """
    table = technology.synthesized
    if rtl is None or table is None:
        return None
    lines = [(each.count, table.of(each.circuit)) for each in rtl]
    area_um2 = ratio = 0.0
    for count, line in lines:
        if line is None:
            return None
        area_um2 += count * line.area_at(technology.node_nm)
        ratio += count * table.energy_ratio(line)
    reference, said = technology.price(REFERENCE_PRICE), _in_gates(rtl, technology)
    return Priced(
        area_um2=area_um2,
        energy_pj=ratio * reference.energy(),
        leakage_uw=area_um2 * technology.price("logic_leakage").leakage(),
        area_source=f"synthesized: {said}",
        energy_source=f"synthesized: {ratio:.3g} x {REFERENCE_PRICE}, {said}; {REFERENCE_PRICE}: {reference.source}",
        synthesized=True,
    )


def _in_gates(rtl: tuple[Built, ...], technology: Technology) -> str:
    """Circuits in words, with their gates and cells."""
    table = technology.synthesized
    assert table is not None
    said = []
    for each in rtl:
        line, set_ = table.of(each.circuit), each.circuit.model_dump(mode="json", exclude_defaults=True)
        assert line is not None
        parameters = "".join(f" {name}={value}" for name, value in set_.items())
        said.append(f"{each.count:g} x {each.circuit.name}{parameters} of {line.gates:,.0f} gates in {line.library}")
    return " + ".join(said)


def listed(event: str, technology: Technology, rtl: tuple[Built, ...] | None = None) -> Priced:
    """A circuit that a price list knows as a whole, or by the synthesis of its RTL where the technology has that.

    Raises
    ------
    MissingPriceError
        If the technology lacks the price, or a part of it.
    """
    found = synthesized(rtl, technology)
    if found is not None:
        return found
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
        synthesized=circuit.synthesized,
    )


def _summed(circuit: Circuit, technology: Technology) -> str:
    """The parts in words, and the sources of their prices."""
    parts = ", ".join(f"{part.count:g} {part.event} ({part.what})" for part in circuit.parts)
    events: dict[str, list[str]] = {}
    for event in dict.fromkeys(part.event for part in circuit.parts):
        events.setdefault(technology.price(event).source, []).append(event)
    sources = "; ".join(f"{', '.join(names)}: {source}" for source, names in events.items())
    return f"{circuit.name}, our sum of parts: {parts}. {sources}"
