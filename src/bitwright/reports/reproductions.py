"""Reproductions of whichever system: each has its own tables, and all have rows of claims."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bitwright.reports.apsq import apsq_record, print_apsq
from bitwright.reports.drift import drift_record, print_drift
from bitwright.reports.lp import lp_record, print_lp
from bitwright.reports.panacea import panacea_record, print_panacea

if TYPE_CHECKING:
    from rich.console import Console

PRINTERS: Mapping[str, Callable[..., None]] = {
    "panacea": print_panacea,
    "apsq": print_apsq,
    "lp": print_lp,
    "drift": print_drift,
}
RECORDS: Mapping[str, Callable[[Any], Any]] = {
    "panacea": panacea_record,
    "apsq": apsq_record,
    "lp": lp_record,
    "drift": drift_record,
}


def print_reproduction(found: Any, console: "Console", *, sites: bool) -> None:
    """What was measured of `found.system`."""
    PRINTERS[found.system](found, console, sites=sites)


def reproduction_record(found: Any) -> Mapping[str, Any]:
    """The same for JSON: `rows` of claim, source, published, measured, conditions, reason."""
    return RECORDS[found.system](found)
