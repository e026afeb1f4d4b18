"""What one plan does to a network: expected accuracy, shares of classes, multiplier time, costs on machines."""

import dataclasses
from collections.abc import Mapping, Sequence

import torch

from bitwright.methods.budget import expected_accuracy
from bitwright.methods.classes import NARROW_BITS, PAIRS, WIDE_BITS
from bitwright.methods.execution import Execution
from bitwright.methods.executor import Executor
from bitwright.methods.plan import Plan
from bitwright.networks.network import Batch, Network
from bitwright.studies.reproduce.drift.arrays import Machine
from bitwright.studies.simulate import Costing, run_listening

Shares = Mapping[str, float]
"""By class, such as `a8w4`: of multiply-accumulates, 0 .. 1."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkCost:
    """A network on a machine, all of what it runs.

    Attributes
    ----------
    compute_cycles, cycles : int
        Of the array alone; with DRAM.
    energy_pj : float
        In pJ.
    """

    compute_cycles: int
    cycles: int
    energy_pj: float


Costs = Mapping[str, NetworkCost]
"""By machine; those that do not run all of the network are left out."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """Expected accuracy of a plan (0 .. 1), shares of its classes, multiplier time by that of 8 by 8 bits."""

    accuracy: float
    shares: Shares
    time: float


class ClassMacs:
    """A listener that counts multiply-accumulates by class."""

    def __init__(self) -> None:
        self.macs = dict.fromkeys(PAIRS, 0)

    def __call__(self, work: Execution) -> None:
        """Count one execution of a site."""
        for pair, macs in work.classes.macs.items():
            self.macs[pair] += macs

    @property
    def shares(self) -> dict[str, float]:
        """Of all of them."""
        total = sum(self.macs.values()) or 1
        return {f"a{x}w{w}": macs / total for (x, w), macs in self.macs.items()}

    @property
    def time(self) -> float:
        """4-bit products by those of everything wide."""
        wide = (WIDE_BITS // NARROW_BITS) ** 2 * sum(self.macs.values())
        spent = sum(macs * (x // NARROW_BITS) * (w // NARROW_BITS) for (x, w), macs in self.macs.items())
        return spent / wide if wide else 1.0


class Judged:
    """Judges plans of one network on a few batches, beside its float self."""

    def __init__(self, network: Network, samples: Sequence[Batch]) -> None:
        self.network, self.samples = network, samples
        with torch.no_grad():
            self.references = [network.forward(batch).float() for batch in samples]

    def judge(self, plan: Plan) -> Judgement:
        """Expected accuracy of a plan, with its corrected biases, and what is narrow meanwhile."""
        counted = ClassMacs()
        executor = Executor(self.network, plan, listeners=(counted,))
        outputs = [executor.run(batch).float() for batch in self.samples]
        accuracy = expected_accuracy(self.network.kind, self.samples, outputs, self.references).accuracy
        return Judgement(accuracy=accuracy, shares=counted.shares, time=counted.time)


def costs_of(
    network: Network, plan: Plan, machines: Mapping[str, Machine], batch: Batch | None
) -> dict[str, NetworkCost]:
    """One run of `batch` on every machine that takes the plan's rule.

    Raises
    ------
    BitwrightError
        What a machine raises.
    """
    listeners = [Costing(name, machine) for name, machine in machines.items()]
    run_listening(network, plan, listeners, batch)
    found = {}
    for each in listeners:
        if each.error is not None:
            raise each.error
        if each.refused:
            continue
        total = each.total()
        found[each.name] = NetworkCost(
            compute_cycles=total.compute_cycles, cycles=total.cycles, energy_pj=total.total_energy_pj
        )
    return found
