"""What was exported: files, sites, what a run time makes of it."""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, TypedDict

from bitwright.exchange.export.agreement import Agreement
from bitwright.shown import Headline, Table, Tabled
from bitwright.units import number
from bitwright.words import counted


class ExportedSiteLine(TypedDict):
    """A site of the network."""

    site: Annotated[str, "its name"]
    exported: Annotated[bool, "whether its integers are in the file"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Exported(Tabled):
    """What `export` wrote; the frame `sites` says of each site whether it is in it.

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

    TABLES: ClassVar[Mapping[str, Table]] = {"sites": Table(ExportedSiteLine, lambda found: found._site_lines())}

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

    def _site_lines(self) -> Iterator[ExportedSiteLine]:
        for name in self.sites:
            yield {"site": name, "exported": True}
        for name in self.left_out:
            yield {"site": name, "exported": False}


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
