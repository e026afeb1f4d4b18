"""Weights that no sample reached, beside those that some did: the other experts of a mixture.

Experts are siblings where their weights are slices of one parameter along its first axis (`experts.w[3]`), or modules
of one list (`experts.3.w`) with weights of equal shape and memory layout.
"""

import dataclasses
import re
from collections.abc import Mapping
from typing import TypeVar

import torch

from bitwright.networks.ownership import Ownership, part_of
from bitwright.networks.sites import Site

Kept = TypeVar("Kept")
SLICE = re.compile(r"\[(\d+)(,[^\]]*)?\]")
"""One index along the first axis, whatever is sliced of the others."""
NUMBER = re.compile(r"(?<![^.])\d+(?![^.:#\[])")
"""A number that is a whole part of a dotted name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sibling:
    """A site that no sample reached.

    Attributes
    ----------
    site : Site
        As its siblings', with its own name.
    w : torch.Tensor
        Its weight, laid out as its siblings'.
    of : tuple of str
        The siblings that were reached.
    """

    site: Site
    w: torch.Tensor
    of: tuple[str, ...]


def family_of(name: str) -> str | None:
    """What sites that are siblings have in common: the name without the expert's index; None without one.

    Examples
    --------
    >>> family_of("layers.0.experts:w[3]"), family_of("layers.0.experts.3.up"), family_of("head")
    ('layers.0.experts:w[*]', 'layers.0.experts.*.up', None)
    """
    if SLICE.search(name):
        return SLICE.sub(r"[*\2]", name, count=1)
    numbers = list(NUMBER.finditer(name))
    return f"{name[: numbers[-1].start()]}*{name[numbers[-1].end() :]}" if numbers else None


def unreached(module: torch.nn.Module, reached: Mapping[str, tuple[Site, torch.Tensor]]) -> list[Sibling]:
    """Every site that samples did not reach and a sibling of which they did, by the reached ones' sites and weights."""
    owner = Ownership(module)
    parameters = dict(module.named_parameters())
    names = {id(parameter): name for name, parameter in parameters.items()}
    families: dict[str, list[str]] = {}
    found: dict[str, Sibling] = {}
    for name in reached:
        family = family_of(name)
        if family is not None:
            families.setdefault(family, []).append(name)
    for members in families.values():
        name = members[0]
        site, w = reached[name]
        base = owner.stored(w)
        if base is None or id(base) not in names:
            continue
        others = _slices(name, base, w) if SLICE.search(name) else _modules(name, names[id(base)], parameters, base, w)
        for other, weight in others.items():
            if other not in reached:
                own = dataclasses.replace(site, name=other)
                found[other] = Sibling(site=own, w=weight, of=tuple(members))
    return list(found.values())


def placed(found: Mapping[str, Kept], missing: Mapping[str, tuple[Sibling, Kept]]) -> dict[str, Kept]:
    """What was kept of every site, those that were not reached behind the last of their siblings."""
    behind: dict[str, dict[str, Kept]] = {}
    for name, (sibling, kept) in missing.items():
        behind.setdefault(sibling.of[-1], {})[name] = kept
    result: dict[str, Kept] = {}
    for name, kept in found.items():
        result |= {name: kept, **behind.get(name, {})}
    return result


def _slices(name: str, base: torch.Tensor, w: torch.Tensor) -> dict[str, torch.Tensor]:
    """All slices of a parameter along its first axis, by name."""
    here = SLICE.fullmatch(part_of(w, base))
    span = sum((size - 1) * step for size, step in zip(w.shape, w.stride(), strict=True))
    if here is None or span >= base.stride(0):  # of several rows
        return {}
    return {
        SLICE.sub(rf"[{index}\2]", name, count=1): _moved(w, base, (index - int(here[1])) * base.stride(0))
        for index in range(len(base))
    }


def _modules(
    name: str, own: str, parameters: Mapping[str, torch.Tensor], base: torch.Tensor, w: torch.Tensor
) -> dict[str, torch.Tensor]:
    """The weights of all modules of a list, by the names of their sites."""
    place = [*NUMBER.finditer(name)][-1]
    inside = [*NUMBER.finditer(own)]
    if not inside or inside[-1].span() != place.span():
        return {}
    pattern = re.compile(re.escape(own[: place.start()]) + r"(\d+)" + re.escape(own[place.end() :]))
    found = {}
    for other, parameter in parameters.items():
        match = pattern.fullmatch(other)
        if match and parameter.shape == base.shape and parameter.stride() == base.stride():
            offset = int(parameter.storage_offset()) - int(base.storage_offset())
            found[f"{name[: place.start()]}{match[1]}{name[place.end() :]}"] = _moved(w, parameter, offset)
    return found


def _moved(w: torch.Tensor, base: torch.Tensor, offset: int) -> torch.Tensor:
    """What a view of some memory is of `base`, so many elements further on."""
    return base.detach().as_strided(w.shape, w.stride(), int(w.storage_offset()) + offset)
