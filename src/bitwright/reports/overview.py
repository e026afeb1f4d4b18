"""All systems in one table: published headlines beside measured figures, then conditions and reasons, row by row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, TypedDict

from bitwright.reports.claims import ClaimRecord, claim_record, conditions_line, figure
from bitwright.reports.tables import Column, say, table, text
from bitwright.studies.provenance import Provenance
from bitwright.studies.reproduce.overview import Overview

if TYPE_CHECKING:
    from rich.console import Console


class SystemClaim(ClaimRecord):
    """A published headline beside what is measured here."""

    system: Annotated[str, "whose it is"]


class SystemRecord(TypedDict):
    """What one system has to show."""

    system: Annotated[str, "its name"]
    networks: Annotated[Sequence[str], "what was measured"]
    other_claims: Annotated[int, "that are no headlines: what `reproduce SYSTEM` shows beyond these"]
    failures: Annotated[Sequence[str], "what went wrong"]


class OverviewRecord(TypedDict):
    """The headlines of all systems."""

    rows: Annotated[list[SystemClaim], "one each"]
    systems: Annotated[list[SystemRecord], "what each measured"]
    substrate: Annotated[str, "what the machines stand on"]
    full: Annotated[bool, "whether each system measured all networks of its own"]
    provenance: Annotated[Provenance, "command, seed, versions"]


def overview_record(found: Overview) -> OverviewRecord:
    """The rows of all systems, each with its system, and what each section measured."""
    return {
        "rows": [
            {"system": section.system, **claim_record(claim)}
            for section in found.sections
            for claim in section.headlines
        ],
        "systems": [
            {
                "system": section.system,
                "networks": section.networks,
                "other_claims": section.others,
                "failures": section.failures,
            }
            for section in found.sections
        ],
        "substrate": found.substrate,
        "full": found.full,
        "provenance": found.provenance,
    }


def print_overview(found: Overview, console: "Console") -> None:
    """One table, numbered; under it what each row was measured on, and why it is what it is."""
    rows = [(section, claim) for section in found.sections for claim in section.headlines]
    console.print(
        table(
            [
                text("", [f"{i}" for i in range(1, len(rows) + 1)]),
                text("system", [section.system for section, _ in rows]),
                text("published headline", [claim.claim for _, claim in rows]),
                Column(header="published", cells=[figure(claim.published, claim) for _, claim in rows]),
                Column(header="measured", cells=[figure(claim.measured, claim) for _, claim in rows]),
                text("source", [claim.source for _, claim in rows]),
            ]
        )
    )
    for i, (_, claim) in enumerate(rows, 1):
        conditions = f" Measured on: {conditions_line(claim.conditions)}." if claim.conditions else ""
        say(console, f"({i}) {claim.reason}{conditions}")
    for section in found.sections:
        more = f"; further claims: {section.others}" if section.others else ""
        say(
            console,
            f"{section.system}: {', '.join(section.networks)} here. Tables behind the figures{more}; see: "
            f"bitwright reproduce {section.system}",
            *(f"{section.system}: failed: {failure}" for failure in section.failures),
        )
    if not found.full:
        say(console, "Networks and samples are few, to be quick: --full takes each system's own.")
