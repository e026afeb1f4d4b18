"""Reads price lists: YAML files of prices, each with unit, source and kind; of DRAM by name, and of SRAM macros.

A list names its node (`node_nm`), or continues a built-in one (`extends: 28`), adding to its events or replacing them.
Its DRAMs stand beside the built-in ones; its SRAM macros, rows in the order of `COLUMNS`, stand instead of them.
Unknown keys, keys given twice, negative numbers and prices without a source are refused, with the place and the remedy.
"""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError
from pydantic_core import ErrorDetails

from bitwright import strict_yaml
from bitwright.errors import InputError
from bitwright.settings import bounded, shown
from bitwright.technology.dram import Dram
from bitwright.technology.price import Kind, Price
from bitwright.technology.sram import COLUMNS, SramTable


@dataclasses.dataclass(frozen=True, kw_only=True)
class Listed:
    """What a price list says: node in nanometres, prices by event, DRAMs by name, SRAM macros if it has its own."""

    node_nm: float
    prices: dict[str, Price]
    drams: dict[str, Dram]
    srams: SramTable | None


DATA = Path(__file__).with_name("data")
BUILT_IN = {28: DATA / "28nm.yaml", 45: DATA / "45nm.yaml"}


def read(path: Path, *, name: str | None = None) -> Listed:
    """Read a price list.

    Parameters
    ----------
    path
        The YAML file.
    name
        What messages and prices call the file; its path as given, if left out.

    Returns
    -------
    Listed
        Node, prices, DRAMs and SRAM macros.

    Raises
    ------
    InputError
        The file cannot be read, is not such a list, or contradicts the node that it extends.
    """
    name = name or str(path)
    listed = _validated(strict_yaml.read(path, what="price list").data, name)
    own = {event: _price(event, entry, name) for event, entry in listed.prices.items()}
    if listed.extends is None:
        if listed.node_nm is None:
            raise InputError(f"{name}: give node_nm, or extends: with one of the nodes {known_nodes()}.")
        return _listed(listed, listed.node_nm, own, name)
    if listed.extends not in BUILT_IN:
        raise InputError(f"{name}: extends: {listed.extends} names no built-in node; known: {known_nodes()}.")
    inherited = read_built_in(listed.extends)
    node_nm = inherited.node_nm
    if listed.node_nm not in {None, node_nm}:
        raise InputError(
            f"{name}: node_nm is {listed.node_nm:g} but the list extends {node_nm:g} nm; "
            "prices of two nodes do not mix, so leave one of the two keys out."
        )
    return _listed(listed, node_nm, inherited.prices | own, name)


def _listed(listed: "_PriceList", node_nm: float, prices: dict[str, Price], name: str) -> Listed:
    """The list, its SRAM macros a full table."""
    drams = {
        key: Dram(gb_per_s=each.gb_per_s, pj_per_bit=each.pj_per_bit, source=each.source)
        for key, each in (listed.dram or {}).items()
    }
    srams = None
    if listed.sram is not None:
        points = {(row[0], row[1]): tuple(map(float, row[2:])) for row in listed.sram.macros}
        capacities, widths = ({point[side] for point in points} for side in (0, 1))
        widest = {width: [c for c in capacities if (c, width) in points] for width in widths}
        holes = [
            f"{c} bytes with {width} bits"
            for width, known in widest.items()
            for c in sorted(capacities)
            if min(known) < c < max(known) and c not in known
        ]
        if len(points) < len(listed.sram.macros) or holes:
            wrong = f"there is none of {holes[0]}" if holes else "one of them is given twice"
            raise InputError(f"{name}, sram.macros: a table of capacities by widths is expected, and {wrong}.")
        srams = SramTable(node_nm=node_nm, points=points, source=listed.sram.source)
    return Listed(node_nm=node_nm, prices=prices, drams=drams, srams=srams)


@cache
def read_built_in(node_nm: int) -> Listed:
    """The list of one of `BUILT_IN`'s nodes; read once."""
    return read(BUILT_IN[node_nm], name=BUILT_IN[node_nm].name)


def known_nodes() -> str:
    """The built-in nodes, for messages."""
    return ", ".join(str(node) for node in sorted(BUILT_IN))


def _not_a_boolean(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError("a number is expected, not true or false")
    return value


Number = Annotated[float, BeforeValidator(_not_a_boolean), Field(ge=0, allow_inf_nan=False), AfterValidator(bounded)]
Positive = Annotated[float, BeforeValidator(_not_a_boolean), Field(gt=0, allow_inf_nan=False), AfterValidator(bounded)]
Count = Annotated[int, BeforeValidator(_not_a_boolean), Field(gt=0), AfterValidator(bounded)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    energy_pj: Number | None = None
    area_um2: Number | None = None
    leakage_uw: Number | None = None
    unit: Text
    node_nm: Positive | None = None
    voltage_v: Positive | None = None
    source: Text
    kind: Kind
    note: Text | None = None


class _DramEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    gb_per_s: Positive
    pj_per_bit: Number
    source: Text


Macro = tuple[Count, Count, Positive, Positive, Number, Positive, Positive, Positive]


class _SramEntry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Text
    macros: Annotated[list[Macro], Field(min_length=1)]


class _PriceList(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    node_nm: Positive | None = None
    extends: Annotated[int, BeforeValidator(_not_a_boolean)] | None = None
    prices: dict[Text, _Entry]
    dram: dict[Text, _DramEntry] | None = None
    sram: _SramEntry | None = None


def _validated(content: object, name: str) -> _PriceList:
    if not isinstance(content, dict):
        raise InputError(f"{name} is not a price list: a mapping with the key 'prices' is expected.")
    try:
        return _PriceList.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{name}, {_described(error.errors()[0])}.") from error


def _described(error: ErrorDetails) -> str:
    """One clause that says where a price list is wrong, what is there and what was expected."""
    place = ".".join(str(part) for part in error["loc"] if part != "[key]") or "top level"
    if error["type"] == "extra_forbidden":
        inner: dict[str, type[BaseModel]] = {"prices": _Entry, "dram": _DramEntry, "sram": _SramEntry}
        model = inner.get(str(error["loc"][0]), _PriceList) if len(error["loc"]) > 1 else _PriceList
        return f"{place}: no such key; known: {', '.join(model.model_fields)}"
    if error["type"] == "missing":
        return f"{place}: {'rows are ' + ', '.join(COLUMNS) if 'macros' in error['loc'] else 'this key is required'}"
    return f"{place}: {error['msg'][:1].lower()}{error['msg'][1:]}, and {shown(error['input'])} was given"


def _price(event: str, entry: _Entry, name: str) -> Price:
    if entry.energy_pj is None and entry.area_um2 is None and entry.leakage_uw is None:
        raise InputError(f"{name}, prices.{event}: give at least one of energy_pj, area_um2 and leakage_uw.")
    return Price(
        event=event,
        energy_pj=entry.energy_pj,
        area_um2=entry.area_um2,
        leakage_uw=entry.leakage_uw,
        unit=entry.unit,
        node_nm=entry.node_nm,
        voltage_v=entry.voltage_v,
        source=entry.source,
        kind=entry.kind,
        note=entry.note,
        file=name,
    )
