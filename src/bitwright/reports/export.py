"""An export in words and as a record: where it is, what is in it, how a run time agrees."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

from bitwright.exchange.export.agreement import Agreement
from bitwright.exchange.export.exported import Exported, agreement_figures, of_plan
from bitwright.reports.tables import say
from bitwright.studies.provenance import Provenance
from bitwright.words import counted

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 3
"""Sites that are left out, by name, in words; the record has all."""


class ExportRecord(TypedDict):
    """What was written, and how a run time agrees."""

    model: Annotated[str, "the network's name"]
    method: Annotated[str | None, "of the plan; null: shapes alone"]
    format: Annotated[str, "as what"]
    path: Annotated[str, "the file, or the folder"]
    files: Annotated[Sequence[str], "the file's own name, or names within the folder"]
    bytes: Annotated[int, "of all files"]
    sites: Annotated[Sequence[str], "whose integers are in it"]
    left_out: Annotated[Sequence[str], "sites that are not: float ones, and those whose results nobody reads"]
    input: Annotated[str, "what the network ran on"]
    agreement: Annotated[Agreement | None, "with onnxruntime; null where it was not run"]
    notes: Annotated[Sequence[str], "what has to be said of it"]
    provenance: Annotated[Provenance, "command, seed, versions"]


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


def export_record(exported: Exported, made: Provenance) -> ExportRecord:
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
        "agreement": exported.agreement,
        "notes": list(exported.notes),
        "provenance": made,
    }
