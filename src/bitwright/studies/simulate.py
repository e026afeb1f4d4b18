"""Simulation: a network runs once by its plan, exactly, and every accelerator hears each product as it happens.

A network with shapes only is not executed: its sites are costed from shapes and formats, and from the codes of its
synthetic operands where it has such. Whatever a machine does not
run, sites and products that are no sites alike, is listed with its share of multiply-accumulates and the reason.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from bitwright.accelerators.cost import Area, Cost, total_cost
from bitwright.accelerators.protocol import Accelerator, Keeping, Vectorised
from bitwright.errors import BitwrightError
from bitwright.methods.execution import Execution, OnChip
from bitwright.methods.executor import Executor, Listener, same_plan
from bitwright.methods.plan import Plan, SitePlan
from bitwright.networks.flows import record_flows
from bitwright.networks.network import Batch, Network
from bitwright.networks.sites import OtherOperation, Site
from bitwright.networks.trace import Trace, example_batch, trace
from bitwright.studies.conservation import check_site, check_total
from bitwright.studies.inputs import EXAMPLE
from bitwright.studies.shares import UNKNOWN, SiteShares, shares_of

SHAPES_ONLY = (
    "its costs depend on the operands' values and there are shapes only; "
    "load a network with weights, or give --distribution for synthetic operands"
)
NAMED = 4  # sites that are named before the rest is summed up
NO_SITE = "no accelerator model takes it"


@dataclasses.dataclass(frozen=True, kw_only=True)
class SiteCost:
    """What a site costs on a machine: all its runs in one inference, which `site.count` counts."""

    site: Site
    plan: SitePlan
    cost: Cost
    shares: SiteShares = UNKNOWN


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unsupported:
    """What the machine does not run: a site, or a product that is none.

    Attributes
    ----------
    name, kind : str
        The site's name or the operator's; `site` or `operation`.
    macs : int
        Its multiply-accumulates.
    share : float
        Of all multiply-accumulates of the network, 0 .. 1.
    reason : str
        Why, and what would help.
    """

    name: str
    kind: str
    macs: int
    share: float
    reason: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Simulation:
    """One network, quantized by one method, on one machine.

    Attributes
    ----------
    network, method, accelerator : str
        Names.
    parameters : mapping
        Of the machine.
    input : str
        What the network ran on.
    batch : int
        Samples in the one inference, where more than one was asked for.
    sites : tuple of SiteCost
        In the order of execution, those the machine runs.
    cost : Cost
        Their sum, and `vector`.
    vector : Cost
        Of `others`, on the machine's vector unit; nothing where it has none.
    area : Area
        Of the machine.
    macs : int
        Multiply-accumulates of the whole network, run or not.
    clock_mhz, peak_macs_per_cycle : float
        Of the machine.
    unsupported : tuple of Unsupported
        What is not in `cost`.
    others : tuple of OtherOperation
        Operators without products.
    notes : tuple of str
        What every report must say.
    """

    network: str
    method: str
    accelerator: str
    parameters: Mapping[str, Any]
    input: str
    sites: tuple[SiteCost, ...]
    cost: Cost
    vector: Cost
    area: Area
    macs: int
    clock_mhz: float
    peak_macs_per_cycle: float
    unsupported: tuple[Unsupported, ...]
    others: tuple[OtherOperation, ...]
    notes: tuple[str, ...] = ()
    batch: int = 1

    @property
    def refusal(self) -> str | None:
        """Why the machine runs nothing of this network; None if it runs some of it."""
        if self.sites:
            return None
        kinds = [[entry for entry in self.unsupported if entry.kind == kind] for kind in ("site", "operation")]
        reasons = dict.fromkeys(entry.reason for entry in kinds[0] or kinds[1])
        return "; ".join(reasons) or "the network has no product"

    @property
    def left_out(self) -> str:
        """Which sites the machine does not run, in words; empty if it runs all of them."""
        names = [entry.name for entry in self.unsupported if entry.kind == "site"]
        if not names:
            return ""
        more = ", ..." if len(names) > NAMED else ""
        named = ", ".join(sorted(names)[:NAMED])
        return f"costs of {100 * self.supported_share:.3g} % of the multiply-accumulates, without {named}{more}"

    @property
    def supported_share(self) -> float:
        """Share of the network's multiply-accumulates that the machine runs, 0 .. 1."""
        return self.cost.macs_dense / self.macs if self.macs else 0.0

    @property
    def executed_share(self) -> float | None:
        """Multiply-accumulates executed by those of the dense products; None if nothing ran."""
        return self.cost.macs_executed / self.cost.macs_dense if self.cost.macs_dense else None

    @property
    def latency_us(self) -> float:
        """Of everything that runs, in microseconds."""
        return self.latency_us_of(self.cost)

    @property
    def tops_per_watt(self) -> float | None:
        """Of everything that runs."""
        return self.tops_per_watt_of(self.cost)

    @property
    def utilization(self) -> float | None:
        """Of everything that runs."""
        return self.utilization_of(self.cost)

    def latency_us_of(self, cost: Cost) -> float:
        """Cycles by clock, in microseconds."""
        return cost.cycles / self.clock_mhz

    def tops_per_watt_of(self, cost: Cost) -> float | None:
        """2 x dense multiply-accumulates per picojoule; None without energy."""
        return 2 * cost.macs_dense / cost.total_energy_pj if cost.total_energy_pj else None

    def utilization_of(self, cost: Cost) -> float | None:
        """Executed multiply-accumulates by the array's peak over all cycles; None if nothing ran."""
        return cost.macs_executed / (self.peak_macs_per_cycle * cost.cycles) if cost.cycles else None


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
            Executor(network, plan, listeners=listeners, prepared=True).hear(batch)
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
    executor = Executor(network, plan, exact=True, listeners=listeners)
    return executor.trace(example_batch(network) if batch is None else batch)


def simulate(
    network: Network,
    plan: Plan,
    accelerators: Mapping[str, Accelerator],
    *,
    batch: Batch | None = None,
    described: str = EXAMPLE,
) -> dict[str, Simulation]:
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
    return simulations


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
    flows = record_flows(network, example_batch(network) if batch is None else batch)
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
