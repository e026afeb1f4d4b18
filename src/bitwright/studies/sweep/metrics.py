"""Columns of results that a sweep can aim at, and those that it adds to a comparison's row.

`energy_delay_pj_us` is energy times latency; `score_loss` is by how much a score is worse than the float network's, in
the score's unit, whichever way is up.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

from bitwright.errors import unknown_name
from bitwright.studies.reader import Reader
from bitwright.studies.row import Row

MINIMISE, MAXIMISE = "minimise", "maximise"
DIRECTIONS = {MINIMISE: MINIMISE, MAXIMISE: MAXIMISE, "minimize": MINIMISE, "maximize": MAXIMISE}
SCORES = ("score", "score_loss", "difference")
COSTS = (
    "cycles",
    "compute_cycles",
    "latency_us",
    "total_energy_pj",
    "energy_delay_pj_us",
    "area_um2",
    "tops_per_watt",
    "utilization",
    "executed_share",
    "supported_share",
)
ALIASES = {"energy_pj": "total_energy_pj"}
PARTS = re.compile(r"energy_[a-z0-9_]+_pj|[a-z0-9_]+_bytes")  # which there are, machines decide
DEFAULT = {"cycles": MINIMISE, "total_energy_pj": MINIMISE}
TIMES = ("seconds", "float_seconds")  # of this computer: not the same twice, so not a result


def read_objectives(reader: Reader, given: Any) -> dict[str, str]:
    """Column -> direction, from `objectives` of a study; cycles and energy if there are none."""
    if given is None:
        return dict(DEFAULT)
    if not isinstance(given, Mapping) or not given:
        raise reader.error(("objectives",), f"objectives map columns to {MINIMISE} or {MAXIMISE}, not {given!r}")
    found: dict[str, str] = {}
    for key, value in given.items():
        place = ("objectives", str(key))
        name = ALIASES.get(str(key), str(key))
        if name not in (*COSTS, *SCORES) and not PARTS.fullmatch(name):
            known = (*COSTS, *SCORES, *ALIASES)
            raise reader.error(place, str(unknown_name("objective", str(key), known)))
        if name in found:
            raise reader.error(place, f"{key} is the same objective as {name}; remove one")
        found[name] = DIRECTIONS[reader.choice(place, value, tuple(DIRECTIONS))]
    return found


def measured(row: Row) -> dict[str, Any]:
    """A comparison's row without names and times, with the columns that are a sweep's own."""
    record = row.record()
    for name in ("network", "method", "accelerator", *TIMES):
        record.pop(name, None)
    energy, latency = record.get("total_energy_pj"), record.get("latency_us")
    if energy is not None and latency is not None:
        record["energy_delay_pj_us"] = energy * latency
    if row.evaluation is not None:
        record["score_loss"] = _loss(row.evaluation.score)
    return record


def values_of(record: Mapping[str, Any], objectives: Mapping[str, str]) -> list[float] | None:
    """The objectives' values in order; None where one of them is missing or is not finite."""
    values = [record.get(name) for name in objectives]
    if any(not isinstance(value, int | float) or not math.isfinite(value) for value in values):
        return None
    return [float(value) for value in values if value is not None]


def _loss(score: Any) -> float | None:
    if score.difference is None or not math.isfinite(score.difference):
        return None
    return -score.difference if score.higher_is_better else score.difference
