"""An export in words and as a record: where it is, what is in it, how a run time agrees."""

import dataclasses
from typing import TYPE_CHECKING, Any

from bitwright.exchange.export.exported import Exported, agreement_figures, of_plan
from bitwright.reports.tables import say
from bitwright.studies.provenance import Provenance
from bitwright.words import counted

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 3
"""Sites that are left out, by name, in words; the record has all."""


def print_export(exported: Exported, console: "Console") -> None:
    """What was written, then how onnxruntime agrees."""
    say(console, f"{of_plan(exported.network, exported.method)} as {exported.form}.")
    size = f"{counted(len(exported.files), 'file')} of {exported.written_bytes:,} bytes"
    say(console, f"{counted(len(exported.sites), 'site')} in {size}.")
    if exported.left_out:
        names = ", ".join(exported.left_out[:SHOWN]) + (", ..." if len(exported.left_out) > SHOWN else "")
        say(console, f"Left out: {counted(len(exported.left_out), 'site')} ({names}), float or read by nobody.")
    if exported.input:
        say(console, f"Run on {exported.input}.")
    if exported.agreement is not None:
        say(console, "; ".join(f"{name}: {figure}" for name, figure in agreement_figures(exported.agreement)) + ".")
    for note in exported.notes:
        say(console, f"Note: {note}.")


def export_record(exported: Exported, made: Provenance) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "model": exported.network,
        "method": exported.method or None,
        "format": exported.form,
        "path": str(exported.path),
        "files": list(exported.files),
        "bytes": exported.written_bytes,
        "sites": list(exported.sites),
        "left_out": list(exported.left_out),
        "input": exported.input,
        "agreement": None if exported.agreement is None else dataclasses.asdict(exported.agreement),
        "notes": list(exported.notes),
        "provenance": made,
    }
