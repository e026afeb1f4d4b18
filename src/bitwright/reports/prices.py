"""A technology in words: its prices, its DRAMs, and where its SRAM macros come from."""

import textwrap
from typing import TYPE_CHECKING, Any

from bitwright.errors import InputError
from bitwright.reports.tables import Column, say, table, text
from bitwright.units import number

if TYPE_CHECKING:
    from rich.console import Console

    from bitwright.technology import Technology


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


def technology_record(found: "Technology") -> dict[str, Any]:
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
