"""A technology in words: its prices, its DRAMs, and where its SRAM macros come from."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, TypedDict

from bitwright.errors import InputError
from bitwright.reports.tables import Column, say, table, text
from bitwright.shown import Headline, Table, Tabled
from bitwright.technology.dram import Dram
from bitwright.technology.price import Price
from bitwright.units import number, scaled

if TYPE_CHECKING:
    from rich.console import Console

    from bitwright.technology import Technology


class TechnologyFields(TypedDict):
    """The prices of a node."""

    node_nm: Annotated[float, "in nm"]
    prices: Annotated[Mapping[str, Price], "by event"]
    dram: Annotated[Mapping[str, Dram], "by name"]
    sram: Annotated[str, "where macros come from"]


class TechnologyRecord(TypedDict):
    """Prices, with sources."""

    technology: Annotated[TechnologyFields, "the node's"]


class PriceLine(TypedDict):
    """What an event costs."""

    event: Annotated[str, "what happens"]
    energy_pj: Annotated[float | None, "of one event, in pJ; null where no source gives it"]
    area_um2: Annotated[float | None, "of the unit it happens in, in um2"]
    leakage_uw: Annotated[float | None, "of that unit, in uW"]
    unit: Annotated[str, "what one event is: operation, cycle, bit, um2"]
    kind: Annotated[str, "measured, published, derived or assumed"]
    source: Annotated[str, "the citation"]


class DramLine(TypedDict):
    """A DRAM."""

    name: Annotated[str, "as `dram` takes it"]
    gb_per_s: Annotated[float, "peak bandwidth of a channel (HBM: of a stack), in 10^9 bytes per second"]
    pj_per_bit: Annotated[float, "energy of a bit that is read or written, in pJ"]
    source: Annotated[str, "where both come from"]


class PriceList(Tabled):
    """The prices of a technology; frames: `prices`, one line each; `dram`."""

    TABLES: ClassVar[Mapping[str, Table]] = {
        "prices": Table(PriceLine, lambda found: found._prices()),
        "dram": Table(DramLine, lambda found: found._drams()),
    }

    def __init__(self, technology: "Technology") -> None:
        self.technology = technology

    def headline(self) -> Headline:
        """Energies of events."""
        prices = self.technology.prices.values()
        figures = [(price.event, scaled(price.energy_pj, "J", -12)) for price in prices]
        return Headline(f"prices at {self.technology.node_nm:g} nm", figures)

    def _prices(self) -> Iterator[PriceLine]:
        for price in self.technology.prices.values():
            yield {
                "event": price.event,
                "energy_pj": price.energy_pj,
                "area_um2": price.area_um2,
                "leakage_uw": price.leakage_uw,
                "unit": price.unit,
                "kind": price.kind,
                "source": price.source,
            }

    def _drams(self) -> Iterator[DramLine]:
        for name, each in self.technology.drams.items():
            yield {"name": name, "gb_per_s": each.gb_per_s, "pj_per_bit": each.pj_per_bit, "source": each.source}


def print_technology(found: "Technology", console: "Console") -> None:
    """Prices and DRAMs as tables; sources are in the file that `--yaml` prints."""
    prices = list(found.prices.values())
    console.print(
        table(
            [
                text("event", [price.event for price in prices]),
                Column(header="energy [pJ]", cells=[number(price.energy_pj) for price in prices]),
                Column(header="area [um2]", cells=[number(price.area_um2) for price in prices]),
                Column(header="leakage [uW]", cells=[number(price.leakage_uw) for price in prices]),
                text("of a", [price.unit for price in prices]),
                text("kind", [price.kind for price in prices]),
            ]
        )
    )
    drams = found.drams
    console.print(
        table(
            [
                text("DRAM", list(drams)),
                Column(header="GB/s", cells=[number(each.gb_per_s) for each in drams.values()]),
                Column(header="pJ per bit", cells=[number(each.pj_per_bit) for each in drams.values()]),
            ]
        )
    )
    say(console, *textwrap.wrap(f"Node: {found.node_nm:g} nm. SRAM: {_srams(found)}.", console.width))
    say(console, "Next: bitwright technology 28 --yaml > prices.yaml has every source, and can be changed")


def technology_record(found: "Technology") -> TechnologyRecord:
    """The same as JSON holds it, with sources."""
    return {
        "technology": {"node_nm": found.node_nm, "prices": found.prices, "dram": found.drams, "sram": _srams(found)}
    }


def _srams(found: "Technology") -> str:
    try:
        macros = found.sram_table
    except InputError as error:
        return str(error).rstrip(".")
    return f"{len(macros.points)} macros, {macros.source}"
