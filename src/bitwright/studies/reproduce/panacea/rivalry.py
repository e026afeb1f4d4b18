"""Panacea beside Sibia on one input, and how their ratio depends on choices that are ours.

Ratios are Sibia's figure by Panacea's: above 1, Panacea needs less.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from bitwright.accelerators.bit_slice import Panacea, Sibia
from bitwright.accelerators.cost import Cost
from bitwright.accelerators.protocol import Accelerator
from bitwright.errors import BitwrightError
from bitwright.memory import Objective
from bitwright.methods.plan import Plan
from bitwright.networks.network import Batch, Network
from bitwright.studies.reproduce.panacea.rates import Rates, SiteRates, ideal_ratio
from bitwright.studies.row import said
from bitwright.studies.simulate import Simulation, run_listening, simulate_each

PANACEA, SIBIA = "panacea", "sibia"
PRODUCTS, MEMORY, LEAKAGE, LOGIC = "slice products", "DRAM and SRAM", "leakage", "other logic"
DYNAMIC_SHARES = (1 / 3, 1 / 2, 2 / 3)  # of a PE's operators


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Energy of some components on both machines.

    Attributes
    ----------
    name : str
        What the components are.
    panacea_share, sibia_share : float
        Of the machine's own energy, 0 .. 1.
    ratio : float or None
        Sibia's by Panacea's; None where Panacea has none.
    """

    name: str
    panacea_share: float
    sibia_share: float
    ratio: float | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Choice:
    """Parameters that differ from those of the machines compared, and what becomes of the ratios.

    Attributes
    ----------
    changes : mapping
        Parameter -> value; one that Sibia has too changes there as well.
    energy_ratio, cycle_ratio : float or None
        Sibia's by Panacea's; None where `reason` says why.
    as_compared : bool
        Whether these are the very machines that are compared.
    reason : str
        Why there are no ratios; empty otherwise.
    """

    changes: Mapping[str, Any]
    energy_ratio: float | None
    cycle_ratio: float | None
    as_compared: bool
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rivalry:
    """One network on both machines, each with the plan made for it.

    Attributes
    ----------
    panacea, sibia : Simulation
        On the same input.
    panacea_rates, sibia_rates : tuple of SiteRates
        What each could skip.
    choices : tuple of Choice
        How the ratios depend on parameters.
    """

    panacea: Simulation
    sibia: Simulation
    panacea_rates: tuple[SiteRates, ...]
    sibia_rates: tuple[SiteRates, ...]
    choices: tuple[Choice, ...]

    @property
    def energy_ratio(self) -> float:
        """Energy efficiency of Panacea over Sibia's: energy of one inference by energy of one inference."""
        return self.sibia.cost.total_energy_pj / self.panacea.cost.total_energy_pj

    @property
    def cycle_ratio(self) -> float:
        """Speed of Panacea over Sibia's."""
        return self.sibia.cost.cycles / self.panacea.cost.cycles

    @property
    def product_ratio(self) -> float:
        """4-bit products executed."""
        return products_of(self.sibia.cost) / products_of(self.panacea.cost)

    @property
    def traffic_ratio(self) -> float:
        """Bytes moved from and to DRAM."""
        return dram_bytes(self.sibia.cost) / dram_bytes(self.panacea.cost)

    @property
    def stored_ratio(self) -> float:
        """Distinct bytes of operands as stored and of results: what the traffic would be if each moved once."""
        return self.sibia.cost.unique_bytes / self.panacea.cost.unique_bytes

    @property
    def ideal_ratio(self) -> float:
        """4-bit products that the measured skip rates leave."""
        return ideal_ratio(self.sibia_rates, self.panacea_rates)

    @property
    def sides_ratio(self) -> float:
        """The same with one side or both skipped of the same operands, Panacea's."""
        return ideal_ratio(self.panacea_rates, self.panacea_rates)

    @property
    def free_products_ratio(self) -> float:
        """The energy ratio if Panacea's slice products cost nothing."""
        rest = self.panacea.cost.total_energy_pj - self.panacea.cost.energy_pj.get("mac", 0.0)
        return self.sibia.cost.total_energy_pj / rest

    @property
    def parts(self) -> tuple[Part, ...]:
        """Where the energy goes; the ratios, weighted by Panacea's shares, add up to `energy_ratio`."""
        panacea, sibia = grouped(self.panacea.cost), grouped(self.sibia.cost)
        totals = sum(panacea.values()), sum(sibia.values())
        return tuple(
            Part(
                name=name,
                panacea_share=panacea[name] / totals[0],
                sibia_share=sibia[name] / totals[1],
                ratio=sibia[name] / panacea[name] if panacea[name] else None,
            )
            for name in panacea
        )


def waiting(cost: Cost) -> float:
    """Share of the cycles in which the array waits for memory."""
    return (cost.cycles - cost.compute_cycles) / cost.cycles


def busy(simulation: Simulation) -> float:
    """Share of the 4-bit multipliers that work, over the cycles in which the array does."""
    multipliers = 4 * simulation.peak_macs_per_cycle  # which is in products of 8 by 8 bits, four slice products each
    return products_of(simulation.cost) / (multipliers * simulation.cost.compute_cycles)


def dram_bytes(cost: Cost) -> float:
    """Bytes read and written."""
    return cost.traffic_bytes["dram_read"] + cost.traffic_bytes["dram_write"]


def products_of(cost: Cost) -> float:
    """4-bit products executed."""
    return sum(event.count for event in cost.events if event.component == "mac")


def grouped(cost: Cost) -> dict[str, float]:
    """Energy in pJ of slice products, memories, leakage and the rest."""
    found = dict.fromkeys((PRODUCTS, MEMORY, LEAKAGE, LOGIC), 0.0)
    for component, energy in cost.energy_pj.items():
        memory = component == "dram" or component.startswith("sram_")
        group = {"mac": PRODUCTS, "leakage": LEAKAGE}.get(component, MEMORY if memory else LOGIC)
        found[group] += energy
    return found


def alternatives(panacea: Panacea) -> Iterator[dict[str, Any]]:
    """Parameters to vary: dynamic operators and their work, row tiles in flight, bits of a run length, mappings."""
    count = panacea.operators_per_pe
    shares = [round(share * count) for share in DYNAMIC_SHARES]
    splits = dict.fromkeys(dynamic for dynamic in (*shares, panacea.dynamic_operators) if 0 < dynamic < count)
    for work in ("high", "activation"):
        for dynamic in sorted(splits):
            yield {"dynamic_work": work, "dynamic_operators": dynamic, "static_operators": count - dynamic}
    yield from ({"double_tile": double} for double in (True, False))
    yield from ({"run_bits": bits} for bits in sorted({3, 4, 5, panacea.run_bits}))
    yield from ({"objective": objective} for objective in get_args(Objective))


def changed(machine: Accelerator, changes: Mapping[str, Any]) -> Accelerator:
    """The machine with those of the parameters that it has."""
    own = machine.parameters()
    made: Accelerator = type(machine)(**{**own, **{key: value for key, value in changes.items() if key in own}})
    return made


def rivalry(
    network: Network,
    plans: Mapping[str, Plan],
    machines: Mapping[str, Accelerator],
    panacea_rates: Sequence[SiteRates],
    batch: Batch | None,
    described: str,
) -> Rivalry:
    """Both machines, by name, with their plans, by machine; variants listen to the same executions.

    Raises
    ------
    BitwrightError
        If a machine fails, or the machines do not run the same sites.
    """
    panacea, sibia = machines[PANACEA], machines[SIBIA]
    assert isinstance(panacea, Panacea)
    assert isinstance(sibia, Sibia)
    rates = Rates(sibia)
    run_listening(network, plans[SIBIA], [rates], batch)
    varied = [(changes, changed(panacea, changes), changed(sibia, changes)) for changes in alternatives(panacea)]
    costs = {
        PANACEA: _costs(network, plans[PANACEA], [panacea, *(each for _, each, _ in varied)], batch, described),
        SIBIA: _costs(network, plans[SIBIA], [sibia, *(each for _, _, each in varied)], batch, described),
    }
    first, second = (_ran(costs[name][machines[name]], name) for name in (PANACEA, SIBIA))
    if [entry.site.name for entry in first.sites] != [entry.site.name for entry in second.sites]:
        raise BitwrightError(
            f"Panacea and Sibia do not run the same sites of {network.name}, so no ratio is of one work"
        )
    return Rivalry(
        panacea=first,
        sibia=second,
        panacea_rates=tuple(panacea_rates),
        sibia_rates=tuple(rates.sites),
        choices=tuple(
            _choice(changes, costs[PANACEA][one], costs[SIBIA][other], as_compared=one == panacea and other == sibia)
            for changes, one, other in varied
        ),
    )


def _costs(
    network: Network, plan: Plan, machines: Sequence[Accelerator], batch: Batch | None, described: str
) -> dict[Accelerator, Simulation | Exception]:
    """What each machine charges for the same execution; equal machines are asked once."""
    names = {machine: PANACEA if isinstance(machine, Panacea) else SIBIA for machine in machines}
    numbered = {f"{name} {i}" if i else name: machine for i, (machine, name) in enumerate(names.items())}
    found = simulate_each(network, plan, numbered, batch=batch, described=described)
    return {machine: found[name] for name, machine in numbered.items()}


def _ran(found: Simulation | Exception, name: str) -> Simulation:
    """The simulation of a machine that ran something."""
    if isinstance(found, Exception):
        raise found
    if found.refusal is not None:
        raise BitwrightError(f"{name} runs nothing of {found.network}: {found.refusal}")
    return found


def _choice(
    changes: Mapping[str, Any], panacea: Simulation | Exception, sibia: Simulation | Exception, *, as_compared: bool
) -> Choice:
    for found in (panacea, sibia):
        if isinstance(found, Exception):
            reason = said(found)
            return Choice(changes=changes, energy_ratio=None, cycle_ratio=None, as_compared=as_compared, reason=reason)
    assert isinstance(panacea, Simulation)
    assert isinstance(sibia, Simulation)
    return Choice(
        changes=changes,
        energy_ratio=sibia.cost.total_energy_pj / panacea.cost.total_energy_pj,
        cycle_ratio=sibia.cost.cycles / panacea.cost.cycles,
        as_compared=as_compared,
    )
