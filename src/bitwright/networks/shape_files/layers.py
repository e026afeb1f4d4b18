"""What the readers of shape files share: sizes that are checked, names that differ, notes, and a network of it all."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from bitwright.errors import InputError
from bitwright.networks.network import Network
from bitwright.networks.sites import Site

LARGEST_SIZE = 2**31 - 1
LONGEST_NAME = 200
NAMES_SHOWN = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """A product of a file: its site, whose name may be another layer's too, and where it stands."""

    site: Site
    where: str


def network_of(layers: Sequence[Layer], *, name: str, source: str, notes: Sequence[str] = ()) -> Network:
    """The network of a file's products.

    Raises
    ------
    InputError
        There are none.
    """
    if not layers:
        raise InputError(f"{source} has no products, only what is none; a network needs at least one.")
    taken: set[str] = set()
    again: list[str] = []
    sites = []
    for layer in layers:
        name_here = layer.site.name
        if name_here in taken:
            again.append(name_here)
            name_here = _another(name_here, taken)
        taken.add(name_here)
        sites.append(dataclasses.replace(layer.site, name=name_here))
    if again:
        notes = [*notes, f"{listed(again)} stand for several layers, which are told apart by .2, .3 and so on"]
    return Network(name=name, kind="gemms", sites=tuple(sites), source=source, notes=tuple(notes))


def _another(name: str, taken: set[str]) -> str:
    """A name beside those that are taken."""
    number = 2
    while f"{name}.{number}" in taken:
        number += 1
    return f"{name}.{number}"


def listed(names: Sequence[str]) -> str:
    """The first few of some names, and how many more there are."""
    different = list(dict.fromkeys(names))
    more = f" and {len(different) - NAMES_SHOWN} more" if len(different) > NAMES_SHOWN else ""
    return f"{', '.join(different[:NAMES_SHOWN])}{more}"


def name_of(given: Any, otherwise: str) -> str:
    """A layer's name as results may show it: without what cannot be printed, and not without end.

    Examples
    --------
    >>> name_of("  conv 1 ", "layer 3"), name_of("", "layer 3"), name_of(None, "layer 3")
    ('conv 1', 'layer 3', 'layer 3')
    """
    text = "".join(each for each in str(given) if each.isprintable()).strip() if isinstance(given, str | int) else ""
    return text[:LONGEST_NAME] or otherwise


def size_of(given: Any, what: str, *, least: int = 1) -> int:
    """A size, as a number or in digits.

    Raises
    ------
    ValueError
        It is no whole number from `least` to `LARGEST_SIZE`.
    """
    text = given.strip() if isinstance(given, str) else given
    if isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= len(str(LARGEST_SIZE)):
        text = int(text)
    if isinstance(text, bool) or not isinstance(text, int) or not least <= text <= LARGEST_SIZE:
        raise ValueError(f"{what} is {brief(given)}; a whole number from {least} to {LARGEST_SIZE:,} is expected")
    return text


def brief(value: Any) -> str:
    """A value as a message shows it, which is short and can be printed whatever was given.

    Examples
    --------
    >>> brief("B"), brief(10**5000)
    ("'B'", 'a number of 16610 bits')
    """
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list | tuple | set | bytes):
        return f"a list of {len(value)}" if isinstance(value, list) else f"a {type(value).__name__}"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."
