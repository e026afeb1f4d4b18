"""What was exported: files, sites, what a run time makes of it."""

import dataclasses
import math
from pathlib import Path

from bitwright.exchange.export.agreement import Agreement
from bitwright.shown import Headline, Shown
from bitwright.units import number
from bitwright.words import counted


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Exported(Shown):
    """What `export` wrote.

    Attributes
    ----------
    network, method, form : str
        What was exported, by which plan (empty: by none), as what.
    path : Path
        The file, or the folder.
    files : tuple of str
        Written: the file's own name, or names within the folder.
    written_bytes : int
        Of all files.
    sites : tuple of str
        Whose integers are in it.
    left_out : tuple of str
        Sites that are not: float ones, and those whose results nobody reads.
    input : str
        What the network ran on, in a phrase.
    agreement : Agreement or None
        With onnxruntime; None where it was not run.
    notes : tuple of str
        What has to be said of it.
    """

    network: str
    method: str
    form: str
    path: Path
    files: tuple[str, ...]
    written_bytes: int
    sites: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    input: str = ""
    agreement: Agreement | None = None
    notes: tuple[str, ...] = ()

    def headline(self) -> Headline:
        """Where it is, how much it is, and how it agrees."""
        figures = [
            ("in", str(self.path)),
            ("sites", f"{len(self.sites):,}"),
            ("files", f"{len(self.files):,}, {self.written_bytes:,} bytes"),
        ]
        if self.agreement is not None:
            figures += agreement_figures(self.agreement)
        return Headline(" as ".join([of_plan(self.network, self.method), self.form]), figures)


def of_plan(network: str, method: str) -> str:
    """A network by a plan, where there is one."""
    return f"{network} by {method}" if method else network


def agreement_figures(agreement: Agreement) -> list[tuple[str, str]]:
    """How onnxruntime agrees, in words."""
    equal = "all" if agreement.off_by == 0 else f"{100 * agreement.equal_codes:.4f} % of"
    where = "" if agreement.off_by == 0 else f"; off by {agreement.off_by}, first at {agreement.first_site}"
    return [
        ("codes equal in onnxruntime", f"{equal} {agreement.codes:,}{where}"),
        ("output", f"{_decibels(agreement.sqnr_db)}; largest difference {number(agreement.max_difference)}"),
        ("output of fused kernels", _fused(agreement)),
        ("compared on", counted(agreement.batches, "input")),
    ]


def _fused(agreement: Agreement) -> str:
    if agreement.fused_sqnr_db is None:
        return f"none, since onnxruntime's own optimizations fail (disable them): {agreement.failure}"
    return _decibels(agreement.fused_sqnr_db)


def _decibels(value: float) -> str:
    return f"SQNR {value:.1f} dB" if math.isfinite(value) else "equal" if value > 0 else "nothing in common"
