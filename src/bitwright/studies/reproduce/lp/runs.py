"""One network on all machines of one set of arrays, in one mix of widths."""

import dataclasses
from collections.abc import Iterator, Mapping

from bitwright.accelerators.precision_scalable import compute_area_um2
from bitwright.accelerators.precision_scalable.machine import PackedArray
from bitwright.errors import BitwrightError, MissingPriceError
from bitwright.methods.plan import Plan
from bitwright.networks.network import Network
from bitwright.studies.reproduce.lp.arrays import REFERENCE, Arrays
from bitwright.studies.reproduce.lp.mixes import MIXES, MixOptions, plan_of, widths_of
from bitwright.studies.simulate import Simulation, simulate

OTHERWISE_PRICED = {"area": "parts", "parts": "area"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A network on a machine.

    Attributes
    ----------
    machine : PackedArray
        What it ran on.
    simulation : Simulation
        Costs by site.
    otherwise_pj : float or None
        Energy with the machine's logic priced in the other way; None where prices for that are missing.
    peak_cycles : float
        Cycles with every PE busy.
    weight_bits : float
        Mean width of weights, by products.
    """

    machine: PackedArray
    simulation: Simulation
    otherwise_pj: float | None
    peak_cycles: float
    weight_bits: float

    @property
    def cycles(self) -> int:
        """From the first DRAM read to the last DRAM write of every site."""
        return self.simulation.cost.cycles

    @property
    def energy_pj(self) -> float:
        """Of everything."""
        return self.simulation.cost.total_energy_pj

    @property
    def pes(self) -> int:
        """Processing elements."""
        return self.machine.rows * self.machine.cols

    @property
    def rate(self) -> float:
        """Products of a PE per cycle with every PE busy, the mean over the network's products."""
        return self.simulation.cost.macs_dense / (self.peak_cycles * self.pes)

    @property
    def utilization(self) -> float:
        """Share of that rate that is reached, 0 .. 1."""
        return self.peak_cycles / self.cycles

    @property
    def gops(self) -> float:
        """Additions and multiplications per nanosecond with every PE busy."""
        return 2 * self.rate * self.pes * self.machine.clock_mhz / 1000

    @property
    def tops_per_mm2(self) -> float:
        """The same in thousands per mm2 of PEs and decoders."""
        return self.gops * 1000 / compute_area_um2(self.machine)

    def share(self, *components: str) -> float:
        """Of all energy, 0 .. 1, what components take."""
        energy = self.simulation.cost.energy_pj
        return sum(energy.get(component, 0.0) for component in components) / self.energy_pj


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """A network on a set of arrays in a mix; `runs` by machine."""

    arrays: str
    mix: str
    runs: Mapping[str, Run]

    def latency(self, machine: str) -> float:
        """By that of AdaptivFloat."""
        return self._time(machine) / self._time(REFERENCE)

    def energy(self, machine: str) -> float:
        """By that of AdaptivFloat."""
        return self.runs[machine].energy_pj / self.runs[REFERENCE].energy_pj

    def energy_otherwise(self, machine: str) -> float | None:
        """The same with logic priced in the other way; None where prices are missing."""
        own, reference = self.runs[machine].otherwise_pj, self.runs[REFERENCE].otherwise_pj
        return None if own is None or reference is None else own / reference

    def _time(self, machine: str) -> float:
        return self.runs[machine].simulation.latency_us


def lines_of(network: Network, arrays: Arrays, options: MixOptions) -> Iterator[Line]:
    """A network of shapes on all arrays in all mixes.

    Raises
    ------
    BitwrightError
        If a machine runs nothing of it.
    """
    for name, machines in arrays.items():
        for mix in MIXES:
            runs = {key: _run(network, key, machine, mix, options) for key, machine in machines.items()}
            yield Line(arrays=name, mix=mix, runs=runs)


def _run(network: Network, name: str, machine: PackedArray, mix: str, options: MixOptions) -> Run:
    widths = widths_of(name, mix, network.sites, options, network.name)
    plan = plan_of(name, mix, widths)
    found = _simulated(network, plan, machine)
    macs = found.cost.macs_dense
    return Run(
        machine=machine,
        simulation=found,
        otherwise_pj=_otherwise_pj(network, plan, machine),
        peak_cycles=sum(each.site.macs / machine.mode_of(each.plan).macs_per_cycle for each in found.sites),
        weight_bits=sum(each.site.macs * each.plan.w_bits for each in found.sites) / macs,
    )


def _otherwise_pj(network: Network, plan: Plan, machine: PackedArray) -> float | None:
    other = machine.model_copy(update={"priced_by": OTHERWISE_PRICED[machine.priced_by]})
    try:
        return _simulated(network, plan, other).cost.total_energy_pj
    except MissingPriceError:  # no published area at this node
        return None


def _simulated(network: Network, plan: Plan, machine: PackedArray) -> Simulation:
    found = simulate(network, plan, {"machine": machine})["machine"]
    if found.refusal is not None:
        raise BitwrightError(f"{plan.method}: nothing of {network.name} runs: {found.refusal}")
    return found
