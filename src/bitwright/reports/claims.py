"""Published claims beside what was measured: one table, then the reason for each difference."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

from bitwright.reports.tables import Column, say, table, text
from bitwright.studies.reproduce.claims import Claim, ClaimFigures, claim_figures
from bitwright.units import DASH, number

if TYPE_CHECKING:
    from rich.console import Console


class ClaimRecord(ClaimFigures):
    """A published claim beside what is measured here."""

    conditions: Annotated[Mapping[str, str], "what was measured: network, input, machines, choices"]


def claim_record(claim: Claim) -> ClaimRecord:
    """One row."""
    return {**claim_figures(claim), "conditions": claim.conditions}


def print_claims(claims: Sequence[Claim], console: "Console") -> None:
    """All rows, numbered, and under the table why each measured figure is what it is."""
    columns = [
        text("", [f"{i}" for i in range(1, len(claims) + 1)]),
        text("claim", [claim.claim for claim in claims]),
        Column(header="published", cells=[figure(claim.published, claim) for claim in claims]),
        Column(header="measured", cells=[figure(claim.measured, claim) for claim in claims]),
        text("source", [claim.source for claim in claims]),
    ]
    console.print(table(columns))
    for i, claim in enumerate(claims, 1):
        say(console, f"({i}) {claim.reason}")


def conditions_line(conditions: Mapping[str, str]) -> str:
    """Conditions in one line."""
    return "; ".join(f"{key.replace('_', ' ')}: {value}" for key, value in conditions.items())


def figure(value: float | None, claim: Claim) -> str:
    """A published or measured value with the unit of its claim."""
    if value is None:
        return DASH
    return f"{number(value, 3)}{'' if claim.unit in ('x', '%') else ' '}{claim.unit}"
