"""A technology: the prices of one node, and its SRAM macros.

Everything an accelerator charges energy, area or leakage for is looked up here by name.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from bitwright import files
from bitwright.errors import InputError, MissingPriceError, unknown_name
from bitwright.technology import price_file
from bitwright.technology.dram import Dram, drams
from bitwright.technology.price import Price
from bitwright.technology.sram import Sram, SramTable, built_in, least_bytes, sram
from bitwright.technology.synthesized import SynthesizedTable, built_in_circuits

GIVEN = "given by the user"
Prices = Literal["published", "synthesized"]
"""Where prices of circuits come from that have RTL here."""


def load(node_nm: int | str | Path, prices: Prices = "published") -> "Technology":
    """The prices of a built-in node, or of a price list of your own.

    Parameters
    ----------
    node_nm
        28 or 45 (also as text, "28"), or the path of a YAML price list.
    prices
        `published`: as the list says; `synthesized`: circuits that have RTL here by their synthesis, all others as the
        list says.

    Raises
    ------
    InputError
        An unknown node, or a file that is missing or not a price list.

    Examples
    --------
    >>> load(45).price("add_int32").energy()
    0.1
    """
    text = str(node_nm).strip()
    if isinstance(node_nm, int | float) or text.isdigit():
        if text not in {str(node) for node in price_file.BUILT_IN}:
            raise unknown_name("technology node", text, map(str, price_file.BUILT_IN))
        listed = price_file.read_built_in(int(text))
        name = price_file.BUILT_IN[int(text)].name
    else:
        path = Path(node_nm)
        if not files.is_there(path):
            raise InputError(
                f"no technology {text!r}: it is neither a known node ({price_file.known_nodes()}) "
                "nor a YAML file that exists."
            )
        listed = price_file.read(path)
        name = str(path)
    return Technology(
        node_nm=listed.node_nm,
        file=name,
        prices=MappingProxyType(listed.prices),
        drams=MappingProxyType({**drams(), **listed.drams}),
        srams=listed.srams,
        synthesized=built_in_circuits() if prices == "synthesized" else None,
    )


@dataclass(frozen=True, kw_only=True)
class Technology:
    """Prices of one node.

    Attributes
    ----------
    node_nm
        The node, in nanometres.
    file
        The price list that was loaded.
    prices
        The prices by event; `price` is the way to ask for one that must exist.
    drams
        DRAM technologies by name.
    srams
        The list's own SRAM macros; None: those of the built-in table for the node.
    synthesized
        The table that circuits with RTL are priced by; None: nothing is.
    """

    node_nm: float
    file: str
    prices: Mapping[str, Price] = field(hash=False, repr=False)
    drams: Mapping[str, Dram] = field(hash=False, repr=False, default_factory=drams)
    srams: SramTable | None = field(hash=False, repr=False, default=None)
    synthesized: SynthesizedTable | None = field(hash=False, repr=False, default=None)

    def price(self, event: str) -> Price:
        """The price of `event`.

        Raises
        ------
        MissingPriceError
            The list has no such event; the message says how to add it.
        """
        if event not in self.prices:
            known = unknown_name("price", event, self.prices)
            raise MissingPriceError(
                f"{self.file} has no price for {event!r}, and nothing is counted as free: "
                f"add it under 'prices:' in a YAML list that says 'extends: {self.node_nm:g}' and load that list, "
                f"or call with_price; {known}"
            )
        return self.prices[event]

    def with_price(
        self,
        event: str,
        *,
        energy_pj: float | None = None,
        area_um2: float | None = None,
        leakage_uw: float | None = None,
        unit: str | None = None,
    ) -> "Technology":
        """A technology in which parts of one price are the user's; the parts left out stay as they are.

        Parameters
        ----------
        event
            The event; a new one needs `unit` too, so that a misspelt name is not taken for a new one.
        energy_pj, area_um2, leakage_uw
            The new parts, at least one.
        unit
            What one event is ("operation", "bit", ...).

        Raises
        ------
        InputError
            No part is given, a part is negative or not finite, or the event is unknown and has no unit.
        """
        parts = {"energy_pj": energy_pj, "area_um2": area_um2, "leakage_uw": leakage_uw}
        given = {part: float(value) for part, value in parts.items() if value is not None}
        if not given:
            raise InputError(f"with_price({event!r}) needs at least one of {', '.join(parts)}.")
        for part, value in given.items():
            if not (math.isfinite(value) and value >= 0):
                raise InputError(f"{part} of {event!r} must be a finite number of at least 0, and {value} was given.")
        changed = _changed(self.prices.get(event), event, given, unit, self.prices)
        return replace(self, prices=MappingProxyType({**self.prices, event: changed}))

    def sram(self, capacity_bytes: int, width_bits: int) -> Sram:
        """The SRAM macro of this node; see `bitwright.technology.sram.sram`."""
        return sram(self.sram_table, capacity_bytes, width_bits)

    def least_sram_bytes(self, width_bits: int) -> int:
        """Capacity of the smallest SRAM macro of that width; see `bitwright.technology.sram.least_bytes`."""
        return least_bytes(self.sram_table, width_bits)

    @property
    def sram_table(self) -> SramTable:
        """The macros that there are. Raises `InputError` where none is known for the node."""
        return built_in(self.node_nm) if self.srams is None else self.srams

    def dram(self, name: str) -> Dram:
        """The DRAM technology of that name. Raises `InputError` with the nearest if there is none."""
        if name not in self.drams:
            raise unknown_name("DRAM technology", name, self.drams)
        return self.drams[name]


def _changed(
    old: Price | None, event: str, given: Mapping[str, float], unit: str | None, known: Mapping[str, Price]
) -> Price:
    if old is None:
        if unit is None:
            error = unknown_name("price", event, known)
            raise InputError(f"{error} If {event!r} is meant to be new, give its unit too.")
        return Price(
            event=event,
            energy_pj=given.get("energy_pj"),
            area_um2=given.get("area_um2"),
            leakage_uw=given.get("leakage_uw"),
            unit=unit,
            source=GIVEN,
            kind="assumed",
            file=GIVEN,
        )
    kept = [
        part for part in ("energy_pj", "area_um2", "leakage_uw") if getattr(old, part) is not None and part not in given
    ]
    rest = f"; {', '.join(kept)}: {old.source}" if kept else ""
    return replace(
        old,
        energy_pj=given.get("energy_pj", old.energy_pj),
        area_um2=given.get("area_um2", old.area_um2),
        leakage_uw=given.get("leakage_uw", old.leakage_uw),
        unit=unit or old.unit,
        source=f"{', '.join(given)}: {GIVEN}{rest}",
        kind="assumed",
    )
