"""One row of a comparison: what a network scores with a method, and what it costs on an accelerator."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Annotated, Any

from bitwright.errors import BitwrightError
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.shown import Headline, Shown
from bitwright.studies.cost_tables import Named
from bitwright.studies.simulation import Simulation
from bitwright.tasks.evaluate import Evaluation
from bitwright.tasks.floor import DEAD, OK, state_of
from bitwright.units import number, scaled


class RowNames(Named):
    """A row: a network by a method on a machine; figures of its score and of its cost follow where it has them."""

    status: Annotated[
        str, "ok, partial, dead, missed, undecided, unsupported, refused, infeasible or failed; only ok is ranked"
    ]
    reason: Annotated[str, "why anything is missing, and what would help; empty otherwise"]


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Row(Shown):
    """One network, one method, one accelerator.

    Attributes
    ----------
    network, method, accelerator : str
        Names.
    evaluation : Evaluation or None
        The score; None for a network with shapes only, or where `reason` says why.
    simulation : Simulation or None
        The cost; None where `reason` says why.
    status : str
        `ok`; `partial`: the accelerator leaves out sites, so that it costs less than the network's work; `dead`: the
        score is below the floor of `bitwright.tasks.floor`; `missed`, `undecided`: the loss from float exceeds the
        budget that the plan was searched to, or its interval spans it; `unsupported`: the accelerator runs nothing of
        it; `failed`: something went wrong. Only rows that are `ok` are ranked.
    reason : str
        Why anything is missing, and what would help; empty otherwise.
    """

    network: str
    method: str
    accelerator: str
    evaluation: Evaluation | None
    simulation: Simulation | None
    status: str
    reason: str

    @classmethod
    def of(
        cls,
        network: Network,
        method: str,
        accelerator: str,
        scored: Evaluation | Plan | Exception,
        costed: Simulation | Exception,
    ) -> "Row":
        """The row of what came out, failures included."""
        failures = dict.fromkeys(said(each) for each in (scored, costed) if isinstance(each, Exception))
        refusal = costed.refusal if isinstance(costed, Simulation) else None
        left_out = costed.left_out if isinstance(costed, Simulation) and refusal is None else ""
        state, why = state_of(scored) if isinstance(scored, Evaluation) else (OK, "")
        states = {"failed": "; ".join(failures), "unsupported": refusal}
        states |= {state: why} if state == DEAD else {}
        states |= {"partial": left_out, state: why}
        status, reason = next(((state, why) for state, why in states.items() if why), ("ok", ""))
        return cls(
            network=network.name,
            method=method,
            accelerator=accelerator,
            evaluation=scored if isinstance(scored, Evaluation) else None,
            simulation=costed if isinstance(costed, Simulation) and refusal is None else None,
            status=status,
            reason=reason,
        )

    def headline(self) -> Headline:
        """As a comparison lists it."""
        name, figures = self.brief()
        return Headline(f"{self.network}, {name}", [("", figures)])

    def brief(self) -> tuple[str, str]:
        """Method and accelerator; score, latency, energy and area, or why they are missing."""
        found = []
        if self.evaluation is not None:
            score = self.evaluation.score
            found.append(f"{number(score.value)} {score.unit}".strip())
        if self.simulation is not None:
            found += [
                scaled(self.simulation.latency_us, "s", -6),
                scaled(self.simulation.cost.total_energy_pj, "J", -12),
                f"{number(self.simulation.area.total_um2 / 1e6)} mm²",
            ]
        said = [*found, *([] if self.status == "ok" else [f"{self.status} ({self.reason})"])]
        return f"{self.method} on {self.accelerator}", ", ".join(said)

    def record(self) -> dict[str, Any]:
        """Flat names and plain values, units in the names."""
        names: RowNames = {**self.names, "status": self.status, "reason": self.reason}
        score = self.evaluation.record() if self.evaluation is not None else {}
        return {**names, **score, **(self.simulation.record() if self.simulation is not None else {})}

    @property
    def names(self) -> Named:
        """What it is of."""
        return {"network": self.network, "method": self.method, "accelerator": self.accelerator}


def costed_rows(rows: Iterable[Row]) -> Iterator[tuple[Named, Simulation]]:
    """The simulations of rows that have one."""
    return ((row.names, row.simulation) for row in rows if row.simulation is not None)


def said(error: Exception) -> str:
    """The error in words; what is not bitwright's own is named."""
    return str(error) if isinstance(error, BitwrightError) else f"{type(error).__name__}: {error}"
