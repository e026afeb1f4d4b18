"""Simulation: a network runs once by its plan, exactly, and every accelerator hears each product as it happens.

A network with shapes only is not executed: its sites are costed from shapes and formats, and from the codes of its
synthetic operands where it has such. Whatever a machine does not
run, sites and products that are no sites alike, is listed with its share of multiply-accumulates and the reason.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from bitwright.accelerators.cost import Cost, total_cost
from bitwright.accelerators.protocol import Accelerator, Keeping, Vectorised
from bitwright.errors import BitwrightError
from bitwright.later import later
from bitwright.methods.execution import Execution, OnChip
from bitwright.methods.plan import Plan, SitePlan, same_plan
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import OtherOperation, Site
from bitwright.networks.trace import Trace, example_batch, trace
from bitwright.studies.conservation import check_site, check_total
from bitwright.studies.inputs import EXAMPLE
from bitwright.studies.shares import shares_of
from bitwright.studies.simulation import Simulation, Simulations, SiteCost, Unsupported

if TYPE_CHECKING:
    from bitwright.methods import executor as executing
    from bitwright.methods.executor import Listener
    from bitwright.networks import flow_record
else:
    flow_record = later("bitwright.networks.flow_record")
    executing = later("bitwright.methods.executor")

SHAPES_ONLY = (
    "its costs depend on the operands' values and there are shapes only; "
    "load a network with weights, or give --distribution for synthetic operands"
)
NO_SITE = "no accelerator model takes it"


class Costing:
    """A listener that keeps what an accelerator charges for each site, or why it refuses."""

    def __init__(self, name: str, machine: Accelerator, kept: Mapping[str, OnChip] | None = None) -> None:
        self.name, self.machine = name, machine
        self.kept = kept or {}
        self.sites: list[SiteCost] = []
        self.refused: list[tuple[Site, str]] = []
        self.error: Exception | None = None
        self._run: dict[str, SiteCost] = {}  # of one run of each site, the last
        self._entries: dict[Site, int] = {}  # where in `sites` those of a name and shape are

    def __call__(self, work: Execution) -> None:
        """One execution of one site; what goes wrong is kept, so that other machines hear the rest."""
        if self.error is not None:
            return
        try:
            self._charge(work)
        except Exception as error:
            self.error = error

    def placed(self, work: Execution) -> Execution:
        """With what the machine keeps on chip meanwhile."""
        kept = self.kept.get(work.site.name)
        return work if kept is None else dataclasses.replace(work, on_chip=kept)

    def _charge(self, work: Execution) -> None:
        run = self._known(work)
        if run is not None:
            run = dataclasses.replace(run, site=work.site)
        else:
            reason = self.machine.supports(work.plan)
            if reason is None and self.machine.needs_codes and work.x is None:
                reason = SHAPES_ONLY
            if reason is not None:
                self.refused.append((dataclasses.replace(work.site, count=work.runs), reason))
                return
            cost = self.machine.run(self.placed(work))
            check_site(self.name, work.site, cost)
            run = SiteCost(site=work.site, plan=work.plan, cost=cost, shares=shares_of(work))
        self._run[work.site.name] = run
        self._add(run, work.runs)

    def _add(self, run: SiteCost, runs: int) -> None:
        """So many runs of a site; those of one name and shape are one entry."""
        entry = run
        if not runs == run.site.count == 1:
            site = dataclasses.replace(run.site, count=runs)
            entry = dataclasses.replace(run, site=site, cost=run.cost.times(runs))
        index = self._entries.setdefault(run.site, len(self.sites))
        if index == len(self.sites):
            self.sites.append(entry)
            return
        before = self.sites[index]
        site = dataclasses.replace(before.site, count=before.site.count + runs)
        self.sites[index] = dataclasses.replace(before, site=site, cost=before.cost + entry.cost)

    def _known(self, work: Execution) -> SiteCost | None:
        """An equal site before; that it is equal is seen here, but for the operands."""
        before = self._run.get(work.same_as)
        if before is None or dataclasses.replace(before.site, name=work.site.name) != work.site:
            return None
        if self.kept.get(before.site.name) != self.kept.get(work.site.name):
            return None
        return before if same_plan(before.plan, work.plan) else None

    def total(self) -> Cost:
        """The sum over all sites."""
        costs = [entry.cost for entry in self.sites]
        total = total_cost(costs)
        check_total(self.name, costs, total)
        return total


def run_listening(
    network: Network,
    plan: Plan,
    listeners: Sequence[Listener],
    batch: Batch | None = None,
    traced: Trace | None = None,
) -> Trace:
    """Run `network` once on `batch` (its own example if None) by `plan`, exactly, while `listeners` listen.

    A network with shapes only is not traced again where `traced` is what that gave.
    """
    if network.shape_only:
        traced = traced or trace(network, batch)
        if network.distribution:
            executing.Executor(network, plan, listeners=listeners, prepared=True).hear(batch)
            return traced
        first: dict[Site, tuple[str, SitePlan]] = {}
        for site in traced.sites:
            of_site = plan.site(site.name)
            equal, known = first.setdefault(dataclasses.replace(site, name=""), (site.name, of_site))
            work = Execution(
                site=dataclasses.replace(site, count=1),
                plan=known if same_plan(known, of_site) else of_site,  # one object, so that machines need not compare
                same_as="" if equal == site.name else equal,
                runs=site.count,
            )
            for listener in listeners:
                listener(work)
        return traced
    executor = executing.Executor(network, plan, exact=True, listeners=listeners)
    return executor.trace(example_batch(network) if batch is None else batch)


def simulate(
    network: Network,
    plan: Plan,
    accelerators: Mapping[str, Accelerator],
    *,
    batch: Batch | None = None,
    described: str = EXAMPLE,
) -> Simulations:
    """Cost one run of `network` by `plan` on every machine at once.

    Parameters
    ----------
    network : Network
        As loaded.
    plan : Plan
        Made for it.
    accelerators : mapping
        Name -> machine.
    batch : Batch or None
        The input; None is the network's own example.
    described : str
        What that input is.

    Raises
    ------
    InputError
        A missing price, or a machine on which not even one tile fits.
    BitwrightError
        If a machine's costs break conservation.
    """
    found = simulate_each(network, plan, accelerators, batch=batch, described=described)
    simulations: dict[str, Simulation] = {}
    for name, result in found.items():
        if isinstance(result, Exception):
            raise result
        simulations[name] = result
    return Simulations(simulations)


def simulate_each(
    network: Network,
    plan: Plan,
    accelerators: Mapping[str, Accelerator],
    *,
    batch: Batch | None = None,
    described: str = EXAMPLE,
    traced: Trace | None = None,
) -> dict[str, Simulation | Exception]:
    """As `simulate`, but what stops one machine stands in its place and the others go on; `traced` as in a run."""
    kept = kept_activations(network, plan, accelerators, batch)
    listeners = [Costing(name, machine, kept.get(name)) for name, machine in accelerators.items()]
    traced = run_listening(network, plan, listeners, batch, traced)

    def result(costing: Costing) -> Simulation | Exception:
        try:
            return costing.error or _simulation(network, plan, costing, traced, described)
        except BitwrightError as error:
            return error

    return {costing.name: result(costing) for costing in listeners}


def kept_activations(
    network: Network, plan: Plan, accelerators: Mapping[str, Accelerator], batch: Batch | None = None
) -> dict[str, Mapping[str, OnChip]]:
    """By machine and site, what stays on chip; of networks that are lists of products nothing does."""
    keeping = {name: each for name, each in accelerators.items() if isinstance(each, Keeping) and each.keeps}
    if not keeping or network.module is None:
        return {}
    flows = flow_record.record_flows(network, example_batch(network) if batch is None else batch)
    plans = [plan.site(name) for name in flows.sites]
    return {name: machine.kept(flows, plans) for name, machine in keeping.items()}


def _simulation(network: Network, plan: Plan, costing: Costing, traced: Trace, described: str) -> Simulation:
    products = [operation for operation in traced.others if operation.lost]
    macs = traced.macs + sum(operation.macs for operation in products)
    others = tuple(operation for operation in traced.others if not operation.lost)
    machine, vector = costing.machine, Cost()
    if isinstance(machine, Vectorised) and costing.sites:
        vector = machine.vector_cost([each for each in others if not _folded(network, plan, each)])
    refused = [("site", site.name, site.macs, reason) for site, reason in costing.refused]
    refused += [("operation", op.name, op.macs, f"{op.reason}; {NO_SITE}") for op in products]
    return Simulation(
        network=network.name,
        method=plan.method,
        accelerator=costing.name,
        parameters=costing.machine.parameters(),
        input=described,
        sites=tuple(costing.sites),
        cost=costing.total() + vector,
        vector=vector,
        area=costing.machine.area(),
        macs=macs,
        clock_mhz=costing.machine.clock_mhz,
        peak_macs_per_cycle=costing.machine.peak_macs_per_cycle,
        unsupported=tuple(
            Unsupported(name=name, kind=kind, macs=count, share=count / macs if macs else 0.0, reason=reason)
            for kind, name, count, reason in refused
        ),
        others=others,
        notes=notes_on(network, plan),
        batch=network.batch,
    )


def _folded(network: Network, plan: Plan, operation: OtherOperation) -> bool:
    """Whether an operator is part of the weights by the plan; networks with weights are traced as folded."""
    return network.shape_only and plan.fold_batch_norm and "batch_norm" in operation.name


def notes_on(network: Network, plan: Plan) -> tuple[str, ...]:
    """What every report on a network with a plan must say, each once."""
    return tuple(dict.fromkeys((*plan.notes, *network.notes)))
