"""What every site costs at every point that has costs, laid out for the browser to draw."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from bitwright.studies.frontier import OperatingPoint
from bitwright.studies.frontier.drawing import in_short
from bitwright.studies.row import Row
from bitwright.studies.simulate import Simulation, SiteCost
from bitwright.units import PREFIXES, exponent

DIGITS = 5
"""Significant digits of the figures of a site."""
PICO = -12


@dataclasses.dataclass(frozen=True, kw_only=True)
class Costed:
    """A point with costs, and how it is called."""

    name: str
    method: str
    simulation: Simulation


def costed(rows: Sequence[Row]) -> list[Costed]:
    """Points with costs, in the order of rows, each once."""
    found = [
        Costed(name=_name(row), method=row.method, simulation=row.simulation)
        for row in rows
        if row.simulation is not None
    ]
    return list({each.name: each for each in found}.values())


def _name(row: Row) -> str:
    return f"{row.method} on {row.accelerator}"


def site_names(points: Sequence[Costed]) -> list[str]:
    """All sites that any of the points has, in the order of execution."""
    return list(dict.fromkeys(entry.site.name for point in points for entry in point.simulation.sites))


def along(point: Costed, names: Sequence[str], get: Callable[[SiteCost], Any]) -> list[Any]:
    """A figure of each site's first execution; None where the machine did not run it."""
    entries: dict[str, SiteCost] = {}
    for entry in point.simulation.sites:
        entries.setdefault(entry.site.name, entry)
    return [get(entries[name]) if name in entries else None for name in names]


def layers(points: Sequence[Costed], first: Sequence[OperatingPoint | None] = ()) -> dict[str, Any] | None:
    """Sites, and per point cycles, energies by component, shares and formats; None where nothing has costs.

    `first` are the two that are shown side by side at first.
    """
    if not points:
        return None
    names = site_names(points)
    places = {point.name: i for i, point in enumerate(points)}
    unit, power = _unit(points)
    wanted = [places[_name(point.row)] for point in first if point is not None]
    shown, beside = (*wanted, *range(len(points)), 0)[:2]
    return {
        "sites": names,
        "shapes": _shapes(points, names),
        "shown": shown,
        "beside": beside,
        "unit": unit,
        "points": [_point(point, names, 10.0**power) for point in points],
    }


def _shapes(points: Sequence[Costed], names: Sequence[str]) -> list[str]:
    found: dict[str, str] = {}
    for point in points:
        for entry in point.simulation.sites:
            site = entry.site
            found.setdefault(site.name, f"{site.op} {site.groups} x {site.m} x {site.k} x {site.n}")
    return [found[name] for name in names]


def _unit(points: Sequence[Costed]) -> tuple[str, int]:
    """The unit of all sites' energies, and the power of ten of a picojoule in it."""
    totals = [entry.cost.total_energy_pj for point in points for entry in point.simulation.sites]
    prefix = exponent(totals, PICO)
    return f"{PREFIXES[prefix]}J", PICO - prefix


def _point(point: Costed, names: Sequence[str], scale: float) -> dict[str, Any]:
    components = list(point.simulation.cost.energy_pj)
    return {
        "name": point.name,
        "short": in_short(point.name),
        "cycles": along(point, names, lambda entry: entry.cost.cycles),
        "energy": {
            part: along(point, names, lambda entry, part=part: short(scale * entry.cost.energy_pj.get(part, 0.0)))  # type: ignore[misc]
            for part in components
        },
        "executed": along(point, names, lambda entry: short(entry.cost.macs_executed / max(entry.cost.macs_dense, 1))),
        "types": along(point, names, lambda entry: f"{entry.plan.x_type}, {entry.plan.w_type}"),
    }


def short(value: float) -> float:
    """So many digits as a picture shows."""
    return float(f"{value:.{DIGITS}g}")
